//! Looking for drift, and repairing it: by settling who differs, and by finishing what broke off.
//!
//! Touches only what is ours, and never removes data. Any number of replicas may do this at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    time::{Duration, Instant},
};

use super::{
    Actor, Broker, Data, Error, all, audit,
    drift::{Drift, Kind, Look},
    if_readable,
    policies::Policies,
    require_admin,
    settle::Secret,
};
use crate::{
    identity::{Identity, Username},
    lake::{GroupName, LakePath, Principal},
    minio::{
        MinioUser, Status,
        ledger::{AccountState, Document, Generation, GroupDoc, LakeDoc, UserDoc},
    },
};

/// How long a change takes to settle, amply: what differs before and after that is no change under way.
const SETTLING: Duration = Duration::from_secs(1);

/// What became of one difference.
#[derive(Debug)]
pub struct Repair {
    pub drift: Drift,
    pub mended: Mended,
}

#[derive(Debug)]
pub enum Mended {
    Done,
    /// It is only told, for this reason.
    Left(&'static str),
    Failed(Error),
}

impl Mended {
    /// As the API and the metrics spell it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done => "repaired",
            Self::Left(_) => "left",
            Self::Failed(_) => "failed",
        }
    }
}

/// In this order: users need their groups, and policies go when nobody has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Groups,
    Users,
    LeftoverUsers,
    LeftoverPolicies,
}

impl Broker {
    /// What differs. For administrators.
    pub async fn drift_for(&self, actor: &Identity) -> Result<BTreeSet<Drift>, Error> {
        require_admin(actor)?;
        self.drift().await
    }

    /// Repairs what differs. For administrators.
    pub async fn reconcile_for(&self, actor: &Identity) -> Result<Vec<Repair>, Error> {
        require_admin(actor)?;
        self.reconcile_as(&actor.into()).await
    }

    /// What differs. For who runs the broker: nobody is asked for their rights.
    pub async fn drift(&self) -> Result<BTreeSet<Drift>, Error> {
        Ok(self.look_twice().await?.1)
    }

    /// Repairs what differs, because it is due.
    pub async fn reconcile(&self) -> Result<Vec<Repair>, Error> {
        self.reconcile_as(&Actor::Lakepass).await
    }

    /// Repairs what differs, and says what became of each. For who runs the broker.
    pub async fn reconcile_as(&self, by: &Actor) -> Result<Vec<Repair>, Error> {
        let started = Instant::now();
        let (look, drift) = self.look_twice().await?;
        for kind in Kind::ALL {
            let count = drift.iter().filter(|drift| drift.kind == kind).count();
            metrics::gauge!("lakepass_drift", "kind" => kind.name()).set(count as f64);
        }
        let mut repairs = Vec::new();
        let mut to_do: BTreeMap<(Step, Option<Principal>), Vec<Drift>> = BTreeMap::new();
        for drift in drift {
            match drift.kind.left_because() {
                None => to_do.entry((step(&drift), drift.of.clone())).or_default().push(drift),
                Some(reason) => repairs.push(Repair { drift, mended: Mended::Left(reason) }),
            }
        }
        for step in [Step::Groups, Step::Users, Step::LeftoverUsers, Step::LeftoverPolicies] {
            let now = to_do.iter().filter(|((at, _), _)| *at == step);
            let mended = now.map(async |((_, of), drift)| {
                let of = of.as_ref();
                let what: Vec<String> = drift.iter().map(described).collect();
                let whose = of.map(|of| format!("{of}: ")).unwrap_or_default();
                let subject = whose + &what.join("; ");
                let mend = self.mend(step, of, drift, &look);
                let failed = audit::recorded(by, "repair", &subject, mend).await.err();
                let mended = || failed.clone().map_or(Mended::Done, Mended::Failed);
                Ok::<_, Error>(drift.iter().map(|drift| Repair { drift: drift.clone(), mended: mended() }).collect())
            });
            let mended: Vec<Vec<Repair>> = all(mended).await?;
            repairs.extend(mended.into_iter().flatten());
        }
        repairs.iter().for_each(tell);
        metrics::histogram!("lakepass_reconcile_duration_seconds").record(started.elapsed().as_secs_f64());
        metrics::gauge!("lakepass_reconcile_last_success_timestamp_seconds").set(self.now().as_second() as f64);
        Ok(repairs)
    }

    /// What differs at two looks, and the second one.
    async fn look_twice(&self) -> Result<(Look, BTreeSet<Drift>), Error> {
        let look = self.look().await?;
        let at_first = self.differences(&look);
        if at_first.is_empty() {
            return Ok((look, at_first));
        }
        tokio::time::sleep(SETTLING).await;
        let look = self.look().await?;
        let still = &self.differences(&look) & &at_first;
        Ok((look, still))
    }

