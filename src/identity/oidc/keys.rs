//! An issuer's public keys, as its JWKS document lists them. Pure.

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use crate::identity::fetch::{self, FetchError};

/// The keys of an issuer that can verify a token here.
///
/// - Each key has exactly one algorithm, which follows from its type: RSA is RS256, P-256 is ES256, Ed25519 is EdDSA.
/// - There is no symmetric key among them, whatever the issuer publishes.
/// - A key that is meant for something else (`use`, `key_ops`, `alg`) is not among them.
pub(super) struct KeySet(Vec<PublicKey>);

struct PublicKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// What a key set has to a token's key id and algorithm.
pub(super) enum Key<'a> {
    Found(&'a DecodingKey),
    OtherAlgorithm,
    Missing,
}

#[derive(Deserialize)]
struct Jwks {
    /// Each is read by itself: one that we do not understand must not cost us the others.
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    pub fn parse(document: &[u8]) -> Result<Self, FetchError> {
        let jwks: Jwks = fetch::json(document)?;
        let readable = jwks.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        Ok(Self(readable.filter_map(PublicKey::from_jwk).collect()))
    }

    /// The key that a token names.
    pub fn named(&self, id: &str, algorithm: Algorithm) -> Key<'_> {
        let named = || self.0.iter().filter(|key| key.id.as_deref() == Some(id));
        match named().find(|key| key.algorithm == algorithm) {
            Some(key) => Key::Found(&key.key),
            None if named().next().is_some() => Key::OtherAlgorithm,
            None => Key::Missing,
        }
    }

    /// The key of a token that names none: it must be the only one of its algorithm, we do not try one after the other.
    pub fn only(&self, algorithm: Algorithm) -> Key<'_> {
        let mut suitable = self.0.iter().filter(|key| key.algorithm == algorithm);
        match (suitable.next(), suitable.next()) {
            (Some(key), None) => Key::Found(&key.key),
            _ => Key::Missing,
        }
    }

    #[cfg(test)]
    fn ids(&self) -> Vec<&str> {
        self.0.iter().filter_map(|key| key.id.as_deref()).collect()
    }
}

impl PublicKey {
    fn from_jwk(jwk: Jwk) -> Option<Self> {
        let for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
            && jwk.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        if !for_signatures {
            return None;
        }
        let (algorithm, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                (Algorithm::RS256, DecodingKey::from_rsa_components(jwk.n.as_deref()?, jwk.e.as_deref()?).ok()?)
            }
            ("EC", Some("P-256")) => {
                (Algorithm::ES256, DecodingKey::from_ec_components(jwk.x.as_deref()?, jwk.y.as_deref()?).ok()?)
            }
            ("OKP", Some("Ed25519")) => (Algorithm::EdDSA, DecodingKey::from_ed_components(jwk.x.as_deref()?).ok()?),
            // `oct` among them: a symmetric key that everybody can read proves nothing.
            _ => return None,
        };
        let declared = match algorithm {
            Algorithm::RS256 => jwk.alg.as_deref().is_none_or(|alg| alg == "RS256"),
            Algorithm::ES256 => jwk.alg.as_deref().is_none_or(|alg| alg == "ES256"),
            // RFC 9864 gives the curve a name of its own.
            _ => jwk.alg.as_deref().is_none_or(|alg| alg == "EdDSA" || alg == "Ed25519"),
        };
        declared.then_some(Self { id: jwk.kid, algorithm, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_verify_signatures_here() {
        let document = r#"{"keys":[
            {"kty":"RSA","kid":"rsa","n":"AQAB","e":"AQAB"},
            {"kty":"RSA","kid":"rsa-sig","use":"sig","alg":"RS256","key_ops":["verify"],"n":"AQAB","e":"AQAB"},
            {"kty":"EC","kid":"ec","crv":"P-256","x":"AQAB","y":"AQAB","alg":"ES256"},
            {"kty":"OKP","kid":"ed","crv":"Ed25519","x":"AQAB","alg":"Ed25519"},
            {"kty":"RSA","kid":"no-enc","use":"enc","n":"AQAB","e":"AQAB"},
            {"kty":"RSA","kid":"no-wrap","key_ops":["wrapKey"],"n":"AQAB","e":"AQAB"},
            {"kty":"RSA","kid":"no-512","alg":"RS512","n":"AQAB","e":"AQAB"},
            {"kty":"RSA","kid":"no-oaep","alg":"RSA-OAEP","n":"AQAB","e":"AQAB"},
            {"kty":"RSA","kid":"no-hmac","alg":"HS256","n":"AQAB","e":"AQAB"},
            {"kty":"RSA","kid":"no-modulus","e":"AQAB"},
            {"kty":"RSA","kid":"no-base64","n":"***","e":"AQAB"},
            {"kty":"EC","kid":"no-384","crv":"P-384","x":"AQAB","y":"AQAB"},
            {"kty":"OKP","kid":"no-x25519","crv":"X25519","x":"AQAB"},
            {"kty":"oct","kid":"no-oct","k":"AQAB"},
            {"kty":"AKP","kid":"no-new","pub":"AQAB"},
            {"kty":5}, "text", null
        ]}"#;
        let keys = KeySet::parse(document.as_bytes()).unwrap();
        assert_eq!(keys.ids(), ["rsa", "rsa-sig", "ec", "ed"]);
        assert!(matches!(keys.named("rsa", Algorithm::RS256), Key::Found(_)));
        assert!(matches!(keys.named("rsa", Algorithm::ES256), Key::OtherAlgorithm));
        assert!(matches!(keys.named("no-oct", Algorithm::RS256), Key::Missing));
        assert!(matches!(keys.only(Algorithm::ES256), Key::Found(_)));
        assert!(matches!(keys.only(Algorithm::RS256), Key::Missing), "two keys: none is the only one");
    }

    #[test]
    fn no_key_set() {
        for document in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
            assert!(KeySet::parse(document.as_bytes()).is_err(), "{document}");
        }
    }
}
