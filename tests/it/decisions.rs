//! What MinIO decides is what a model of a few lines says: in random worlds, for every kind of keys.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, stream};
use jiff::{Timestamp, ToSpan};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::json;

use crate::support::{Keys, Person, World};

const WORLDS: u64 = 200;
const AT_ONCE: usize = 4;
const USERS: [&str; 4] = ["a", "a__b", "alice", "alice2"];
const GROUPS: [&str; 2] = ["KBase", "BER"];
/// Below a home or a workspace: empty, nested, look-alike, unicode.
const FOLDERS: [&str; 7] = ["", "x/", "xy/", "x/y/", "x/y/z/", "день 1/", "x-y_z.parquet/"];

type Access = &'static str;

/// All that there is to know.
#[derive(Default, Clone)]
struct Model {
    /// grantee, path -> access, end
    grants: BTreeMap<(String, String), (Access, Option<Timestamp>)>,
    /// group, user -> role
    roles: BTreeMap<(String, String), &'static str>,
}

impl Model {
    /// The folders that a user has, with write or without.
    fn folders(&self, user: &str, now: Timestamp) -> Vec<(String, bool)> {
        let granted = |to: &str, may_write: bool| {
            let mine = self.grants.iter().filter(move |((grantee, _), _)| grantee == to);
            let valid = mine.filter(move |(_, (_, end))| end.is_none_or(|end| end > now));
            valid
                .map(move |((_, path), (access, _))| (path.clone(), may_write && *access == "write"))
                .collect::<Vec<_>>()
        };
        let mut folders = granted(user, true);
        folders.push((format!("users-warehouse/{user}/"), true));
        for ((group, _), role) in self.roles.iter().filter(|((_, member), _)| member == user) {
            folders.push((format!("groups-warehouse/{group}/"), *role != "reader"));
            folders.extend(granted(group, *role != "reader"));
        }
        folders
    }
}

fn within(folders: &[(String, bool)], key: &str, write: bool) -> bool {
    folders.iter().any(|(folder, may_write)| key.starts_with(folder.as_str()) && (*may_write || !write))
}

