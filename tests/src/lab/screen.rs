//! The run as a live screen: who gets how much, who lives, what happened.

use std::{sync::Arc, time::Duration};

use ratatui::{
    Frame,
    crossterm::event::{self, Event as Input, KeyCode, KeyModifiers},
    layout::{Constraint, Layout},
    style::{Color, Modifier, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, List, Row, Table},
};

use crate::{
    board::{Knowledge, Watch},
    clock::Moment,
    lab::stage::{Recent, Stage},
    load::Log,
    status::{Event, Plan},
    stop::Stop,
    topology::{CLUSTERS, NodeIndex},
};

/// Time between two pictures.
const PERIOD: Duration = Duration::from_millis(200);

/// The width of a full bar.
const BAR: f64 = 40.0;

/// Draws until the end is pulled; the user can pull `stop`.
pub fn draw(stage: &Stage, log: &Arc<Log>, watch: &Watch, end: &Stop, stop: &Stop) {
    // Its panic hook gives the terminal back first.
    let mut terminal = ratatui::init();
    while !end.pulled() {
        let drawn = terminal.draw(|frame| picture(frame, stage, log, &watch.now()));
        if drawn.is_err() || quit() {
            stop.pull("the user");
            break;
        }
    }
    ratatui::restore();
}

/// Whether the user wants to leave; waits a period for it.
fn quit() -> bool {
    if !event::poll(PERIOD).unwrap_or(false) {
        return false;
    }
    let Ok(Input::Key(key)) = event::read() else {
        return false;
    };
    let control_c = key.code == KeyCode::Char('c') && key.modifiers == KeyModifiers::CONTROL;
    control_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
}

/// One picture of all there is to see.
fn picture(frame: &mut Frame<'_>, stage: &Stage, log: &Log, known: &Knowledge) {
    let recent = stage.recent(log);
    let rows = [Constraint::Length(4), Constraint::Length(15), Constraint::Min(3)];
    let [head, shares, events] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(heading(stage, log, &recent), head);
    frame.render_widget(table(known, &recent), shares);
    frame.render_widget(happenings(known, stage, events.height), events);
}

/// Where the script is and what the load does.
fn heading(stage: &Stage, log: &Log, recent: &Recent) -> List<'static> {
    let rate = recent.rate(NodeIndex::all());
    let load = format!("   {rate:.0} requests/s   {} failed", recent.failed);
    let time = format!(" understudy lab   {:.1} s   q ends it ", stage.seconds(Moment::now()));
    let scene = Line::from(vec![Span::from(stage.name()).bold(), Span::from(load)]);
    let lasting = log.lasting();
    let color = if lasting.broken().next().is_none() { Color::Green } else { Color::Red };
    let held = vec![Span::from("connections  "), Span::styled(lasting.to_string(), color).bold()];
    List::new([scene, Line::from(held)]).block(Block::bordered().title(time))
}

/// Each cluster and each of its nodes: health, plan, and what is seen.
fn table(known: &Knowledge, recent: &Recent) -> Table<'static> {
    let mut rows = Vec::new();
    let plan = known.status.as_ref().map(Plan::of);
    for cluster in CLUSTERS {
        let nodes = || NodeIndex::of_cluster(cluster);
        let said = known.status.as_ref().and_then(|status| status.cluster(cluster));
        let health = said.map_or_else(
            || "?".to_owned(),
            |c| {
                let word = if c.healthy { "healthy" } else { "unhealthy" };
                format!("{word}, {} of {} alive, {} needed", c.alive, c.total, c.needed)
            },
        );
        let good = said.is_some_and(|c| c.healthy);
        let planned = plan.as_ref().map(|plan| plan.cluster(cluster));
        let (rate, seen) = (recent.rate(nodes()), recent.share(nodes()));
        rows.push(row(cluster.to_owned(), health, good, planned, rate, seen).bold());
        for node in nodes() {
            let state = known.status.as_ref().map_or("?", |status| status.state(node));
            let planned = plan.as_ref().map(|plan| plan.nodes[node.index()]);
            let one = || std::iter::once(node);
            let (rate, seen) = (recent.rate(one()), recent.share(one()));
            let name = format!("  {}", node.node().name);
            rows.push(row(name, state.to_owned(), state == "up", planned, rate, seen));
        }
    }
    let widths = [6, 40, 9, 9, 12, 41].map(Constraint::Length);
    let header = Row::new(["", "health", "planned", "seen", "requests/s", ""]);
    Table::new(rows, widths)
        .header(header.style(Style::new().add_modifier(Modifier::DIM)))
        .block(Block::bordered().title(" clusters and nodes "))
}

