//! Every decision is on record: who, in whose name, what, on what, with what result.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use lakepass::{
    broker::{Audit, Mended, Sink, without_request},
    minio::MinioUser,
};
use serde_json::{Value, json};

use crate::{
    drift::program,
    no_leak::{Broker, Call, Who, calls, endings},
    programs::{free_address, said, signal},
    support::{Answer, World, eventually, shared_minio},
};

const SOON: Duration = Duration::from_secs(30);

async fn world(file: &Path, required: &str) -> World {
    let settings = [("LAKEPASS_AUDIT", file.to_str().unwrap()), ("LAKEPASS_AUDIT_REQUIRED", required)];
    World::on(shared_minio(), &settings).await
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn document(world: &World, path: &str) -> Value {
    let object = world.s3(&world.root()).get_object().bucket(&world.ledger_bucket).key(path).send().await;
    serde_json::from_slice(&object.unwrap().body.collect().await.unwrap().to_vec()).unwrap()
}

/// Takes away the MinIO user of somebody's sessions: drift, whose repair is in the ledger.
async fn lose_user(world: &World, name: &str) {
    let document = document(world, &format!("users/{name}.json")).await;
    let user = document["session_user"]["user"].as_str().unwrap().to_owned();
    world.minio().remove_user(&MinioUser::from(user)).await.unwrap();
}

fn request_id(answer: &Answer) -> &str {
    answer.headers["x-request-id"].to_str().unwrap()
}

#[tokio::test]
async fn a_line_says_who_did_what_in_whose_name_and_what_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let world = world(&file, "false").await;
    let (admin, alice, bob) = (world.admin().await, world.person("alice").await, world.person("bob").await);
    let last = || lines(&file).pop().unwrap();

    let share = json!({"path": "users-warehouse/alice/x", "with_users": ["bob", "nobody"], "access": "write"});
    let answer = world.post(&admin, "/users/alice/share", share).await;
    let line = last();
    assert_eq!(line["request_id"], request_id(&answer));
    let said = ["user", "as", "action", "result"].map(|field| line[field].as_str().unwrap_or_default());
    assert_eq!(said, ["dana", "alice", "share", "partly done"]);
    assert_eq!((&line["actor"], &line["admin"]), (&json!("user"), &json!(true)));
    assert!(line["subject"].as_str().unwrap().contains("users-warehouse/alice/x"), "{line}");
    assert!(line["failed"]["user nobody"].is_string() && line["failed"].as_object().unwrap().len() == 1, "{line}");
    assert_eq!(line["ledger"]["users/bob.json"], document(&world, "users/bob.json").await["revision"]);

    let session = world.post(&bob, "/sessions", json!({})).await.json;
    let line = last();
    assert_eq!((&line["access_key"], &line["action"]), (&session["access_key_id"], &json!("issue session")));
    assert!(line["minio_user"].as_str().unwrap().starts_with("lakepass-bob-") && line.get("as").is_none(), "{line}");
    let given = world.get(&bob, "/aws/container-credentials").await.json;
    assert_eq!((&last()["access_key"], &last()["action"]), (&given["AccessKeyId"], &json!("give session keys")));
    let key = world.post(&alice, "/users/alice", Value::Null).await.json;
    assert_eq!(last()["access_key"], key["access_key"]);

    let refused =
        world.post(&bob, "/users/alice/share", json!({"path": "users-warehouse/alice/x", "with_users": ["bob"]}));
    assert_eq!(refused.await.status, 403);
    assert_eq!((&last()["user"], &last()["as"], &last()["result"]), (&json!("bob"), &json!("alice"), &json!("failed")));
    assert!(last()["error"].is_string() && last().get("ledger").is_none());
    assert_eq!(world.delete(&admin, "/admin/users/bob").await.status, 204);
    assert_eq!(last()["ledger"]["users/bob.json"], Value::Null);

    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let secrets =
        [&session["secret_access_key"], &session["session_token"], &given["SecretAccessKey"], &key["secret_key"]];
    for secret in secrets.map(|secret| secret.as_str().unwrap()).iter().chain(&[alice.token.as_str(), &bob.token]) {
        assert!(!text.contains(*secret));
    }
    // Rotated as a platform does it.
    fs::rename(&file, folder.path().join("audit.jsonl.1")).unwrap();
    world.delete(&alice, "/sessions").await;
    assert_eq!((lines(&file).len(), &last()["action"]), (1, &json!("revoke sessions")));
}

