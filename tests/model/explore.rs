//! Every interleaving of some writers, step by step. A writer that has crashed is one that takes no more steps, so every
//! crash is among them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::Hash,
    task::{Context, Poll, Waker},
};

use crate::{
    protocol::{Change, Failed, Without, Writer},
    world::{Answer, Call, GroupDoc, Ledger, Reach, Round, Unique, UserDoc, World},
};

/// A writer alone that takes so many has no end.
const MANY_STEPS: usize = 500;

/// What must never be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wrong {
    /// After the answer, somebody reaches what no document since has said.
    TooMuch,
    /// All are done, and MinIO is not what the ledger says.
    NotAsTheLedgerSays,
    /// All are done, and a MinIO user that was removed is there again.
    CameBack,
    /// The reconciler, alone, does not end with that.
    DoesNotConverge,
    /// A writer cannot get to an end.
    Outrun,
}

/// A counterexample: what is wrong, and how it came about.
pub struct Found {
    pub wrong: Wrong,
    pub story: Vec<String>,
}

pub struct Explorer {
    without: Without,
    /// Steps that give too much if their writer was outrun, until it looks again.
    is_unfenced: fn(&Call) -> bool,
    worlds: Interner<World>,
    user_docs: Interner<Option<UserDoc>>,
    group_docs: Interner<Option<GroupDoc>>,
    reach_in: HashMap<usize, BTreeMap<Unique, Reach>>,
    allowed_by: HashMap<(usize, usize, usize), BTreeMap<Unique, Reach>>,
    writers: Vec<Progress>,
    first: HashMap<(Unique, Change), usize>,
    further: HashMap<(usize, Answer), usize>,
    rounds: HashMap<(Unique, Change, Round), usize>,
    steps: HashMap<(usize, usize), (usize, usize)>,
    converges: HashMap<usize, bool>,
}

/// A writer, as far as it has come: what it was answered decides that.
struct Progress {
    number: Unique,
    change: Change,
    told: Vec<Answer>,
    has_decided: bool,
    next: Next,
}

#[derive(Clone, Debug)]
enum Next {
    Call(Call),
    Done(Result<(), Failed>),
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Moment {
    world: usize,
    writers: Vec<usize>,
    /// The states that may still show: from the latest on that an answer was given for. See [`Change::is_about`].
    logs: [Vec<usize>; 3],
    /// For each writer, the places in the logs that its answer stands for.
    decided: Vec<[usize; 3]>,
    /// Who has taken a step that the protocol cannot fence, and is not done: they look again, and undo it if they were outrun.
    looks_again: Vec<bool>,
}

impl Explorer {
    pub fn new(without: Without, is_unfenced: fn(&Call) -> bool) -> Self {
        Self {
            without,
            is_unfenced,
            worlds: Interner::default(),
            user_docs: Interner::default(),
            group_docs: Interner::default(),
            reach_in: HashMap::new(),
            allowed_by: HashMap::new(),
            writers: Vec::new(),
            first: HashMap::new(),
            further: HashMap::new(),
            rounds: HashMap::new(),
            steps: HashMap::new(),
            converges: HashMap::new(),
        }
    }

    /// The world after these changes, one after the other.
    pub fn after(&mut self, world: World, changes: &[Change]) -> World {
        let mut world = self.worlds.number(world);
        for (number, change) in (8..).zip(changes) {
            let (then, end) = self.run_alone(world, number, *change);
            end.unwrap_or_else(|failed| panic!("{change:?}: {failed:?}"));
            world = then;
        }
        self.worlds.items[world].clone()
    }

    /// Looks at every moment of every interleaving. Gives how many there are, and the first of each kind of mistake.
    pub fn explore(&mut self, start: &World, changes: &[Change]) -> (usize, Vec<Found>) {
        let world = self.worlds.number(start.clone());
        let writers: Vec<usize> = (1..).zip(changes).map(|(number, change)| self.begin(number, *change)).collect();
        let (decided, looks_again) = (vec![[0; 3]; writers.len()], vec![false; writers.len()]);
        let logs = self.docs(world).map(|doc| vec![doc]);
        let mut moments = vec![(Moment { world, logs, writers, decided, looks_again }, None)];
        let mut seen: HashSet<Moment> = moments.iter().map(|(moment, _)| moment.clone()).collect();
        let mut found: Vec<Found> = Vec::new();
        let mut at = 0;
        while at < moments.len() {
            let moment = moments[at].0.clone();
            if let Some(wrong) = self.wrong(&moment)
                && !found.iter().any(|found| found.wrong == wrong)
            {
                found.push(Found { wrong, story: self.story(&moments, at) });
            }
            for who in 0..changes.len() {
                if let Some(next) = self.step(&moment, who)
                    && seen.insert(next.clone())
                {
                    moments.push((next, Some((at, who))));
                }
            }
            at += 1;
        }
        (moments.len(), found)
    }

