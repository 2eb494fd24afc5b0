//! What happens to nodes and configurations, by chance, over and over.

use std::{fmt::Write, time::Duration};

use lb_common::{NodeId, ServiceId};
use lb_user::{
    config::{self, Config},
    decide::{Admin, Event, MissReason, Outcome, TargetId},
};

use crate::{dice::Dice, world::World};

/// Nodes of each cluster, the one that comes and goes not among them.
const NODES: [usize; 3] = [4, 3, 2];
/// The id of the one that comes and goes: it is the last one.
const EXTRA: usize = 9;

/// A configuration: what there is always, and what comes and goes behind it, so that ids stay.
#[derive(Clone, Debug)]
pub struct Shape {
    weights: [u32; 9],
    extra: Extra,
    /// The second service.
    two: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extra {
    Absent,
    There,
    /// No longer wanted; it stays until nothing names it.
    Leaving,
}

impl Default for Shape {
    fn default() -> Self {
        Self { weights: [1; 9], extra: Extra::Absent, two: true }
    }
}

impl Shape {
    /// As the daemon would have it.
    pub fn config(&self) -> Config {
        let mut text = String::new();
        let mut weights = self.weights.iter();
        for (c, name) in ["a", "b", "c"].into_iter().enumerate() {
            let node = |n: usize, weight: u32| {
                format!("{{ name = \"{name}{n}\", address = \"10.0.{c}.{n}\", weight = {weight} }}")
            };
            let mut nodes: Vec<String> =
                (1..=NODES[c]).zip(&mut weights).map(|(n, &weight)| node(n, weight)).collect();
            if c == 2 && self.extra != Extra::Absent {
                nodes.push(node(9, 1));
            }
            let drain = [20, 30, 45][c];
            let _ = writeln!(
                text,
                "[[cluster]]\nname = \"{name}\"\nmin_survivors = 1\ndrain = \"{drain}s\"\n\
                 health = {{ port = 80, fall = 1, rise = 1 }}\nnodes = [{}]",
                nodes.join(", ")
            );
        }
        let service = |name: &str, port: u16, how: &str| {
            format!(
                "[[service]]\nname = \"{name}\"\naddress = \"192.0.2.1:{port}\"\n\
                 protocol = \"tcp\"\n{how}\n"
            )
        };
        text += &service(
            "one",
            80,
            "masters = [\"a\", \"b\"]\nstandbys = [\"c\"]\nbackup = \"one-standby\"",
        );
        if self.two {
            text += &service("two", 81, "masters = [\"a\", \"c\"]\nbackup = \"multi-master\"");
        }
        let mut config = config::parse(&text, "model").expect("it is fine").config;
        if self.extra == Extra::Leaving {
            let last = config.clusters[2].nodes.last_mut().expect("it is there");
            (last.leaving, last.weight) = (true, 0);
        }
        config
    }

    fn nodes(&self) -> usize {
        EXTRA + usize::from(self.extra != Extra::Absent)
    }
}

/// Nodes and configuration over time.
pub struct Changes {
    dice: Dice,
    shape: Shape,
    alive: [bool; EXTRA + 1],
    /// It stops gracefully.
    stopping: [bool; EXTRA + 1],
    next: Duration,
    next_check: Duration,
}

impl Changes {
    /// All is well at first.
    pub fn new(dice: Dice) -> Self {
        Self {
            dice,
            shape: Shape::default(),
            alive: [true; EXTRA + 1],
            stopping: [false; EXTRA + 1],
            next: Duration::ZERO,
            next_check: Duration::ZERO,
        }
    }

    /// The configuration.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Which nodes answer.
    pub fn alive(&self) -> &[bool] {
        &self.alive
    }

    /// Which services there are.
    pub fn serves(&self) -> [bool; 2] {
        [true, self.shape.two]
    }

