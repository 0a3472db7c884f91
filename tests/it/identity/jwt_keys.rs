//! An issuer's keys: found, rotated, kept through an outage, and asked for seldom.

use std::{sync::Arc, time::Instant};

use lakepass::identity::{AuthError, Authenticator, OidcAuthenticator, Token};
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    issuer::{FakeIssuer, SigningKey},
    jwt::{ask, assert_refused, claims, oidc, signed, with},
    seconds, start,
};

#[tokio::test]
async fn a_rotated_key_is_found() {
    let (old, new) = (SigningKey::rsa(), SigningKey::ec());
    let issuer = FakeIssuer::start(&[("old", &old)]).await;
    let oidc = oidc(&issuer);
    let (old_token, new_token) = (signed(&old, "old", &claims(&issuer)), signed(&new, "new", &claims(&issuer)));
    assert!(ask(&oidc, &old_token).await.is_ok());
    issuer.publish(&[("old", &old), ("new", &new)]);
    let later = start() + seconds(10);
    assert!(oidc.authenticate(&new_token, later).await.is_ok());
    assert!(oidc.authenticate(&old_token, later).await.is_ok());
    assert_eq!((issuer.discovered(), issuer.keys_read()), (2, 2));

    // Withdrawn: after an hour at the latest it is believed no longer.
    issuer.publish(&[("new", &new)]);
    assert!(oidc.authenticate(&old_token, later + seconds(1000)).await.is_ok());
    let token = signed(&old, "old", &with(claims(&issuer), "exp", json!((start() + seconds(9000)).as_second())));
    assert_refused(oidc.authenticate(&token, later + seconds(3600)).await, 401, "a withdrawn key");
    assert_eq!(issuer.keys_read(), 3);
}

