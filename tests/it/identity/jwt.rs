//! JWTs: what is believed, and all that is not.

use jiff::Timestamp;
use lakepass::identity::{
    AuthError, Authenticator, CacheLimits, JwtIssuer, OidcAuthenticator, Token, Validated, authenticator,
};
use serde_json::{Value, json};

use super::{
    issuer::{FakeIssuer, SigningKey},
    seconds, set, start, status, user,
};

/// What is configured for an issuer in these tests, with more settings on top.
pub fn settings(issuer: &FakeIssuer, more: Value) -> JwtIssuer {
    let mut settings = json!({"issuer": issuer.url, "audience": "lakepass"});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(settings).unwrap()
}

pub fn oidc(issuer: &FakeIssuer) -> OidcAuthenticator {
    OidcAuthenticator::new(vec![settings(issuer, json!({}))]).unwrap()
}

/// Good claims of `whee` for an hour.
pub fn claims(issuer: &FakeIssuer) -> Value {
    json!({
        "iss": issuer.url, "aud": "lakepass", "sub": "c0ffee", "preferred_username": "whee",
        "exp": (start() + seconds(3600)).as_second(), "roles": ["LAKE_USER"],
    })
}

pub fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// A token with the key's own algorithm.
pub fn signed(key: &SigningKey, kid: &str, claims: &Value) -> Token {
    Token::parse(&key.sign(&json!({"typ": "JWT", "alg": key.algorithm(), "kid": kid}), claims)).unwrap()
}

pub async fn ask(oidc: &OidcAuthenticator, token: &Token) -> Result<Validated, AuthError> {
    oidc.authenticate(token, start()).await
}

#[track_caller]
pub fn assert_refused(answer: Result<Validated, AuthError>, expected: u16, case: &str) {
    let error = answer.expect_err(case);
    assert_eq!(status(&error), expected, "{case}: {error}");
}

#[tokio::test]
async fn three_algorithms() {
    for key in [SigningKey::rsa(), SigningKey::ec(), SigningKey::ed()] {
        let issuer = FakeIssuer::start(&[("k", &key)]).await;
        let validated = ask(&oidc(&issuer), &signed(&key, "k", &claims(&issuer))).await.unwrap();
        assert_eq!(validated.identity.username, user("whee"));
        assert_eq!(*validated.identity.roles, set(&["LAKE_USER"]));
        assert!(!validated.identity.admin);
        assert_eq!(validated.identity.expires_at, start() + seconds(3600));
        assert_eq!(validated.trust_for, seconds(3600));
    }
}

#[tokio::test]
async fn claims_that_are_not_for_us() {
    let key = SigningKey::ec();
    let issuer = FakeIssuer::start(&[("k", &key)]).await;
    let oidc = oidc(&issuer);
    let good = || claims(&issuer);
    let second = |offset: i64| json!((start() + jiff::SignedDuration::from_secs(offset)).as_second());
    let url = issuer.url.as_str();
    for (case, claims, expected) in [
        ("audience in a list", with(good(), "aud", json!(["other", "lakepass"])), 200),
        ("valid before long", with(good(), "nbf", second(29)), 200),
        ("expired just now", with(good(), "exp", second(-29)), 200),
        ("expired", with(good(), "exp", second(-31)), 401),
        ("no expiry", without(good(), "exp"), 401),
        ("an expiry in words", with(good(), "exp", json!("tomorrow")), 401),
        ("not yet valid", with(good(), "nbf", second(31)), 401),
        ("another audience", with(good(), "aud", json!("other")), 401),
        ("a longer audience", with(good(), "aud", json!("lakepass2")), 401),
        ("no audience", without(good(), "aud"), 401),
        ("an empty audience", with(good(), "aud", json!([])), 401),
        ("another issuer", with(good(), "iss", json!("https://evil.example")), 401),
        ("the issuer with a slash", with(good(), "iss", json!(format!("{url}/"))), 401),
        ("two issuers", with(good(), "iss", json!([url, "https://evil.example"])), 401),
        ("no issuer", without(good(), "iss"), 401),
        ("a hostile username", with(good(), "preferred_username", json!("../whee")), 403),
        ("an e-mail address", with(good(), "preferred_username", json!("whee@example.org")), 403),
        ("no username", without(good(), "preferred_username"), 403),
    ] {
        match ask(&oidc, &signed(&key, "k", &claims)).await {
            Ok(_) => assert_eq!(200, expected, "{case}"),
            error => assert_refused(error, expected, case),
        }
    }
    let elsewhere = with(good(), "iss", json!("https://evil.example"));
    let error = ask(&oidc, &signed(&key, "k", &elsewhere)).await.unwrap_err();
    assert_eq!(error, AuthError::UnknownIssuer("https://evil.example".to_owned()));
}

