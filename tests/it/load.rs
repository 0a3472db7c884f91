//! Ten times the load: a flood of wrong tokens, a busy user and many executors, and what other users notice of it. Run it by itself
//! to see the ratios: `cargo test --test it load -- --ignored --nocapture`.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    process::{Child, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use reqwest::{Client, Method};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    programs::{free_address, lakepass},
    support::{Person, World, eventually, shared_minio},
};

const CREDENTIALS: &str = "/aws/container-credentials";
const ROUNDS: usize = 5;
const FLOODING: usize = 32;
const BUSY: usize = 32;
const EXECUTORS: usize = 300;
/// Far below what the floods would need if anything of them were kept.
const MOST_GROWTH: u64 = 100 << 20;

/// `lakepass serve` as a process of its own, so that its memory can be told from ours.
struct Broker {
    child: Child,
    url: String,
    metrics_url: String,
}

/// How often each status was answered.
#[derive(Clone, Default)]
struct Statuses(Arc<Mutex<BTreeMap<u16, u64>>>);

impl Broker {
    async fn start(world: &World) -> Self {
        let (listen, metrics) = (free_address(), free_address());
        let minio = shared_minio();
        let mut command = lakepass(&["serve"]);
        let child = command
            .env("LAKEPASS_LISTEN", &listen)
            .env("LAKEPASS_METRICS_LISTEN", &metrics)
            .env("LAKEPASS_MINIO_URL", minio.url())
            .env("LAKEPASS_MINIO_ROOT_USER", &minio.root_user)
            .env("LAKEPASS_MINIO_ROOT_PASSWORD", minio.root_password.expose_secret())
            .env("LAKEPASS_KBASE_AUTH_URL", world.auth.as_ref().unwrap().url())
            .env("LAKEPASS_REQUIRED_ROLES", "BERDL_USER")
            // It is about shares of a machine, not about its speed.
            .env("LAKEPASS_ANSWER_LIMIT", "20000")
            .env("LAKEPASS_BUCKET", &world.bucket)
            .env("LAKEPASS_LEDGER_BUCKET", &world.ledger_bucket)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let broker = Self { child, url: format!("http://{listen}"), metrics_url: format!("http://{metrics}/metrics") };
        eventually("it is ready", Duration::from_secs(10), async || {
            reqwest::get(format!("{}/readyz", broker.url)).await.is_ok_and(|answer| answer.status() == 200)
        })
        .await;
        broker
    }

    /// In bytes.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Statuses {
    fn add(&self, status: u16) {
        *self.0.lock().unwrap().entry(status).or_default() += 1;
    }

    fn only(&self, what: &str, allowed: &[u16]) {
        let statuses = self.0.lock().unwrap();
        assert!(statuses.keys().all(|status| allowed.contains(status)), "{what}: {statuses:?}");
    }
}

fn client_at(address: &str) -> Client {
    Client::builder().local_address(address.parse::<IpAddr>().unwrap()).build().unwrap()
}

/// What other users do, each by themselves, and how long each call took. All of it must be done.
async fn others(broker: &Broker, client: &Client, users: &[Person]) -> Vec<Duration> {
    let days = users.iter().map(async |user| {
        let path = format!("users-warehouse/{}/x", user.name);
        let share = json!({"path": path, "with_users": [users[0].name, users[1].name]});
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            for (method, path, body) in [
                (Method::GET, "/me".to_owned(), None),
                (Method::POST, "/sessions".into(), None),
                (Method::POST, format!("/users/{}/share", user.name), Some(&share)),
                (Method::GET, CREDENTIALS.into(), None),
            ] {
                let request =
                    client.request(method, format!("{}{path}", broker.url)).header("authorization", &user.token);
                let request = body.into_iter().fold(request, |request, body| request.json(body));
                let started = Instant::now();
                let answer = request.send().await.unwrap();
                took.push(started.elapsed());
                assert_eq!(answer.status(), 200, "{path}: {}", answer.text().await.unwrap());
            }
        }
        took
    });
    let mut took: Vec<Duration> = join_all(days).await.concat();
    took.sort_unstable();
    took
}

