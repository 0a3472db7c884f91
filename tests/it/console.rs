//! MinIO's console with session keys: in by one call, as far as MinIO allows, out when the session is over.

use std::time::Duration;

use reqwest::{
    Client, Method, RequestBuilder, Response,
    header::{CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, SET_COOKIE},
    redirect::Policy,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use crate::support::{Person, World, eventually, shared_minio};

/// A browser: it follows nothing by itself, so that each step is seen.
struct Browser<'a> {
    world: &'a World,
    http: Client,
    cookie: String,
}

impl<'a> Browser<'a> {
    fn new(world: &'a World) -> Self {
        let http = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { world, http, cookie: String::new() }
    }

    /// One that is signed in.
    async fn of(world: &'a World, who: &Person) -> Self {
        let mut browser = Self::new(world);
        let answer =
            browser.page_asks(Method::POST, "/console-login").form(&[("token", &who.token)]).send().await.unwrap();
        assert_eq!(answer.status(), 303, "{}", answer.text().await.unwrap());
        browser.cookie = cookie(&answer).split(';').next().unwrap().to_owned();
        browser
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.world.url)).header(COOKIE, &self.cookie)
    }

    fn page_asks(&self, method: Method, path: &str) -> RequestBuilder {
        self.ask(method, path).header(ORIGIN, &self.world.url)
    }

    async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path).send().await.unwrap()
    }

    async fn status(&self, path: &str) -> u16 {
        self.get(path).await.status().as_u16()
    }

    fn objects(&self, prefix: &str) -> String {
        format!("/minio-ui/api/v1/buckets/{}/objects?prefix={prefix}", self.world.bucket)
    }

    async fn upload(&self, key: &str, bytes: usize) -> u16 {
        let path = format!("/minio-ui/api/v1/buckets/{}/objects/upload?prefix={key}", self.world.bucket);
        // As the console's pages do it: the part is named after its size.
        let head = format!("--edge\r\ncontent-disposition: form-data; name=\"{bytes}\"; filename=\"f\"\r\n");
        let body = [head.as_bytes(), b"content-type: text/html\r\n\r\n", &vec![b'x'; bytes], b"\r\n--edge--\r\n"];
        let request = self.page_asks(Method::POST, &path).header(CONTENT_TYPE, "multipart/form-data; boundary=edge");
        request.body(body.concat()).send().await.unwrap().status().as_u16()
    }

    /// A WebSocket, with the head of its answer so far as there is one.
    async fn socket(&self, origin: &str) -> (TcpStream, String) {
        let host = self.world.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).await.unwrap();
        let hello = format!(
            "GET /minio-ui/ws/objectManager HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\ncookie: {}\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.cookie
        );
        stream.write_all(hello.as_bytes()).await.ok();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") && stream.read_buf(&mut seen).await.is_ok_and(|n| n > 0) {}
        (stream, String::from_utf8_lossy(&seen).into_owned())
    }

    /// The first words of the console on a folder, over its WebSocket; or the status, if it opens none.
    async fn listing(&self, origin: &str, prefix: &str) -> Result<String, u16> {
        let (mut stream, head) = self.socket(origin).await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        if status != 101 {
            return Err(status);
        }
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "the key's answer of RFC 6455: {head}");
        let ask =
            json!({"bucket_name": self.world.bucket, "prefix": prefix, "mode": "objects", "request_id": 1}).to_string();
        // A text frame, masked with zeros.
        let length = u16::try_from(ask.len()).unwrap().to_be_bytes();
        let frame = [&[0x81, 0x80 | 126][..], &length, &[0; 4], ask.as_bytes()].concat();
        stream.write_all(&frame).await.unwrap();
        let mut seen = Vec::new();
        read_until(&mut stream, &mut seen, "\"request_end\":true").await;
        Ok(String::from_utf8_lossy(&seen).into_owned())
    }
}