    /// Whether somebody reaches what no state of the ledger since the last answers has said.
    fn is_too_much(&mut self, moment: &Moment) -> bool {
        let world = &self.worlds.items[moment.world];
        let [users, grants, members] = &moment.logs;
        let mut docs = Vec::new();
        for (user, (grants, members)) in
            users.iter().flat_map(|u| grants.iter().flat_map(move |g| members.iter().map(move |m| (u, (g, m)))))
        {
            let (user, grants, members) = (*user, *grants, *members);
            docs.push((user, grants, members));
            let says = || {
                let members = self.group_docs.items[members].as_ref().filter(|members| !members.deleting);
                let group = self.group_docs.items[grants].clone().map(|group| GroupDoc {
                    member: members.filter(|members| members.life == group.life).and_then(|members| members.member),
                    ..group
                });
                Ledger { user: self.user_docs.items[user].clone(), group }
            };
            self.allowed_by.entry((user, grants, members)).or_insert_with(|| says().reach());
        }
        let allowed = |user: &Unique| -> Reach {
            let by = |docs| self.allowed_by[docs].get(user).copied().unwrap_or_default();
            docs.iter().map(by).fold(0, |all, reach| all | reach)
        };
        let reach = self.reach_in.entry(moment.world).or_insert_with(|| world.reach());
        reach.iter().any(|(user, reach)| reach & !allowed(user) != 0)
    }

    fn wrong(&mut self, moment: &Moment) -> Option<Wrong> {
        if !moment.looks_again.contains(&true) && self.is_too_much(moment) {
            return Some(Wrong::TooMuch);
        }
        let world = &self.worlds.items[moment.world];
        let ends: Vec<_> = moment.writers.iter().map(|writer| self.writers[*writer].next.end()).collect();
        if ends.contains(&Some(Err(Failed::Outrun))) {
            return Some(Wrong::Outrun);
        }
        // Who broke off with an error has as much as crashed.
        if ends.iter().all(|end| *end == Some(Ok(()))) {
            if world.users.keys().any(|user| world.gone.contains(user)) {
                return Some(Wrong::CameBack);
            }
            if !world.is_as_it_should_be() {
                return Some(Wrong::NotAsTheLedgerSays);
            }
        }
        (!self.converges(moment.world)).then_some(Wrong::DoesNotConverge)
    }

    fn converges(&mut self, world: usize) -> bool {
        if let Some(converges) = self.converges.get(&world) {
            return *converges;
        }
        let (then, end) = self.run_alone(world, 7, Change::Reconcile);
        let then = &self.worlds.items[then];
        let converges = end.is_ok() && then.is_as_it_should_be();
        self.converges.insert(world, converges);
        converges
    }

    fn run_alone(&mut self, mut world: usize, number: Unique, change: Change) -> (usize, Result<(), Failed>) {
        let mut writer = self.begin(number, change);
        for _ in 0..MANY_STEPS {
            if let Some(end) = self.writers[writer].next.end() {
                return (world, end);
            }
            (world, writer) = self.call(world, writer);
        }
        (world, Err(Failed::Outrun))
    }

    fn step(&mut self, moment: &Moment, who: usize) -> Option<Moment> {
        let writer = moment.writers[who];
        if self.writers[writer].next.end().is_some() {
            return None;
        }
        let (mut next, had_decided) = (moment.clone(), self.writers[writer].has_decided);
        let is_unfenced = match &self.writers[writer].next {
            Next::Call(call) => (self.is_unfenced)(call),
            Next::Done(_) => false,
        };
        let (world, writer) = self.call(moment.world, writer);
        (next.world, next.writers[who]) = (world, writer);
        let has_decided = self.writers[writer].has_decided && !had_decided;
        let is_about = self.writers[writer].change.is_about();
        let has_answered = self.writers[writer].next.end() == Some(Ok(()));
        for (i, doc) in self.docs(world).into_iter().enumerate() {
            let log = &mut next.logs[i];
            if log.last() != Some(&doc) {
                log.push(doc);
            }
            if has_decided && is_about[i] {
                next.decided[who][i] = log.len() - 1;
            }
            if has_answered {
                let over = next.decided[who][i];
                log.drain(..over);
                next.decided.iter_mut().for_each(|decided| decided[i] = decided[i].saturating_sub(over));
            }
        }
        next.looks_again[who] = (moment.looks_again[who] || is_unfenced) && self.writers[writer].next.end().is_none();
        Some(next)
    }

