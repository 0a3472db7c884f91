//! Making MinIO what the ledger says, for one user or one group.
//!
//! A policy's name holds the hash of its content, and the policies of a user or group are swapped in one step: nobody ever
//! has less or more than either the old or the new ones in between. A writer that was outrun attaches nothing: it looks at
//! the ledger again before it does, and who changed the ledger in between deletes the policies that it would attach.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    Broker, Error, all, if_readable,
    policies::{Policies, list, names},
};
use crate::{
    identity::Username,
    lake::{GroupName, LakePath, Role},
    minio::{
        Incarnation, MinioError, MinioGroup, MinioUser, PREFIX, Status, UserInfo,
        ledger::{AccountState, Change, Generation, GroupDoc, UserDoc},
    },
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

/// What a MinIO user should have.
pub(super) struct Wanted<'a> {
    pub status: Status,
    pub groups: BTreeSet<String>,
    /// Membership of these stays as it is.
    pub unreadable: Vec<GroupName>,
    pub policies: &'a Policies,
}

impl<'a> Wanted<'a> {
    /// Nothing, if the account is being deleted. The groups are those that the user may be in.
    pub fn of<G: Borrow<GroupDoc>>(
        doc: &UserDoc,
        groups: impl IntoIterator<Item = G>,
        policies: &'a Policies,
    ) -> Option<Self> {
        let status = match doc.state {
            AccountState::Enabled => Status::Enabled,
            AccountState::Disabled => Status::Disabled,
            AccountState::Deleting => return None,
        };
        let group = |(group, role): (G, Role)| {
            let group: &GroupDoc = group.borrow();
            MinioGroup::new(&group.group, &group.incarnation, role).as_str().to_owned()
        };
        let groups = roles(&doc.username, groups).map(group).collect();
        Some(Self { status, groups, unreadable: Vec::new(), policies })
    }
}

/// What a user is in which of these groups, by the groups' own word.
fn roles<G: Borrow<GroupDoc>>(user: &Username, groups: impl IntoIterator<Item = G>) -> impl Iterator<Item = (G, Role)> {
    groups.into_iter().filter_map(|group| {
        let doc = group.borrow();
        let role = doc.members.get(user).copied().filter(|_| !doc.deleting)?;
        Some((group, role))
    })
}

/// The groups of a user.
#[derive(Default)]
pub(super) struct Memberships {
    pub of: Vec<(GroupDoc, Role)>,
    /// Whose documents are damaged: nobody can say whether the user is a member.
    pub unreadable: Vec<GroupName>,
}

impl Broker {
    /// Makes MinIO what the user's document says, and gives that document; nothing if there is no such user.
    pub(super) async fn settle_user(&self, user: &Username, secret: Secret) -> Result<Option<UserDoc>, Error> {
        self.settle_user_after(user, None, secret).await
    }

    /// The same after a change to the document, which was `before`.
    pub(super) async fn settle_user_after(
        &self,
        user: &Username,
        before: Option<&UserDoc>,
        mut secret: Secret,
    ) -> Result<Option<UserDoc>, Error> {
        let _turn = self.turns.wait(user.as_str()).await;
        let mut stale: BTreeSet<String> =
            before.map(|doc| self.user_policies(doc).into_keys().collect()).unwrap_or_default();
        let mut looked_again = false;
        for _ in 0..MAX_ROUNDS {
            let Some(doc) = self.ledger.read::<UserDoc>(user).await? else {
                self.remove_policies(&stale, &Policies::new()).await?;
                return Ok(None);
            };
            let mut policies = self.user_policies(&doc);
            // Should we be outrun after we have put them.
            stale.extend(policies.keys().cloned());
            if doc.state == AccountState::Deleting {
                policies.clear();
            }
            let seen = match self.settle_user_once(&doc, &policies, secret, &mut stale).await {
                // Somebody else was faster, and has taken away what we were about to use.
                Err(Error::Minio(MinioError::NotFound { .. })) => Seen::Changed,
                seen => seen?,
            };
            secret = Secret::Trust;
            if seen == Seen::AsItShouldBe && (self.remove_policies(&stale, &policies).await? || looked_again) {
                self.snapshots.forget(user).await;
                return Ok(Some(doc));
            }
            looked_again = seen == Seen::AsItShouldBe;
        }
        Err(outrun(user.as_str()))
    }

