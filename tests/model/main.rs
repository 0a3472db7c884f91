//! The change protocol as a model, and every interleaving of it: two writers, each of which may crash at any step, and the
//! reconciler. It is as good as `protocol.rs` is like the broker; so there are mutants, in which it must find mistakes.

mod explore;
mod protocol;
mod world;

use explore::{Explorer, Found, Wrong};
use protocol::{Change, Without};
use world::{Call, Role, World};

const CHANGES: &[Change] = &[
    Change::SignIn,
    Change::Share,
    Change::Unshare,
    Change::ShareWithGroup,
    Change::UnshareWithGroup,
    Change::Join(Role::Reader),
    Change::Join(Role::Writer),
    Change::Leave,
    Change::IssueLakeKey,
    Change::ResetSecret,
    Change::Revoke,
    Change::Disable,
    Change::Enable,
    Change::DeleteUser,
    Change::DeleteGroup,
    Change::Reconcile,
];

const NOBODY: &[Change] = &[];
const A_FORMER_MEMBER: &[Change] = &[Change::SignIn, Change::Join(Role::Reader), Change::Leave];
const A_WRITER: &[Change] =
    &[Change::SignIn, Change::Share, Change::Join(Role::Writer), Change::ShareWithGroup, Change::IssueLakeKey];
const DISABLED: &[Change] = &[Change::SignIn, Change::Share, Change::Disable];

/// A policy that was deleted cannot be attached. A membership and an account's status have nothing like that: who was outrun
/// may set them for the moment until they look again, which they do before they are done.
fn is_unfenced(call: &Call) -> bool {
    matches!(call, Call::AddMember(..) | Call::SetStatus(_, true))
}

fn pairs() -> impl Iterator<Item = [Change; 2]> {
    CHANGES.iter().enumerate().flat_map(|(i, one)| CHANGES[i..].iter().map(|other| [*one, *other]))
}

fn tell(start: &[Change], writers: &[Change], found: &Found) -> String {
    format!("after {start:?}, {writers:?}: {:?}\n  {}", found.wrong, found.story.join("\n  "))
}

/// Every two writers from here: whatever happens, whoever crashes.
fn holds_after(start: &[Change]) {
    let mut explorer = Explorer::new(Without::Nothing, is_unfenced);
    let world = explorer.after(World::default(), start);
    let mut moments = 0;
    for writers in pairs() {
        let (seen, found) = explorer.explore(&world, &writers);
        moments += seen;
        assert!(found.is_empty(), "{}", tell(start, &writers, &found[0]));
    }
    assert!(moments > 1000, "it looks at {moments} moments only");
}

#[test]
fn two_writers_and_nobody_yet() {
    holds_after(NOBODY);
}

#[test]
fn two_writers_and_a_former_member() {
    holds_after(A_FORMER_MEMBER);
}

#[test]
fn two_writers_and_a_writer_of_a_group_with_a_lake_key() {
    holds_after(A_WRITER);
}

#[test]
fn two_writers_and_somebody_disabled() {
    holds_after(DISABLED);
}

/// Which is the first mistake that these writers make, if any.
fn first_mistake(
    without: Without,
    is_unfenced: fn(&Call) -> bool,
    start: &[Change],
    writers: &[Change],
) -> Option<(Wrong, String)> {
    let mut explorer = Explorer::new(without, is_unfenced);
    let mut world = explorer.after(World::default(), start);
    if without == Without::NewGenerations {
        // Somebody has removed it behind our back.
        let user = *world.users.keys().next().unwrap();
        world.step(&Call::RemoveUser(user));
    }
    let (_, found) = explorer.explore(&world, writers);
    found.first().map(|found| (found.wrong, tell(start, writers, found)))
}

#[test]
fn each_part_of_the_protocol_is_needed() {
    use Change::*;
    for (without, start, writers) in [
        (Without::SecondLook, A_FORMER_MEMBER, [Share, Unshare]),
        (Without::RemovingPoliciesOfBefore, A_FORMER_MEMBER, [Share, Unshare]),
        (Without::RemovingWhatWasPut, A_FORMER_MEMBER, [Share, Unshare]),
        (Without::NextRound, A_FORMER_MEMBER, [Share, Unshare]),
        (Without::LookAfterPuttingUser, A_FORMER_MEMBER, [ResetSecret, Revoke]),
        (Without::NewGenerations, A_FORMER_MEMBER, [ResetSecret, SignIn]),
        (Without::Retiring, A_FORMER_MEMBER, [Revoke, SignIn]),
        (Without::HintsFirst, &[SignIn], [Join(Role::Reader), Reconcile]),
        (Without::SettlingWhoIsBeingDeleted, A_WRITER, [Unshare, DeleteUser]),
        (Without::DisablingFirst, A_FORMER_MEMBER, [Share, Disable]),
    ] {
        assert_eq!(first_mistake(Without::Nothing, is_unfenced, start, &writers), None);
        assert!(first_mistake(without, is_unfenced, start, &writers).is_some(), "without {without:?}");
    }
}

#[test]
fn a_membership_and_a_status_have_no_fence() {
    use Change::*;
    for (start, writers) in [(A_FORMER_MEMBER, [Join(Role::Reader), Leave]), (DISABLED, [Disable, Enable])] {
        let found = first_mistake(Without::Nothing, |_| false, start, &writers);
        assert_eq!(found.map(|(wrong, _)| wrong), Some(Wrong::TooMuch));
    }
}

/// With a third one at work on the same document, a policy that was deleted may have been put again when somebody who was
/// outrun attaches it, or not be deleted because who should have done that has crashed. They look again here, too.
#[test]
fn two_writers_and_a_third() {
    use Change::*;
    let looks_again = |call: &Call| is_unfenced(call) || matches!(call, Call::AttachToUser(..));
    for (start, writers) in
        [(A_FORMER_MEMBER, [Share, Unshare, Reconcile]), (A_FORMER_MEMBER, [Share, Unshare, Unshare])]
    {
        let fenced = first_mistake(Without::Nothing, is_unfenced, start, &writers);
        assert_eq!(fenced.map(|(wrong, _)| wrong), Some(Wrong::TooMuch));
        assert_eq!(first_mistake(Without::Nothing, looks_again, start, &writers), None);
    }
    for (start, writers) in [
        (A_FORMER_MEMBER, [Join(Role::Reader), Leave, Reconcile]),
        (A_FORMER_MEMBER, [Share, DeleteUser, Reconcile]),
        (DISABLED, [Enable, Disable, Reconcile]),
    ] {
        assert_eq!(first_mistake(Without::Nothing, is_unfenced, start, &writers), None);
    }
}