    /// Outcomes of a check of every node.
    pub fn checks(&self, world: &World) -> Vec<Event> {
        let model = world.state.view().model;
        let targets = (0..).map(TargetId).take(model.pools.targets.len());
        let outcome = |target: TargetId| {
            let node = model.nodes_at(target)[0];
            match (self.alive[node], self.stopping[node]) {
                (false, _) => Outcome::Miss(MissReason::Timeout),
                (true, true) => Outcome::NotWorking,
                (true, false) => Outcome::Hit,
            }
        };
        targets.map(|target| Event::Checked { target, outcome: outcome(target) }).collect()
    }

    /// What happens now; nodes that die are told first.
    pub fn turn(&mut self, world: &mut World, mut died: impl FnMut(usize)) -> Vec<Event> {
        let mut events = Vec::new();
        if world.now >= self.next {
            self.next = world.now + self.dice.milliseconds(500, 7000);
            events = self.change(world, &mut died);
        }
        if world.now >= self.next_check {
            self.next_check = world.now + Duration::from_secs(1);
            events.extend(self.checks(world));
        }
        events
    }

    fn change(&mut self, world: &mut World, died: &mut impl FnMut(usize)) -> Vec<Event> {
        let node = self.dice.below(self.shape.nodes() as u32) as usize;
        match self.dice.below(12) {
            // More come back than go.
            0..=2 => self.mend(node),
            3 => {
                let cluster = self.cluster();
                cluster.flat_map(|node| self.mend(node)).collect()
            }
            4 | 5 => self.kill(node, died),
            6 if self.dice.one_in(3) => {
                self.cluster().for_each(|node| drop(self.kill(node, died)));
                Vec::new()
            }
            7 => {
                self.stopping[node] = true;
                Vec::new()
            }
            8 => vec![administer(node, Admin::Drained)],
            9 if self.dice.one_in(2) => {
                let cluster = self.cluster();
                cluster.map(|node| administer(node, Admin::Drained)).collect()
            }
            10 => {
                self.shape.weights[node % EXTRA] = 1 + self.dice.below(5);
                world.reload(self.shape.config());
                self.checks(world)
            }
            11 => self.come_or_go(world),
            _ => Vec::new(),
        }
    }

    fn cluster(&mut self) -> std::ops::Range<usize> {
        match self.dice.below(3) {
            0 => 0..4,
            1 => 4..7,
            _ => 7..self.shape.nodes(),
        }
    }

    fn mend(&mut self, node: usize) -> Vec<Event> {
        (self.alive[node], self.stopping[node]) = (true, false);
        vec![administer(node, Admin::InService)]
    }

    fn kill(&mut self, node: usize, died: &mut impl FnMut(usize)) -> Vec<Event> {
        self.alive[node] = false;
        died(node);
        Vec::new()
    }

    /// The last node, or the last service, is new, or is no longer wanted, or nothing names it any more.
    fn come_or_go(&mut self, world: &mut World) -> Vec<Event> {
        if self.dice.one_in(2) {
            let id = ServiceId::new(1).expect("an id");
            // Its id is free only once no pin names it.
            world.sweep();
            let named = world.state.view().swept.is_some_and(|swept| swept.of_service(id) > 0);
            if self.shape.two || !named {
                self.shape.two = !self.shape.two;
            }
        } else {
            let id = NodeId::new(EXTRA).expect("an id");
            self.shape.extra = match self.shape.extra {
                Extra::Absent => Extra::There,
                Extra::There => Extra::Leaving,
                Extra::Leaving => {
                    world.sweep();
                    let view = world.state.view();
                    let pinned = view.swept.is_none_or(|swept| swept.on_node(id) > 0);
                    match pinned || view.tracks.nodes_named().contains(&(EXTRA as u16)) {
                        true => Extra::Leaving,
                        false => Extra::Absent,
                    }
                }
            };
            if self.shape.extra == Extra::There {
                (self.alive[EXTRA], self.stopping[EXTRA]) = (true, false);
            }
        }
        world.reload(self.shape.config());
        self.checks(world)
    }
}

fn administer(node: usize, admin: Admin) -> Event {
    Event::Administer { node: NodeId::new(node).expect("an id"), admin }
}
