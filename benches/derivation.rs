//! What it costs to say in policies what somebody may do.

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use lakepass::{
    lake::{Access, LakePath, Reach, Scope},
    policy::{LivePolicy, SessionPolicy, Templates},
};

const BUCKET: &str = "cdm-lake";
const GRANTS: [usize; 3] = [1, 100, 1000];

/// Folders of ten owners, every third one to write.
fn grants(n: usize) -> Vec<(LakePath, Access)> {
    let path = |i| format!("users-sql-warehouse/user{:02}/u_user{:02}__db{i:04}.db/table", i % 10, i % 10);
    let access = |i| if i % 3 == 0 { Access::Write } else { Access::Read };
    (0..n).map(|i| (path(i).parse().expect("a legal path"), access(i))).collect()
}

fn live_policy(c: &mut Criterion) {
    let templates = Templates::built_in();
    let home: [LakePath; 2] = ["users-general-warehouse/alice/", "users-sql-warehouse/alice/"]
        .map(|path| path.parse().expect("a legal path"));
    let mut group = c.benchmark_group("live policy of a user");
    for n in GRANTS {
        let reaches: Vec<Reach> = grants(n).into_iter().map(|(path, access)| Reach::forever(path, access)).collect();
        group.bench_with_input(BenchmarkId::from_parameter(n), &reaches, |b, reaches| {
            b.iter_batched(
                || reaches.clone(),
                |reaches| LivePolicy::of_user(black_box(&templates), BUCKET, &home, reaches),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// From 100 grants on, what was granted does not fit into a session policy, and is widened until it does.
fn session_fit(c: &mut Criterion) {
    let templates = Templates::built_in();
    let mut group = c.benchmark_group("session policy ceiling");
    for n in GRANTS {
        group.bench_with_input(BenchmarkId::from_parameter(n), &grants(n), |b, granted| {
            b.iter(|| SessionPolicy::ceiling(&templates, BUCKET, black_box(granted), &Scope::Granted, None));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = live_policy, session_fit
}
criterion_main!(benches);
