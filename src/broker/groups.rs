//! Groups: who is in them, and what they have.

use std::collections::BTreeMap;

use super::{Broker, Error, all, if_readable, require_admin, settle::Secret, unknown_group, unknown_user};
use crate::{
    identity::{Identity, Username},
    lake::{Access, Grant, GroupName, LakePath, Principal, Role},
    minio::{
        Incarnation,
        ledger::{AccountState, Change, GroupDoc, Names, UserDoc},
    },
};

/// A member, and what they are in the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub username: Username,
    pub role: Role,
}

/// A wish to make or change a group. All of it is checked before any of it is done.
#[derive(Debug, Default)]
pub struct GroupChange {
    pub add_members: Vec<Member>,
    pub remove_members: Vec<Username>,
    pub add_paths: Vec<(LakePath, Access)>,
    pub remove_paths: Vec<LakePath>,
}

/// A group, as its members see it.
pub struct GroupView {
    pub group: GroupName,
    pub members: BTreeMap<Username, Role>,
    pub workspace: Vec<LakePath>,
    pub shared: BTreeMap<LakePath, Grant>,
}

impl Broker {
    /// For members and administrators. To others, the group does not exist.
    pub async fn group(&self, actor: &Identity, group: &GroupName) -> Result<GroupView, Error> {
        let doc = self.known_group(group).await?;
        if !actor.admin && !doc.members.contains_key(&actor.username) {
            return Err(unknown_group(group));
        }
        Ok(self.view(doc))
    }

    /// Makes a group (administrators) or changes it (its stewards as well).
    pub async fn change_group(
        &self,
        actor: &Identity,
        group: &GroupName,
        change: &GroupChange,
    ) -> Result<GroupView, Error> {
        self.count_names(actor, change.add_members.len() + change.remove_members.len())?;
        self.may_change(actor, group, change).await?;
        let lives = all(change.add_members.iter().map(|member| self.note_membership(&member.username, group))).await?;
        let now = self.now();
        let changed = {
            let _turn = self.turns.wait(&group.key()).await;
            let changed = self.ledger.update::<GroupDoc, Error>(group, |doc| {
                let mut doc = match doc {
                    Some(doc) if doc.group != *group => return Err(only_case(group, &doc.group)),
                    Some(doc) if doc.deleting => {
                        return Err(Error::Conflict(format!("the group `{group}` is being deleted")));
                    }
                    Some(doc) => doc,
                    None if actor.admin => GroupDoc {
                        group: group.clone(),
                        incarnation: Incarnation::new(),
                        revision: 0,
                        created_at: now,
                        deleting: false,
                        members: BTreeMap::new(),
                        grants: BTreeMap::new(),
                        given: Default::default(),
                        purging: false,
                    },
                    None => return Err(unknown_group(group)),
                };
                doc.members.retain(|member, _| !change.remove_members.contains(member));
                doc.members.extend(change.add_members.iter().map(|m| (m.username.clone(), m.role)));
                Ok(Change::Put(doc))
            });
            changed.await?
        };
        self.folders(&self.lake.workspace(group)).await?;
        self.settle_group(group, changed.before.as_ref()).await?;
        let users = change.add_members.iter().map(|member| &member.username).chain(&change.remove_members);
        let settled = all(users.map(|user| self.settle_user(user, Secret::Trust))).await?;
        // The members are who was meant, and not others who took their names meanwhile.
        let added = change.add_members.iter().zip(lives).zip(settled);
        let strangers = added.filter(|((_, life), now)| {
            now.as_ref().is_none_or(|now| now.incarnation != *life || now.state == AccountState::Deleting)
        });
        let strangers: Vec<&Username> = strangers.map(|((member, _), _)| &member.username).collect();
        if !strangers.is_empty() {
            return Err(self.put_out(group, &strangers).await?);
        }
        for (path, access) in &change.add_paths {
            self.give_to_group(actor, group, path, *access).await?;
        }
        for path in &change.remove_paths {
            self.take_exactly(&Principal::Group(group.clone()), path).await?;
        }
        Ok(self.view(self.known_group(group).await?))
    }

    /// One page of the groups' names, in lower case. For administrators.
    pub async fn groups(&self, actor: &Identity, after: Option<&str>, limit: usize) -> Result<Names, Error> {
        require_admin(actor)?;
        Ok(self.ledger.groups(after, limit).await?)
    }

