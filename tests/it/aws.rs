//! AWS's own protocols: SDKs get keys by themselves, and the same ones as long as nothing has changed.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use lakepass::{
    dev::kbase_auth::{Mfa, TokenKind, TokenSpec},
    identity::Token,
};
use serde_json::Value;

use crate::support::{Answer, CountingProxy, Keys, Person, World, eventually, shared_minio};

const CREDENTIALS: &str = "/aws/container-credentials";

fn keys_of(answer: &Answer) -> Keys {
    let text =
        |name: &str| answer.json[name].as_str().unwrap_or_else(|| panic!("{name} in {}", answer.json)).to_owned();
    Keys { access_key: text("AccessKeyId"), secret_key: text("SecretAccessKey"), session_token: Some(text("Token")) }
}

/// Asks as a client does that has keys already.
async fn ask_again(world: &World, who: &Person, tag: &str, wait: u64) -> Answer {
    let url = format!("{}{CREDENTIALS}?wait={wait}", world.url);
    let request = world.http.get(url).header("authorization", &who.token).header("if-none-match", tag);
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Answer { status, headers, json: answer.json().await.unwrap_or_default() }
}

#[tokio::test]
async fn a_thousand_executors_need_one_assume_role() {
    let proxy = CountingProxy::to(shared_minio().address).await;
    let world = World::on(shared_minio(), &[("LAKEPASS_MINIO_URL", &proxy.url)]).await;
    let bob = world.person("bob").await;
    let before = proxy.requests();
    let asks = (0..1000).map(|_| world.get(&bob, CREDENTIALS));
    let answers = futures::future::join_all(asks).await;
    let ids: BTreeSet<&str> = answers.iter().map(|answer| answer.json["AccessKeyId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 1);
    // One document is read each second, and STS is asked once.
    assert!(proxy.requests() - before < 40, "{} requests reached MinIO", proxy.requests() - before);
    assert!(world.can_put(&keys_of(&answers[0]), "users-warehouse/bob/x").await);
}

#[tokio::test]
async fn keys_are_the_same_until_rights_change_and_who_waits_hears_of_it() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let first = world.get(&bob, CREDENTIALS).await;
    assert_eq!(first.status, 200, "{}", first.json);
    assert_eq!(first.headers["cache-control"], "no-store");
    let end: jiff::Timestamp = first.json["Expiration"].as_str().unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&end.duration_since(jiff::Timestamp::now()).as_secs()), "an hour");
    let tag = first.headers["etag"].to_str().unwrap().to_owned();
    let same = ask_again(&world, &bob, &tag, 0).await;
    assert_eq!((same.status, &same.json), (304, &Value::Null));
    let started = Instant::now();
    assert_eq!(ask_again(&world, &bob, &tag, 2).await.status, 304);
    assert!(started.elapsed() >= Duration::from_secs(2));
    for change in ["share", "unshare", "revoke"] {
        let tag = world.get(&bob, CREDENTIALS).await.headers["etag"].to_str().unwrap().to_owned();
        let started = Instant::now();
        let make = async {
            match change {
                "share" => world.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "read").await,
                "unshare" => drop(world.unshare(&alice, "users-warehouse/alice/x", &["bob"], &[]).await),
                _ => drop(world.delete(&bob, "/sessions").await),
            }
        };
        let (news, ()) = tokio::join!(ask_again(&world, &bob, &tag, 20), make);
        assert_eq!(news.status, 200, "{change}");
        assert!(started.elapsed() < Duration::from_secs(5), "{change}: {:?}", started.elapsed());
        let keys = keys_of(&news);
        assert!(world.can_put(&keys, "users-warehouse/bob/x").await, "{change}");
        assert_eq!(world.can_list(&keys, "users-warehouse/alice/x/").await, change == "share", "{change}");
    }
    // Who asks right after a revocation is not given keys that are dead.
    for _ in 0..5 {
        world.get(&bob, CREDENTIALS).await;
        assert_eq!(world.delete(&bob, "/sessions").await.status, 204);
        assert!(world.can_put(&keys_of(&world.get(&bob, CREDENTIALS).await), "users-warehouse/bob/x").await);
    }
    // The whole lake as the scope: what changes is decided by the live rights, and the keys go on.
    let lake = format!("{CREDENTIALS}?scope=lake");
    let before = world.get(&bob, &lake).await;
    world.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "read").await;
    eventually("the change counts", Duration::from_secs(2), async || {
        world.can_list(&keys_of(&before), "users-warehouse/alice/x/").await
    })
    .await;
    assert_eq!(world.get(&bob, &lake).await.json, before.json);
}

