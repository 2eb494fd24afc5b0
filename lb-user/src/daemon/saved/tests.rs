//! A daemon may be killed at any step of writing the file of a plan.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::{config, decide::Remembered};

const FILE: &str = r#"
[[cluster]]
name = "A"
threshold = "50%"
[[cluster.node]]
name = "a1"
address = "10.0.0.1"
[[cluster.node]]
name = "a2"
address = "10.0.0.2"
[[service]]
name = "web"
address = "192.0.2.10"
port = 80
backup_mode = "multi_master"
clusters = ["A"]
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