    /// The names of all groups. For everybody who is admitted: who asks for a membership has to name the group.
    pub async fn group_names(&self) -> Result<Vec<GroupName>, Error> {
        let keys = self.group_keys().await?;
        let docs = all(keys.iter().map(async |key| if_readable(self.ledger.read::<GroupDoc>(key).await))).await?;
        Ok(docs.into_iter().flatten().flatten().filter(|doc| !doc.deleting).map(|doc| doc.group).collect())
    }

    /// What all groups are filed under.
    pub(super) async fn group_keys(&self) -> Result<Vec<GroupName>, Error> {
        let mut keys = Vec::new();
        let mut after = None;
        loop {
            let page = self.ledger.groups(after.as_deref(), 1000).await?;
            keys.extend(page.names.iter().filter_map(|name| name.parse().ok()));
            after = page.next;
            if after.is_none() {
                return Ok(keys);
            }
        }
    }

    async fn may_change(&self, actor: &Identity, group: &GroupName, change: &GroupChange) -> Result<(), Error> {
        self.require_enabled(actor).await?;
        match self.ledger.read::<GroupDoc>(group).await? {
            Some(doc) if actor.admin || doc.group == *group && doc.members.contains_key(&actor.username) => {
                if doc.group != *group {
                    return Err(only_case(group, &doc.group));
                }
                if !actor.admin && doc.members.get(&actor.username) != Some(&Role::Steward) {
                    return Err(Error::Forbidden(format!("only stewards of {group} and administrators may change it")));
                }
            }
            None if actor.admin => {}
            Some(_) | None => return Err(unknown_group(group)),
        }
        let both = change.add_members.iter().find(|member| change.remove_members.contains(&member.username));
        if let Some(member) = both {
            return Err(Error::Invalid(format!("`{}` is to be added and removed at once", member.username)));
        }
        all(change.add_members.iter().map(async |member| {
            let doc = self.ledger.read::<UserDoc>(&member.username).await?;
            let known = doc.is_some_and(|doc| doc.state != AccountState::Deleting);
            if known { Ok(()) } else { Err(unknown_user(&member.username)) }
        }))
        .await?;
        // Their MinIO users are in their documents: without those, nobody could be put out.
        all(change.remove_members.iter().map(|member| self.ledger.read::<UserDoc>(member))).await?;
        all(change.add_paths.iter().map(|(path, _)| self.may_give(actor, &actor.username, path))).await?;
        Ok(())
    }

    /// Notes in the user's document that they may be in the group, and says which life of the user that is.
    pub(super) async fn note_membership(&self, user: &Username, group: &GroupName) -> Result<Incarnation, Error> {
        let noted = self.ledger.update::<UserDoc, Error>(user, |doc| {
            let doc = doc.filter(|doc| doc.state != AccountState::Deleting);
            let mut doc = doc.ok_or_else(|| unknown_user(user))?;
            doc.groups.insert(group.clone());
            Ok(Change::Put(doc))
        });
        noted.await?.now.map(|doc| doc.incarnation).ok_or_else(|| unknown_user(user))
    }

    /// Takes members out who were deleted while they were added, and gives the error that says so.
    async fn put_out(&self, group: &GroupName, strangers: &[&Username]) -> Result<Error, Error> {
        let taken = self.ledger.update::<GroupDoc, Error>(group, |doc| {
            let mut doc = doc.ok_or_else(|| unknown_group(group))?;
            doc.members.retain(|user, _| !strangers.contains(&user));
            Ok(Change::Put(doc))
        });
        taken.await?;
        all(strangers.iter().map(|user| self.settle_user(user, Secret::Trust))).await?;
        Ok(Error::Conflict(format!("`{}` was deleted meanwhile, and is no member", strangers[0])))
    }

    fn view(&self, doc: GroupDoc) -> GroupView {
        GroupView {
            workspace: self.lake.workspace(&doc.group),
            group: doc.group,
            members: doc.members,
            shared: doc.grants,
        }
    }
}

fn only_case(group: &GroupName, existing: &GroupName) -> Error {
    Error::Conflict(format!("there is a group `{existing}`: `{group}` differs from it in case only"))
}
