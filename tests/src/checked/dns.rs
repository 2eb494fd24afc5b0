//! Debian's dnsmasq, which knows one name and its text.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use anyhow::Result;

use super::{debian, process::Running};
use crate::netns::Netns;

/// The name that it knows.
pub const NAME: &str = "alive.test";
/// The name's address.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);

/// Starts it in a namespace. No other name in `test` exists.
///
/// # Errors
/// If it does not come to listen.
pub fn start(netns: &Netns, directory: &Path, port: u16) -> Result<Running> {
    let mut running = debian::program(&netns.path(), "dnsmasq")?
        .args(["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--user=root"])
        .args(["--no-resolv", "--no-hosts", "--local=/test/", "--log-facility=-"])
        .args([format!("--port={port}"), format!("--host-record={NAME},{ADDRESS}")])
        .spawn(directory.join(format!("dnsmasq-{port}.log")))?;
    // It listens for DNS over TCP as it does for that over UDP.
    running.until_it_listens(netns, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Ok(running)
}
