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
const ADMIN: &str = "dana";
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
    /// The ceiling is no wider than that.
    exact: bool,
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
    people.insert(ADMIN, world.admin().await);
    for group in GROUPS {
        world.members(group, &[], &[]).await;
    }
    for owner in USERS
        .map(|user| format!("users-warehouse/{user}/"))
        .into_iter()
        .chain(GROUPS.map(|group| format!("groups-warehouse/{group}/")))
        .chain(["common/".to_owned()])
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

/// A random folder: in a home, a workspace or neither.
struct Folder {
    owner: &'static str,
    /// Somebody who may share it.
    sharer: &'static str,
    path: String,
}

impl Folder {
    fn random(rng: &mut StdRng) -> Self {
        let folder = FOLDERS.choose(rng).unwrap();
        match rng.random_range(0..10) {
            0..6 => {
                let owner = USERS.choose(rng).unwrap();
                Self { owner, sharer: owner, path: format!("users-warehouse/{owner}/{folder}") }
            }
            6..9 => {
                let owner = GROUPS.choose(rng).unwrap();
                Self { owner, sharer: ADMIN, path: format!("groups-warehouse/{owner}/{folder}") }
            }
            _ => Self { owner: "the lake", sharer: ADMIN, path: format!("common/{folder}") },
        }
    }
}

async fn change(world: &World, people: &BTreeMap<&str, Person>, model: &mut Model, rng: &mut StdRng) {
    let (user, group) = (*USERS.choose(rng).unwrap(), *GROUPS.choose(rng).unwrap());
    let Folder { owner, sharer, path } = Folder::random(rng);
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
            let answer = world.post(&people[sharer], &format!("/users/{sharer}/share"), body).await;
            assert_eq!(answer.status, 200, "{}", answer.json);
            if grantee != owner {
                model.grants.insert((grantee.into(), path), (access, end));
            }
        }
        5..7 => {
            let (users, groups) = lists(to_user);
            let answer = world.unshare(&people[sharer], &path, &users, &groups).await;
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
        for (kind, scope, ceiling) in [
            ("granted", json!("granted"), Some(folders)),
            ("lake", json!("lake"), None),
            ("listed", listed, Some(vec![(path, write)])),
        ] {
            let answer = world.post(person, "/sessions", json!({"scope": scope})).await;
            assert_eq!(answer.status, 200, "{}", answer.json);
            let exact = answer.json["session_policy"]["exact"] == json!(true);
            assert!(exact || kind == "granted");
            issued.push(Issued { user, kind, keys: Keys::of_session(&answer.json), ceiling, exact });
        }
    }
    let user = USERS.choose(rng).unwrap();
    let keys = world.lake_key(&people[user]).await;
    issued.push(Issued { user, kind: "lake key", keys, ceiling: None, exact: true });
    issued
}

/// Asks MinIO, and compares: gives the number of questions.
async fn ask(world: &World, model: &Model, issued: &[Issued], rng: &mut StdRng) -> usize {
    let mut asked = 0;
    for Issued { user, kind, keys, ceiling, exact } in issued {
        for _ in 0..2 {
            let prefix = Folder::random(rng).path;
            let now = Timestamp::now();
            let live = model.folders(user, now);
            // What ends right now is no fair question.
            if model.grants.values().any(|(_, end)| end.is_some_and(|end| end > now && end < now + 2.seconds())) {
                continue;
            }
            let may = |key: &str, write| {
                within(&live, key, write) && ceiling.as_ref().is_none_or(|folders| within(folders, key, write))
            };
            // What a widened ceiling lets through beyond what was granted is not said.
            let beyond = |write| within(&live, &prefix, write) && !may(&prefix, write);
            if !exact && (beyond(false) || beyond(true)) {
                continue;
            }
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
