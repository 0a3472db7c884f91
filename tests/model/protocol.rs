//! What the broker does, call for call: `broker/settle.rs`, `policies.rs`, `sharing.rs`, `groups.rs`, `sessions.rs`,
//! `deletion.rs`; and `reconcile.rs`, which looks first and settles only who differs. No turns: each writer is another replica.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    future::poll_fn,
    rc::Rc,
    task::Poll,
};

use crate::world::*;

/// How often one change may be outrun by others.
const MAX_ROUNDS: usize = 20;

/// What a writer is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    SignIn,
    Share,
    Unshare,
    ShareWithGroup,
    UnshareWithGroup,
    Join(Role),
    Leave,
    IssueLakeKey,
    ResetSecret,
    Revoke,
    Disable,
    Enable,
    DeleteUser,
    DeleteGroup,
    Reconcile,
}

impl Change {
    /// Which of the logs an answer is about: the user's document, the group's grants, its members.
    pub fn is_about(self) -> [bool; 3] {
        match self {
            Self::ShareWithGroup | Self::UnshareWithGroup => [false, true, false],
            Self::Join(_) | Self::Leave => [false, false, true],
            Self::DeleteGroup => [false, true, true],
            Self::SignIn | Self::ResetSecret | Self::Reconcile => [false; 3],
            Self::Share
            | Self::Unshare
            | Self::IssueLakeKey
            | Self::Revoke
            | Self::Disable
            | Self::Enable
            | Self::DeleteUser => [true, false, false],
        }
    }
}

/// The protocol without one of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Without {
    Nothing,
    SecondLook,
    RemovingPoliciesOfBefore,
    LookAfterPuttingUser,
    NewGenerations,
    Retiring,
    HintsFirst,
    NextRound,
    RemovingWhatWasPut,
    SettlingWhoIsBeingDeleted,
    DisablingFirst,
}

/// Why a change was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failed {
    NotFound,
    Conflict,
    Outrun,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    AsItShouldBe,
    Changed,
}

/// A writer's way to the world. It is run anew for each step: what it was answered before is told again.
pub struct Writer {
    pub number: Unique,
    pub without: Without,
    told: RefCell<std::vec::IntoIter<Answer>>,
    pub wants: RefCell<Option<Call>>,
    /// Whether the ledger says by now what the change is about.
    pub has_decided: Cell<bool>,
    names: Cell<Unique>,
    /// What the change keeps in mind while it settles.
    keeps: Cell<Option<(&'static str, Unique)>>,
}

type Result<T> = std::result::Result<T, Failed>;

impl Writer {
    pub fn new(number: Unique, without: Without, told: Vec<Answer>) -> Rc<Self> {
        Rc::new(Self {
            number,
            without,
            told: RefCell::new(told.into_iter()),
            wants: RefCell::default(),
            has_decided: Cell::new(false),
            names: Cell::new(0),
            keeps: Cell::new(None),
        })
    }

    pub async fn run(self: Rc<Self>, change: Change) -> Result<()> {
        match change {
            Change::SignIn => self.sign_in().await.map(|_| ()),
            Change::Share => self.change_grants(|grants| grants | GIVEN).await,
            Change::Unshare => self.change_grants(|grants| grants & !GIVEN).await,
            Change::ShareWithGroup => self.change_shared(true).await,
            Change::UnshareWithGroup => self.change_shared(false).await,
            Change::Join(role) => self.join(role).await,
            Change::Leave => self.leave().await,
            Change::IssueLakeKey => self.issue_lake_key().await,
            Change::ResetSecret => self.settle_user(None, Secret::Reset).await.map(|_| ()),
            Change::Revoke => self.revoke().await,
            Change::Disable => self.set_state(State::Disabled).await,
            Change::Enable => self.set_state(State::Enabled).await,
            Change::DeleteUser => self.delete_user().await,
            Change::DeleteGroup => self.delete_group().await,
            Change::Reconcile => self.reconcile().await,
        }
    }

    async fn call(&self, call: Call) -> Answer {
        if let Some(answer) = self.told.borrow_mut().next() {
            return answer;
        }
        *self.wants.borrow_mut() = Some(call);
        poll_fn(|_| Poll::<Answer>::Pending).await
    }

