//! The document for people.

use std::time::Duration;

use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};

use super::{Cluster, Freeze, Pins, Service, Status};

/// The document for people.
#[must_use]
pub fn text(status: &Status) -> String {
    let mut text = format!("epoch {}", status.epoch);
    if status.adopted {
        text.push_str(", adopted from an earlier daemon");
    }
    text.push('\n');
    if let Some(Freeze { left_s, nodes }) = &status.freeze {
        text.push_str(&format!(
            "ALARM: the plan is frozen for {left_s:.1} s more: not believed that these vanished: {}\n",
            nodes.join(", ")
        ));
    }
    status.services.iter().for_each(|service| text.push_str(&service_text(service)));
    text.push_str(&format!("\n{}\n", cluster_table(&status.clusters)));
    if let Some(watched) = &status.watched {
        text.push_str(&format!("{watched}\n"));
    }
    text.push_str(&format!("{}\n", pins_text(&status.pins)));
    text.push_str(&packets_text(&status.counters));
    for event in status.events.iter().rev().take(10).rev() {
        let ago = status.monotonic_ns.saturating_sub(event.at_ns) as f64 / 1e9;
        text.push_str(&format!("{ago:>8.1} s ago  {}\n", event.text));
    }
    text
}

fn pins_text(pins: &Pins) -> String {
    let used = pins.used.map_or("not counted yet".to_owned(), |used| used.to_string());
    format!("pins    {used}, room for {}", pins.room)
}

/// What became of packets so far: what happened, the most frequent first, four a line.
fn packets_text(counters: &serde_json::Map<String, serde_json::Value>) -> String {
    let counted = counters.iter().filter_map(|(name, count)| Some((name, count.as_u64()?)));
    let mut counted: Vec<(&String, u64)> = counted.filter(|(_, count)| *count > 0).collect();
    counted.sort_by_key(|&(name, count)| (std::cmp::Reverse(count), name));
    let line = |some: &[(&String, u64)]| {
        let words: Vec<String> =
            some.iter().map(|(name, count)| format!("{name} {count}")).collect();
        format!("packets {}\n", words.join(", "))
    };
    counted.chunks(4).map(line).collect()
}

/// A service with its clusters.
fn service_text(service: &Service) -> String {
    let mut text = format!("\nservice {} {}/{}", service.name, service.address, service.protocol);
    if service.dropped > 0.0 {
        text.push_str(&format!(", {} DROPPED", percent(service.dropped)));
    }
    let mut table = rows(&["cluster", "role", "home", "share", "since", "why"]);
    for member in &service.clusters {
        let since = humantime::format_duration(Duration::from_secs(member.since_s as u64));
        table.add_row([
            &member.name,
            &member.role,
            &percent(member.home),
            &percent(member.share),
            &since.to_string(),
            &member.reason,
        ]);
    }
    text.push_str(&format!("\n{table}\n"));
    text
}

/// All clusters with their nodes.
fn cluster_table(clusters: &[Cluster]) -> Table {
    let mut table = rows(&[
        "cluster",
        "check",
        "health",
        "alive/needed/total",
        "node",
        "number",
        "address",
        "state",
        "share",
    ]);
    for cluster in clusters {
        let mut health = if cluster.healthy { "healthy" } else { "UNHEALTHY" }.to_owned();
        if let Some(going) = &cluster.going {
            health += &format!(", {going}");
        }
        let counts = format!("{}/{}/{}", cluster.alive, cluster.needed, cluster.total);
        let mut first = [cluster.name.as_str(), &cluster.check, &health, &counts];
        for node in &cluster.nodes {
            let mut state = node.state.clone();
            if let Some(reason) = &node.reason {
                state += &format!(": {reason}");
            }
            if let Some(why) = &node.unreachable {
                state += &format!(", gets nobody: {why}");
            }
            if let Some(going) = &node.going {
                state += &format!(", {going}");
            }
            let number = node.number.to_string();
            let share = percent(node.share);
            let rest = [node.name.as_str(), &number, &node.address, &state, &share];
            table.add_row(first.iter().copied().chain(rest));
            first = [""; 4];
        }
    }
    table
}

fn rows(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(header);
    table
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use lb_common::{Counters, Reason};

    use super::*;

    #[test]
    fn packets_are_told_the_most_frequent_first_and_only_what_there_was() {
        let text = |counters: &Counters| {
            let all = counters.iter().map(|(r, n)| (r.name().to_owned(), n.into()));
            packets_text(&all.collect())
        };
        assert_eq!(text(&Counters::default()), "");
        let mut counters = Counters::default();
        let counted =
            [Reason::PassNotIp, Reason::DropTooBig, Reason::AnswerEcho, Reason::ReplySent];
        counted.iter().for_each(|reason| counters.count(*reason));
        (0..7).for_each(|_| counters.count(Reason::DropUnresolved));
        let lines = "packets drop_unresolved 7, answer_echo 1, drop_too_big 1, pass_not_ip 1\n\
                     packets reply_sent 1\n";
        assert_eq!(text(&counters), lines);
    }
}
