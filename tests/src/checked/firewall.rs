//! What the network does to packets: rules of nftables in a namespace. (netem would do some of it,
//! but not every kernel has it.)

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::debian;
use crate::netns::Netns;

/// Rules in force in a namespace, as one table. Dropping it takes them out.
#[derive(Debug)]
pub struct Rules {
    namespace: PathBuf,
    table: &'static str,
}

impl Rules {
    /// Puts rules on what comes in and what goes out, in the words of `nft`; a namespace holds
    /// one table of a name.
    ///
    /// # Errors
    /// If `nft` refuses them.
    pub fn add(
        netns: &Netns,
        table: &'static str,
        incoming: &[&str],
        outgoing: &[&str],
    ) -> Result<Self> {
        let chain = |hook: &str, rules: &[&str]| {
            let rules: String = rules.iter().map(|rule| format!("    {rule}\n")).collect();
            format!("  chain {hook} {{\n    type filter hook {hook} priority 0;\n{rules}  }}\n")
        };
        let (incoming, outgoing) = (chain("input", incoming), chain("output", outgoing));
        let namespace = netns.path();
        nft(&namespace, &format!("table ip {table} {{\n{incoming}{outgoing}}}\n"))?;
        Ok(Self { namespace, table })
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        if let Err(error) = nft(&self.namespace, &format!("delete table ip {}", self.table)) {
            eprintln!("warning: {error:#}");
        }
    }
}

fn nft(namespace: &Path, script: &str) -> Result<()> {
    debian::program(namespace, "nft")?.args([script]).run().map(drop)
}
