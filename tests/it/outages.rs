//! MinIO or the auth service away, in whatever way: 503 soon, `/readyz` says which, what is known goes on being served, and all
//! is well soon after they are back.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, future::join_all, stream};
use jiff::{Timestamp, ToSpan};
use lakepass::{
    SystemClock,
    dev::kbase_auth::{AccountSpec, KbaseAuth, Mfa, TokenKind, TokenSpec},
    identity::Token,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    faults::{Fault, FaultyWay, NONSENSE},
    no_leak::{Broker, Who, calls, endings},
    support::{Person, World, eventually, minio_folder, shared_minio, start_minio_in},
};

const CREDENTIALS: &str = "/aws/container-credentials";
/// The default.
const SOON: (&str, &str) = ("LAKEPASS_ANSWER_LIMIT", "2500");
const SECOND: Duration = Duration::from_secs(1);

/// Everything that needs MinIO.
const CALLS: [(Method, &str); 12] = [
    (Method::POST, "/sessions"),
    (Method::GET, "/sessions"),
    (Method::DELETE, "/sessions"),
    (Method::GET, "/me"),
    (Method::POST, "/users/dana"),
    (Method::POST, "/users/dana/share"),
    (Method::POST, "/users/dana/unshare"),
    (Method::GET, "/access?path=users-warehouse/dana"),
    (Method::POST, "/groups/KBase"),
    (Method::GET, "/admin/users"),
    (Method::POST, "/admin/users/alice/disable"),
    (Method::DELETE, "/admin/groups/KBase"),
];

fn body(path: &str) -> Value {
    let many: Vec<String> = (0..100).map(|i| format!("somebody{i}")).collect();
    match path {
        "/users/dana/share" => json!({"path": "users-warehouse/dana/x", "with_users": many, "with_groups": ["KBase"]}),
        "/users/dana/unshare" => {
            json!({"path": "users-warehouse/dana/x", "from_users": many, "from_groups": ["KBase"]})
        }
        _ => Value::Null,
    }
}

/// Answers in time, and what is no success is an outage that says so.
async fn in_time(world: &World, who: &Person, method: Method, path: &str) -> u16 {
    let started = Instant::now();
    let answer = world.call(who, method.clone(), path, body(path)).await;
    let took = started.elapsed();
    assert!(took < Duration::from_secs(3), "{method} {path} took {took:?}");
    if !(200..300).contains(&answer.status) {
        assert_eq!(answer.status, 503, "{method} {path}: {}", answer.json);
        assert_eq!(answer.json["type"], "urn:lakepass:problem:unavailable");
        assert!(answer.headers.contains_key("retry-after"), "{method} {path}");
    }
    answer.status
}

async fn is_an_outage(world: &World, who: &Person, method: Method, path: &str) {
    assert_eq!(in_time(world, who, method.clone(), path).await, 503, "{method} {path}");
}

/// A busy machine may not be in time at first.
async fn first_keys(world: &World, who: &Person) -> Value {
    let mut keys = Value::Null;
    eventually("there are keys", 20 * SECOND, async || {
        let answer = world.get(who, CREDENTIALS).await;
        keys = answer.json;
        answer.status == 200
    })
    .await;
    keys
}

async fn first_me(world: &World, who: &Person) {
    eventually("they are recognised", 20 * SECOND, async || world.get(who, "/me").await.status == 200).await;
}