    /// Makes MinIO what the group's document says, which was `before`, if it was changed.
    pub(super) async fn settle_group(&self, group: &GroupName, before: Option<&GroupDoc>) -> Result<(), Error> {
        let _turn = self.turns.wait(&group.key()).await;
        let policies = |doc: &GroupDoc| self.group_policies(doc).into_iter().flat_map(|(_, policies)| policies);
        let mut stale: BTreeSet<String> = before.into_iter().flat_map(policies).map(|(name, _)| name).collect();
        let mut looked_again = false;
        for _ in 0..MAX_ROUNDS {
            let Some(doc) = self.ledger.read::<GroupDoc>(group).await? else {
                self.remove_policies(&stale, &Policies::new()).await?;
                return Ok(());
            };
            let mut wanted: Policies = policies(&doc).collect();
            stale.extend(wanted.keys().cloned());
            if doc.deleting {
                wanted.clear();
            }
            let seen = match self.settle_group_once(&doc, &mut stale).await {
                Err(Error::Minio(MinioError::NotFound { .. })) => Seen::Changed,
                seen => seen?,
            };
            if seen == Seen::AsItShouldBe && (self.remove_policies(&stale, &wanted).await? || looked_again) {
                self.snapshots.forget_members(group).await;
                return Ok(());
            }
            looked_again = seen == Seen::AsItShouldBe;
        }
        Err(outrun(group.as_str()))
    }

    /// The groups that the user is a member of, by the groups' own word.
    pub(super) async fn memberships(&self, doc: &UserDoc) -> Result<Memberships, Error> {
        let (groups, unreadable) = self.hinted_groups(doc).await?;
        Ok(Memberships { of: roles(&doc.username, groups).collect(), unreadable })
    }

    /// The groups that the user may be in, and those of which nobody can say it.
    async fn hinted_groups(&self, doc: &UserDoc) -> Result<(Vec<GroupDoc>, Vec<GroupName>), Error> {
        // Two spellings of one name are one group.
        let hinted: BTreeMap<String, &GroupName> = doc.groups.iter().map(|group| (group.key(), group)).collect();
        let read = async |group| if_readable(self.ledger.read::<GroupDoc>(group).await);
        let docs = all(hinted.values().map(|group| read(group))).await?;
        let unreadable = hinted.values().zip(&docs).filter(|(_, doc)| doc.is_none()).map(|(group, _)| (*group).clone());
        let unreadable = unreadable.collect();
        Ok((docs.into_iter().flatten().flatten().collect(), unreadable))
    }

    async fn settle_user_once(
        &self,
        doc: &UserDoc,
        policies: &Policies,
        secret: Secret,
        stale: &mut BTreeSet<String>,
    ) -> Result<Seen, Error> {
        // First of all: these are to lose what they have.
        let mut seen = self.remove_retired(doc, stale).await?;
        let generations: Vec<&Generation> =
            [Some(&doc.session_user), doc.key_user.as_ref()].into_iter().flatten().collect();
        let users: Vec<&MinioUser> = generations.iter().map(|generation| &generation.user).collect();
        if doc.state == AccountState::Deleting {
            self.remove_minio_users(&users, stale).await?;
            return Ok(seen);
        }
        // Before the groups are read: who is taken out of one in between is not added again.
        let infos = all(users.into_iter().map(|user| self.minio.user(user))).await?;
        let (groups, unreadable) = self.hinted_groups(doc).await?;
        let Some(wanted) = Wanted::of(doc, groups, policies) else { return Ok(seen) };
        let wanted = Wanted { unreadable, ..wanted };
        for (generation, info) in generations.into_iter().zip(infos) {
            if self.settle_generation(doc, generation, info, &wanted, secret, stale).await? == Seen::Changed {
                seen = Seen::Changed;
            }
        }
        Ok(seen)
    }

