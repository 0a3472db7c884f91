//! The policies of users and groups at MinIO: which they should have, under which names, put and removed.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;

use super::{Broker, Error};
use crate::{
    lake::{Grant, LakePath, Reach, Role},
    minio::{
        MinioError, MinioGroup, PREFIX,
        ledger::{GroupDoc, UserDoc},
    },
    policy::{LivePolicy, PolicyDocument},
};

/// A policy that allows nothing: what stale policies become when they cannot be taken off.
const NOTHING: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["s3:*"],"Resource":["arn:aws:s3:::*"]}]}"#;

/// Policy documents by their names at MinIO.
pub(super) type Policies = BTreeMap<String, PolicyDocument>;

impl Broker {
    /// What a user has by name.
    pub(super) fn live_policy(&self, doc: &UserDoc) -> LivePolicy {
        let home = self.lake.home(&doc.username);
        LivePolicy::of_user(&self.templates, self.lake.bucket(), &home, reaches(&doc.grants))
    }

    /// What a member of this role has by a group.
    pub(super) fn group_policy(&self, doc: &GroupDoc, role: Role) -> LivePolicy {
        let of = match role {
            Role::Reader => LivePolicy::of_readers,
            Role::Writer | Role::Steward => LivePolicy::of_writers,
        };
        of(&self.templates, self.lake.bucket(), &self.lake.workspace(&doc.group), reaches(&doc.grants))
    }

    pub(super) fn user_policies(&self, doc: &UserDoc) -> Policies {
        named(&policy_base(doc), &self.live_policy(doc))
    }

    pub(super) fn group_policies(&self, doc: &GroupDoc) -> [(MinioGroup, Policies); 2] {
        [Role::Reader, Role::Writer].map(|role| {
            let group = MinioGroup::new(&doc.group, &doc.incarnation, role);
            let policies = named(group.as_str(), &self.group_policy(doc, role));
            (group, policies)
        })
    }

    pub(super) async fn put_policies(
        &self,
        policies: impl Iterator<Item = (&String, &PolicyDocument)>,
    ) -> Result<(), Error> {
        for (name, document) in policies {
            self.minio.put_policy(name, &document.to_json()).await?;
        }
        Ok(())
    }

    /// Makes the stale ones among these policies allow nothing: MinIO takes none off who is disabled, and enabled they would
    /// have them for a moment.
    pub(super) async fn empty_policies(
        &self,
        doc: &UserDoc,
        attached: &BTreeSet<String>,
        wanted: &Policies,
    ) -> Result<(), Error> {
        let base = policy_base(doc);
        for name in attached.iter().filter(|name| name.starts_with(&base) && !wanted.contains_key(*name)) {
            self.minio.put_policy(name, NOTHING).await?;
        }
        Ok(())
    }

    /// Removes stale policies: ours only, and none that is wanted. `false`: somebody has one of them attached.
    pub(super) async fn remove_policies(&self, stale: &BTreeSet<String>, wanted: &Policies) -> Result<bool, Error> {
        let mut all_removed = true;
        for name in stale.iter().filter(|name| name.starts_with(PREFIX) && !wanted.contains_key(*name)) {
            match self.minio.remove_policy(name).await {
                Err(MinioError::InUse { .. }) => all_removed = false,
                removed => removed?,
            }
        }
        Ok(all_removed)
    }
}

/// What the names of a user's policies begin with.
pub(super) fn policy_base(doc: &UserDoc) -> String {
    format!("{PREFIX}{}-{}", doc.username, doc.incarnation.as_str())
}

fn reaches(grants: &BTreeMap<LakePath, Grant>) -> Vec<Reach> {
    let reach = |(path, grant): (&LakePath, &Grant)| Reach {
        path: path.clone(),
        access: grant.access,
        until: grant.expires_at,
    };
    grants.iter().map(reach).collect()
}

fn named(base: &str, policy: &LivePolicy) -> Policies {
    let name = |document: &PolicyDocument| {
        let hash = digest::digest(&digest::SHA256, document.to_json().as_bytes());
        let hash: String = hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        (format!("{base}-{hash}"), document.clone())
    };
    policy.documents().iter().map(name).collect()
}

pub(super) fn list(policies: &Policies) -> Vec<String> {
    policies.keys().cloned().collect()
}

/// MinIO's list of names with commas between them.
pub(super) fn names(list: &str) -> BTreeSet<String> {
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
