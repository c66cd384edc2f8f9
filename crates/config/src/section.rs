//! One table of the file, read key by key. What is wrong is noted and reading goes on, so that
//! one run finds every mistake.

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::lines::Lines;
use crate::mistake::{Advice, Reason};
use crate::schema::{self, Key, Table};
use crate::{OutOfRange, limits, suggest};

/// Mistakes as they are found, with the byte each is about.
pub(crate) struct Notes<'a> {
    text: &'a str,
    lines: Lines<'a>,
    found: Vec<(usize, Reason)>,
}

impl<'a> Notes<'a> {
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            lines: Lines::new(text),
            found: Vec::new(),
        }
    }

    /// Notes a mistake, if there is room; else only that there are more.
    pub fn add(&mut self, at: usize, reason: Reason) {
        match self.found.len() {
            ..limits::MISTAKES => self.found.push((at, reason)),
            limits::MISTAKES => self.found.push((self.text.len(), Reason::More)),
            _ => {}
        }
    }

    pub fn line(&self, at: usize) -> usize {
        self.lines.position(at).line
    }

    /// Where the last table header before byte `before` stands that ends in this key.
    pub fn header_before(&self, key: &str, before: usize) -> Option<usize> {
        let mut at = 0;
        let mut found = None;
        for line in self.text.get(..before)?.split_inclusive('\n') {
            let name = line.trim().trim_start_matches('[').trim_end_matches(']');
            if line.trim_start().starts_with('[') && name.rsplit('.').next() == Some(key) {
                found = Some(at);
            }
            at += line.len();
        }
        found
    }

    /// The text between two bytes, as the file has it.
    pub fn source(&self, span: std::ops::Range<usize>) -> &'a str {
        self.text.get(span).unwrap_or_default()
    }

    /// All of them in the file's order, with the places they are at.
    pub fn into_sorted(mut self) -> Vec<crate::Mistake> {
        self.found.sort_by_key(|&(at, _)| at);
        self.found
            .into_iter()
            .map(|(at, reason)| {
                let place = self.lines.position(at);
                crate::Mistake {
                    line: place.line,
                    column: place.column,
                    reason,
                }
            })
            .collect()
    }
}

/// A value and the byte where it begins.
pub(crate) struct At<T> {
    pub at: usize,
    pub value: T,
}

/// One table under examination.
///
/// A key that looks like a slip of a known one is noted, and then taken for it: otherwise the
/// mistakes behind it would show only in the next run, and a "missing" one that is none now.
pub(crate) struct Section<'t> {
    table: Table,
    at: usize,
    entries: Vec<(&'static str, usize, &'t Spanned<DeValue<'t>>)>,
}

impl<'t> Section<'t> {
    /// Notes all unknown keys of `toml`, whose header is at byte `at`.
    pub fn new(table: Table, toml: &'t DeTable<'t>, at: usize, notes: &mut Notes<'_>) -> Self {
        let mut section = Self {
            table,
            at,
            entries: Vec::new(),
        };
        let mut unknown = Vec::new();
        for (name, value) in toml {
            match schema::keys_of(table).find(|known| known == name.get_ref()) {
                Some(known) => section.entries.push((known, name.span().start, value)),
                None => unknown.push((name, value)),
            }
        }
        for (name, value) in unknown {
            let at = name.span().start;
            let reason = unknown_key(table, name.get_ref());
            if let Reason::UnknownKey {
                advice: Advice::DidYouMean(meant),
                ..
            } = reason
                && section.find(meant).is_none()
            {
                section.entries.push((meant, at, value));
            }
            notes.add(at, reason);
        }
        section
    }

    /// Where the table begins.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Where the key stands, if it is set.
    pub fn position(&self, key: &Key) -> Option<usize> {
        self.find(key.name).map(|(at, _)| at)
    }

    /// Notes the key as missing if it is.
    pub fn require(&self, key: &Key, notes: &mut Notes<'_>) {
        if self.find(key.name).is_none() {
            notes.add(
                self.at,
                Reason::MissingKey {
                    table: self.table,
                    key: key.name,
                    example: key.example,
                },
            );
        }
    }