#[tokio::test]
async fn roles_and_administrators() {
    let key = SigningKey::ed();
    let issuer = FakeIssuer::start(&[("k", &key)]).await;
    let more = json!({
        "roles_claim": "realm_access.roles", "required_roles": ["LAKE_USER"], "admin_roles": ["LAKE_ADMIN"],
    });
    let oidc = OidcAuthenticator::new(vec![settings(&issuer, more)]).unwrap();
    let token = |roles: Value| signed(&key, "k", &with(claims(&issuer), "realm_access", roles));
    let answer = ask(&oidc, &token(json!({"roles": ["LAKE_USER", "LAKE_ADMIN"]}))).await;
    assert!(answer.unwrap().identity.admin);
    assert!(!ask(&oidc, &token(json!({"roles": ["LAKE_USER"]}))).await.unwrap().identity.admin);
    // The claim `roles` of these tokens has the role, but it is not the configured claim.
    let missing = AuthError::RolesMissing { user: "whee".parse().unwrap(), roles: vec!["LAKE_USER".to_owned()] };
    assert_eq!(ask(&oidc, &token(json!({"roles": ["LAKE_ADMIN"]}))).await, Err(missing.clone()));
    assert_eq!(ask(&oidc, &token(json!(null))).await, Err(missing));
}

