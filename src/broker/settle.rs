//! Making MinIO what the ledger says, for one user or one group.
//!
//! A policy's name holds the hash of its content, and the policies of a user or group are swapped in one step: nobody ever
//! has less or more than either the old or the new ones in between, and a late step of an outrun writer fails, because the
//! policies that it would attach are gone.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use futures::future::try_join_all;

use super::{Broker, Error};
use crate::{
    identity::Username,
    lake::{GroupName, Reach, Role},
    minio::{
        GroupInfo, Incarnation, MinioError, MinioGroup, PREFIX, Status, UserInfo,
        ledger::{AccountState, Change, Generation, GroupDoc, UserDoc},
    },
    policy::{LivePolicy, PolicyDocument},
};

/// How often one change may be outrun by others.
const MAX_ROUNDS: usize = 20;

/// What to do about a secret that MinIO may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secret {
    /// It is right, as far as we know.
    Trust,
    /// MinIO refused it: set it anew.
    Reset,
}

/// Whether MinIO was as it should be, or had to be changed and must be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    AsItShouldBe,
    Changed,
}

/// A policy document with its name at MinIO.
struct Named {
    name: String,
    document: PolicyDocument,
}

impl Broker {
    /// Gives the document that MinIO agrees with now; nothing if there is no such user.
    pub(super) async fn settle_user(&self, user: &Username, mut secret: Secret) -> Result<Option<UserDoc>, Error> {
        let _turn = self.turns.wait(user.as_str()).await;
        for _ in 0..MAX_ROUNDS {
            let Some(doc) = self.ledger.read::<UserDoc>(user).await? else { return Ok(None) };
            if self.settle_user_once(&doc, secret).await? == Seen::AsItShouldBe {
                return Ok(Some(doc));
            }
            secret = Secret::Trust;
        }
        Err(outrun(user.as_str()))
    }

    pub(super) async fn settle_group(&self, group: &GroupName) -> Result<Option<GroupDoc>, Error> {
        let _turn = self.turns.wait(&group.key()).await;
        for _ in 0..MAX_ROUNDS {
            let Some(doc) = self.ledger.read::<GroupDoc>(group).await? else { return Ok(None) };
            if self.settle_group_once(&doc).await? == Seen::AsItShouldBe {
                return Ok(Some(doc));
            }
        }
        Err(outrun(group.as_str()))
    }

    /// The groups that the user is a member of, by the groups' own word.
    pub(super) async fn memberships(&self, doc: &UserDoc) -> Result<Vec<(GroupDoc, Role)>, Error> {
        let reads = doc.groups.iter().map(|group| self.ledger.read::<GroupDoc>(group));
        let groups = try_join_all(reads).await?.into_iter().flatten().filter(|group| !group.deleting);
        Ok(groups.filter_map(|group| group.members.get(&doc.username).copied().map(|role| (group, role))).collect())
    }

    /// The policies of a user by name.
    pub(super) fn live_policy(&self, doc: &UserDoc) -> LivePolicy {
        let home = self.lake.home(&doc.username);
        LivePolicy::of_user(&self.templates, self.lake.bucket(), &home, reaches(&doc.grants))
    }