    /// Says that a round of settling begins, which depends on this and nothing else.
    async fn round(&self, what: &'static str, stale: &Policies, looked_again: bool, secret: Secret) {
        let round = Round {
            what,
            stale: stale.clone(),
            looked_again,
            secret,
            names: self.names.get(),
            keeps: self.keeps.get(),
            has_decided: self.has_decided.get(),
        };
        self.call(Call::Begin(round)).await;
    }

    /// A call that fails only because something is not there.
    async fn ask(&self, call: Call) -> Result<()> {
        if self.call(call).await == Answer::Done { Ok(()) } else { Err(Failed::NotFound) }
    }

    fn never_used(&self) -> Unique {
        self.names.set(self.names.get() + 1);
        self.number * 16 + self.names.get()
    }

    async fn read_user(&self) -> Option<UserDoc> {
        let Answer::User(doc) = self.call(Call::ReadUser).await else { unreachable!() };
        doc
    }

    async fn read_group(&self) -> Option<GroupDoc> {
        let Answer::Group(doc) = self.call(Call::ReadGroup).await else { unreachable!() };
        doc
    }

    /// As `Ledger::update`: gives the documents before and now.
    async fn update_user(
        &self,
        decides: bool,
        change: impl Fn(Option<UserDoc>) -> Result<Option<UserDoc>>,
    ) -> Result<(Option<UserDoc>, Option<UserDoc>)> {
        loop {
            let before = self.read_user().await;
            let mut after = change(before.clone())?;
            if let Some(after) = after.as_mut().filter(|after| Some(&**after) != before.as_ref()) {
                after.revision = before.as_ref().map_or(0, |before| before.revision) + 1;
            }
            if after == before || self.call(Call::SwapUser(before.clone(), after.clone())).await == Answer::Done {
                self.has_decided.set(self.has_decided.get() || decides);
                return Ok((before, after));
            }
        }
    }

    async fn update_group(
        &self,
        change: impl Fn(Option<GroupDoc>) -> Result<Option<GroupDoc>>,
    ) -> Result<(Option<GroupDoc>, Option<GroupDoc>)> {
        loop {
            let before = self.read_group().await;
            let mut after = change(before.clone())?;
            if let Some(after) = after.as_mut().filter(|after| Some(&**after) != before.as_ref()) {
                after.revision = before.as_ref().map_or(0, |before| before.revision) + 1;
            }
            if after == before || self.call(Call::SwapGroup(before.clone(), after.clone())).await == Answer::Done {
                self.has_decided.set(true);
                return Ok((before, after));
            }
        }
    }

    /// As `Broker::change_user`.
    async fn change_user(&self, doc: &UserDoc, change: impl Fn(&mut UserDoc)) -> Result<()> {
        let changed = self.update_user(false, |now| {
            Ok(now.map(|mut now| {
                if now.life == doc.life {
                    change(&mut now);
                }
                now
            }))
        });
        changed.await.map(|_| ())
    }

    // settle.rs

    async fn settle_user(&self, before: Option<&UserDoc>, mut secret: Secret) -> Result<Option<UserDoc>> {
        let before = before.filter(|_| self.without != Without::RemovingPoliciesOfBefore);
        let mut stale: Policies = before.map(UserDoc::policy).into_iter().collect();
        let mut looked_again = false;
        for _ in 0..MAX_ROUNDS {
            self.round("user", &stale, looked_again, secret).await;
            let Some(doc) = self.read_user().await else {
                self.remove_policies(&stale, &Policies::new()).await;
                return Ok(None);
            };
            let mut policies = Policies::from([doc.policy()]);
            if self.without != Without::RemovingWhatWasPut {
                stale.extend(&policies);
            }
            if doc.state == State::Deleting {
                policies.clear();
            }
            let seen = match self.settle_user_once(&doc, secret, &mut stale).await {
                Err(Failed::NotFound) => Seen::Changed,
                seen => seen?,
            };
            secret = Secret::Trust;
            if self.without == Without::NextRound {
                return Ok(Some(doc));
            }
            if seen == Seen::AsItShouldBe && (self.remove_policies(&stale, &policies).await || looked_again) {
                return Ok(Some(doc));
            }
            looked_again = seen == Seen::AsItShouldBe;
        }
        Err(Failed::Outrun)
    }