#[tokio::test]
async fn forgeries() {
    let (rsa, ec, other) = (SigningKey::rsa(), SigningKey::ec(), SigningKey::rsa());
    // A symmetric key that the issuer publishes by mistake.
    let oct = SigningKey::Hmac(b"a secret that everybody can read".to_vec());
    let issuer = FakeIssuer::start(&[("rsa", &rsa), ("ec", &ec), ("oct", &oct)]).await;
    let oidc = oidc(&issuer);
    let good = claims(&issuer);
    let from_pem = SigningKey::Hmac(rsa.public_pem().into_bytes());
    let from_trimmed_pem = SigningKey::Hmac(rsa.public_pem().trim().as_bytes().to_vec());
    let nothing = SigningKey::Nothing;
    let embedded = json!({"alg": "RS256", "kid": "rsa", "jwk": other.jwk("rsa"), "jku": "https://evil.example/keys"});
    for (case, key, header) in [
        ("alg none", &nothing, json!({"alg": "none"})),
        ("alg none with a key id", &nothing, json!({"alg": "none", "kid": "rsa"})),
        ("alg nOnE", &nothing, json!({"alg": "nOnE", "kid": "rsa"})),
        ("no signature", &nothing, json!({"alg": "RS256", "kid": "rsa"})),
        ("HMAC with the public key", &from_pem, json!({"alg": "HS256", "kid": "rsa"})),
        ("HMAC with the trimmed public key", &from_trimmed_pem, json!({"alg": "HS256", "kid": "rsa"})),
        ("HMAC in RSA's clothes", &from_pem, json!({"alg": "RS256", "kid": "rsa"})),
        ("the published symmetric key", &oct, json!({"alg": "HS256", "kid": "oct"})),
        ("the symmetric key, no key id", &oct, json!({"alg": "HS256"})),
        ("the symmetric key as RSA", &oct, json!({"alg": "RS256", "kid": "oct"})),
        ("somebody else's key", &other, json!({"alg": "RS256", "kid": "rsa"})),
        ("a key in the header", &other, embedded),
        ("ES256 with the RSA key's id", &ec, json!({"alg": "ES256", "kid": "rsa"})),
        ("ES256 signed by the RSA key", &rsa, json!({"alg": "ES256", "kid": "rsa"})),
        ("RS256 with the EC key's id", &rsa, json!({"alg": "RS256", "kid": "ec"})),
        ("RS512", &rsa, json!({"alg": "RS512", "kid": "rsa"})),
        ("PS256", &rsa, json!({"alg": "PS256", "kid": "rsa"})),
        ("critical extension", &rsa, json!({"alg": "RS256", "kid": "rsa", "crit": ["exp"]})),
        ("no algorithm", &rsa, json!({"kid": "rsa"})),
        ("unknown key id", &rsa, json!({"alg": "RS256", "kid": "../../etc/passwd"})),
    ] {
        let token = Token::parse(&key.sign(&header, &good)).unwrap();
        assert_refused(ask(&oidc, &token).await, 401, case);
    }
    let honest = signed(&rsa, "rsa", &good);
    assert!(ask(&oidc, &honest).await.is_ok(), "none of them did harm");

    // Other claims under an honest signature, and other bytes in the signature.
    let better = rsa.sign(&json!({"alg": "RS256", "kid": "rsa"}), &with(good, "preferred_username", json!("root")));
    let (_, signature) = honest.expose_secret().rsplit_once('.').unwrap();
    let (message, _) = better.rsplit_once('.').unwrap();
    for forged in [format!("{message}.{signature}"), format!("{message}."), format!("{message}.AAAA")] {
        assert_refused(ask(&oidc, &Token::parse(&forged).unwrap()).await, 401, "a signature of other claims");
    }
}

#[tokio::test]
async fn each_issuer_has_its_own_keys() {
    let (key_a, key_b) = (SigningKey::ec(), SigningKey::ec());
    let a = FakeIssuer::start(&[("k", &key_a)]).await;
    let b = FakeIssuer::start(&[("k", &key_b)]).await;
    let both = OidcAuthenticator::new(vec![settings(&a, json!({})), settings(&b, json!({}))]).unwrap();
    assert!(ask(&both, &signed(&key_a, "k", &claims(&a))).await.is_ok());
    assert!(ask(&both, &signed(&key_b, "k", &claims(&b))).await.is_ok());
    assert_refused(ask(&both, &signed(&key_a, "k", &claims(&b))).await, 401, "a's key for b's token");
    assert!(OidcAuthenticator::new(vec![settings(&a, json!({})), settings(&a, json!({}))]).is_err());
}

#[tokio::test]
async fn behind_the_cache_a_jwt_is_verified_once_and_never_past_its_expiry() {
    let key = SigningKey::ec();
    let issuer = FakeIssuer::start(&[("k", &key)]).await;
    let limits = CacheLimits { trust: seconds(7200), ..CacheLimits::default() };
    let cache = authenticator(None, vec![settings(&issuer, json!({}))], limits).unwrap();
    let token = signed(&key, "k", &claims(&issuer));
    let ask_at = async |offset: u64| cache.authenticate(&token, start() + seconds(offset)).await;
    assert_eq!(ask_at(0).await.unwrap().trust_for, seconds(3600));
    // While it is trusted the issuer's keys do not matter; then they do.
    issuer.publish(&[]);
    assert!(ask_at(3599).await.is_ok());
    assert_refused(ask_at(3600).await, 401, "asked again after its expiry, with the newest keys");

    let opaque = Token::parse("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567").unwrap();
    assert_refused(cache.authenticate(&opaque, start()).await, 401, "nobody knows opaque tokens here");
    let late: Timestamp = start() + seconds(86_400);
    assert_refused(cache.authenticate(&token, late).await, 401, "long expired");
}