    async fn settle_user_once(&self, doc: &UserDoc, secret: Secret) -> Result<Seen, Error> {
        let status = match doc.state {
            AccountState::Enabled => Status::Enabled,
            AccountState::Disabled => Status::Disabled,
            AccountState::Deleting => return Ok(Seen::AsItShouldBe),
        };
        let groups: BTreeSet<String> = self
            .memberships(doc)
            .await?
            .iter()
            .map(|(group, role)| MinioGroup::new(&group.group, &group.incarnation, *role).as_str().to_owned())
            .collect();
        let base = format!("{PREFIX}{}-{}", doc.username, doc.incarnation.as_str());
        let policies = named(&base, &self.live_policy(doc));
        let mut seen = Seen::AsItShouldBe;
        let mut attached = BTreeSet::new();
        for generation in [Some(&doc.session_user), doc.key_user.as_ref()].into_iter().flatten() {
            let info = match self.minio.user(&generation.user).await {
                Ok(info) => Some(info),
                Err(MinioError::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            match info {
                None if generation.made => {
                    self.next_generation(doc, generation).await?;
                    return Ok(Seen::Changed);
                }
                Some(_) if secret == Secret::Trust => {}
                None | Some(_) => {
                    self.minio.put_user(&generation.user, status).await?;
                    seen = Seen::Changed;
                }
            }
            if !generation.made {
                self.folders(&self.lake.home(&doc.username)).await?;
            }
            let info = info.unwrap_or(UserInfo { status, ..UserInfo::default() });
            let before = names(&info.policy_name);
            if self.put_missing(&policies, &before).await? == Seen::Changed {
                seen = Seen::Changed;
                let wanted = list(&policies);
                match self.minio.attach_to_user(&generation.user, &wanted).await {
                    Ok(()) => attached.extend(before),
                    // Another writer was faster, and has taken the policies away again.
                    Err(MinioError::NotFound { .. }) => return Ok(Seen::Changed),
                    Err(error) => return Err(error.into()),
                }
            }
            let member_of: BTreeSet<String> =
                info.member_of.into_iter().filter(|group| group.starts_with(PREFIX)).collect();
            for group in member_of.difference(&groups) {
                seen = Seen::Changed;
                ignore_missing(self.minio.remove_members(group, &[generation.user.as_str()]).await)?;
            }
            for group in groups.difference(&member_of) {
                seen = Seen::Changed;
                self.minio.add_members(group, &[&generation.user]).await?;
            }
            if info.status != status {
                seen = Seen::Changed;
                self.minio.set_user_status(&generation.user, status).await?;
            }
            if !generation.made {
                seen = Seen::Changed;
                self.mark_made(doc, generation).await?;
            }
        }
        if !doc.retired.is_empty() {
            seen = Seen::Changed;
            try_join_all(doc.retired.iter().map(|user| self.minio.remove_user(user))).await?;
            self.change_user(doc, |now| now.retired.retain(|user| !doc.retired.contains(user))).await?;
        }
        self.remove_stale(&base, &policies, &attached).await?;
        Ok(seen)
    }

    async fn settle_group_once(&self, doc: &GroupDoc) -> Result<Seen, Error> {
        if doc.deleting {
            return Ok(Seen::AsItShouldBe);
        }
        let workspace = self.lake.workspace(&doc.group);
        let (templates, bucket) = (&self.templates, self.lake.bucket());
        let kinds = [
            (Role::Reader, LivePolicy::of_readers(templates, bucket, &workspace, reaches(&doc.grants))),
            (Role::Writer, LivePolicy::of_writers(templates, bucket, &workspace, reaches(&doc.grants))),
        ];
        let mut seen = Seen::AsItShouldBe;
        for (role, policy) in kinds {
            let group = MinioGroup::new(&doc.group, &doc.incarnation, role);
            let policies = named(group.as_str(), &policy);
            let info = match self.minio.group(&group).await {
                Ok(info) => info,
                Err(MinioError::NotFound { .. }) => {
                    self.folders(&workspace).await?;
                    self.minio.add_members(group.as_str(), &[]).await?;
                    GroupInfo::default()
                }
                Err(error) => return Err(error.into()),
            };
            let before = names(&info.policy);
            if self.put_missing(&policies, &before).await? == Seen::Changed {
                seen = Seen::Changed;
                match self.minio.attach_to_group(&group, &list(&policies)).await {
                    Ok(()) => self.remove_stale(group.as_str(), &policies, &before).await?,
                    Err(MinioError::NotFound { .. }) => return Ok(Seen::Changed),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(seen)
    }

    /// Puts the policies that are not attached yet. `AsItShouldBe`: exactly these are attached.
    async fn put_missing(&self, policies: &[Named], attached: &BTreeSet<String>) -> Result<Seen, Error> {
        if policies.len() == attached.len() && policies.iter().all(|policy| attached.contains(&policy.name)) {
            return Ok(Seen::AsItShouldBe);
        }
        for policy in policies.iter().filter(|policy| !attached.contains(&policy.name)) {
            self.minio.put_policy(&policy.name, &policy.document.to_json()).await?;
        }
        Ok(Seen::Changed)
    }

    /// Removes what was attached before and is not wanted any more: ours only, and not what somebody has attached again.
    async fn remove_stale(&self, base: &str, wanted: &[Named], before: &BTreeSet<String>) -> Result<(), Error> {
        let is_stale = |name: &&String| name.starts_with(base) && wanted.iter().all(|policy| policy.name != **name);
        for name in before.iter().filter(is_stale) {
            match self.minio.remove_policy(name).await {
                Ok(()) | Err(MinioError::InUse { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn next_generation(&self, doc: &UserDoc, lost: &Generation) -> Result<(), Error> {
        let next = Generation::new(&doc.username);
        self.change_user(doc, |now| {
            for generation in [Some(&mut now.session_user), now.key_user.as_mut()].into_iter().flatten() {
                if generation == lost {
                    *generation = next.clone();
                }
            }
        })
        .await
    }

    async fn mark_made(&self, doc: &UserDoc, made: &Generation) -> Result<(), Error> {
        self.change_user(doc, |now| {
            for generation in [Some(&mut now.session_user), now.key_user.as_mut()].into_iter().flatten() {
                generation.made |= generation.user == made.user;
            }
        })
        .await
    }

    /// Changes the document of the same life of a user, if there still is one.
    pub(super) async fn change_user(&self, doc: &UserDoc, change: impl Fn(&mut UserDoc)) -> Result<(), Error> {
        self.ledger
            .update::<UserDoc, Error>(&doc.username, |now| match now {
                Some(mut now) if now.incarnation == doc.incarnation => {
                    change(&mut now);
                    Ok(Change::Put(now))
                }
                Some(_) | None => Ok(Change::Keep),
            })
            .await
            .map(|_| ())
    }

    pub(super) async fn folders(&self, folders: &[crate::lake::LakePath]) -> Result<(), Error> {
        let bucket = self.lake.bucket();
        try_join_all(folders.iter().map(|folder| self.minio.ensure_folder(bucket, folder.as_str()))).await?;
        Ok(())
    }

    /// Removes the MinIO groups of a group, and their policies.
    pub(super) async fn remove_minio_groups(&self, group: &GroupName, incarnation: &Incarnation) -> Result<(), Error> {
        for role in [Role::Reader, Role::Writer] {
            let group = MinioGroup::new(group, incarnation, role);
            let info = match self.minio.group(&group).await {
                Ok(info) => info,
                Err(MinioError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let members: Vec<&str> = info.members.iter().map(String::as_str).collect();
            self.minio.remove_members(group.as_str(), &members).await?;
            self.minio.remove_group(&group).await?;
            self.remove_stale(group.as_str(), &[], &names(&info.policy)).await?;
        }
        Ok(())
    }
}

pub(super) fn reaches(grants: &std::collections::BTreeMap<crate::lake::LakePath, crate::lake::Grant>) -> Vec<Reach> {
    let reach = |(path, grant): (&crate::lake::LakePath, &crate::lake::Grant)| Reach {
        path: path.clone(),
        access: grant.access,
        until: grant.expires_at,
    };
    grants.iter().map(reach).collect()
}

fn named(base: &str, policy: &LivePolicy) -> Vec<Named> {
    let name = |document: &PolicyDocument| {
        let hash = digest::digest(&digest::SHA256, document.to_json().as_bytes());
        let hash: String = hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Named { name: format!("{base}-{hash}"), document: document.clone() }
    };
    policy.documents().iter().map(name).collect()
}

fn list(policies: &[Named]) -> Vec<String> {
    policies.iter().map(|policy| policy.name.clone()).collect()
}

/// MinIO's list of names with commas between them.
pub(super) fn names(list: &str) -> BTreeSet<String> {
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn ignore_missing(answer: Result<(), MinioError>) -> Result<(), MinioError> {
    match answer {
        Err(MinioError::NotFound { .. }) => Ok(()),
        answer => answer,
    }
}

fn outrun(what: &str) -> Error {
    let reason = "other changes were faster each time".to_owned();
    Error::Minio(MinioError::Unavailable { what: what.to_owned(), reason })
}