#[tokio::test]
async fn what_nobody_asked_for_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let world = World::on(shared_minio(), &[("LAKEPASS_KBASE_KEY_OVERLAP", "6")]).await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let end = Timestamp::now() + Duration::from_secs(8);
    let share = json!({"path": "users-warehouse/alice/x", "with_users": ["bob"], "expires_at": end});
    assert_eq!(world.post(&alice, "/users/alice/share", share).await.status, 200);
    let earlier = world.get(&bob, "/credentials/").await.json;
    assert_eq!(world.post(&bob, "/credentials/rotate", Value::Null).await.status, 200);
    let end = end.max(Timestamp::now() + Duration::from_secs(6));
    lose_user(&world, "alice").await;
    eventually("the ends", SOON, async || Timestamp::now() > end).await;
    let audit = Audit { sink: Sink::File(file.clone()), required: true };
    lakepass::tend(world.broker.clone(), Arc::new(audit), Duration::from_secs(1));
    let done =
        |action: &str| lines(&file).into_iter().find(|line| line["action"] == action && line["result"] == "done");
    for (action, document_of, subject) in [
        ("repair", "alice", "user alice: user-missing"),
        ("remove ended grants", "bob", "user bob: users-warehouse/alice/x/"),
        ("remove ended lake keys", "bob", &format!("bob: {}", earlier["access_key"].as_str().unwrap())),
    ] {
        eventually(action, SOON, async || done(action).is_some()).await;
        let line = done(action).unwrap();
        assert_eq!(line["actor"], "lakepass");
        assert!(line["subject"].as_str().unwrap().starts_with(subject), "{line}");
        assert!(line["ledger"][format!("users/{document_of}.json")].is_u64(), "{line}");
        assert!(line.get("user").is_none() && line.get("request_id").is_none(), "{line}");
    }
}

#[tokio::test]
async fn what_operators_do_is_on_record_or_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let (file, export) = (folder.path().join("later/audit.jsonl"), folder.path().join("export"));
    let world = World::new().await;
    let (alice, _) = (world.person("alice").await, world.person("bob").await);
    world.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "write").await;
    let run = |arguments: &[&str]| {
        let mut command = program(&world, arguments);
        command.env("LAKEPASS_AUDIT", &file).env("LAKEPASS_AUDIT_REQUIRED", "true").output().unwrap()
    };
    fs::write(&export, run(&["ledger", "export"]).stdout).unwrap();
    let restore = ["ledger", "restore", export.to_str().unwrap(), "--apply"];
    world.unshare(&alice, "users-warehouse/alice/x", &["bob"], &[]).await;
    lose_user(&world, "alice").await;

    let before = document(&world, "users/bob.json").await;
    for arguments in [&["reconcile"][..], &restore] {
        let output = run(arguments);
        assert!(output.status.code() == Some(1) && said(&output).contains("recorded"), "{}", said(&output));
    }
    assert_eq!(document(&world, "users/bob.json").await, before);
    let lost = async || {
        let drift = world.broker.drift().await.unwrap();
        drift.iter().any(|drift| drift.kind.name() == "user-missing")
    };
    assert!(lost().await);
    // Nor does the broker by itself, and it says so.
    let audit = Arc::new(Audit { sink: Sink::File(file.clone()), required: true });
    let repairs = without_request(audit, world.broker.reconcile()).await.unwrap();
    let (of_alice, reason) = (Some("user alice".to_owned()), "cannot be recorded");
    let repair = repairs.iter().find(|repair| repair.drift.of.as_ref().map(ToString::to_string) == of_alice).unwrap();
    assert!(matches!(&repair.mended, Mended::Failed(error) if error.to_string().contains(reason)), "{repair:?}");
    assert!(lost().await);

    fs::create_dir(file.parent().unwrap()).unwrap();
    run(&["reconcile"]);
    assert!(!lost().await);
    let output = run(&restore);
    assert!(output.status.success(), "{}", said(&output));
    let lines = lines(&file);
    assert!(lines.iter().all(|line| line["actor"] == "operator"), "{lines:?}");
    let done: Vec<&Value> = lines.iter().filter(|line| line["result"] == "done").collect();
    let actions: Vec<&str> = done.iter().map(|line| line["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["repair", "reconcile", "restore ledger"]);
    assert!(done[0]["ledger"]["users/alice.json"].is_u64(), "{}", done[0]);
    assert_eq!(done[2]["ledger"]["users/bob.json"], document(&world, "users/bob.json").await["revision"]);
    assert_eq!(done[2]["subject"], export.to_str().unwrap());
}

/// Of who is nobody there are no lines: else anybody could fill the disk.
#[tokio::test]
async fn who_is_recognised_and_refused_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let world = world(&file, "false").await;
    let (bob, mallory) = (world.person("bob").await, world.stranger("mallory", &["KBASE_ADMIN"]));
    let nobody = crate::support::Person { name: "nobody".into(), token: "NOTOKENOFANYBODYATALL".into() };
    for (who, path, status, subject) in [
        (&mallory, "/me", 403, ""),
        (&mallory, "/aws/container-credentials", 403, ""),
        (&mallory, "/workspaces/me", 403, ""),
        (&bob, "/users/alice", 403, "alice"),
        (&bob, "/admin/users", 403, ""),
        (&bob, "/admin/drift", 403, ""),
        (&nobody, "/me", 401, ""),
    ] {
        let before = lines(&file).len();
        let answer = world.get(who, path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.json);
        let lines = lines(&file);
        if status == 401 {
            assert_eq!(lines.len(), before);
            continue;
        }
        assert_eq!(lines.len(), before + 1, "{path}");
        let line = lines.last().unwrap();
        assert_eq!((&line["user"], &line["admin"]), (&json!(who.name), &json!(false)));
        assert_eq!((&line["result"], &line["subject"]), (&json!("refused"), &json!(subject)), "{line}");
        let route = if subject.is_empty() { path } else { "/users/{user}" };
        assert_eq!(line["action"], format!("GET {route}"));
        assert_eq!(line["request_id"], request_id(&answer));
    }
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("RoleArn", "arn:lakepass:iam:::role/lake"),
        ("RoleSessionName", "x"),
        ("WebIdentityToken", mallory.token.as_str()),
    ];
    assert_eq!(world.http.post(format!("{}/sts", world.url)).form(&form).send().await.unwrap().status(), 403);
    assert_eq!((&lines(&file).pop().unwrap()["user"], lines(&file).len()), (&json!("mallory"), 7));
    // One line is enough.
    assert_eq!(world.delete(&bob, "/admin/users/alice").await.status, 403);
    assert_eq!((&lines(&file).pop().unwrap()["result"], lines(&file).len()), (&json!("failed"), 8));
}