    fn call(&mut self, world: usize, writer: usize) -> (usize, usize) {
        if let Some(then) = self.steps.get(&(world, writer)) {
            return *then;
        }
        let Next::Call(call) = self.writers[writer].next.clone() else { unreachable!("it is done") };
        let mut then = self.worlds.items[world].clone();
        let answer = then.step(&call);
        let mut further = self.go_on(writer, answer);
        // A compare-and-swap loop is one step: that of the swap, before which nothing of the document changed.
        if let Next::Call(swap @ (Call::SwapUser(..) | Call::SwapGroup(..))) = self.writers[further].next.clone() {
            let answer = then.step(&swap);
            further = self.go_on(further, answer);
        }
        let then = (self.worlds.number(then), further);
        self.steps.insert((world, writer), then);
        then
    }

    fn begin(&mut self, number: Unique, change: Change) -> usize {
        if let Some(writer) = self.first.get(&(number, change)) {
            return *writer;
        }
        let writer = self.progress(number, change, Vec::new());
        self.first.insert((number, change), writer);
        writer
    }

    fn go_on(&mut self, writer: usize, answer: Answer) -> usize {
        if let Some(further) = self.further.get(&(writer, answer.clone())) {
            return *further;
        }
        let Progress { number, change, told, .. } = &self.writers[writer];
        let told = told.iter().cloned().chain([answer.clone()]).collect();
        let further = self.progress(*number, *change, told);
        self.further.insert((writer, answer), further);
        further
    }

    fn progress(&mut self, number: Unique, change: Change, told: Vec<Answer>) -> usize {
        let writer = Writer::new(number, self.without, told.clone());
        let mut run = Box::pin(writer.clone().run(change));
        let next = match run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(end) => Next::Done(end),
            Poll::Pending => Next::Call(writer.wants.take().expect("it waits for a call only")),
        };
        if let Next::Call(Call::Begin(round)) = next {
            let round = (number, change, round);
            if let Some(alike) = self.rounds.get(&round) {
                return *alike;
            }
            let begun = self.progress(number, change, told.into_iter().chain([Answer::Done]).collect());
            self.rounds.insert(round, begun);
            return begun;
        }
        let has_decided = writer.has_decided.get();
        self.writers.push(Progress { number, change, told, has_decided, next });
        self.writers.len() - 1
    }

    fn docs(&mut self, world: usize) -> [usize; 3] {
        let Ledger { user, group } = self.worlds.items[world].ledger.clone();
        let group = self.group_docs.number(group);
        [self.user_docs.number(user), group, group]
    }

    fn story(&self, moments: &[(Moment, Option<(usize, usize)>)], mut at: usize) -> Vec<String> {
        let mut story = vec![format!("{:?}", self.worlds.items[moments[at].0.world])];
        while let Some((before, who)) = moments[at].1 {
            let writer = &self.writers[moments[before].0.writers[who]];
            let then = &self.writers[moments[at].0.writers[who]];
            let Next::Call(call) = &writer.next else { unreachable!("it takes no step") };
            let end = if then.next.end().is_some() { " and is done" } else { "" };
            story.push(format!("{who} {:?}: {call:?} -> {:?}{end}", writer.change, then.told.last()));
            at = before;
        }
        story.reverse();
        story
    }
}

impl Next {
    fn end(&self) -> Option<Result<(), Failed>> {
        match self {
            Self::Call(_) => None,
            Self::Done(end) => Some(*end),
        }
    }
}

/// Numbers for values, so that moments are small.
struct Interner<T> {
    items: Vec<T>,
    numbers: HashMap<T, usize>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { items: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Interner<T> {
    fn number(&mut self, item: T) -> usize {
        if let Some(number) = self.numbers.get(&item) {
            return *number;
        }
        self.items.push(item.clone());
        self.numbers.insert(item, self.items.len() - 1);
        self.items.len() - 1
    }
}
