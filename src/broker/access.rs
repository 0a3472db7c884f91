//! Who can reach a folder, and why.

use std::collections::BTreeSet;

use super::{Broker, Error, Standing, all, if_readable};
use crate::{
    identity::{Identity, Username},
    lake::{GroupName, LakePath, Owner, Principal, Role},
    minio::ledger::{GroupDoc, LakeDoc, UserDoc},
};

/// Everybody who can reach a folder or something in it.
pub struct AccessReport {
    pub path: LakePath,
    pub owner: Owner,
    /// One for each user and reason. A path below the one that was asked for opens that part only.
    pub users: Vec<(Username, Standing)>,
    /// Groups with access, members or not.
    pub groups: Vec<(GroupName, Standing)>,
    /// Whose records are damaged: they may have access as well.
    pub unreadable: BTreeSet<Principal>,
}

impl Broker {
    /// For the owner of the path (stewards, for a workspace) and administrators.
    pub async fn access(&self, actor: &Identity, path: &LakePath) -> Result<AccessReport, Error> {
        let owner = self.lake.owner(path);
        let refused = || Error::Forbidden(format!("only the owner of `{path}` and administrators may ask this"));
        // What was given on a folder above is noted with the lake.
        let mut candidates: BTreeSet<Principal> = self.lake_hints().await?.given;
        match &owner {
            Owner::User(user) => {
                super::require_self(actor, user).map_err(|_| refused())?;
                candidates.insert(Principal::User(user.clone()));
                let doc = if_readable(self.ledger.read::<UserDoc>(user).await)?.flatten();
                candidates.extend(doc.map(|doc| doc.given).unwrap_or_default());
            }
            Owner::Group(group) => {
                let doc = self.ledger.read::<GroupDoc>(group).await?.filter(|doc| doc.group == *group);
                let is_steward = doc.as_ref().and_then(|doc| doc.members.get(&actor.username)) == Some(&Role::Steward);
                if !actor.admin && !is_steward {
                    return Err(refused());
                }
                candidates.insert(Principal::Group(group.clone()));
                candidates.extend(doc.map(|doc| doc.given).unwrap_or_default());
            }
            // Homes and workspaces may be inside: everybody has to be asked.
            Owner::Lake if actor.admin => candidates.extend(self.everybody().await?),
            Owner::Lake => return Err(refused()),
        }
        let meets = |standing: &Standing| standing.path.covers(path) || path.covers(&standing.path);
        let mut groups = Vec::new();
        let mut users: BTreeSet<Username> = BTreeSet::new();
        let mut unreadable = BTreeSet::new();
        let mut of_groups = Vec::new();
        for principal in candidates {
            match principal {
                Principal::Group(group) => of_groups.push(group),
                Principal::User(user) => {
                    users.insert(user);
                }
            }
        }
        let docs = all(of_groups.iter().map(async |group| if_readable(self.ledger.read::<GroupDoc>(group).await)));
        let docs = docs.await?;
        unreadable.extend(
            of_groups.into_iter().zip(&docs).filter(|(_, doc)| doc.is_none()).map(|(group, _)| Principal::Group(group)),
        );
        for doc in docs.into_iter().flatten().flatten().filter(|doc| !doc.deleting) {
            let standing = super::standing::of_group(&self.lake, &doc, self.now());
            let open: Vec<Standing> = standing.into_iter().filter(meets).collect();
            if !open.is_empty() {
                users.extend(doc.members.keys().cloned());
                groups.extend(open.into_iter().map(|standing| (doc.group.clone(), standing)));
            }
        }
        let of_users = all(users.iter().map(async |user| {
            let Some(doc) = if_readable(self.ledger.read::<UserDoc>(user).await)? else { return Ok(None) };
            let Some(doc) = doc else { return Ok(Some(Vec::new())) };
            let open = self.standing(&doc).await?.into_iter().filter(meets);
            Ok::<_, Error>(Some(open.collect::<Vec<Standing>>()))
        }));
        let mut open = Vec::new();
        for (user, standing) in users.iter().zip(of_users.await?) {
            match standing {
                None => {
                    unreadable.insert(Principal::User(user.clone()));
                }
                Some(standing) => open.extend(standing.into_iter().map(|standing| (user.clone(), standing))),
            }
        }
        Ok(AccessReport { path: path.clone(), owner, users: open, groups, unreadable })
    }

    /// What is noted with the lake. If that is damaged, everybody may be meant.
    pub(super) async fn lake_hints(&self) -> Result<LakeDoc, Error> {
        if let Some(doc) = if_readable(self.ledger.read::<LakeDoc>(&()).await)? {
            return Ok(doc.unwrap_or_default());
        }
        let everybody: BTreeSet<Principal> = self.everybody().await?.into_iter().collect();
        Ok(LakeDoc { given: everybody.clone(), expiring: everybody, ..LakeDoc::default() })
    }

    pub(super) async fn everybody(&self) -> Result<Vec<Principal>, Error> {
        let (users, groups) = self.ledger.all_names().await?;
        let users = users.iter().filter_map(|name| name.parse().ok()).map(Principal::User);
        Ok(users.chain(groups.iter().filter_map(|name| name.parse().ok()).map(Principal::Group)).collect())
    }
}
