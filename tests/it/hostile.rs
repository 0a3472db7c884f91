//! Hostile input is refused with a word on why, and changes nothing: neither in the ledger nor at MinIO.

use std::{collections::BTreeMap, time::Duration};

use jiff::{Timestamp, ToSpan};
use lakepass::{
    dev::kbase_auth::{Mfa, TokenKind, TokenSpec},
    identity::Token,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    clients::{mc, mc_host},
    identity::issuer::{FakeIssuer, SigningKey},
    support::{Keys, Person, World, eventually, start_minio},
};

/// What is no name of anybody. Some is policy syntax, some looks like `alice` or `KBase`.
const NO_NAMES: [&str; 26] = [
    "*",
    "?",
    "ali*",
    "${aws:username}",
    "{user}",
    "a\"b",
    "a'b",
    "a\\b",
    "alice\n",
    "\nalice",
    "a\0",
    "alice ",
    " ",
    "alice/",
    "alice/x",
    "../alice",
    "alice,bob",
    "alice=",
    "arn:aws:iam:::user/alice",
    "аlice",
    "ａｌｉｃｅ",
    "alice\u{200b}",
    "K\u{212a}Base",
    "ali\u{0441}e",
    "é",
    "e\u{301}",
];

/// What is no folder: after a home, or alone.
const NO_FOLDERS: [&str; 14] = [
    "*",
    "x*",
    "x?",
    "${aws:username}",
    "{prefix}",
    "../bob",
    "x/../../bob",
    "./x",
    "x//y",
    "%2e%2e/bob",
    "x%2f..",
    "x\\..\\bob",
    "x\n",
    "x\0y",
];

/// All that there is: in the ledger, in the lake, and at MinIO.
async fn everything(world: &World) -> BTreeMap<String, String> {
    let root = world.root();
    let mut all = BTreeMap::new();
    for bucket in [&world.ledger_bucket, &world.bucket] {
        let listed = world.s3(&root).list_objects_v2().bucket(bucket).send().await.unwrap();
        for object in listed.contents() {
            all.insert(format!("{bucket} {}", object.key().unwrap()), object.e_tag().unwrap().to_owned());
        }
    }
    for kind in ["policy", "user", "group"] {
        let said = mc(world, &mc_host(world, &root), &["admin", kind, "ls", "lake", "--json"]);
        assert!(said.ok, "{}", said.text);
        let mut lines: Vec<&str> = said.text.lines().collect();
        lines.sort_unstable();
        all.insert(kind.to_owned(), lines.join("\n"));
    }
    all
}

