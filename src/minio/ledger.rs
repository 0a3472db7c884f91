//! The ledger: one JSON document a user and a group, and one for the lake, in a bucket of their own.
//!
//! Documents are written by compare-and-swap only, so any number of writers may be at work. They hold no secret.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Incarnation, Minio, MinioError, MinioUser, objects::Precondition};
use crate::{
    identity::Username,
    lake::{Grant, GroupName, LakePath, Principal, Role},
};

/// How far the revision of a document that is written over another one is from those of before: whoever is about to
/// write what an earlier one says is to notice, and of a damaged one nobody knows the revision.
const RESTORED: u64 = 1_000_000;

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
    /// The lake key that was shown once, the derived one, and older ones that are still to be deleted, the newest last.
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
    /// Its secret is derived, and can be shown again; else it is random, and was shown once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub derived: bool,
    /// MinIO has had the derived key. If it is missing there now, the next one is made and never this one again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub made: bool,
    /// When a derived key is to be deleted, once there is a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

impl LakeKey {
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.ends_at.is_some_and(|end| end <= now)
    }
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
    /// Who may have a grant or a lake key that ends. A hint.
    #[serde(default)]
    pub expiring: BTreeSet<Principal>,
}

/// A kind of document: where it is, and how its changes are counted.
pub trait Document: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync {
    type Key: Sync + ?Sized;
    fn path(key: &Self::Key) -> String;
    fn revision(&mut self) -> &mut u64;
    /// What a document at this path cannot say. A hand that edited it could have pointed it at somebody else.
    fn contradiction(&self, path: &str) -> Option<&'static str>;
}

impl Document for UserDoc {
    type Key = Username;
    fn path(key: &Username) -> String {
        format!("{USERS}{key}{JSON}")
    }
    fn revision(&mut self) -> &mut u64 {
        &mut self.revision
    }
    fn contradiction(&self, path: &str) -> Option<&'static str> {
        let generations = [Some(&self.session_user), self.key_user.as_ref()].into_iter().flatten();
        let mut users = generations.map(|generation| &generation.user).chain(&self.retired);
        if Self::path(&self.username) != path {
            return Some("it is about another user");
        }
        users.any(|user| user.username().as_ref() != Some(&self.username)).then_some("it names another's MinIO user")
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
    fn contradiction(&self, path: &str) -> Option<&'static str> {
        (Self::path(&self.group) != path).then_some("it is about another group")
    }
}

impl Document for LakeDoc {
    type Key = ();
    fn path((): &()) -> String {
        LAKE.into()
    }
    fn revision(&mut self) -> &mut u64 {
        &mut self.revision
    }
    fn contradiction(&self, _: &str) -> Option<&'static str> {
        None
    }
}

const USERS: &str = "users/";
const GROUPS: &str = "groups/";
const LAKE: &str = "lake.json";
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

tokio::task_local! {
    static CHANGED: RefCell<BTreeMap<String, Option<u64>>>;
}

/// Does something, and notes which documents it changed: their paths, with the revisions that it wrote. None for one that
/// it buried.
pub async fn noting<T>(deed: impl Future<Output = T>) -> (T, BTreeMap<String, Option<u64>>) {
    let noting = async {
        let done = deed.await;
        (done, CHANGED.with(RefCell::take))
    };
    CHANGED.scope(RefCell::default(), noting).await
}

fn note_changed(path: String, revision: Option<u64>) {
    // Not everything that changes the ledger is noted.
    CHANGED.try_with(|changed| changed.borrow_mut().insert(path, revision)).ok();
}

/// What each document was at one moment: its entity tag by its path.
pub struct Etags(HashMap<String, String>);

