//! What holds for every input, however hostile: asked by the fuzz targets, and by `cargo test` of the kept corpus and of what is
//! like it (`tests/it/fuzz.rs`).
#![allow(dead_code, reason = "a fuzz target uses one of them")]

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode, header},
    routing::get,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use lakepass::{
    config::Config,
    identity::{AuthError, Authenticator, Identity, OidcAuthenticator, Token, Username, Validated},
    lake::{Access, GroupName, Lake, LakePath, Owner, Reach, Scope},
    minio::{
        MinioUser,
        seal::{Algorithm, SealError, open, seal},
    },
    policy::{LivePolicy, MAX_LIVE_BYTES, MAX_SESSION_BYTES, Narrowing, PolicyDocument, SessionPolicy, Templates},
};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;
use tower::Service;

const BUCKET: &str = "cdm-lake";
/// An object's name that no folder can have: an object called like a folder may be looked at.
const KEY: &str = "*";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

static LAKE: LazyLock<Lake> = LazyLock::new(|| {
    let (homes, workspaces) = (["users-warehouse/{user}/".to_owned()], ["groups-warehouse/{group}/".to_owned()]);
    Lake::new(BUCKET.to_owned(), &homes, &workspaces).unwrap()
});

/// Lines with paths: each means one folder and nothing else, also in a policy.
pub fn path(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let paths: Vec<LakePath> = text.lines().filter_map(|line| LakePath::parse(line, BUCKET).ok()).take(8).collect();
    for path in &paths {
        let text = path.as_str();
        assert!(text.len() <= 1024 && text.ends_with('/'));
        assert!(!text.contains(|c: char| c.is_control() || "*?${}\\".contains(c)));
        assert!(path.segments().all(|segment| !["", ".", ".."].contains(&segment)));
        assert_eq!(&LakePath::parse(&path.url(BUCKET), BUCKET).unwrap(), path);
        assert_eq!(&serde_json::from_value::<LakePath>(json!(text)).unwrap(), path);
        match LAKE.owner(path) {
            Owner::User(user) => assert!(LAKE.home(&user).iter().any(|home| home.covers(path))),
            Owner::Group(group) => assert!(LAKE.workspace(&group).iter().any(|workspace| workspace.covers(path))),
            Owner::Lake => {}
        }
        let scope = Scope::Listed(vec![(path.clone(), Access::Read)]);
        let Ok(policy) = SessionPolicy::ceiling(&Templates::built_in(), BUCKET, &[], &scope, None) else { continue };
        for other in &paths {
            let folders = |path: &LakePath| path.segments().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(path.covers(other), folders(other).starts_with(&folders(path)));
            assert_eq!(
                allows(&policy.json, "s3:GetObject", &format!("{other}{KEY}")),
                path.covers(other),
                "{path} {other}"
            );
            assert!(!allows(&policy.json, "s3:PutObject", &format!("{other}{KEY}")));
        }
    }
}

