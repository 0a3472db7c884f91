//! The ledger as lines of JSON, and back.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Broker, Error, all, if_readable, settle::Secret, sharing::OwnerLife};
use crate::{
    identity::Username,
    lake::{GroupName, Owner, Principal},
    minio::ledger::{Document, GroupDoc, LakeDoc, UserDoc},
};

/// One document of the ledger. It holds no secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Where it is in the ledger's bucket.
    pub path: String,
    pub document: Value,
}

/// The whole ledger.
#[derive(Debug, Default)]
pub struct Export {
    pub records: Vec<Record>,
    /// Documents that are damaged, and are not among the records.
    pub damaged: Vec<String>,
}

/// What restoring a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored {
    Unchanged,
    /// There is no such document now.
    New,
    /// It says something else now.
    Replaced,
    /// It is damaged now.
    Mended,
}

/// Whether something is done, or only said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    Dry,
    Real,
}

/// A record that was understood.
enum Parsed {
    User(Box<UserDoc>),
    Group(GroupDoc),
    Lake(LakeDoc),
}

impl Broker {
    /// All documents of the ledger. Changes that go on meanwhile are in it or not, each as a whole.
    pub async fn export_ledger(&self) -> Result<Export, Error> {
        let mut export = Export::default();
        for path in self.ledger.paths().await? {
            let document = match Parsed::kind_of(&path) {
                Some(Principal::User(user)) => if_readable(self.ledger.read::<UserDoc>(&user).await)?.map(to_value),
                Some(Principal::Group(group)) => if_readable(self.ledger.read::<GroupDoc>(&group).await)?.map(to_value),
                None => if_readable(self.ledger.read::<LakeDoc>(&()).await)?.map(to_value),
            };
            match document {
                None => export.damaged.push(path),
                Some(Value::Null) => {}
                Some(document) => export.records.push(Record { path, document }),
            }
        }
        Ok(export)
    }

    /// Makes the ledger say what the records say, and MinIO too. Documents without a record stay as they are. An error
    /// in a record: nothing is done.
    ///
    /// - What comes back is what people wished: grants, members, who is disabled. Keys and MinIO users stay those of now.
    /// - Hints ([`UserDoc::given`] and the like) are made complete from what the whole ledger says then.
    pub async fn restore_ledger(&self, records: &[Record], run: Run) -> Result<Vec<(String, Restored)>, Error> {
        let parsed = records.iter().map(Parsed::new).collect::<Result<Vec<_>, _>>()?;
        let mut restored = Vec::new();
        for (record, parsed) in records.iter().zip(&parsed) {
            let what = match parsed {
                Parsed::User(doc) => self.put_back(&doc.username, run, |now| user(doc, now)).await?,
                Parsed::Group(doc) => self.put_back(&doc.group, run, |now| group(doc, now)).await?,
                Parsed::Lake(doc) => self.put_back(&(), run, |now| lake(doc, now)).await?,
            };
            restored.push((record.path.clone(), what));
        }
        if run == Run::Real {
            self.complete_hints().await?;
            self.settle_restored(&parsed).await?;
        }
        Ok(restored)
    }

    async fn settle_restored(&self, parsed: &[Parsed]) -> Result<(), Error> {
        let (mut users, mut groups) = (BTreeSet::new(), Vec::new());
        for parsed in parsed {
            match parsed {
                Parsed::User(doc) => {
                    users.insert(doc.username.clone());
                }
                Parsed::Group(doc) => groups.push(&doc.group),
                Parsed::Lake(_) => {}
            }
        }
        // Membership is set where its members are: anybody may be one, or have been.
        if !groups.is_empty() {
            users.extend(self.everybody().await?.iter().filter_map(Principal::user).cloned());
        }
        all(groups.into_iter().map(|group| self.settle_group(group, None))).await?;
        all(users.iter().map(async |user| if_readable(self.settle_user(user, Secret::Trust).await))).await?;
        Ok(())
    }

    async fn put_back<D: Document>(
        &self,
        key: &D::Key,
        run: Run,
        document: impl Fn(Option<&D>) -> D,
    ) -> Result<Restored, Error> {
        let (what, after) = match if_readable(self.ledger.read::<D>(key).await)? {
            None => (Restored::Mended, document(None)),
            Some(None) => (Restored::New, document(None)),
            Some(Some(mut now)) => {
                let mut after = document(Some(&now));
                *after.revision() = *now.revision();
                (if after == now { Restored::Unchanged } else { Restored::Replaced }, after)
            }
        };
        if run == Run::Real && what != Restored::Unchanged {
            self.ledger.replace(key, after).await?;
        }
        Ok(what)
    }