    async fn settle_user_once(&self, doc: &UserDoc, secret: Secret, stale: &mut Policies) -> Result<Seen> {
        let mut seen = Seen::AsItShouldBe;
        if !doc.retired.is_empty() {
            self.remove_minio_users(&doc.retired, stale).await;
            self.change_user(doc, |now| now.retired.retain(|user| !doc.retired.contains(user))).await?;
            seen = Seen::Changed;
        }
        if doc.state == State::Deleting {
            if self.without != Without::SettlingWhoIsBeingDeleted {
                let users: Vec<Unique> = doc.generations().map(|generation| generation.user).collect();
                self.remove_minio_users(&users, stale).await;
            }
            return Ok(seen);
        }
        let mut infos = Vec::new();
        for generation in doc.generations() {
            let Answer::UserInfo(info) = self.call(Call::UserInfo(generation.user)).await else { unreachable!() };
            infos.push((generation, info));
        }
        let wanted = self.membership(doc).await.map(|(group, role)| (group.life, role)).into_iter().collect();
        for (generation, info) in infos {
            if self.settle_generation(doc, generation, info, &wanted, secret, stale).await? == Seen::Changed {
                seen = Seen::Changed;
            }
        }
        Ok(seen)
    }

    async fn membership(&self, doc: &UserDoc) -> Option<(GroupDoc, Role)> {
        if !doc.may_be_member {
            return None;
        }
        let group = self.read_group().await.filter(|group| !group.deleting)?;
        let role = group.member?;
        Some((group, role))
    }

    async fn settle_generation(
        &self,
        doc: &UserDoc,
        generation: Generation,
        info: Option<MinioUser>,
        wanted: &BTreeSet<MinioGroup>,
        secret: Secret,
        stale: &mut Policies,
    ) -> Result<Seen> {
        let (user, policies) = (generation.user, BTreeSet::from([doc.policy()]));
        let should_be_enabled = doc.state == State::Enabled;
        let mut seen = Seen::AsItShouldBe;
        let mut info = match info {
            Some(info) => {
                if secret == Secret::Reset && !self.put_user(user, info.enabled).await {
                    return Ok(Seen::Changed);
                }
                info
            }
            None if generation.made && self.without != Without::NewGenerations => {
                self.next_generation(doc, generation).await?;
                return Ok(Seen::Changed);
            }
            None => {
                if !self.put_user(user, should_be_enabled).await {
                    return Ok(Seen::Changed);
                }
                seen = Seen::Changed;
                MinioUser { enabled: should_be_enabled, policies: BTreeSet::new(), member_of: BTreeSet::new() }
            }
        };
        if info.enabled && !should_be_enabled && self.without != Without::DisablingFirst {
            seen = Seen::Changed;
            self.ask(Call::SetStatus(user, false)).await?;
            info.enabled = false;
        }
        let enabling = !info.enabled && should_be_enabled;
        if enabling || info.enabled && info.policies != policies {
            seen = Seen::Changed;
            stale.extend(&info.policies);
            if enabling {
                for policy in info.policies.difference(&policies) {
                    self.call(Call::EmptyPolicy(*policy)).await;
                }
            }
            for policy in policies.iter().filter(|policy| enabling || !info.policies.contains(policy)) {
                self.call(Call::PutPolicy(*policy)).await;
            }
            if self.without != Without::SecondLook
                && self.read_user().await.is_none_or(|now| now.revision != doc.revision)
            {
                return Ok(Seen::Changed);
            }
            if enabling {
                self.ask(Call::SetStatus(user, true)).await?;
                info.enabled = true;
            }
            self.ask(Call::AttachToUser(user, policies)).await?;
        }
        for group in info.member_of.difference(wanted) {
            seen = Seen::Changed;
            self.call(Call::RemoveMember(*group, user)).await;
        }
        for group in wanted.difference(&info.member_of) {
            seen = Seen::Changed;
            self.ask(Call::AddMember(*group, user)).await?;
        }
        if info.enabled && !should_be_enabled {
            seen = Seen::Changed;
            self.ask(Call::SetStatus(user, false)).await?;
        }
        if !generation.made {
            seen = Seen::Changed;
            self.change_user(doc, |now| {
                for now in [Some(&mut now.session_user), now.key_user.as_mut()].into_iter().flatten() {
                    now.made |= now.user == user;
                }
            })
            .await?;
        }
        Ok(seen)
    }

