//! What another tool's policies allow in the lake, and which folders say the same. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    lake::{Access, LakePath},
    policy::{Effect, PolicyDocument, Statement},
};

/// What can be done with the keys that a pattern names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    List,
    Get,
    Put,
    Delete,
}

const ALL: [Action; 4] = [Action::List, Action::Get, Action::Put, Action::Delete];

impl Action {
    fn needs(self) -> Access {
        match self {
            Self::List | Self::Get => Access::Read,
            Self::Put | Self::Delete => Access::Write,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Get => "read",
            Self::Put => "write",
            Self::Delete => "delete",
        }
    }
}

/// What policies allow in the lake's bucket: patterns of keys, which may end in `*`.
#[derive(Debug, Default)]
pub(super) struct Rights {
    patterns: BTreeSet<(String, Action)>,
    /// What is allowed besides, in words.
    pub other: BTreeSet<String>,
}

impl Rights {
    /// What these documents allow together. An error: one of them says something that could take away what another
    /// allows, so nothing is certain.
    pub fn of<'a>(bucket: &str, documents: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Result<Self, String> {
        let mut rights = Self::default();
        for (name, document) in documents {
            let unclear = |error: serde_json::Error| format!("the policy `{name}` is not understood: {error}");
            let document: PolicyDocument = serde_json::from_value(document.clone()).map_err(unclear)?;
            for statement in &document.statement {
                if statement.effect == Effect::Deny {
                    return Err(format!("the policy `{name}` denies something, which no grant can say"));
                }
                rights.add(bucket, name, statement);
            }
        }
        Ok(rights)
    }

    fn add(&mut self, bucket: &str, name: &str, statement: &Statement) {
        let within = format!("arn:aws:s3:::{bucket}/");
        for action in &statement.action {
            let action = match action.as_str() {
                // Everybody in Lakepass may.
                "s3:GetBucketLocation" => continue,
                "s3:ListBucket" => Action::List,
                "s3:GetObject" => Action::Get,
                "s3:PutObject" => Action::Put,
                "s3:DeleteObject" => Action::Delete,
                other => {
                    self.other
                        .insert(format!("the policy `{name}` allows `{other}` on {}", statement.resource.join(", ")));
                    continue;
                }
            };
            for resource in &statement.resource {
                let prefixes = prefixes(statement);
                match (action, resource.strip_prefix(&within)) {
                    (Action::List, None) if *resource == format!("arn:aws:s3:::{bucket}") && prefixes.is_some() => {
                        self.patterns.extend(prefixes.into_iter().flatten().map(|prefix| (prefix, action)));
                    }
                    (Action::Get | Action::Put | Action::Delete, Some(key)) if statement.condition.is_empty() => {
                        self.patterns.insert((key.to_owned(), action));
                    }
                    _ => {
                        self.other.insert(format!("the policy `{name}` allows to {} `{resource}`", action.name()));
                    }
                }
            }
        }
    }

    fn covers(&self, action: Action, folder: &LakePath) -> bool {
        self.patterns.iter().any(|(pattern, of)| *of == action && opens(pattern, folder))
    }

    /// The folders that can be used as folders: all in them can be listed and read, or also written and deleted.
    pub fn folders(&self) -> BTreeMap<LakePath, Access> {
        let named = self.patterns.iter().filter_map(|(pattern, _)| pattern.strip_suffix("/*")?.parse().ok());
        let named: BTreeSet<LakePath> = named.collect();
        let access = |folder: &LakePath| {
            let all = |actions: &[Action]| actions.iter().all(|action| self.covers(*action, folder));
            if all(&ALL) {
                return Some(Access::Write);
            }
            all(&ALL[..2]).then_some(Access::Read)
        };
        let folders = named.into_iter().filter_map(|folder| access(&folder).map(|access| (folder, access)));
        let folders: BTreeMap<LakePath, Access> = folders.collect();
        let above = |(folder, access): &(&LakePath, &Access)| {
            folders.iter().any(|(other, most)| other != *folder && other.covers(folder) && most >= access)
        };
        folders.iter().filter(|folder| !above(folder)).map(|(folder, access)| (folder.clone(), *access)).collect()
    }

    /// What these policies allow, and access to these folders does not, and the other way round: in words. Nothing is said
    /// of a folder's own name without the final `/`.
    pub fn differences(&self, folders: &BTreeMap<LakePath, Access>) -> Vec<String> {
        let mut lost: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (pattern, action) in &self.patterns {
            let kept = |(folder, access): (&LakePath, &Access)| {
                let within = pattern.starts_with(folder.as_str());
                within && *access >= action.needs() || pattern == folder.as_object_key()
            };
            if !folders.iter().any(kept) {
                lost.entry(pattern).or_default().push(action.name());
            }
        }
        let lost = lost.into_iter().map(|(pattern, actions)| format!("`{pattern}` is lost: {}", actions.join(", ")));
        let gained = folders.iter().filter_map(|(folder, access)| {
            let new = ALL.iter().filter(|action| action.needs() <= *access && !self.covers(**action, folder));
            let new: Vec<&str> = new.map(|action| action.name()).collect();
            (!new.is_empty()).then(|| format!("`{folder}` is gained: {}", new.join(", ")))
        });
        lost.chain(gained).chain(self.other.iter().map(|other| format!("{other}: lost"))).collect()
    }
}

