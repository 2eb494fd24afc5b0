//! The run as plain lines: each event when it comes, the load once a second.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use crate::{
    board::Watch,
    clock::Moment,
    lab::stage::Stage,
    load::Log,
    status::Plan,
    stop::Stop,
    topology::{CLUSTERS, NodeIndex},
};

/// Prints until the end is pulled.
pub fn print(stage: &Stage, log: &Arc<Log>, watch: &Watch, end: &Stop) {
    let mut told = watch.now().events.len();
    let mut scene = String::new();
    let mut next = Moment::now();
    while end.wait(Duration::from_millis(100)).is_ok() {
        let known = watch.now();
        for event in known.events.iter().skip(told) {
            println!("{:6.1} s  {}", stage.seconds(event.at()), event);
        }
        told = known.events.len();
        let name = stage.name();
        if name != scene {
            println!("{:6.1} s  == {name}", stage.seconds(Moment::now()));
            scene = name;
        }
        if next <= Moment::now() {
            next = next.after(Duration::from_secs(1));
            let plan = known.status.as_ref().map(Plan::of);
            println!("{:6.1} s  {}", stage.seconds(Moment::now()), load(stage, log, plan.as_ref()));
        }
    }
}

/// The load of the last moments on one line.
fn load(stage: &Stage, log: &Log, plan: Option<&Plan>) -> String {
    let recent = stage.recent(log);
    let mut line = format!("{:5.0} requests/s", recent.rate(NodeIndex::all()));
    for cluster in CLUSTERS {
        let seen = recent.share(NodeIndex::of_cluster(cluster)) * 100.0;
        let _ = write!(line, "  {cluster} {seen:4.1} %");
        if let Some(plan) = plan {
            let _ = write!(line, " (plan {:4.1})", plan.cluster(cluster) * 100.0);
        }
    }
    let lasting = log.lasting();
    let _ = write!(line, "  failed {}", recent.failed);
    let _ = write!(line, "  connections {lasting}");
    line
}