/// Lines with names of users and groups, and tokens: what is legal is what the documentation says, and names nothing else.
pub fn name(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    for line in text.split('\n') {
        let of = |legal: fn(char) -> bool, bytes: std::ops::RangeInclusive<usize>| {
            line.chars().all(legal) && bytes.contains(&line.len())
        };
        let username = of(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'), 1..=100)
            && line.starts_with(|c: char| c.is_ascii_lowercase());
        assert_eq!(line.parse::<Username>().is_ok(), username);
        let group = of(|c| matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-'), 2..=64);
        assert_eq!(line.parse::<GroupName>().is_ok(), group);
        assert_eq!(line.parse::<Token>().is_ok(), of(|c| matches!(c, '!'..='~'), 1..=8192));
        if let Ok(user) = line.parse::<Username>() {
            assert_eq!(MinioUser::new(&user).username().as_ref(), Some(&user));
            assert!(LAKE.home(&user).iter().all(|home| LAKE.owner(home) == Owner::User(user.clone())));
        }
        if let Ok(group) = line.parse::<GroupName>() {
            assert_eq!(group.key(), line.to_ascii_lowercase());
            assert!(LAKE.workspace(&group).iter().all(|folder| LAKE.owner(folder) == Owner::Group(group.clone())));
        }
    }
}

/// A body of `POST /sessions`: refused with a problem; and what its reader lets through, an independent one does as well.
pub fn session_scope(input: &[u8]) {
    static ROUTER: LazyLock<Router> = LazyLock::new(|| router(Belief::Everybody));
    // Nothing is an empty object.
    if input.is_empty() {
        return;
    }
    let mut body: Option<Map<String, Value>> = serde_json::from_slice(input).ok();
    // A life that nobody is given: so it ends before MinIO is asked.
    if let Some(body) = &mut body {
        body.insert("duration_seconds".into(), 1.into());
    }
    let sent = body.as_ref().map_or(input.to_vec(), |body| serde_json::to_vec(body).unwrap());
    let request = Request::post("/sessions").header(header::AUTHORIZATION, "TOKEN").body(sent.into()).unwrap();
    let (status, headers, answer) = answered(&ROUTER, request);
    assert!(matches!(status.as_u16(), 413 | 422), "{status}");
    assert!(
        headers[header::CONTENT_TYPE] == "application/problem+json" && headers[header::CACHE_CONTROL] == "no-store"
    );
    let problem: Value = serde_json::from_slice(&answer).unwrap();
    if problem["detail"].as_str().unwrap().contains("a session lasts between") {
        let is_path = |path: &Value| path.as_str().is_some_and(|path| LakePath::parse(path, BUCKET).is_ok());
        let is_folder = |folder: &Value| match folder.as_object() {
            Some(folder) => {
                folder.keys().all(|key| key == "path" || key == "access")
                    && folder.get("path").is_some_and(is_path)
                    && folder.get("access").is_none_or(|access| access == "read" || access == "write")
            }
            // As serde reads a list: in the order of the fields.
            None => folder.as_array().is_some_and(|folder| folder.first().is_some_and(is_path) && folder.len() <= 2),
        };
        // Only an object is let through.
        let body = body.unwrap();
        assert!(body.keys().all(|key| key == "duration_seconds" || key == "scope"), "{body:?}");
        let is_scope = match body.get("scope") {
            None | Some(Value::Null) => true,
            Some(Value::Array(folders)) => !folders.is_empty() && folders.iter().all(is_folder),
            Some(scope) => {
                scope == "granted" || scope == "lake" || scope.as_object().is_some_and(|scope| scope.len() == 1)
            }
        };
        assert!(is_scope, "{body:?}");
    }
}

/// Lines `r PATH` and `w PATH` of what is granted, and one with a policy to narrow by: what a session may do is at least what is
/// granted, and narrowed it is never more.
pub fn policy_fit(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let templates = Templates::built_in();
    let granted: Vec<(LakePath, Access)> = text
        .lines()
        .filter_map(|line| {
            let (access, path) = line.split_once(' ')?;
            let access = if access == "w" { Access::Write } else { Access::Read };
            Some((LakePath::parse(path, BUCKET).ok()?, access))
        })
        .take(400)
        .collect();
    let ceiling = SessionPolicy::ceiling(&templates, BUCKET, &granted, &Scope::Granted, None).unwrap();
    assert!(ceiling.bytes <= MAX_SESSION_BYTES && ceiling.bytes >= ceiling.json.len());
    let reaches = granted.iter().map(|(path, access)| Reach::forever(path.clone(), *access)).collect();
    let live = LivePolicy::of_user(&templates, BUCKET, &LAKE.home(&"alice".parse().unwrap()), reaches);
    let live: Vec<String> = live.documents().iter().map(PolicyDocument::to_json).collect();
    assert!(live.iter().all(|document| document.len() <= MAX_LIVE_BYTES));
    let narrowed = text.lines().filter(|line| line.starts_with('{')).find_map(|line| Narrowing::parse(line).ok());
    let narrowed = narrowed.and_then(|narrowing| {
        SessionPolicy::ceiling(&templates, BUCKET, &granted, &Scope::Granted, Some(&narrowing)).ok()
    });
    for (path, _) in granted.iter().take(16) {
        for key in [
            format!("{path}{KEY}"),
            format!("{}{KEY}", path.as_object_key()),
            format!("{}/{KEY}", path.segments().next().unwrap()),
        ] {
            for (action, needed) in [("s3:GetObject", Access::Read), ("s3:PutObject", Access::Write)] {
                let given =
                    granted.iter().any(|(folder, access)| key.starts_with(folder.as_str()) && *access >= needed);
                let home = key.starts_with("users-warehouse/alice/");
                assert!(allows(&ceiling.json, action, &key) || !given, "{action} {key}");
                assert!(!ceiling.exact || allows(&ceiling.json, action, &key) == given, "{action} {key}");
                assert_eq!(live.iter().any(|document| allows(document, action, &key)), given || home, "{action} {key}");
                if let Some(narrowed) = &narrowed {
                    assert!(narrowed.bytes <= MAX_SESSION_BYTES);
                    assert!(given || !allows(&narrowed.json, action, &key), "{action} {key} {}", narrowed.json);
                    assert!(!allows(&narrowed.json, "admin:CreateServiceAccount", &key));
                }
            }
        }
    }
}

/// A sealed body: nothing opens that we did not seal; what we sealed opens, and not with a byte changed.
pub fn unseal(input: &[u8]) {
    let secret = SecretString::from("the secret of a MinIO");
    // Argon2id takes its 64 MiB, and what comes after it is the same.
    if input.get(32).is_none_or(|algorithm| *algorithm >= 2) {
        assert!(open(&secret, input).is_err());
    }
    let Some((at, plaintext)) = input.split_first_chunk::<2>() else { return };
    let mut sealed = seal(Algorithm::Pbkdf2Aes256Gcm, &secret, plaintext).unwrap();
    assert_eq!(*open(&secret, &sealed).unwrap(), plaintext);
    let at = usize::from(u16::from_le_bytes(*at)) % sealed.len();
    // The algorithm's own byte would lead to Argon2id.
    if at != 32 {
        sealed[at] ^= 1;
        assert_eq!(open(&secret, &sealed), Err(SealError::NotAuthentic));
    }
}

/// A JWT's header and, in the next line, its claims; signed by the issuer. What is believed has a right to be. With another
/// signature, or as it is, nothing is.
pub fn jwt(input: &[u8]) {
    static KEY: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());
    static ISSUER: LazyLock<(String, OidcAuthenticator)> = LazyLock::new(|| RUNTIME.block_on(issuer(&KEY)));
    let (url, oidc) = &*ISSUER;
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let ask = |token: &str| {
        let token = Token::parse(token).ok()?;
        RUNTIME.block_on(oidc.authenticate(&token, now)).ok()
    };
    if let Ok(text) = str::from_utf8(input) {
        assert_eq!(ask(text.trim()), None);
    }
    let mut lines = input.splitn(2, |byte| *byte == b'\n');
    let header = lines.next().unwrap_or_default();
    // The issuer's address has another port each time.
    let claims = String::from_utf8_lossy(lines.next().unwrap_or_default()).replace("ISSUER", url);
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&claims));
    let mut signature = KEY.sign(message.as_bytes()).as_ref().to_vec();
    if let Some(Validated { identity, .. }) = ask(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(&signature))) {
        let header: Value = serde_json::from_slice(header).unwrap();
        let claims: Value = serde_json::from_str(&claims).unwrap();
        assert!(header["alg"] == "EdDSA" && header.get("crit").is_none(), "{header}");
        assert!(header["kid"] == "k" || header["kid"].is_null(), "{header}");
        assert_eq!(claims["iss"], *url);
        let audience = |audience: &Value| audience == "lakepass";
        assert!(
            audience(&claims["aud"]) || claims["aud"].as_array().is_some_and(|all| all.iter().any(audience)),
            "{claims}"
        );
        assert_eq!(claims["preferred_username"], identity.username.as_str());
        assert!(claims["exp"].as_f64().unwrap() + 31.0 > now.as_second() as f64, "{claims}");
        assert!(
            claims.get("nbf").is_none_or(|begin| begin.as_f64().unwrap() - 31.0 < now.as_second() as f64),
            "{claims}"
        );
        let is_admin = |role: &Value| role == "ADMIN";
        assert_eq!(
            identity.admin,
            is_admin(&claims["roles"]) || claims["roles"].as_array().is_some_and(|all| all.iter().any(is_admin))
        );
    }
    signature[usize::from(message.as_bytes()[0]) % 64] ^= 1;
    assert_eq!(ask(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(&signature))), None);
}

