//! Many mixed changes at once through several replicas; then ledger, MinIO and a model agree exactly.
//!
//! What becomes of one grant or membership is decided by one actor, who makes one change after the other. Many actors work
//! on the same documents at the same time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use lakepass::{
    broker::Mended,
    lake::{Access, Role},
    minio::{
        GroupInfo, MinioGroup, PREFIX, Status, canonical,
        ledger::{GroupDoc, UserDoc},
    },
};
use rand::{
    RngExt, SeedableRng,
    rngs::StdRng,
    seq::{IndexedRandom, SliceRandom},
};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::{Person, World};

const OWNERS: [&str; 2] = ["alice", "bob"];
const USERS: [&str; 4] = ["u0", "u1", "u2", "u3"];
const GROUPS: [&str; 2] = ["KBase", "BER"];
const FOLDERS: [&str; 4] = ["a", "b", "c", "d"];
/// They come and go.
const GUESTS: [&str; 4] = ["guest0", "guest1", "guest2", "guest3"];
const PROJECTS: [&str; 4] = ["Project0", "Project1", "Project2", "Project3"];

/// Actors with grants and memberships to change, and how often each changes something.
const ACTORS: usize = 28;
const CHANGES_OF_AN_ACTOR: usize = 5;

/// A change may be outrun, or meet a node that is away: what that one had locked stays locked for a while
/// (seen: 145 s).
const PATIENCE: Duration = Duration::from_secs(240);

/// What was not waited for is done by MinIO within this time.
const LATE: Duration = Duration::from_secs(5);

/// What is to be there in the end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Model {
    /// By grantee and path.
    grants: BTreeMap<(String, String), Access>,
    /// By group and user.
    roles: BTreeMap<(String, String), Role>,
    users: BTreeSet<String>,
    groups: BTreeSet<String>,
}

/// What one actor alone changes.
#[derive(Debug, Clone)]
enum Cell {
    Grant { owner: &'static str, path: String, grantee: &'static str },
    Role { group: &'static str, user: &'static str },
}

struct Lake<'a> {
    replicas: Vec<&'a World>,
    people: BTreeMap<&'static str, Person>,
    admin: Person,
    model: Mutex<Model>,
    made: AtomicUsize,
    /// Answers that left it open whether something was done.
    unsure: AtomicUsize,
    /// How long the slowest change took, with all its tries.
    slowest: Mutex<Duration>,
}

