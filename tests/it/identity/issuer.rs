//! An OIDC issuer in this process: it publishes keys and counts who asks.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    hmac, rand, rsa,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair},
};
use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

/// A key pair that can sign as an honest issuer does, and as others do.
pub enum SigningKey {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    /// The `HS256` of whoever knows these bytes.
    Hmac(Vec<u8>),
    /// No signature at all.
    Nothing,
}

impl SigningKey {
    pub fn rsa() -> Self {
        Self::Rsa(Box::new(RsaKeyPair::generate(rsa::KeySize::Rsa2048).unwrap()))
    }

    pub fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub fn ed() -> Self {
        Self::Ed(Ed25519KeyPair::generate().unwrap())
    }

    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
            Self::Hmac(_) => "HS256",
            Self::Nothing => "none",
        }
    }

    pub fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                let public = key.public_key();
                let n = encode(public.modulus().big_endian_without_leading_zero());
                let e = encode(public.exponent().big_endian_without_leading_zero());
                json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": n, "e": e})
            }
            Self::Ec(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
                json!({"kty": "EC", "kid": kid, "crv": "P-256", "x": x, "y": y})
            }
            Self::Ed(key) => {
                json!({"kty": "OKP", "kid": kid, "crv": "Ed25519", "x": encode(key.public_key())})
            }
            Self::Hmac(secret) => {
                json!({"kty": "oct", "kid": kid, "alg": "HS256", "k": encode(secret)})
            }
            Self::Nothing => json!({"kty": "none", "kid": kid}),
        }
    }

    /// The public RSA key as people find it: PEM.
    pub fn public_pem(&self) -> String {
        let Self::Rsa(key) = self else { panic!("only RSA is needed") };
        let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
        let base64 = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    /// Signs a JWT with any header and claims, sensible or not.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let random = rand::SystemRandom::new();
        let signature = match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Ec(key) => key.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(message.as_bytes()).as_ref().to_vec(),
            Self::Hmac(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
            }
            Self::Nothing => Vec::new(),
        };
        format!("{message}.{}", encode(signature))
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A running issuer; its documents can be changed while it runs.
pub struct FakeIssuer {
    pub url: String,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

struct Shared {
    discovery: Mutex<Value>,
    jwks: Mutex<Value>,
    down: AtomicBool,
    discovered: AtomicUsize,
    keys_read: AtomicUsize,
}

impl FakeIssuer {
    pub async fn start(keys: &[(&str, &SigningKey)]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/realms/lake", listener.local_addr().unwrap());
        let discovery = json!({"issuer": url, "jwks_uri": format!("{url}/keys"), "response_types_supported": ["code"]});
        let shared = Arc::new(Shared {
            discovery: Mutex::new(discovery),
            jwks: Mutex::new(Value::Null),
            down: AtomicBool::new(false),
            discovered: AtomicUsize::new(0),
            keys_read: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/realms/lake/.well-known/openid-configuration", get(discovery_document))
            .route("/realms/lake/keys", get(key_document))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let issuer = Self { url, shared, server };
        issuer.publish(keys);
        issuer
    }

    /// Replaces the keys.
    pub fn publish(&self, keys: &[(&str, &SigningKey)]) {
        let keys: Vec<Value> = keys.iter().map(|(kid, key)| key.jwk(kid)).collect();
        *self.shared.jwks.lock().unwrap() = json!({ "keys": keys });
    }

    /// Changes one field of the discovery document.
    pub fn discovery_says(&self, field: &str, value: &str) {
        self.shared.discovery.lock().unwrap()[field] = value.into();
    }

    /// From now on everything is answered with 500, or no longer.
    pub fn set_down(&self, down: bool) {
        self.shared.down.store(down, Ordering::SeqCst);
    }

    /// How often the keys were read, whatever came back.
    pub fn keys_read(&self) -> usize {
        self.shared.keys_read.load(Ordering::SeqCst)
    }

    pub fn discovered(&self) -> usize {
        self.shared.discovered.load(Ordering::SeqCst)
    }
}

impl Drop for FakeIssuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn discovery_document(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    shared.discovered.fetch_add(1, Ordering::SeqCst);
    answer(&shared, &shared.discovery)
}

async fn key_document(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    shared.keys_read.fetch_add(1, Ordering::SeqCst);
    answer(&shared, &shared.jwks)
}

fn answer(shared: &Shared, document: &Mutex<Value>) -> Result<Json<Value>, StatusCode> {
    if shared.down.load(Ordering::SeqCst) {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    Ok(Json(document.lock().unwrap().clone()))
}
