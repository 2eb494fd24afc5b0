//! Where errors and warnings gather while a configuration is read and checked.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use miette::{LabeledSpan, SourceSpan};

use super::error::{Diagnostic, Severity, Source, char_boundary};

/// Bytes of the text.
pub(super) type Span = Range<usize>;

/// What has been found so far.
#[derive(Default)]
pub(super) struct Report {
    problems: Vec<Problem>,
    damage: Damage,
}

/// How much of the text is not TOML.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Damage {
    #[default]
    None,
    /// Single lines: the others may be judged.
    Lines,
    /// An unclosed bracket took in what follows it: nothing may be judged.
    Rest,
}

/// An error or a warning to be.
pub(super) struct Problem {
    severity: Severity,
    span: Span,
    message: String,
    help: Option<String>,
    also: Option<(Span, &'static str)>,
    is_syntax: bool,
}

impl Report {
    /// Notes what makes the configuration unusable.
    pub(super) fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.push(Severity::Error, span, message.into())
    }

    /// Notes what is legal and unwise.
    pub(super) fn warning(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.push(Severity::Warning, span, message.into())
    }

    /// Notes what is not TOML. From then on no field is called missing or unknown: it may
    /// belong elsewhere.
    pub(super) fn syntax(&mut self, mut errors: Vec<toml::de::Error>) {
        errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
        let has = |error: &toml::de::Error, words: &[&str]| {
            words.iter().any(|word| error.message().contains(word))
        };
        if errors.iter().any(|error| has(error, &["unclosed array,", "unclosed inline table,"])) {
            self.damage = Damage::Rest;
            let torn = &["missing comma", "inline table", "in array", "unclosed"];
            // What follows the first sign of it says nothing.
            let signs = errors.iter().position(|error| has(error, torn));
            errors.truncate(signs.map_or(errors.len(), |first| first + 1));
        }
        let last = errors.len().saturating_sub(1);
        for (i, error) in errors.iter().enumerate() {
            let problem = self.error(error.span().unwrap_or_default(), "");
            problem.message = format!("not TOML: {}", error.message());
            problem.is_syntax = true;
            if has(error, &["duplicate key"]) {
                // Nothing is damaged: the first one counts.
                problem.help("a key stands once in its table");
                continue;
            }
            self.damage = self.damage.max(Damage::Lines);
            if self.damage == Damage::Rest && i == last {
                let help = "close the `[` or `{` before this; what follows was not looked at";
                self.last().help(help);
            }
        }
    }

    /// Whether the text is not TOML.
    pub(super) fn is_damaged(&self) -> bool {
        self.damage > Damage::None
    }

    /// Whether there is an error.
    pub(super) fn is_refused(&self) -> bool {
        self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Errors and warnings, each by place.
    pub(super) fn finish(
        mut self,
        text: &str,
        file_name: &str,
    ) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        self.forget_what_damage_suggests(text);
        self.problems.sort_by_key(|problem| problem.span.start);
        let source = Arc::new(Source { name: file_name.to_owned(), text: text.to_owned() });
        let diagnostics = self.problems.into_iter().map(|problem| problem.place(text, &source));
        diagnostics.partition(|diagnostic| diagnostic.severity() == Severity::Error)
    }

    fn push(&mut self, severity: Severity, span: Span, message: String) -> &mut Problem {
        let (help, also, is_syntax) = (None, None, false);
        self.problems.push(Problem { severity, span, message, help, also, is_syntax });
        self.last()
    }

    fn last(&mut self) -> &mut Problem {
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    /// Where the text is not TOML, its values are guesses.
    fn forget_what_damage_suggests(&mut self, text: &str) {
        let line = |problem: &Problem| {
            let before = &text[..char_boundary(text, problem.span.start)];
            before.matches('\n').count()
        };
        let syntax = self.problems.iter().filter(|problem| problem.is_syntax);
        let damaged: BTreeSet<usize> = match self.damage {
            Damage::None => return,
            Damage::Lines => syntax.map(line).collect(),
            Damage::Rest => (0..=text.matches('\n').count()).collect(),
        };
        self.problems.retain(|problem| problem.is_syntax || !damaged.contains(&line(problem)));
    }
}

impl Problem {
    /// Says what would be right.
    pub(super) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Marks a second place.
    pub(super) fn also(&mut self, span: Span, label: &'static str) -> &mut Self {
        self.also = Some((span, label));
        self
    }

    fn place(self, text: &str, source: &Arc<Source>) -> Diagnostic {
        let mut labels = vec![LabeledSpan::new_primary_with_span(None, mark(text, self.span))];
        if let Some((span, name)) = self.also {
            labels.push(LabeledSpan::at(mark(text, span), name));
        }
        Diagnostic::new(self.severity, source, labels, self.message, self.help)
    }
}

/// The first line of the span; at the end of a line its last character.
fn mark(text: &str, span: Span) -> SourceSpan {
    let start = char_boundary(text, span.start);
    let marked = &text[start..char_boundary(text, span.end).max(start)];
    let (start, length) = match marked.lines().next().map_or(0, str::len) {
        0 if text[start..].lines().next().is_none_or(str::is_empty) => {
            let line = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
            let last = text[line..start].chars().next_back().map_or(0, char::len_utf8);
            (start - last, last)
        }
        length => (start, length),
    };
    (start, length).into()
}
