//! Nobody can have so much of the broker that others get too little: floods, busy users, slow clients.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::future::join_all;
use lakepass::server::{self, Limits};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
};

use crate::support::{CountingProxy, Person, World, eventually, shared_minio};

const CREDENTIALS: &str = "/aws/container-credentials";
const STS_HOUR: &str = "Action=AssumeRoleWithWebIdentity&RoleArn=arn:lakepass:iam:::role/granted&RoleSessionName=s";

/// A client at another address of this machine.
fn client_at(address: &str) -> Client {
    Client::builder().local_address(address.parse::<IpAddr>().unwrap()).build().unwrap()
}

async fn ask(world: &World, client: &Client, token: &str, forwarded_for: &str) -> Response {
    let request = client.get(format!("{}/sessions", world.url)).header("authorization", token);
    request.header("x-forwarded-for", forwarded_for).send().await.unwrap()
}

fn is_refused_for_now(status: u16, headers: &reqwest::header::HeaderMap) {
    assert_eq!(status, 429);
    let retry_after: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&retry_after), "{retry_after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wrong_tokens_from_one_address_is_not_passed_on() {
    let world = World::on(shared_minio(), &[("LAKEPASS_WRONG_TOKENS", "2")]).await;
    let (known, unknown) = (world.person("alice").await, world.person("bob").await);
    assert_eq!(world.get(&known, "/sessions").await.status, 200);
    let auth = world.auth.as_ref().unwrap();
    let before = auth.calls();
    let started = Instant::now();
    let tokens: Vec<String> = (0..500).map(|i| format!("WRONG{i}")).collect();
    let flood = tokens.iter().map(async |token| ask(&world, &world.http, token, "").await.status().as_u16());
    let answers = join_all(flood).await;
    // One more comes back every thirty seconds.
    let most = 2 + started.elapsed().as_secs() / 30;
    let asked = auth.calls().token - before.token;
    assert!(asked <= most, "{asked} of 500 reached the auth service");
    assert_eq!(answers.iter().filter(|status| **status == 401).count() as u64, asked);
    assert_eq!(answers.iter().filter(|status| **status == 429).count() as u64, 500 - asked);
    let refused = world.get(&Person { name: "x".into(), token: "WRONG".into() }, "/sessions").await;
    is_refused_for_now(refused.status, &refused.headers);
    assert_eq!(refused.json["type"], "urn:lakepass:problem:too-many-requests");
    // As AWS's SDKs understand it.
    let refused = world.get(&Person { name: "x".into(), token: "WRONG".into() }, CREDENTIALS).await;
    is_refused_for_now(refused.status, &refused.headers);
    assert_eq!(refused.json["code"], "Throttling");
    let refused = sts(&world, "WRONG", "").await;
    is_refused_for_now(refused.status().as_u16(), refused.headers());
    assert!(refused.text().await.unwrap().contains("<Code>Throttling</Code>"));
    // Who is known is served at the same address, and who is not at another one. Nobody's word moves them elsewhere.
    assert_eq!(world.get(&known, "/sessions").await.status, 200);
    assert_eq!(ask(&world, &world.http, &unknown.token, "192.0.2.1").await.status(), 429);
    assert_eq!(ask(&world, &client_at("127.0.0.2"), &unknown.token, "").await.status(), 200);
}

async fn sts(world: &World, token: &str, rest: &str) -> Response {
    let form = format!("{STS_HOUR}&WebIdentityToken={token}{rest}");
    let request = world.http.post(format!("{}/sts", world.url)).body(form);
    request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap()
}

