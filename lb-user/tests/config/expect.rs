//! Bad texts with marks, and what is expected at the marks.

use lb_user::config;

/// Expects exactly these errors, in the order of the marks `▶`: (part of the message, part of the
/// help).
pub(crate) fn expect(marked: &str, expected: &[(&str, &str)]) {
    let mut places = Vec::new();
    for (i, line) in marked.lines().enumerate() {
        for (n, (at, _)) in line.match_indices('▶').enumerate() {
            places.push((i + 1, line[..at].chars().count() - n + 1));
        }
    }
    assert_eq!(places.len(), expected.len(), "marks in\n{marked}");
    let text = marked.replace('▶', "");
    let errors = match config::parse(&text, "lb.toml") {
        Ok(_) => panic!("accepted:\n{marked}"),
        Err(errors) => errors,
    };
    let shown = errors.to_string();
    assert_eq!(errors.list().len(), expected.len(), "{marked}\nfound:\n{shown}");
    for (error, (place, (message, help))) in
        errors.diagnostics().iter().zip(places.iter().zip(expected))
    {
        assert_eq!((error.line(), error.column()), *place, "{marked}\nfound:\n{shown}");
        assert!(error.message().contains(message), "{message:?} not in {:?}", error.message());
        let found = error.help().unwrap_or_default();
        assert!(found.contains(help), "{help:?} not in help {found:?} of {:?}", error.message());
    }
}
