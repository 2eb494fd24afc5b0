//! Reads TOML tables field by field. What is wrong is noted with its place and reading goes on,
//! where serde would stop at the first error.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::report::{Report, Span};

/// The fields of one table, while they are being read.
pub(super) struct Fields<'r, 'd> {
    report: &'r mut Report,
    table: &'r DeTable<'d>,
    place: Span,
    known: Vec<&'static str>,
    later: &'static [&'static str],
    elsewhere: Vec<&'static str>,
}

/// A value, or why it will not do.
pub(super) type Parsed<T> = Result<T, Fault>;

/// What is wrong with a value, and what would be right.
pub(super) struct Fault {
    /// What is wrong.
    pub(super) message: String,
    /// What would be right.
    pub(super) help: String,
}

/// Reads a whole document.
pub(super) fn document<T>(
    table: &DeTable<'_>,
    report: &mut Report,
    read: impl FnOnce(&mut Fields<'_, '_>) -> T,
) -> T {
    Fields::read(report, table, 0..0, read)
}

impl<'r, 'd> Fields<'r, 'd> {
    fn read<T>(
        report: &'r mut Report,
        table: &'r DeTable<'d>,
        place: Span,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let (known, elsewhere) = (Vec::new(), Vec::new());
        let mut fields = Self { report, table, place, known, later: &[], elsewhere };
        let value = read(&mut fields);
        fields.refuse_the_rest();
        value
    }

    /// Where the table begins.
    pub(super) fn place(&self) -> Span {
        self.place.clone()
    }

    /// Where errors go.
    pub(super) fn report(&mut self) -> &mut Report {
        self.report
    }

