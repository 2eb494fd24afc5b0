//! On an interface, by itself: needs a kernel that can make a veth pair, and no tool.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use lb_common::{HashAlgorithm, pin::DEFAULT_PINS};
use lb_user::{
    dataplane::{self, Dataplane, Opened, Options, attach::Attached},
    object::object,
};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::LinkVeth;

use crate::{owner::Owner, pipeline, runner::Case};

/// The cases.
pub(super) const CASES: &[Case] = &[Case::new("attach/native-adopted-detached", on_a_veth)];

const INTERFACE: &str = "lb0";

/// In a namespace of a thread's own, which ends with it, and the pair with the namespace.
fn on_a_veth() -> Result<()> {
    let inside = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
        make_pair()?;
        native_adopted_detached()
    });
    inside.join().map_err(|_| anyhow!("it panicked, see above"))?
}

fn make_pair() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().context("opening netlink")?;
        tokio::spawn(connection);
        let pair = LinkVeth::new(INTERFACE, "peer0").build();
        handle.link().add(pair).execute().await.context("making a veth pair")
    })
}

fn native_adopted_detached() -> Result<()> {
    let bpffs = Owner::this().bpffs();
    let interfaces = [INTERFACE.to_owned()];
    let options = Options {
        object: object().context("built without the XDP object: use `cargo xtask test`")?,
        bpffs: &bpffs,
        interfaces: &interfaces,
        secret: None,
        hash: HashAlgorithm::Multilinear,
        pins: DEFAULT_PINS,
    };
    let mut first = Dataplane::open(&options)?;
    ensure!(how(&first) == [Attached::Native], "first {:?}", first.attached);
    ensure!(!first.adopted, "adopted from nobody");
    let epoch = first.dataplane.commit(&pipeline::empty())?;
    drop(first);

    let second = Dataplane::open(&options)?;
    ensure!(how(&second) == [Attached::Adopted], "then {:?}", second.attached);
    ensure!(second.adopted && second.dataplane.epoch() == epoch, "the tables were not adopted");
    drop(second);

    ensure!(dataplane::detach(&bpffs)?, "there was nothing to detach");
    ensure!(!bpffs.exists(), "{} is left", bpffs.display());
    let third = Dataplane::open(&options)?;
    ensure!(how(&third) == [Attached::Native], "after detach {:?}", third.attached);
    drop(third);
    ensure!(dataplane::detach(&bpffs)?, "there was nothing to detach");
    Ok(())
}

fn how(opened: &Opened) -> Vec<Attached> {
    opened.attached.iter().map(|(_, how)| *how).collect()
}
