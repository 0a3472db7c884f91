//! Every decision is on record: who, in whose name, what, on what, with what result.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};

use crate::support::{Answer, World, shared_minio};

async fn world(file: &Path, required: &str) -> World {
    let settings = [("LAKEPASS_AUDIT", file.to_str().unwrap()), ("LAKEPASS_AUDIT_REQUIRED", required)];
    World::on(shared_minio(), &settings).await
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
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
    assert_eq!(line["admin"], true);
    assert!(line["subject"].as_str().unwrap().contains("users-warehouse/alice/x"), "{line}");
    assert!(line["failed"]["user nobody"].is_string() && line["failed"].as_object().unwrap().len() == 1, "{line}");
    let doc = world.s3(&world.root()).get_object().bucket(&world.ledger_bucket).key("users/bob.json").send().await;
    let doc: Value = serde_json::from_slice(&doc.unwrap().body.collect().await.unwrap().to_vec()).unwrap();
    assert_eq!(line["ledger"]["users/bob.json"], doc["revision"]);

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
async fn where_the_record_is_required_nothing_is_done_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("later/audit.jsonl");
    let world = world(&file, "true").await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let share = json!({"path": "users-warehouse/alice/x", "with_users": ["bob"], "access": "write"});
    let unrecorded = [
        world.post(&bob, "/sessions", json!({})).await,
        world.get(&bob, "/aws/container-credentials").await,
        world.post(&alice, "/users/alice/share", share.clone()).await,
        world.post(&alice, "/users/alice", Value::Null).await,
    ];
    for answer in unrecorded {
        assert_eq!(answer.status, 503, "{}", answer.json);
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert_eq!(world.get(&bob, "/users/bob").await.json["grants_received"], json!([]));
    assert_eq!(world.get(&alice, "/users/alice").await.json["lake_keys"], json!([]));

    fs::create_dir(file.parent().unwrap()).unwrap();
    assert_eq!(world.post(&alice, "/users/alice/share", share).await.status, 200);
    let results: Vec<Value> = lines(&file).iter().map(|line| line["result"].clone()).collect();
    assert_eq!(results, ["begun", "done"]);
}