    /// Notes again who may have something of whom, and who may be in which group.
    async fn complete_hints(&self) -> Result<(), Error> {
        // It holds nothing but hints.
        if if_readable(self.ledger.read::<LakeDoc>(&()).await)?.is_none() {
            self.ledger.replace(&(), LakeDoc::default()).await?;
        }
        let everybody = self.everybody().await?;
        let mut expiring = BTreeSet::new();
        for principal in &everybody {
            let (grants, keys) = match principal {
                Principal::User(user) => if_readable(self.ledger.read::<UserDoc>(user).await)?
                    .flatten()
                    .map(|doc| (doc.grants, doc.lake_keys)),
                Principal::Group(group) => if_readable(self.ledger.read::<GroupDoc>(group).await)?
                    .flatten()
                    .map(|doc| (doc.grants, Vec::new())),
            }
            .unwrap_or_default();
            if grants.values().any(|grant| grant.expires_at.is_some()) || keys.iter().any(|key| key.ends_at.is_some()) {
                expiring.insert(principal.clone());
            }
            for path in grants.keys() {
                let life = match self.lake.owner(path) {
                    Owner::User(user) => if_readable(self.ledger.read::<UserDoc>(&user).await)?
                        .flatten()
                        .map(|doc| OwnerLife::User(doc.username, doc.incarnation)),
                    Owner::Group(group) => if_readable(self.ledger.read::<GroupDoc>(&group).await)?
                        .flatten()
                        .map(|doc| OwnerLife::Group(doc.group, doc.incarnation)),
                    Owner::Lake => Some(OwnerLife::Lake),
                };
                if let Some(life) = life {
                    self.note_given(&life, BTreeSet::from([principal.clone()])).await?;
                }
            }
        }
        if !expiring.is_empty() {
            self.note_in_lake(|doc| doc.expiring.extend(expiring.iter().cloned())).await?;
        }
        for group in everybody.iter().filter_map(Principal::group) {
            let doc = if_readable(self.ledger.read::<GroupDoc>(group).await)?.flatten();
            let Some(doc) = doc else { continue };
            let noted = all(doc.members.keys().map(async |user| match self.note_membership(user, &doc.group).await {
                // A member who is not there is none.
                Err(Error::NotFound(_) | Error::Damaged(_)) => Ok(()),
                noted => noted.map(|_| ()),
            }));
            noted.await?;
        }
        Ok(())
    }
}

/// What a user's record says of people's wishes. Keys and MinIO users are those of now: earlier ones would bring revoked
/// sessions back to life.
fn user(record: &UserDoc, now: Option<&UserDoc>) -> UserDoc {
    let mut doc = record.clone();
    let Some(now) = now.cloned() else {
        // Nobody knows what became of them: settling replaces what MinIO has not.
        for generation in [Some(&mut doc.session_user), doc.key_user.as_mut()].into_iter().flatten() {
            generation.made = true;
        }
        for key in &mut doc.lake_keys {
            key.made = true;
        }
        return doc;
    };
    doc.groups.extend(now.groups.iter().cloned());
    doc.given.extend(now.given.iter().cloned());
    UserDoc { state: doc.state, groups: doc.groups, grants: doc.grants, given: doc.given, ..now }
}

fn group(record: &GroupDoc, now: Option<&GroupDoc>) -> GroupDoc {
    let mut doc = record.clone();
    let Some(now) = now.cloned() else { return doc };
    doc.given.extend(now.given.iter().cloned());
    GroupDoc { members: doc.members, grants: doc.grants, given: doc.given, ..now }
}

fn lake(record: &LakeDoc, now: Option<&LakeDoc>) -> LakeDoc {
    let mut doc = record.clone();
    if let Some(now) = now {
        doc.given.extend(now.given.iter().cloned());
        doc.expiring.extend(now.expiring.iter().cloned());
    }
    doc
}

impl Parsed {
    fn new(record: &Record) -> Result<Self, Error> {
        let invalid = |reason: String| Error::Invalid(format!("the record of `{}`: {reason}", record.path));
        fn parse<D: Document>(record: &Record) -> Result<D, String> {
            let document: D = serde_json::from_value(record.document.clone()).map_err(|error| error.to_string())?;
            document.contradiction(&record.path).map_or(Ok(document), |reason| Err(reason.to_owned()))
        }
        match Self::kind_of(&record.path) {
            Some(Principal::User(_)) => parse(record).map(|doc| Self::User(Box::new(doc))),
            Some(Principal::Group(_)) => parse(record).map(Self::Group),
            None if record.path == LakeDoc::path(&()) => parse(record).map(Self::Lake),
            None => Err("the ledger has no such document".into()),
        }
        .map_err(invalid)
    }

    /// Whose document is at a path; nothing if it is nobody's.
    fn kind_of(path: &str) -> Option<Principal> {
        let (folder, name) = path.strip_suffix(".json")?.split_once('/')?;
        match folder {
            "users" => name.parse::<Username>().ok().map(Principal::User),
            "groups" => name.parse::<GroupName>().ok().map(Principal::Group),
            _ => None,
        }
    }
}

fn to_value(document: Option<impl Serialize>) -> Value {
    document.and_then(|document| serde_json::to_value(document).ok()).unwrap_or_default()
}
