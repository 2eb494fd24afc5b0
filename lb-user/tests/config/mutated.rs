//! However a file is damaged, it is refused or accepted, never a panic, and what is said of it has
//! a place in it.

use lb_user::config::{self, Diagnostic};
use proptest::prelude::*;

use crate::good::EXAMPLES;

/// What is put into a file, beside pieces of the files themselves.
const PIECES: [&str; 28] = [
    "\"",
    "'",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "\n",
    "\r",
    "\r\n",
    "#",
    "-",
    "\0",
    "ü",
    "\u{2028}",
    "0x",
    "1e9",
    "nan",
    "99999999999999999999",
    "\"\"\"",
    "cluster",
    "[lb]",
    "nodes = 3",
    "masters = [[]]",
];

#[derive(Clone, Debug)]
enum Edit {
    Insert(prop::sample::Index, &'static str),
    Remove(prop::sample::Index, usize),
    Copy(prop::sample::Index, usize, prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), prop::sample::select(&PIECES[..])).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (at(), 1..40usize).prop_map(|(at, length)| Edit::Remove(at, length)),
        (at(), 1..80usize, at()).prop_map(|(from, length, to)| Edit::Copy(from, length, to)),
        (at(), at()).prop_map(|(a, b)| Edit::Swap(a, b)),
    ]
}

fn apply(edit: &Edit, text: &mut Vec<char>) {
    if text.is_empty() {
        return;
    }
    let end = |at: usize, length: usize| (at + length).min(text.len());
    match edit {
        Edit::Insert(at, piece) => {
            let at = at.index(text.len());
            text.splice(at..at, piece.chars());
        }
        Edit::Remove(at, length) => {
            let at = at.index(text.len());
            text.drain(at..end(at, *length));
        }
        Edit::Copy(from, length, to) => {
            let from = from.index(text.len());
            let piece = text[from..end(from, *length)].to_vec();
            let to = to.index(text.len());
            text.splice(to..to, piece);
        }
        Edit::Swap(a, b) => {
            let (a, b) = (a.index(text.len()), b.index(text.len()));
            text.swap(a, b);
        }
    }
}

/// Each has a place that exists, and something to say.
fn has_a_place(text: &str, diagnostic: &Diagnostic) -> bool {
    let line = text.split('\n').nth(diagnostic.line().wrapping_sub(1));
    let columns = line.map_or(0, |line| line.chars().count() + 1);
    (1..=columns).contains(&diagnostic.column()) && !diagnostic.message().is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_damaged_file_never_panics(
        (example, edits) in (0..EXAMPLES.len(), prop::collection::vec(edit(), 1..6))
    ) {
        let mut text: Vec<char> = EXAMPLES[example].1.chars().collect();
        edits.iter().for_each(|edit| apply(edit, &mut text));
        let text: String = text.into_iter().collect();
        let said = match config::parse(&text, "lb.toml") {
            Ok(checked) => checked.warnings,
            Err(errors) => {
                prop_assert!(!errors.list().is_empty());
                errors.diagnostics().to_vec()
            }
        };
        for diagnostic in &said {
            prop_assert!(has_a_place(&text, diagnostic), "{diagnostic:?}");
        }
        let shown = config::render(&said, false);
        prop_assert!(!shown.contains("Failed to read"), "{shown}");
    }
}

#[test]
fn cut_off_anywhere() {
    for (_, text) in EXAMPLES {
        for (at, _) in text.char_indices() {
            if let Err(errors) = config::parse(&text[..at], "lb.toml") {
                assert!(!errors.render(false).is_empty());
            }
        }
    }
}
