//! What differs between the ledger and MinIO. Pure: it compares what was read before.

mod kind;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    Broker,
    policies::{Policies, names, policy_base},
    settle::Wanted,
};
use crate::{
    identity::Username,
    lake::{LakePath, Principal},
    minio::{
        Canary, Inventory, MinioGroup, MinioUser, PREFIX, Status, canonical,
        ledger::{AccountState, Document, GroupDoc, LakeDoc, LakeKey, UserDoc},
    },
};

pub use self::kind::{Drift, Kind};

/// How long the making of a lake key may take: after that it broke off.
const KEY_IN_THE_MAKING: Duration = Duration::from_secs(60);

/// How long a canary may live, amply. Clocks may differ a little.
const CANARY: Duration = Duration::from_secs(600);

/// What the ledger says and what MinIO has, at about the same time. MinIO was read first: what it had then and the ledger
/// does not know after that was dropped, and will never be used again.
#[derive(Default)]
pub(super) struct Look {
    pub at_minio: Inventory,
    pub users: BTreeMap<Username, UserDoc>,
    /// By their keys.
    pub groups: BTreeMap<String, GroupDoc>,
    /// Documents that say nothing that can be read: names of users, keys of groups.
    pub unreadable_users: BTreeSet<String>,
    pub unreadable_groups: BTreeSet<String>,
    pub unreadable_lake: bool,
    /// MinIO users with another secret than the derived one.
    pub other_secrets: BTreeSet<MinioUser>,
    /// Homes and workspaces with nothing in them, not even themselves.
    pub missing_folders: BTreeSet<LakePath>,
    pub now: Timestamp,
}

/// The lake keys whose making broke off. One is removed from MinIO only when the next one is there: so the first that MinIO
/// has stays, and no other one's secret was shown. A derived one is made when it is asked for.
fn unfinished_lake_keys<'a>(doc: &'a UserDoc, at_minio: &Inventory) -> impl Iterator<Item = &'a LakeKey> {
    let keys = doc.key_user.as_ref().and_then(|generation| at_minio.access_keys.get(generation.user.as_str()));
    let is_there = |key: &LakeKey| keys.is_some_and(|keys| keys.contains(&key.access_key));
    let shown = || doc.lake_keys.iter().filter(|key| !key.derived);
    let stays = shown().find(|key| is_there(key));
    shown().filter(move |key| Some(*key) != stays)
}

/// What has been found so far.
#[derive(Default)]
struct Found(BTreeSet<Drift>);

impl Found {
    fn add(&mut self, kind: Kind, of: Option<&Principal>, at: &str, thing: &str) {
        self.0.insert(Drift { kind, of: of.cloned(), at: at.to_owned(), thing: thing.to_owned() });
    }
}

/// What the ledger knows by name.
#[derive(Default)]
struct Known {
    users: BTreeSet<String>,
    groups: BTreeSet<String>,
    policies: BTreeSet<String>,
    /// What the names of their policies begin with. Nobody else's do: there is a life's random part in it.
    bases: BTreeMap<String, Principal>,
}

impl Broker {
    pub(super) fn differences(&self, look: &Look) -> BTreeSet<Drift> {
        let mut found = Found::default();
        let known = self.known(look);
        for doc in look.users.values() {
            self.user_differs(doc, look, &mut found);
        }
        for doc in look.groups.values() {
            self.group_differs(doc, look, &known, &mut found);
        }
        for name in &look.unreadable_users {
            found.add(Kind::DocumentUnreadable, None, &format!("users/{name}.json"), "");
        }
        for name in &look.unreadable_groups {
            found.add(Kind::DocumentUnreadable, None, &format!("groups/{name}.json"), "");
        }
        if look.unreadable_lake {
            found.add(Kind::DocumentUnreadable, None, &LakeDoc::path(&()), "");
        }
        self.strays(look, &known, &mut found);
        found.0
    }

    /// Whether it is a canary, of this ledger or under way: one of this ledger's that is old was left behind.
    fn is_canary(&self, name: &str, leftover: Kind, look: &Look, found: &mut Found) -> bool {
        let Some(canary) = Canary::of(name) else { return false };
        let (ours, old) = (canary.bucket == self.ledger.bucket(), look.is_old(canary));
        if ours && old {
            found.add(leftover, None, name, "");
        }
        ours || !old
    }

