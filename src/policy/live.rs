//! Live policies: what hangs on a MinIO user or group.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    PolicyDocument, Templates,
    document::{Statement, bytes_in_go},
    template::{Template, document},
};
use crate::lake::{Access, LakePath, Reach};

/// The largest policy document that MinIO takes, in bytes.
pub const MAX_LIVE_BYTES: usize = 20 * 1024;

/// The live policy of one MinIO user or group: the documents that together say what it may do.
///
/// - Each document has at most [`MAX_LIVE_BYTES`].
/// - Nothing is in it that something else in it covers.
/// - It depends on its arguments only: the same ledger document always makes the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePolicy(Vec<PolicyDocument>);

impl LivePolicy {
    /// A user's: their home, and what they were given by name.
    pub fn of_user(templates: &Templates, bucket: &str, home: &[LakePath], grants: Vec<Reach>) -> Self {
        Self::new(templates, bucket, (&templates.home, home), grants)
    }

    /// What a group's writers have: its workspace, and what was given to the group.
    pub fn of_writers(templates: &Templates, bucket: &str, workspace: &[LakePath], grants: Vec<Reach>) -> Self {
        Self::new(templates, bucket, (&templates.workspace, workspace), grants)
    }

    /// What a group's readers have: the same, to read.
    pub fn of_readers(templates: &Templates, bucket: &str, workspace: &[LakePath], grants: Vec<Reach>) -> Self {
        let to_read = grants.into_iter().map(|reach| Reach { access: Access::Read, ..reach }).collect();
        Self::new(templates, bucket, (&templates.read, workspace), to_read)
    }

    pub fn documents(&self) -> &[PolicyDocument] {
        &self.0
    }

    fn new(templates: &Templates, bucket: &str, own: (&Template, &[LakePath]), grants: Vec<Reach>) -> Self {
        let (template, folders) = own;
        let prefixes = folders.iter().map(LakePath::as_str).collect();
        let own = template.fill(bucket, &[("{prefix}", prefixes)], None);
        let grants: Vec<Reach> =
            uncovered(grants).into_iter().filter(|reach| !folders.iter().any(|own| own.covers(&reach.path))).collect();
        let render = |parts: usize| {
            let size = grants.len().div_ceil(parts).max(1);
            let mut chunks = grants.chunks(size);
            let first = chunks.next().unwrap_or_default();
            let first = document(own.iter().cloned().chain(given(templates, bucket, first)));
            let rest = chunks.map(|chunk| document(given(templates, bucket, chunk)));
            std::iter::once(first).chain(rest).collect::<Vec<_>>()
        };
        let fits = |documents: &Vec<PolicyDocument>| {
            documents.iter().all(|document| bytes_in_go(&document.to_json()) <= MAX_LIVE_BYTES)
        };
        let one = render(1);
        if fits(&one) {
            return Self(one);
        }
        // Parts are no shorter than the whole.
        let whole: usize = one.iter().map(|document| bytes_in_go(&document.to_json())).sum();
        // A grant alone always fits: a path has at most 1 KiB.
        let parts = (whole.div_ceil(MAX_LIVE_BYTES)..=grants.len()).map(render).find(fits);
        Self(parts.unwrap_or_else(|| render(grants.len().max(1))))
    }
}

/// The statements for grants: one template for each access and end.
fn given(templates: &Templates, bucket: &str, grants: &[Reach]) -> Vec<Statement> {
    let mut kinds: BTreeMap<(Access, Option<Timestamp>), Vec<&str>> = BTreeMap::new();
    for reach in grants {
        kinds.entry((reach.access, reach.until)).or_default().push(reach.path.as_str());
    }
    let fill = |((access, until), prefixes)| {
        let template = match access {
            Access::Read => &templates.read,
            Access::Write => &templates.write,
        };
        template.fill(bucket, &[("{prefix}", prefixes)], until)
    };
    kinds.into_iter().flat_map(fill).collect()
}

/// Sorted, without what another one covers.
fn uncovered(mut reaches: Vec<Reach>) -> Vec<Reach> {
    reaches.sort();
    reaches.dedup();
    // Who covers a path is one of its ancestors: sorted, the open ones make a stack.
    let mut kept: Vec<Reach> = Vec::with_capacity(reaches.len());
    let mut open: Vec<Reach> = Vec::new();
    for group in reaches.chunk_by(|a, b| a.path == b.path) {
        while open.last().is_some_and(|above| !above.path.covers(&group[0].path)) {
            open.pop();
        }
        for (i, reach) in group.iter().enumerate() {
            let beside = group.iter().enumerate().any(|(j, other)| i != j && other.covers(reach));
            if !beside && !open.iter().any(|above| above.covers(reach)) {
                kept.push(reach.clone());
            }
        }
        open.extend(group.iter().cloned());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(path: String, access: Access) -> Reach {
        Reach::forever(path.parse().unwrap(), access)
    }

    #[test]
    fn many_grants_are_split_and_each_is_somewhere() {
        let home = ["users-warehouse/bob/".parse().unwrap()];
        for n in [0, 1, 100, 300, 1000] {
            let grants: Vec<Reach> = (0..n)
                .map(|i| reach(format!("users-warehouse/alice/{i:04}/{}", "x".repeat(40)), Access::Write))
                .collect();
            let policy = LivePolicy::of_user(&Templates::built_in(), "cdm-lake", &home, grants.clone());
            let texts: Vec<String> = policy.documents().iter().map(PolicyDocument::to_json).collect();
            assert!(texts.iter().all(|text| text.len() <= MAX_LIVE_BYTES), "{n}");
            assert!(texts[0].contains("users-warehouse/bob/*"));
            for grant in &grants {
                assert!(
                    texts.iter().any(|text| text.contains(&format!(":::cdm-lake/{}*", grant.path))),
                    "{}",
                    grant.path
                );
            }
            // Few, because MinIO merges them at each request.
            let total: usize = texts.iter().map(String::len).sum();
            let least = total * 5 / 4 / MAX_LIVE_BYTES + 1;
            assert!(texts.len() <= least, "{} documents for {total} bytes", texts.len());
            assert_eq!(texts.len() > 1, n >= 100);
        }
    }

    #[test]
    fn what_is_covered_is_dropped_and_what_is_wider_is_not() {
        let given = vec![
            reach("a/b".into(), Access::Read),
            reach("a".into(), Access::Read),
            reach("a/c".into(), Access::Write),
            reach("ab".into(), Access::Read),
            reach("a/c/d".into(), Access::Write),
        ];
        let kept: Vec<String> = uncovered(given).into_iter().map(|reach| reach.path.to_string()).collect();
        assert_eq!(kept, ["a/", "a/c/", "ab/"]);
    }

    #[test]
    fn a_grant_that_ends_says_so_in_the_policy() {
        let until = Some("2026-01-01T00:00:00.9Z".parse().unwrap());
        let grant = Reach { until, ..reach("a".into(), Access::Read) };
        let policy = LivePolicy::of_user(&Templates::built_in(), "b", &["home/".parse().unwrap()], vec![grant]);
        let json = policy.documents()[0].to_json();
        assert_eq!(json.matches(r#""DateLessThan":{"aws:CurrentTime":["2026-01-01T00:00:00Z"]}"#).count(), 3);
    }

    #[test]
    fn readers_never_write() {
        let grants = vec![reach("a".into(), Access::Write)];
        let policy = LivePolicy::of_readers(&Templates::built_in(), "b", &["g/x/".parse().unwrap()], grants);
        assert!(!policy.documents()[0].to_json().contains("PutObject"));
    }
}