async fn read_until(stream: &mut TcpStream, seen: &mut Vec<u8>, end: &str) {
    let read = async {
        while !seen.windows(end.len()).any(|window| window == end.as_bytes()) {
            assert_ne!(stream.read_buf(seen).await.unwrap(), 0, "it hung up after {}", String::from_utf8_lossy(seen));
        }
    };
    tokio::time::timeout(Duration::from_secs(30), read).await.unwrap_or_else(|_| panic!("it never said {end}"));
}

fn cookie(answer: &Response) -> String {
    answer.headers()[SET_COOKIE].to_str().unwrap().to_owned()
}

fn location(answer: &Response) -> String {
    answer.headers()[LOCATION].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_leads_into_ones_home_with_a_tight_cookie_and_no_secret_in_the_address() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    let browser = Browser::new(&world);
    let home = format!("/minio-ui/browser/{}/users-warehouse%2Falice%2F", world.bucket);
    let by_program = browser.http.post(format!("{}/console-login", world.url)).bearer_auth(&alice.token);
    let by_page = browser.page_asks(Method::POST, "/console-login").form(&[("token", &alice.token)]);
    for request in [by_program, by_page] {
        let answer = request.send().await.unwrap();
        assert_eq!((answer.status().as_u16(), location(&answer)), (303, home.clone()));
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let cookie = cookie(&answer);
        let attributes: Vec<&str> = cookie.split("; ").skip(1).collect();
        assert_eq!([attributes[0], attributes[2], attributes[3]], ["Path=/minio-ui/", "HttpOnly", "SameSite=Strict"]);
        let life: u64 = attributes[1].strip_prefix("Max-Age=").unwrap().parse().unwrap();
        assert!((3590..=3600).contains(&life), "as long as the keys: {life}");
        assert_eq!(attributes.len(), 4, "no Secure on plain http");
    }
    let https = browser.http.post(format!("{}/console-login", world.url)).bearer_auth(&alice.token);
    let https =
        https.header("x-forwarded-proto", "https").form(&[("path", "groups-warehouse/KBase")]).send().await.unwrap();
    assert!(cookie(&https).ends_with("; Secure") && location(&https).ends_with("/groups-warehouse%2FKBase%2F"));
}

#[tokio::test]
async fn only_a_page_of_ours_or_a_bearer_signs_in() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    let login = || Client::new().post(format!("{}/console-login", world.url));
    let form = [("token", alice.token.as_str())];
    for foreign in [
        login().form(&form),
        login().form(&form).header(ORIGIN, "http://evil.example"),
        login().form(&form).header(ORIGIN, "null"),
        login().form(&form).header("sec-fetch-site", "cross-site").header(ORIGIN, &world.url),
        login().bearer_auth(&alice.token).header("sec-fetch-site", "same-site"),
        login().bearer_auth(&alice.token).header(ORIGIN, "http://evil.example"),
    ] {
        let answer = foreign.send().await.unwrap();
        assert_eq!(answer.status(), 403);
        assert!(!answer.headers().contains_key(SET_COOKIE));
        assert_eq!(answer.json::<Value>().await.unwrap()["type"], "urn:lakepass:problem:cross-site");
    }
    let ours = |form: &[(&str, &str)]| login().header(ORIGIN, &world.url).form(form).send();
    for (form, status) in [
        (&[("token", "NONSENSE")][..], 401),
        (&[("token", "NON SENSE")], 401),
        (&[], 401),
        (&[("token", &alice.token), ("path", "a/../b")], 422),
        (&[("token", &alice.token), ("redirect", "x")], 422),
    ] {
        let answer = ours(form).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers().contains_key(SET_COOKIE)), (status, false));
        assert!(answer.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
        let page = answer.text().await.unwrap();
        assert!(page.contains("role=\"alert\"") && page.contains("<form") && !page.contains("NONSENSE"), "{page}");
    }
    let roleless = world.stranger("erin", &[]);
    assert_eq!(ours(&[("token", &roleless.token)]).await.unwrap().status(), 403);
}

