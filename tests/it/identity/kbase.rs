//! KBase tokens, against the in-process auth service, and against servers that misbehave.

use std::{sync::Arc, time::Instant};

use jiff::Timestamp;
use lakepass::{
    Clock,
    dev::kbase_auth::{AccountSpec, KbaseAuth, Mfa, TokenKind, TokenSpec},
    identity::{AuthError, Authenticator, KbaseAuthenticator, KbaseConfig, Token, Validated},
};
use tokio::{io::AsyncReadExt, net::TcpListener};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use super::{TestClock, opaque_token, seconds, set, start, status, user};

fn config(url: &str) -> KbaseConfig {
    KbaseConfig {
        url: url.parse().unwrap(),
        required_roles: set(&["BERDL_USER"]),
        admin_roles: set(&["KBASE_ADMIN", "CDM_JUPYTERHUB_ADMIN"]),
        require_mfa: false,
    }
}

async fn ask(url: &str, token: &Token, now: Timestamp) -> Result<Validated, AuthError> {
    KbaseAuthenticator::new(config(url)).unwrap().authenticate(token, now).await
}

/// A service with `whee`, who may come in, and a token of an hour.
async fn service() -> (KbaseAuth, Arc<TestClock>, Token) {
    let clock = TestClock::new();
    let auth = KbaseAuth::start_on_loopback(clock.clone()).await.unwrap();
    auth.add_user(AccountSpec::new(user("whee")).with_roles(["BERDL_USER", "OTHER"]));
    let token = auth.issue_token(&user("whee"), seconds(3600), TokenKind::Login, Mfa::Used).unwrap();
    (auth, clock, token)
}

#[tokio::test]
async fn a_good_token_names_its_user() {
    let (auth, clock, token) = service().await;
    let validated = ask(&auth.url(), &token, clock.now()).await.unwrap();
    let identity = validated.identity;
    assert_eq!(identity.username, user("whee"));
    assert_eq!(*identity.roles, set(&["BERDL_USER", "OTHER"]));
    assert!(!identity.admin);
    assert_eq!(identity.expires_at, start() + seconds(3600));
    assert_eq!(validated.trust_for, seconds(300), "cachefor");
}

#[tokio::test]
async fn every_kind_of_token_counts() {
    let (auth, clock, _) = service().await;
    for kind in [TokenKind::Login, TokenKind::Agent, TokenKind::Developer, TokenKind::Service] {
        let token = auth.issue_token(&user("whee"), seconds(60), kind, Mfa::Unknown).unwrap();
        assert!(ask(&auth.url(), &token, clock.now()).await.is_ok(), "{kind:?}");
    }
}

#[tokio::test]
async fn cachefor_and_expiry_bound_the_trust() {
    let (auth, clock, token) = service().await;
    auth.set_cachefor(seconds(7));
    assert_eq!(ask(&auth.url(), &token, clock.now()).await.unwrap().trust_for, seconds(7));
    auth.set_cachefor(seconds(86_400));
    assert_eq!(ask(&auth.url(), &token, clock.now()).await.unwrap().trust_for, seconds(3600));
    // The service's clock is ours minus an hour: it still believes the token.
    let expired = ask(&auth.url(), &token, start() + seconds(3600)).await.unwrap_err();
    assert_eq!(status(&expired), 401);
    clock.advance(seconds(3600));
    assert_eq!(status(&ask(&auth.url(), &token, start()).await.unwrap_err()), 401);
}

#[tokio::test]
async fn unknown_revoked_and_disabled() {
    let (auth, clock, token) = service().await;
    let unknown = ask(&auth.url(), &opaque_token(), clock.now()).await.unwrap_err();
    assert!(matches!(unknown, AuthError::Invalid(_)), "{unknown}");

    auth.disable(&user("whee")).unwrap();
    assert_eq!(ask(&auth.url(), &token, clock.now()).await, Err(AuthError::AccountDisabled));
    auth.enable(&user("whee")).unwrap();
    assert!(ask(&auth.url(), &token, clock.now()).await.is_ok());

    auth.revoke_token(&token);
    let revoked = ask(&auth.url(), &token, clock.now()).await.unwrap_err();
    assert!(matches!(revoked, AuthError::Invalid(_)), "{revoked}");
}

#[tokio::test]
async fn roles_decide_who_comes_in_and_who_rules() {
    let (auth, clock, token) = service().await;
    auth.set_roles(&user("whee"), ["KBASE_ADMIN"]).unwrap();
    let error = ask(&auth.url(), &token, clock.now()).await.unwrap_err();
    assert_eq!(error, AuthError::RolesMissing { user: user("whee"), roles: vec!["BERDL_USER".to_owned()] });
    assert!(error.to_string().contains("BERDL_USER"), "it says what is missing: {error}");
    for (roles, admin) in [
        (vec!["BERDL_USER"], false),
        (vec!["BERDL_USER", "KBASE_ADMIN"], true),
        (vec!["BERDL_USER", "CDM_JUPYTERHUB_ADMIN"], true),
    ] {
        auth.set_roles(&user("whee"), roles).unwrap();
        assert_eq!(ask(&auth.url(), &token, clock.now()).await.unwrap().identity.admin, admin);
    }
}

