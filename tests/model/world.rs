//! The ledger and MinIO, as small as the protocol needs them: one user, one group, each call one step.

use std::collections::{BTreeMap, BTreeSet};

/// What may be reached: one bit a folder and access.
pub type Reach = u8;
pub const HOME: Reach = 1;
/// A folder of somebody else, given by name.
pub const GIVEN: Reach = 2;
pub const WORKSPACE_READ: Reach = 4;
pub const WORKSPACE_WRITE: Reach = 8;
/// A folder of somebody else, given to the group.
pub const SHARED_READ: Reach = 16;
pub const SHARED_WRITE: Reach = 32;

/// A name that is never used twice: of a MinIO user, or of a life of a user or group.
pub type Unique = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    Enabled,
    Disabled,
    Deleting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Reader,
    Writer,
}

pub const ROLES: [Role; 2] = [Role::Reader, Role::Writer];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Generation {
    pub user: Unique,
    pub made: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserDoc {
    pub life: Unique,
    pub revision: u8,
    pub state: State,
    pub session_user: Generation,
    pub key_user: Option<Generation>,
    pub retired: Vec<Unique>,
    pub may_be_member: bool,
    pub grants: Reach,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupDoc {
    pub life: Unique,
    pub revision: u8,
    pub deleting: bool,
    pub member: Option<Role>,
    pub shared: bool,
}

/// A policy's name says its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Policy {
    pub of: Subject,
    pub reach: Reach,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    User(Unique),
    Group(Unique, Role),
}

pub type Policies = BTreeSet<Policy>;
pub type MinioGroup = (Unique, Role);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MinioUser {
    pub enabled: bool,
    pub policies: Policies,
    pub member_of: BTreeSet<MinioGroup>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ledger {
    pub user: Option<UserDoc>,
    pub group: Option<GroupDoc>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct World {
    pub ledger: Ledger,
    pub users: BTreeMap<Unique, MinioUser>,
    pub groups: BTreeMap<MinioGroup, Policies>,
    pub policies: Policies,
    /// What a policy says whose content was replaced: nothing.
    pub emptied: Policies,
    /// MinIO users that were made, by the ledger's word: of others nobody has keys.
    pub made: BTreeSet<Unique>,
    /// MinIO users that were removed. Should one come back, so do its keys.
    pub gone: BTreeSet<Unique>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Secret {
    Trust,
    Reset,
}

/// Everything that a round of settling depends on, and what comes after it: two that agree in it go on alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Round {
    pub what: &'static str,
    pub stale: Policies,
    pub looked_again: bool,
    pub secret: Secret,
    pub names: Unique,
    pub keeps: Option<(&'static str, Unique)>,
    pub has_decided: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Nothing is called.
    Begin(Round),
    ReadUser,
    ReadGroup,
    /// Compare-and-swap: what is expected, and what becomes of it.
    SwapUser(Option<UserDoc>, Option<UserDoc>),
    SwapGroup(Option<GroupDoc>, Option<GroupDoc>),
    UserInfo(Unique),
    PutUser(Unique, bool),
    SetStatus(Unique, bool),
    RemoveUser(Unique),
    AddMember(MinioGroup, Unique),
    RemoveMember(MinioGroup, Unique),
    GroupInfo(MinioGroup),
    MakeGroup(MinioGroup),
    RemoveGroup(MinioGroup),
    PutPolicy(Policy),
    EmptyPolicy(Policy),
    RemovePolicy(Policy),
    AttachToUser(Unique, Policies),
    AttachToGroup(MinioGroup, Policies),
    /// The users with policies, all policies, and those that say something else than their names.
    List,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    Done,
    /// Not found, in use, or changed meanwhile.
    Not,
    User(Option<UserDoc>),
    Group(Option<GroupDoc>),
    UserInfo(Option<MinioUser>),
    GroupInfo(Option<(Policies, BTreeSet<Unique>)>),
    All(BTreeSet<Unique>, Policies, Policies),
}

impl UserDoc {
    pub fn policy(&self) -> Policy {
        Policy { of: Subject::User(self.life), reach: HOME | self.grants }
    }

    pub fn generations(&self) -> impl Iterator<Item = Generation> {
        std::iter::once(self.session_user).chain(self.key_user)
    }
}

impl GroupDoc {
    pub fn policy(&self, role: Role) -> Policy {
        let reach = match role {
            Role::Reader => WORKSPACE_READ | if self.shared { SHARED_READ } else { 0 },
            Role::Writer => WORKSPACE_READ | WORKSPACE_WRITE | if self.shared { SHARED_READ | SHARED_WRITE } else { 0 },
        };
        Policy { of: Subject::Group(self.life, role), reach }
    }
}

impl Ledger {
    /// What each MinIO user should reach.
    pub fn reach(&self) -> BTreeMap<Unique, Reach> {
        let Some(user) = self.user.as_ref().filter(|user| user.state == State::Enabled) else { return BTreeMap::new() };
        let group = self.group.as_ref().filter(|group| !group.deleting);
        let by_group = group.and_then(|group| Some(group.policy(group.member?).reach)).unwrap_or_default();
        user.generations().map(|generation| (generation.user, user.policy().reach | by_group)).collect()
    }
}

impl World {
    /// What each MinIO user reaches.
    pub fn reach(&self) -> BTreeMap<Unique, Reach> {
        let says =
            |policies: &Policies| policies.difference(&self.emptied).fold(0, |reach, policy| reach | policy.reach);
        let by_groups = |user: &MinioUser| {
            user.member_of.iter().filter_map(|group| self.groups.get(group)).fold(0, |reach, of| reach | says(of))
        };
        let enabled = self.users.iter().filter(|(name, user)| user.enabled && self.made.contains(name));
        enabled.map(|(name, user)| (*name, says(&user.policies) | by_groups(user))).collect()
    }

    /// MinIO as the ledger says, and nothing besides.
    pub fn as_it_should_be(ledger: &Ledger) -> Self {
        let mut world = Self { ledger: ledger.clone(), ..Self::default() };
        let group = ledger.group.as_ref();
        for (group, role) in group.iter().flat_map(|group| ROLES.map(|role| (group, role))) {
            world.groups.insert((group.life, role), BTreeSet::from([group.policy(role)]));
            world.policies.insert(group.policy(role));
        }
        for (user, generation) in ledger.user.iter().flat_map(|user| user.generations().map(move |g| (user, g))) {
            let member_of = group.and_then(|group| Some((group.life, group.member?))).into_iter().collect();
            let policies = BTreeSet::from([user.policy()]);
            world.policies.extend(&policies);
            let enabled = user.state == State::Enabled;
            world.users.insert(generation.user, MinioUser { enabled, policies, member_of });
        }
        world
    }

    /// Nothing is left to do. What hangs on who is disabled does not count: MinIO lets nobody change it.
    pub fn is_as_it_should_be(&self) -> bool {
        let (mut wanted, mut world) = (Self::as_it_should_be(&self.ledger), self.clone());
        for user in wanted.users.values_mut().chain(world.users.values_mut()).filter(|user| !user.enabled) {
            let theirs = std::mem::take(&mut user.policies);
            wanted.policies.retain(|policy| !theirs.contains(policy));
            world.policies.retain(|policy| !theirs.contains(policy));
        }
        // Left over, of no use to anybody, and never used again: the reconciler tells of them and cannot know whose they are.
        world.users.retain(|name, user| {
            wanted.users.contains_key(name) || !user.policies.is_empty() || !user.member_of.is_empty()
        });
        let members: Vec<MinioGroup> = world.users.values().flat_map(|user| user.member_of.clone()).collect();
        world.groups.retain(|name, policies| {
            let is_left_over = !wanted.groups.contains_key(name) && !members.contains(name);
            if is_left_over {
                world.policies.retain(|policy| !policies.contains(policy));
            }
            !is_left_over
        });
        wanted.emptied.clone_from(&self.emptied);
        wanted.made.clone_from(&self.made);
        wanted.gone.clone_from(&self.gone);
        let is_unfinished = self.ledger.user.as_ref().is_some_and(|user| user.state == State::Deleting)
            || self.ledger.group.as_ref().is_some_and(|group| group.deleting);
        let emptied =
            self.users.values().filter(|user| user.enabled).any(|user| !user.policies.is_disjoint(&self.emptied));
        !is_unfinished && !emptied && world == wanted
    }

    pub fn step(&mut self, call: &Call) -> Answer {
        let done = |is_done: bool| if is_done { Answer::Done } else { Answer::Not };
        match call {
            Call::Begin(_) => {}
            Call::ReadUser => return Answer::User(self.ledger.user.clone()),
            Call::ReadGroup => return Answer::Group(self.ledger.group.clone()),
            Call::SwapUser(before, after) => {
                let swapped = swap(&mut self.ledger.user, before, after);
                let made = self.ledger.user.iter().flat_map(UserDoc::generations).filter(|generation| generation.made);
                self.made.extend(made.map(|generation| generation.user));
                return done(swapped);
            }
            Call::SwapGroup(before, after) => return done(swap(&mut self.ledger.group, before, after)),
            Call::UserInfo(user) => return Answer::UserInfo(self.users.get(user).cloned()),
            Call::PutUser(user, enabled) => {
                let new = || MinioUser { enabled: *enabled, policies: Policies::new(), member_of: BTreeSet::new() };
                self.users.entry(*user).or_insert_with(new);
            }
            Call::SetStatus(user, enabled) => match self.users.get_mut(user) {
                Some(user) => user.enabled = *enabled,
                None => return Answer::Not,
            },
            Call::RemoveUser(user) => {
                if self.users.remove(user).is_some() {
                    self.gone.insert(*user);
                }
            }
            Call::AddMember(group, user) => match self.users.get_mut(user) {
                Some(user) => {
                    user.member_of.insert(*group);
                    self.groups.entry(*group).or_default();
                }
                None => return Answer::Not,
            },
            Call::RemoveMember(group, user) => {
                if let Some(user) = self.users.get_mut(user) {
                    user.member_of.remove(group);
                }
            }
            Call::GroupInfo(group) => {
                let members = self.members(group);
                return Answer::GroupInfo(self.groups.get(group).map(|policies| (policies.clone(), members)));
            }
            Call::MakeGroup(group) => {
                self.groups.entry(*group).or_default();
            }
            Call::RemoveGroup(group) => {
                if !self.members(group).is_empty() {
                    return Answer::Not;
                }
                self.groups.remove(group);
            }
            Call::PutPolicy(policy) => {
                self.policies.insert(*policy);
                self.emptied.remove(policy);
            }
            Call::EmptyPolicy(policy) => {
                self.policies.insert(*policy);
                self.emptied.insert(*policy);
            }
            Call::RemovePolicy(policy) => {
                let attached = self.users.values().map(|user| &user.policies).chain(self.groups.values());
                if attached.into_iter().any(|policies| policies.contains(policy)) {
                    return Answer::Not;
                }
                self.policies.remove(policy);
                self.emptied.remove(policy);
            }
            Call::AttachToUser(user, policies) => match self.users.get_mut(user) {
                Some(user) if user.enabled && policies.is_subset(&self.policies) => user.policies = policies.clone(),
                Some(_) | None => return Answer::Not,
            },
            Call::AttachToGroup(group, policies) => match self.groups.get_mut(group) {
                Some(attached) if policies.is_subset(&self.policies) => *attached = policies.clone(),
                Some(_) | None => return Answer::Not,
            },
            Call::List => {
                let with_policies = self.users.iter().filter(|(_, user)| !user.policies.is_empty());
                let names = with_policies.map(|(name, _)| *name).collect();
                return Answer::All(names, self.policies.clone(), self.emptied.clone());
            }
        }
        Answer::Done
    }

    fn members(&self, group: &MinioGroup) -> BTreeSet<Unique> {
        let members = self.users.iter().filter(|(_, user)| user.member_of.contains(group));
        members.map(|(name, _)| *name).collect()
    }
}

fn swap<D: Clone + PartialEq>(now: &mut Option<D>, before: &Option<D>, after: &Option<D>) -> bool {
    let unchanged = now == before;
    if unchanged {
        now.clone_from(after);
    }
    unchanged
}