    async fn settle_group(&self, before: Option<&GroupDoc>) -> Result<()> {
        let before = before.filter(|_| self.without != Without::RemovingPoliciesOfBefore);
        let policies = |doc: &GroupDoc| ROLES.map(|role| doc.policy(role));
        let mut stale: Policies = before.into_iter().flat_map(policies).collect();
        let mut looked_again = false;
        for _ in 0..MAX_ROUNDS {
            self.round("group", &stale, looked_again, Secret::Trust).await;
            let Some(doc) = self.read_group().await else {
                self.remove_policies(&stale, &Policies::new()).await;
                return Ok(());
            };
            let mut wanted: Policies = policies(&doc).into();
            if self.without != Without::RemovingWhatWasPut {
                stale.extend(&wanted);
            }
            if doc.deleting {
                wanted.clear();
            }
            let seen = match self.settle_group_once(&doc, &mut stale).await {
                Err(Failed::NotFound) => Seen::Changed,
                seen => seen?,
            };
            if self.without == Without::NextRound {
                return Ok(());
            }
            if seen == Seen::AsItShouldBe && (self.remove_policies(&stale, &wanted).await || looked_again) {
                return Ok(());
            }
            looked_again = seen == Seen::AsItShouldBe;
        }
        Err(Failed::Outrun)
    }

    async fn settle_group_once(&self, doc: &GroupDoc, stale: &mut Policies) -> Result<Seen> {
        if doc.deleting {
            self.remove_minio_groups(doc.life, stale).await?;
            return Ok(Seen::AsItShouldBe);
        }
        let mut seen = Seen::AsItShouldBe;
        for role in ROLES {
            let (group, policies) = ((doc.life, role), BTreeSet::from([doc.policy(role)]));
            let Answer::GroupInfo(info) = self.call(Call::GroupInfo(group)).await else { unreachable!() };
            let attached = match info {
                Some((attached, _)) => attached,
                None => {
                    self.call(Call::MakeGroup(group)).await;
                    Policies::new()
                }
            };
            if attached == policies {
                continue;
            }
            seen = Seen::Changed;
            stale.extend(&attached);
            for policy in policies.difference(&attached) {
                self.call(Call::PutPolicy(*policy)).await;
            }
            if self.without != Without::SecondLook
                && self.read_group().await.is_none_or(|now| now.revision != doc.revision)
            {
                return Ok(Seen::Changed);
            }
            self.ask(Call::AttachToGroup(group, policies)).await?;
        }
        Ok(seen)
    }

    async fn put_user(&self, user: Unique, enabled: bool) -> bool {
        self.call(Call::PutUser(user, enabled)).await;
        if self.without == Without::LookAfterPuttingUser {
            return true;
        }
        let now = self.read_user().await.filter(|now| now.state != State::Deleting);
        let is_theirs = now.is_some_and(|now| now.generations().any(|generation| generation.user == user));
        if !is_theirs {
            self.call(Call::RemoveUser(user)).await;
        }
        is_theirs
    }

    async fn next_generation(&self, doc: &UserDoc, lost: Generation) -> Result<()> {
        let next = Generation { user: self.never_used(), made: false };
        self.change_user(doc, |now| {
            for generation in [Some(&mut now.session_user), now.key_user.as_mut()].into_iter().flatten() {
                if *generation == lost {
                    *generation = next;
                }
            }
        })
        .await
    }

    async fn remove_policies(&self, stale: &Policies, wanted: &Policies) -> bool {
        let mut all_removed = true;
        for policy in stale.difference(wanted) {
            all_removed &= self.call(Call::RemovePolicy(*policy)).await == Answer::Done;
        }
        all_removed
    }

    async fn remove_minio_users(&self, users: &[Unique], stale: &mut Policies) {
        for user in users {
            let Answer::UserInfo(Some(info)) = self.call(Call::UserInfo(*user)).await else { continue };
            stale.extend(info.policies);
            self.call(Call::RemoveUser(*user)).await;
        }
    }