/// Makes 200 changes through the replicas, `at_half` in their middle, and compares. The first replica's MinIO must be there
/// to the end. Gives the policies and groups at MinIO that nobody has.
pub async fn mixed_changes(world: &World, others: &[World], at_half: impl Fn()) -> BTreeSet<String> {
    let seed: u64 =
        std::env::var("LAKEPASS_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("LAKEPASS_TEST_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut people = BTreeMap::new();
    for name in OWNERS.into_iter().chain(USERS) {
        people.insert(name, world.person(name).await);
    }
    for name in GUESTS {
        people.insert(name, world.stranger(name, &["BERDL_USER"]));
    }
    for group in GROUPS {
        world.members(group, &[], &[]).await;
    }
    let model = Model {
        users: OWNERS.into_iter().chain(USERS).map(str::to_owned).collect(),
        groups: GROUPS.into_iter().map(str::to_owned).collect(),
        ..Model::default()
    };
    let lake = Lake {
        replicas: std::iter::once(world).chain(others).collect(),
        people,
        admin: world.admin().await,
        model: Mutex::new(model),
        made: AtomicUsize::new(0),
        unsure: AtomicUsize::new(0),
        slowest: Mutex::default(),
    };
    let mut cells = cells();
    cells.shuffle(&mut rng);
    let mut rngs = || StdRng::seed_from_u64(rng.random());
    let actors = cells.chunks(cells.len().div_ceil(ACTORS)).map(|cells| lake.actor(cells, rngs()));
    let actors = futures::future::join_all(actors.collect::<Vec<_>>());
    let guests = futures::future::join_all(GUESTS.map(|guest| lake.guest(guest, rngs())));
    let projects = futures::future::join_all(PROJECTS.map(|project| lake.project(project, rngs())));
    let half = async {
        while lake.made.load(Ordering::Relaxed) < 100 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        at_half();
    };
    tokio::join!(actors, guests, projects, half);
    let (made, unsure) = (lake.made.into_inner(), lake.unsure.into_inner());
    println!(
        "{made} changes, {unsure} answers that left it open; the slowest change took {:?}",
        lake.slowest.into_inner().unwrap()
    );
    assert!(made >= 200);
    let model = lake.model.into_inner().unwrap();
    if unsure > 0 {
        reconciled(world).await;
    }
    let nobodys = compare(world, &model).await;
    ask_minio(world, &lake.people, &model).await;
    nobodys
}

/// Repairs until there is nothing to repair for as long as MinIO may come late with something.
async fn reconciled(world: &World) {
    let (started, mut calm) = (Instant::now(), Instant::now());
    while calm.elapsed() < LATE {
        assert!(started.elapsed() < PATIENCE, "there always is something to repair");
        let repairs = world.broker.reconcile().await;
        if !repairs.is_ok_and(|repairs| repairs.iter().all(|repair| matches!(repair.mended, Mended::Left(_)))) {
            calm = Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for owner in OWNERS {
        for path in FOLDERS.map(|folder| format!("users-warehouse/{owner}/{folder}/")) {
            let grantees = USERS.into_iter().chain(GROUPS);
            cells.extend(grantees.map(|grantee| Cell::Grant { owner, path: path.clone(), grantee }));
        }
    }
    for group in GROUPS {
        cells.extend(USERS.map(|user| Cell::Role { group, user }));
    }
    cells
}

impl Lake<'_> {
    async fn actor(&self, cells: &[Cell], mut rng: StdRng) {
        for _ in 0..CHANGES_OF_AN_ACTOR {
            match cells.choose(&mut rng).unwrap() {
                Cell::Grant { owner, path, grantee } => {
                    let access = [Some(Access::Read), Some(Access::Write), None].choose(&mut rng).unwrap();
                    self.give(owner, path, grantee, *access, &mut rng).await;
                }
                Cell::Role { group, user } => {
                    let role =
                        [Some(Role::Reader), Some(Role::Writer), Some(Role::Steward), None].choose(&mut rng).unwrap();
                    self.put(group, user, *role, &mut rng).await;
                }
            }
        }
    }

    /// Somebody who comes, is given and gives, and is deleted; again and again.
    async fn guest(&self, guest: &'static str, mut rng: StdRng) {
        let shared = format!("users-warehouse/{guest}/x/");
        for _ in 0..2 {
            self.change(&self.people[guest], Method::POST, "/sessions", Value::Null, &mut rng).await;
            self.give("alice", &format!("users-warehouse/alice/for-{guest}/"), guest, Some(Access::Write), &mut rng)
                .await;
            self.put("KBase", guest, Some(Role::Writer), &mut rng).await;
            self.give(guest, &shared, "u0", Some(Access::Read), &mut rng).await;
            self.give(guest, &shared, "BER", Some(Access::Write), &mut rng).await;
            self.delete("users", guest, &mut rng).await;
            self.forget(guest);
        }
        if rng.random_bool(0.5) {
            self.change(&self.people[guest], Method::POST, "/sessions", Value::Null, &mut rng).await;
            self.model.lock().unwrap().users.insert(guest.into());
        }
    }

    /// A group that is made, is given and gives, and is deleted.
    async fn project(&self, project: &'static str, mut rng: StdRng) {
        self.put(project, "u1", Some(Role::Steward), &mut rng).await;
        self.give("bob", &format!("users-warehouse/bob/for-{project}/"), project, Some(Access::Read), &mut rng).await;
        let body = json!({"path": format!("groups-warehouse/{project}/x/"), "with_users": ["u2"], "access": "write"});
        self.change(&self.people["u1"], Method::POST, "/users/u1/share", body, &mut rng).await;
        self.delete("groups", project, &mut rng).await;
        self.forget(project);
        if rng.random_bool(0.5) {
            self.put(project, "u3", Some(Role::Reader), &mut rng).await;
            self.model.lock().unwrap().groups.insert(project.into());
        }
    }

    async fn give(&self, owner: &str, path: &str, grantee: &str, access: Option<Access>, rng: &mut StdRng) {
        let is_group = GROUPS.contains(&grantee) || PROJECTS.contains(&grantee);
        let (users, groups) = if is_group { (vec![], vec![grantee]) } else { (vec![grantee], vec![]) };
        let (call, body) = match access {
            Some(access) => {
                ("share", json!({"path": path, "with_users": users, "with_groups": groups, "access": access}))
            }
            None => ("unshare", json!({"path": path, "from_users": users, "from_groups": groups})),
        };
        self.change(&self.people[owner], Method::POST, &format!("/users/{owner}/{call}"), body, rng).await;
        let (cell, mut model) = ((grantee.to_owned(), path.to_owned()), self.model.lock().unwrap());
        match access {
            Some(access) => model.grants.insert(cell, access),
            None => model.grants.remove(&cell),
        };
    }

    async fn put(&self, group: &str, user: &str, role: Option<Role>, rng: &mut StdRng) {
        let body = match role {
            Some(role) => json!({"add_members": [{"username": user, "role": role}]}),
            None => json!({"remove_members": [user]}),
        };
        self.change(&self.admin, Method::POST, &format!("/groups/{group}"), body, rng).await;
        let (cell, mut model) = ((group.to_owned(), user.to_owned()), self.model.lock().unwrap());
        match role {
            Some(role) => model.roles.insert(cell, role),
            None => model.roles.remove(&cell),
        };
    }

    async fn delete(&self, kind: &str, name: &str, rng: &mut StdRng) {
        self.change(&self.admin, Method::DELETE, &format!("/admin/{kind}/{name}"), Value::Null, rng).await;
    }

    /// What the end of a user or a group means.
    fn forget(&self, name: &str) {
        let mut model = self.model.lock().unwrap();
        let theirs = |path: &str| path.contains(&format!("-warehouse/{name}/"));
        model.grants.retain(|(grantee, path), _| grantee != name && !theirs(path));
        model.roles.retain(|(group, user), _| group != name && user != name);
        model.users.remove(name);
        model.groups.remove(name);
    }

    /// Asks replicas until one has done it.
    async fn change(&self, who: &Person, method: Method, path: &str, body: Value, rng: &mut StdRng) {
        let (started, mut tried) = (Instant::now(), false);
        loop {
            let replica = self.replicas.choose(rng).unwrap();
            let answer = replica.call(who, method.clone(), path, body.clone()).await;
            // It says what is open for another reason, by a group for example.
            let still_open = answer.status == 207 && answer.json.to_string().contains("still open");
            match answer.status {
                200 | 204 => break,
                207 if still_open && path.ends_with("/unshare") => break,
                // Done by the try before, whose answer was an outage.
                404 if tried && method == Method::DELETE => break,
                503 if started.elapsed() < PATIENCE => {
                    self.unsure.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                status => panic!("{who}: {method} {path} {body}: {status} {}", answer.json, who = who.name),
            }
            tried = true;
        }
        self.made.fetch_add(1, Ordering::Relaxed);
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = started.elapsed().max(*slowest);
    }
}

/// Everything of one kind that is in the ledger.
async fn documents<D: DeserializeOwned>(world: &World, folder: &str) -> Vec<D> {
    let s3 = world.s3(&world.root());
    let list = s3.list_objects_v2().bucket(&world.ledger_bucket).prefix(folder).send().await.unwrap();
    let mut documents = Vec::new();
    for object in list.contents().iter().filter(|object| object.size() != Some(0)) {
        let get = s3.get_object().bucket(&world.ledger_bucket).key(object.key().unwrap()).send().await.unwrap();
        documents.push(serde_json::from_slice(&get.body.collect().await.unwrap().to_vec()).unwrap());
    }
    documents
}

/// The ledger is as the model says, and MinIO as the ledger says. Gives the policies that nobody has, and the groups with
/// nobody and nothing in them.
async fn compare(world: &World, model: &Model) -> BTreeSet<String> {
    let users: Vec<UserDoc> = documents(world, "users/").await;
    let groups: Vec<GroupDoc> = documents(world, "groups/").await;
    let mut ledger = Model::default();
    let of_users = users.iter().map(|doc| (doc.username.as_str(), &doc.grants));
    for (grantee, grants) in of_users.chain(groups.iter().map(|doc| (doc.group.as_str(), &doc.grants))) {
        let grants = grants.iter().map(|(path, grant)| ((grantee.to_owned(), path.to_string()), grant.access));
        ledger.grants.extend(grants);
    }
    for doc in &groups {
        assert!(!doc.deleting, "{doc:?}");
        let roles = doc.members.iter().map(|(user, role)| ((doc.group.to_string(), user.to_string()), *role));
        ledger.roles.extend(roles);
    }
    ledger.users = users.iter().map(|doc| doc.username.to_string()).collect();
    ledger.groups = groups.iter().map(|doc| doc.group.to_string()).collect();
    assert_eq!(ledger, *model, "the ledger and the model");

    let mut minio = world.minio().inventory().await.unwrap();
    minio.users.retain(|name, _| name.starts_with(PREFIX));
    minio.groups.retain(|name, _| name.starts_with(PREFIX));
    minio.policies.retain(|name, _| name.starts_with(PREFIX));
    let mut attached = BTreeSet::new();
    let mut expected = BTreeSet::new();
    for doc in &groups {
        for role in [Role::Reader, Role::Writer] {
            let name = MinioGroup::new(&doc.group, &doc.incarnation, role).as_str().to_owned();
            let info = &minio.groups[&name];
            let in_it = |user: &&UserDoc| doc.members.get(&user.username).is_some_and(|r| r.access() == role.access());
            let members: BTreeSet<&str> =
                users.iter().filter(in_it).map(|user| user.session_user.user.as_str()).collect();
            assert_eq!(info.members.iter().map(String::as_str).collect::<BTreeSet<_>>(), members, "{name}");
            attached.extend(names(&info.policy));
            expected.insert(name);
        }
    }
    let is_empty = |info: &GroupInfo| info.members.is_empty() && info.policy.is_empty();
    let mut nobodys: BTreeSet<String> = minio.policies.keys().cloned().collect();
    for (group, info) in &minio.groups {
        assert!(expected.contains(group) || is_empty(info), "{group}: {info:?}");
    }
    nobodys.extend(minio.groups.keys().filter(|group| !expected.contains(*group)).cloned());
    let expected: BTreeSet<String> = users.iter().map(|doc| doc.session_user.user.to_string()).collect();
    assert_eq!(minio.users.keys().cloned().collect::<BTreeSet<_>>(), expected, "MinIO's users");
    let admin = world.admin().await;
    for doc in &users {
        let info = &minio.users[doc.session_user.user.as_str()];
        let of_groups = info.member_of.iter().map(|group| minio.groups[group].policy.as_str());
        let theirs: BTreeSet<String> =
            std::iter::once(info.policy_name.as_str()).chain(of_groups).flat_map(names).collect();
        let view = world.get(&admin, &format!("/users/{}", doc.username)).await.json;
        let said: BTreeSet<String> =
            view["policies"].as_array().unwrap().iter().map(|policy| canonical(policy.clone()).to_string()).collect();
        let is: BTreeSet<String> = theirs.iter().map(|name| minio.policies[name].to_string()).collect();
        assert_eq!((info.status, is), (Status::Enabled, said), "{}", doc.username);
        attached.extend(theirs);
    }
    nobodys.retain(|name| !attached.contains(name));
    nobodys
}

fn names(list: &str) -> BTreeSet<String> {
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// MinIO decides as the model says, for everybody and every folder.
async fn ask_minio(world: &World, people: &BTreeMap<&'static str, Person>, model: &Model) {
    for (name, person) in people.iter().filter(|(name, _)| model.users.contains(**name)) {
        let keys = world.session(person, json!("lake")).await;
        let roles = model.roles.iter().filter(|((_, user), _)| user == name);
        let most = roles.map(|((group, _), role)| (group.as_str(), role.access())).chain([(*name, Access::Write)]);
        let most: BTreeMap<&str, Access> = most.collect();
        let folders = cells().into_iter().filter_map(|cell| match cell {
            Cell::Grant { path, .. } => Some(path),
            Cell::Role { .. } => None,
        });
        let of_projects = PROJECTS.map(|project| format!("users-warehouse/bob/for-{project}/"));
        for folder in folders.chain(of_projects).collect::<BTreeSet<_>>() {
            let has = most.iter().filter_map(|(by, most)| {
                model.grants.get(&((*by).to_owned(), folder.clone())).map(|access| *most.min(access))
            });
            let has =
                if folder.starts_with(&format!("users-warehouse/{name}/")) { Some(Access::Write) } else { has.max() };
            let key = format!("{folder}x");
            assert_eq!(world.can_list(&keys, &folder).await, has.is_some(), "{name} {folder} {has:?}");
            assert_eq!(world.can_put(&keys, &key).await, has == Some(Access::Write), "{name} {folder} {has:?}");
        }
    }
}
