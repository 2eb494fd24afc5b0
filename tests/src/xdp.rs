//! The object's programs for test networks: `pass`, and `decap` on nodes behind tunnels.

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    programs::{Xdp, XdpMode, links::FdLink, xdp::XdpLink},
};

use crate::netns::Netns;

/// A loaded program; each link holds it, too.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    object: Ebpf,
}

/// Passes everything. For the far end of a wire: what the near end sends by `XDP_TX`, or is
/// redirected there, vanishes without a program on it.
pub const PASS: &str = "pass";
/// Takes tunnels' packets apart, as a tunnel's device would.
pub const DECAP: &str = "decap";
/// Makes a flood of packets, on live frames.
pub const GENERATE: &str = "generate";
/// Takes such a flood.
pub const SINK: &str = "sink";

impl Program {
    /// Loads it.
    ///
    /// # Errors
    /// If there is no object, it has no such program, or the kernel refuses it.
    pub fn load(name: &'static str) -> Result<Self> {
        let object = lb_user::object::object();
        let object = object.context("built without the data path, use cargo xtask build")?;
        let mut object = Ebpf::load(object).context("loading the XDP object")?;
        let program = object.program_mut(name).with_context(|| format!("no program {name}"))?;
        let program: &mut Xdp = program.try_into()?;
        program.load().with_context(|| format!("loading the program {name}"))?;
        Ok(Self { name, object })
    }

    /// The kernel's handle of it.
    ///
    /// # Errors
    /// None that is not a defect: it was found when it was loaded.
    pub fn xdp(&mut self) -> Result<&mut Xdp> {
        Ok(self.object.program_mut(self.name).context("the program is gone")?.try_into()?)
    }

    /// Puts it on an interface of a namespace, in the driver, for as long as the link lives.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn attach(&mut self, netns: &Netns, interface: &str) -> Result<FdLink> {
        let name = self.name;
        let program = self.xdp()?;
        netns
            .run(|| {
                let link = program.attach(interface, XdpMode::Driver)?;
                let link: XdpLink = program.take_link(link)?;
                Ok(link.try_into()?)
            })
            .with_context(|| format!("the program {name} on {interface}"))
    }
}