/// A template's name, and in the next lines its text: one that is taken fills in to what is about the folder asked for.
pub fn templates(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let Some((name, template)) = text.split_once('\n') else { return };
    let built_in = |name: &str| {
        let text = match name {
            "home" => include_str!("../policies/home.json"),
            "workspace" => include_str!("../policies/workspace.json"),
            "read" => include_str!("../policies/read.json"),
            "write" => include_str!("../policies/write.json"),
            _ => include_str!("../policies/session.json"),
        };
        Ok(text.to_owned())
    };
    let Ok(templates) = Templates::read(|of| if of == name { Ok(template.to_owned()) } else { built_in(of) }) else {
        return;
    };
    let folder: LakePath = "users-warehouse/alice/x".parse().unwrap();
    let home = LAKE.home(&"bob".parse().unwrap());
    let given = vec![
        Reach::forever(folder.clone(), Access::Write),
        Reach::forever("users-warehouse/alice/y".parse().unwrap(), Access::Read),
    ];
    let scope = Scope::Listed(vec![(folder, Access::Write)]);
    let session = SessionPolicy::ceiling(&templates, BUCKET, &[], &scope, None);
    let mut documents: Vec<PolicyDocument> =
        session.iter().map(|policy| serde_json::from_str(&policy.json).unwrap()).collect();
    for live in [
        LivePolicy::of_user(&templates, BUCKET, &home, given.clone()),
        LivePolicy::of_writers(&templates, BUCKET, &home, given.clone()),
        LivePolicy::of_readers(&templates, BUCKET, &home, given),
    ] {
        documents.extend(live.documents().iter().cloned());
    }
    for document in documents {
        let json = document.to_json();
        assert!(!json.contains("{prefix}") && !json.contains("{bucket}") && !json.contains("{folder}"), "{json}");
        let policy: Value = serde_json::from_str(&json).unwrap();
        for statement in
            policy["Statement"].as_array().unwrap().iter().filter(|statement| statement["Effect"] == "Allow")
        {
            let actions = statement["Action"].as_array().unwrap();
            assert!(actions.iter().all(|action| action.as_str().unwrap().starts_with("s3:")), "{json}");
            let about_a_folder = ["alice", "bob"].iter().any(|name| statement.to_string().contains(name));
            let about_the_bucket = actions.iter().all(|action| action == "s3:GetBucketLocation");
            assert!(about_a_folder || about_the_bucket, "{statement}");
        }
    }
}