/// Whose keys they are is asked of MinIO: not for everybody who makes some up.
#[tokio::test]
async fn a_flood_of_made_up_session_keys_is_not_passed_on() {
    let proxy = CountingProxy::to(shared_minio().address).await;
    let settings = [("LAKEPASS_WRONG_TOKENS", "2"), ("LAKEPASS_MINIO_URL", proxy.url.as_str())];
    let world = World::on(shared_minio(), &settings).await;
    let before = proxy.requests();
    let mut answers = Vec::new();
    for i in 0..20 {
        let [header, claims] =
            [json!({"alg": "HS512"}), json!({"accessKey": format!("AK{i}"), "parent": "lakepass-x"})]
                .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let request = world.http.post(format!("{}/sts", world.url)).body("Action=GetCallerIdentity");
        let request =
            request.header("authorization", format!("AWS4-HMAC-SHA256 Credential=AK{i}/20310506/x/sts/aws4_request"));
        let answer = request.header("x-amz-security-token", format!("{header}.{claims}.x")).send().await.unwrap();
        answers.push(answer.status().as_u16());
    }
    assert_eq!(answers[..2], [403, 403]);
    assert!(answers[2..].iter().filter(|status| **status == 429).count() >= 17, "{answers:?}");
    assert!(proxy.requests() - before <= 3, "{} requests reached MinIO", proxy.requests() - before);
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_address_is_the_callers() {
    let settings = [("LAKEPASS_WRONG_TOKENS", "5"), ("LAKEPASS_TRUSTED_PROXIES", "127.0.0.1/32")];
    let world = World::on(shared_minio(), &settings).await;
    let status = async |client: &Client, i: usize, from: &str| {
        ask(&world, client, &format!("WRONG{i}FROM{from}"), from).await.status().as_u16()
    };
    for from in ["192.0.2.1", "192.0.2.2"] {
        for i in 0..5 {
            assert_eq!(status(&world.http, i, from).await, 401);
        }
        assert_eq!(status(&world.http, 5, from).await, 429);
    }
    // Another address is no proxy: what it says of others does not count.
    let other = client_at("127.0.0.2");
    for i in 0..5 {
        assert_eq!(status(&other, i, &format!("192.0.2.{}", 10 + i)).await, 401);
    }
    assert_eq!(status(&other, 5, "192.0.2.99").await, 429);
}

/// Many executors with one token, and good tokens without number, are no flood.
#[tokio::test(flavor = "multi_thread")]
async fn good_tokens_are_not_counted() {
    let world = World::on(shared_minio(), &[("LAKEPASS_WRONG_TOKENS", "3"), ("LAKEPASS_USER_REQUESTS", "3")]).await;
    let alice = world.person("alice").await;
    let answers = join_all((0..200).map(|_| world.get(&alice, CREDENTIALS))).await;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.json);
    }
    for i in 0..10 {
        assert_eq!(world.get(&world.stranger(&format!("good{i}"), &["BERDL_USER"]), "/sessions").await.status, 200);
    }
}

#[tokio::test]
async fn a_user_has_so_many_requests_and_others_have_theirs() {
    let world = World::on(shared_minio(), &[("LAKEPASS_USER_REQUESTS", "3")]).await;
    let (busy, other) = (world.person("busy").await, world.person("other").await);
    let keys = world.get(&busy, CREDENTIALS).await.json;
    // The keys were one. Another one comes back every twenty seconds.
    for _ in 0..2 {
        assert_eq!(world.get(&busy, "/sessions").await.status, 200);
    }
    let calls = [
        (Method::GET, "/sessions", Value::Null),
        (Method::POST, "/sessions", Value::Null),
        (Method::GET, "/me", Value::Null),
        (Method::POST, "/users/busy/share", json!({"path": "users-warehouse/busy/x", "with_users": ["other"]})),
    ];
    for (method, path, body) in calls {
        let answer = world.call(&busy, method, path, body).await;
        is_refused_for_now(answer.status, &answer.headers);
        assert_eq!(answer.json["type"], "urn:lakepass:problem:too-many-requests");
    }
    let others = world.get(&busy, &format!("{CREDENTIALS}?duration_seconds=1000")).await;
    is_refused_for_now(others.status, &others.headers);
    assert_eq!(others.json["code"], "Throttling");
    let others = sts(&world, &busy.token, "&DurationSeconds=1001").await;
    is_refused_for_now(others.status().as_u16(), others.headers());
    assert!(others.text().await.unwrap().contains("<Code>Throttling</Code>"));
    // What is in memory costs nothing.
    for _ in 0..50 {
        assert_eq!(world.get(&busy, CREDENTIALS).await.json, keys);
    }
    assert_eq!(world.get(&other, "/sessions").await.status, 200);
}

#[tokio::test]
async fn names_count_too() {
    let world = World::on(shared_minio(), &[("LAKEPASS_USER_REQUESTS", "20")]).await;
    let alice = world.person("alice").await;
    let names: Vec<String> = (0..300).map(|i| format!("nobody{i}")).collect();
    let share = |names: &[String]| json!({"path": "users-warehouse/alice/x", "with_users": names});
    assert_eq!(world.post(&alice, "/users/alice/share", share(&names[..50])).await.status, 207);
    let refused = world.post(&alice, "/users/alice/share", share(&names)).await;
    assert_eq!(refused.status, 429, "{}", refused.json);
    assert!(refused.headers.contains_key("retry-after"));
}