#[tokio::test]
async fn the_console_shows_ones_own_and_what_is_shared_and_nothing_else() {
    let world = World::new().await;
    let (alice, bob) = (world.person("alice").await, world.person("bob").await);
    world.members("KBase", &[("bob", "writer")], &[]).await;
    for key in ["users-warehouse/alice/x/seed", "users-warehouse/alice/private", "groups-warehouse/KBase/seed"] {
        world.seed(key).await;
    }
    world.share(&alice, "users-warehouse/alice/x", &["bob"], &[], "read").await;
    let ends =
        json!({"path": "users-warehouse/alice/ends", "with_users": ["bob"], "expires_at": "2100-01-01T00:00:00Z"});
    assert_eq!(world.post(&alice, "/users/alice/share", ends).await.status, 200);
    let browser = Browser::of(&world, &bob).await;
    let buckets: Value = browser.get("/minio-ui/api/v1/buckets").await.json().await.unwrap();
    assert_eq!((&buckets["total"], &buckets["buckets"][0]["name"]), (&json!(1), &json!(world.bucket)), "{buckets}");
    for (prefix, seen) in [
        ("users-warehouse/bob/", true),
        ("users-warehouse/alice/x/", true),
        ("groups-warehouse/KBase/", true),
        ("users-warehouse/alice/", false),
        ("users-warehouse/", false),
        ("groups-warehouse/", false),
        ("", false),
    ] {
        assert_eq!(browser.status(&browser.objects(prefix)).await, if seen { 200 } else { 403 }, "{prefix}");
        let said = browser.listing(&world.url, prefix).await.unwrap();
        assert_eq!(said.contains("Access Denied"), !seen, "{prefix}: {said}");
        assert!(!said.contains("alice/private"));
    }
    // From there the pages know where bob may go, though he may not list what is above.
    let session: Value = browser.get("/minio-ui/api/v1/session").await.json().await.unwrap();
    let mut prefixes: Vec<&str> = session["allowResources"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|resource| resource["prefixes"].as_array().unwrap())
        .map(|prefix| prefix.as_str().unwrap())
        .collect();
    prefixes.sort_unstable();
    let expected = [
        "groups-warehouse/KBase/*",
        "users-warehouse/alice/ends/*",
        "users-warehouse/alice/x/*",
        "users-warehouse/bob/*",
    ];
    assert_eq!(prefixes, expected);
    // Larger than what other calls take.
    assert_eq!(browser.upload("users-warehouse/bob/large", 3 << 20).await, 200);
    assert_eq!(browser.upload("groups-warehouse/KBase/new", 3).await, 200);
    assert!(browser.upload("users-warehouse/alice/x/new", 3).await >= 400);
    let download =
        |key: &str| browser.objects(key).replace("objects?", "objects/download?override_file_name=&preview=true&");
    let answer = browser.get(&download("users-warehouse/bob/large")).await;
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("sandbox"), "what people upload does not run at our address: {policy}");
    assert_eq!(answer.bytes().await.unwrap().len(), 3 << 20);
    assert_eq!(browser.status(&download("users-warehouse/alice/x/seed")).await, 200);
    assert!(browser.status(&download("users-warehouse/alice/private")).await >= 400);
}

