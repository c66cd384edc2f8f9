//! One table of the file, read key by key. What is wrong is noted and reading goes on, so that
//! one run finds every mistake.

use std::ops::Range;
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::mistake::{Advice, Reason};
use crate::notes::Notes;
use crate::schema::{self, Key, Table};
use crate::{OutOfRange, suggest};

/// A value and the byte where it begins.
pub(crate) struct At<T> {
    pub at: usize,
    pub value: T,
}

/// A value of a file whose offsets begin at `base`.
#[derive(Clone, Copy)]
struct Value<'t> {
    base: usize,
    toml: &'t Spanned<DeValue<'t>>,
}

impl<'t> Value<'t> {
    fn at(self) -> usize {
        self.base + self.toml.span().start
    }

    fn span(self) -> Range<usize> {
        self.at()..self.base + self.toml.span().end
    }

    fn get(self) -> &'t DeValue<'t> {
        self.toml.get_ref()
    }

    /// The same file's value below this one.
    fn of(self, toml: &'t Spanned<DeValue<'t>>) -> Self {
        Self {
            base: self.base,
            toml,
        }
    }

    fn items(self) -> Option<impl Iterator<Item = Self>> {
        let list = self.get().as_array()?;
        Some(list.iter().map(move |item| self.of(item)))
    }
}

/// A key with its value, and where it stands.
#[derive(Clone, Copy)]
struct Entry<'t> {
    name: &'static str,
    at: usize,
    value: Value<'t>,
}

/// One table under examination.
///
/// A key that looks like a slip of a known one is noted, and then taken for it: otherwise the
/// mistakes behind it would show only in the next run, and a "missing" one that is none now.
pub(crate) struct Section<'t> {
    table: Table,
    at: usize,
    entries: Vec<Entry<'t>>,
    /// What it is laid over, the nearest first.
    below: Vec<Rc<Self>>,
}

impl<'t> Section<'t> {
    /// A table without keys, at byte `at`.
    pub fn empty(table: Table, at: usize) -> Self {
        Self {
            table,
            at,
            entries: Vec::new(),
            below: Vec::new(),
        }
    }

    /// Notes all unknown keys of `toml`, whose header is at byte `at`, in a file whose offsets begin
    /// at `base`.
    pub fn new(
        table: Table,
        toml: &'t DeTable<'t>,
        (base, at): (usize, usize),
        notes: &mut Notes<'_>,
    ) -> Self {
        let mut section = Self::empty(table, at);
        let mut unknown = Vec::new();
        for (name, toml) in toml {
            let at = base + name.span().start;
            let value = Value { base, toml };
            match schema::keys_of(table).find(|known| known == name.get_ref()) {
                Some(name) => section.entries.push(Entry { name, at, value }),
                None => unknown.push((name.get_ref(), at, value)),
            }
        }
        for (name, at, value) in unknown {
            let reason = unknown_key(table, name);
            if let Reason::UnknownKey {
                advice: Advice::DidYouMean(name),
                ..
            } = reason
                && section.find(name).is_none()
            {
                section.entries.push(Entry { name, at, value });
            }
            notes.add(at, reason);
        }
        section
    }

    /// Takes over the keys of another, behind its own.
    pub fn append(&mut self, other: Self) {
        self.entries.extend(other.entries);
    }

    /// Takes a key away, and tells where it stood.
    pub fn take(&mut self, key: &Key) -> Option<usize> {
        let at = self.position(key)?;
        self.entries.retain(|entry| entry.name != key.name);
        Some(at)
    }

    /// Has what it does not say itself, nor has from another already, from `other`.
    pub fn over(&mut self, other: &Rc<Self>) {
        self.below.push(Rc::clone(other));
    }

    /// Where its own keys and values stand.
    pub fn spans(&self) -> impl Iterator<Item = Range<usize>> {
        self.entries
            .iter()
            .map(|entry| entry.at..entry.value.span().end)
    }

    /// Where the key stands, if the table itself sets it.
    pub fn own_position(&self, key: &Key) -> Option<usize> {
        self.own(key.name).map(|entry| entry.at)
    }

    /// Where the table begins.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Where the key stands, if it is set.
    pub fn position(&self, key: &Key) -> Option<usize> {
        self.find(key.name).map(|entry| entry.at)
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
        string_of(key, "a string", self.find(key.name)?.value, notes)
    }

