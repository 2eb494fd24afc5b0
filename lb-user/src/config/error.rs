//! What is wrong with a configuration, for people and for programs.

use std::{fmt, io, str::Utf8Error, sync::Arc};

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};
use serde::Serialize;

/// Everything that is wrong with a configuration, by place; at least one error.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    errors: Vec<Diagnostic>,
}

/// One error or warning, with its place.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnostic {
    severity: Severity,
    file: String,
    line: usize,
    column: usize,
    message: String,
    help: Option<String>,
    #[serde(skip)]
    labels: Vec<LabeledSpan>,
    #[serde(skip)]
    source: Option<Arc<Source>>,
}

/// Whether a configuration may still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is refused.
    Error,
    /// It is legal and unwise.
    Warning,
}

/// The diagnostics as a person reads them: file, line and column, the text marked, what would be
/// right. With `color`, for a terminal.
pub fn render(diagnostics: &[Diagnostic], color: bool) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(100)
        .with_context_lines(0)
        .without_syntax_highlighting();
    let mut text = String::new();
    for diagnostic in diagnostics {
        if handler.render_report(&mut text, diagnostic).is_err() {
            text.push_str(&format!("{diagnostic}\n"));
        }
        text.push('\n');
    }
    text
}

impl ConfigErrors {
    pub(super) fn new(errors: Vec<Diagnostic>) -> Self {
        Self { errors }
    }

    pub(super) fn unreadable(file: &str, error: &io::Error) -> Self {
        let help = match error.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "it must be readable for this user",
            io::ErrorKind::IsADirectory => "a file is needed, not a directory",
            _ => "it must be a readable file",
        };
        let message = format!("cannot read the configuration: {error}");
        Self::new(vec![Diagnostic::of_file(file, (0, 0), message, help)])
    }

    pub(super) fn not_utf8(file: &str, bytes: &[u8], error: &Utf8Error) -> Self {
        let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
        let message = format!("not UTF-8: byte {byte:#04x} does not belong here");
        let help = "save the file as UTF-8";
        Self::new(vec![Diagnostic::of_file(file, place(&good, good.len()), message, help)])
    }

    /// The errors, by place.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.errors
    }

    /// Line, column and message of each error, as [`Diagnostic`] has them.
    pub fn list(&self) -> Vec<(usize, usize, &str)> {
        self.errors.iter().map(|d| (d.line, d.column, d.message.as_str())).collect()
    }

    /// All of them as a person reads them.
    pub fn render(&self, color: bool) -> String {
        render(&self.errors, color)
    }
}

/// One line an error.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            match error.line {
                0 => write!(f, "{}: {error}", error.file)?,
                _ => write!(f, "{}:{}:{}: {error}", error.file, error.line, error.column)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl Diagnostic {
    pub(super) fn new(
        severity: Severity,
        source: &Arc<Source>,
        labels: Vec<LabeledSpan>,
        message: String,
        help: Option<String>,
    ) -> Self {
        let start = labels.first().map_or(0, LabeledSpan::offset);
        let (line, column) = place(&source.text, start);
        let file = source.name.clone();
        let source = Some(Arc::clone(source));
        Self { severity, file, line, column, message, help, labels, source }
    }

    /// About a file whose text is not there to be shown.
    fn of_file(file: &str, (line, column): (usize, usize), message: String, help: &str) -> Self {
        let (severity, help) = (Severity::Error, Some(help.to_owned()));
        let (file, labels, source) = (file.into(), Vec::new(), None);
        Self { severity, file, line, column, message, help, labels, source }
    }

    /// Error or warning.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Line, from 1; 0 if it is about the file as a whole.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Column in characters, from 1; 0 if it is about the file as a whole.
    pub fn column(&self) -> usize {
        self.column
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What would be right.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

/// The text of a file, for snippets. They show the lines in question and none around them, which
/// may hold the secret.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        _before: usize,
        _after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let text = &self.text;
        let start = char_boundary(text, span.offset());
        let end = char_boundary(text, span.offset() + span.len()).max(start);
        let (line, column) = place(text, start);
        let first = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let last = text[end..].find('\n').map_or(text.len(), |newline| end + newline);
        // A carriage return without its newline would confuse the count of lines.
        let last = if text[first..last].ends_with('\r') { last - 1 } else { last };
        let lines = text[first..last].lines().count();
        // Columns are characters, as everywhere here; miette would count bytes.
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            &text.as_bytes()[first..last],
            (first, last - first).into(),
            line - 1,
            column - 1,
            lines,
        )))
    }
}

/// The last boundary of characters that is not after `offset`.
pub(super) fn char_boundary(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// Line and column (in characters) of a byte of the text, both from 1.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..char_boundary(text, offset)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