    /// A field that may be left out; `None` also if its value will not do, which is then noted.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<Spanned<T>> {
        let (report, value) = self.find(key)?;
        keep(report, key, value.span(), parse(value.get_ref()))
    }

    /// A field that must be there; `example` is how it could look.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<Spanned<T>> {
        self.expect(key, example);
        self.optional(key, parse)
    }

    /// Whether a field is there, be it good or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Notes if a field is missing.
    pub(super) fn expect(&mut self, key: &str, example: &str) {
        if !self.has(key) && !self.report.is_damaged() {
            let problem = self.report.error(self.place(), format!("`{key}` is missing"));
            problem.help(format!("add {example}"));
        }
    }

    /// Notes if a list has no elements.
    pub(super) fn refuse_empty(&mut self, key: &str, message: &str, help: &str) {
        if let Some(value) = self.table.get(key)
            && value.get_ref().as_array().is_some_and(|list| list.is_empty())
        {
            self.report.error(value.span(), message).help(help);
        }
    }

    /// A table in this one.
    pub(super) fn table<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Fields<'_, '_>) -> T,
    ) -> Option<T> {
        let (report, value) = self.find(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Fields::read(report, table, value.span(), read)),
            other => {
                let fault = Fault::kind("a table", other, format!("write [{key}] or {{ … }}"));
                note(report, key, value.span(), fault);
                None
            }
        }
    }

    /// A list of tables in this one. Elements that are no tables are noted and left out.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Fields<'_, '_>) -> T,
    ) -> Option<Spanned<Vec<T>>> {
        self.list(key, |report, element| match element.get_ref() {
            DeValue::Table(table) => Some(Fields::read(report, table, element.span(), &mut read)),
            other => {
                let fault = Fault::kind("a table", other, format!("write [[{key}]] or {{ … }}"));
                note(report, key, element.span(), fault);
                None
            }
        })
    }

    /// A list; each element is read by itself.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Report, &Spanned<DeValue<'_>>) -> Option<T>,
    ) -> Option<Spanned<Vec<T>>> {
        let (report, value) = self.find(key)?;
        let values = match value.get_ref() {
            DeValue::Array(elements) => elements.iter().filter_map(|e| read(report, e)).collect(),
            other => {
                let help = format!("write {key} = [ … ] or [[{key}]]");
                note(report, key, value.span(), Fault::kind("a list", other, help));
                // One element without its brackets still counts; a table has errors of its own.
                let mut unheard = Report::default();
                let report = if other.is_table() { report } else { &mut unheard };
                read(report, value).into_iter().collect()
            }
        };
        Some(Spanned::new(value.span(), values))
    }

    /// A value, or a list of such; each is read by itself.
    pub(super) fn one_or_more<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Parsed<T>,
    ) -> Option<Spanned<Vec<T>>> {
        let (report, value) = self.find(key)?;
        let one = std::slice::from_ref(value);
        let values = value.get_ref().as_array().map_or(one, |list| &list[..]);
        let values = values.iter().filter_map(|value| {
            keep(report, key, value.span(), parse(value.get_ref())).map(Spanned::into_inner)
        });
        Some(Spanned::new(value.span(), values.collect()))
    }

    /// A field that what else is here rules out. It is not called unknown; why it cannot be here
    /// is noted, if there is something to say.
    pub(super) fn elsewhere(&mut self, key: &'static str, fault: Option<Fault>) {
        self.elsewhere.push(key);
        if let Some((key, _)) = self.table.get_key_value(key)
            && let Some(Fault { message, help }) = fault
            && !self.report.is_damaged()
        {
            self.report.error(key.span(), message).help(help);
        }
    }

    /// Fields that are planned: they are refused by what they are, not as unknown.
    pub(super) fn later(&mut self, keys: &'static [&'static str]) {
        self.later = keys;
    }

    /// A value as it stands, and where its errors go.
    pub(super) fn find(
        &mut self,
        key: &'static str,
    ) -> Option<(&mut Report, &'r Spanned<DeValue<'d>>)> {
        self.known.push(key);
        let value = self.table.get(key)?;
        Some((self.report, value))
    }

    fn refuse_the_rest(self) {
        if self.report.is_damaged() {
            return; // a header may be lost, and its fields be found in another table
        }
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if self.later.contains(&name) {
                let message = format!("`{name}` is not supported yet by this version");
                self.report.error(key.span(), message).help("leave it out");
            } else if !self.known.contains(&name) && !self.elsewhere.contains(&name) {
                let help = match nearest(name, self.known.iter().copied()) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => format!("the fields here are {}", self.known.join(", ")),
                };
                self.report.error(key.span(), format!("unknown field `{name}`")).help(help);
            }
        }
    }
}

impl Fault {
    /// With a message and a help.
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }

    /// A value of another type.
    pub(super) fn kind(expected: &str, found: &DeValue<'_>, help: impl Into<String>) -> Self {
        let article =
            if matches!(found, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
        Self::new(format!("expected {expected}, found {article} {}", found.type_str()), help)
    }
}

/// The value with its place; a fault is noted.
fn keep<T>(report: &mut Report, key: &str, place: Span, parsed: Parsed<T>) -> Option<Spanned<T>> {
    match parsed {
        Ok(value) => Some(Spanned::new(place, value)),
        Err(fault) => {
            note(report, key, place, fault);
            None
        }
    }
}

/// Notes what is wrong with the value of a field.
pub(super) fn note(report: &mut Report, key: &str, place: Span, fault: Fault) {
    report.error(place, format!("{key}: {}", fault.message)).help(fault.help);
}

/// Reads one table of a list whose elements may be something else, too.
pub(super) fn element<T>(
    report: &mut Report,
    table: &DeTable<'_>,
    place: Span,
    read: impl FnOnce(&mut Fields<'_, '_>) -> T,
) -> T {
    Fields::read(report, table, place, read)
}

/// The known name that somebody probably meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1);
    let distance = |known: &str| strsim::osa_distance(&name.to_lowercase(), &known.to_lowercase());
    known
        .into_iter()
        .map(|known| (distance(known), known))
        .filter(|&(distance, known)| distance <= limit && distance < known.chars().count())
        .min()
        .map(|(_, known)| known)
}
