//! The broker is killed (SIGKILL) after each of its writes, in each kind of change. After the next start, and the
//! reconciler's first pass, the change has happened, or it has not; and at no time anybody has more than one of the two gives.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    process::Stdio,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::{StreamExt, stream};
use jiff::{Timestamp, ToSpan};
use lakepass::{
    Clock,
    broker::Broker,
    config::Config,
    dev::minio_server::MinioServer,
    minio::{Inventory, Minio, MinioGroup, MinioUser},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    programs::lakepass,
    support::{Keys, Person, World, eventually, start_minio},
};

/// The buckets are made before anything else, in three writes; this is after the first one of the change.
const FIRST_POINT: u32 = 8;

/// From one point to the next. The point before a write is passed over: the world is then as it was after the write before.
fn every() -> usize {
    std::env::var("CRASH_EVERY").map_or(2, |points| points.parse().unwrap())
}

/// Of a user's decisions: two for each folder, of which KBase's workspace is the fourth.
const ALL_PROBES: Range<usize> = 0..10;
const KBASE_PROBES: Range<usize> = 6..8;

/// How many worlds there are at a time.
const SIDE_BY_SIDE: usize = 4;

/// Of all tests here.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A MinIO of their own: the reconciler looks at all that there is.
fn minio() -> &'static MinioServer {
    static SERVER: OnceLock<MinioServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        let start = || tokio::runtime::Runtime::new().unwrap().block_on(start_minio());
        std::thread::spawn(start).join().unwrap()
    })
}

type Request = (&'static str, Method, &'static str, Value);

/// What happens before, then what the broker is killed at, and what is asked after the next start anyway. `alice`, `bob`, `carol`, `KBase` and `BER` stand for names
/// that no other world has, `SOON` for a time to come.
struct Kind {
    before: Vec<Request>,
    change: Vec<Request>,
    then: Vec<Request>,
}