/// A server of its own, with limits that a test can wait for; what ends it; and the news that a slow request has begun.
async fn small_server(limits: Limits) -> (String, oneshot::Sender<()>, watch::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (begun, begins) = watch::channel(());
    let slow = move || async move {
        begun.send_replace(());
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    let router = Router::new().route("/", get(async || "here")).route("/slow", get(slow));
    let (end, ended) = oneshot::channel();
    tokio::spawn(server::serve(listener, router, limits, async { ended.await.unwrap_or_default() }));
    (address, end, begins)
}

const SMALL: Limits =
    Limits { connections: 4, of_one_address: 3, headers: Duration::from_millis(500), grace: Duration::from_secs(2) };

/// Sends a part of a request, and says how long it takes until the other side hangs up.
async fn hung_up_after(address: &str, part: &[u8]) -> Duration {
    let started = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(part).await.unwrap();
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    end.expect("it hangs up").ok();
    started.elapsed()
}

#[tokio::test]
async fn slow_headers_and_idle_connections_are_hung_up_on() {
    let (address, _end, _) = small_server(SMALL).await;
    for part in [&b""[..], b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\na: b", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let took = hung_up_after(&address, part).await;
        assert!(took < Duration::from_secs(5), "{}: {took:?}", String::from_utf8_lossy(part));
    }
    let endless = [b"GET / HTTP/1.1\r\n".to_vec(), b"a: b\r\n".repeat(100_000)].concat();
    hung_up_after(&address, &endless).await;
    assert_eq!(reqwest::get(format!("http://{address}/")).await.unwrap().text().await.unwrap(), "here");
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_leaves_room_for_others() {
    let limits = Limits { headers: Duration::from_secs(60), ..SMALL };
    let (address, _end, _) = small_server(limits).await;
    let here = async |client: Client| client.get(format!("http://{address}/")).send().await.is_ok();
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(TcpStream::connect(&address).await.unwrap());
    }
    eventually("the fourth is hung up on", Duration::from_secs(5), async || !here(Client::new()).await).await;
    assert!(here(client_at("127.0.0.2")).await);
    idle.pop();
    eventually("one is free again", Duration::from_secs(5), async || here(Client::new()).await).await;
}

#[tokio::test]
async fn others_wait_outside_when_all_connections_are_taken() {
    let limits = Limits { connections: 2, of_one_address: 2, headers: Duration::from_millis(500), ..SMALL };
    let (address, _end, _) = small_server(limits).await;
    let _idle = [TcpStream::connect(&address).await.unwrap(), TcpStream::connect(&address).await.unwrap()];
    // Until the idle ones are hung up on.
    assert_eq!(reqwest::get(format!("http://{address}/")).await.unwrap().text().await.unwrap(), "here");
}

#[tokio::test]
async fn what_is_under_way_is_finished_at_the_end() {
    let (address, end, mut begins) = small_server(SMALL).await;
    let under_way = tokio::spawn(reqwest::get(format!("http://{address}/slow")));
    begins.changed().await.unwrap();
    end.send(()).unwrap();
    assert_eq!(under_way.await.unwrap().unwrap().status(), 200);
    assert!(reqwest::get(format!("http://{address}/")).await.is_err(), "nothing new is taken");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up_and_a_slow_one_is_waited_for() {
    let world = World::on(shared_minio(), &[("LAKEPASS_ANSWER_LIMIT", "2500")]).await;
    let alice = world.person("alice").await;
    let address = world.url.strip_prefix("http://").unwrap();
    let head = format!(
        "POST /sessions HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {}\r\ncontent-length: 2\r\n\r\n",
        alice.token
    );
    let send = async |rest: Option<Duration>| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{head}{{").as_bytes()).await.unwrap();
        if let Some(pause) = rest {
            tokio::time::sleep(pause).await;
            stream.write_all(b"}").await.unwrap();
        }
        let mut answer = String::new();
        tokio::time::timeout(Duration::from_secs(15), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    };
    // Longer than an answer may take, once the request is there.
    let (never, slowly) = tokio::join!(send(None), send(Some(Duration::from_secs(5))));
    assert!(never.starts_with("HTTP/1.1 408 "), "{never}");
    assert!(slowly.starts_with("HTTP/1.1 200 "), "{slowly}");
}