#[tokio::test]
async fn a_scope_and_a_duration_are_taken_and_errors_are_as_sdks_print_them() {
    let world = World::new().await;
    let bob = world.person("bob").await;
    let list = r#"[{"path":"users-warehouse/bob/p","access":"read"}]"#;
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("scope", list)
        .append_pair("duration_seconds", "900")
        .finish();
    let listed = world.get(&bob, &format!("{CREDENTIALS}?{query}")).await;
    let keys = keys_of(&listed);
    assert!(
        world.can_list(&keys, "users-warehouse/bob/p/").await && !world.can_list(&keys, "users-warehouse/bob/").await
    );
    let end: jiff::Timestamp = listed.json["Expiration"].as_str().unwrap().parse().unwrap();
    assert!(end.duration_since(jiff::Timestamp::now()).as_secs() <= 900);
    let nobody = Person { name: "bob".into(), token: "NOTOKEN".into() };
    for (who, query, status, code) in [
        (&nobody, "", 401, "Unauthenticated"),
        (&bob, "?scope=all", 422, "InvalidRequest"),
        (&bob, "?scope=[]", 422, "InvalidRequest"),
        (&bob, "?duration_seconds=60", 422, "InvalidRequest"),
        (&bob, "?wait=61", 422, "InvalidRequest"),
        (&bob, "?token=x", 400, "TokenInAddress"),
        (&bob, "?surprise=x", 422, "InvalidRequest"),
        (&bob, "?scope=[{\"path\":\"users-warehouse/alice/\"}]", 403, "ScopeExceedsGrants"),
    ] {
        let answer = world.get(who, &format!("{CREDENTIALS}{query}")).await;
        assert_eq!((answer.status, answer.json["code"].as_str()), (status, Some(code)), "{query}");
        assert!(!answer.json["message"].as_str().unwrap().is_empty());
        assert!(answer.headers.contains_key("x-request-id"));
    }
}

#[tokio::test]
async fn who_says_no_duration_gets_what_the_configuration_allows() {
    let world =
        World::on(shared_minio(), &[("LAKEPASS_SESSION_MAX", "1800"), ("LAKEPASS_SESSION_DEFAULT", "900")]).await;
    let bob = world.person("bob").await;
    let answer = world.get(&bob, CREDENTIALS).await;
    let end: jiff::Timestamp = answer.json["Expiration"].as_str().unwrap().parse().unwrap();
    assert!((1700..=1800).contains(&end.duration_since(jiff::Timestamp::now()).as_secs()), "{end}");
    let (status, said) = sts(
        &world,
        &[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", "arn:lakepass:iam:::role/granted"),
            ("RoleSessionName", "x"),
            ("WebIdentityToken", &bob.token),
        ],
    )
    .await;
    assert_eq!(status, 200, "{said}");
}

#[tokio::test]
async fn kept_keys_are_given_as_long_as_the_token_lives() {
    let world = World::new().await;
    world.person("bob").await;
    let expires_at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(905);
    let spec = TokenSpec { kind: TokenKind::Login, mfa: Mfa::Used, expires_at };
    let bob = Person { name: "bob".into(), token: "ENDSINAQUARTEROFANHOUR".into() };
    let auth = world.auth.as_ref().unwrap();
    auth.put_token(&Token::parse(&bob.token).unwrap(), &"bob".parse().unwrap(), spec).unwrap();
    let first = world.get(&bob, CREDENTIALS).await;
    assert_eq!(first.status, 200, "{}", first.json);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(world.post(&bob, "/sessions", serde_json::Value::Null).await.status, 403, "new ones would be too short");
    assert_eq!(world.get(&bob, CREDENTIALS).await.json, first.json);
    let other = world.get(&bob, &format!("{CREDENTIALS}?scope=lake")).await;
    assert_eq!(other.status, 403, "{}", other.json);
}

