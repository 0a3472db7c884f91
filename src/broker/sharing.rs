//! Sharing and taking back.
//!
//! A grant is in its grantee's document. Before it is written, the owner's document notes the grantee, and after it the
//! owner is looked at again: so a deletion of the owner, however it falls in between, finds the grant or undoes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{MutexGuard, OnceLock, PoisonError},
};

use jiff::Timestamp;

use super::{Actor, Broker, Error, all, audit, settle::Secret, standing, unknown_group, unknown_user};
use crate::{
    identity::{Identity, Username},
    lake::{Access, Grant, GroupName, LakePath, Owner, Principal, Role},
    minio::{
        Incarnation, MinioError,
        ledger::{AccountState, Change, GroupDoc, LakeDoc, UserDoc},
    },
};

/// How many folders somebody may give to one user or group. They cannot decline, and each makes their policies longer.
pub const MAX_FROM_ONE: usize = 500;

/// A wish to share. Names are as the caller wrote them: each gets its own answer.
pub struct Share {
    pub path: LakePath,
    pub with_users: Vec<String>,
    pub with_groups: Vec<String>,
    pub access: Access,
    pub expires_at: Option<Timestamp>,
}

/// A wish to take back.
pub struct Unshare {
    pub path: LakePath,
    pub from_users: Vec<String>,
    pub from_groups: Vec<String>,
}

/// What came of it, for each grantee.
pub struct SharedPath {
    pub path: LakePath,
    pub outcomes: Vec<Outcome>,
}

pub struct Outcome {
    /// As the caller wrote it.
    pub grantee: String,
    pub kind: &'static str,
    pub result: Result<(), Error>,
}

/// One life of an owner: what must still be there when a grant has been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OwnerLife {
    User(Username, Incarnation),
    Group(GroupName, Incarnation),
    Lake,
}

impl Broker {
    /// Shares a folder that is `owner`'s. The latest word counts: it replaces an earlier grant on the same folder.
    pub async fn share(&self, actor: &Identity, owner: &Username, share: &Share) -> Result<SharedPath, Error> {
        self.count_names(actor, share.with_users.len() + share.with_groups.len())?;
        let life = self.may_give(actor, owner, &share.path).await?;
        if share.expires_at.is_some_and(|end| end <= self.now()) {
            return Err(Error::Invalid("`expires_at` is over already: give a time to come, or leave it out".into()));
        }
        let grant = Grant {
            access: share.access,
            given_by: actor.username.clone(),
            given_at: self.now(),
            expires_at: share.expires_at,
        };
        let grantees = self.known_grantees(&share.with_users, &share.with_groups).await?;
        let known: BTreeSet<Principal> = grantees.iter().filter_map(|grantee| grantee.principal.clone().ok()).collect();
        if share.expires_at.is_some() {
            self.note_in_lake(|doc| doc.expiring.extend(known.iter().cloned())).await?;
        }
        self.note_given(&life, known).await?;
        let outcomes = self.for_each(grantees, &Deed::Give { owner: &life, path: &share.path, grant: &grant }).await?;
        Ok(SharedPath { path: share.path.clone(), outcomes })
    }

    /// Takes back what was given on exactly this folder. An outcome is good when the grantee reaches neither the folder
    /// nor anything in it any more; else it says what is still open, and why.
    pub async fn unshare(&self, actor: &Identity, owner: &Username, unshare: &Unshare) -> Result<SharedPath, Error> {
        self.count_names(actor, unshare.from_users.len() + unshare.from_groups.len())?;
        self.may_share(actor, owner, &unshare.path).await?;
        let grantees = self.known_grantees(&unshare.from_users, &unshare.from_groups).await?;
        let outcomes = self.for_each(grantees, &Deed::TakeBack { path: &unshare.path }).await?;
        Ok(SharedPath { path: unshare.path.clone(), outcomes })
    }

    /// Gives a group a folder, or takes it back: what `POST /groups/{group}` does with paths.
    pub(super) async fn give_to_group(
        &self,
        actor: &Identity,
        group: &GroupName,
        path: &LakePath,
        access: Access,
    ) -> Result<(), Error> {
        let share = Share {
            path: path.clone(),
            with_users: Vec::new(),
            with_groups: vec![group.to_string()],
            access,
            expires_at: None,
        };
        let shared = self.share(actor, &actor.username, &share).await?;
        shared.outcomes.into_iter().try_for_each(|outcome| outcome.result)
    }

    /// The same for each grantee that is known. Once MinIO is away, nobody else is tried: the answer is to come soon.
    async fn for_each(&self, grantees: Vec<Grantee>, deed: &Deed<'_>) -> Result<Vec<Outcome>, Error> {
        let outage = OnceLock::new();
        all(grantees.into_iter().map(|grantee| self.serve(grantee, deed, &outage))).await
    }

