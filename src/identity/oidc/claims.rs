//! From verified claims to an identity. Pure.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::JwtIssuer;
use crate::identity::{AuthError, Username, Validated, roles::RoleRules, time_until};

/// How far the issuer's clock and ours may be apart.
const LEEWAY: SignedDuration = SignedDuration::from_secs(30);

/// Judges claims whose signature, issuer and audience are already believed.
pub(super) fn judge(
    claims: &Map<String, Value>,
    settings: &JwtIssuer,
    rules: &RoleRules,
    now: Timestamp,
) -> Result<Validated, AuthError> {
    let expires_at = claims.get("exp").and_then(numeric_date).ok_or(AuthError::Invalid("its exp is no time"))?;
    if now.duration_since(expires_at) > LEEWAY {
        return Err(AuthError::Invalid("it has expired"));
    }
    if let Some(not_before) = claims.get("nbf") {
        let not_before = numeric_date(not_before).ok_or(AuthError::Invalid("its nbf is no time"))?;
        if not_before.duration_since(now) > LEEWAY {
            return Err(AuthError::Invalid("it is not valid yet"));
        }
    }
    let username = username(claims, &settings.username_claim)?;
    let roles = lookup(claims, &settings.roles_claim).map(roles).unwrap_or_default();
    // The expiry is the real one: the leeway forgives a clock, it gives no time.
    let identity = rules.admit(username, roles, expires_at)?;
    Ok(Validated { identity, trust_for: time_until(expires_at, now) })
}

fn username(claims: &Map<String, Value>, claim: &str) -> Result<Username, AuthError> {
    let unusable = |reason: String| AuthError::UnusableUsername { claim: claim.to_owned(), reason };
    match lookup(claims, claim) {
        Some(Value::String(name)) => {
            name.parse().map_err(|error: super::super::UsernameError| unusable(error.to_string()))
        }
        Some(_) => Err(unusable("it is not a string".to_owned())),
        None => Err(unusable("the token does not have it".to_owned())),
    }
}

/// A list of strings, or one. What is no string is no role.
fn roles(value: &Value) -> BTreeSet<String> {
    match value {
        Value::String(role) => BTreeSet::from([role.clone()]),
        Value::Array(roles) => roles.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => BTreeSet::new(),
    }
}

/// The claim of that name, else the one at that path. The name first: `https://example.org/roles` has dots.
fn lookup<'a>(claims: &'a Map<String, Value>, claim: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(claim) {
        return Some(value);
    }
    let mut names = claim.split('.');
    let first = claims.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

/// Seconds since the epoch, perhaps with a fraction, which is dropped. Nothing outside the years that we can count.
fn numeric_date(value: &Value) -> Option<Timestamp> {
    let seconds = match value.as_i64() {
        Some(seconds) => seconds,
        // A float beyond i64 saturates, and is then out of range.
        None => value.as_f64()?.floor() as i64,
    };
    Timestamp::from_second(seconds).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn judged(claims: Value, settings: &Value) -> Result<Validated, AuthError> {
        let mut all = json!({"issuer": "https://a.example", "audience": "lakepass"});
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let settings: JwtIssuer = serde_json::from_value(all).unwrap();
        let rules = RoleRules { required: settings.required_roles.clone(), admin: settings.admin_roles.clone() };
        judge(claims.as_object().unwrap(), &settings, &rules, Timestamp::from_second(1_000).unwrap())
    }

    #[test]
    fn times() {
        let name = "whee";
        for (claims, trust_for) in [
            (json!({"preferred_username": name, "exp": 1_600}), 600),
            (json!({"preferred_username": name, "exp": 1_600.9}), 600),
            (json!({"preferred_username": name, "exp": 1_001, "nbf": 1_030}), 1),
            (json!({"preferred_username": name, "exp": 1_000}), 0),
            (json!({"preferred_username": name, "exp": 970}), 0),
        ] {
            assert_eq!(
                judged(claims.clone(), &json!({})).unwrap().trust_for,
                Duration::from_secs(trust_for),
                "{claims}"
            );
        }
        for claims in [
            json!({"preferred_username": name}),
            json!({"preferred_username": name, "exp": 969}),
            json!({"preferred_username": name, "exp": "1600"}),
            json!({"preferred_username": name, "exp": null}),
            json!({"preferred_username": name, "exp": -1}),
            json!({"preferred_username": name, "exp": 1e300}),
            json!({"preferred_username": name, "exp": u64::MAX}),
            json!({"preferred_username": name, "exp": 1_600, "nbf": 1_031}),
            json!({"preferred_username": name, "exp": 1_600, "nbf": "soon"}),
            json!({"preferred_username": name, "exp": 1_600, "nbf": null}),
        ] {
            assert!(matches!(judged(claims.clone(), &json!({})), Err(AuthError::Invalid(_))), "{claims}");
        }
    }

    #[test]
    fn the_identity_expires_when_the_token_says() {
        let late = judged(json!({"preferred_username": "whee", "exp": 980}), &json!({})).unwrap();
        assert_eq!(late.identity.expires_at, Timestamp::from_second(980).unwrap());
    }

    #[test]
    fn usernames_come_from_the_configured_claim() {
        let claims = json!({
            "exp": 1_600, "preferred_username": "whee", "sub": "0b5e", "email": "whee@example.org", "number": 5,
            "kbase": {"user": {"name": "nested"}}, "https://example.org/name": "namespaced",
        });
        for (claim, name) in
            [("preferred_username", "whee"), ("kbase.user.name", "nested"), ("https://example.org/name", "namespaced")]
        {
            let identity = judged(claims.clone(), &json!({ "username_claim": claim })).unwrap().identity;
            assert_eq!(identity.username.as_str(), name);
        }
        for claim in ["sub", "email", "number", "kbase", "kbase.user", "kbase.user.name.x", "absent", ".", "kbase."] {
            let error = judged(claims.clone(), &json!({ "username_claim": claim })).unwrap_err();
            assert!(matches!(&error, AuthError::UnusableUsername { claim: c, .. } if c == claim), "{error}");
            assert!(!error.to_string().contains("example.org"), "the claim's value is not quoted: {error}");
        }
    }

    #[test]
    fn roles_come_from_the_configured_claim() {
        let claims = json!({
            "exp": 1_600, "preferred_username": "whee", "roles": ["USER", 5, null, "ADMIN"], "role": "USER",
            "realm_access": {"roles": ["USER"]}, "object": {"USER": true},
        });
        let settings =
            |claim: &str| json!({"roles_claim": claim, "required_roles": ["USER"], "admin_roles": ["ADMIN"]});
        for (claim, admin) in [("roles", true), ("role", false), ("realm_access.roles", false)] {
            assert_eq!(judged(claims.clone(), &settings(claim)).unwrap().identity.admin, admin, "{claim}");
        }
        for claim in ["absent", "object", "exp", "realm_access", "roles.0"] {
            let missing = AuthError::RolesMissing { user: "whee".parse().unwrap(), roles: vec!["USER".to_owned()] };
            assert_eq!(judged(claims.clone(), &settings(claim)), Err(missing), "{claim}");
        }
    }
}
