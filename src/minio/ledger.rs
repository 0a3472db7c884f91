//! The ledger: one JSON document a user and a group, and one for the lake, in a bucket of their own.
//!
//! Documents are written by compare-and-swap only, so any number of writers may be at work. They hold no secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Incarnation, Minio, MinioError, MinioUser, objects::Precondition};
use crate::{
    identity::Username,
    lake::{Grant, GroupName, LakePath, Principal, Role},
};

/// How often a change is tried again because somebody else was faster.
const MAX_ROUNDS: usize = 50;

/// What the ledger says of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserDoc {
    pub username: Username,
    /// This life of the account: a user deleted and made again has another one.
    pub incarnation: Incarnation,
    /// Counts the changes.
    pub revision: u64,
    pub created_at: Timestamp,
    #[serde(default)]
    pub state: AccountState,
    /// The MinIO user of the sessions.
    pub session_user: Generation,
    /// The MinIO user of the lake key, once there is one.
    #[serde(default)]
    pub key_user: Option<Generation>,
    /// MinIO users of earlier generations, still to be deleted.
    #[serde(default)]
    pub retired: Vec<MinioUser>,
    /// The lake key, and older ones that are still to be deleted, the newest last.
    #[serde(default)]
    pub lake_keys: Vec<LakeKey>,
    /// Groups that the user may be in. A hint: membership is what the group's document says.
    #[serde(default)]
    pub groups: BTreeSet<GroupName>,
    /// What was given to the user by name.
    #[serde(default)]
    pub grants: BTreeMap<LakePath, Grant>,
    /// Who may have been given something in the user's home. A hint: a grant is in its grantee's document.
    #[serde(default)]
    pub given: BTreeSet<Principal>,
    /// The deletion that has begun takes the data along: nobody finishes it by themselves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub purging: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountState {
    #[default]
    Enabled,
    Disabled,
    /// A deletion has begun and is to be finished.
    Deleting,
}

/// One generation of a person's MinIO user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    pub user: MinioUser,
    /// MinIO has had it. If it is missing there now, the next one is made and never this one again: it would revive
    /// sessions of before.
    pub made: bool,
}

impl Generation {
    pub fn new(username: &Username) -> Self {
        Self { user: MinioUser::new(username), made: false }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LakeKey {
    pub access_key: String,
    pub created_at: Timestamp,
}

/// What the ledger says of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupDoc {
    pub group: GroupName,
    pub incarnation: Incarnation,
    pub revision: u64,
    pub created_at: Timestamp,
    /// A deletion has begun and is to be finished.
    #[serde(default)]
    pub deleting: bool,
    #[serde(default)]
    pub members: BTreeMap<Username, Role>,
    /// What was given to the group.
    #[serde(default)]
    pub grants: BTreeMap<LakePath, Grant>,
    /// Who may have been given something in the workspace. A hint.
    #[serde(default)]
    pub given: BTreeSet<Principal>,
    /// The deletion that has begun takes the data along: nobody finishes it by themselves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub purging: bool,
}

/// What the ledger says of the paths that are in no home and no workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LakeDoc {
    pub revision: u64,
    /// Who may have been given something that is in no home and no workspace. A hint.
    #[serde(default)]
    pub given: BTreeSet<Principal>,
    /// Who may have a grant that ends. A hint.
    #[serde(default)]
    pub expiring: BTreeSet<Principal>,
}

/// A kind of document: where it is, and how its changes are counted.
pub trait Document: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync {
    type Key: Sync + ?Sized;
    fn path(key: &Self::Key) -> String;
    fn revision(&mut self) -> &mut u64;
}

impl Document for UserDoc {
    type Key = Username;
    fn path(key: &Username) -> String {
        format!("{USERS}{key}{JSON}")
    }
    fn revision(&mut self) -> &mut u64 {
        &mut self.revision
    }
}

impl Document for GroupDoc {
    type Key = GroupName;
    fn path(key: &GroupName) -> String {
        format!("{GROUPS}{}{JSON}", key.key())
    }
    fn revision(&mut self) -> &mut u64 {
        &mut self.revision
    }
}

impl Document for LakeDoc {
    type Key = ();
    fn path((): &()) -> String {
        "lake.json".into()
    }
    fn revision(&mut self) -> &mut u64 {
        &mut self.revision
    }
}

const USERS: &str = "users/";
const GROUPS: &str = "groups/";
const JSON: &str = ".json";

/// What a change made of a document.
pub enum Change<D> {
    Keep,
    Put(D),
    /// Deletes it. An empty object stays behind, so that a deletion is a compare-and-swap as well.
    Bury,
}

/// A document before and after a change.
#[derive(Debug)]
pub struct Updated<D> {
    pub before: Option<D>,
    pub now: Option<D>,
}

/// One page of names, and where the next one begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    pub names: Vec<String>,
    pub next: Option<String>,
}