/// Many at once, over and over, until it is over.
fn flood(
    tasks: &mut JoinSet<()>,
    is_over: &Arc<AtomicBool>,
    statuses: &Statuses,
    many: usize,
    request: impl Fn(usize) -> reqwest::RequestBuilder + Send + Sync + 'static,
) {
    let request = Arc::new(request);
    for i in 0..many {
        let (is_over, statuses, request) = (is_over.clone(), statuses.clone(), request.clone());
        tasks.spawn(async move {
            let mut n = i;
            while !is_over.load(Ordering::Relaxed) {
                let status = request(n).send().await.map_or(0, |answer| answer.status().as_u16());
                statuses.add(status);
                n += many;
                // A client that heeds no `Retry-After`, but leaves the machine some time.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
}

#[ignore = "it wants the machine for itself: run it by its own command"]
#[tokio::test(flavor = "multi_thread")]
async fn floods_and_busy_users_leave_others_what_is_theirs() {
    let world = World::on(shared_minio(), &[]).await;
    let broker = Broker::start(&world).await;
    let users: Vec<Person> = (0..3).map(|i| world.stranger(&format!("other{i}"), &["BERDL_USER"])).collect();
    let (busy, cluster) = (world.person("busy").await, world.stranger("cluster", &["BERDL_USER"]));
    let client = client_at("127.0.0.2");
    let poll = |client: &Client| {
        let request = client.get(format!("{}{CREDENTIALS}?wait=1", broker.url));
        request.header("authorization", &cluster.token)
    };
    let keys = poll(&client).send().await.unwrap();
    assert_eq!(keys.status(), 200, "{}", keys.text().await.unwrap());
    let keys = keys.headers()["etag"].clone();
    // The first time is for making them.
    others(&broker, &client, &users).await;
    let calm = others(&broker, &client, &users).await;
    let auth = world.auth.as_ref().unwrap();
    let (asked_before, started) = (auth.calls().token, Instant::now());
    let mut resident = vec![broker.resident()];
    let mut crowded = Vec::new();
    let [wrong, of_busy, of_executors] = std::array::from_fn(|_| Statuses::default());
    for round in 0..2 {
        let (is_over, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        let get = |client: &Client, path: &str| client.get(format!("{}{path}", broker.url));
        let attack = get(&client_at("127.0.0.3"), "/me");
        flood(&mut tasks, &is_over, &wrong, FLOODING, move |n| {
            attack.try_clone().unwrap().header("authorization", format!("WRONG{round}TOKEN{n}"))
        });
        let client_of_busy = client_at("127.0.0.4");
        let calls = ["/me", "/sessions", "/users/busy"]
            .map(|path| get(&client_of_busy, path).header("authorization", &busy.token));
        flood(&mut tasks, &is_over, &of_busy, BUSY, move |n| calls[n % calls.len()].try_clone().unwrap());
        let poll = poll(&client_at("127.0.0.5")).header("if-none-match", keys.clone());
        flood(&mut tasks, &is_over, &of_executors, EXECUTORS, move |_| poll.try_clone().unwrap());
        crowded.extend(others(&broker, &client, &users).await);
        is_over.store(true, Ordering::Relaxed);
        tasks.join_all().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        resident.push(broker.resident());
    }
    let asked = auth.calls().token - asked_before;
    crowded.sort_unstable();
    let ratio = |percent: usize| {
        let at = |took: &[Duration]| took[(took.len() - 1) * percent / 100].as_secs_f64();
        at(&crowded) / at(&calm)
    };
    println!(
        "other users' calls took, of what they take without the floods: median x{:.1}, 95th percentile x{:.1}",
        ratio(50),
        ratio(95)
    );
    println!("wrong tokens: {:?}, of which {asked} reached the auth service", wrong.0.lock().unwrap());
    println!("the busy user: {:?}; executors: {:?}", of_busy.0.lock().unwrap(), of_executors.0.lock().unwrap());
    println!("resident, in MiB: {:?}", resident.iter().map(|bytes| bytes >> 20).collect::<Vec<_>>());
    wrong.only("wrong tokens", &[401, 429]);
    of_busy.only("the busy user", &[200, 429, 503]);
    of_executors.only("executors", &[304]);
    // 600 a minute from one address, as configured by default, and each good token at most once.
    let most = 600 + started.elapsed().as_secs() * 10 + 10 + users.len() as u64 + 2;
    assert!(asked <= most, "{asked} tokens were asked about, and at most {most} may be");
    let [first, .., last] = resident[..] else { unreachable!() };
    assert!(last < first + MOST_GROWTH, "resident, in bytes: {resident:?}");
    let metrics = reqwest::get(&broker.metrics_url).await.unwrap().text().await.unwrap();
    assert!(metrics.contains(r#"lakepass_refused_total{limit="wrong tokens of an address"}"#), "{metrics}");
}