    async fn serve(&self, grantee: Grantee, deed: &Deed<'_>, outage: &OnceLock<MinioError>) -> Result<Outcome, Error> {
        let result = match (grantee.principal, outage.get()) {
            (Err(error), _) => Err(error),
            (Ok(_), Some(outage)) => Err(outage.clone().into()),
            (Ok(principal), None) => match deed {
                // What is theirs already needs no grant.
                Deed::Give { owner, .. } if owner.is(&principal) => Ok(()),
                Deed::Give { owner, path, grant } => self.give(owner, &principal, path, grant).await,
                Deed::TakeBack { path } => self.take_back(&principal, path).await,
            },
        };
        if let Err(Error::Minio(error @ MinioError::Unavailable { .. })) = &result {
            outage.get_or_init(|| error.clone());
        }
        if let Err(error) = &result {
            let name = match grantee.kind {
                "user" => audit::legible::<Username>(&grantee.name),
                _ => audit::legible::<GroupName>(&grantee.name),
            };
            audit::note_failed(&format!("{} {name}", grantee.kind), error);
        }
        Ok(Outcome { grantee: grantee.name, kind: grantee.kind, result })
    }

    /// Whether the actor may share this path in the name of `owner` (a user's own, or their group's), and it is a folder.
    pub(super) async fn may_give(
        &self,
        actor: &Identity,
        owner: &Username,
        path: &LakePath,
    ) -> Result<OwnerLife, Error> {
        let life = self.may_share(actor, owner, path).await?;
        if self.minio.object_exists(self.lake.bucket(), path.as_object_key()).await? {
            let what = "is an object, and folders are shared: share the folder that it is in";
            return Err(Error::Invalid(format!("`{}` {what}", path.as_object_key())));
        }
        Ok(life)
    }

    async fn may_share(&self, actor: &Identity, owner: &Username, path: &LakePath) -> Result<OwnerLife, Error> {
        audit::note_owner(owner);
        super::require_self(actor, owner)?;
        self.require_enabled(actor).await?;
        let not_yours = || Error::Forbidden(format!("`{path}` is not {owner}'s to share"));
        match self.lake.owner(path) {
            Owner::User(user) if user == *owner || actor.admin => {
                // Somebody who shares is here, by that alone.
                let doc = match actor.username == user {
                    true => self.ensure_user(&user).await?,
                    false => self.known_user(&user).await?,
                };
                Ok(OwnerLife::User(user, doc.incarnation))
            }
            Owner::Group(group) => {
                let doc = self.known_group(&group).await.map_err(|error| match error {
                    Error::NotFound(_) if !actor.admin => not_yours(),
                    error => error,
                })?;
                let is_steward = doc.members.get(owner) == Some(&Role::Steward);
                if is_steward || actor.admin { Ok(OwnerLife::Group(group, doc.incarnation)) } else { Err(not_yours()) }
            }
            Owner::Lake if actor.admin => Ok(OwnerLife::Lake),
            Owner::User(_) | Owner::Lake => Err(not_yours()),
        }
    }

    /// Each name with who it is, or why it is nobody. An error: nobody can say now.
    async fn known_grantees(&self, users: &[String], groups: &[String]) -> Result<Vec<Grantee>, Error> {
        let users = all(users.iter().map(|name| self.known_grantee(name, "user"))).await?;
        let groups = all(groups.iter().map(|name| self.known_grantee(name, "group"))).await?;
        Ok(users.into_iter().chain(groups).collect())
    }

    async fn known_grantee(&self, name: &str, kind: &'static str) -> Result<Grantee, Error> {
        let principal = match kind {
            "user" => self.known_grantee_user(name).await,
            _ => self.known_grantee_group(name).await,
        };
        match principal {
            Err(error @ Error::Minio(_)) => Err(error),
            principal => Ok(Grantee { name: name.to_owned(), kind, principal }),
        }
    }

    async fn known_grantee_user(&self, name: &str) -> Result<Principal, Error> {
        let user: Username = name.parse().map_err(|error| Error::Invalid(format!("{error}")))?;
        let doc = self.known_user(&user).await?;
        if doc.state == AccountState::Deleting { Err(unknown_user(&user)) } else { Ok(Principal::User(user)) }
    }

    async fn known_grantee_group(&self, name: &str) -> Result<Principal, Error> {
        let group: GroupName = name.parse().map_err(|error| Error::Invalid(format!("{error}")))?;
        self.known_group(&group).await?;
        Ok(Principal::Group(group))
    }