#[tokio::test]
async fn a_token_that_does_not_name_its_key() {
    let (old, new) = (SigningKey::ec(), SigningKey::ec());
    let issuer = FakeIssuer::start(&[("old", &old)]).await;
    let oidc = oidc(&issuer);
    let unnamed = |key: &SigningKey| Token::parse(&key.sign(&json!({"alg": "ES256"}), &claims(&issuer))).unwrap();
    assert!(ask(&oidc, &unnamed(&old)).await.is_ok());
    issuer.publish(&[("new", &new)]);
    assert_refused(ask(&oidc, &unnamed(&new)).await, 401, "too soon to ask again");
    let later = start() + seconds(10);
    assert!(oidc.authenticate(&unnamed(&new), later).await.is_ok(), "rotated, and found by its signature");
    issuer.publish(&[("new", &new), ("old", &old)]);
    let later = later + seconds(3600);
    let lasting = with(claims(&issuer), "exp", json!((later + seconds(60)).as_second()));
    let token = Token::parse(&new.sign(&json!({"alg": "ES256"}), &lasting)).unwrap();
    assert_refused(oidc.authenticate(&token, later).await, 401, "two keys: it must say which");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_unknown_keys_does_not_reach_the_issuer() {
    let key = SigningKey::ec();
    let issuer = FakeIssuer::start(&[("k", &key)]).await;
    let oidc = Arc::new(oidc(&issuer));
    let flood = async |at: u64| {
        let mut callers = JoinSet::new();
        for number in 0..200 {
            let token = signed(&key, &format!("unknown-{number}"), &claims(&issuer));
            let oidc = Arc::clone(&oidc);
            callers.spawn(async move { oidc.authenticate(&token, start() + seconds(at)).await });
        }
        for answer in callers.join_all().await {
            assert_refused(answer, 401, "an unknown key");
        }
    };
    for (at, keys_read) in [(0, 1), (5, 1), (9, 1), (10, 2), (19, 2), (20, 3)] {
        flood(at).await;
        assert_eq!(issuer.keys_read(), keys_read, "after {at} s");
    }
    assert!(oidc.authenticate(&signed(&key, "k", &claims(&issuer)), start() + seconds(20)).await.is_ok());
}

#[tokio::test]
async fn keys_at_hand_outlast_an_outage() {
    let key = SigningKey::ed();
    let issuer = FakeIssuer::start(&[("k", &key)]).await;
    let oidc = oidc(&issuer);
    let lasting = with(claims(&issuer), "exp", json!((start() + seconds(90_000)).as_second()));
    let token = signed(&key, "k", &lasting);
    assert!(ask(&oidc, &token).await.is_ok());
    issuer.set_down(true);
    for after in [10, 3600, 7200, 86_400] {
        assert!(oidc.authenticate(&token, start() + seconds(after)).await.is_ok(), "after {after} s");
    }
    // But whether an unknown key is good, nobody can say now.
    let unknown = signed(&key, "new", &lasting);
    assert_refused(oidc.authenticate(&unknown, start() + seconds(86_410)).await, 503, "unknown in an outage");
    assert_refused(oidc.authenticate(&unknown, start() + seconds(86_411)).await, 503, "and a second later");
    issuer.set_down(false);
    assert_refused(oidc.authenticate(&unknown, start() + seconds(86_420)).await, 401, "the issuer is back");
}

#[tokio::test]
async fn an_issuer_that_is_not_there_is_an_outage_that_ends() {
    let key = SigningKey::ec();
    let issuer = FakeIssuer::start(&[("k", &key)]).await;
    issuer.set_down(true);
    let oidc = oidc(&issuer);
    let token = signed(&key, "k", &claims(&issuer));
    assert_refused(ask(&oidc, &token).await, 503, "down");
    issuer.set_down(false);
    assert_refused(ask(&oidc, &token).await, 503, "within the same second it is not asked again");
    assert!(oidc.authenticate(&token, start() + seconds(1)).await.is_ok());
}

#[tokio::test]
async fn a_discovery_document_must_be_the_issuers_own_and_lead_to_https() {
    let key = SigningKey::ec();
    let (elsewhere, loopback) = ("http://keys.example.org/keys", "http://10.0.0.1/keys");
    for (field, value) in [
        ("issuer", "https://evil.example"),
        ("issuer", ""),
        ("jwks_uri", elsewhere),
        ("jwks_uri", loopback),
        ("jwks_uri", "file:///etc/passwd"),
        ("jwks_uri", "/keys"),
        ("jwks_uri", ""),
    ] {
        let issuer = FakeIssuer::start(&[("k", &key)]).await;
        issuer.discovery_says(field, value);
        let answer = ask(&oidc(&issuer), &signed(&key, "k", &claims(&issuer))).await;
        assert_refused(answer, 503, &format!("{field} {value:?}"));
        assert_eq!(issuer.keys_read(), 0);
    }
    let issuer = FakeIssuer::start(&[("k", &key)]).await;
    issuer.discovery_says("issuer", &format!("{}/", issuer.url));
    let answer = ask(&oidc(&issuer), &signed(&key, "k", &claims(&issuer))).await;
    assert_refused(answer, 503, "the issuer with one more slash");
}

/// All who wait for an issuer that hangs give up together, in time; nobody waits in a queue for a turn of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_issuer_that_hangs_is_an_outage_in_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let settings = serde_json::from_value(json!({"issuer": url, "audience": "lakepass"})).unwrap();
    let oidc = Arc::new(OidcAuthenticator::new(vec![settings]).unwrap());
    let key = SigningKey::ec();
    let claims = json!({"iss": url, "aud": "lakepass", "exp": (start() + seconds(60)).as_second()});
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for number in 0..20 {
        let (oidc, token) = (Arc::clone(&oidc), signed(&key, "k", &claims));
        callers.spawn(async move { oidc.authenticate(&token, start() + seconds(number)).await });
    }
    for answer in callers.join_all().await {
        assert!(matches!(answer, Err(AuthError::Unavailable { .. })), "{answer:?}");
    }
    assert!(begun.elapsed() < seconds(5), "{:?}", begun.elapsed());
    drop(listener);
}

/// A caller who hangs up in the middle of a fetch takes nothing away from the others.
#[tokio::test]
async fn a_fetch_survives_the_caller_who_began_it() {
    let key = SigningKey::ec();
    let issuer = FakeIssuer::start(&[("k", &key)]).await;
    let oidc = Arc::new(oidc(&issuer));
    let token = signed(&key, "k", &claims(&issuer));
    let first = {
        let (oidc, token) = (Arc::clone(&oidc), signed(&key, "k", &claims(&issuer)));
        tokio::spawn(async move { oidc.authenticate(&token, start()).await })
    };
    while issuer.discovered() == 0 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(ask(&oidc, &token).await.is_ok());
    assert_eq!(issuer.discovered(), 1);
}
