//! Runs a program over packets of many flows, and says what one took.

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf,
    maps::{Array, ProgramArray},
    programs::{ProgramFd, TestRun, TestRunOptions, Xdp},
};
use lb_common::{
    feed::{FEED_BYTES, Feed},
    pod::{bytes_of, from_bytes},
};

/// The least that a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// Nothing.
    Tx,
    /// It swaps the MAC addresses.
    Swap,
    /// It makes room for 20 bytes, and writes 34.
    Wrap,
}

impl Floor {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tx, Self::Swap, Self::Wrap];

    /// What people read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tx => "XDP_TX",
            Self::Swap => "MAC addresses swapped",
            Self::Wrap => "20 bytes in front, 34 written",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Tx => "floor_tx",
            Self::Swap => "floor_swap",
            Self::Wrap => "floor_wrap",
        }
    }
}

/// Packets to be fed.
#[derive(Clone, Debug)]
pub struct Packets {
    /// The frame, of the flow whose number is nothing.
    pub frame: Vec<u8>,
    /// It is of IPv6.
    pub v6: bool,
    /// Flows that each packet's is chosen from at random; 0: each packet is of the next flow.
    pub flows: u64,
    /// Destination ports that each packet's is chosen from at random.
    pub ports: u64,
    /// Packets before the clock is looked at.
    pub warm: u64,
    /// Packets that are timed.
    pub timed: u64,
}

/// The benchmark's own programs, loaded.
pub struct Feeder {
    ebpf: Ebpf,
}

type Words = [u64; Feed::WORDS];

impl Feeder {
    /// From the object that has them.
    ///
    /// # Errors
    /// It is none, or the kernel refuses it.
    pub fn load(object: &[u8]) -> Result<Self> {
        let mut ebpf = Ebpf::load(object).context("loading the benchmark's object")?;
        for (name, program) in ebpf.programs_mut() {
            let program: &mut Xdp = program.try_into()?;
            program.load().with_context(|| format!("loading {name}"))?;
        }
        Ok(Self { ebpf })
    }

    /// A floor's handle.
    ///
    /// # Errors
    /// None that is not a defect: all are loaded.
    pub fn floor(&self, floor: Floor) -> Result<ProgramFd> {
        Ok(self.program(floor.program())?.fd()?.try_clone()?)
    }

    fn program(&self, name: &str) -> Result<&Xdp> {
        Ok(self.ebpf.program(name).with_context(|| format!("no program {name}"))?.try_into()?)
    }

    /// Nanoseconds that a packet took, the feeder's own part included.
    ///
    /// # Errors
    /// The kernel refuses the run, or it did not run as often as it should have.
    pub fn run(&mut self, target: &ProgramFd, packets: &Packets) -> Result<f64> {
        let map = self.ebpf.map_mut("TARGET").context("the map TARGET")?;
        ProgramArray::try_from(map)?.set(0, target, 0)?;
        let mut frame = [0; FEED_BYTES];
        let known = packets.frame.len().min(FEED_BYTES);
        frame[..known].copy_from_slice(&packets.frame[..known]);
        let last = packets.warm + packets.timed;
        let feed = Feed {
            count: 0,
            first: packets.warm,
            last,
            begin: 0,
            end: 0,
            seed: 1,
            flows: packets.flows,
            ports: packets.ports,
            length: packets.frame.len() as u64,
            frame,
            reserved: [0; 2],
        };
        let words: Words = from_bytes(bytes_of(&feed)).context("as many words as bytes")?;
        self.feed()?.set(0, words, 0)?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(&packets.frame);
        options.repeat = u32::try_from(last + 1)?;
        let name = if packets.v6 { "feed_v6" } else { "feed_v4" };
        self.program(name)?.test_run(options)?;
        let words = self.feed()?.get(&0, 0)?;
        let feed: Feed = from_bytes(bytes_of(&words)).context("as many bytes as words")?;
        ensure!(
            feed.count == last + 1,
            "{} of {last} packets and one: a run broke off",
            feed.count
        );
        ensure!(feed.end > feed.begin, "the clock stood still");
        Ok((feed.end - feed.begin) as f64 / packets.timed as f64)
    }

    fn feed(&mut self) -> Result<Array<&mut aya::maps::MapData, Words>> {
        Ok(Array::try_from(self.ebpf.map_mut("FEED").context("the map FEED")?)?)
    }
}