    /// Notes in the owner's document who may have something of theirs.
    pub(super) async fn note_given(&self, owner: &OwnerLife, grantees: BTreeSet<Principal>) -> Result<(), Error> {
        let gone = || Error::Conflict("the folder's owner is being deleted".into());
        match owner {
            OwnerLife::User(user, life) => {
                let noted = self.ledger.update::<UserDoc, Error>(user, |doc| {
                    let mut doc = doc.filter(|doc| is_alive_user(doc, life)).ok_or_else(gone)?;
                    doc.given.extend(grantees.iter().cloned());
                    Ok(Change::Put(doc))
                });
                noted.await.map(|_| ())
            }
            OwnerLife::Group(group, life) => {
                let noted = self.ledger.update::<GroupDoc, Error>(group, |doc| {
                    let mut doc = doc.filter(|doc| is_alive_group(doc, life)).ok_or_else(gone)?;
                    doc.given.extend(grantees.iter().cloned());
                    Ok(Change::Put(doc))
                });
                noted.await.map(|_| ())
            }
            OwnerLife::Lake => self.note_in_lake(|doc| doc.given.extend(grantees.iter().cloned())).await,
        }
    }

    pub(super) async fn note_in_lake(&self, note: impl Fn(&mut LakeDoc)) -> Result<(), Error> {
        let noted = self.ledger.update::<LakeDoc, Error>(&(), |doc| {
            let mut doc = doc.unwrap_or_default();
            note(&mut doc);
            Ok(Change::Put(doc))
        });
        noted.await.map(|_| ())
    }

    async fn is_alive(&self, owner: &OwnerLife) -> Result<bool, Error> {
        Ok(match owner {
            OwnerLife::User(user, life) => {
                self.ledger.read::<UserDoc>(user).await?.is_some_and(|doc| is_alive_user(&doc, life))
            }
            OwnerLife::Group(group, life) => {
                self.ledger.read::<GroupDoc>(group).await?.is_some_and(|doc| is_alive_group(&doc, life))
            }
            OwnerLife::Lake => true,
        })
    }

    async fn give(&self, owner: &OwnerLife, to: &Principal, path: &LakePath, grant: &Grant) -> Result<(), Error> {
        let before = self.change_grants(to, |grants| {
            let others = grants.iter().filter(|(other, given)| *other != path && given.given_by == grant.given_by);
            if others.count() >= MAX_FROM_ONE {
                let what = "folders from you already: share a folder that several of them are in";
                return Err(Error::Invalid(format!("{to} has {MAX_FROM_ONE} {what}")));
            }
            grants.insert(path.clone(), grant.clone());
            Ok(())
        });
        let before = before.await?;
        if !self.is_alive(owner).await? {
            self.take_away(to, std::slice::from_ref(path)).await?;
            return Err(Error::Conflict("the folder's owner was deleted meanwhile".into()));
        }
        self.settle_after(before).await
    }

    async fn take_back(&self, from: &Principal, path: &LakePath) -> Result<(), Error> {
        self.take_exactly(from, path).await?;
        let open: Vec<String> = match from {
            Principal::User(user) => {
                let doc = self.known_user(user).await?;
                reasons(self.standing(&doc).await?, path)
            }
            Principal::Group(group) => {
                let doc = self.known_group(group).await?;
                reasons(standing::of_group(&self.lake, &doc, self.now()), path)
            }
        };
        if open.is_empty() {
            return Ok(());
        }
        Err(Error::Conflict(format!("`{path}` or something in it is still open to {from}: {}", open.join("; "))))
    }

    /// Removes the grant on exactly this folder, and makes MinIO agree whether there was one or not.
    pub(super) async fn take_exactly(&self, from: &Principal, path: &LakePath) -> Result<(), Error> {
        let before = self.change_grants(from, |grants| {
            grants.remove(path);
            Ok(())
        });
        self.settle_after(before.await?).await
    }

    /// Removes every grant in these folders, and makes MinIO agree.
    pub(super) async fn take_away(&self, from: &Principal, folders: &[LakePath]) -> Result<(), Error> {
        let before = self.change_grants(from, |grants| {
            grants.retain(|path, _| !folders.iter().any(|folder| folder.covers(path)));
            Ok(())
        });
        self.settle_after(before.await?).await
    }

    /// Removes every grant that is over, and makes MinIO agree. A policy's own end is not enough: MinIO can be told another
    /// time by a request header (minio-facts).
    pub async fn remove_ended_grants(&self) -> Result<(), Error> {
        let expiring = self.lake_hints().await?.expiring;
        // Each to its end: none is left half done for another one's error.
        let removed = all(expiring.iter().map(async |principal| Ok::<_, Error>(self.remove_ended_of(principal).await)));
        removed.await?.into_iter().collect()
    }