    async fn look(&self) -> Result<Look, Error> {
        let at_minio = self.minio.inventory().await?;
        let (users, groups) = self.ledger.all_names().await?;
        let (users, unreadable_users) = self.documents::<UserDoc>(users).await?;
        let (groups, unreadable_groups) = self.documents::<GroupDoc>(groups).await?;
        let unreadable_lake = if_readable(self.ledger.read::<LakeDoc>(&()).await)?.is_none();
        let live = || users.iter().filter(|doc| doc.state != AccountState::Deleting);
        let generations = live().flat_map(|doc| [Some(&doc.session_user), doc.key_user.as_ref()]).flatten();
        let is_enabled = |generation: &&Generation| {
            at_minio.users.get(generation.user.as_str()).is_some_and(|info| info.status == Status::Enabled)
        };
        let other_secrets = all(generations.filter(is_enabled).map(async |generation| {
            let other = self.minio.has_another_secret(&generation.user, self.lake.bucket()).await?;
            Ok::<_, Error>(other.then(|| generation.user.clone()))
        }));
        let other_secrets = other_secrets.await?.into_iter().flatten().collect();
        let homes = live().flat_map(|doc| self.lake.home(&doc.username));
        let workspaces = groups.iter().filter(|doc| !doc.deleting).flat_map(|doc| self.lake.workspace(&doc.group));
        let missing_folders = all(homes.chain(workspaces).map(async |path: LakePath| {
            let missing = self.minio.is_empty(self.lake.bucket(), path.as_str()).await?;
            Ok::<_, Error>(missing.then_some(path))
        }));
        let missing_folders = missing_folders.await?.into_iter().flatten().collect();
        Ok(Look {
            at_minio,
            users: users.into_iter().map(|doc| (doc.username.clone(), doc)).collect(),
            groups: groups.into_iter().map(|doc| (doc.group.key(), doc)).collect(),
            unreadable_users,
            unreadable_groups,
            unreadable_lake,
            other_secrets,
            missing_folders,
            now: self.now(),
        })
    }

    /// The documents under these names, and the names of those that cannot be read.
    async fn documents<D: Document<Key: FromStr + Sized>>(
        &self,
        names: Vec<String>,
    ) -> Result<(Vec<D>, BTreeSet<String>), Error> {
        let read = all(names.iter().map(async |name| match name.parse::<D::Key>() {
            Ok(key) => if_readable(self.ledger.read::<D>(&key).await),
            Err(_) => Ok(None),
        }));
        let (mut documents, mut unreadable) = (Vec::new(), BTreeSet::new());
        for (document, name) in read.await?.into_iter().zip(names) {
            match document {
                Some(document) => documents.extend(document),
                None => {
                    unreadable.insert(name);
                }
            }
        }
        Ok((documents, unreadable))
    }

    async fn mend(&self, step: Step, of: Option<&Principal>, drift: &[Drift], look: &Look) -> Result<(), Error> {
        match (step, of) {
            (Step::Groups | Step::Users, None) => Err(Error::NotFound("nobody in the ledger has it".into())),
            (Step::Groups | Step::Users, Some(Principal::Group(group))) => self.mend_group(group, drift).await,
            (Step::Groups | Step::Users, Some(Principal::User(user))) => self.mend_user(user, drift, look).await,
            (Step::LeftoverUsers, _) => self.remove_leftover_users(drift).await,
            (Step::LeftoverPolicies, _) => self.remove_leftover_policies(of, drift).await,
        }
    }

    async fn mend_user(&self, user: &Username, drift: &[Drift], look: &Look) -> Result<(), Error> {
        let Some(doc) = self.ledger.read::<UserDoc>(user).await? else { return Ok(()) };
        if doc.state == AccountState::Deleting {
            // One with the data may be under way, and goes on after us: whoever came by then would lose theirs.
            return if doc.purging {
                self.settle_user(user, Secret::Trust).await.map(|_| ())
            } else {
                self.finish_user_deletion(&doc, Data::Keep).await
            };
        }
        self.put_again(&self.user_policies(&doc), drift).await?;
        let broke_off = things(drift, Kind::LakeKeyUnfinished);
        if let Some(seen) = look.users.get(user).filter(|_| !broke_off.is_empty()) {
            let drop = |now: &mut UserDoc| {
                if now.lake_keys == seen.lake_keys {
                    now.lake_keys.retain(|key| !broke_off.contains(key.access_key.as_str()));
                }
            };
            self.change_user(&doc, drop).await?;
        }
        let doc = self.known_user(user).await?;
        let known = |key: &str| doc.lake_keys.iter().any(|known| known.access_key == key);
        for key in broke_off.union(&things(drift, Kind::AccessKeyUnknown)).filter(|key| !known(key)) {
            self.minio.remove_access_key(key).await?;
        }
        let secret = if has(drift, Kind::SecretNotOurs) { Secret::Reset } else { Secret::Trust };
        self.settle_user(user, secret).await?;
        if has(drift, Kind::FolderMissing) {
            self.folders(&self.lake.home(user)).await?;
        }
        Ok(())
    }

