//! The names of what is ours at MinIO.

use std::fmt;

use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};

use crate::{
    identity::Username,
    lake::{GroupName, Role},
};

/// What the name of everything of ours at MinIO begins with.
pub const PREFIX: &str = "lakepass-";

/// One life of something of ours at MinIO: 12 random letters and digits (62 bits).
///
/// - It is never used twice, not after a deletion either, so what was issued for one life is dead in the next.
/// - Nobody else's user, group or key has it by chance: a name that holds it is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(String);

impl Incarnation {
    pub fn new() -> Self {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let mut rng = rand::rng();
        Self((0..12).map(|_| *LETTERS.choose(&mut rng).expect("there are letters") as char).collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Incarnation {
    fn default() -> Self {
        Self::new()
    }
}

/// The name of a MinIO user of ours: `lakepass-{username}-{incarnation}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MinioUser(String);

impl MinioUser {
    /// A user that never was.
    pub fn new(username: &Username) -> Self {
        Self(format!("{PREFIX}{username}-{}", Incarnation::new().as_str()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose it is, if the name is one of ours.
    pub fn username(&self) -> Option<Username> {
        self.0.strip_prefix(PREFIX)?.rsplit_once('-')?.0.parse().ok()
    }
}

impl fmt::Display for MinioUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for MinioUser {
    fn from(name: String) -> Self {
        Self(name)
    }
}

/// The name of a MinIO group of ours: `lakepass-{group}-{incarnation}-readers` or `…-writers`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MinioGroup(String);

impl MinioGroup {
    pub fn new(group: &GroupName, incarnation: &Incarnation, role: Role) -> Self {
        let members = match role {
            Role::Reader => "readers",
            Role::Writer | Role::Steward => "writers",
        };
        Self(format!("{PREFIX}{group}-{}-{members}", incarnation.as_str()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose it is, if the name is one of ours.
    pub fn group(&self) -> Option<GroupName> {
        let name = self.0.strip_prefix(PREFIX)?;
        let name = name.strip_suffix("-readers").or_else(|| name.strip_suffix("-writers"))?;
        name.rsplit_once('-')?.0.parse().ok()
    }
}

impl From<String> for MinioGroup {
    fn from(name: String) -> Self {
        Self(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_legal_at_minio_and_never_the_same() {
        let user: Username = "a".parse().unwrap();
        let (one, two) = (MinioUser::new(&user), MinioUser::new(&user));
        assert_ne!(one, two);
        assert!(one.as_str().starts_with("lakepass-a-") && one.as_str().len() == 23);
        assert!(!one.as_str().contains([',', '=', '/', ' ']));
        assert_eq!(one.username(), Some(user));
        for other in ["lakepass-", "lakepass-a", "lakepass-A-x", "root", "other-a-x"] {
            assert_eq!(MinioUser::from(other.to_owned()).username(), None, "{other}");
        }
    }

    #[test]
    fn a_group_is_told_from_one_whose_name_begins_as_its_own() {
        let group = |name: &str| name.parse::<GroupName>().unwrap();
        for of in ["a1", "a1-b", "a1-readers"] {
            let name = MinioGroup::new(&group(of), &Incarnation::new(), Role::Reader);
            for asked in ["a1", "a1-b", "a1-readers", "A1"] {
                assert_eq!(name.group() == Some(group(asked)), of == asked, "{of} {asked}");
            }
        }
    }
}