#[tokio::test]
async fn multi_factor_authentication_if_wanted() {
    let (auth, clock, _) = service().await;
    let demanding = KbaseConfig { require_mfa: true, ..config(&auth.url()) };
    let demanding = KbaseAuthenticator::new(demanding).unwrap();
    for (mfa, expected) in [(Mfa::Used, true), (Mfa::NotUsed, false), (Mfa::Unknown, false)] {
        let token = auth.issue_token(&user("whee"), seconds(60), TokenKind::Login, mfa).unwrap();
        match demanding.authenticate(&token, clock.now()).await {
            Ok(_) => assert!(expected, "{mfa:?}"),
            Err(error) => {
                assert!(!expected && error == AuthError::MfaMissing { user: user("whee") }, "{mfa:?}: {error}")
            }
        }
    }
}

#[tokio::test]
async fn tokens_can_be_kept_over_a_restart() {
    let (auth, clock, _) = service().await;
    let spec = TokenSpec { kind: TokenKind::Developer, mfa: Mfa::Used, expires_at: start() + seconds(60) };
    auth.put_token(&opaque_token(), &user("whee"), spec).unwrap();
    assert!(ask(&auth.url(), &opaque_token(), clock.now()).await.is_ok());
    assert!(auth.put_token(&opaque_token(), &user("nobody"), spec).is_err());
}

