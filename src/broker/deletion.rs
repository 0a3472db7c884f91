//! Deleting users and groups. Each step may be done twice, so a deletion that broke off is finished by asking again.

use super::{Broker, Data, Error, all, require_admin, settle::Secret, unknown_group, unknown_user};
use crate::{
    identity::{Identity, Username},
    lake::{GroupName, LakePath, Principal},
    minio::ledger::{AccountState, Change, Document, GroupDoc, UserDoc},
};

impl Broker {
    /// Deletes a user: sessions and keys, what they were given and what was given of theirs, and at last the account. A user
    /// of that name who comes again is a new one.
    pub async fn delete_user(&self, actor: &Identity, user: &Username, data: Data) -> Result<(), Error> {
        require_admin(actor)?;
        let marked = self.ledger.update::<UserDoc, Error>(user, |doc| match doc {
            Some(doc) => {
                let purging = doc.purging || data == Data::Purge;
                Ok(Change::Put(UserDoc { state: AccountState::Deleting, purging, ..doc }))
            }
            None => Err(unknown_user(user)),
        });
        let Some(doc) = marked.await?.now else { return Err(unknown_user(user)) };
        self.finish_user_deletion(&doc, data).await
    }

    /// Does what a deletion does after it has been noted.
    pub(super) async fn finish_user_deletion(&self, doc: &UserDoc, data: Data) -> Result<(), Error> {
        let user = &doc.username;
        self.settle_user(user, Secret::Trust).await?;
        let leave = doc.groups.iter().map(|group| async move {
            let left = self.ledger.update::<GroupDoc, Error>(group, |doc| match doc {
                Some(mut doc) => {
                    doc.members.remove(user);
                    Ok(Change::Put(doc))
                }
                None => Ok(Change::Keep),
            });
            left.await
        });
        all(leave).await?;
        let home = self.lake.home(user);
        self.take_all_given(&doc.given, &home, Some(user)).await?;
        let is_this = |now: &UserDoc| now.incarnation == doc.incarnation && now.state == AccountState::Deleting;
        self.finish::<UserDoc>(user, is_this, &home, data).await?;
        self.ledger
            .update::<UserDoc, Error>(user, |now| Ok(bury(now.is_some_and(|now| now.incarnation == doc.incarnation))))
            .await?;
        Ok(())
    }

    /// Deletes a group: its members' access, what it was given and what was given of its workspace.
    pub async fn delete_group(&self, actor: &Identity, group: &GroupName, data: Data) -> Result<(), Error> {
        require_admin(actor)?;
        let marked = self.ledger.update::<GroupDoc, Error>(group, |doc| match doc {
            Some(doc) if doc.group == *group => {
                let purging = doc.purging || data == Data::Purge;
                Ok(Change::Put(GroupDoc { deleting: true, purging, ..doc }))
            }
            Some(_) | None => Err(unknown_group(group)),
        });
        let Some(doc) = marked.await?.now else { return Err(unknown_group(group)) };
        self.finish_group_deletion(&doc, data).await
    }

    /// Does what a deletion does after it has been noted.
    pub(super) async fn finish_group_deletion(&self, doc: &GroupDoc, data: Data) -> Result<(), Error> {
        let group = &doc.group;
        self.settle_group(group, None).await?;
        all(doc.members.keys().map(|member| self.settle_user(member, Secret::Trust))).await?;
        let workspace = self.lake.workspace(group);
        self.take_all_given(&doc.given, &workspace, None).await?;
        let is_this = |now: &GroupDoc| now.incarnation == doc.incarnation && now.deleting;
        self.finish::<GroupDoc>(group, is_this, &workspace, data).await?;
        self.ledger
            .update::<GroupDoc, Error>(group, |now| Ok(bury(now.is_some_and(|now| now.incarnation == doc.incarnation))))
            .await?;
        Ok(())
    }

    async fn take_all_given<'a>(
        &self,
        grantees: impl IntoIterator<Item = &'a Principal>,
        folders: &[LakePath],
        but: Option<&Username>,
    ) -> Result<(), Error> {
        let others =
            grantees.into_iter().filter(|grantee| !matches!(grantee, Principal::User(user) if Some(user) == but));
        let taken = others.map(async |grantee| match self.take_away(grantee, folders).await {
            // They are gone, and their grants with them.
            Err(Error::NotFound(_)) => Ok(()),
            taken => taken,
        });
        all(taken).await.map(|_| ())
    }

    /// Deletes the data, as long as this deletion goes on: once another request has finished it, what is there may be of the
    /// next one of that name.
    async fn finish<D: Document>(
        &self,
        key: &D::Key,
        is_this: impl Fn(&D) -> bool,
        folders: &[LakePath],
        data: Data,
    ) -> Result<(), Error> {
        if data == Data::Keep {
            return Ok(());
        }
        let bucket = self.lake.bucket();
        for folder in folders {
            loop {
                let objects = self.minio.some_objects(bucket, folder.as_str()).await?;
                if objects.is_empty() {
                    break;
                }
                if !self.ledger.read::<D>(key).await?.is_some_and(|now| is_this(&now)) {
                    return Ok(());
                }
                self.minio.delete_objects(bucket, &objects).await?;
            }
        }
        Ok(())
    }
}

fn bury<D>(same_life: bool) -> Change<D> {
    if same_life { Change::Bury } else { Change::Keep }
}
