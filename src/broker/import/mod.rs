//! Reading what another tool made of a MinIO into the ledger: people, groups, shares.
//!
//! The tool is one that gives each person a MinIO user of their name with the policy `user-home-policy-{name}`, each group
//! a MinIO group with `group-policy-{name}`, and its readers a group `{name}ro`. Nothing of theirs is changed.

mod rights;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use jiff::ToSpan;

use self::rights::Rights;
use super::{Actor, Broker, Error, GroupChange, Member, Share, audit, policies::names};
use crate::{
    identity::{Identity, Username},
    lake::{Access, GroupName, LakePath, Owner, Principal, Role},
    minio::{
        Inventory, PREFIX, Status,
        ledger::{AccountState, GroupDoc, UserDoc},
    },
};

const OF_USERS: &str = "user-home-policy-";
const OF_GROUPS: &str = "group-policy-";
/// What the name of a group's readers' group ends in.
const READERS: &str = "ro";

/// Who has given what nobody owns: its owner is not known.
const IMPORTER: &str = "lakepass_import";

/// What an import writes into the ledger, and what it cannot say there.
#[derive(Debug, Default)]
pub struct Import {
    /// With whether they are disabled.
    pub users: BTreeMap<Username, Status>,
    pub groups: BTreeMap<GroupName, BTreeMap<Username, Role>>,
    pub grants: BTreeMap<(Principal, LakePath), Access>,
    pub notes: Vec<Note>,
}

/// Something that is not the same after the import.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    pub about: String,
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.what)
    }
}

impl Broker {
    /// What an import would write, and what would not be the same after it. Changes nothing.
    pub async fn plan_import(&self) -> Result<Import, Error> {
        let at_minio = self.minio.inventory().await?;
        let mut import = Import::default();
        self.plan_users(&at_minio, &mut import);
        self.plan_groups(&at_minio, &mut import);
        let owned: Vec<(Principal, LakePath)> = import.grants.keys().cloned().collect();
        for (to, path) in owned {
            let known = match self.lake.owner(&path) {
                Owner::User(owner) => {
                    import.users.contains_key(&owner) || self.ledger.read::<UserDoc>(&owner).await?.is_some()
                }
                Owner::Group(owner) => {
                    import.groups.contains_key(&owner) || self.ledger.read::<GroupDoc>(&owner).await?.is_some()
                }
                Owner::Lake => true,
            };
            if !known {
                import.note(&to, format!("`{path}` is lost: its owner is not here"));
                import.grants.remove(&(to, path));
            }
        }
        Ok(import)
    }

    fn plan_users(&self, at_minio: &Inventory, import: &mut Import) {
        for (name, info) in &at_minio.users {
            let policies = names(&info.policy_name);
            if name.starts_with(PREFIX) {
                continue;
            }
            if !policies.contains(&format!("{OF_USERS}{name}")) {
                import
                    .note(format!("user {name}"), format!("is not imported: no policy `{OF_USERS}{name}` is attached"));
                continue;
            }
            match name.parse::<Username>() {
                Err(error) => import.note(format!("user {name}"), format!("is not imported: {error}")),
                Ok(user) => {
                    let home = self.lake.home(&user);
                    if self.plan_grants(at_minio, &policies, Principal::User(user.clone()), &home, import).is_some() {
                        import.users.insert(user, info.status);
                    }
                }
            }
        }
    }

    fn plan_groups(&self, at_minio: &Inventory, import: &mut Import) {
        let is_of_tool = |name: &str| {
            let info = at_minio.groups.get(name);
            info.is_some_and(|info| names(&info.policy).contains(&format!("{OF_GROUPS}{name}")))
        };
        for (name, info) in at_minio.groups.iter().filter(|(name, _)| !name.starts_with(PREFIX)) {
            if name.strip_suffix(READERS).is_some_and(is_of_tool) {
                continue;
            }
            if !is_of_tool(name) {
                import.note(
                    format!("group {name}"),
                    format!("is not imported: no policy `{OF_GROUPS}{name}` is attached"),
                );
                continue;
            }
            let group = match name.parse::<GroupName>() {
                Ok(group) => group,
                Err(error) => {
                    import.note(format!("group {name}"), format!("is not imported: {error}"));
                    continue;
                }
            };
            if info.status == Status::Disabled {
                import.note(format!("group {name}"), "is not imported: it is disabled".to_owned());
                continue;
            }
            let workspace = self.lake.workspace(&group);
            let of = Principal::Group(group.clone());
            let Some(folders) = self.plan_grants(at_minio, &names(&info.policy), of, &workspace, import) else {
                continue;
            };
            let readers = format!("{name}{READERS}");
            let mut members = BTreeMap::new();
            if let Some(twin) = at_minio.groups.get(&readers).filter(|_| is_of_tool(&readers)) {
                if twin.status == Status::Disabled {
                    import.note(format!("group {readers}"), "is not imported: it is disabled".to_owned());
                } else if self.compare_readers(at_minio, &readers, &names(&twin.policy), folders, import) {
                    add_members(&group, &twin.members, Role::Reader, &mut members, import);
                }
            }
            add_members(&group, &info.members, Role::Writer, &mut members, import);
            import.groups.insert(group, members);
        }
    }