/// A part of an address.
fn part(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Requests of alice's that must not have an effect.
fn hostile_requests(token: &str) -> Vec<(Method, String, String)> {
    let mut all = Vec::new();
    let mut post = |path: &str, body: Value| all.push((Method::POST, path.to_owned(), body.to_string()));
    let (share, unshare, group) = ("/users/alice/share", "/users/alice/unshare", "/groups/KBase");
    let mine = "users-warehouse/alice/y";
    for name in NO_NAMES.into_iter().chain([token]) {
        post(share, json!({"path": mine, "with_users": [name]}));
        // A token is spelled like a group that is not there.
        post(share, json!({"path": mine, "with_groups": [name]}));
        post(share, json!({"path": mine, "with_users": ["bob"], "access": name}));
        post(share, json!({"path": mine, "with_users": ["bob"], "expires_at": name}));
        post(unshare, json!({"path": mine, "from_users": [name]}));
        post(group, json!({"add_members": [{"username": name, "role": "reader"}]}));
        post(group, json!({"add_members": [{"username": "bob", "role": name}]}));
        post(group, json!({"remove_members": [name, {"username": name}]}));
        post("/sessions", json!({ "scope": name }));
        post("/sessions", json!({ "duration_seconds": name }));
        post("/sessions", json!({"scope": [{"path": mine, "access": name}]}));
    }
    for folder in NO_FOLDERS {
        for path in [
            folder.to_owned(),
            format!("users-warehouse/alice/{folder}"),
            format!("s3a://{folder}/users-warehouse/alice"),
        ] {
            post(share, json!({"path": path, "with_users": ["bob"]}));
            post(unshare, json!({"path": path, "from_users": ["bob"]}));
            post(group, json!({"add_paths": [{ "path": path }], "remove_paths": [path]}));
            post("/sessions", json!({"scope": [{ "path": path }]}));
        }
    }
    // Somebody else's, or nobody's; some only look like alice's.
    for path in [
        "users-warehouse/alice2/x",
        "users-warehouse/alic",
        "users-warehouse",
        "users-warehouse/аlice/x",
        "Users-warehouse/alice/x",
        "users-warehouse/ａlice/x",
        "users-warehouse/alice\u{200b}/x",
        "users-warehouse/bob/alice",
        "groups-warehouse/kbase/x",
        "alice",
    ] {
        post(share, json!({"path": path, "with_users": ["bob"], "access": "write"}));
        post("/sessions", json!({"scope": [{"path": path, "access": "write"}]}));
    }
    for name in NO_NAMES {
        for (method, below) in
            [(Method::GET, ""), (Method::POST, ""), (Method::POST, "/share"), (Method::POST, "/unshare")]
        {
            all.push((method, format!("/users/{}{below}", part(name)), "{}".into()));
        }
        for method in [Method::GET, Method::POST] {
            all.push((method, format!("/groups/{}", part(name)), "{}".into()));
        }
        for query in [
            "/access?path=users-warehouse/bob/",
            "/aws/container-credentials?scope=",
            "/aws/container-credentials?duration_seconds=",
        ] {
            all.push((Method::GET, format!("{query}{}", part(name)), String::new()));
        }
    }
    let mut body = |path: &str, body: String| all.push((Method::POST, path.to_owned(), body));
    for path in [share, unshare, group, "/sessions"] {
        body(path, "[".repeat(200_000));
        body(path, "{\"scope\":".repeat(20_000));
        body(path, format!("{{\"path\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000)));
        body(path, "\u{feff}{}".into());
        body(path, "{} {}".into());
        body(path, "nul".into());
    }
    // Lists of the values of an object's fields.
    body("/sessions", r#"[3600,"lake"]"#.into());
    body(share, format!(r#"["{mine}",["bob"],[],"write",null]"#));
    body(share, format!(r#"{{"path":"{mine}","path":"users-warehouse/bob/x","with_users":["bob"]}}"#));
    body(share, format!(r#"{{"path":"{mine}","with_users":["bob"],"access":"read","access":"write"}}"#));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_input_is_refused_and_changes_nothing() {
    let (rsa, other) = (SigningKey::rsa(), SigningKey::rsa());
    let issuer = FakeIssuer::start(&[("rsa", &rsa)]).await;
    let issuers = json!([{"issuer": issuer.url, "audience": "lakepass"}]).to_string();
    let minio = start_minio().await;
    let world = World::on(&minio, &[("LAKEPASS_JWT_ISSUERS", &issuers)]).await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.members("KBase", &[("alice", "steward")], &[]).await;
    world.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "read").await;
    let before = everything(&world).await;
    assert!(before.len() > 6, "{before:?}");
    for (method, path, body) in hostile_requests(&alice.token) {
        let request = world.http.request(method.clone(), format!("{}{path}", world.url)).bearer_auth(&alice.token);
        let answer = request.body(body.clone()).send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        let none_done = || {
            serde_json::from_str::<Value>(&text).unwrap()["results"]
                .as_array()
                .unwrap()
                .iter()
                .all(|result| result["ok"] == false)
        };
        let refused = (400..500).contains(&status) || (status == 207 && none_done());
        assert!(refused, "{method} {path} {:.200}: {status} {text}", body);
    }
    // Tokens: forged, of another kind, too long, not alone.
    let claims = json!({"iss": issuer.url, "aud": "lakepass", "preferred_username": "alice", "roles": ["BERDL_USER", "KBASE_ADMIN"],
        "exp": (Timestamp::now() + 1.hours()).as_second()});
    let honest = rsa.sign(&json!({"alg": "RS256", "kid": "rsa"}), &claims);
    let hmac = SigningKey::Hmac(rsa.public_pem().into_bytes());
    let padded = |bytes: usize| {
        let mut claims = claims.clone();
        claims["padding"] = "x".repeat(bytes).into();
        other.sign(&json!({"alg": "RS256", "kid": "rsa"}), &claims)
    };
    let mut late = claims.clone();
    late["exp"] = (Timestamp::now() - 1.minutes()).as_second().into();
    for token in [
        SigningKey::Nothing.sign(&json!({"alg": "none", "kid": "rsa"}), &claims),
        hmac.sign(&json!({"alg": "HS256", "kid": "rsa"}), &claims),
        rsa.sign(&json!({"alg": "RS256", "kid": "another"}), &claims),
        other.sign(&json!({"alg": "RS256", "kid": "rsa"}), &claims),
        rsa.sign(&json!({"alg": "RS256", "kid": "rsa"}), &late),
        format!("{honest}x"),
        format!("{honest}.{honest}"),
        padded(5_000),
        padded(60_000),
    ] {
        for (method, path) in
            [(Method::GET, "/me"), (Method::DELETE, "/admin/users/bob"), (Method::POST, "/users/alice")]
        {
            let request = world.http.request(method, format!("{}{path}", world.url)).bearer_auth(&token);
            assert!(matches!(request.send().await.unwrap().status().as_u16(), 401 | 431), "{token:.80}");
        }
    }
    for [one, two] in [[&alice.token, &bob.token], [&alice.token, &alice.token], [&honest, &alice.token]] {
        let delete = world
            .http
            .delete(format!("{}/sessions", world.url))
            .header("Authorization", one)
            .header("authorization", two);
        assert_eq!(delete.send().await.unwrap().status(), 401);
    }
    for query in ["token", "access_token", "TOKEN", "%74oken", "x=1&Authorization"] {
        let address = format!("{}/users/alice?{query}={}", world.url, bob.token);
        let answer = world.http.post(address).bearer_auth(&alice.token).send().await.unwrap();
        let (status, problem) = (answer.status(), answer.json::<Value>().await.unwrap());
        assert_eq!(
            (status.as_u16(), &problem["type"]),
            (400, &json!("urn:lakepass:problem:token-in-address")),
            "{query}"
        );
    }
    assert_eq!(everything(&world).await, before);
    // And an honest one is believed, with the scheme in whatever case.
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let request = world.http.get(format!("{}/access?path=users-warehouse/alice", world.url));
        assert_eq!(request.header("authorization", format!("{scheme} {honest}")).send().await.unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_look_alike_are_different_ones() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    let home = "users-warehouse/alice/";
    // What is shared, and what only looks like it or could be read as it.
    let pairs = [
        ("caf\u{e9}", "cafe\u{301}"),
        ("\u{fb01}le", "file"),
        ("K", "\u{212a}"),
        ("a\"b", "a\\u0022b"),
        ("<b>&", "\\u003cb\\u003e\\u0026"),
        ("a,b=c", "a"),
        ("x\u{2028}y", "x y"),
        ("x\u{202e}y", "xy"),
        ("run 7+", "run 7 "),
        ("100%", "100"),
        ("\u{1f9ec}", "\u{1f9eb}"),
        ("arn:aws:s3:::x", "x"),
    ];
    for (shared, other) in pairs {
        for folder in [shared, other] {
            world.seed(&format!("{home}{folder}/seed")).await;
        }
        world.share(&alice, &format!("{home}{shared}"), &["bob"], &[], "read").await;
    }
    let listed: Vec<Value> = pairs[..4].iter().map(|(shared, _)| json!({"path": format!("{home}{shared}")})).collect();
    for (kind, keys) in [
        ("granted", world.session(&bob, json!("granted")).await),
        ("lake", world.session(&bob, json!("lake")).await),
        ("listed", world.session(&bob, json!(listed)).await),
    ] {
        let pairs = if kind == "listed" { &pairs[..4] } else { &pairs };
        for (shared, other) in pairs {
            assert!(world.can_get(&keys, &format!("{home}{shared}/seed")).await, "{kind} {shared:?}");
            assert!(!world.can_get(&keys, &format!("{home}{other}/seed")).await, "{kind} {other:?}");
            assert!(!world.can_put(&keys, &format!("{home}{shared}/new")).await, "{kind} {shared:?}");
        }
    }
}

/// A person may be called like somebody's access key, like MinIO's root or like what we make: their names at MinIO are others.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_gives_nobody_what_is_somebody_elses() {
    let minio = start_minio().await;
    let world = World::on(&minio, &[]).await;
    let root = world.root();
    let said = |arguments: &[&str]| {
        let said = mc(&world, &mc_host(&world, &root), arguments);
        assert!(said.ok, "{}", said.text);
        said.text
    };
    said(&["admin", "user", "add", "lake", "carol_service", "carols-own-secret"]);
    said(&["admin", "policy", "attach", "lake", "readwrite", "--user", "carol_service"]);
    said(&[
        "admin",
        "user",
        "svcacct",
        "add",
        "lake",
        "carol_service",
        "--access-key",
        "carol_key",
        "--secret-key",
        "carols-key-secret",
    ]);
    world.seed("users-warehouse/carol/private").await;
    let carols = [("carol_service", "carols-own-secret"), ("carol_key", "carols-key-secret")];
    let carols = carols.map(|(access_key, secret_key)| Keys {
        access_key: access_key.into(),
        secret_key: secret_key.into(),
        session_token: None,
    });
    let before = said(&["admin", "user", "info", "lake", "carol_service", "--json"]);
    for name in ["carol_service", "carol_key", "lakeroot", "lakepass", "readwrite", "console"] {
        let person = world.person(name).await;
        for keys in [world.session(&person, json!("lake")).await, world.lake_key(&person).await] {
            assert!(world.can_put(&keys, &format!("users-warehouse/{name}/x")).await, "{name}");
            assert!(!world.can_get(&keys, "users-warehouse/carol/private").await, "{name}");
            assert!(!world.can_list(&keys, "").await, "{name}");
        }
        assert_eq!(world.delete(&world.admin().await, &format!("/admin/users/{name}")).await.status, 204, "{name}");
    }
    assert_eq!(said(&["admin", "user", "info", "lake", "carol_service", "--json"]), before);
    for keys in carols.into_iter().chain([root.clone()]) {
        assert!(world.can_get(&keys, "users-warehouse/carol/private").await, "{}", keys.access_key);
    }
    let alice = world.person("alice").await;
    let groups = ["lakepass-x", "readwrite", "consoleAdmin"];
    for group in groups {
        world.members(group, &[("alice", "writer")], &[]).await;
    }
    let alice = world.session(&alice, json!("lake")).await;
    for group in groups {
        assert!(world.can_put(&alice, &format!("groups-warehouse/{group}/x")).await);
    }
    assert!(!world.can_get(&alice, "users-warehouse/carol/private").await);
}

#[tokio::test]
async fn a_token_that_has_expired_is_refused_though_it_was_good_a_moment_ago() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    let auth = world.auth.as_ref().unwrap();
    let spec = TokenSpec { kind: TokenKind::Login, mfa: Mfa::Used, expires_at: Timestamp::now() + 3.seconds() };
    let short = Person { name: "alice".into(), token: "AVERYSHORTLIVEDTOKEN".into() };
    auth.put_token(&Token::parse(&short.token).unwrap(), &"alice".parse().unwrap(), spec).unwrap();
    for _ in 0..2 {
        assert_eq!(world.get(&short, "/me").await.status, 200);
    }
    // Nothing that is issued outlives it, so there is nothing.
    let soon = world.post(&short, "/sessions", Value::Null).await;
    assert_eq!((soon.status, &soon.json["type"]), (403, &json!("urn:lakepass:problem:token-expires-too-soon")));
    eventually("it has expired", Duration::from_secs(10), async || world.get(&short, "/me").await.status == 401).await;
    assert!(Timestamp::now() >= spec.expires_at);
    for _ in 0..3 {
        assert_eq!(world.get(&short, "/me").await.status, 401);
        assert_eq!(world.delete(&short, "/sessions").await.status, 401);
    }
    assert_eq!(world.get(&alice, "/me").await.status, 200);
}

#[tokio::test]
async fn what_sts_answers_can_be_read_whatever_it_was_sent() {
    let world = World::new().await;
    let bob = world.person("bob").await;
    let ask = async |role: &str, name: &str, policy: &str| {
        let form = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("RoleArn", role),
            ("RoleSessionName", name),
            ("WebIdentityToken", &bob.token),
            ("Policy", policy),
        ];
        let answer = world.http.post(format!("{}/sts", world.url)).form(&form).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let role = "arn:lakepass:iam:::role/granted";
    assert_eq!(ask(role, "a.job-7@lake", "").await.0, 200);
    for (role, name, policy) in [
        (role, "a\u{1}", ""),
        (role, "</AssumedRoleUser>", ""),
        (role, "é", ""),
        (role, &"x".repeat(65), ""),
        ("arn\u{1}:role/granted", "x", ""),
        ("<>:role/granted", "x", ""),
        (role, "x", "{\"\\u0001\\ufffe\": 1}"),
        (role, "x", &"[".repeat(100_000)),
    ] {
        let (status, xml) = ask(role, name, policy).await;
        assert_eq!(status, 400, "{xml}");
        assert!(!xml.contains(|c: char| c.is_control() || c == '\u{fffe}'), "{xml:?}");
    }
}