/// A form of STS: refused, in XML that can be read.
pub fn sts_form(input: &[u8]) {
    static ROUTER: LazyLock<Router> = LazyLock::new(|| router(Belief::Nobody));
    for path in ["/sts", "/"] {
        let (status, headers, answer) = answered(&ROUTER, Request::post(path).body(input.to_vec().into()).unwrap());
        assert!(status.is_client_error(), "{status}");
        assert!(headers[header::CONTENT_TYPE] == "text/xml" && headers[header::CACHE_CONTROL] == "no-store");
        let xml = str::from_utf8(&answer).unwrap();
        assert!(xml.chars().all(|c| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}')), "not XML 1.0: {xml:?}");
        let mut reader = quick_xml::Reader::from_str(xml);
        while reader.read_event().unwrap() != quick_xml::events::Event::Eof {}
    }
}

/// Whether a policy allows an action on a key, as MinIO matches patterns; conditions are taken to hold, and nothing to be denied.
fn allows(policy: &str, action: &str, key: &str) -> bool {
    let policy: Value = serde_json::from_str(policy).unwrap();
    let any = |patterns: &Value, text: &str| {
        patterns
            .as_array()
            .is_some_and(|all| all.iter().any(|pattern| matches(pattern.as_str().unwrap().as_bytes(), text.as_bytes())))
    };
    let resource = format!("arn:aws:s3:::{BUCKET}/{key}");
    let allowed = |statement: &Value| {
        statement["Effect"] == "Allow" && any(&statement["Action"], action) && any(&statement["Resource"], &resource)
    };
    policy["Statement"].as_array().unwrap().iter().any(allowed)
}

fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // Where to go on when a star has to take one more.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => (star, p) = (Some((p, t)), p + 1),
            Some(byte) if *byte == b'?' || *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, taken)) => (star, p, t) = (Some((at, taken + 1)), at + 1, taken + 1),
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[derive(Clone, Copy)]
enum Belief {
    Everybody,
    Nobody,
}

