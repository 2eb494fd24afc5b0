//! Configurations that follow each other.

use std::{fmt::Write, net::IpAddr, time::Duration};

use lb_user::config::{self, Config};

use crate::dice::Dice;

/// Nodes of each cluster, the one that comes and goes not among them.
const NODES: [u8; 3] = [4, 3, 2];
/// The one that comes and goes.
const EXTRA: Server = Server([0, 0]);
/// The drain limits of the clusters that have one, in seconds.
const DRAINS: [u64; 3] = [20, 30, 45];

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
    pub fn cluster(self) -> usize {
        self.0[0].into()
    }
}

/// What a service does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A SYN opens them.
    Tcp,
    /// An Initial opens them, and nothing ends them.
    Quic,
    /// Nothing opens or ends them.
    Sticky,
}

/// Services by port; the second one comes and goes.
pub const SERVICES: [(u16, Protocol); 4] =
    [(80, Protocol::Tcp), (81, Protocol::Tcp), (82, Protocol::Quic), (83, Protocol::Sticky)];

/// A configuration. What comes and goes stands before the rest, so that all positions shift.
#[derive(Clone, Debug)]
pub struct Shape {
    weights: [[u32; 4]; 3],
    extra: bool,
    /// The second service.
    two: bool,
    /// The first service's standby.
    standby: bool,
    /// Clusters that have a drain limit.
    drains: [bool; 3],
    /// Clusters whose limit is a hard one.
    hard: [bool; 3],
    /// Clusters that come back in steps, and whose nodes start slowly.
    slow: [bool; 3],
    /// Which port nodes are asked on.
    asked: u16,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            weights: [[1; 4]; 3],
            extra: false,
            two: true,
            standby: true,
            drains: [true; 3],
            hard: [false; 3],
            slow: [false; 3],
            asked: 80,
        }
    }
}

/// What is known of nodes under another configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// As before.
    AsBefore,
    /// They are asked for something else.
    Anew,
}

impl Shape {
    /// All servers of its clusters.
    pub fn servers(&self) -> Vec<Server> {
        let of = |(cluster, nodes): (u8, u8)| (1..=nodes).map(move |n| Server([cluster, n]));
        let all = (0..).zip(NODES).flat_map(of);
        all.chain(self.extra.then_some(EXTRA)).collect()
    }

    /// The drain limit of a cluster.
    pub fn drain(&self, cluster: usize) -> Duration {
        Duration::from_secs(if self.drains[cluster] { DRAINS[cluster] } else { 0 })
    }

    /// Whether the limit of a cluster is a hard one.
    pub fn is_hard(&self, cluster: usize) -> bool {
        self.hard[cluster]
    }

    /// Changes something, perhaps of this cluster.
    pub fn change(&mut self, cluster: usize, dice: &mut Dice) -> Asked {
        let toggle = |it: &mut bool| *it = !*it;
        match dice.below(11) {
            0 => toggle(&mut self.two),
            1 => toggle(&mut self.standby),
            2 | 3 => toggle(&mut self.extra),
            4 | 5 => toggle(&mut self.drains[cluster]),
            6 => toggle(&mut self.hard[cluster]),
            7 => toggle(&mut self.slow[cluster]),
            8 => {
                self.asked ^= 1;
                return Asked::Anew;
            }
            _ => self.weights[cluster][dice.below(2) as usize] = 1 + dice.below(5),
        }
        Asked::AsBefore
    }

    /// As a file has it.
    pub fn config(&self) -> Config {
        let mut text = String::new();
        for (c, name) in ["a", "b", "c"].into_iter().enumerate() {
            self.cluster(c, name, &mut text);
        }
        let mut service = |name: &str, port: u16, protocol: &str, how: &str| {
            let _ = writeln!(
                text,
                "[[service]]\nname = \"{name}\"\naddress = \"192.0.2.1:{port}\"\n\
                 protocol = {protocol}\nmasters = {how}"
            );
        };
        match self.standby {
            true => {
                service("one", 80, "'tcp'", "['a', 'b']\nstandbys = ['c']\nbackup = 'one-standby'");
            }
            false => service("one", 80, "'tcp'", "['a', 'b']\nbackup = 'none'"),
        }
        let both = "['a', 'c']\nbackup = 'multi-master'";
        if self.two {
            service("first", 81, "'tcp'", both);
        }
        service("quic", 82, "'udp'\nudp = 'quic'", both);
        service("sticky", 83, "'udp'\nudp = 'sticky'", "['a', 'b']\nbackup = 'none'");
        config::parse(&text, "model").expect("it is fine").config
    }

    fn cluster(&self, c: usize, name: &str, text: &mut String) {
        let mut nodes = String::new();
        for Server([_, n]) in self.servers().iter().filter(|server| server.cluster() == c) {
            let weight = n.checked_sub(1).map_or(1, |at| self.weights[c][usize::from(at)]);
            let _ = write!(
                nodes,
                "{{ name = \"{name}{n}\", address = \"10.0.{c}.{n}\", weight = {weight} }}, "
            );
        }
        let (drain, hard, asked) = (self.drain(c).as_secs(), self.hard[c], self.asked);
        let [ramp, start] = if self.slow[c] { [8, 5] } else { [0, 0] };
        let _ = writeln!(
            text,
            "[[cluster]]\nname = \"{name}\"\nmin_survivors = 1\ndrain = \"{drain}s\"\n\
             drain_hard = {hard}\nramp = \"{ramp}s\"\nslow_start = \"{start}s\"\n\
             health = {{ kind = \"tcp\", port = {asked}, fall = 1, rise = 1, interval = \"1s\", \
             timeout = \"500ms\" }}\nnodes = [{nodes}]"
        );
    }
}