    async fn mend_group(&self, group: &GroupName, drift: &[Drift]) -> Result<(), Error> {
        let Some(doc) = self.ledger.read::<GroupDoc>(group).await? else { return Ok(()) };
        if doc.deleting {
            return if doc.purging {
                self.settle_group(group, None).await
            } else {
                self.finish_group_deletion(&doc, Data::Keep).await
            };
        }
        let [readers, writers] = self.group_policies(&doc);
        self.put_again(&readers.1.into_iter().chain(writers.1).collect(), drift).await?;
        self.settle_group(group, None).await?;
        for stranger in drift.iter().filter(|drift| drift.kind == Kind::StrangerInGroup) {
            self.minio.remove_members(&stranger.at, &[&stranger.thing]).await?;
        }
        if has(drift, Kind::FolderMissing) {
            self.folders(&self.lake.workspace(group)).await?;
        }
        Ok(())
    }

    /// Puts policies again that are missing or say something else. Their names hold the hash of what they say: whenever
    /// this comes, it is right.
    async fn put_again(&self, policies: &Policies, drift: &[Drift]) -> Result<(), Error> {
        let wrong = &things(drift, Kind::PolicyMissing) | &things(drift, Kind::PolicyChanged);
        self.put_policies(policies.iter().filter(|(name, _)| wrong.contains(name.as_str()))).await
    }

    /// They were not in the ledger after they were seen at MinIO, so they never will be again; or they are old canaries.
    async fn remove_leftover_users(&self, drift: &[Drift]) -> Result<(), Error> {
        for drift in drift {
            self.minio.remove_user(&MinioUser::from(drift.at.clone())).await?;
        }
        Ok(())
    }

    async fn remove_leftover_policies(&self, of: Option<&Principal>, drift: &[Drift]) -> Result<(), Error> {
        let wanted = match of {
            // A canary's.
            None => None,
            Some(Principal::User(user)) => self.ledger.read::<UserDoc>(user).await?.map(|doc| self.user_policies(&doc)),
            Some(Principal::Group(group)) => self.ledger.read::<GroupDoc>(group).await?.map(|doc| {
                let [readers, writers] = self.group_policies(&doc);
                readers.1.into_iter().chain(writers.1).collect()
            }),
        };
        let leftover = drift.iter().map(|drift| drift.at.clone()).collect();
        if self.remove_policies(&leftover, &wanted.unwrap_or_default()).await? {
            return Ok(());
        }
        Err(Error::Conflict("somebody has it attached".into()))
    }
}

fn step(drift: &Drift) -> Step {
    match (drift.kind, &drift.of) {
        (Kind::LeftoverUser, _) => Step::LeftoverUsers,
        (Kind::LeftoverPolicy, _) => Step::LeftoverPolicies,
        (_, Some(Principal::Group(_))) => Step::Groups,
        (_, Some(Principal::User(_)) | None) => Step::Users,
    }
}

fn has(drift: &[Drift], kind: Kind) -> bool {
    drift.iter().any(|drift| drift.kind == kind)
}

fn things(drift: &[Drift], kind: Kind) -> BTreeSet<&str> {
    drift.iter().filter(|drift| drift.kind == kind).map(|drift| drift.thing.as_str()).collect()
}

fn described(drift: &Drift) -> String {
    format!("{}: {}", drift.kind.name(), drift.sentence())
}

fn tell(repair: &Repair) {
    let (kind, what, outcome) = (repair.drift.kind.name(), repair.drift.sentence(), repair.mended.name());
    let why = match &repair.mended {
        Mended::Done => String::new(),
        Mended::Left(reason) => (*reason).to_owned(),
        Mended::Failed(error) => error.to_string(),
    };
    tracing::warn!(drift.kind = kind, outcome, why, "drift: {what}");
    metrics::counter!("lakepass_repairs_total", "kind" => kind, "outcome" => outcome).increment(1);
}
