//! Where homes and workspaces are.

use std::str::FromStr;

use super::{GroupName, LakePath, Owner};
use crate::identity::Username;

/// The lake's bucket and its layout.
///
/// - There is at least one home template; all homes hold `{user}`, all workspaces `{group}`.
/// - No two templates can name folders of which one covers the other, so every path has one owner.
#[derive(Debug, Clone)]
pub struct Lake {
    bucket: String,
    homes: Vec<Template>,
    workspaces: Vec<Template>,
}

/// A folder with one segment left open for a name, such as `users-warehouse/{user}/`.
///
/// - The open segment is whole, and there is exactly one: so the name in a path is certain.
/// - The other segments are those of a [`LakePath`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    before: Vec<String>,
    after: Vec<String>,
}

/// What is wrong with a layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("the template `{0}` needs exactly one whole segment `{1}`")]
    Placeholder(String, &'static str),
    #[error("the template `{0}` is no path of the lake")]
    Path(String),
    #[error("at least one home template is needed")]
    NoHome,
    #[error("the templates `{0}` and `{1}` overlap: one person's folder could be in another's")]
    Overlap(String, String),
}

impl Template {
    fn parse(text: &str, placeholder: &'static str) -> Result<Self, LayoutError> {
        let segments: Vec<&str> = text.strip_suffix('/').unwrap_or(text).split('/').collect();
        let mut open = segments.iter().enumerate().filter(|(_, segment)| **segment == placeholder);
        let (Some((at, _)), None) = (open.next(), open.next()) else {
            return Err(LayoutError::Placeholder(text.to_owned(), placeholder));
        };
        if LakePath::from_str(&text.replacen(placeholder, "x", 1)).is_err() {
            return Err(LayoutError::Path(text.to_owned()));
        }
        let owned = |part: &[&str]| part.iter().map(|segment| (*segment).to_owned()).collect();
        Ok(Self { before: owned(&segments[..at]), after: owned(&segments[at + 1..]) })
    }

    /// The folder for a name. A name is one segment, and legal in a path.
    fn folder(&self, name: &str) -> Option<LakePath> {
        let segments: Vec<&str> =
            self.before.iter().map(String::as_str).chain([name]).chain(self.after.iter().map(String::as_str)).collect();
        segments.join("/").parse().ok()
    }

    /// The name in the open segment, if the path is such a folder or in one.
    fn name_in<'a>(&self, path: &'a LakePath) -> Option<&'a str> {
        let mut segments = path.segments();
        let before = self.before.iter().all(|expected| segments.next() == Some(expected));
        let name = segments.next();
        let after = self.after.iter().all(|expected| segments.next() == Some(expected));
        name.filter(|_| before && after)
    }

    /// Whether a folder of one could be a folder of the other, or cover it.
    fn overlaps(&self, other: &Self) -> bool {
        self.pattern().zip(other.pattern()).all(|(a, b)| a.is_none() || b.is_none() || a == b)
    }

    fn pattern(&self) -> impl Iterator<Item = Option<&String>> {
        self.before.iter().map(Some).chain([None]).chain(self.after.iter().map(Some))
    }
}

impl Lake {
    pub fn new(bucket: String, homes: &[String], workspaces: &[String]) -> Result<Self, LayoutError> {
        if homes.is_empty() {
            return Err(LayoutError::NoHome);
        }
        let parse = |texts: &[String], placeholder| {
            texts.iter().map(|text| Template::parse(text, placeholder)).collect::<Result<Vec<_>, _>>()
        };
        let lake = Self { bucket, homes: parse(homes, "{user}")?, workspaces: parse(workspaces, "{group}")? };
        let all: Vec<(&String, &Template)> =
            homes.iter().chain(workspaces).zip(lake.homes.iter().chain(&lake.workspaces)).collect();
        for (i, (text, template)) in all.iter().enumerate() {
            if let Some((other, _)) = all[i + 1..].iter().find(|(_, other)| template.overlaps(other)) {
                return Err(LayoutError::Overlap((*text).clone(), (*other).clone()));
            }
        }
        Ok(lake)
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// A user's folders, in the order of the configuration.
    pub fn home(&self, user: &Username) -> Vec<LakePath> {
        self.homes.iter().filter_map(|template| template.folder(user.as_str())).collect()
    }

    /// A group's folders, in the order of the configuration.
    pub fn workspace(&self, group: &GroupName) -> Vec<LakePath> {
        self.workspaces.iter().filter_map(|template| template.folder(group.as_str())).collect()
    }

    pub fn owner(&self, path: &LakePath) -> Owner {
        let user = || self.homes.iter().find_map(|template| template.name_in(path)?.parse().ok());
        let group = || self.workspaces.iter().find_map(|template| template.name_in(path)?.parse().ok());
        user().map(Owner::User).or_else(|| group().map(Owner::Group)).unwrap_or(Owner::Lake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lake(homes: &[&str], workspaces: &[&str]) -> Result<Lake, LayoutError> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Lake::new("cdm-lake".into(), &owned(homes), &owned(workspaces))
    }

    #[test]
    fn a_path_has_the_owner_that_its_place_says() {
        let lake = lake(
            &["users-general-warehouse/{user}/", "users-sql-warehouse/{user}/"],
            &["tenant-general-warehouse/{group}/data"],
        )
        .unwrap();
        let alice = || Owner::User("alice".parse().unwrap());
        let cases = [
            ("users-general-warehouse/alice", alice()),
            ("users-sql-warehouse/alice/x/y", alice()),
            ("users-sql-warehouse/alice2", Owner::User("alice2".parse().unwrap())),
            ("users-sql-warehouse", Owner::Lake),
            ("users-sql-warehousex/alice", Owner::Lake),
            ("users-sql-warehouse/Alice", Owner::Lake),
            ("x/users-sql-warehouse/alice", Owner::Lake),
            ("tenant-general-warehouse/KBase", Owner::Lake),
            ("tenant-general-warehouse/KBase/other", Owner::Lake),
            ("tenant-general-warehouse/KBase/data/x", Owner::Group("KBase".parse().unwrap())),
        ];
        for (path, owner) in cases {
            assert_eq!(lake.owner(&path.parse().unwrap()), owner, "{path}");
        }
        let home: Vec<String> = lake.home(&"a".parse().unwrap()).iter().map(ToString::to_string).collect();
        assert_eq!(home, ["users-general-warehouse/a/", "users-sql-warehouse/a/"]);
    }

    #[test]
    fn a_layout_in_which_folders_could_meet_is_refused() {
        assert!(lake(&["u/{user}"], &["g/{group}"]).is_ok());
        assert_eq!(lake(&[], &["g/{group}"]).err(), Some(LayoutError::NoHome));
        for (homes, workspaces) in [
            (&["x/{user}"][..], &["x/{group}"][..]),
            (&["{user}"], &["g/{group}"]),
            (&["x/{user}", "x/{user}/sql"], &[]),
            (&["x/{user}/sql"], &["x/y/{group}"]),
            (&["x/{user}", "x/{user}"], &[]),
        ] {
            assert!(matches!(lake(homes, workspaces), Err(LayoutError::Overlap(..))), "{homes:?} {workspaces:?}");
        }
        for home in ["x", "x/{group}", "x/pre-{user}", "{user}/{user}"] {
            assert!(matches!(lake(&[home], &[]), Err(LayoutError::Placeholder(..))), "{home}");
        }
        for home in ["/x/{user}", "x//{user}", "x/*/{user}", "../{user}", ""] {
            assert!(lake(&[home], &[]).is_err(), "{home}");
        }
    }
}
