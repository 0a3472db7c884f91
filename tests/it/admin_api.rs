//! The admin API, both ways: `mc` sees what Lakepass makes, and Lakepass reads what `mc` makes.

use jiff::{Timestamp, ToSpan};
use lakepass::{
    identity::Username,
    minio::{Minio, MinioConfig, MinioError, MinioUser, Status},
};
use secrecy::SecretString;
use serde_json::Value;

use crate::{
    clients::{mc, mc_host},
    support::World,
};

fn minio(world: &World, root_password: &str) -> Minio {
    Minio::new(MinioConfig {
        calls: 64,
        url: world.minio_url.parse().unwrap(),
        root_user: "lakeroot".into(),
        root_password: SecretString::from(root_password),
        derivation_key: None,
    })
    .unwrap()
}

const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::x/*"]}]}"#;

#[tokio::test]
async fn mc_sees_what_lakepass_makes() {
    let world = World::new().await;
    let minio = minio(&world, "lakeroot-secret");
    let root = mc_host(&world, &world.root());
    let said = |arguments: &[&str]| {
        let said = mc(&world, &root, arguments);
        assert!(said.ok, "{arguments:?}: {}", said.text);
        serde_json::from_str::<Value>(said.text.lines().next().unwrap_or("null")).unwrap_or_default()
    };
    let username: Username = "whee".parse().unwrap();
    let user = MinioUser::new(&username);
    let (policy, group) = (format!("{user}-p"), format!("{user}-g"));
    minio.put_user(&user, Status::Enabled).await.unwrap();
    minio.put_policy(&policy, POLICY).await.unwrap();
    minio.attach_to_user(&user, std::slice::from_ref(&policy)).await.unwrap();
    minio.add_members(&group, &[&user]).await.unwrap();
    let info = said(&["admin", "user", "info", "lake", user.as_str(), "--json"]);
    assert_eq!((info["userStatus"].as_str(), info["policyName"].as_str()), (Some("enabled"), Some(policy.as_str())));
    assert!(info.to_string().contains(&group), "{info}");
    minio.set_user_status(&user, Status::Disabled).await.unwrap();
    assert_eq!(said(&["admin", "user", "info", "lake", user.as_str(), "--json"])["userStatus"], "disabled");
    minio.set_user_status(&user, Status::Enabled).await.unwrap();
    let secret = SecretString::from("a-secret-of-a-key");
    let key = format!("LK{}", &user.as_str()[user.as_str().len() - 12..]).to_uppercase();
    let end = Timestamp::now() + 2.hours();
    minio.add_access_key(&user, &key, &secret, Some(end)).await.unwrap();
    let again = minio.add_access_key(&user, &key, &secret, None).await;
    assert!(matches!(again, Err(MinioError::Refused { .. })), "a key is made once: {again:?}");
    let info = said(&["admin", "accesskey", "info", "lake", &key, "--json"]);
    assert_eq!(info["parentUser"].as_str(), Some(user.as_str()));
    assert!(info["expiration"].as_str().is_some_and(|end| !end.starts_with("1970")), "{info}");
    let keys = minio.access_keys(&user).await.unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].expiration.unwrap().as_second(), end.as_second());
    minio.remove_access_key(&key).await.unwrap();
    minio.remove_access_key(&key).await.unwrap();
    assert_eq!(minio.access_keys(&user).await.unwrap(), []);
    minio.remove_user(&user).await.unwrap();
    minio.remove_user(&user).await.unwrap();
    minio.remove_policy(&policy).await.unwrap();
    assert!(!mc(&world, &root, &["admin", "user", "info", "lake", user.as_str()]).ok);
}

#[tokio::test]
async fn lakepass_reads_what_mc_makes() {
    let world = World::new().await;
    let minio = minio(&world, "lakeroot-secret");
    let root = mc_host(&world, &world.root());
    let name = format!("foreign-{}", world.bucket);
    let said = |arguments: &[&str]| assert!(mc(&world, &root, arguments).ok, "{arguments:?}");
    said(&["admin", "user", "add", "lake", &name, "foreign-secret"]);
    said(&["admin", "policy", "attach", "lake", "readonly", "--user", &name]);
    said(&["admin", "group", "add", "lake", "foreign-group", &name]);
    said(&["admin", "user", "disable", "lake", &name]);
    let seen = minio.users().await.unwrap().remove(&name).unwrap();
    assert_eq!((seen.status, seen.policy_name.as_str()), (Status::Disabled, "readonly"));
    assert_eq!(seen.member_of, ["foreign-group"]);
}

#[tokio::test]
async fn errors_say_what_they_are() {
    let world = World::new().await;
    let minio_ok = minio(&world, "lakeroot-secret");
    let nobody = MinioUser::new(&"whee".parse().unwrap());
    assert!(matches!(minio_ok.user(&nobody).await, Ok(None)));
    let attach = minio_ok.attach_to_user(&nobody, &["no-such-policy".into()]).await;
    assert!(matches!(attach, Err(MinioError::NotFound { .. })), "{attach:?}");
    let large = POLICY.replace("x/*", &"x".repeat(21 << 10));
    assert!(matches!(minio_ok.put_policy("large", &large).await, Err(MinioError::TooLarge { .. })));
    assert!(matches!(minio_ok.put_policy("bad", "{}").await, Err(MinioError::Refused { .. })));
    let wrong = minio(&world, "not-the-root-secret").users().await;
    assert!(matches!(wrong, Err(MinioError::Denied { .. })), "{wrong:?}");
    let policy = format!("{nobody}-p");
    minio_ok.put_user(&nobody, Status::Enabled).await.unwrap();
    minio_ok.put_policy(&policy, POLICY).await.unwrap();
    minio_ok.attach_to_user(&nobody, std::slice::from_ref(&policy)).await.unwrap();
    assert!(matches!(minio_ok.remove_policy(&policy).await, Err(MinioError::InUse { .. })));
}
