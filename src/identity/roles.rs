//! What the configuration asks of a person's roles. Pure.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use super::{AuthError, Identity, Username};

/// Which roles a person must have, and which make an administrator.
///
/// - Every required role is required, of administrators as well.
/// - Any one of the admin roles makes an administrator.
#[derive(Debug, Clone, Default)]
pub(super) struct RoleRules {
    pub required: BTreeSet<String>,
    pub admin: BTreeSet<String>,
}

impl RoleRules {
    /// The identity of a person with these roles, if they are enough.
    pub fn admit(
        &self,
        username: Username,
        roles: BTreeSet<String>,
        expires_at: Timestamp,
    ) -> Result<Identity, AuthError> {
        let missing: Vec<String> = self.required.difference(&roles).cloned().collect();
        if !missing.is_empty() {
            return Err(AuthError::RolesMissing { user: username, roles: missing });
        }
        let admin = !self.admin.is_disjoint(&roles);
        Ok(Identity { username, roles: Arc::new(roles), admin, expires_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(roles: &[&str]) -> BTreeSet<String> {
        roles.iter().map(|role| (*role).to_owned()).collect()
    }

    #[test]
    fn required_and_admin_roles() {
        let rules = RoleRules { required: set(&["A", "B"]), admin: set(&["X", "Y"]) };
        let cases = [
            (set(&["A", "B"]), Ok(false)),
            (set(&["A", "B", "X"]), Ok(true)),
            (set(&["A", "B", "Y", "Z"]), Ok(true)),
            (set(&["A", "X"]), Err(vec!["B".to_owned()])),
            (set(&["a", "b"]), Err(vec!["A".to_owned(), "B".to_owned()])),
            (set(&[]), Err(vec!["A".to_owned(), "B".to_owned()])),
        ];
        for (roles, expected) in cases {
            let user: Username = "whee".parse().unwrap();
            let admitted = rules.admit(user.clone(), roles.clone(), Timestamp::MAX);
            let expected = expected.map_err(|roles| AuthError::RolesMissing { user, roles });
            assert_eq!(admitted.map(|identity| identity.admin), expected, "{roles:?}");
        }
    }

    #[test]
    fn no_rules_admit_everybody_and_make_nobody_an_administrator() {
        let identity = RoleRules::default().admit("admin".parse().unwrap(), set(&["admin"]), Timestamp::MAX).unwrap();
        assert!(!identity.admin);
    }
}