    /// A string. Another type is noted and counts as not set.
    pub fn string(&self, key: &Key, notes: &mut Notes<'_>) -> Option<At<&'t str>> {
        let (_, value) = self.find(key.name)?;
        string_of(key, "a string", value, notes)
    }

    /// A list of strings. Other types in it are noted and left out.
    pub fn strings(&self, key: &Key, notes: &mut Notes<'_>) -> Option<At<Vec<At<&'t str>>>> {
        let (_, value) = self.find(key.name)?;
        let Some(list) = value.get_ref().as_array() else {
            notes.add(
                value.span().start,
                wrong_type(key, "a list of strings", value),
            );
            return None;
        };
        let strings = list
            .iter()
            .filter_map(|item| string_of(key, "a list of strings", item, notes))
            .collect();
        Some(At {
            at: value.span().start,
            value: strings,
        })
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &Key, notes: &mut Notes<'_>) -> Option<bool> {
        let (_, value) = self.find(key.name)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            notes.add(value.span().start, wrong_type(key, "true or false", value));
        }
        flag
    }

    /// A number that `make` accepts.
    pub fn number<T>(
        &self,
        key: &Key,
        make: impl Fn(i64) -> Result<T, OutOfRange>,
        notes: &mut Notes<'_>,
    ) -> Option<At<T>> {
        let (_, value) = self.find(key.name)?;
        let at = value.span().start;
        let Some(integer) = value.get_ref().as_integer() else {
            notes.add(at, wrong_type(key, "a whole number", value));
            return None;
        };
        match make(clamped(integer)) {
            Ok(value) => Some(At { at, value }),
            Err(OutOfRange { min, max, .. }) => {
                let reason = Reason::OutOfRange {
                    key: key.name,
                    value: notes.source(value.span()).into(),
                    min,
                    max,
                };
                notes.add(at, reason);
                None
            }
        }
    }

    /// The table `[key]` below this one.
    pub fn one(&self, key: &Key, table: Table, notes: &mut Notes<'_>) -> Option<Section<'t>> {
        let (at, value) = self.find(key.name)?;
        match value.get_ref() {
            DeValue::Table(toml) => Some(Section::new(table, toml, value.span().start, notes)),
            DeValue::Array(list) if list.iter().all(|item| item.get_ref().is_table()) => {
                let reason = Reason::TwoBrackets {
                    key: key.name,
                    header: key.example,
                };
                notes.add(at, reason);
                let first = list.iter().next()?;
                let toml = first.get_ref().as_table()?;
                Some(Section::new(table, toml, first.span().start, notes))
            }
            _ => {
                notes.add(value.span().start, not_a_table(key, value));
                None
            }
        }
    }

    /// The tables `[[key]]` below this one, at most `limit` of them, and where the first one
    /// beyond stands.
    pub fn many(
        &self,
        key: &Key,
        table: Table,
        limit: usize,
        notes: &mut Notes<'_>,
    ) -> (Vec<Section<'t>>, Option<usize>) {
        let Some((at, value)) = self.find(key.name) else {
            return (Vec::new(), None);
        };
        let list = match value.get_ref() {
            DeValue::Array(list) => list,
            DeValue::Table(toml) => {
                let reason = Reason::OneBracket {
                    key: key.name,
                    header: key.example,
                };
                notes.add(at, reason);
                return (vec![Section::new(table, toml, at, notes)], None);
            }
            _ => {
                notes.add(value.span().start, not_a_table(key, value));
                return (Vec::new(), None);
            }
        };
        let mut sections = Vec::new();
        for item in list.iter().take(limit) {
            match item.get_ref().as_table() {
                Some(toml) => {
                    sections.push(Section::new(table, toml, item.span().start, notes));
                }
                None => notes.add(item.span().start, not_a_table(key, item)),
            }
        }
        let beyond = list.get(limit).map(|item| item.span().start);
        (sections, beyond)
    }

    fn find(&self, name: &str) -> Option<(usize, &'t Spanned<DeValue<'t>>)> {
        self.entries
            .iter()
            .find(|(known, ..)| *known == name)
            .map(|&(_, at, value)| (at, value))
    }
}

/// The best advice for a word that is no key of `table`: not yet, elsewhere, or a slip.
fn unknown_key(table: Table, name: &str) -> Reason {
    let elsewhere = schema::KEYS
        .iter()
        .find(|key| key.name == name && key.table != Table::Root);
    let advice = match (elsewhere, suggest::closest(name, schema::keys_of(table))) {
        (Some(key), _) if key.example.starts_with("[[") => Advice::Write(key.example),
        (Some(key), _) => Advice::BelongsIn(key.table),
        (None, Some(meant)) => Advice::DidYouMean(meant),
        (None, None) => Advice::OneOf(schema::keys_of(table).collect()),
    };
    Reason::UnknownKey {
        key: name.into(),
        table,
        advice,
    }
}

fn string_of<'t>(
    key: &Key,
    expected: &'static str,
    value: &'t Spanned<DeValue<'t>>,
    notes: &mut Notes<'_>,
) -> Option<At<&'t str>> {
    let at = value.span().start;
    match value.get_ref().as_str() {
        Some(value) => Some(At { at, value }),
        None => {
            notes.add(at, wrong_type(key, expected, value));
            None
        }
    }
}

fn wrong_type(key: &Key, expected: &'static str, found: &Spanned<DeValue<'_>>) -> Reason {
    Reason::WrongType {
        key: key.name,
        expected,
        found: with_article(found),
        example: key.example,
    }
}

fn not_a_table(key: &Key, found: &Spanned<DeValue<'_>>) -> Reason {
    Reason::NotATable {
        key: key.name,
        found: with_article(found),
        header: key.example,
    }
}

fn with_article(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The number, or the nearest that an `i64` holds: every range here lies far inside.
fn clamped(integer: &DeInteger<'_>) -> i64 {
    match i64::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(number) => number,
        Err(_) if integer.as_str().starts_with('-') => i64::MIN,
        Err(_) => i64::MAX,
    }
}