    async fn settle_generation(
        &self,
        doc: &UserDoc,
        generation: &Generation,
        info: Option<UserInfo>,
        wanted: &Wanted<'_>,
        secret: Secret,
        stale: &mut BTreeSet<String>,
    ) -> Result<Seen, Error> {
        let user = &generation.user;
        let mut seen = Seen::AsItShouldBe;
        let mut info = match info {
            Some(info) => {
                if secret == Secret::Reset && !self.put_user(doc, user, info.status).await? {
                    return Ok(Seen::Changed);
                }
                info
            }
            None if generation.made => {
                self.next_generation(doc, generation).await?;
                return Ok(Seen::Changed);
            }
            None => {
                if !self.put_user(doc, user, wanted.status).await? {
                    return Ok(Seen::Changed);
                }
                seen = Seen::Changed;
                UserInfo { status: wanted.status, ..Default::default() }
            }
        };
        if !generation.made {
            self.folders(&self.lake.home(&doc.username)).await?;
        }
        let attached = names(&info.policy_name);
        // Before anything new is attached. To who is disabled nothing can be: it is when they are enabled.
        if info.status == Status::Enabled && wanted.status == Status::Disabled {
            seen = Seen::Changed;
            self.minio.set_user_status(user, Status::Disabled).await?;
            info.status = Status::Disabled;
        }
        let enabling = info.status == Status::Disabled && wanted.status == Status::Enabled;
        if enabling || info.status == Status::Enabled && !attached.iter().eq(wanted.policies.keys()) {
            seen = Seen::Changed;
            stale.extend(attached.iter().cloned());
            if enabling {
                self.empty_policies(doc, &attached, wanted.policies).await?;
            }
            // Whoever outruns us may have looked for them before they were there.
            stale.extend(wanted.policies.keys().cloned());
            let missing = wanted.policies.iter().filter(|(name, _)| enabling || !attached.contains(*name));
            self.put_policies(missing).await?;
            if self.ledger.read::<UserDoc>(&doc.username).await?.is_none_or(|now| now.revision != doc.revision) {
                return Ok(Seen::Changed);
            }
            if enabling {
                self.minio.set_user_status(user, Status::Enabled).await?;
            }
            self.minio.attach_to_user(user, &list(wanted.policies)).await?;
        }
        let member_of: BTreeSet<String> =
            info.member_of.into_iter().filter(|group| group.starts_with(PREFIX)).collect();
        let unreadable: BTreeSet<String> = wanted.unreadable.iter().map(GroupName::key).collect();
        let may_stay = |name: &str| {
            MinioGroup::from(name.to_owned()).group().is_some_and(|group| unreadable.contains(&group.key()))
        };
        for group in member_of.difference(&wanted.groups).filter(|group| !may_stay(group)) {
            seen = Seen::Changed;
            self.minio.remove_members(group, &[user.as_str()]).await?;
        }
        for group in wanted.groups.difference(&member_of) {
            seen = Seen::Changed;
            self.minio.add_members(group, &[user]).await?;
        }
        if !generation.made {
            seen = Seen::Changed;
            self.mark_made(doc, generation).await?;
        }
        Ok(seen)
    }