#[tokio::test]
async fn the_stand_in_speaks_as_the_real_one() {
    let (auth, _, token) = service().await;
    let get = async |path: &str, token: Option<&str>| {
        let mut request = reqwest::Client::new().get(format!("{}{path}", auth.url()));
        if let Some(token) = token {
            request = request.header("Authorization", token);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/json");
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let secret = Some(token.expose_secret());

    let (code, root) = get("/", None).await;
    assert!(code == 200 && root.contains(r#""servicename":"Authentication Service""#), "{root}");

    let (code, body) = get("/api/V2/token", secret).await;
    assert!(code == 200 && body.starts_with(r#"{"type":"Login","id":""#), "{body}");
    assert!(body.contains(r#""user":"whee","custom":{},"cachefor":300000,"mfa":"Used"}"#), "{body}");

    let (code, body) = get("/api/V2/me", secret).await;
    assert!(code == 200 && body.starts_with(r#"{"user":"whee","anonid":""#), "{body}");
    assert!(body.contains(r#""customroles":["BERDL_USER","OTHER"],"roles":[]"#), "{body}");

    for path in ["/api/V2/users/?list=whee,nobody,NOT%20LEGAL", "/api/V2/users?list=whee"] {
        assert_eq!(get(path, secret).await, (200, r#"{"whee":"whee of the demonstration"}"#.to_owned()));
    }

    for path in ["/api/V2/token", "/api/V2/me", "/api/V2/users/?list=whee"] {
        for (token, httpcode, httpstatus, appcode, apperror) in [
            (None, 400, "Bad Request", 10010, "No authentication token"),
            (Some("Bearer x"), 401, "Unauthorized", 10020, "Invalid token"),
            (Some("x"), 401, "Unauthorized", 10020, "Invalid token"),
        ] {
            let (code, body) = get(path, token).await;
            assert_eq!(code, httpcode);
            let start = format!(
                r#"{{"error":{{"httpcode":{httpcode},"httpstatus":"{httpstatus}","appcode":{appcode},"apperror":"{apperror}","message":""#
            );
            assert!(body.starts_with(&start), "{body}");
            assert!(body.contains(r#""callid":""#) && body.contains(r#""time":"#), "{body}");
        }
    }
    auth.disable(&user("whee")).unwrap();
    let (code, body) = get("/api/V2/token", secret).await;
    assert!(code == 401 && body.contains(r#""appcode":10020,"apperror":"Invalid token""#), "{body}");
    let (code, body) = get("/api/V2/me", secret).await;
    assert!(code == 403 && body.contains(r#""appcode":20010,"apperror":"Account disabled""#), "{body}");
    assert_eq!(get("/nowhere", None).await.0, 404);
}

/// A 401 only if the service itself says so, in its own words; a 403 likewise.
#[tokio::test]
async fn whatever_else_it_answers_is_an_outage() {
    let token_ok = format!(
        r#"{{"user":"whee","expires":{},"cachefor":300000,"mfa":"Used"}}"#,
        (start() + seconds(60)).as_millisecond()
    );
    let token_ok = ResponseTemplate::new(200).set_body_string(token_ok);
    let me_ok = ResponseTemplate::new(200).set_body_string(r#"{"user":"whee","customroles":["BERDL_USER"]}"#);
    let error = |code: u16, appcode: u32| {
        ResponseTemplate::new(code).set_body_json(serde_json::json!({"error": {"httpcode": code, "appcode": appcode}}))
    };
    let text = |code: u16, body: &str| ResponseTemplate::new(code).set_body_string(body);
    let large = format!(r#"{{"user":"whee","customroles":["BERDL_USER","{}"]}}"#, "x".repeat(70_000));
    let elsewhere = ResponseTemplate::new(302).insert_header("Location", "/api/V2/me-too");
    let cases = [
        ("all is well", token_ok.clone(), me_ok.clone(), 200),
        ("invalid on one", error(401, 10020), me_ok.clone(), 401),
        ("invalid on the other", token_ok.clone(), error(401, 10020), 401),
        ("disabled", error(401, 10020), error(403, 20010), 403),
        ("500 with an invalid token", error(500, 30000), error(401, 10020), 401),
        ("500", token_ok.clone(), text(500, "oops"), 503),
        ("503", text(503, ""), me_ok.clone(), 503),
        ("429", text(429, "slow down"), me_ok.clone(), 503),
        ("404", text(404, ""), text(404, ""), 503),
        ("no token arrived", error(400, 10010), error(400, 10010), 503),
        ("a gateway's 401", text(401, "<html>log in"), text(401, "<html>log in"), 503),
        ("a gateway's 403", token_ok.clone(), text(403, "blocked"), 503),
        ("redirect", token_ok.clone(), elsewhere, 503),
        ("garbage", token_ok.clone(), text(200, "\u{0}garbage"), 503),
        ("half an answer", token_ok.clone(), text(200, r#"{"user":"whee""#), 503),
        ("no roles at all", token_ok.clone(), text(200, r#"{"user":"whee"}"#), 503),
        ("too large", token_ok.clone(), text(200, &large), 503),
        ("another user", token_ok.clone(), text(200, r#"{"user":"other","customroles":[]}"#), 503),
        ("204", ResponseTemplate::new(204), me_ok.clone(), 503),
    ];
    for (case, token_answer, me_answer, expected) in cases {
        let server = MockServer::start().await;
        Mock::given(path("/api/V2/token")).respond_with(token_answer).mount(&server).await;
        Mock::given(path("/api/V2/me")).respond_with(me_answer).mount(&server).await;
        // Where the redirect leads: whoever follows it would get in.
        Mock::given(path("/api/V2/me-too")).respond_with(me_ok.clone()).mount(&server).await;
        match ask(&server.uri(), &opaque_token(), start()).await {
            Ok(_) => assert_eq!(200, expected, "{case}"),
            Err(error) => {
                assert_eq!(status(&error), expected, "{case}: {error}");
                assert!(!format!("{error} {error:?}").contains(opaque_token().expose_secret()), "{case}: {error}");
            }
        }
        for request in server.received_requests().await.unwrap() {
            assert_eq!(request.headers["authorization"], opaque_token().expose_secret(), "raw, without Bearer");
            assert_ne!(request.url.path(), "/api/V2/me-too", "no redirect is followed");
        }
    }
}

#[tokio::test]
async fn a_username_that_kbase_cannot_issue_is_an_outage() {
    for name in ["", "Whee", "a/b", "..", "a\n", "аlice"] {
        let server = MockServer::start().await;
        let expires = (start() + seconds(60)).as_millisecond();
        let token = serde_json::json!({"user": name, "expires": expires, "cachefor": 1});
        let me = serde_json::json!({"user": name, "customroles": ["BERDL_USER"]});
        for (at, body) in [("/api/V2/token", token), ("/api/V2/me", me)] {
            Mock::given(path(at)).respond_with(ResponseTemplate::new(200).set_body_json(body)).mount(&server).await;
        }
        let error = ask(&server.uri(), &opaque_token(), start()).await.unwrap_err();
        assert_eq!(status(&error), 503, "{name:?}: {error}");
    }
}

#[tokio::test]
async fn nobody_listening_is_an_outage() {
    let (auth, clock, token) = service().await;
    let url = auth.url();
    auth.stop().await;
    let error = ask(&url, &token, clock.now()).await.unwrap_err();
    assert_eq!(status(&error), 503, "{error}");
    assert!(!error.to_string().contains(token.expose_secret()));
}

#[tokio::test]
async fn a_service_that_hangs_is_an_outage_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut connections = Vec::new();
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            connections.push(tokio::spawn(async move {
                let mut sink = Vec::new();
                connection.read_to_end(&mut sink).await.ok();
            }));
        }
    });
    let begun = Instant::now();
    let error = ask(&url, &opaque_token(), start()).await.unwrap_err();
    assert_eq!(status(&error), 503, "{error}");
    assert!(begun.elapsed() < seconds(3), "{:?}", begun.elapsed());
    server.abort();
}
