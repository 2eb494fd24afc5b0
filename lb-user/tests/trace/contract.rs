//! Exit codes, what goes to standard output and what to standard error, and lines that are no frames.

use std::fs;

use lb_user::object::object;

use crate::{WAYS, frames::from_client, lines, text, understudy};

/// Arguments, exit code, what standard error says; where that is not 0 nothing is printed.
const CASES: &[(&[&str], i32, &[&str])] = &[
    (&["trace", WAYS], 0, &[]),
    (&["trace", WAYS, "-"], 0, &[]),
    (&["trace", WAYS, "--down", "direct/d1", "--down-cluster", "nat4"], 0, &[]),
    (&["trace", WAYS, "--down", "direct/d9"], 2, &["no node \"d9\"", "d1, d2", "trace"]),
    (&["trace", WAYS, "--format", "xml"], 2, &["xml"]),
    (&["trace"], 2, &["FILE"]),
    (&["trace", "no/such.toml"], 1, &["no/such.toml"]),
    (&["trace", "Cargo.toml"], 1, &["Cargo.toml", "nothing was changed"]),
    (&["trace", WAYS, "no/such.frames"], 1, &["no/such.frames"]),
];

#[test]
fn exit_codes_and_streams() {
    for &(args, code, says) in CASES {
        let output = understudy(args, "");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(says.iter().all(|words| said.contains(words)), "{args:?}: {said}");
        assert!(output.stdout.is_empty() && (code != 0 || said.is_empty()), "{args:?}: {said}");
    }
}

#[test]
fn bad_lines_are_named_and_the_others_traced() {
    let plain = text(&[from_client("192.0.2.10"), from_client("192.0.2.99")]);
    let [first, second] = plain.lines().collect::<Vec<_>>()[..] else { panic!("two lines") };
    let first = first.to_uppercase().replace("0200", "02:00 ");
    let input =
        format!("# frames\n\n{first}\n  # more\n0g\n{second} # a stranger\n0102 030\n\t\n:\n");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("some.frames");
    fs::write(&path, &input).expect("a file");
    let file = path.to_str().expect("a path in UTF-8");
    for (name, given, input) in [(file, file, ""), ("standard input", "-", &input)] {
        let output = understudy(&["trace", WAYS, given, "--format", "json"], input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let expected = format!(
            "{name}:5: 'g' is no hexadecimal digit\n\
             {name}:7: half a byte: \"030\" has an odd number of digits\n\
             {name}:9: no bytes\n\
             {name}: 3 lines are no frames\n"
        );
        assert_eq!(said, expected);
        let reasons: Vec<String> = lines(&output).into_iter().map(|line| line.reason).collect();
        assert_eq!(reasons, ["forward_tx", "pass_not_vip"]);
    }
}

#[test]
fn without_the_object_or_without_root_the_kernel_is_not_asked() {
    let expected = match object() {
        None => "built without the data path, use cargo xtask build\n",
        Some(_) if !nix::unistd::geteuid().is_root() => {
            "must run as root: loading an XDP program needs it\n"
        }
        // The kernel's word is compared by the kernel suites.
        Some(_) => return,
    };
    let output = understudy(&["trace", WAYS, "--kernel"], &text(&[from_client("192.0.2.10")]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said, output.stdout.len()), (Some(1), expected, 0));
}
