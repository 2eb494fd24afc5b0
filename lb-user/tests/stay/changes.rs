//! What happens to servers and configurations, by chance, over and over.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lb_user::{
    config::Target,
    decide::{Admin, Event, MissReason, Outcome, TargetId},
};

use crate::{
    TICK,
    dice::Dice,
    shape::{Asked, Server, Shape},
    world::World,
};

/// Servers and configuration over time.
pub struct Changes {
    dice: Dice,
    shape: Shape,
    dead: BTreeSet<Server>,
    /// They stop gracefully.
    stopping: BTreeSet<Server>,
    /// In maintenance, and since when.
    resting: BTreeMap<Server, Duration>,
    /// Clusters that had a hard limit at some time.
    hard: BTreeSet<usize>,
    next: Duration,
    next_check: Duration,
}

impl Changes {
    /// All is well at first.
    pub fn new(dice: Dice) -> Self {
        Self {
            dice,
            shape: Shape::default(),
            dead: BTreeSet::new(),
            stopping: BTreeSet::new(),
            resting: BTreeMap::new(),
            hard: BTreeSet::new(),
            next: Duration::ZERO,
            next_check: Duration::ZERO,
        }
    }

    /// The configuration.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether a server answers.
    pub fn alive(&self, server: Server) -> bool {
        !self.dead.contains(&server)
    }

    /// How long connections to a server are promised that their slots may have moved; `None`: as long
    /// as they go on.
    pub fn promised(&self, server: Server) -> Option<Duration> {
        let drain = self.shape.drain(server.cluster());
        let bounded = drain.is_zero() || self.hard.contains(&server.cluster());
        bounded.then_some(drain)
    }

    /// Outcomes of a check of every node.
    pub fn checks(&self, world: &World) -> Vec<Event> {
        let model = world.state.view().model;
        let targets = (0..).zip(&model.pools.targets);
        let outcome = |server| match (self.alive(server), self.stopping.contains(&server)) {
            (false, _) => Outcome::Miss(MissReason::Timeout),
            (true, true) => Outcome::NotWorking,
            (true, false) => Outcome::Hit,
        };
        let checked = |(id, target): (u32, &Target)| {
            let outcome = outcome(Server::at(target.at.ip()));
            Event::Checked { target: TargetId(id), outcome }
        };
        targets.map(checked).collect()
    }

    /// What happens now; servers that lose their connections are told first.
    pub fn turn(&mut self, world: &mut World, mut lost: impl FnMut(Server)) -> Vec<Event> {
        let mut events = Vec::new();
        if world.now >= self.next {
            self.next = world.now + self.dice.milliseconds(500, 7000);
            events = self.change(world, &mut lost);
        }
        if world.now >= self.next_check {
            self.next_check = world.now + Duration::from_secs(1);
            events.extend(self.checks(world));
        }
        for (&server, &since) in &self.resting {
            if since + self.shape.drain(server.cluster()) <= world.now + TICK {
                lost(server);
            }
        }
        events
    }

    fn change(&mut self, world: &mut World, lost: &mut impl FnMut(Server)) -> Vec<Event> {
        let all = self.shape.servers();
        let one = all[self.dice.below(all.len() as u32) as usize];
        let cluster = self.dice.below(3) as usize;
        let its = all.into_iter().filter(|server| server.cluster() == cluster);
        match self.dice.below(19) {
            // More come back than go.
            0..=2 => self.mend(world, one),
            3 => its.flat_map(|server| self.mend(world, server)).collect(),
            4 | 5 => self.kill(one, lost),
            6 if self.dice.one_in(3) => its.flat_map(|server| self.kill(server, lost)).collect(),
            7 => {
                self.stopping.insert(one);
                Vec::new()
            }
            8 => self.want(world, one, Admin::Drained),
            9 if self.dice.one_in(2) => {
                its.flat_map(|server| self.want(world, server, Admin::Drained)).collect()
            }
            10..=12 => self.reload(world, cluster, lost),
            13 | 14 => self.want(world, one, Admin::Maintenance),
            15 | 16 => match self.resting.keys().next() {
                Some(&server) => {
                    let drained = self.dice.one_in(3);
                    let to = if drained { Admin::Drained } else { Admin::InService };
                    self.want(world, server, to)
                }
                None => self.want(world, one, Admin::Maintenance),
            },
            17 => {
                world.restart(&self.shape.config());
                self.after(world, Asked::AsBefore)
            }
            _ => Vec::new(),
        }
    }

    fn reload(
        &mut self,
        world: &mut World,
        cluster: usize,
        lost: &mut impl FnMut(Server),
    ) -> Vec<Event> {
        let asked = self.shape.change(cluster, &mut self.dice);
        self.hard.extend((0..3).filter(|&cluster| self.shape.is_hard(cluster)));
        let none = |server: &Server| self.shape.drain(server.cluster()).is_zero();
        self.shape.servers().into_iter().filter(none).for_each(lost);
        world.reload(&self.shape.config());
        self.after(world, asked)
    }

    /// All answer at once; or, now and then, nobody until everyone has waited for long enough.
    fn after(&mut self, world: &World, asked: Asked) -> Vec<Event> {
        if self.dice.one_in(if asked == Asked::Anew { 2 } else { 4 }) {
            self.next_check = world.now + Duration::from_secs(4);
            return Vec::new();
        }
        self.checks(world)
    }

    fn mend(&mut self, world: &World, server: Server) -> Vec<Event> {
        self.dead.remove(&server);
        self.stopping.remove(&server);
        self.want(world, server, Admin::InService)
    }

    fn kill(&mut self, server: Server, lost: &mut impl FnMut(Server)) -> Vec<Event> {
        self.dead.insert(server);
        lost(server);
        Vec::new()
    }

    fn want(&mut self, world: &World, server: Server, admin: Admin) -> Vec<Event> {
        match admin {
            Admin::Maintenance => drop(self.resting.entry(server).or_insert(world.now)),
            Admin::InService | Admin::Drained => drop(self.resting.remove(&server)),
        }
        administer(world, server, admin)
    }
}

/// What is wanted of a server.
pub fn administer(world: &World, server: Server, admin: Admin) -> Vec<Event> {
    let model = world.state.view().model;
    let its = (0..model.nodes.len()).filter(|&at| Server::at(model.node(at).address) == server);
    let ids = its.filter_map(|at| model.ids.node(at));
    ids.map(|node| Event::Administer { node, admin }).collect()
}