    fn known(&self, look: &Look) -> Known {
        let mut known = Known::default();
        for doc in look.users.values() {
            let generations = [Some(&doc.session_user), doc.key_user.as_ref()].into_iter().flatten();
            known.users.extend(generations.map(|generation| &generation.user).chain(&doc.retired).map(text));
            known.policies.extend(self.user_policies(doc).into_keys());
            known.bases.insert(policy_base(doc), Principal::User(doc.username.clone()));
        }
        for doc in look.groups.values() {
            for (group, policies) in self.group_policies(doc) {
                known.groups.insert(group.as_str().to_owned());
                known.policies.extend(policies.into_keys());
                known.bases.insert(group.as_str().to_owned(), Principal::Group(doc.group.clone()));
            }
        }
        // Taking these off their users and groups is what removes them.
        let users = look.at_minio.users.iter().filter(|(name, _)| known.users.contains(*name));
        let groups = look.at_minio.groups.iter().filter(|(name, _)| known.groups.contains(*name));
        let attached = users.map(|(_, info)| &info.policy_name).chain(groups.map(|(_, info)| &info.policy));
        known.policies.extend(attached.flat_map(|list| names(list)));
        known
    }

    fn user_differs(&self, doc: &UserDoc, look: &Look, found: &mut Found) {
        let of = Principal::User(doc.username.clone());
        let mut add = |kind, at: &str, thing: &str| found.add(kind, Some(&of), at, thing);
        let policies = self.user_policies(doc);
        let hinted = doc.groups.iter().filter_map(|group| look.groups.get(&group.key()));
        let Some(wanted) = Wanted::of(doc, hinted, &policies) else {
            let generations = [Some(&doc.session_user), doc.key_user.as_ref()].into_iter().flatten();
            for user in generations.map(|generation| text(&generation.user)) {
                if look.at_minio.users.contains_key(&user) {
                    add(Kind::UserRetired, &user, "");
                }
            }
            return add(unfinished(doc.purging), &of.to_string(), "");
        };
        for retired in &doc.retired {
            add(Kind::UserRetired, retired.as_str(), "");
        }
        for path in self.lake.home(&doc.username) {
            if look.missing_folders.contains(&path) {
                add(Kind::FolderMissing, path.as_str(), "");
            }
        }
        for key in unfinished_lake_keys(doc, &look.at_minio) {
            // In either direction: a clock may be set back.
            if look.now.duration_since(key.created_at).unsigned_abs() > KEY_IN_THE_MAKING {
                add(Kind::LakeKeyUnfinished, &of.to_string(), &key.access_key);
            }
        }
        for generation in [Some(&doc.session_user), doc.key_user.as_ref()].into_iter().flatten() {
            let user = generation.user.as_str();
            // Until it is noted that it was made, the making is not done.
            let Some(info) = look.at_minio.users.get(user).filter(|_| generation.made) else {
                add(Kind::UserMissing, user, "");
                continue;
            };
            match (info.status, wanted.status) {
                (Status::Disabled, Status::Enabled) => add(Kind::UserDisabled, user, ""),
                (Status::Enabled, Status::Disabled) => add(Kind::UserEnabled, user, ""),
                (Status::Enabled, Status::Enabled) | (Status::Disabled, Status::Disabled) => {}
            }
            if look.other_secrets.contains(&generation.user) {
                add(Kind::SecretNotOurs, user, "");
            }
            // Nothing can be attached to who is disabled, or taken off: that is done when they are enabled.
            if wanted.status == Status::Enabled {
                policies_differ(user, &names(&info.policy_name), wanted.policies, look, &mut add);
            }
            let member_of: BTreeSet<String> = info.member_of.iter().cloned().collect();
            for group in wanted.groups.difference(&member_of) {
                add(Kind::MemberMissing, group, user);
            }
            for group in member_of.difference(&wanted.groups).filter(|group| !look.is_unreadable(group)) {
                let ours = group.starts_with(PREFIX);
                add(if ours { Kind::MemberTooMany } else { Kind::InForeignGroup }, group, user);
            }
            for key in look.at_minio.access_keys.get(user).into_iter().flatten() {
                let of_key_user = doc.key_user.as_ref() == Some(generation);
                if !(of_key_user && doc.lake_keys.iter().any(|known| known.access_key == *key)) {
                    add(Kind::AccessKeyUnknown, user, key);
                }
            }
        }
    }

    fn group_differs(&self, doc: &GroupDoc, look: &Look, known: &Known, found: &mut Found) {
        let of = Principal::Group(doc.group.clone());
        let mut add = |kind, at: &str, thing: &str| found.add(kind, Some(&of), at, thing);
        if doc.deleting {
            for (group, _) in self.group_policies(doc) {
                for member in look.at_minio.groups.get(group.as_str()).iter().flat_map(|info| &info.members) {
                    add(Kind::MemberTooMany, group.as_str(), member);
                }
            }
            return add(unfinished(doc.purging), &of.to_string(), "");
        }
        for path in self.lake.workspace(&doc.group) {
            if look.missing_folders.contains(&path) {
                add(Kind::FolderMissing, path.as_str(), "");
            }
        }
        for (group, policies) in self.group_policies(doc) {
            let group = group.as_str();
            let Some(info) = look.at_minio.groups.get(group) else {
                add(Kind::GroupMissing, group, "");
                continue;
            };
            // MinIO does not say what is attached to who is disabled.
            match info.status {
                Status::Enabled => policies_differ(group, &names(&info.policy), &policies, look, &mut add),
                Status::Disabled => add(Kind::GroupDisabled, group, ""),
            }
            for member in &info.members {
                if !known.users.contains(member) && !look.is_unreadable(member) {
                    add(Kind::StrangerInGroup, group, member);
                }
            }
        }
    }