/// Anybody may have a token of the auth service, and could fill the disk with being refused.
#[tokio::test]
async fn who_is_refused_gets_no_more_lines_than_they_may_ask() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let settings = [("LAKEPASS_AUDIT", file.to_str().unwrap()), ("LAKEPASS_USER_REQUESTS", "5")];
    let world = World::on(shared_minio(), &settings).await;
    let mallory = world.stranger("mallory", &[]);
    for _ in 0..20 {
        assert_eq!(world.get(&mallory, "/me").await.status, 403);
    }
    // One more comes free every 12 seconds.
    assert!((1..=7).contains(&lines(&file).len()), "{}", lines(&file).len());
}

#[tokio::test]
async fn lines_are_all_that_is_on_stdout() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    let listen = free_address();
    let mut serve = program(&world, &["serve"]);
    let mut serve = serve.env("LAKEPASS_LISTEN", &listen).env("LAKEPASS_AUDIT", "stdout").spawn().unwrap();
    let ask = |method: &str, path: &str| {
        let url = format!("http://{listen}{path}");
        world.http.request(method.parse().unwrap(), url).header("authorization", &alice.token).send()
    };
    eventually("it is ready", SOON, async || ask("GET", "/readyz").await.is_ok_and(|a| a.status() == 200)).await;
    for (method, path) in [("POST", "/sessions"), ("DELETE", "/sessions")] {
        assert!(ask(method, path).await.unwrap().status().is_success());
    }
    signal(&serve, "TERM");
    eventually("it ends", SOON, async || serve.try_wait().unwrap().is_some()).await;
    let output = serve.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<[&str; 3]> =
        lines.iter().map(|line| ["user", "action", "result"].map(|field| line[field].as_str().unwrap())).collect();
    assert_eq!(said, [["alice", "issue session", "done"], ["alice", "revoke sessions", "done"]]);
}

#[tokio::test]
async fn where_the_record_is_required_nothing_is_done_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("later/audit.jsonl");
    let world = world(&file, "true").await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let share = json!({"path": "users-warehouse/alice/x", "with_users": ["bob"], "access": "write"});
    let tokens = BTreeMap::from([(Who::Alice, alice.token.clone()), (Who::Admin, world.admin().await.token)]);
    let broker = Broker { url: world.url.clone(), http: world.http.clone(), tokens };
    let decides = |call: &Call| {
        let reads = ["POST /sharing/get_path_access_info"];
        let changes = !call.operation.starts_with("GET ") && !reads.contains(&call.operation);
        call.who != Who::Jwt && (changes || call.gives_secret)
    };
    // KBase's clients are told of a group that is not there before anything is decided.
    let elsewhere = world.replica(&[("LAKEPASS_AUDIT_REQUIRED", "false"), ("LAKEPASS_AUDIT", "log")]).await;
    let made = elsewhere.post(&world.admin().await, "/groups/KBase", json!({"add_members": []})).await;
    assert_eq!(made.status, 200, "{}", made.json);
    let before = world.broker.export_ledger().await.unwrap().records;
    let calls = calls(&world.bucket, &alice.token).into_iter().chain(endings()).filter(decides);
    let mut operations = BTreeSet::new();
    for call in calls {
        let answer = broker.call(&call).await;
        assert_eq!(answer.status, 503, "{}: {}", call.operation, answer.text);
        operations.insert(call.operation);
    }
    assert!(operations.len() >= 22, "{operations:?}");
    let after = world.broker.export_ledger().await.unwrap().records;
    assert_eq!(json!(after), json!(before));
    assert_eq!(world.get(&bob, "/users/bob").await.json["grants_received"], json!([]));

    fs::create_dir(file.parent().unwrap()).unwrap();
    assert_eq!(world.post(&alice, "/users/alice/share", share).await.status, 200);
    let results: Vec<Value> = lines(&file).iter().map(|line| line["result"].clone()).collect();
    assert_eq!(results, ["begun", "done"]);
}
