//! What is configured of an issuer.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::Deserialize;
use url::{Host, Url};

use crate::identity::SetupError;

/// An OIDC issuer whose JWTs are believed, and how their claims are read.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtIssuer {
    pub issuer: IssuerUrl,
    /// What `aud` must be, or hold.
    pub audience: String,
    /// The claim with the username: a claim's name, or a path with dots.
    #[serde(default = "default_username_claim")]
    pub username_claim: String,
    /// The claim with the roles: a claim's name, or a path with dots such as `realm_access.roles`.
    #[serde(default = "default_roles_claim")]
    pub roles_claim: String,
    /// Roles without which nobody gets in: all of them.
    #[serde(default)]
    pub required_roles: BTreeSet<String>,
    /// Roles that make an administrator: any of them.
    #[serde(default)]
    pub admin_roles: BTreeSet<String>,
}

/// The identifier of an OIDC issuer, which is also where its documents are.
///
/// - It is compared character by character with the `iss` claim and the discovery document, as OIDC wants it.
/// - It is an `https` URL; `http` is for loopback hosts only.
/// - It has no user, password, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct IssuerUrl(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an OIDC issuer is an https URL (http for a loopback host only), without user, password, query, fragment and spaces"
)]
pub struct IssuerUrlError;

impl JwtIssuer {
    /// An empty setting would ask nothing of a token, or never find anything in it.
    pub(super) fn check(&self) -> Result<(), SetupError> {
        for (setting, value) in
            [("audience", &self.audience), ("username_claim", &self.username_claim), ("roles_claim", &self.roles_claim)]
        {
            if value.is_empty() {
                return Err(SetupError::EmptySetting { issuer: self.issuer.clone(), setting });
            }
        }
        Ok(())
    }
}

impl IssuerUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the discovery document is: OIDC Discovery 1.0, section 4.
    pub(super) fn discovery(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.0.strip_suffix('/').unwrap_or(&self.0))
    }
}

impl FromStr for IssuerUrl {
    type Err = IssuerUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| IssuerUrlError)?;
        let plain = is_safe(&url)
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            // `Url` forgives and removes these; `iss` would never be equal to what is left.
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if plain { Ok(Self(text.to_owned())) } else { Err(IssuerUrlError) }
    }
}

impl TryFrom<String> for IssuerUrl {
    type Error = IssuerUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether nobody on the way can change what is read from there: https, or a host that is this machine.
pub(super) fn is_safe(url: &Url) -> bool {
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Domain(domain))) => domain == "localhost",
        ("http", Some(Host::Ipv4(address))) => address.is_loopback(),
        ("http", Some(Host::Ipv6(address))) => address.is_loopback(),
        _ => false,
    }
}

fn default_username_claim() -> String {
    "preferred_username".to_owned()
}

fn default_roles_claim() -> String {
    "roles".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_https_or_loopback() {
        for url in [
            "https://accounts.example.org",
            "https://accounts.example.org/",
            "https://sso.example.org:8443/realms/lake",
            "http://localhost:8080",
            "http://127.0.0.1:1/x",
            "http://[::1]:1",
        ] {
            assert_eq!(url.parse::<IssuerUrl>().unwrap().as_str(), url);
        }
        for url in [
            "",
            "accounts.example.org",
            "http://accounts.example.org",
            "http://localhost.example.org",
            "http://10.0.0.1",
            "ftp://localhost",
            "file:///etc",
            "https://u@example.org",
            "https://u:p@example.org",
            "https://example.org?x",
            "https://example.org#x",
            "https://example.org ",
            "https://exa\nmple.org",
        ] {
            assert_eq!(url.parse::<IssuerUrl>(), Err(IssuerUrlError), "{url:?}");
        }
    }

    #[test]
    fn the_discovery_document_is_below_the_issuer() {
        for (issuer, discovery) in [
            ("https://a.example", "https://a.example/.well-known/openid-configuration"),
            ("https://a.example/", "https://a.example/.well-known/openid-configuration"),
            ("https://a.example/realms/x", "https://a.example/realms/x/.well-known/openid-configuration"),
        ] {
            assert_eq!(issuer.parse::<IssuerUrl>().unwrap().discovery(), discovery);
        }
    }

    #[test]
    fn settings_have_defaults_and_no_unknown_fields() {
        let settings: JwtIssuer =
            serde_json::from_str(r#"{"issuer":"https://a.example","audience":"lakepass"}"#).unwrap();
        assert_eq!(settings.username_claim, "preferred_username");
        assert_eq!(settings.roles_claim, "roles");
        assert!(settings.check().is_ok());
        let unknown = r#"{"issuer":"https://a.example","audience":"lakepass","audiense":"x"}"#;
        assert!(serde_json::from_str::<JwtIssuer>(unknown).is_err());
        let empty: JwtIssuer = serde_json::from_str(r#"{"issuer":"https://a.example","audience":""}"#).unwrap();
        assert!(matches!(empty.check(), Err(SetupError::EmptySetting { setting: "audience", .. })));
    }
}
