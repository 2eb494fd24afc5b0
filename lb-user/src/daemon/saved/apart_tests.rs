//! Whose files are whose.

use super::*;

fn names(plans: &Plans) -> BTreeSet<String> {
    let files = plans.files().expect("a directory").into_iter();
    files.map(|file| file.file_name().expect("a name").to_string_lossy().into_owned()).collect()
}

#[test]
fn each_directory_of_pins_has_its_own_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("control.sock");
    let [one, two] = ["/sys/fs/bpf/one", "/sys/fs/bpf/two"].map(|pins| {
        let plans = Plans::beside(&socket, Path::new(pins));
        plans.write(7, b"{}", |_| ControlFlow::Continue(())).expect("a file");
        plans
    });
    one.remove_others(&BTreeSet::new()).expect("removed");
    assert_eq!((names(&one).len(), names(&two).len()), (0, 1), "two's is not one's");
    assert_ne!(one.path(7), two.path(7));
    assert_eq!(two.files().expect("files"), [two.path(7)]);
}

#[test]
fn a_path_is_the_same_however_it_is_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let (pins, link) = (directory.path().join("pins"), directory.path().join("link"));
    fs::create_dir(&pins).expect("a directory");
    std::os::unix::fs::symlink(&pins, &link).expect("a link");
    assert_eq!(digest(&link), digest(&pins));
    assert_eq!(digest(&pins.join("../pins/")), digest(&pins));
    // It is in names of files that another version has to find.
    assert_eq!(digest(Path::new("/nowhere/at/all")), 0x1cf8_4d0e_2a8e_a54c);
}

#[test]
fn half_a_file_belongs_to_them_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let plans = Plans::beside(&directory.path().join("control.sock"), Path::new("/pins"));
    let stopped = plans.write(7, b"{}", |step| match step {
        Step::Rename => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(stopped.is_err() && names(&plans).len() == 1);
    let nowhere = Plans::beside(Path::new("/nowhere/at/all/control.sock"), Path::new("/pins"));
    assert!(nowhere.files().expect("no directory, no files").is_empty());
}
