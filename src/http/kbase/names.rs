//! Groups as these clients name them: `kbase` is who may write in it, `kbasero` who may only read.

use std::{fmt, str::FromStr};

use crate::{
    http::Problem,
    lake::{GroupName, Role},
};

/// What the name of a group ends with, if its readers are meant.
///
/// - 1 to 16 letters, digits, `_` and `-` of ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOnlySuffix(String);

impl FromStr for ReadOnlySuffix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        if (1..=16).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err("1 to 16 letters, digits, `_` and `-`")
        }
    }
}

/// One of the two that these clients take for groups.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Half {
    pub group: GroupName,
    pub side: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Readers,
    Writers,
}

impl Side {
    pub fn of(role: Role) -> Self {
        match role {
            Role::Reader => Self::Readers,
            Role::Writer | Role::Steward => Self::Writers,
        }
    }

    /// What somebody becomes who is added.
    pub fn role(self) -> Role {
        match self {
            Self::Readers => Role::Reader,
            Self::Writers => Role::Writer,
        }
    }
}

impl ReadOnlySuffix {
    pub(super) fn parse(&self, name: &str) -> Result<Half, Problem> {
        let readers = name.strip_suffix(&self.0).and_then(|group| group.parse().ok());
        if let Some(group) = readers {
            return Ok(Half { group, side: Side::Readers });
        }
        let group = name.parse().map_err(|error: crate::lake::GroupNameError| Problem::invalid(error.to_string()))?;
        Ok(Half { group, side: Side::Writers })
    }

    pub(super) fn name(&self, group: &GroupName, side: Side) -> String {
        match side {
            Side::Readers => format!("{group}{self}"),
            Side::Writers => group.to_string(),
        }
    }
}

impl fmt::Display for ReadOnlySuffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_the_suffix_is_the_readers() {
        let suffix: ReadOnlySuffix = "ro".parse().unwrap();
        for (name, group, side) in [
            ("kbase", "kbase", Side::Writers),
            ("kbasero", "kbase", Side::Readers),
            ("kbaseRO", "kbaseRO", Side::Writers),
            ("kbaseroro", "kbasero", Side::Readers),
            // Nothing that could be a group is left.
            ("ro", "ro", Side::Writers),
            ("aro", "aro", Side::Writers),
        ] {
            let half = suffix.parse(name).unwrap();
            assert_eq!((half.group.as_str(), half.side), (group, side), "{name}");
            assert_eq!(suffix.name(&half.group, half.side), name);
        }
        assert!(suffix.parse("a/ro").is_err());
    }
}