#[tokio::test]
async fn nothing_gets_through_without_a_session_or_from_another_site() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    let (in_, out) = (Browser::of(&world, &alice).await, Browser::new(&world));
    let (session, upload) = ("/minio-ui/api/v1/session", "/minio-ui/api/v1/buckets");
    assert_eq!(
        (in_.status(session).await, out.status(session).await, out.status(&out.objects("")).await),
        (200, 401, 401)
    );
    assert_eq!(out.listing(&world.url, "").await, Err(401));
    assert_eq!(in_.listing("http://evil.example", "users-warehouse/alice/").await, Err(403));
    let statuses = async |request: RequestBuilder| request.send().await.unwrap().status().as_u16();
    assert_eq!(statuses(in_.ask(Method::POST, upload).header(ORIGIN, "http://evil.example")).await, 403);
    assert_eq!(statuses(in_.ask(Method::POST, upload)).await, 403, "a browser says where a POST comes from");
    assert_eq!(statuses(in_.ask(Method::GET, session).header("sec-fetch-site", "cross-site")).await, 403);
    assert_eq!(statuses(in_.page_asks(Method::POST, "/minio-ui/")).await, 405);
    // The console's own ways in, and its links for everybody.
    let keys = world.session(&alice, json!("lake")).await;
    let sts = keys.session_token.as_deref().unwrap();
    let body = json!({"accessKey": keys.access_key, "secretKey": keys.secret_key, "sts": sts});
    assert_eq!(statuses(in_.page_asks(Method::POST, "/minio-ui/api/v1/login").json(&body)).await, 404);
    assert_eq!(in_.status("/minio-ui/api/v1/download-shared-object/aHR0cDovLzEyNy4wLjAuMTo5MDAwL3gveA").await, 404);
    let query = [("sts", sts), ("sts_a", &keys.access_key), ("sts_s", &keys.secret_key), ("cp", "y"), ("cpb", "//1/")];
    let answer = out.ask(Method::GET, "/minio-ui/browser").query(&query).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), location(&answer).as_str()), (303, "/console"));
    assert!(cookie(&answer).starts_with("token=; "), "nobody was signed in by an address");
    let page = in_.ask(Method::GET, "/minio-ui/browser").query(&query).send().await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unpkg"));
    assert!(page.text().await.unwrap().contains("<base href=\"/minio-ui/\"/>"));
    // A link elsewhere: the browser keeps the cookie back, and gives it when the page asks for itself again.
    let linked = out.ask(Method::GET, "/minio-ui/browser").header("sec-fetch-site", "cross-site").send().await.unwrap();
    assert_eq!(
        (linked.status().as_u16(), linked.text().await.unwrap().contains("http-equiv=\"refresh\"")),
        (200, true)
    );
}

#[tokio::test]
async fn a_websocket_is_a_connection() {
    let world = World::on(shared_minio(), &[("LAKEPASS_CONNECTIONS", "12")]).await;
    let browser = Browser::of(&world, &world.person("alice").await).await;
    let mut open = Vec::new();
    for _ in 0..8 {
        let (stream, head) = browser.socket(&world.url).await;
        open.extend(head.contains(" 101 ").then_some(stream));
    }
    // The half of all, of which the browser has some for its other requests.
    assert!((3..=6).contains(&open.len()), "{}", open.len());
    drop(open);
    eventually("there are places again", Duration::from_secs(20), async || {
        browser.socket(&world.url).await.1.contains(" 101 ")
    })
    .await;
}

#[tokio::test]
async fn a_session_that_is_revoked_disabled_or_left_is_over() {
    let world = World::new().await;
    let (admin, alice) = (world.admin().await, world.person("alice").await);
    let session = "/minio-ui/api/v1/session";
    for end in ["DELETE /sessions", "POST /admin/users/alice/disable", "DELETE /admin/users/alice"] {
        let browser = Browser::of(&world, &alice).await;
        let home = browser.objects("users-warehouse/alice/");
        assert_eq!((browser.status(session).await, browser.status(&home).await), (200, 200));
        let (method, path) = end.split_once(' ').unwrap();
        let who = if path.starts_with("/admin") { &admin } else { &alice };
        assert_eq!(world.call(who, method.parse().unwrap(), path, Value::Null).await.status, 204);
        let over = browser.get(session).await;
        assert_eq!(over.status(), 401, "{end}");
        assert!(cookie(&over).starts_with("token=; Path=/minio-ui/; Max-Age=0"));
        assert!(matches!(browser.status(&home).await, 401 | 403), "{end}");
        assert_eq!(browser.listing(&world.url, "users-warehouse/alice/").await, Err(401));
        let page = browser.get("/minio-ui/browser").await;
        assert_eq!((page.status().as_u16(), location(&page).as_str()), (303, "/console"));
        if path.ends_with("disable") {
            let login = browser.page_asks(Method::POST, "/console-login").form(&[("token", &alice.token)]);
            assert_eq!(login.send().await.unwrap().status(), 403);
            assert_eq!(world.post(&admin, "/admin/users/alice/enable", Value::Null).await.status, 204);
        }
    }
    let browser = Browser::of(&world, &alice).await;
    let left = browser.page_asks(Method::POST, "/minio-ui/api/v1/logout").json(&json!({})).send().await.unwrap();
    assert!(left.status().is_success() && cookie(&left).starts_with("token=; Path=/minio-ui/; Max-Age=0"));
    for way_out in ["/minio-ui/login", "/login"] {
        assert_eq!(location(&browser.get(way_out).await), "/console");
    }
}

