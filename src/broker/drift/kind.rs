//! The kinds of drift, in words.

use crate::lake::Principal;

/// One thing that is at MinIO, or in the lake, another way than the ledger says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drift {
    pub kind: Kind,
    /// Whose it is, if it is certainly somebody's in the ledger.
    pub of: Option<Principal>,
    /// Where it differs: a MinIO user, group or policy, a folder, a document.
    pub at: String,
    /// With what: the policy, the member, the access key. Empty where `at` says it all.
    pub thing: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    UserMissing,
    UserDisabled,
    UserEnabled,
    UserRetired,
    SecretNotOurs,
    GroupMissing,
    GroupDisabled,
    PolicyMissing,
    PolicyChanged,
    PolicyDetached,
    PolicyAttached,
    PolicyForeign,
    PolicyWithStranger,
    MemberMissing,
    MemberTooMany,
    StrangerInGroup,
    InForeignGroup,
    FolderMissing,
    LakeKeyUnfinished,
    AccessKeyUnknown,
    DeletionUnfinished,
    PurgeUnfinished,
    LeftoverUser,
    LeftoverPolicy,
    Unknown,
    DocumentUnreadable,
}

impl Kind {
    pub const ALL: [Self; 26] = [
        Self::UserMissing,
        Self::UserDisabled,
        Self::UserEnabled,
        Self::UserRetired,
        Self::SecretNotOurs,
        Self::GroupMissing,
        Self::GroupDisabled,
        Self::PolicyMissing,
        Self::PolicyChanged,
        Self::PolicyDetached,
        Self::PolicyAttached,
        Self::PolicyForeign,
        Self::PolicyWithStranger,
        Self::MemberMissing,
        Self::MemberTooMany,
        Self::StrangerInGroup,
        Self::InForeignGroup,
        Self::FolderMissing,
        Self::LakeKeyUnfinished,
        Self::AccessKeyUnknown,
        Self::DeletionUnfinished,
        Self::PurgeUnfinished,
        Self::LeftoverUser,
        Self::LeftoverPolicy,
        Self::Unknown,
        Self::DocumentUnreadable,
    ];

    /// As the API and the metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserMissing => "user-missing",
            Self::UserDisabled => "user-disabled",
            Self::UserEnabled => "user-enabled",
            Self::UserRetired => "user-retired",
            Self::SecretNotOurs => "secret-not-ours",
            Self::GroupMissing => "group-missing",
            Self::GroupDisabled => "group-disabled",
            Self::PolicyMissing => "policy-missing",
            Self::PolicyChanged => "policy-changed",
            Self::PolicyDetached => "policy-detached",
            Self::PolicyAttached => "policy-attached",
            Self::PolicyForeign => "policy-foreign",
            Self::PolicyWithStranger => "policy-with-stranger",
            Self::MemberMissing => "member-missing",
            Self::MemberTooMany => "member-too-many",
            Self::StrangerInGroup => "stranger-in-group",
            Self::InForeignGroup => "in-foreign-group",
            Self::FolderMissing => "folder-missing",
            Self::LakeKeyUnfinished => "lake-key-unfinished",
            Self::AccessKeyUnknown => "access-key-unknown",
            Self::DeletionUnfinished => "deletion-unfinished",
            Self::PurgeUnfinished => "purge-unfinished",
            Self::LeftoverUser => "leftover-user",
            Self::LeftoverPolicy => "leftover-policy",
            Self::Unknown => "unknown",
            Self::DocumentUnreadable => "document-unreadable",
        }
    }

    /// Why it is only told and never repaired, if so.
    pub fn left_because(self) -> Option<&'static str> {
        match self {
            Self::PolicyWithStranger | Self::InForeignGroup => Some("it would change something that is not ours"),
            Self::PurgeUnfinished => Some("it deletes data: ask for the deletion again, with or without `purge`"),
            Self::Unknown => Some("it may be another Lakepass's: if there is none on this MinIO, remove it by hand"),
            Self::DocumentUnreadable => Some("nothing is guessed: restore the document or delete it"),
            _ => None,
        }
    }
}

impl Drift {
    /// For people: what differs.
    pub fn sentence(&self) -> String {
        let (at, thing) = (&self.at, &self.thing);
        match self.kind {
            Kind::UserMissing => format!("MinIO has no user `{at}`, or its making broke off"),
            Kind::UserDisabled => format!("the MinIO user `{at}` is disabled, and the account is not"),
            Kind::UserEnabled => format!("the MinIO user `{at}` is enabled, and the account is disabled"),
            Kind::UserRetired => {
                format!("the MinIO user `{at}`, of an earlier generation or a deleted account, is still to be deleted")
            }
            Kind::SecretNotOurs => format!("the MinIO user `{at}` has a secret that is not ours"),
            Kind::GroupMissing => format!("MinIO has no group `{at}`"),
            Kind::GroupDisabled => format!("the MinIO group `{at}` is disabled"),
            Kind::PolicyMissing => format!("MinIO has no policy `{thing}`, which `{at}` should have"),
            Kind::PolicyChanged => format!("the policy `{thing}` of `{at}` says something else than it should"),
            Kind::PolicyDetached => format!("the policy `{thing}` is not attached to `{at}`"),
            Kind::PolicyAttached => format!("the policy `{thing}` is attached to `{at}`, and should not be"),
            Kind::PolicyForeign => format!("the policy `{thing}`, which is not ours, is attached to `{at}`"),
            Kind::PolicyWithStranger => format!("our policy `{thing}` is attached to `{at}`, which is not ours"),
            Kind::MemberMissing => format!("`{thing}` is not in the MinIO group `{at}`"),
            Kind::MemberTooMany => format!("`{thing}` is in the MinIO group `{at}`, and should not be"),
            Kind::StrangerInGroup => format!("`{thing}`, which is not ours, is in the MinIO group `{at}`"),
            Kind::InForeignGroup => format!("`{thing}` is in the MinIO group `{at}`, which is not ours"),
            Kind::FolderMissing => format!("the folder `{at}` is missing"),
            Kind::LakeKeyUnfinished => format!("the making of the lake key `{thing}` broke off"),
            Kind::AccessKeyUnknown => format!("the access key `{thing}` of `{at}` is not in the ledger"),
            Kind::DeletionUnfinished => format!("the deletion of {at} broke off"),
            Kind::PurgeUnfinished => format!("the deletion of {at} with all data is under way or broke off"),
            Kind::LeftoverUser => format!("the MinIO user `{at}` is left over"),
            Kind::LeftoverPolicy => format!("the policy `{at}` is left over"),
            Kind::Unknown => format!("`{at}` has a name as ours, and is not in this ledger"),
            Kind::DocumentUnreadable => format!("the ledger document `{at}` cannot be read"),
        }
    }
}