fn row(
    name: String,
    health: String,
    good: bool,
    planned: Option<f64>,
    rate: f64,
    seen: f64,
) -> Row<'static> {
    let color = if good { Color::Green } else { Color::Red };
    let percent = |share: f64| format!("{:5.1} %", share * 100.0);
    Row::new([
        Span::from(name),
        Span::styled(health, color),
        Span::from(planned.map_or_else(|| "?".to_owned(), percent)),
        Span::from(percent(seen)),
        Span::from(format!("{rate:8.0}")),
        Span::styled("█".repeat((seen * BAR).round() as usize), Color::Blue),
    ])
}

/// The latest events, newest first.
fn happenings(known: &Knowledge, stage: &Stage, height: u16) -> List<'static> {
    let line = |event: &Event| format!("{:7.2} s  {event}", stage.seconds(event.at()));
    let latest = known.events.iter().rev().take(height.into()).map(line);
    List::new(latest).block(Block::bordered().title(" events "))
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::picture;
    use crate::{
        board::Knowledge,
        clock::Moment,
        lab::stage::Stage,
        load::{Break, How, Kind, Log, Outcome, Sample},
        status::Status,
        topology::NodeIndex,
    };

    /// A is down to one node, S carries its half; a field that this program does not know.
    const STATUS: &str = r#"{
        "epoch": 7, "unknown": true,
        "services": [{"name": "web", "clusters": [
            {"name": "A", "share": 0.0}, {"name": "B", "share": 0.5}, {"name": "S", "share": 0.5}]}],
        "clusters": [
            {"name": "A", "services": ["web"], "healthy": false, "alive": 1, "needed": 2, "total": 3, "nodes": [
                {"name": "a1", "state": "down", "share": 0.0},
                {"name": "a2", "state": "down", "share": 0.0},
                {"name": "a3", "state": "up", "share": 1.0}]},
            {"name": "B", "services": ["web"], "healthy": true, "alive": 3, "needed": 2, "total": 3, "nodes": [
                {"name": "b1", "state": "up", "share": 0.4},
                {"name": "b2", "state": "up", "share": 0.6}]},
            {"name": "S", "services": ["web"], "healthy": true, "alive": 1, "needed": 1, "total": 1, "nodes": [
                {"name": "s1", "state": "up", "share": 1.0}]}]}"#;

    fn lines() -> Vec<String> {
        let (stage, log) = (Stage::begin(), Log::default());
        stage.enter("A is down");
        let start = Moment::now();
        for name in ["b1", "b2", "s1", "s1"] {
            let outcome = Outcome::Node(NodeIndex::named(name).expect("a node"));
            let sample = Sample { kind: Kind::New, start, end: Moment::now(), outcome };
            log.samples().push(sample);
        }
        let (node, how) = (NodeIndex::named("a1").expect("a node"), How::Reset);
        for with_its_node in [true, true, false] {
            let end = Break { at: start, heard: start, node, how, with_its_node };
            log.lasting().breaks.push(end);
        }
        let status: Status = serde_json::from_str(STATUS).expect("a status");
        let known = Knowledge { status: Some(status), ..Knowledge::default() };
        let mut terminal = Terminal::new(TestBackend::new(120, 24)).expect("a terminal");
        terminal.draw(|frame| picture(frame, &stage, &log, &known)).expect("a picture");
        let text = terminal.backend().to_string();
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn clusters_and_nodes_show_health_plan_and_what_is_seen() {
        let lines = lines();
        let shown = |words: &str| lines.iter().any(|line| line.contains(words));
        for words in [
            "A is down 40 requests/s 0 failed",
            "connections 0 open, 1 broken (not on a dead node), 2 ended with their node",
            "A unhealthy, 1 of 3 alive, 2 needed 0.0 % 0.0 % 0",
            "a3 up 0.0 % 0.0 % 0",
            "B healthy, 3 of 3 alive, 2 needed 50.0 % 50.0 % 20 ████",
            "b1 up 20.0 % 25.0 % 10 ████",
            "s1 up 50.0 % 50.0 % 20 ████",
        ] {
            assert!(shown(words), "{words:?} is not shown in\n{}", lines.join("\n"));
        }
    }
}
