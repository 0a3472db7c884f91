//! What a user or group may reach, and why. Pure, but for [`Broker::standing`] that reads the ledger.

use jiff::Timestamp;

use super::{Broker, Error};
use crate::{
    lake::{Access, Grant, GroupName, Lake, LakePath, Role},
    minio::ledger::{GroupDoc, UserDoc},
};

/// A folder that somebody may reach, and for what reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub path: LakePath,
    pub access: Access,
    pub because: Because,
}

/// Why somebody may reach a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    /// It is their home, or their group's workspace.
    Own,
    Given(Grant),
    /// By membership: the group's workspace, or what was given to the group.
    Member {
        group: GroupName,
        role: Role,
        given: Option<Grant>,
    },
    /// The group's record is damaged: MinIO goes on with what it was told before.
    Unreadable(GroupName),
}

impl Standing {
    /// For people: why it is so, and so what could change it.
    pub fn reason(&self) -> String {
        let given = |grant: &Grant| {
            format!("the grant on `{}` ({}), given by {}", self.path, grant.access.name(), grant.given_by)
        };
        match &self.because {
            Because::Own => format!("`{}` is theirs", self.path),
            Because::Unreadable(group) => format!("perhaps membership of {group}, whose record is damaged"),
            Because::Given(grant) => given(grant),
            Because::Member { group, given: None, .. } => format!("membership of {group}, whose `{}` is", self.path),
            Because::Member { group, given: Some(grant), .. } => format!("membership of {group}, by {}", given(grant)),
        }
    }
}

impl Broker {
    /// Everything that a user may reach now.
    pub(super) async fn standing(&self, doc: &UserDoc) -> Result<Vec<Standing>, Error> {
        let memberships = self.memberships(doc).await?;
        let now = self.now();
        let home = own(self.lake.home(&doc.username));
        let by_groups = memberships.of.iter().flat_map(|(group, role)| by_membership(&self.lake, group, *role, now));
        let unreadable = memberships.unreadable.iter().flat_map(|group| {
            let perhaps = Because::Unreadable(group.clone());
            own(self.lake.workspace(group)).into_iter().map(move |own| Standing { because: perhaps.clone(), ..own })
        });
        Ok(home.into_iter().chain(given(&doc.grants, now)).chain(by_groups).chain(unreadable).collect())
    }
}

/// Everything that a group's members may reach by it now, at the most.
pub(super) fn of_group(lake: &Lake, doc: &GroupDoc, now: Timestamp) -> Vec<Standing> {
    own(lake.workspace(&doc.group)).into_iter().chain(given(&doc.grants, now)).collect()
}

fn by_membership(lake: &Lake, doc: &GroupDoc, role: Role, now: Timestamp) -> Vec<Standing> {
    let through = |standing: Standing| Standing {
        path: standing.path,
        access: standing.access.min(role.access()),
        because: Because::Member {
            group: doc.group.clone(),
            role,
            given: match standing.because {
                Because::Given(grant) => Some(grant),
                Because::Own | Because::Member { .. } | Because::Unreadable(_) => None,
            },
        },
    };
    of_group(lake, doc, now).into_iter().map(through).collect()
}

fn own(folders: Vec<LakePath>) -> Vec<Standing> {
    folders.into_iter().map(|path| Standing { path, access: Access::Write, because: Because::Own }).collect()
}

fn given(grants: &std::collections::BTreeMap<LakePath, Grant>, now: Timestamp) -> Vec<Standing> {
    let valid = grants.iter().filter(|(_, grant)| !grant.is_over(now));
    valid
        .map(|(path, grant)| Standing {
            path: path.clone(),
            access: grant.access,
            because: Because::Given(grant.clone()),
        })
        .collect()
}