    async fn remove_ended_of(&self, principal: &Principal) -> Result<(), Error> {
        let remove = async {
            let grants = self.grants_of(principal).await?.unwrap_or_default();
            let now = self.now();
            let ended = grants.iter().filter(|(_, grant)| grant.is_over(now)).map(|(path, _)| path.as_str());
            let ended: Vec<&str> = ended.collect();
            let broke_off = self.ending().contains(principal);
            if !broke_off && ended.is_empty() {
                return Ok(());
            }
            self.ending().insert(principal.clone());
            let subject = format!("{principal}: {}", ended.join(", "));
            let take = self.take_away(principal, &[]);
            audit::recorded(&Actor::Lakepass, "remove ended grants", &subject, take).await
        };
        let removed = match remove.await {
            // They are gone, and their grants with them; or who restores the document says what it holds.
            Err(Error::NotFound(_) | Error::Damaged(_)) => Ok(()),
            removed => removed,
        };
        if removed.is_ok() {
            self.ending().remove(principal);
        }
        removed
    }

    fn ending(&self) -> MutexGuard<'_, BTreeSet<Principal>> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was given to somebody by name; nothing if they are not there.
    pub(super) async fn grants_of(&self, principal: &Principal) -> Result<Option<BTreeMap<LakePath, Grant>>, Error> {
        Ok(match principal {
            Principal::User(user) => self.ledger.read::<UserDoc>(user).await?.map(|doc| doc.grants),
            Principal::Group(group) => self.ledger.read::<GroupDoc>(group).await?.map(|doc| doc.grants),
        })
    }

    /// Changes what a user or group was given, and gives the document before.
    async fn change_grants(
        &self,
        of: &Principal,
        change: impl Fn(&mut BTreeMap<LakePath, Grant>) -> Result<(), Error>,
    ) -> Result<Before, Error> {
        let now = self.now();
        let change = |grants: &mut BTreeMap<LakePath, Grant>| {
            change(grants)?;
            grants.retain(|_, grant| !grant.is_over(now));
            Ok::<_, Error>(())
        };
        match of {
            Principal::User(user) => {
                let _turn = self.turns.wait(user.as_str()).await;
                let changed = self.ledger.update::<UserDoc, Error>(user, |doc| match doc {
                    Some(mut doc) if doc.state != AccountState::Deleting => {
                        change(&mut doc.grants)?;
                        Ok(Change::Put(doc))
                    }
                    Some(_) | None => Err(unknown_user(user)),
                });
                changed.await?.before.map(Before::User).ok_or_else(|| unknown_user(user))
            }
            Principal::Group(group) => {
                let _turn = self.turns.wait(&group.key()).await;
                let changed = self.ledger.update::<GroupDoc, Error>(group, |doc| match doc {
                    Some(mut doc) if doc.group == *group && !doc.deleting => {
                        change(&mut doc.grants)?;
                        Ok(Change::Put(doc))
                    }
                    Some(_) | None => Err(unknown_group(group)),
                });
                changed.await?.before.map(Before::Group).ok_or_else(|| unknown_group(group))
            }
        }
    }

    async fn settle_after(&self, before: Before) -> Result<(), Error> {
        match before {
            Before::User(doc) => self.settle_user_after(&doc.username, Some(&doc), Secret::Trust).await.map(|_| ()),
            Before::Group(doc) => self.settle_group(&doc.group, Some(&doc)).await,
        }
    }
}

/// What is done for each grantee.
enum Deed<'a> {
    Give { owner: &'a OwnerLife, path: &'a LakePath, grant: &'a Grant },
    TakeBack { path: &'a LakePath },
}

/// A grantee's document before a change.
enum Before {
    User(UserDoc),
    Group(GroupDoc),
}

struct Grantee {
    name: String,
    kind: &'static str,
    principal: Result<Principal, Error>,
}

impl OwnerLife {
    fn is(&self, principal: &Principal) -> bool {
        match (self, principal) {
            (Self::User(owner, _), Principal::User(user)) => owner == user,
            (Self::Group(owner, _), Principal::Group(group)) => owner == group,
            (Self::User(..), Principal::Group(_)) | (Self::Group(..), Principal::User(_)) | (Self::Lake, _) => false,
        }
    }
}

fn is_alive_user(doc: &UserDoc, life: &Incarnation) -> bool {
    doc.incarnation == *life && doc.state != AccountState::Deleting
}

fn is_alive_group(doc: &GroupDoc, life: &Incarnation) -> bool {
    doc.incarnation == *life && !doc.deleting
}

/// Why a folder, or something in it, is open to somebody.
fn reasons(standing: Vec<standing::Standing>, path: &LakePath) -> Vec<String> {
    let meets = |s: &standing::Standing| s.path.covers(path) || path.covers(&s.path);
    standing.iter().filter(|s| meets(s)).map(standing::Standing::reason).collect()
}