/// What the STS endpoint says to a form.
async fn sts(world: &World, form: &[(&str, &str)]) -> (u16, String) {
    let answer = world.http.post(format!("{}/sts", world.url)).form(form).send().await.unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/xml"));
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn sts_client(world: &World, keys: Option<&Keys>) -> aws_sdk_sts::Client {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(aws_sdk_sts::config::BehaviorVersion::latest())
        .region(aws_sdk_sts::config::Region::from_static("us-east-1"))
        .endpoint_url(&world.url);
    let config = match keys {
        Some(keys) => config.credentials_provider(aws_sdk_sts::config::Credentials::new(
            &keys.access_key,
            &keys.secret_key,
            keys.session_token.clone(),
            None,
            "test",
        )),
        None => config,
    };
    aws_sdk_sts::Client::from_conf(config.build())
}

#[tokio::test]
async fn the_sdk_assumes_a_role_with_a_token_and_is_told_who_it_is() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "write").await;
    let assume = async |role: &str, policy: Option<&str>| {
        let call = sts_client(&world, None)
            .assume_role_with_web_identity()
            .role_arn(format!("arn:lakepass:iam:::role/{role}"));
        let call = call.role_session_name("job").web_identity_token(&bob.token).duration_seconds(900);
        let answer = call.set_policy(policy.map(str::to_owned)).send().await.unwrap();
        assert_eq!(answer.subject_from_web_identity_token(), Some("bob"));
        assert_eq!(answer.assumed_role_user().unwrap().arn(), format!("arn:lakepass:sts:::assumed-role/{role}/job"));
        let keys = answer.credentials.unwrap();
        Keys {
            access_key: keys.access_key_id,
            secret_key: keys.secret_access_key,
            session_token: Some(keys.session_token),
        }
    };
    let anything = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    for role in ["granted", "lake"] {
        for policy in [None, Some(anything)] {
            let keys = assume(role, policy).await;
            assert!(world.can_put(&keys, "users-warehouse/bob/x").await, "{role} {policy:?}");
            assert!(world.can_put(&keys, "users-warehouse/alice/x/y").await);
            assert!(!world.can_list(&keys, "users-warehouse/alice/").await && !world.can_list(&keys, "").await);
            let me = sts_client(&world, Some(&keys)).get_caller_identity().send().await.unwrap();
            assert_eq!(me.arn(), Some("arn:lakepass:sts:::assumed-role/lakepass/bob"));
        }
    }
    let read_mine = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::{0}/users-warehouse/*"}},{{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::{0}","Condition":{{"StringLike":{{"s3:prefix":"users-warehouse/bob/*"}}}}}}]}}"#,
        world.bucket
    );
    let narrow = assume("lake", Some(&read_mine)).await;
    assert!(world.can_list(&narrow, "users-warehouse/bob/").await);
    assert!(
        !world.can_put(&narrow, "users-warehouse/bob/x").await
            && !world.can_list(&narrow, "users-warehouse/alice/x/").await
    );
    // A ceiling of what was granted stays one, whatever the policy says.
    let granted = assume("granted", Some(anything)).await;
    world.share(&alice, "users-warehouse/alice/later", &["bob"], &[], "read").await;
    assert!(!world.can_list(&granted, "users-warehouse/alice/later/").await);
    // Identity: not after a revocation, not for others' keys.
    assert_eq!(world.delete(&bob, "/sessions").await.status, 204);
    let lake_key = world.lake_key(&bob).await;
    let mixed = Keys { access_key: "AKIAIOSFODNN7EXAMPLE".into(), ..granted.clone() };
    for keys in [granted, lake_key, mixed, world.root()] {
        let refused = sts_client(&world, Some(&keys)).get_caller_identity().send().await.unwrap_err();
        let code = refused.as_service_error().and_then(|error| error.meta().code().map(str::to_owned));
        assert_eq!(code.as_deref(), Some("InvalidClientTokenId"));
    }
}

/// Run in a process of its own, whose environment is the test: see [`the_sdks_own_web_identity_provider_works_unchanged`].
#[tokio::test]
#[ignore = "the test below runs it"]
async fn web_identity_from_the_environment() {
    let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
    let (bucket, key) = (std::env::var("TEST_BUCKET").unwrap(), "users-warehouse/bob/by-web-identity");
    let s3 = aws_sdk_s3::Client::from_conf(config);
    s3.put_object().bucket(bucket).key(key).body(b"hello".to_vec().into()).send().await.unwrap();
}

#[tokio::test]
async fn the_sdks_own_web_identity_provider_works_unchanged() {
    let world = World::new().await;
    let bob = world.person("bob").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, &bob.token).unwrap();
    let mut job = tokio::process::Command::new(std::env::current_exe().unwrap());
    let job = job
        .args(["--ignored", "--exact", "aws::web_identity_from_the_environment"])
        .env_clear()
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", file)
        .env("AWS_ROLE_ARN", "arn:lakepass:iam:::role/granted")
        .env("AWS_ENDPOINT_URL_STS", &world.url)
        .env("AWS_ENDPOINT_URL_S3", &world.minio_url)
        .env("AWS_REGION", "us-east-1")
        .env("TEST_BUCKET", &world.bucket);
    let said = job.output().await.unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
    assert!(world.can_get(&world.root(), "users-warehouse/bob/by-web-identity").await);
}

/// MinIO knows no prefix of an object that is read.
const MEANINGLESS: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*","Condition":{"StringLike":{"s3:prefix":"x"}}}}"#;

#[tokio::test]
async fn sts_errors_are_as_aws_spells_them() {
    let world = World::new().await;
    let bob = world.person("bob").await;
    let roleless = world.stranger("erin", &[]);
    let good = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", "arn:lakepass:iam:::role/granted"),
        ("RoleSessionName", "x"),
        ("WebIdentityToken", &bob.token),
    ];
    assert_eq!(sts(&world, &good).await.0, 200);
    let with = |key: &'static str, value: &'static str| {
        let kept = good.into_iter().filter(|(k, _)| *k != key).collect::<Vec<_>>();
        [kept, vec![(key, value)]].concat()
    };
    let huge = format!(
        r#"{{"Version":"2012-10-17","Statement":[{}]}}"#,
        (0..60)
            .map(|i| format!(r#"{{"Effect":"Deny","Action":"s3:DeleteObject","Resource":"arn:aws:s3:::x{i}/*"}}"#))
            .collect::<Vec<_>>()
            .join(",")
    );
    let mut too_large = good.to_vec();
    too_large.push(("Policy", &huge));
    let mut of_roleless = good.to_vec();
    of_roleless[4].1 = &roleless.token;
    for (form, status, code) in [
        (vec![], 400, "MissingAction"),
        (with("Action", "AssumeRole"), 400, "InvalidAction"),
        (with("WebIdentityToken", "NOTOKEN"), 400, "InvalidIdentityToken"),
        (with("WebIdentityToken", ""), 400, "MissingParameter"),
        (with("RoleArn", "arn:lakepass:iam:::role/root"), 400, "ValidationError"),
        (with("DurationSeconds", "60"), 400, "ValidationError"),
        (with("DurationSeconds", "long"), 400, "ValidationError"),
        (with("Policy", "{}"), 400, "MalformedPolicyDocument"),
        (with("Policy", MEANINGLESS), 400, "MalformedPolicyDocument"),
        (too_large, 400, "PackedPolicyTooLarge"),
        ([good.to_vec(), vec![good[4]]].concat(), 400, "ValidationError"),
        (of_roleless, 403, "AccessDenied"),
        (vec![("Action", "GetCallerIdentity")], 403, "MissingAuthenticationToken"),
    ] {
        let (got, xml) = sts(&world, &form).await;
        assert_eq!(got, status, "{code}: {xml}");
        assert!(xml.contains(&format!("<Code>{code}</Code>")) && xml.contains("<Type>Sender</Type>"), "{xml}");
        assert!(!xml.contains(&bob.token));
    }
}