    async fn remove_minio_groups(&self, life: Unique, stale: &mut Policies) -> Result<()> {
        for group in ROLES.map(|role| (life, role)) {
            let Answer::GroupInfo(Some((policies, members))) = self.call(Call::GroupInfo(group)).await else {
                continue;
            };
            stale.extend(policies);
            for member in members {
                self.call(Call::RemoveMember(group, member)).await;
            }
            if self.call(Call::RemoveGroup(group)).await != Answer::Done {
                return Err(Failed::Conflict);
            }
        }
        Ok(())
    }

    // users.rs, sharing.rs, groups.rs, lake_keys.rs, sessions.rs

    async fn sign_in(&self) -> Result<UserDoc> {
        let (life, user) = (self.never_used(), self.never_used());
        let (_, now) = self
            .update_user(false, |doc| match doc {
                Some(doc) if doc.state == State::Deleting => Err(Failed::Conflict),
                Some(doc) => Ok(Some(doc)),
                None => Ok(Some(UserDoc {
                    life,
                    revision: 0,
                    state: State::Enabled,
                    session_user: Generation { user, made: false },
                    key_user: None,
                    retired: Vec::new(),
                    may_be_member: false,
                    grants: 0,
                })),
            })
            .await?;
        match now {
            Some(doc) if doc.session_user.made && doc.retired.is_empty() => Ok(doc),
            Some(_) | None => self.settle_user(None, Secret::Trust).await?.ok_or(Failed::NotFound),
        }
    }

    async fn change_grants(&self, change: impl Fn(Reach) -> Reach) -> Result<()> {
        let (before, _) = self
            .update_user(true, |doc| {
                let doc = doc.filter(|doc| doc.state != State::Deleting).ok_or(Failed::NotFound)?;
                Ok(Some(UserDoc { grants: change(doc.grants), ..doc }))
            })
            .await?;
        self.settle_user(before.as_ref(), Secret::Trust).await.map(|_| ())
    }

    async fn change_shared(&self, shared: bool) -> Result<()> {
        let (before, _) = self
            .update_group(|doc| {
                let doc = doc.filter(|doc| !doc.deleting).ok_or(Failed::NotFound)?;
                Ok(Some(GroupDoc { shared, ..doc }))
            })
            .await?;
        self.settle_group(before.as_ref()).await
    }

    async fn note_membership(&self) -> Result<Unique> {
        let noted = self.update_user(false, |doc| {
            let doc = doc.filter(|doc| doc.state != State::Deleting).ok_or(Failed::NotFound)?;
            Ok(Some(UserDoc { may_be_member: true, ..doc }))
        });
        noted.await?.1.map(|doc| doc.life).ok_or(Failed::NotFound)
    }

    async fn join(&self, role: Role) -> Result<()> {
        let mut life = None;
        if self.without != Without::HintsFirst {
            life = Some(self.note_membership().await?);
        }
        let group = self.never_used();
        let (before, _) = self
            .update_group(|doc| match doc {
                Some(doc) if doc.deleting => Err(Failed::Conflict),
                Some(doc) => Ok(Some(GroupDoc { member: Some(role), ..doc })),
                None => {
                    Ok(Some(GroupDoc { life: group, revision: 0, deleting: false, member: Some(role), shared: false }))
                }
            })
            .await?;
        let life = match life {
            Some(life) => life,
            None => self.note_membership().await?,
        };
        self.keeps.set(Some(("member", life)));
        self.settle_group(before.as_ref()).await?;
        let settled = self.settle_user(None, Secret::Trust).await?;
        if settled.is_none_or(|now| now.life != life || now.state == State::Deleting) {
            self.update_group(|doc| doc.map(|doc| Some(GroupDoc { member: None, ..doc })).ok_or(Failed::NotFound))
                .await?;
            self.settle_user(None, Secret::Trust).await?;
            return Err(Failed::Conflict);
        }
        Ok(())
    }

    async fn leave(&self) -> Result<()> {
        let (before, _) = self
            .update_group(|doc| match doc {
                Some(doc) if doc.deleting => Err(Failed::Conflict),
                Some(doc) => Ok(Some(GroupDoc { member: None, ..doc })),
                None => Err(Failed::NotFound),
            })
            .await?;
        self.settle_group(before.as_ref()).await?;
        self.settle_user(None, Secret::Trust).await.map(|_| ())
    }

