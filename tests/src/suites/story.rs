//! One failover reads as one story: what was seen, the verdict, the group, the plan, the commit.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::ward::{PATIENCE, share, site, told};
use crate::{checked::firewall::Rules, clock::Moment, configuration::Configuration, runner::Case};

/// The cases.
pub(super) const CASES: &[Case] = &[Case::network("story/failover", failover)];

fn failover() -> Result<()> {
    let mut site = site(Configuration::default())?;
    let swallow = ["tcp sport 80 ip saddr { 192.0.2.21-192.0.2.22 } drop"];
    let _swallow = Rules::add(&site.topology.lb, "swallow", &swallow, &[])?;
    site.until("S carries A", |known| (share(known.status.as_ref()?, "S") > 0.0).then_some(()))?;
    // The commit is told after the plan is in force.
    let deadline = Moment::now().after(PATIENCE);
    let lines = loop {
        let text = told(&["--events", "--format", "json"])?;
        let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let story = lines.iter().find(|line| line["kind"] == "cluster_unhealthy");
        let story = story.map(|line| line["story"].clone());
        let of_it = |line: &&Value| Some(&line["story"]) == story.as_ref();
        let lines: Vec<Value> = lines.iter().filter(of_it).cloned().collect();
        if lines.last().is_some_and(|line| line["kind"] == "commit") {
            break lines;
        }
        ensure!(Moment::now() < deadline, "no story with a commit at its end in:\n{text}");
        site.wait(Duration::from_millis(20))?;
    };
    let kinds: Vec<_> = lines.iter().filter_map(|line| line["kind"].as_str()).collect();
    let mut rest = kinds.iter();
    for kind in ["seen", "node_down", "cluster_unhealthy", "carried", "commit"] {
        ensure!(rest.any(|is| *is == kind), "no {kind} in its place in {kinds:?}");
    }
    let number =
        |line: &Value, key: &str| line[key].as_u64().with_context(|| format!("no {key} in {line}"));
    for pair in lines.windows(2) {
        let key = "at_ns";
        ensure!(number(&pair[0], key)? <= number(&pair[1], key)?, "out of order: {pair:?}");
    }
    for line in &lines {
        number(line, "story")?;
        number(line, "epoch")?;
        ensure!(line["time"].as_str().is_some_and(|time| time.contains('T')), "no time: {line}");
    }
    let (first, last) = (number(&lines[0], "epoch")?, number(&lines[lines.len() - 1], "epoch")?);
    ensure!(last > first, "committed epoch {last} after {first}");
    Ok(())
}