/// Keys, and what they may be used for at the most.
struct Issued {
    user: &'static str,
    kind: &'static str,
    keys: Keys,
    ceiling: Option<Vec<(String, bool)>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_decides_as_the_model_does() {
    let seed: u64 =
        std::env::var("LAKEPASS_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("LAKEPASS_TEST_SEED={seed}");
    let asked: Vec<usize> = stream::iter(0..WORLDS)
        .map(|n| tokio::spawn(one_world(seed.wrapping_add(n))))
        .buffer_unordered(AT_ONCE)
        .map(|asked| asked.unwrap_or_else(|_| panic!("LAKEPASS_TEST_SEED={seed}")))
        .collect()
        .await;
    println!("{} decisions in {WORLDS} worlds", asked.iter().sum::<usize>());
}

async fn one_world(seed: u64) -> usize {
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::new().await;
    let mut people = BTreeMap::new();
    for user in USERS {
        people.insert(user, world.person(user).await);
    }
    for group in GROUPS {
        world.members(group, &[], &[]).await;
    }
    for owner in USERS
        .map(|user| format!("users-warehouse/{user}/"))
        .into_iter()
        .chain(GROUPS.map(|group| format!("groups-warehouse/{group}/")))
    {
        for folder in FOLDERS {
            world.seed(&format!("{owner}{folder}seed")).await;
        }
    }
    let mut model = Model::default();
    for _ in 0..rng.random_range(1..10) {
        change(&world, &people, &mut model, &mut rng).await;
    }
    let issued = issue(&world, &people, &model, &mut rng).await;
    let mut asked = ask(&world, &model, &issued, &mut rng).await;
    for _ in 0..3 {
        change(&world, &people, &mut model, &mut rng).await;
    }
    asked += ask(&world, &model, &issued, &mut rng).await;
    asked
}

/// A random folder with the one who may share it.
fn folder(rng: &mut StdRng) -> (&'static str, String) {
    let owner = USERS.choose(rng).unwrap();
    (owner, format!("users-warehouse/{owner}/{}", FOLDERS.choose(rng).unwrap()))
}

async fn change(world: &World, people: &BTreeMap<&str, Person>, model: &mut Model, rng: &mut StdRng) {
    let (user, group) = (*USERS.choose(rng).unwrap(), *GROUPS.choose(rng).unwrap());
    let (owner, path) = folder(rng);
    let to_user = rng.random_bool(0.6);
    let grantee = if to_user { user } else { group };
    let lists = |to_user: bool| if to_user { (vec![user], vec![]) } else { (vec![], vec![group]) };
    match rng.random_range(0..10) {
        0..5 => {
            let access = if rng.random_bool(0.5) { "read" } else { "write" };
            // Some end before they are asked about, some long after.
            let end = [None, None, Some(1), Some(3600)].choose(rng).unwrap().map(|s| Timestamp::now() + s.seconds());
            let (users, groups) = lists(to_user);
            let body =
                json!({"path": path, "with_users": users, "with_groups": groups, "access": access, "expires_at": end});
            let answer = world.post(&people[owner], &format!("/users/{owner}/share"), body).await;
            assert_eq!(answer.status, 200, "{}", answer.json);
            if grantee != owner {
                model.grants.insert((grantee.into(), path), (access, end));
            }
        }
        5..7 => {
            let (users, groups) = lists(to_user);
            let answer = world.unshare(&people[owner], &path, &users, &groups).await;
            assert!(matches!(answer.status, 200 | 207), "{}", answer.json);
            model.grants.remove(&(grantee.into(), path));
        }
        7..9 => {
            let role = ["reader", "writer", "steward"].choose(rng).unwrap();
            world.members(group, &[(user, role)], &[]).await;
            model.roles.insert((group.into(), user.into()), role);
        }
        _ => {
            world.members(group, &[], &[user]).await;
            model.roles.remove(&(group.into(), user.into()));
        }
    }
}

async fn issue(world: &World, people: &BTreeMap<&str, Person>, model: &Model, rng: &mut StdRng) -> Vec<Issued> {
    // Whatever is about to end has ended.
    let soon = |end: &Timestamp| *end < Timestamp::now() + 60.seconds();
    if let Some(end) = model.grants.values().filter_map(|(_, end)| *end).filter(soon).max() {
        let left = Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default();
        tokio::time::sleep(left + Duration::from_millis(10)).await;
    }
    let mut issued = Vec::new();
    for user in USERS {
        let person = &people[user];
        let folders = model.folders(user, Timestamp::now());
        let (path, may_write) = folders.choose(rng).unwrap().clone();
        let write = may_write && rng.random_bool(0.5);
        let listed = json!([{"path": path, "access": if write { "write" } else { "read" }}]);
        let session = async |scope| world.session(person, scope).await;
        issued.push(Issued { user, kind: "granted", keys: session(json!("granted")).await, ceiling: Some(folders) });
        issued.push(Issued { user, kind: "lake", keys: session(json!("lake")).await, ceiling: None });
        issued.push(Issued { user, kind: "listed", keys: session(listed).await, ceiling: Some(vec![(path, write)]) });
    }
    let user = USERS.choose(rng).unwrap();
    issued.push(Issued { user, kind: "lake key", keys: world.lake_key(&people[user]).await, ceiling: None });
    issued
}

/// Asks MinIO, and compares: gives the number of questions.
async fn ask(world: &World, model: &Model, issued: &[Issued], rng: &mut StdRng) -> usize {
    let mut asked = 0;
    for Issued { user, kind, keys, ceiling } in issued {
        for _ in 0..2 {
            let top = match rng.random_bool(0.7) {
                true => format!("users-warehouse/{}/", USERS.choose(rng).unwrap()),
                false => format!("groups-warehouse/{}/", GROUPS.choose(rng).unwrap()),
            };
            let prefix = format!("{top}{}", FOLDERS.choose(rng).unwrap());
            let now = Timestamp::now();
            let live = model.folders(user, now);
            // What ends right now is no fair question.
            if model.grants.values().any(|(_, end)| end.is_some_and(|end| end > now && end < now + 2.seconds())) {
                continue;
            }
            let may = |key: &str, write| {
                within(&live, key, write) && ceiling.as_ref().is_none_or(|folders| within(folders, key, write))
            };
            let (seed, other) = (format!("{prefix}seed"), format!("{prefix}other"));
            let say =
                |deed: &str| format!("{deed} {prefix} by {user} with {kind} keys, live {live:?}, ceiling {ceiling:?}");
            assert_eq!(world.can_get(keys, &seed).await, may(&seed, false), "{}", say("get"));
            assert_eq!(world.can_put(keys, &other).await, may(&other, true), "{}", say("put"));
            assert_eq!(world.can_delete(keys, &other).await, may(&other, true), "{}", say("delete"));
            assert_eq!(world.can_list(keys, &prefix).await, may(&prefix, false), "{}", say("list"));
            asked += 4;
        }
    }
    asked
}
