//! Programs on test networks: the object's `pass`, and its `decap` on nodes behind tunnels; or those of
//! another object.

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

impl Program {
    /// Loads one of the load balancer's object.
    ///
    /// # Errors
    /// If there is no object, it has no such program, or the kernel refuses it.
    pub fn load(name: &'static str) -> Result<Self> {
        let object = lb_user::object::object();
        Self::of(object.context("built without the data path, use cargo xtask build")?, name)
    }

    /// Loads one of an object.
    ///
    /// # Errors
    /// If it has no such program, or the kernel refuses it.
    pub fn of(object: &[u8], name: &'static str) -> Result<Self> {
        let mut object = Ebpf::load(object).context("loading the object")?;
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
