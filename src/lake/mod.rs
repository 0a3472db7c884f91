//! The lake: its layout, who owns which path, and what a grant is. Pure.
//!
//! Must not know HTTP, MinIO or the time.

mod layout;
mod path;

use std::{fmt, str::FromStr, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::identity::Username;

pub use self::{
    layout::{Lake, LayoutError, Template},
    path::{LakePath, MAX_PATH_BYTES, PathError},
};

/// The name of a group, as its members write it.
///
/// - 2 to 64 letters, digits, `_` and `-` of ASCII.
/// - Two names that differ only in case are one group: [`GroupName::key`] is the same for both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupName(String);

/// The text is no [`GroupName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a group's name has 2 to 64 letters, digits, `_` and `-`")]
pub struct GroupNameError;

impl GroupName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the ledger files the group under.
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl FromStr for GroupName {
    type Err = GroupNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = (2..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if legal { Ok(Self(text.to_owned())) } else { Err(GroupNameError) }
    }
}

impl TryFrom<String> for GroupName {
    type Error = GroupNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<GroupName> for String {
    fn from(name: GroupName) -> Self {
        name.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What may be done in a folder. Write includes read and delete, and is the greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    #[default]
    Read,
    Write,
}

impl Access {
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// What a member may do in a group's workspace and with what is shared with the group.
///
/// A reader reads, whatever the grant says. A steward is a writer who also changes the group and shares its workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Reader,
    Writer,
    Steward,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Steward => "steward",
        }
    }

    /// The most that a member of this role gets.
    pub fn access(self) -> Access {
        match self {
            Self::Reader => Access::Read,
            Self::Writer | Self::Steward => Access::Write,
        }
    }
}

/// Somebody who can be given access.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "lowercase")]
pub enum Principal {
    User(Username),
    Group(GroupName),
}

impl Principal {
    pub fn user(&self) -> Option<&Username> {
        match self {
            Self::User(user) => Some(user),
            Self::Group(_) => None,
        }
    }

    pub fn group(&self) -> Option<&GroupName> {
        match self {
            Self::Group(group) => Some(group),
            Self::User(_) => None,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user {name}"),
            Self::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// Whose a path is: by its place in the layout, and by nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    User(Username),
    Group(GroupName),
    /// Neither in a home nor in a workspace: the administrators'.
    Lake,
}

/// What a grant says besides its path and its grantee, who holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub access: Access,
    pub given_by: Username,
    pub given_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Grant {
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

/// A folder that somebody may reach, how, and until when.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reach {
    pub path: LakePath,
    pub access: Access,
    pub until: Option<Timestamp>,
}

impl Reach {
    pub fn forever(path: LakePath, access: Access) -> Self {
        Self { path, access, until: None }
    }

    /// Whether this one makes the other superfluous.
    pub fn covers(&self, other: &Self) -> bool {
        self.path.covers(&other.path)
            && self.access >= other.access
            && self.until.is_none_or(|end| other.until.is_some_and(|other| other <= end))
    }
}

/// What a session is asked to be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// What the user has at this moment.
    Granted,
    /// The whole bucket: the live policies alone decide, so that new shares reach the session.
    Lake,
    /// These and no more.
    Listed(Vec<(LakePath, Access)>),
}

/// How long a session lives: from 900 s, the least that STS issues, to the configured maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(Duration);

/// The shortest session that STS issues.
pub const MIN_LIFETIME: Duration = Duration::from_secs(900);

/// Why there is no such [`Lifetime`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LifetimeError {
    #[error("a session lasts between 900 and {max} seconds")]
    OutOfRange { max: u64 },
    #[error("the token ends in {left} seconds, and a session lasts at least 900")]
    TokenEnds { left: u64 },
}

impl Lifetime {
    /// What was asked for, never past the token's end.
    pub fn new(asked: Duration, max: Duration, token_left: Duration) -> Result<Self, LifetimeError> {
        if asked < MIN_LIFETIME || asked > max {
            return Err(LifetimeError::OutOfRange { max: max.as_secs() });
        }
        if token_left < MIN_LIFETIME {
            return Err(LifetimeError::TokenEnds { left: token_left.as_secs() });
        }
        Ok(Self(asked.min(token_left)))
    }

    pub fn as_secs(self) -> u64 {
        self.0.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_group_name() {
        for legal in ["KBase", "BER", "CDM_Science", "ab", "a-1", &"x".repeat(64)] {
            assert!(legal.parse::<GroupName>().is_ok(), "{legal:?}");
        }
        for not in ["", "a", &"x".repeat(65), "a b", "a/b", "a,b", "a=b", "a.b", "KBase\n", "grüppe", "a*", "..", "a\0"]
        {
            assert!(not.parse::<GroupName>().is_err(), "{not:?}");
        }
        let key = |name: &str| name.parse::<GroupName>().unwrap().key();
        assert_eq!(key("KBase"), key("kbASE"));
    }

    #[test]
    fn a_lifetime_is_neither_too_short_nor_past_the_token() {
        let (secs, hour) = (Duration::from_secs, Duration::from_secs(3600));
        let cases = [
            (900, 3600, Ok(900)),
            (3600, 3600, Ok(3600)),
            (3600, 1000, Ok(1000)),
            (899, 3600, Err(LifetimeError::OutOfRange { max: 3600 })),
            (0, 3600, Err(LifetimeError::OutOfRange { max: 3600 })),
            (3601, 9999, Err(LifetimeError::OutOfRange { max: 3600 })),
            (u64::MAX, 9999, Err(LifetimeError::OutOfRange { max: 3600 })),
            (900, 899, Err(LifetimeError::TokenEnds { left: 899 })),
            (900, 0, Err(LifetimeError::TokenEnds { left: 0 })),
        ];
        for (asked, left, expected) in cases {
            assert_eq!(Lifetime::new(secs(asked), hour, secs(left)).map(Lifetime::as_secs), expected, "{asked} {left}");
        }
    }

    #[test]
    fn a_reach_covers_what_is_narrower_weaker_and_shorter() {
        let reach = |path: &str, access, until: Option<i64>| Reach {
            path: path.parse().unwrap(),
            access,
            until: until.map(|s| Timestamp::from_second(s).unwrap()),
        };
        let wide = reach("a", Access::Write, None);
        let ending = reach("a", Access::Write, Some(10));
        assert!(wide.covers(&reach("a/b", Access::Read, None)));
        assert!(wide.covers(&reach("a", Access::Write, Some(5))));
        assert!(!wide.covers(&reach("ab", Access::Read, None)));
        assert!(!reach("a", Access::Read, None).covers(&wide));
        assert!(ending.covers(&reach("a", Access::Read, Some(10))));
        assert!(!ending.covers(&reach("a", Access::Read, Some(11))));
        assert!(!ending.covers(&reach("a", Access::Read, None)));
    }
}