    async fn issue_lake_key(&self) -> Result<()> {
        self.sign_in().await?;
        self.keeps.set(Some(("signed in", 0)));
        let next = Generation { user: self.never_used(), made: false };
        self.update_user(true, |doc| {
            let doc = doc.ok_or(Failed::NotFound)?;
            if doc.state != State::Enabled {
                return Err(Failed::Conflict);
            }
            Ok(Some(UserDoc { key_user: doc.key_user.or(Some(next)), ..doc }))
        })
        .await?;
        self.settle_user(None, Secret::Trust).await.map(|_| ())
    }

    async fn revoke(&self) -> Result<()> {
        let next = Generation { user: self.never_used(), made: false };
        self.update_user(true, |doc| {
            let mut doc = doc.ok_or(Failed::NotFound)?;
            if doc.session_user.user != next.user {
                let retired = std::mem::replace(&mut doc.session_user, next).user;
                if self.without != Without::Retiring {
                    doc.retired.push(retired);
                }
            }
            Ok(Some(doc))
        })
        .await?;
        self.settle_user(None, Secret::Trust).await.map(|_| ())
    }

    async fn set_state(&self, state: State) -> Result<()> {
        self.update_user(true, |doc| match doc {
            None => Err(Failed::NotFound),
            Some(doc) if doc.state == State::Deleting => Err(Failed::Conflict),
            Some(doc) => Ok(Some(UserDoc { state, ..doc })),
        })
        .await?;
        self.settle_user(None, Secret::Trust).await.map(|_| ())
    }

    // deletion.rs

    async fn delete_user(&self) -> Result<()> {
        let marked = self.update_user(true, |doc| {
            doc.map(|doc| Some(UserDoc { state: State::Deleting, ..doc })).ok_or(Failed::NotFound)
        });
        let doc = marked.await?.1.ok_or(Failed::NotFound)?;
        self.keeps.set(Some(("user", doc.life)));
        self.settle_user(None, Secret::Trust).await?;
        if doc.may_be_member {
            self.update_group(|group| Ok(group.map(|group| GroupDoc { member: None, ..group }))).await?;
        }
        self.update_user(false, |now| Ok(now.filter(|now| now.life != doc.life))).await?;
        Ok(())
    }

    async fn delete_group(&self) -> Result<()> {
        let marked =
            self.update_group(|doc| doc.map(|doc| Some(GroupDoc { deleting: true, ..doc })).ok_or(Failed::NotFound));
        let doc = marked.await?.1.ok_or(Failed::NotFound)?;
        self.keeps.set(Some(("group", doc.life)));
        self.settle_group(None).await?;
        if doc.member.is_some() {
            self.settle_user(None, Secret::Trust).await?;
        }
        self.update_group(|now| Ok(now.filter(|now| now.life != doc.life))).await?;
        Ok(())
    }

    // reconcile.rs

    async fn reconcile(&self) -> Result<()> {
        match self.read_user().await.map(|doc| doc.state) {
            Some(State::Deleting) => self.delete_user().await.or_else(gone)?,
            Some(State::Enabled | State::Disabled) => self.settle_user(None, Secret::Trust).await.map(|_| ())?,
            None => {}
        }
        match self.read_group().await.map(|doc| doc.deleting) {
            Some(true) => {
                self.delete_group().await.or_else(gone)?;
            }
            Some(false) => self.settle_group(None).await?,
            None => {}
        }
        // What was at MinIO and in the ledger at no moment since.
        let Answer::All(users, policies, emptied) = self.call(Call::List).await else { unreachable!() };
        let (user, group) = (self.read_user().await, self.read_group().await);
        let wanted = World::as_it_should_be(&Ledger { user, group });
        for leftover in users.iter().filter(|user| !wanted.users.contains_key(user)) {
            self.call(Call::RemoveUser(*leftover)).await;
        }
        for policy in emptied.intersection(&wanted.policies) {
            self.call(Call::PutPolicy(*policy)).await;
        }
        self.remove_policies(&policies, &wanted.policies).await;
        Ok(())
    }
}

/// Somebody else has finished it.
fn gone(failed: Failed) -> Result<()> {
    if failed == Failed::NotFound { Ok(()) } else { Err(failed) }
}