/// The session keys that were there before: the same ones, and before SDKs give up.
async fn still_gives(world: &World, who: &Person, keys: &Value) {
    let started = Instant::now();
    let answer = world.get(who, CREDENTIALS).await;
    assert_eq!((answer.status, &answer.json), (200, keys));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

async fn readiness(world: &World) -> (u16, Value) {
    let answer = world.http.get(format!("{}/readyz", world.url)).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn says(world: &World, auth: &str, minio: &str) {
    let expected = json!({"auth": auth, "minio": minio});
    eventually("/readyz says so", Duration::from_secs(4), async || readiness(world).await.1 == expected).await;
    let status = if auth == "ok" && minio == "ok" { 200 } else { 503 };
    assert_eq!(readiness(world).await.0, status);
}

async fn is_back(world: &World, who: &Person) {
    eventually("it is back", 2 * SECOND, async || world.get(who, "/me").await.status == 200).await;
    says(world, "ok", "ok").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_misbehaves_in_every_way() {
    let ways = [Fault::Closed, Fault::Hanging].into_iter().chain(NONSENSE).map(async |fault| {
        let way = FaultyWay::to(shared_minio().address).await;
        let world = World::on(shared_minio(), &[SOON, ("LAKEPASS_MINIO_URL", &way.url)]).await;
        let admin = world.admin().await;
        let keys = first_keys(&world, &admin).await;
        way.set(fault);
        join_all(CALLS.map(|(method, path)| is_an_outage(&world, &admin, method, path))).await;
        still_gives(&world, &admin, &keys).await;
        says(&world, "ok", "unavailable").await;
        way.set(Fault::None);
        is_back(&world, &admin).await;
        still_gives(&world, &admin, &keys).await;
    });
    join_all(ways).await;
}

/// At every address there is, in whatever protocol.
#[tokio::test(flavor = "multi_thread")]
async fn without_minio_every_address_says_so() {
    let needs_none = [
        "GET /healthz",
        "GET /readyz",
        "GET /openapi.json",
        "GET /console",
        "GET /workspaces/me/sql-warehouse-prefix",
        "GET /workspaces/me/namespace-prefix",
    ];
    let may_take_longer = [
        "POST /console-login",
        "GET /admin/drift",
        "POST /admin/reconcile",
        "DELETE /admin/groups/{group}",
        "DELETE /admin/users/{user}",
    ];
    for fault in [Fault::Closed, Fault::Hanging] {
        let way = FaultyWay::to(shared_minio().address).await;
        let world = World::on(shared_minio(), &[SOON, ("LAKEPASS_MINIO_URL", &way.url)]).await;
        let (admin, alice) = (world.admin().await, world.person("alice").await);
        world.members("KBase", &[("alice", "steward")], &[]).await;
        for person in [&admin, &alice] {
            first_me(&world, person).await;
        }
        let tokens = BTreeMap::from([(Who::Alice, alice.token.clone()), (Who::Admin, admin.token)]);
        let broker = Broker { url: world.url.clone(), http: world.http.clone(), tokens };
        way.set(fault);
        let calls = calls(&world.bucket, &alice.token).into_iter().chain(endings());
        let calls = calls.filter(|call| call.who != Who::Jwt && !needs_none.contains(&call.operation));
        let asks = calls.map(async |call| {
            let started = Instant::now();
            let answer = broker.call(&call).await;
            let (took, operation) = (started.elapsed(), call.operation);
            assert_eq!(answer.status, 503, "{operation}: {}", answer.text);
            assert!(answer.headers.contains_key("retry-after"), "{operation}");
            let most = if may_take_longer.contains(&operation) { 30 } else { 3 };
            assert!(took < most * SECOND, "{operation} took {took:?}");
        });
        // Who asks more than sixteen things at once waits for their own.
        let asked: Vec<()> = stream::iter(asks).buffer_unordered(12).collect().await;
        assert!(asked.len() > 30);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_is_slow() {
    let way = FaultyWay::to(shared_minio().address).await;
    let world = World::on(shared_minio(), &[SOON, ("LAKEPASS_MINIO_URL", &way.url)]).await;
    let (admin, alice, bob) = (world.admin().await, world.person("alice").await, world.person("bob").await);
    let keys = first_keys(&world, &admin).await;
    way.set(Fault::Slow(SECOND));
    let share = json!({"path": "users-warehouse/alice/x", "with_users": ["bob"]});
    let share = async || world.post(&alice, "/users/alice/share", share.clone()).await.status;
    assert_eq!(share().await, 503, "it takes more calls than there is time for");
    still_gives(&world, &admin, &keys).await;
    // One of these ends the keys.
    join_all(CALLS[..9].iter().cloned().map(|(method, path)| in_time(&world, &admin, method, path))).await;
    says(&world, "ok", "ok").await;
    // Nobody asked for it again, and it was done to its end.
    way.set(Fault::None);
    let keys = world.session(&bob, json!("lake")).await;
    eventually("the share goes on", 20 * SECOND, async || world.can_list(&keys, "users-warehouse/alice/x/").await)
        .await;
    assert_eq!(share().await, 200);
    is_back(&world, &admin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_stops_and_comes_back() {
    let folder = minio_folder();
    let minio = start_minio_in(&folder, "127.0.0.1:0".parse().unwrap()).await;
    let world = World::on(&minio, &[SOON]).await;
    let admin = world.admin().await;
    let keys = first_keys(&world, &admin).await;
    minio.signal("STOP").unwrap();
    join_all(CALLS.map(|(method, path)| is_an_outage(&world, &admin, method, path))).await;
    says(&world, "ok", "unavailable").await;
    minio.signal("CONT").unwrap();
    is_back(&world, &admin).await;
    let address = minio.address;
    drop(minio);
    for (method, path) in CALLS {
        is_an_outage(&world, &admin, method, path).await;
    }
    still_gives(&world, &admin, &keys).await;
    says(&world, "ok", "unavailable").await;
    assert_eq!(world.http.get(format!("{}/healthz", world.url)).send().await.unwrap().status(), 200);
    let _minio = start_minio_in(&folder, address).await;
    is_back(&world, &admin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_auth_service_misbehaves_in_every_way() {
    let ways = [Fault::Closed, Fault::Hanging].into_iter().chain(NONSENSE).map(async |fault| {
        let way = FaultyWay::new().await;
        let world = World::on(shared_minio(), &[SOON, ("LAKEPASS_KBASE_AUTH_URL", &way.url)]).await;
        way.leads_to(world.auth.as_ref().unwrap().address());
        let (known, unknown) = (world.person("alice").await, world.person("bob").await);
        let keys = first_keys(&world, &known).await;
        way.set(fault);
        join_all(CALLS.map(|(method, path)| is_an_outage(&world, &unknown, method, path))).await;
        assert_eq!(world.get(&known, "/me").await.status, 200, "its validation is still trusted");
        still_gives(&world, &known, &keys).await;
        says(&world, "unavailable", "ok").await;
        way.set(Fault::None);
        is_back(&world, &unknown).await;
    });
    join_all(ways).await;
}

#[tokio::test]
async fn the_auth_service_is_slow() {
    let way = FaultyWay::new().await;
    let world = World::on(shared_minio(), &[SOON, ("LAKEPASS_KBASE_AUTH_URL", &way.url)]).await;
    way.leads_to(world.auth.as_ref().unwrap().address());
    let (known, unknown) = (world.person("alice").await, world.person("bob").await);
    assert_eq!(world.get(&known, "/me").await.status, 200);
    way.set(Fault::Slow(SECOND));
    let started = Instant::now();
    assert_eq!(world.get(&known, "/me").await.status, 200);
    assert!(started.elapsed() < SECOND, "nobody is asked about it");
    assert_eq!(in_time(&world, &unknown, Method::GET, "/me").await, 200);
    says(&world, "ok", "ok").await;
}

#[tokio::test]
async fn the_auth_service_stops_and_comes_back() {
    let mut world = World::on(shared_minio(), &[SOON]).await;
    let (known, unknown) = (world.person("alice").await, world.person("bob").await);
    assert_eq!(world.get(&known, "/me").await.status, 200);
    let auth = world.auth.take().unwrap();
    let address = auth.address();
    auth.stop().await;
    assert_eq!(world.get(&known, "/me").await.status, 200, "its validation is still trusted");
    for (method, path) in CALLS {
        is_an_outage(&world, &unknown, method, path).await;
    }
    says(&world, "unavailable", "ok").await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let auth = KbaseAuth::start(listener, Arc::new(SystemClock)).unwrap();
    let bob = unknown.name.parse().unwrap();
    auth.add_user(AccountSpec::new(unknown.name.parse().unwrap()).with_roles(["BERDL_USER"]));
    let spec = TokenSpec { kind: TokenKind::Login, mfa: Mfa::Used, expires_at: Timestamp::now() + 1.hours() };
    auth.put_token(&Token::parse(&unknown.token).unwrap(), &bob, spec).unwrap();
    is_back(&world, &unknown).await;
}

/// Each asks until there is an answer, as they are told to.
async fn until_all_are_served(world: &World, herd: &[Person], method: Method, path: &str) {
    let mut waiting: Vec<&Person> = herd.iter().collect();
    for _ in 0..20 {
        let answers = waiting.iter().map(|person| in_time(world, person, method.clone(), path));
        let answers = join_all(answers).await;
        waiting = waiting.into_iter().zip(answers).filter(|(_, status)| *status != 200).map(|(who, _)| who).collect();
    }
    assert!(waiting.is_empty(), "{} of them were not served", waiting.len());
}

/// Eighty ask while a service hangs, and again when it is back: so many of their requests reach it at once and in all, and no
/// more.
#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_herd_when_minio_is_back() {
    let way = FaultyWay::to(shared_minio().address).await;
    let settings = [SOON, ("LAKEPASS_MINIO_URL", way.url.as_str()), ("LAKEPASS_MINIO_CALLS", "4")];
    let world = World::on(shared_minio(), &settings).await;
    let herd: Vec<Person> = (0..80).map(|i| world.stranger(&format!("herd{i}"), &["BERDL_USER"])).collect();
    let calm = world.stranger("calm", &["BERDL_USER"]);
    let before = way.requests();
    assert_eq!(in_time(&world, &calm, Method::POST, "/sessions").await, 200);
    let calm = way.requests() - before;
    way.set(Fault::Hanging);
    let (before, _) = (way.requests(), way.most_at_once());
    join_all(herd.iter().map(|person| is_an_outage(&world, person, Method::POST, "/sessions"))).await;
    assert!(way.requests() - before <= 4, "{} requests reached MinIO while it hung", way.requests() - before);
    assert!(way.most_at_once() <= 4);
    let before = way.requests();
    way.set(Fault::None);
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(way.requests() - before, 0, "nothing was left over");
    until_all_are_served(&world, &herd, Method::POST, "/sessions").await;
    // Who is refused in the middle of it begins anew later; what is made by then stays. Measured: 1.4 times what it takes.
    let all = way.requests() - before;
    assert!(all <= 80 * 3 * calm, "{all} requests, and it takes {calm} for one");
    let most = way.most_at_once();
    assert!(most <= 4, "{most} at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_herd_when_the_auth_service_is_back() {
    let way = FaultyWay::new().await;
    let settings = [SOON, ("LAKEPASS_KBASE_AUTH_URL", way.url.as_str()), ("LAKEPASS_AUTH_CALLS", "4")];
    let world = World::on(shared_minio(), &settings).await;
    way.leads_to(world.auth.as_ref().unwrap().address());
    let herd: Vec<Person> = (0..80).map(|i| world.stranger(&format!("herd{i}"), &["BERDL_USER"])).collect();
    way.set(Fault::Hanging);
    join_all(herd.iter().map(|person| is_an_outage(&world, person, Method::GET, "/sessions"))).await;
    // Each token is asked about at two addresses.
    assert!(way.requests() <= 8 && way.most_at_once() <= 8, "{} requests reached it", way.requests());
    let before = way.requests();
    way.set(Fault::None);
    until_all_are_served(&world, &herd, Method::GET, "/sessions").await;
    let all = way.requests() - before;
    assert!(all <= 2 * 80, "{all} requests: a token is asked about once, however often it is shown");
    let most = way.most_at_once();
    assert!(most <= 8, "{most} at once");
}