    async fn settle_group_once(&self, doc: &GroupDoc, stale: &mut BTreeSet<String>) -> Result<Seen, Error> {
        if doc.deleting {
            self.remove_minio_groups(&doc.group, &doc.incarnation, stale).await?;
            return Ok(Seen::AsItShouldBe);
        }
        let mut seen = Seen::AsItShouldBe;
        for (group, policies) in self.group_policies(doc) {
            let info = match self.minio.group(&group).await? {
                Some(info) => info,
                None => {
                    self.folders(&self.lake.workspace(&doc.group)).await?;
                    self.minio.add_members(group.as_str(), &[]).await?;
                    let now = self.ledger.read::<GroupDoc>(&doc.group).await?;
                    if now.is_none_or(|now| now.deleting || now.incarnation != doc.incarnation) {
                        self.remove_minio_groups(&doc.group, &doc.incarnation, stale).await?;
                        return Ok(Seen::Changed);
                    }
                    Default::default()
                }
            };
            // Of a disabled group, MinIO does not say what is attached.
            let attached = names(&info.policy);
            if info.status == Status::Enabled && attached.iter().eq(policies.keys()) {
                continue;
            }
            seen = Seen::Changed;
            stale.extend(attached.iter().chain(policies.keys()).cloned());
            self.put_policies(policies.iter().filter(|(name, _)| !attached.contains(*name))).await?;
            if self.ledger.read::<GroupDoc>(&doc.group).await?.is_none_or(|now| now.revision != doc.revision) {
                return Ok(Seen::Changed);
            }
            self.minio.attach_to_group(&group, &list(&policies)).await?;
            if info.status == Status::Disabled {
                self.minio.set_group_status(&group, Status::Enabled).await?;
            }
        }
        Ok(seen)
    }

    /// Puts a MinIO user with its derived secret. `false`: it is no generation of the user's any more, and is gone again.
    async fn put_user(&self, doc: &UserDoc, user: &MinioUser, status: Status) -> Result<bool, Error> {
        self.minio.put_user(user, status).await?;
        let now = self.ledger.read::<UserDoc>(&doc.username).await?;
        let is_theirs = now.is_some_and(|now| {
            now.state != AccountState::Deleting
                && (now.session_user.user == *user || now.key_user.is_some_and(|generation| generation.user == *user))
        });
        if !is_theirs {
            self.minio.remove_user(user).await?;
        }
        Ok(is_theirs)
    }

    async fn remove_retired(&self, doc: &UserDoc, stale: &mut BTreeSet<String>) -> Result<Seen, Error> {
        if doc.retired.is_empty() {
            return Ok(Seen::AsItShouldBe);
        }
        self.remove_minio_users(&doc.retired.iter().collect::<Vec<_>>(), stale).await?;
        self.change_user(doc, |now| now.retired.retain(|user| !doc.retired.contains(user))).await?;
        Ok(Seen::Changed)
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

    pub(super) async fn folders(&self, folders: &[LakePath]) -> Result<(), Error> {
        let bucket = self.lake.bucket();
        all(folders.iter().map(|folder| self.minio.ensure_folder(bucket, folder.as_str()))).await?;
        Ok(())
    }

    /// Takes MinIO users away, with their sessions and keys. Their policies are stale then.
    async fn remove_minio_users(&self, users: &[&MinioUser], stale: &mut BTreeSet<String>) -> Result<(), Error> {
        for user in users {
            let Some(info) = self.minio.user(user).await? else { continue };
            stale.extend(names(&info.policy_name));
            self.minio.remove_user(user).await?;
        }
        Ok(())
    }

    /// Takes the MinIO groups of a group away. Their policies are stale then.
    async fn remove_minio_groups(
        &self,
        group: &GroupName,
        incarnation: &Incarnation,
        stale: &mut BTreeSet<String>,
    ) -> Result<(), Error> {
        for role in [Role::Reader, Role::Writer] {
            let group = MinioGroup::new(group, incarnation, role);
            let Some(info) = self.minio.group(&group).await? else { continue };
            stale.extend(names(&info.policy));
            let members: Vec<&str> = info.members.iter().map(String::as_str).collect();
            self.minio.remove_members(group.as_str(), &members).await?;
            self.minio.remove_group(&group).await?;
        }
        Ok(())
    }
}

fn outrun(what: &str) -> Error {
    let reason = "other changes were faster each time".to_owned();
    Error::Minio(MinioError::Unavailable { what: what.to_owned(), reason })
}