impl Etags {
    /// Of the documents that say what a user may reach: their own, and those of the groups that they may be in. The same at two
    /// moments: none of them was changed in between.
    pub fn of(&self, doc: &UserDoc) -> Vec<Option<String>> {
        let groups = doc.groups.iter().map(GroupDoc::path);
        let paths = std::iter::once(UserDoc::path(&doc.username)).chain(groups);
        paths.map(|path| self.0.get(&path).cloned()).collect()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
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
            let body = after.as_ref().map_or(Ok(Vec::new()), |after| to_json(&path, after))?;
            match self.minio.put_object(&self.bucket, &path, body, precondition).await {
                Ok(_) => {
                    let revision = after.clone().map(|mut after| *after.revision());
                    note_changed(path, revision);
                    return Ok(Updated { before, now: after });
                }
                Err(MinioError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(MinioError::Unavailable { what: path, reason: "too many writers at once".into() }.into())
    }

    /// Writes a document over what is there, damaged or not.
    pub async fn replace<D: Document>(&self, key: &D::Key, mut document: D) -> Result<(), MinioError> {
        let path = D::path(key);
        for _ in 0..MAX_ROUNDS {
            let object = self.minio.get_object(&self.bucket, &path).await?;
            let precondition = object.map_or(Precondition::Absent, |object| Precondition::Unchanged(object.etag));
            *document.revision() += RESTORED;
            let revision = *document.revision();
            let body = to_json(&path, &document)?;
            match self.minio.put_object(&self.bucket, &path, body, precondition).await {
                Err(MinioError::Conflict { .. }) => {}
                written => {
                    written?;
                    note_changed(path, Some(revision));
                    return Ok(());
                }
            }
        }
        Err(MinioError::Unavailable { what: path, reason: "too many writers at once".into() })
    }

    /// Where there are documents: users', groups' and the lake's.
    pub async fn paths(&self) -> Result<Vec<String>, MinioError> {
        let mut paths = Vec::new();
        for folder in [USERS, GROUPS, LAKE] {
            // The buried are empty.
            let documents =
                self.minio.list_all(&self.bucket, folder).await?.into_iter().filter(|object| object.size > 0);
            paths.extend(documents.map(|object| object.key));
        }
        Ok(paths)
    }

    /// What every document is now: one request to MinIO for each thousand of them.
    pub async fn etags(&self) -> Result<Etags, MinioError> {
        let objects = self.minio.list_all(&self.bucket, "").await?;
        Ok(Etags(objects.into_iter().map(|object| (object.key, object.etag)).collect()))
    }

    /// Whose document an object is; nothing if it is nobody's.
    pub fn subject(key: &str) -> Option<Principal> {
        let key = key.strip_suffix(JSON)?;
        match (key.strip_prefix(USERS), key.strip_prefix(GROUPS)) {
            (Some(user), _) => user.parse().ok().map(Principal::User),
            (_, Some(group)) => group.parse().ok().map(Principal::Group),
            (None, None) => None,
        }
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
        let last = page.objects.last().and_then(|object| name(&object.key));
        // The buried are empty.
        let names =
            page.objects.iter().filter(|object| object.size > 0).filter_map(|object| name(&object.key)).collect();
        Ok(Names { names, next: last.filter(|_| page.truncated) })
    }

    async fn load<D: Document>(&self, path: &str) -> Result<(Precondition, Option<D>), MinioError> {
        let Some(object) = self.minio.get_object(&self.bucket, path).await? else {
            return Ok((Precondition::Absent, None));
        };
        let unchanged = Precondition::Unchanged(object.etag);
        if object.body.is_empty() {
            return Ok((unchanged, None));
        }
        let damaged = |reason: String| MinioError::Damaged { what: path.to_owned(), reason };
        let document: D = serde_json::from_slice(&object.body).map_err(|error| damaged(error.to_string()))?;
        match document.contradiction(path) {
            Some(reason) => Err(damaged(reason.to_owned())),
            None => Ok((unchanged, Some(document))),
        }
    }
}

fn to_json(path: &str, document: &impl Serialize) -> Result<Vec<u8>, MinioError> {
    let refused = |_| MinioError::Refused { what: path.to_owned(), code: "InvalidDocument".into() };
    serde_json::to_vec(document).map_err(refused)
}