    /// What has a name as ours, or something of ours, and is not in the ledger.
    fn strays(&self, look: &Look, known: &Known, found: &mut Found) {
        let at_minio = &look.at_minio;
        let owner = |policy: &str| known.bases.get(policy.rsplit_once('-')?.0);
        let users = at_minio.users.iter().map(|(name, info)| (name, &info.policy_name));
        let groups = at_minio.groups.iter().map(|(name, info)| (name, &info.policy));
        for ((name, policies), is_user) in users.map(|user| (user, true)).chain(groups.map(|group| (group, false))) {
            if known.users.contains(name) || known.groups.contains(name) || look.is_unreadable(name) {
                continue;
            }
            if is_user && self.is_canary(name, Kind::LeftoverUser, look, found) {
                continue;
            }
            let ours: BTreeSet<String> = names(policies).into_iter().filter(|name| name.starts_with(PREFIX)).collect();
            if !name.starts_with(PREFIX) {
                for policy in &ours {
                    found.add(Kind::PolicyWithStranger, owner(policy), name, policy);
                }
            } else {
                // A policy of somebody's present life is attached to it: nobody but us has done that.
                match ours.iter().find_map(|policy| owner(policy)).filter(|_| is_user) {
                    Some(of) => found.add(Kind::LeftoverUser, Some(of), name, ""),
                    None => found.add(Kind::Unknown, None, name, ""),
                }
            }
        }
        for name in at_minio.policies.keys().filter(|name| name.starts_with(PREFIX)) {
            if known.policies.contains(name)
                || look.is_unreadable(name)
                || self.is_canary(name, Kind::LeftoverPolicy, look, found)
            {
                continue;
            }
            match owner(name) {
                Some(of) if look.is_being_deleted(of) => {}
                Some(of) => found.add(Kind::LeftoverPolicy, Some(of), name, ""),
                None => found.add(Kind::Unknown, None, name, ""),
            }
        }
    }
}

impl Look {
    /// In either direction: a clock may be set back.
    fn is_old(&self, canary: Canary<'_>) -> bool {
        self.now.duration_since(canary.since).unsigned_abs() > CANARY
    }

    /// Whether something at MinIO is of somebody whose document cannot be read: nothing is known of it.
    fn is_unreadable(&self, name: &str) -> bool {
        let without_hash = name.rsplit_once('-').map(|(base, _)| base);
        [Some(name), without_hash].into_iter().flatten().any(|name| {
            let user = MinioUser::from(name.to_owned()).username();
            let group = MinioGroup::from(name.to_owned()).group();
            user.is_some_and(|user| self.unreadable_users.contains(user.as_str()))
                || group.is_some_and(|group| self.unreadable_groups.contains(&group.key()))
        })
    }
}

fn policies_differ(
    at: &str,
    attached: &BTreeSet<String>,
    wanted: &Policies,
    look: &Look,
    add: &mut impl FnMut(Kind, &str, &str),
) {
    for (name, document) in wanted {
        match look.at_minio.policies.get(name) {
            None => add(Kind::PolicyMissing, at, name),
            Some(there) => {
                if *there != canonical(document.to_value()) {
                    add(Kind::PolicyChanged, at, name);
                }
                if !attached.contains(name) {
                    add(Kind::PolicyDetached, at, name);
                }
            }
        }
    }
    for name in attached.iter().filter(|name| !wanted.contains_key(*name)) {
        let ours = name.starts_with(PREFIX);
        add(if ours { Kind::PolicyAttached } else { Kind::PolicyForeign }, at, name);
    }
}

impl Look {
    fn is_being_deleted(&self, of: &Principal) -> bool {
        match of {
            Principal::User(user) => self.users.get(user).is_some_and(|doc| doc.state == AccountState::Deleting),
            Principal::Group(group) => self.groups.get(&group.key()).is_some_and(|doc| doc.deleting),
        }
    }
}

fn unfinished(purging: bool) -> Kind {
    if purging { Kind::PurgeUnfinished } else { Kind::DeletionUnfinished }
}

fn text(user: &MinioUser) -> String {
    user.as_str().to_owned()
}