/// Whether a pattern names everything in a folder.
fn opens(pattern: &str, folder: &LakePath) -> bool {
    let literal = pattern.strip_suffix('*');
    literal.is_some_and(|literal| !literal.contains(['*', '?', '$']) && folder.as_str().starts_with(literal))
}

/// What may be listed: nothing, if that is not all that the condition says.
fn prefixes(statement: &Statement) -> Option<Vec<String>> {
    let [(operator, keys)] = &statement.condition.iter().collect::<Vec<_>>()[..] else { return None };
    let [(key, values)] = &keys.iter().collect::<Vec<_>>()[..] else { return None };
    (*operator == "StringLike" && *key == "s3:prefix").then(|| (*values).clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rights(statements: Value) -> Result<Rights, String> {
        Rights::of("cdm-lake", [("p", &json!({"Version": "2012-10-17", "Statement": statements}))])
    }

    fn list(prefixes: &[&str]) -> Value {
        json!({"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::cdm-lake"],
            "Condition": {"StringLike": {"s3:prefix": prefixes}}})
    }

    fn objects(action: &str, keys: &[&str]) -> Value {
        let resources: Vec<String> = keys.iter().map(|key| format!("arn:aws:s3:::cdm-lake/{key}")).collect();
        json!({"Effect": "Allow", "Action": [action], "Resource": resources})
    }

    fn path(text: &str) -> LakePath {
        text.parse().unwrap()
    }

    #[test]
    fn folders_are_what_can_be_listed_and_read_whole() {
        let rights = rights(json!([
            list(&["a/x", "a/x/*", "a/w", "a/w/*"]),
            objects("s3:GetObject", &["a/x", "a/x/*", "a/w/*", "a/unlisted/*", "a/w/in/*"]),
            objects("s3:PutObject", &["a/w", "a/w/*", "a/x/*"]),
            objects("s3:DeleteObject", &["a/w/*"]),
        ]))
        .unwrap();
        let folders = BTreeMap::from([(path("a/x"), Access::Read), (path("a/w"), Access::Write)]);
        assert_eq!(rights.folders(), folders);
        assert_eq!(rights.differences(&folders), ["`a/unlisted/*` is lost: read", "`a/x/*` is lost: write"]);
        let more = BTreeMap::from([(path("b"), Access::Write)]);
        assert!(rights.differences(&more).contains(&"`b/` is gained: list, read, write, delete".to_owned()));
    }

    #[test]
    fn what_is_no_folder_is_told() {
        let governed = rights(json!([
            list(&["u/al/u_al__*", "u/al/u_al__*/*", "u/al", "u/al/*"]),
            objects("s3:GetObject", &["u/al/u_al__*", "u/al/u_al__*/*", "u/al", "u/al/*"]),
            objects("s3:PutObject", &["u/al/u_al__*", "u/al/u_al__*/*"]),
            objects("s3:DeleteObject", &["u/al/u_al__*/*"]),
        ]))
        .unwrap();
        assert_eq!(governed.folders(), BTreeMap::from([(path("u/al"), Access::Read)]));
        let home = BTreeMap::from([(path("u/al"), Access::Write)]);
        assert_eq!(governed.differences(&home), ["`u/al/` is gained: write, delete"]);
        let read = BTreeMap::from([(path("u/al"), Access::Read)]);
        let lost = ["`u/al/u_al__*` is lost: write", "`u/al/u_al__*/*` is lost: write, delete"];
        assert_eq!(governed.differences(&read), lost);
        let other = rights(json!([
            {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::other/x/*"]},
            {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::cdm-lake/*"]},
            {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::cdm-lake"]},
        ]))
        .unwrap();
        assert!(other.folders().is_empty());
        assert_eq!(other.differences(&BTreeMap::new()).len(), 3);
    }

    #[test]
    fn what_could_take_something_away_is_not_guessed_at() {
        let deny = json!([{"Effect": "Deny", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::cdm-lake/x"]}]);
        assert!(rights(deny).is_err());
        let not = json!([{"Effect": "Allow", "NotAction": ["s3:GetObject"], "Resource": ["arn:aws:s3:::cdm-lake/x"]}]);
        assert!(rights(not).is_err());
    }
}