#[tokio::test]
async fn the_console_gets_what_is_listed_and_nothing_else() {
    let console = MockServer::start().await;
    let set = "token=SEALED; Path=/; Max-Age=43200; SameSite=Lax";
    let (login, other) = (ResponseTemplate::new(204).insert_header("set-cookie", set), "other=1; Path=/");
    let told = json!({"allowResources": [{"prefixes": ["x"]}]});
    Mock::given(path("/api/v1/login")).respond_with(login).mount(&console).await;
    Mock::given(path("/api/v1/session"))
        .respond_with(ResponseTemplate::new(200).set_body_json(told))
        .mount(&console)
        .await;
    let answer = ResponseTemplate::new(200)
        .insert_header("set-cookie", other)
        .insert_header("access-control-allow-origin", "*")
        .insert_header("location", "http://evil.example/");
    Mock::given(path("/api/v1/buckets/x/objects")).respond_with(answer).mount(&console).await;
    let world = World::on(shared_minio(), &[("LAKEPASS_CONSOLE_URL", &console.uri())]).await;
    let browser = Browser::of(&world, &world.person("alice").await).await;
    let mut request = browser.page_asks(Method::POST, "/minio-ui/api/v1/buckets/x/objects?a=1&prefix=y");
    let forbidden =
        ["prefix", "delimiter", "currenttime", "x-forwarded-for", "x-real-ip", "x-anonymous", "authorization"];
    for name in forbidden {
        request = request.header(name, "secret");
    }
    let answer = request.header(COOKIE, "tracker=1").body("body").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    for name in ["set-cookie", "access-control-allow-origin", "location"] {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
    let all = console.received_requests().await.unwrap();
    let got = all.iter().find(|request| request.url.path().ends_with("objects")).unwrap();
    assert_eq!((got.url.query(), got.body.as_slice()), (Some("a=1&prefix=y"), &b"body"[..]));
    assert_eq!(got.headers["cookie"], "token=SEALED");
    for name in forbidden.into_iter().chain(["origin"]) {
        assert!(!got.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn without_a_console_there_is_none_and_one_that_is_away_is_an_outage() {
    let world = World::on(shared_minio(), &[("LAKEPASS_CONSOLE_URL", "")]).await;
    let alice = world.person("alice").await;
    let none = world.post(&alice, "/console-login", Value::Null).await;
    assert_eq!((none.status, &none.json["type"]), (404, &json!("urn:lakepass:problem:no-console")));
    for path in ["/console", "/minio-ui/"] {
        assert_eq!(world.get(&alice, path).await.status, 404);
    }
    let world = World::on(shared_minio(), &[("LAKEPASS_CONSOLE_URL", "http://127.0.0.1:1")]).await;
    let alice = world.person("alice").await;
    let away = world.http.post(format!("{}/console-login", world.url)).bearer_auth(&alice.token).send().await.unwrap();
    assert_eq!((away.status().as_u16(), away.headers().contains_key("retry-after")), (503, true));
    assert_eq!(world.get(&alice, "/minio-ui/").await.status, 503);
}

#[tokio::test]
async fn the_consoles_own_form_takes_no_key_that_lakepass_gives() {
    let world = World::new().await;
    let alice = world.person("alice").await;
    let login = format!("http://{}/api/v1/login", shared_minio().console);
    for (keys, status) in [
        (world.lake_key(&alice).await, 401),
        (world.session(&alice, json!("lake")).await, 401),
        // A MinIO user's own.
        (world.root(), 204),
    ] {
        let form = json!({"accessKey": keys.access_key, "secretKey": keys.secret_key});
        assert_eq!(
            world.http.post(&login).json(&form).send().await.unwrap().status(),
            status,
            "docs/console.md says so"
        );
    }
}