    /// A list of strings. Other types in it are noted and left out.
    pub fn strings(&self, key: &Key, notes: &mut Notes<'_>) -> Option<At<Vec<At<&'t str>>>> {
        let value = self.find(key.name)?.value;
        let Some(list) = value.items() else {
            notes.add(value.at(), wrong_type(key, "a list of strings", value));
            return None;
        };
        let strings = list
            .filter_map(|item| string_of(key, "a list of strings", item, notes))
            .collect();
        Some(At {
            at: value.at(),
            value: strings,
        })
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &Key, notes: &mut Notes<'_>) -> Option<bool> {
        let value = self.find(key.name)?.value;
        let flag = value.get().as_bool();
        if flag.is_none() {
            notes.add(value.at(), wrong_type(key, "true or false", value));
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
        let value = self.find(key.name)?.value;
        let at = value.at();
        let Some(integer) = value.get().as_integer() else {
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
        let Entry { at, value, .. } = self.find(key.name)?;
        let section = |value: Value<'t>, notes: &mut Notes<'_>| {
            let toml = value.get().as_table()?;
            Some(Section::new(table, toml, (value.base, value.at()), notes))
        };
        match value.get() {
            DeValue::Table(_) => section(value, notes),
            DeValue::Array(list) if list.iter().all(|item| item.get_ref().is_table()) => {
                let reason = Reason::TwoBrackets {
                    key: key.name,
                    header: key.example,
                };
                notes.add(at, reason);
                section(value.items()?.next()?, notes)
            }
            _ => {
                notes.add(value.at(), not_a_table(key, value));
                None
            }
        }
    }

    /// The tables `[[key]]` below this one, in all files together, at most `limit` of them, and where
    /// the first one beyond stands.
    pub fn many(
        &self,
        key: &Key,
        table: Table,
        limit: usize,
        notes: &mut Notes<'_>,
    ) -> (Vec<Section<'t>>, Option<usize>) {
        let mut sections = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.name == key.name) {
            let (at, value) = (entry.at, entry.value);
            let Some(list) = value.items() else {
                match value.get().as_table() {
                    Some(toml) => {
                        let reason = Reason::OneBracket {
                            key: key.name,
                            header: key.example,
                        };
                        notes.add(at, reason);
                        sections.push(Section::new(table, toml, (value.base, at), notes));
                    }
                    None => notes.add(value.at(), not_a_table(key, value)),
                }
                continue;
            };
            for item in list {
                if sections.len() >= limit {
                    return (sections, Some(item.at()));
                }
                match item.get().as_table() {
                    Some(toml) => {
                        let place = (item.base, item.at());
                        sections.push(Section::new(table, toml, place, notes));
                    }
                    None => notes.add(item.at(), not_a_table(key, item)),
                }
            }
        }
        (sections, None)
    }

    /// The tables `[key.NAME]` below this one, in all files together, with their names.
    pub fn named(
        &self,
        key: &Key,
        table: Table,
        notes: &mut Notes<'_>,
    ) -> Vec<(At<&'t str>, Section<'t>)> {
        let mut sections = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.name == key.name) {
            let Some(tables) = entry.value.get().as_table() else {
                notes.add(entry.value.at(), not_a_table(key, entry.value));
                continue;
            };
            for (name, value) in tables {
                let at = entry.value.base + name.span().start;
                let value = entry.value.of(value);
                let Some(toml) = value.get().as_table() else {
                    notes.add(value.at(), not_a_table(key, value));
                    continue;
                };
                let section = Section::new(table, toml, (value.base, at), notes);
                let value = name.get_ref().as_ref();
                sections.push((At { at, value }, section));
            }
        }
        sections
    }

    fn find(&self, name: &str) -> Option<Entry<'t>> {
        let own = self.own(name);
        own.or_else(|| self.below.iter().find_map(|below| below.own(name)))
    }

    fn own(&self, name: &str) -> Option<Entry<'t>> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.name == name).copied()
    }
}

/// The best advice for a word that is no key of `table`: not yet, elsewhere, or a slip.
fn unknown_key(table: Table, name: &str) -> Reason {
    let elsewhere = schema::KEYS
        .iter()
        .find(|key| key.name == name && !matches!(key.table, Table::Root | Table::Defaults));
    let advice = match (elsewhere, suggest::closest(name, schema::keys_of(table))) {
        // One letter more or less: the other table's key of this name is hardly meant.
        (_, Some(meant)) if format!("{name}s") == meant || name == format!("{meant}s") => {
            Advice::DidYouMean(meant)
        }
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
    value: Value<'t>,
    notes: &mut Notes<'_>,
) -> Option<At<&'t str>> {
    let at = value.at();
    match value.get().as_str() {
        Some(value) => Some(At { at, value }),
        None => {
            notes.add(at, wrong_type(key, expected, value));
            None
        }
    }
}

fn wrong_type(key: &Key, expected: &'static str, found: Value<'_>) -> Reason {
    Reason::WrongType {
        key: key.name,
        expected,
        found: with_article(found),
        example: key.example,
    }
}

fn not_a_table(key: &Key, found: Value<'_>) -> Reason {
    Reason::NotATable {
        key: key.name,
        found: with_article(found),
        header: key.example,
    }
}

fn with_article(value: Value<'_>) -> &'static str {
    match value.get() {
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
