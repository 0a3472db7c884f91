//! Users: made when they first come, shown, disabled and enabled, listed.

use super::{Broker, Error, Standing, all, if_readable, require_admin, require_self, settle::Secret, unknown_user};
use crate::{
    identity::{Identity, Username},
    lake::{Grant, GroupName, LakePath, Principal, Role},
    minio::{
        Incarnation, PREFIX, Status,
        ledger::{AccountState, Change, Generation, UserDoc},
    },
    policy::PolicyDocument,
};

/// A user, as they and administrators see them.
pub struct UserView {
    pub username: Username,
    pub state: AccountState,
    pub home: Vec<LakePath>,
    pub groups: Vec<(GroupName, Role)>,
    pub reaches: Vec<Standing>,
    pub received: Vec<(LakePath, Grant)>,
    pub given: Vec<GivenGrant>,
    /// The policies in force: the user's own, and those of their groups.
    pub policies: Vec<PolicyDocument>,
    pub lake_keys: Vec<String>,
}

/// A grant, seen from whom it was given by.
pub struct GivenGrant {
    pub path: LakePath,
    pub grantee: Principal,
    pub grant: Grant,
}

/// One line of the list of users.
pub struct UserSummary {
    pub username: String,
    /// As MinIO has it; nothing if MinIO has no such user.
    pub status: Option<Status>,
}

pub struct UserPage {
    pub users: Vec<UserSummary>,
    pub next: Option<String>,
}

impl Broker {
    /// The user's document, made with all that belongs to it if there is none.
    pub async fn ensure_user(&self, user: &Username) -> Result<UserDoc, Error> {
        let now = self.now();
        let doc = self.ledger.update::<UserDoc, Error>(user, |doc| match doc {
            Some(doc) if doc.state == AccountState::Deleting => {
                Err(Error::Conflict(format!("the account `{user}` is being deleted: try again later")))
            }
            Some(_) => Ok(Change::Keep),
            None => Ok(Change::Put(UserDoc {
                username: user.clone(),
                incarnation: Incarnation::new(),
                revision: 0,
                created_at: now,
                state: AccountState::Enabled,
                session_user: Generation::new(user),
                key_user: None,
                retired: Vec::new(),
                lake_keys: Vec::new(),
                groups: Default::default(),
                grants: Default::default(),
                given: Default::default(),
                purging: false,
            })),
        });
        match doc.await?.now {
            Some(doc) if doc.session_user.made && doc.retired.is_empty() => Ok(doc),
            Some(_) | None => self.settle_user(user, Secret::Trust).await?.ok_or_else(|| unknown_user(user)),
        }
    }

    /// For the user and administrators.
    pub async fn user(&self, actor: &Identity, user: &Username) -> Result<UserView, Error> {
        require_self(actor, user)?;
        let doc = self.known_user(user).await?;
        let memberships = self.memberships(&doc).await?;
        let home = self.lake.home(user);
        let by_groups = memberships.of.iter().map(|(group, role)| self.group_policy(group, *role));
        let policies = std::iter::once(self.live_policy(&doc)).chain(by_groups);
        Ok(UserView {
            groups: memberships.of.iter().map(|(group, role)| (group.group.clone(), *role)).collect(),
            reaches: self.standing(&doc).await?,
            given: self.given_in(&home, &doc.given).await?,
            policies: policies.flat_map(|policy| policy.documents().to_vec()).collect(),
            received: doc.grants.into_iter().collect(),
            lake_keys: doc.lake_keys.into_iter().map(|key| key.access_key).collect(),
            state: doc.state,
            username: doc.username,
            home,
        })
    }

    /// The grants on anything in these folders, among those that may have one.
    pub(super) async fn given_in<'a>(
        &self,
        folders: &[LakePath],
        grantees: impl IntoIterator<Item = &'a Principal>,
    ) -> Result<Vec<GivenGrant>, Error> {
        let reads = grantees.into_iter().map(async |grantee| {
            let grants = if_readable(self.grants_of(grantee).await)?.flatten();
            let within =
                grants.unwrap_or_default().into_iter().filter(|(path, _)| folders.iter().any(|f| f.covers(path)));
            let given = within.map(|(path, grant)| GivenGrant { path, grantee: grantee.clone(), grant });
            Ok::<_, Error>(given.collect::<Vec<_>>())
        });
        Ok(all(reads).await?.into_iter().flatten().collect())
    }

    /// Disables or enables: at once for sessions and lake keys that are out, too.
    pub async fn set_state(&self, actor: &Identity, user: &Username, state: AccountState) -> Result<(), Error> {
        require_admin(actor)?;
        let changed = self.ledger.update::<UserDoc, Error>(user, |doc| match doc {
            None => Err(unknown_user(user)),
            Some(doc) if doc.state == AccountState::Deleting => {
                Err(Error::Conflict(format!("the account `{user}` is being deleted")))
            }
            Some(doc) => Ok(Change::Put(UserDoc { state, ..doc })),
        });
        changed.await?;
        self.settle_user(user, Secret::Trust).await.map(|_| ())
    }

    /// Puts an example into folders that have none of that name: for the demo lake.
    pub async fn put_example(&self, folders: &[LakePath], file: &str, text: &str) -> Result<(), Error> {
        for folder in folders {
            self.minio.ensure_object(self.lake.bucket(), &format!("{folder}{file}"), text.as_bytes()).await?;
        }
        Ok(())
    }

    /// One page of users in two calls to MinIO, however many there are. For administrators.
    pub async fn users(&self, actor: &Identity, after: Option<&str>, limit: usize) -> Result<UserPage, Error> {
        require_admin(actor)?;
        let (page, at_minio) = tokio::try_join!(self.ledger.users(after, limit), self.minio.users())?;
        let summary = |username: String| {
            let prefix = format!("{PREFIX}{username}-");
            let ours = at_minio.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
            let mut statuses = ours.map(|(_, info)| info.status);
            let first = statuses.next();
            let enabled = first == Some(Status::Enabled) || statuses.any(|status| status == Status::Enabled);
            UserSummary { username, status: if enabled { Some(Status::Enabled) } else { first } }
        };
        Ok(UserPage { users: page.names.into_iter().map(summary).collect(), next: page.next })
    }
}