/// Alice is a steward of KBase; bob reads her `x`, and has a session and a lake key.
struct Scene {
    world: World,
    /// What the names are in this world.
    number: String,
    people: BTreeMap<&'static str, Person>,
    minio: Minio,
    /// Keys that are out before the change.
    old: Vec<(&'static str, Keys)>,
}

/// What there is, with the names that differ from world to world taken out.
#[derive(Debug, PartialEq, Eq)]
struct Seen(Vec<String>);

/// What keys may do: `+` or `-` for each probe.
type Decisions = Vec<(&'static str, String)>;

/// A clock that goes before the others: what broke off a minute ago is no change under way.
struct Later;

impl Clock for Later {
    fn now(&self) -> Timestamp {
        Timestamp::now() + 2.minutes()
    }
}

impl Scene {
    async fn new(kind: &Kind) -> Self {
        let world = World::on(minio(), &[("LAKEPASS_KBASE_KEY_OVERLAP", "2")]).await;
        let number = world.bucket.rsplit('-').next().unwrap().to_owned();
        let mut people = BTreeMap::from([("dana", world.admin().await)]);
        for name in ["alice", "bob"] {
            people.insert(name, world.person(&format!("{name}{number}")).await);
        }
        people.insert("carol", world.stranger(&format!("carol{number}"), &["BERDL_USER"]));
        let minio = Minio::new(config(&world).minio).unwrap();
        let mut scene = Self { world, number, people, minio, old: Vec::new() };
        let x = json!({"path": "users-warehouse/alice/x/", "with_users": ["bob"]});
        let stewards = json!({"add_members": [{"username": "alice", "role": "steward"}]});
        scene.ask_all(&[("dana", Method::POST, "/groups/KBase", stewards)]).await;
        scene.ask_all(&[("alice", Method::POST, "/users/alice/share", x)]).await;
        scene.world.seed(&scene.named("users-warehouse/bob/data")).await;
        let bob = &scene.people["bob"];
        let keys =
            [("session", scene.world.session(bob, json!("lake")).await), ("key", scene.world.lake_key(bob).await)];
        scene.old.extend(keys);
        scene.ask_all(&kind.before).await;
        scene
    }

    /// A text with the names of this world in it.
    fn named(&self, text: &str) -> String {
        let name = |text: String, name: &str| text.replace(name, &format!("{name}{}", self.number));
        let text = text.replace("SOON", &(Timestamp::now() + 2.seconds()).to_string());
        ["alice", "bob", "carol", "KBase", "BER"].into_iter().fold(text, name)
    }

    /// Asks the broker of this process, which does it.
    async fn ask_all(&self, requests: &[Request]) {
        for request in requests {
            // A busy machine may not keep the broker's time limits; that is no matter here.
            let mut tries = 0..5;
            loop {
                match self.ask(&self.world.url, request).await {
                    Some(200 | 204) => break,
                    status => assert!(status == Some(503) && tries.next().is_some(), "{request:?}: {status:?}"),
                }
            }
        }
    }

    /// `None`: whoever was asked is gone.
    async fn ask(&self, url: &str, (who, method, path, body): &Request) -> Option<u16> {
        let request = self.world.http.request(method.clone(), format!("{url}{}", self.named(path)));
        let request = request.header("authorization", &self.people[who].token);
        let body = self.named(&body.to_string());
        let request =
            if body == "null" { request } else { request.header("content-type", "application/json").body(body) };
        Some(request.send().await.ok()?.status().as_u16())
    }

    /// Asks a broker that is to be killed at this point. `false`: it was done before it came there.
    async fn ask_until_killed(&self, change: &[Request], point: u32) -> bool {
        if change.is_empty() {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let mut command = tokio::process::Command::from(lakepass(&["serve"]));
        let mut serving = command
            .envs(settings(&self.world))
            .envs([("LAKEPASS_LISTEN", "127.0.0.1:0"), ("LAKEPASS_RECONCILE_EVERY", "0")])
            .env("LAKEPASS_FAULT_AT", point.to_string())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(serving.stderr.take().unwrap()).lines();
        let mut url = String::new();
        loop {
            let line = log.next_line().await.unwrap().expect("it is not killed before it is there");
            let fields = serde_json::from_str::<Value>(&line).unwrap()["fields"].clone();
            if let Some(address) = fields["address"].as_str() {
                url = format!("http://{address}");
            }
            if fields["message"] == "both buckets are there" {
                break;
            }
        }
        let drained = tokio::spawn(async move { while log.next_line().await.unwrap().is_some() {} });
        let mut was_killed = false;
        for request in change {
            match self.ask(&url, request).await {
                Some(status) => assert!(matches!(status, 200 | 204), "{request:?}: {status}"),
                None => {
                    was_killed = true;
                    break;
                }
            }
        }
        if change.is_empty() {
            // It is due without being asked.
            eventually("what is due is done", Duration::from_secs(20), async || {
                was_killed = serving.try_wait().unwrap().is_some();
                let ends = |document: &str| document.contains("expires_at") || document.contains("ends_at");
                was_killed || !self.ledger().await.iter().any(|(_, document)| ends(document))
            })
            .await;
            // It is not done with the ledger alone.
            let _ = tokio::time::timeout(Duration::from_secs(1), serving.wait()).await;
            was_killed = serving.try_wait().unwrap().is_some();
        }
        if was_killed {
            use std::os::unix::process::ExitStatusExt;
            assert_eq!(serving.wait().await.unwrap().signal(), Some(9));
        } else {
            serving.kill().await.unwrap();
        }
        drained.await.unwrap();
        was_killed
    }

    /// What a broker does when it starts.
    async fn start_again(&self) {
        let Config { minio, ledger_bucket, lake, templates, sessions, .. } = config(&self.world);
        let minio = Arc::new(Minio::new(minio).unwrap());
        let broker = Broker::new(minio, ledger_bucket, lake, templates, sessions, 0, Arc::new(Later));
        broker.remove_ended_grants().await.unwrap();
        broker.remove_ended_lake_keys().await.unwrap();
        broker.reconcile().await.unwrap();
    }

    async fn decisions(&self, keys: &[(&'static str, Keys)]) -> Decisions {
        let decide = keys.iter().map(async |(of, keys)| {
            let mut allowed = String::new();
            for folder in [
                "users-warehouse/alice/x/",
                "users-warehouse/alice/y/",
                "users-warehouse/bob/",
                "groups-warehouse/KBase/",
                "groups-warehouse/BER/",
            ] {
                let folder = self.named(folder);
                for is_allowed in [
                    self.world.can_list(keys, &folder).await,
                    self.world.can_put(keys, &format!("{folder}probe")).await,
                ] {
                    allowed.push(if is_allowed { '+' } else { '-' });
                }
            }
            (*of, allowed)
        });
        futures::future::join_all(decide).await
    }

    /// The documents that are not buried.
    async fn ledger(&self) -> Vec<(String, String)> {
        let (root, bucket) = (self.world.s3(&self.world.root()), &self.world.ledger_bucket);
        let objects = root.list_objects_v2().bucket(bucket).send().await.unwrap().contents.unwrap_or_default();
        let mut documents = Vec::new();
        for key in objects.into_iter().filter(|object| object.size > Some(0)).filter_map(|object| object.key) {
            let object = root.get_object().bucket(bucket).key(&key).send().await.unwrap();
            let body = object.body.collect().await.unwrap().to_vec();
            documents.push((key, String::from_utf8(body).unwrap()));
        }
        documents
    }

    async fn seen(&self) -> Seen {
        let mut seen = Vec::new();
        let mut labels: Vec<(String, String)> = Vec::new();
        let mut idle: BTreeSet<String> = BTreeSet::new();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let documents = self.ledger().await;
        for (key, document) in &documents {
            let mut document: Value = serde_json::from_str(document).unwrap();
            for (field, label) in [("session_user", "SESSION"), ("key_user", "KEY")] {
                labels.extend(text(&document[field]["user"]).map(|user| (user, format!("{label} {key}"))));
            }
            for (i, key) in document["lake_keys"].as_array().into_iter().flatten().enumerate() {
                labels.extend(text(&key["access_key"]).map(|key| (key, format!("LAKE KEY {i}"))));
            }
            labels.extend(text(&document["incarnation"]).map(|life| (life, "LIFE".to_owned())));
            // Nobody has the secret of a MinIO user for lake keys: without keys it gives nobody anything.
            if document["lake_keys"] == json!([]) {
                idle.extend(text(&document["key_user"].take()["user"]));
            }
            if key != "lake.json" {
                forget(&mut document, &["revision", "created_at", "given_at", "groups", "given", "expires_at"]);
                seen.push(format!("{key}: {document}"));
            }
        }
        let at_minio = self.at_minio().await;
        let says = |names: &str| {
            let names = names.split(',').filter(|name| !name.is_empty());
            names.map(|name| at_minio.policies.get(name).map(Value::to_string)).collect::<Vec<_>>()
        };
        for (name, info) in &at_minio.users {
            let enabled = info.status == lakepass::minio::Status::Enabled;
            // Nothing can be taken off who is disabled.
            let policies = if enabled { says(&info.policy_name) } else { Vec::new() };
            let keys = at_minio.access_keys.get(name).cloned().unwrap_or_default();
            if keys.is_empty() && idle.contains(name) {
                continue;
            }
            let mut groups = info.member_of.clone();
            groups.sort();
            seen.push(format!("{name}: {enabled} {groups:?} {keys:?} {policies:?}"));
        }
        for (name, info) in &at_minio.groups {
            seen.push(format!("{name}: {:?} {:?}", info.status, says(&info.policy)));
        }
        let in_use: String = at_minio.users.values().map(|info| info.policy_name.as_str()).collect();
        for (name, document) in &at_minio.policies {
            // One that hangs on who is disabled is what it was.
            if !in_use.contains(name) {
                seen.push(format!("policy {}: {document}", &name[..name.len() - 17]));
            }
        }
        let root = self.world.s3(&self.world.root());
        let data =
            root.get_object().bucket(&self.world.bucket).key(self.named("users-warehouse/bob/data")).send().await;
        seen.push(format!("bob's data: {}", data.is_ok()));
        let without_names = |line: String| {
            let line = labels.iter().fold(line, |line, (name, label)| line.replace(name, label));
            line.replace(&self.world.bucket, "LAKE")
        };
        let mut seen: Vec<String> = seen.into_iter().map(without_names).collect();
        for name in ["alice", "bob", "carol", "KBase", "BER", "kbase", "ber"] {
            seen.iter_mut().for_each(|line| *line = line.replace(&format!("{name}{}", self.number), name));
        }
        seen.sort();
        Seen(seen)
    }

    /// What MinIO has of this world.
    async fn at_minio(&self) -> Inventory {
        let mut all = self.minio.inventory().await.unwrap();
        let ours = ["alice", "bob", "carol", "KBase", "BER"].map(|name| self.named(&format!("lakepass-{name}")) + "-");
        let is_ours = |name: &String| ours.iter().any(|ours| name.starts_with(ours));
        all.users.retain(|name, _| is_ours(name));
        all.groups.retain(|name, _| is_ours(name));
        all.policies.retain(|name, _| is_ours(name));
        all
    }

    /// What new keys may do, for who is given some.
    async fn new_decisions(&self) -> Decisions {
        let mut new = Vec::new();
        for name in ["alice", "bob"] {
            let answer = self.world.post(&self.people[name], "/sessions", json!({"scope": "lake"})).await;
            if answer.status == 200 {
                new.push((name, Keys::of_session(&answer.json)));
            }
        }
        self.decisions(&new).await
    }

    /// Takes everything of this world away, so that there is not more and more to look at.
    async fn clear(self) {
        let at_minio = self.at_minio().await;
        for user in at_minio.users.into_keys() {
            self.minio.remove_user(&MinioUser::from(user)).await.unwrap();
        }
        for group in at_minio.groups.into_keys() {
            self.minio.remove_group(&MinioGroup::from(group)).await.unwrap();
        }
        for policy in at_minio.policies.into_keys() {
            self.minio.remove_policy(&policy).await.unwrap();
        }
    }
}

fn settings(world: &World) -> BTreeMap<&'static str, String> {
    let root = world.root();
    BTreeMap::from([
        ("LAKEPASS_MINIO_URL", world.minio_url.clone()),
        ("LAKEPASS_MINIO_ROOT_USER", root.access_key),
        ("LAKEPASS_MINIO_ROOT_PASSWORD", root.secret_key),
        ("LAKEPASS_KBASE_AUTH_URL", world.auth.as_ref().unwrap().url()),
        ("LAKEPASS_REQUIRED_ROLES", "BERDL_USER".into()),
        ("LAKEPASS_ADMIN_ROLES", "KBASE_ADMIN".into()),
        ("LAKEPASS_BUCKET", world.bucket.clone()),
        ("LAKEPASS_LEDGER_BUCKET", world.ledger_bucket.clone()),
        ("LAKEPASS_KBASE_KEY_OVERLAP", "2".into()),
    ])
}

fn config(world: &World) -> Config {
    let settings = settings(world);
    Config::load(None, &|name| settings.get(name).cloned()).unwrap()
}

fn forget(value: &mut Value, fields: &[&str]) {
    match value {
        Value::Object(object) => {
            object.retain(|name, _| !fields.contains(&name.as_str()));
            object.values_mut().for_each(|value| forget(value, fields));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| forget(item, fields)),
        _ => {}
    }
}

/// What is so after the reconciler's first pass: the world, what old keys may do, what new ones may.
#[derive(Debug, PartialEq, Eq)]
struct After {
    seen: Seen,
    old: Decisions,
    new: Decisions,
}

impl After {
    /// What is here and not there, and what is there and not here.
    fn difference(&self, other: &Self) -> Vec<String> {
        let lines = |world: &Self| {
            let decisions = world.old.iter().chain(&world.new).map(|(of, decisions)| format!("{of} {decisions}"));
            world.seen.0.iter().cloned().chain(decisions).collect::<Vec<String>>()
        };
        let (here, there) = (lines(self), lines(other));
        let more = here.iter().filter(|line| !there.contains(line)).map(|line| format!("+ {line}"));
        more.chain(there.iter().filter(|line| !here.contains(line)).map(|line| format!("- {line}"))).collect()
    }
}

/// How it is when these were done and nobody was killed.
async fn after(kind: &Kind, done: &[Request]) -> After {
    let scene = Scene::new(kind).await;
    scene.ask_all(done).await;
    settled(scene, &kind.then).await
}

async fn settled(scene: Scene, then: &[Request]) -> After {
    scene.start_again().await;
    scene.ask_all(then).await;
    let (seen, old) = (scene.seen().await, scene.decisions(&scene.old).await);
    let new = scene.new_decisions().await;
    scene.clear().await;
    After { seen, old, new }
}

/// Kills the broker at every point of the change.
async fn at_every_point(name: &str, kind: Kind) {
    let _turn = TURN.lock().await;
    let started = std::time::Instant::now();
    let prefixes = (0..=kind.change.len()).map(|done| after(&kind, &kind.change[..done]));
    let allowed: Vec<After> = stream::iter(prefixes).buffered(SIDE_BY_SIDE).collect().await;
    let gives = |of: &str, probe: usize| {
        let mut decisions = allowed.iter().flat_map(|world| &world.old);
        decisions.any(|(other, decisions)| *other == of && decisions.as_bytes()[probe] == b'+')
    };
    let mut points = stream::iter((FIRST_POINT..).step_by(every())).map(async |point| {
        let scene = Scene::new(&kind).await;
        let was_killed = scene.ask_until_killed(&kind.change, point).await;
        for (of, decisions) in scene.decisions(&scene.old).await {
            for (probe, _) in decisions.match_indices('+') {
                assert!(gives(of, probe), "{name}, killed at {point}: {of} may {decisions}");
            }
        }
        if let Some((whose, _)) =
            scene.ledger().await.iter().find(|(_, document)| document.contains("\"purging\":true"))
        {
            // Data is deleted by who asked for that, only: nobody has any access, and asking again finishes it.
            scene.start_again().await;
            let probes = if whose.starts_with("groups/") { KBASE_PROBES } else { ALL_PROBES };
            for (of, decisions) in scene.decisions(&scene.old).await {
                let open = decisions[probes.clone()].contains('+');
                assert!(!open, "{name}, killed at {point}: {whose} is half deleted, and {of} may {decisions}");
            }
            scene.ask_all(&kind.change).await;
        }
        let after = settled(scene, &kind.then).await;
        let differs = |world| format!("{:#?}", after.difference(world));
        let is_one = allowed.contains(&after);
        assert!(is_one, "{name}, killed at {point}: {}", allowed.iter().map(differs).collect::<String>());
        was_killed
    });
    let points_hit = points.by_ref().buffered(SIDE_BY_SIDE).take_while(|was_killed| std::future::ready(*was_killed));
    let points_hit = points_hit.count().await;
    println!("{name}: killed at {points_hit} points, {:?}", started.elapsed());
    assert!(points_hit >= 1, "{name} has no point");
}

fn post(who: &'static str, path: &'static str, body: Value) -> Request {
    (who, Method::POST, path, body)
}

fn delete(path: &'static str) -> Request {
    ("dana", Method::DELETE, path, Value::Null)
}

fn member(role: &str) -> Value {
    json!({"add_members": [{"username": "bob", "role": role}]})
}

/// Alice shares a folder with bob (`with_users`) or with KBase (`with_groups`).
fn share(path: &str, with: &str, name: &str, access: &str) -> Request {
    post("alice", "/users/alice/share", json!({"path": path, with: [name], "access": access}))
}

fn with(before: Vec<Request>, change: Vec<Request>) -> Kind {
    Kind { before, change, then: Vec::new() }
}

async fn each(kinds: Vec<(&str, Kind)>) {
    for (name, kind) in kinds {
        at_every_point(name, kind).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`tests/crashes` runs it: it wants the machine for itself"]
async fn shares() {
    let unshare = json!({"path": "users-warehouse/alice/x/", "from_users": ["bob"]});
    let unshare_group = json!({"path": "users-warehouse/alice/y/", "from_groups": ["KBase"]});
    let y = share("users-warehouse/alice/y/", "with_groups", "KBase", "write");
    let join = post("dana", "/groups/KBase", member("writer"));
    let y_for_a_moment = json!({"path": "users-warehouse/alice/y/", "with_users": ["bob"], "expires_at": "SOON"});
    each(vec![
        ("a share ended", with(vec![post("alice", "/users/alice/share", y_for_a_moment)], vec![])),
        ("shared", with(vec![], vec![share("users-warehouse/alice/y/", "with_users", "bob", "read")])),
        ("shared to write", with(vec![], vec![share("users-warehouse/alice/x/", "with_users", "bob", "write")])),
        ("shared with a group", with(vec![join.clone()], vec![y.clone()])),
        ("unshared", with(vec![], vec![post("alice", "/users/alice/unshare", unshare)])),
        ("unshared with a group", with(vec![join, y], vec![post("alice", "/users/alice/unshare", unshare_group)])),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`tests/crashes` runs it: it wants the machine for itself"]
async fn groups() {
    let join = |role| post("dana", "/groups/KBase", member(role));
    let leave = post("dana", "/groups/KBase", json!({"remove_members": ["bob"]}));
    let y = |how: &str| json!({how: [{"path": "users-warehouse/alice/y/", "access": "write"}]});
    let shared = || vec![share("users-warehouse/alice/y/", "with_groups", "KBase", "write"), join("writer")];
    each(vec![
        ("a group made", with(vec![], vec![post("dana", "/groups/BER", member("reader"))])),
        ("member in", with(vec![], vec![join("writer")])),
        ("member out", with(shared(), vec![leave])),
        ("role changed", with(shared(), vec![join("reader")])),
        ("a folder given", with(vec![join("writer")], vec![post("alice", "/groups/KBase", y("add_paths"))])),
        ("a folder taken back", with(shared(), vec![post("alice", "/groups/KBase", y("remove_paths"))])),
        ("group deleted", with(shared(), vec![delete("/admin/groups/KBase")])),
        ("group deleted with data", with(shared(), vec![delete("/admin/groups/KBase?purge=true")])),
        ("group deleted and made again", with(shared(), vec![delete("/admin/groups/KBase"), join("reader")])),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`tests/crashes` runs it: it wants the machine for itself"]
async fn keys() {
    each(vec![
        ("first sign-in", with(vec![], vec![post("carol", "/sessions", Value::Null)])),
        ("sessions revoked", with(vec![], vec![delete("/admin/users/bob/sessions")])),
        ("sessions and keys revoked", with(vec![], vec![delete("/admin/users/bob/sessions?lake_keys=true")])),
        ("lake key issued", with(vec![], vec![post("alice", "/users/alice", Value::Null)])),
        ("lake key rotated", with(vec![], vec![post("bob", "/users/bob", Value::Null)])),
    ])
    .await;
}

/// A key that KBase's clients ask for shows as soon as they ask again.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "`tests/crashes` runs it: it wants the machine for itself"]
async fn derived_keys() {
    let ask = || vec![("alice", Method::GET, "/credentials/", Value::Null)];
    let rotate = || post("alice", "/credentials/rotate", Value::Null);
    let and_ask = |before, change| Kind { then: ask(), ..with(before, change) };
    each(vec![
        ("derived key issued", and_ask(vec![], ask())),
        ("derived key rotated", and_ask(ask(), vec![rotate()])),
        ("an earlier derived key ended", and_ask([ask(), vec![rotate()]].concat(), vec![])),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "`tests/crashes` runs it: it wants the machine for itself"]
async fn accounts() {
    let disable = || post("dana", "/admin/users/bob/disable", Value::Null);
    let enable = post("dana", "/admin/users/bob/enable", Value::Null);
    let gave = || {
        let body = json!({"path": "users-warehouse/bob/", "with_users": ["alice"]});
        vec![post("bob", "/users/bob/share", body), post("dana", "/groups/KBase", member("writer"))]
    };
    each(vec![
        ("disabled", with(vec![], vec![disable()])),
        ("enabled", with(vec![disable()], vec![enable])),
        ("deleted", with(gave(), vec![delete("/admin/users/bob")])),
        ("deleted with data", with(gave(), vec![delete("/admin/users/bob?purge=true")])),
        (
            "deleted and made again",
            with(gave(), vec![delete("/admin/users/bob"), post("bob", "/sessions", Value::Null)]),
        ),
    ])
    .await;
}
