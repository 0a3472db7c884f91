//! What a JWT says of itself, before anybody believes it: only enough to find the key.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;

use crate::identity::{AuthError, Token};

/// The unverified word of a token on who signed it, and how.
///
/// - The algorithm is one of RS256, ES256 and EdDSA.
/// - Nothing in it may decide about anything but which key is tried.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnverifiedJwt {
    pub algorithm: Algorithm,
    pub key_id: Option<String>,
    pub issuer: String,
}

#[derive(Deserialize)]
struct UnverifiedHeader {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood. We understand none.
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct UnverifiedClaims {
    iss: String,
}

impl UnverifiedJwt {
    pub fn parse(token: &Token) -> Result<Self, AuthError> {
        let [header, claims, _] =
            segments(token.expose_secret()).ok_or(AuthError::Invalid("it has not the three parts of a JWT"))?;
        let header: UnverifiedHeader =
            serde_json::from_slice(&header).map_err(|_| AuthError::Invalid("its header cannot be read"))?;
        let claims: UnverifiedClaims = serde_json::from_slice(&claims)
            .map_err(|_| AuthError::Invalid("its claims cannot be read, or have no iss"))?;
        if header.crit.is_some() {
            return Err(AuthError::Invalid("it has critical extensions"));
        }
        let algorithm = match header.alg.as_str() {
            "RS256" => Algorithm::RS256,
            "ES256" => Algorithm::ES256,
            "EdDSA" => Algorithm::EdDSA,
            _ => return Err(AuthError::Invalid("its algorithm is not one of RS256, ES256 and EdDSA")),
        };
        Ok(Self { algorithm, key_id: header.kid, issuer: claims.iss })
    }
}

/// Three parts of base64url, and a header that is a JSON object. An empty signature counts: such a token is a JWT to be
/// refused, not an opaque token to be sent to somebody.
pub(in crate::identity) fn looks_like_jwt(token: &Token) -> bool {
    segments(token.expose_secret())
        .is_some_and(|[header, ..]| serde_json::from_slice::<serde_json::Map<String, Value>>(&header).is_ok())
}

fn segments(text: &str) -> Option<[Vec<u8>; 3]> {
    let mut parts = text.split('.').map(|part| URL_SAFE_NO_PAD.decode(part));
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Ok(header)), Some(Ok(claims)), Some(Ok(signature)), None) => Some([header, claims, signature]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str, signature: &str) -> Token {
        let [header, claims, signature] = [header, claims, signature].map(|part| URL_SAFE_NO_PAD.encode(part));
        Token::parse(&format!("{header}.{claims}.{signature}")).unwrap()
    }

    #[test]
    fn shapes() {
        assert!(looks_like_jwt(&token(r#"{"alg":"RS256"}"#, "{}", "x")));
        assert!(looks_like_jwt(&token(r#"{"alg":"none"}"#, "{}", "")));
        assert!(looks_like_jwt(&token("{}", "", "")));
        for opaque in ["ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "a.b.c", "..", "e30.e30", "e30.e30.e30.e30", "e30=.e30.e30"]
        {
            assert!(!looks_like_jwt(&Token::parse(opaque).unwrap()), "{opaque}");
        }
        assert!(!looks_like_jwt(&token("[]", "{}", "x")));
    }

    #[test]
    fn only_three_algorithms() {
        let iss = r#"{"iss":"https://a.example"}"#;
        let parsed = UnverifiedJwt::parse(&token(r#"{"alg":"ES256","kid":"k"}"#, iss, "x")).unwrap();
        let expected =
            UnverifiedJwt { algorithm: Algorithm::ES256, key_id: Some("k".into()), issuer: "https://a.example".into() };
        assert_eq!(parsed, expected);
        for alg in ["none", "None", "NONE", "nOnE", "", "HS256", "HS384", "RS384", "RS512", "PS256", "ES384", "rs256"] {
            let header = serde_json::json!({ "alg": alg }).to_string();
            assert!(matches!(UnverifiedJwt::parse(&token(&header, iss, "x")), Err(AuthError::Invalid(_))), "{alg}");
        }
    }

    #[test]
    fn hostile_headers_and_claims() {
        let iss = r#"{"iss":"https://a.example"}"#;
        for (header, claims) in [
            (r#"{}"#, iss),
            (r#"{"alg":5}"#, iss),
            (r#"{"alg":"RS256","alg":"none"}"#, iss),
            (r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, iss),
            (r#"{"alg":"RS256"}"#, "{}"),
            (r#"{"alg":"RS256"}"#, r#"{"iss":["https://a.example"]}"#),
            (r#"{"alg":"RS256"}"#, r#"{"iss":"https://a.example","iss":"https://b.example"}"#),
            (r#"{"alg":"RS256"}"#, "not json"),
        ] {
            let parsed = UnverifiedJwt::parse(&token(header, claims, "x"));
            assert!(matches!(parsed, Err(AuthError::Invalid(_))), "{header} {claims}");
        }
    }
}
