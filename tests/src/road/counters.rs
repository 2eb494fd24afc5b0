//! What receivers count as wrong: bad checksums and headers, packets that nobody knows what to do
//! with.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, ensure};

use crate::{netns::Netns, variant::Family};

/// Counters by name, `TcpInCsumErrors`; as `nstat` has them.
pub type Counters = BTreeMap<String, u64>;

/// Ends of the names of counters that stay 0 where all packets are right. A tunnel's packet that
/// `decap` leaves alone is one of them.
const WRONG: [&str; 4] = ["InCsumErrors", "InHdrErrors", "InUnknownProtos", "NoPorts"];

/// Reads those of a namespace.
///
/// # Errors
/// If the kernel does not show them as it is known to.
pub fn wrong(netns: &Netns) -> Result<Counters> {
    let mut counters = all(netns)?;
    counters.retain(|name, _| WRONG.iter().any(|end| name.ends_with(end)));
    // One for each of IP, TCP, UDP and ICMP at the least: else they were not found.
    ensure!(counters.len() >= 8, "only these counters: {counters:?}");
    Ok(counters)
}

/// How often a namespace was told that a packet of its was too big for its way.
///
/// # Errors
/// As [`wrong`].
pub fn too_big(netns: &Netns, family: Family) -> Result<u64> {
    let name = match family {
        // Type 3 has no counter of its own for code 4.
        Family::V4 => "IcmpInDestUnreachs",
        Family::V6 => "Icmp6InPktTooBigs",
    };
    all(netns)?.get(name).copied().with_context(|| format!("no counter {name}"))
}

/// How many packets a namespace put together from their fragments.
///
/// # Errors
/// As [`wrong`].
pub fn put_together(netns: &Netns) -> Result<u64> {
    all(netns)?.get("IpReasmOKs").copied().context("no counter IpReasmOKs")
}

fn all(netns: &Netns) -> Result<Counters> {
    netns.run(|| {
        let read = |name: &str| {
            let path = format!("/proc/thread-self/net/{name}");
            fs::read_to_string(&path).with_context(|| format!("reading {path}"))
        };
        let mut counters = Counters::new();
        for file in ["snmp", "netstat"] {
            paired(&read(file)?, &mut counters).with_context(|| format!("in {file}"))?;
        }
        for line in read("snmp6")?.lines() {
            let mut words = line.split_whitespace();
            let (name, value) = (words.next(), words.next());
            let (name, value) = name.zip(value).with_context(|| format!("in snmp6: {line}"))?;
            counters.insert(name.to_owned(), value.parse().unwrap_or_default());
        }
        Ok(counters)
    })
}

/// Lines come in pairs: `Tcp: names`, `Tcp: values`.
fn paired(text: &str, counters: &mut Counters) -> Result<()> {
    let mut lines = text.lines();
    while let Some((names, values)) = lines.next().zip(lines.next()) {
        let (group, names) = names.split_once(": ").context("names without a group")?;
        let values = values.strip_prefix(&format!("{group}: ")).context("values of a group")?;
        for (name, value) in names.split(' ').zip(values.split(' ')) {
            // Some are negative, such as TCP's MaxConn.
            let value: i64 = value.parse().with_context(|| format!("{group}{name}"))?;
            counters.insert(format!("{group}{name}"), value.try_into().unwrap_or_default());
        }
    }
    Ok(())
}

/// Those that grew, with by how much.
#[must_use]
pub fn grown(before: &Counters, after: &Counters) -> Counters {
    let grew = |(name, now): (&String, &u64)| {
        let by = now.saturating_sub(before.get(name).copied().unwrap_or_default());
        (by > 0).then(|| (name.clone(), by))
    };
    after.iter().filter_map(grew).collect()
}