/// The ledger in its bucket.
#[derive(Clone)]
pub struct Ledger {
    minio: Arc<Minio>,
    bucket: String,
}

impl Ledger {
    pub fn new(minio: Arc<Minio>, bucket: String) -> Self {
        Self { minio, bucket }
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    pub async fn read<D: Document>(&self, key: &D::Key) -> Result<Option<D>, MinioError> {
        Ok(self.load::<D>(&D::path(key)).await?.1)
    }

    /// The same, but a document that cannot be read is told apart from a MinIO that cannot be asked: the inner error says
    /// what is wrong with it.
    pub async fn inspect<D: Document>(&self, key: &D::Key) -> Result<Result<Option<D>, String>, MinioError> {
        Ok(match self.minio.get_object(&self.bucket, &D::path(key)).await? {
            Some(object) => parse(&object.body),
            None => Ok(None),
        })
    }

    /// Changes a document: reads it, asks `change` what becomes of it, and writes that, unless somebody else wrote in
    /// between; then all begins anew. A change to the same is not written.
    ///
    /// `change` must do nothing to a document that has the change already: a write of ours whose answer was lost shows as
    /// somebody else's.
    ///
    /// Gives the document before and now, or the error of `change`, which nothing was written for.
    pub async fn update<D, E>(
        &self,
        key: &D::Key,
        change: impl Fn(Option<D>) -> Result<Change<D>, E>,
    ) -> Result<Updated<D>, E>
    where
        D: Document,
        E: From<MinioError>,
    {
        let path = D::path(key);
        for _ in 0..MAX_ROUNDS {
            let (precondition, before) = self.load::<D>(&path).await?;
            let after = match change(before.clone())? {
                Change::Keep => return Ok(Updated { before: before.clone(), now: before }),
                Change::Bury => None,
                Change::Put(after) if Some(&after) == before.as_ref() => {
                    return Ok(Updated { before, now: Some(after) });
                }
                Change::Put(mut after) => {
                    *after.revision() = before.clone().map_or(0, |mut before| *before.revision()) + 1;
                    Some(after)
                }
            };
            let body = after.as_ref().map_or(Ok(Vec::new()), serde_json::to_vec);
            let body = body.map_err(|_| MinioError::Refused { what: path.clone(), code: "InvalidDocument".into() })?;
            match self.minio.put_object(&self.bucket, &path, body, precondition).await {
                Ok(_) => return Ok(Updated { before, now: after }),
                Err(MinioError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(MinioError::Unavailable { what: path, reason: "too many writers at once".into() }.into())
    }

    /// Names of users, in their order.
    pub async fn users(&self, after: Option<&str>, limit: usize) -> Result<Names, MinioError> {
        self.names(USERS, after, limit).await
    }

    /// Keys of groups ([`GroupName::key`]), in their order.
    pub async fn groups(&self, after: Option<&str>, limit: usize) -> Result<Names, MinioError> {
        self.names(GROUPS, after, limit).await
    }

    /// Names of all users, and keys of all groups.
    pub async fn all_names(&self) -> Result<(Vec<String>, Vec<String>), MinioError> {
        Ok((self.every_name(USERS).await?, self.every_name(GROUPS).await?))
    }

    async fn every_name(&self, folder: &str) -> Result<Vec<String>, MinioError> {
        let mut page = self.names(folder, None, 1000).await?;
        let mut names = page.names;
        while let Some(after) = page.next {
            page = self.names(folder, Some(&after), 1000).await?;
            names.append(&mut page.names);
        }
        Ok(names)
    }

    async fn names(&self, folder: &str, after: Option<&str>, limit: usize) -> Result<Names, MinioError> {
        let after = after.map(|name| format!("{folder}{name}{JSON}"));
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let page = self.minio.list_objects(&self.bucket, folder, after.as_deref(), limit).await?;
        let name = |key: &str| Some(key.strip_prefix(folder)?.strip_suffix(JSON)?.to_owned());
        let last = page.objects.last().and_then(|(key, _)| name(key));
        // The buried are empty.
        let names = page.objects.iter().filter(|(_, size)| *size > 0).filter_map(|(key, _)| name(key)).collect();
        Ok(Names { names, next: last.filter(|_| page.truncated) })
    }

    async fn load<D: Document>(&self, path: &str) -> Result<(Precondition, Option<D>), MinioError> {
        let Some(object) = self.minio.get_object(&self.bucket, path).await? else {
            return Ok((Precondition::Absent, None));
        };
        // Never guessed at: who cannot be read can be neither changed nor served.
        let document = parse(&object.body).map_err(|error| MinioError::Unavailable {
            what: path.to_owned(),
            reason: format!("the ledger document cannot be read: {error}"),
        })?;
        Ok((Precondition::Unchanged(object.etag), document))
    }
}

/// The buried are empty.
fn parse<D: Document>(body: &[u8]) -> Result<Option<D>, String> {
    if body.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(body).map(Some).map_err(|error| error.to_string())
}
