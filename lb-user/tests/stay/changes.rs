//! What happens to servers and configurations, by chance, over and over.

use std::{collections::BTreeSet, fmt::Write, net::IpAddr, time::Duration};

use lb_user::{
    config::{self, Config},
    decide::{Admin, Event, MissReason, Outcome, TargetId},
};

use crate::{dice::Dice, world::World};

/// Nodes of each cluster, the one that comes and goes not among them.
const NODES: [u8; 3] = [4, 3, 2];
/// The one that comes and goes.
const EXTRA: Server = Server([0, 0]);

/// A machine: the last two bytes of its address, which are its cluster and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server([u8; 2]);

impl Server {
    /// The one with this address, plain or as `::ffff:a.b.c.d`.
    pub fn at(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self([address.octets()[2], address.octets()[3]]),
            IpAddr::V6(address) => panic!("{address} is nobody's"),
        }
    }

    /// Position of its cluster.
    pub fn cluster(self) -> u8 {
        self.0[0]
    }
}

/// A configuration. What comes and goes stands before the rest, so that all positions shift.
#[derive(Clone, Debug)]
pub struct Shape {
    weights: [[u32; 4]; 3],
    extra: bool,
    /// The second service.
    two: bool,
    /// The first service's standby.
    standby: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { weights: [[1; 4]; 3], extra: false, two: true, standby: true }
    }
}

impl Shape {
    /// All servers of its clusters.
    pub fn servers(&self) -> Vec<Server> {
        let of = |(cluster, nodes): (u8, u8)| (1..=nodes).map(move |n| Server([cluster, n]));
        let all = (0..).zip(NODES).flat_map(of);
        all.chain(self.extra.then_some(EXTRA)).collect()
    }

    /// As a file has it.
    pub fn config(&self) -> Config {
        let mut text = String::new();
        for (c, name) in ["a", "b", "c"].into_iter().enumerate() {
            let mut nodes = String::new();
            for Server([_, n]) in self.servers().iter().filter(|s| usize::from(s.0[0]) == c) {
                let weight = n.checked_sub(1).map_or(1, |at| self.weights[c][usize::from(at)]);
                let _ = write!(
                    nodes,
                    "{{ name = \"{name}{n}\", address = \"10.0.{c}.{n}\", weight = {weight} }}, "
                );
            }
            let drain = [20, 30, 45][c];
            let _ = writeln!(
                text,
                "[[cluster]]\nname = \"{name}\"\nmin_survivors = 1\ndrain = \"{drain}s\"\n\
                 health = {{ port = 80, fall = 1, rise = 1 }}\nnodes = [{nodes}]"
            );
        }
        let mut service = |name: &str, port: u16, how: &str| {
            let _ = writeln!(
                text,
                "[[service]]\nname = \"{name}\"\naddress = \"192.0.2.1:{port}\"\n\
                 protocol = \"tcp\"\nmasters = {how}"
            );
        };
        match self.standby {
            true => service("one", 80, "['a', 'b']\nstandbys = ['c']\nbackup = 'one-standby'"),
            false => service("one", 80, "['a', 'b']\nbackup = 'none'"),
        }
        if self.two {
            service("first", 81, "['a', 'c']\nbackup = 'multi-master'");
        }
        config::parse(&text, "model").expect("it is fine").config
    }
}

/// Servers and configuration over time.
pub struct Changes {
    dice: Dice,
    shape: Shape,
    dead: BTreeSet<Server>,
    /// They stop gracefully.
    stopping: BTreeSet<Server>,
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

    /// Outcomes of a check of every node.
    pub fn checks(&self, world: &World) -> Vec<Event> {
        let model = world.state.view().model;
        let targets = (0..).zip(&model.pools.targets);
        let outcome = |server| match (self.alive(server), self.stopping.contains(&server)) {
            (false, _) => Outcome::Miss(MissReason::Timeout),
            (true, true) => Outcome::NotWorking,
            (true, false) => Outcome::Hit,
        };
        let checked = |(id, target): (u32, &config::Target)| {
            let outcome = outcome(Server::at(target.at.ip()));
            Event::Checked { target: TargetId(id), outcome }
        };
        targets.map(checked).collect()
    }

    /// What happens now; servers that die are told first.
    pub fn turn(&mut self, world: &mut World, mut died: impl FnMut(Server)) -> Vec<Event> {
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

    fn change(&mut self, world: &mut World, died: &mut impl FnMut(Server)) -> Vec<Event> {
        let all = self.shape.servers();
        let one = all[self.dice.below(all.len() as u32) as usize];
        let cluster = self.dice.below(3) as u8;
        let its = all.into_iter().filter(|server| server.cluster() == cluster);
        match self.dice.below(13) {
            // More come back than go.
            0..=2 => self.mend(world, one),
            3 => its.flat_map(|server| self.mend(world, server)).collect(),
            4 | 5 => self.kill(one, died),
            6 if self.dice.one_in(3) => its.flat_map(|server| self.kill(server, died)).collect(),
            7 => {
                self.stopping.insert(one);
                Vec::new()
            }
            8 => administer(world, one, Admin::Drained),
            9 if self.dice.one_in(2) => {
                its.flat_map(|server| administer(world, server, Admin::Drained)).collect()
            }
            10..=12 => {
                match self.dice.below(6) {
                    0 => self.shape.two = !self.shape.two,
                    1 => self.shape.standby = !self.shape.standby,
                    2 | 3 => self.shape.extra = !self.shape.extra,
                    _ => {
                        let weight = 1 + self.dice.below(5);
                        self.shape.weights[usize::from(cluster)][self.dice.below(2) as usize] =
                            weight;
                    }
                }
                world.reload(&self.shape.config());
                self.checks(world)
            }
            _ => Vec::new(),
        }
    }

    fn mend(&mut self, world: &World, server: Server) -> Vec<Event> {
        self.dead.remove(&server);
        self.stopping.remove(&server);
        administer(world, server, Admin::InService)
    }

    fn kill(&mut self, server: Server, died: &mut impl FnMut(Server)) -> Vec<Event> {
        self.dead.insert(server);
        died(server);
        Vec::new()
    }
}

/// What is wanted of a server.
pub fn administer(world: &World, server: Server, admin: Admin) -> Vec<Event> {
    let model = world.state.view().model;
    let its = (0..model.nodes.len()).filter(|&at| Server::at(model.node(at).address) == server);
    let ids = its.filter_map(|at| model.ids.node(at));
    ids.map(|node| Event::Administer { node, admin }).collect()
}