#[async_trait]
impl Authenticator for Belief {
    async fn authenticate(&self, _: &Token, now: Timestamp) -> Result<Validated, AuthError> {
        match self {
            Self::Nobody => Err(AuthError::Invalid("nobody is believed")),
            Self::Everybody => {
                let trust_for = std::time::Duration::from_secs(9000);
                let (username, roles) = ("alice".parse().unwrap(), Arc::default());
                let identity = Identity { username, roles, admin: false, expires_at: now + trust_for };
                Ok(Validated { identity, trust_for })
            }
        }
    }
}

/// The surface, with nothing behind it.
fn router(belief: Belief) -> Router {
    let setting = |name: &str| {
        let value = match name {
            "LAKEPASS_MINIO_URL" | "LAKEPASS_KBASE_AUTH_URL" => "http://127.0.0.1:1/",
            "LAKEPASS_MINIO_ROOT_USER" => "root",
            // Everybody is one user, and one address.
            "LAKEPASS_USER_REQUESTS" | "LAKEPASS_WRONG_TOKENS" => "0",
            "LAKEPASS_MINIO_ROOT_PASSWORD" => "nothing is there",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let app = lakepass::app(Config::load(None, &setting).unwrap()).unwrap();
    lakepass::http::router(lakepass::http::App { authenticator: Arc::new(belief), ..app })
}

fn answered(router: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
    RUNTIME.block_on(async {
        let (head, body) = router.clone().call(request).await.unwrap().into_parts();
        (head.status, head.headers, to_bytes(body, usize::MAX).await.unwrap().to_vec())
    })
}

/// An issuer that publishes this key, and who believes it.
async fn issuer(key: &Ed25519KeyPair) -> (String, OidcAuthenticator) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
    let x = URL_SAFE_NO_PAD.encode(key.public_key());
    let keys = json!({"keys": [{"kty": "OKP", "kid": "k", "crv": "Ed25519", "x": x}]});
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(async || Json(discovery)))
        .route("/keys", get(async || Json(keys)));
    tokio::spawn(axum::serve(listener, router).into_future());
    let settings = json!([{"issuer": url, "audience": "lakepass", "admin_roles": ["ADMIN"]}]);
    let oidc = OidcAuthenticator::new(serde_json::from_value(settings).unwrap()).unwrap();
    (url, oidc)
}
