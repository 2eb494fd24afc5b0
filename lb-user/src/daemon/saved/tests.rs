//! A daemon may be killed at any step of writing the file of a plan.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::{
    config,
    dataplane::{
        live,
        memory::Memory,
        writer::{CommitError, Writer},
    },
    decide::{Effect, Event, Host, Intent, Outcome, Remembered, TargetId, tests::fixture::HOP},
};

const FILE: &str = r#"
[[cluster]]
name = "A"
health = { port = 80 }
nodes = [
  { name = "a1", address = "10.0.0.1" },
  { name = "a2", address = "10.0.0.2" },
]
[[service]]
name = "web"
address = "192.0.2.10:80"
protocol = "tcp"
backup = "none"
masters = ["A"]
"#;

fn state(text: &str) -> State {
    let checked = config::parse(text, "test").expect("a configuration");
    State::new(Arc::new(checked.config), Duration::ZERO)
}

fn plans(directory: &tempfile::TempDir) -> Plans {
    Plans::beside(&directory.path().join("control.sock"), Path::new("/pins"))
}

fn names(directory: &tempfile::TempDir) -> BTreeSet<String> {
    let entries = fs::read_dir(directory.path()).expect("a directory");
    entries.map(|entry| entry.expect("it").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn killed_at_each_step() {
    for stop in [Step::Begin, Step::Half, Step::Rename, Step::Done] {
        let directory = tempfile::tempdir().expect("a directory");
        let mut before = plans(&directory);
        let was = state(FILE);
        let old = before.save(&was).expect("a file");
        let is = state(&FILE.replace("a2", "a3"));
        let text = serde_json::to_vec(&is.saved()).expect("JSON");
        let killed = before.write(old ^ 1, &text, |step| match step == stop {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
        assert!(killed.is_err());
        // The generation in force names the old one.
        let mut next = plans(&directory);
        assert_eq!(next.read(old).expect("the old file"), was.saved(), "{stop:?}");
        match next.read(old ^ 1) {
            Ok(saved) => assert_eq!((stop, saved), (Step::Done, is.saved())),
            Err(lost) => assert!(stop != Step::Done && matches!(lost, Lost::Read { .. }), "{lost}"),
        }
        let new = next.save(&is).expect("a new file");
        next.remove_others(&BTreeSet::from([old])).expect("removed");
        let left = [old, new].map(|number| format!("{}{number}.json", next.prefix));
        assert_eq!(names(&directory), BTreeSet::from(left), "{stop:?}");
        next.remove_others(&BTreeSet::from([new])).expect("removed");
        assert_eq!(names(&directory).len(), 1);
    }
}

/// All is well; returns what is published then.
fn settle(state: &mut State) -> Arc<Intent> {
    let model = Arc::clone(state.model());
    let nodes = (0..model.nodes.len()).filter_map(|node| model.ids.node(node));
    let mut events: Vec<Event> =
        nodes.map(|node| Event::Resolved { node, hop: Some(HOP) }).collect();
    events.push(Event::Host(Host::default()));
    let targets = (0..).map(TargetId).take(model.pools.targets.len());
    events.extend(targets.map(|target| Event::Checked { target, outcome: Outcome::Hit }));
    let effects = state.step(Duration::ZERO, &events);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Refused(_))), "{effects:?}");
    Arc::clone(state.view().published.expect("a plan"))
}

/// What a daemon does with what it publishes, in the same order: the file, then the maps, then the
/// files of others. `go_on` says before each step whether it still lives.
fn publish(
    (plans, writer, memory): (&mut Plans, &mut Writer, &Memory),
    state: &State,
    intent: &Intent,
    go_on: &mut impl FnMut() -> ControlFlow<()>,
) -> Result<(), ()> {
    let text = serde_json::to_vec(&state.saved()).expect("JSON");
    let number = number().expect("a number");
    plans.write(number, &text, |_| go_on()).map_err(drop)?;
    plans.last = Some((number, Arc::clone(state.model())));
    writer.name_file(number);
    let committed = writer.commit_observed(memory, intent, |_| go_on());
    committed.map_err(|error| assert!(matches!(error, CommitError::Stopped(_)), "{error}"))?;
    plans.remove_others(&BTreeSet::from([number])).expect("removed");
    Ok(())
}

/// A node goes and another one comes; the daemon ends at one step after the other. Whatever is in force
/// then, its file says what it is.
#[test]
fn the_plan_in_force_has_its_file_wherever_the_daemon_ends() {
    let mut was = state(FILE);
    let before = settle(&mut was);
    let file = config::parse(&FILE.replace("a2", "a3").replace("0.0.2", "0.0.3"), "test");
    let mut is = was.succeed(&file.expect("it").config, Duration::ZERO).expect("ids");
    let after = settle(&mut is);
    assert_ne!(was.saved(), is.saved());
    let mut in_force = Vec::new();
    for steps in 0.. {
        let directory = tempfile::tempdir().expect("a directory");
        let memory = Memory::anonymous().expect("memory");
        let (mut first, mut writer) = (plans(&directory), Writer::adopt(&memory));
        let mut always = || ControlFlow::Continue(());
        publish((&mut first, &mut writer, &memory), &was, &before, &mut always).expect("a plan");
        let epoch = memory.epoch();
        let mut left = steps;
        let mut until = || {
            let ends = left == 0;
            left = i32::max(left - 1, 0);
            if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let done = publish((&mut first, &mut writer, &memory), &is, &after, &mut until).is_ok();

        let (next, writer) = (plans(&directory), Writer::adopt(&memory));
        let committed = memory.epoch() > epoch;
        let expected = if committed { &is } else { &was };
        let saved = next.read(writer.file()).expect("its file");
        assert_eq!(saved, expected.saved(), "after {steps} steps");
        let maps = live::remembered(&memory, &writer);
        let intent = if committed { &after } else { &before };
        assert_eq!(maps.nodes[..intent.nodes.len()], intent.nodes, "after {steps} steps");
        let mut resumed = State::resume(saved, &maps, Duration::ZERO).expect("it fits");
        assert_eq!(settle(&mut resumed).clusters, intent.clusters, "after {steps} steps");
        in_force.push(committed);
        if done {
            break;
        }
    }
    // Steps of the file and of the maps; only the last one of all finds the plan in force.
    assert!(in_force.len() > 10 && in_force[in_force.len() - 3..] == [false, true, true]);
}

#[test]
fn one_file_for_one_model_that_only_root_reads() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut plans, state) = (plans(&directory), state(FILE));
    let number = plans.save(&state).expect("a file");
    assert_eq!(plans.save(&state).expect("the same file"), number);
    let mode = fs::metadata(plans.path(number)).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let saved = plans.read(number).expect("it");
    let resumed = State::resume(saved, &Remembered::default(), Duration::ZERO).expect("it fits");
    assert_eq!(resumed.saved(), state.saved());
    assert_ne!(plans.save(&resumed).expect("another file"), number);
}

#[test]
fn what_is_missing_or_damaged_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut plans, state) = (plans(&directory), state(FILE));
    assert!(matches!(plans.read(0), Err(Lost::Unnamed)));
    assert!(matches!(plans.read(7), Err(Lost::Read { .. })));
    let number = plans.save(&state).expect("a file");
    let text = fs::read(plans.path(number)).expect("the file");
    fs::write(plans.path(number), &text[..text.len() - 1]).expect("cut");
    assert!(matches!(plans.read(number), Err(Lost::Damaged { .. })));
    // Another daemon's files, and whatever else stands there, stay.
    for name in ["other.plan-5.json", "control.plan-x.json", "control.toml"] {
        fs::write(directory.path().join(name), "").expect("a file");
    }
    plans.remove_others(&BTreeSet::new()).expect("removed");
    assert_eq!(names(&directory).len(), 4);
    let mut nowhere =
        Plans::beside(&directory.path().join("missing/control.sock"), Path::new("/pins"));
    let nowhere = nowhere.save(&state);
    assert!(nowhere.is_err(), "a file without a directory");
}
