//! Debian's nginx with a state that a test can change.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::{
    certificates::Pair,
    debian,
    process::{Running, Start},
};
use crate::netns::Netns;

/// What `GET /health` answers while all is well.
pub const WELL: &str = "all is well";

/// A running nginx. `/health` answers 200 with [`WELL`], or 503 while it is told to.
#[derive(Debug)]
pub struct Nginx {
    running: Running,
    directory: PathBuf,
}

impl Nginx {
    /// Starts it in a namespace with a directory of its own below `parent`, listening for HTTP at
    /// `port` and, for each certificate, for HTTPS.
    ///
    /// # Errors
    /// If it does not come to listen.
    pub fn start(netns: &Netns, parent: &Path, port: u16, tls: &[(u16, &Pair)]) -> Result<Self> {
        let directory = parent.join(format!("nginx-{}-{port}", netns.name()));
        // A second start in the same place is a restart.
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        for (port, pair) in tls {
            install(&directory, *port, pair)?;
        }
        let ports: Vec<u16> = tls.iter().map(|(port, _)| *port).collect();
        fs::write(directory.join("nginx.conf"), configuration(&directory, port, &ports))?;
        let start: Start = debian::program(&netns.path(), "nginx")?;
        let arg = |path: PathBuf| path.display().to_string();
        let mut running = start
            .args(["-p".into(), arg(directory.clone())])
            .args(["-c".into(), arg(directory.join("nginx.conf"))])
            .args(["-e".into(), arg(directory.join("error.log"))])
            .spawn(directory.join("output.log"))?;
        running.until_it_listens(netns, SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        Ok(Self { running, directory })
    }

    /// From now on `/health` is 503, or 200 again.
    ///
    /// # Errors
    /// If a file cannot be written or removed.
    pub fn set_failing(&self, failing: bool) -> Result<()> {
        let flag = self.directory.join("failing");
        if failing { fs::write(&flag, "") } else { fs::remove_file(&flag) }
            .with_context(|| format!("changing {}", flag.display()))
    }

    /// Gives one of its HTTPS ports another certificate, and makes it read that.
    ///
    /// # Errors
    /// If a file cannot be written or the process has ended.
    pub fn set_certificate(&self, port: u16, pair: &Pair) -> Result<()> {
        install(&self.directory, port, pair)?;
        self.running.signal(Signal::SIGHUP)
    }

    /// Sends it a signal; SIGSTOP leaves it accepting in the kernel and answering nobody.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.running.signal(signal)
    }
}

fn install(directory: &Path, port: u16, pair: &Pair) -> Result<()> {
    fs::write(directory.join(format!("{port}.pem")), &pair.certificate)?;
    Ok(fs::write(directory.join(format!("{port}.key")), &pair.key)?)
}

fn configuration(directory: &Path, port: u16, tls: &[u16]) -> String {
    let at = directory.display();
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("  {what}_temp_path {at}/{what};\n"))
        .concat();
    let location = format!(
        "location = /health {{ if (-f {at}/failing) {{ return 503 \"ill\\n\"; }} \
         return 200 \"{WELL}\\n\"; }}"
    );
    let secure: String = tls
        .iter()
        .map(|port| {
            format!(
                "  server {{ listen {port} ssl; ssl_certificate {at}/{port}.pem; \
                 ssl_certificate_key {at}/{port}.key; {location} }}\n"
            )
        })
        .collect();
    format!(
        "daemon off; worker_processes 1; user root; pid {at}/pid;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n  access_log off;\n{paths}  server {{ listen {port}; {location} }}\n{secure}}}\n"
    )
}