    /// Plans what somebody has beyond their own folders, and gives all of their folders. Nothing: they cannot be imported.
    fn plan_grants(
        &self,
        at_minio: &Inventory,
        policies: &BTreeSet<String>,
        of: Principal,
        own: &[LakePath],
        import: &mut Import,
    ) -> Option<BTreeMap<LakePath, Access>> {
        let rights = match Rights::of(self.lake.bucket(), documents(at_minio, policies)) {
            Ok(rights) => rights,
            Err(reason) => {
                import.note(&of, format!("is not imported: {reason}"));
                return None;
            }
        };
        let mut folders: BTreeMap<LakePath, Access> = rights.folders();
        folders.retain(|path, _| !own.iter().any(|own| own.covers(path)));
        for (path, access) in &folders {
            import.grants.insert((of.clone(), path.clone()), *access);
        }
        folders.extend(own.iter().map(|own| (own.clone(), Access::Write)));
        for difference in rights.differences(&folders) {
            import.note(&of, difference);
        }
        Some(folders)
    }

    /// Readers are to read what writers write. `false`: nothing is certain.
    fn compare_readers(
        &self,
        at_minio: &Inventory,
        group: &str,
        policies: &BTreeSet<String>,
        mut folders: BTreeMap<LakePath, Access>,
        import: &mut Import,
    ) -> bool {
        folders.values_mut().for_each(|access| *access = Access::Read);
        match Rights::of(self.lake.bucket(), documents(at_minio, policies)) {
            Ok(rights) => {
                for difference in rights.differences(&folders) {
                    import.note(format!("group {group}"), difference);
                }
                true
            }
            Err(reason) => {
                import.note(format!("group {group}"), format!("is not imported: {reason}"));
                false
            }
        }
    }

    /// Writes a plan into the ledger, by the same ways as requests do. Gives what could not be written.
    pub async fn apply_import(&self, import: &Import) -> Result<Vec<Note>, Error> {
        let mut notes = Vec::new();
        let importer: Username = IMPORTER.parse().expect("it is a legal name");
        for (user, status) in &import.users {
            audit::recorded(&Actor::Operator, "import user", user.as_str(), self.ensure_user(user)).await?;
            // Before there is anything that they could have.
            if *status == Status::Disabled {
                let by = self.in_the_name_of(&importer);
                let disabled = self.set_state(&by, user, AccountState::Disabled);
                audit::recorded(&Actor::Operator, "disable", user.as_str(), disabled).await?;
            }
        }
        for (group, members) in &import.groups {
            let member = |(username, role): (&Username, &Role)| Member { username: username.clone(), role: *role };
            let change = GroupChange { add_members: members.iter().map(member).collect(), ..Default::default() };
            let by = self.in_the_name_of(&importer);
            let names: Vec<&str> = members.keys().map(Username::as_str).collect();
            let subject = format!("{group}: {}", names.join(", "));
            let changed = self.change_group(&by, group, &change);
            if let Err(error) = audit::recorded(&Actor::Operator, "import group", &subject, changed).await {
                notes.push(Note { about: format!("group {group}"), what: refusal(error)? });
            }
        }
        for ((to, path), access) in &import.grants {
            let owner = match self.lake.owner(path) {
                Owner::User(owner) => owner,
                Owner::Group(_) | Owner::Lake => importer.clone(),
            };
            let (with_users, with_groups) = match to {
                Principal::User(user) => (vec![user.to_string()], Vec::new()),
                Principal::Group(group) => (Vec::new(), vec![group.to_string()]),
            };
            let share = Share { path: path.clone(), with_users, with_groups, access: *access, expires_at: None };
            let by = self.in_the_name_of(&owner);
            let shared = async {
                let shared = self.share(&by, &owner, &share).await?;
                shared.outcomes.into_iter().try_for_each(|outcome| outcome.result)
            };
            let subject = format!("{path} with {to} ({})", access.name());
            if let Err(error) = audit::recorded(&Actor::Operator, "import share", &subject, shared).await {
                notes.push(Note { about: to.to_string(), what: format!("`{path}` is lost: {}", refusal(error)?) });
            }
        }
        Ok(notes)
    }

    /// Whoever starts an import has MinIO's root secret.
    fn in_the_name_of(&self, user: &Username) -> Identity {
        Identity { username: user.clone(), roles: Arc::default(), admin: true, expires_at: self.now() + 1.hour() }
    }
}

impl Import {
    fn note(&mut self, about: impl ToString, what: String) {
        self.notes.push(Note { about: about.to_string(), what });
    }
}

fn documents<'a>(
    at_minio: &'a Inventory,
    policies: &'a BTreeSet<String>,
) -> impl Iterator<Item = (&'a str, &'a serde_json::Value)> {
    policies.iter().filter_map(|name| at_minio.policies.get(name).map(|document| (name.as_str(), document)))
}

fn add_members(
    group: &GroupName,
    names: &[String],
    role: Role,
    members: &mut BTreeMap<Username, Role>,
    import: &mut Import,
) {
    for name in names {
        match name.parse::<Username>().ok().filter(|user| import.users.contains_key(user)) {
            Some(user) => {
                members.insert(user, role);
            }
            None => import.note(format!("group {group}"), format!("`{name}` is no member: not imported as a user")),
        }
    }
}

/// What a refusal says; an outage, of the audit log as well, ends everything.
fn refusal(error: Error) -> Result<String, Error> {
    match error {
        Error::Minio(_) | Error::Unaudited => Err(error),
        error => Ok(error.to_string()),
    }
}
