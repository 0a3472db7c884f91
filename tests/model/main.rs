mod explore;
mod protocol;
mod world;

use explore::*;
use protocol::*;
use world::*;

const ALL: &[Change] = &[
    Change::SignIn, Change::Share, Change::Unshare, Change::ShareWithGroup, Change::UnshareWithGroup,
    Change::Join(Role::Reader), Change::Join(Role::Writer), Change::Leave, Change::IssueLakeKey, Change::ResetSecret,
    Change::Revoke, Change::Disable, Change::Enable, Change::DeleteUser, Change::DeleteGroup, Change::Reconcile,
];

fn starts(explorer: &mut Explorer) -> Vec<World> {
    let mut after = |changes: &[Change]| explorer.after(World::default(), changes);
    vec![
        after(&[]),
        after(&[Change::SignIn, Change::Join(Role::Reader), Change::Leave]),
        after(&[Change::SignIn, Change::Share, Change::Join(Role::Writer), Change::ShareWithGroup, Change::IssueLakeKey]),
        after(&[Change::SignIn, Change::Share, Change::Disable]),
    ]
}

#[test]
fn pairs() {
    let mut explorer = Explorer::new(Without::Nothing);
    let starts = starts(&mut explorer);
    let mut total = 0;
    for (i, start) in starts.iter().enumerate() {
        for (n, a) in ALL.iter().enumerate() {
            for b in &ALL[n..] {
                let t = std::time::Instant::now();
                let (moments, found) = explorer.explore(start, &[*a, *b]);
                total += moments;
                if t.elapsed().as_millis() > 1000 { println!("{i} {a:?} {b:?}: {moments} {:?}", t.elapsed()); }
                for found in found {
                    println!("{i} {a:?} {b:?}: {:?} ({} steps)", found.wrong, found.story.len() - 1);
                    if std::env::var("STORY").is_ok_and(|s| s == format!("{i}{a:?}{b:?}")) {
                        println!("  {}", found.story.join("\n  "));
                    }
                }
            }
        }
    }
    println!("{total} moments");
}
