//! How a file of TOML looks when something in it becomes otherwise: the rest stays, and what is new looks like
//! what stands beside it.

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, Value};

/// A list of tables: `[[name]]`, or `name = [{ … }, { … }]`.
pub(super) enum List<'a> {
    Tables(&'a mut ArrayOfTables),
    Inline(&'a mut Array),
}

/// The tables of a list.
pub(super) fn tables<'a>(table: &'a dyn TableLike, name: &str) -> Vec<&'a dyn TableLike> {
    match table.get(name) {
        Some(Item::ArrayOfTables(tables)) => {
            tables.iter().map(|one| one as &dyn TableLike).collect()
        }
        Some(Item::Value(Value::Array(array))) => {
            let tables = array.iter().filter_map(Value::as_inline_table);
            tables.map(|one| one as &dyn TableLike).collect()
        }
        _ => Vec::new(),
    }
}

impl<'a> List<'a> {
    /// The list of a table, which is made if it is not there: as `[[name]]` where that can be written.
    pub fn of(table: &'a mut dyn TableLike, name: &str, is_inline: bool) -> Option<Self> {
        if !table.contains_key(name) {
            let empty = match is_inline {
                true => Item::Value(Array::new().into()),
                false => Item::ArrayOfTables(ArrayOfTables::new()),
            };
            table.insert(name, empty);
        }
        match table.get_mut(name)? {
            Item::ArrayOfTables(tables) => Some(Self::Tables(tables)),
            Item::Value(Value::Array(array)) => Some(Self::Inline(array)),
            _ => None,
        }
    }

    pub fn get_mut(self, at: usize) -> Option<(&'a mut dyn TableLike, bool)> {
        match self {
            Self::Tables(tables) => Some((tables.get_mut(at)?, false)),
            Self::Inline(array) => Some((array.get_mut(at)?.as_inline_table_mut()?, true)),
        }
    }

    /// Adds a table at the end, which looks as the one before it.
    pub fn push(self, entries: Vec<(&str, Value)>) {
        match self {
            Self::Tables(tables) => {
                let (gap, indent) = match tables.iter().last() {
                    Some(last) => (gap(last), indent_of(prefix(last.decor()))),
                    None => ("\n".to_owned(), String::new()),
                };
                let keys = tables.iter().last().map(key_indent).unwrap_or_default();
                let mut table = Table::new();
                table.decor_mut().set_prefix(gap + &indent);
                for (name, value) in entries {
                    table.insert(name, Item::Value(value));
                    if let Some(mut key) = table.key_mut(name) {
                        key.leaf_decor_mut().set_prefix(keys.clone());
                    }
                }
                tables.push(table);
            }
            Self::Inline(array) => {
                let mut table = InlineTable::new();
                for (name, value) in entries {
                    table.insert(name, value);
                }
                push(array, table.into());
            }
        }
    }

    /// Takes a table out. A comment directly above goes with it; what is about more than it is returned, and how
    /// far into the document the table reached.
    pub fn remove(self, at: usize) -> Option<(String, isize)> {
        match self {
            Self::Tables(tables) => {
                let gone = tables.get(at)?;
                let kept = (of_more(prefix(gone.decor())), last_position(gone));
                tables.remove(at);
                Some(kept)
            }
            Self::Inline(array) => {
                remove(array, at);
                None
            }
        }
    }
}

/// Sets a value. What is written beside the old one stays.
pub(super) fn set(table: &mut dyn TableLike, name: &str, mut value: Value) {
    if let Some(old) = table.get_mut(name).and_then(Item::as_value_mut) {
        *value.decor_mut() = old.decor().clone();
        *old = value;
        return;
    }
    let first = table.iter().map(|(name, _)| name.to_owned()).next();
    let indent = first.and_then(|first| Some(indent_of(prefix(table.key(&first)?.leaf_decor()))));
    table.insert(name, Item::Value(value));
    if let (Some(indent), Some(mut key)) = (indent, table.key_mut(name)) {
        key.leaf_decor_mut().set_prefix(indent);
    }
}

/// Adds a value to a list, on a line of its own if the one before has one.
pub(super) fn push(array: &mut Array, mut value: Value) {
    let last = array.len().checked_sub(1);
    let last = last
        .and_then(|last| array.get_mut(last))
        .map(Value::decor_mut);
    let Some(last) = last else {
        return array.push_formatted(value);
    };
    let before = prefix(last);
    if !before.contains('\n') {
        value.decor_mut().set_prefix(" ");
        return array.push_formatted(value);
    }
    // What stands beside the last value stays beside it.
    let behind = suffix(last);
    last.set_suffix("");
    let behind = behind + &raw(array.trailing());
    let (beside, rest) = behind.split_once('\n').unwrap_or((&behind, ""));
    let indent = indent_of(before);
    value.decor_mut().set_prefix(format!("{beside}\n{indent}"));
    array.set_trailing(format!("\n{rest}"));
    array.set_trailing_comma(true);
    array.push_formatted(value);
}

/// Takes a value out of a list, and the comment that stands beside it.
pub(super) fn remove(array: &mut Array, at: usize) {
    let Some(gone) = array.get(at) else { return };
    // A comment beside the value before is in front of this one, and that beside this one in front of the next.
    let before = prefix(gone.decor());
    let behind = suffix(gone.decor());
    array.remove(at);
    let join = |after: String| match (before.split_once('\n'), after.split_once('\n')) {
        (Some((beside, _)), Some((_, rest))) => format!("{beside}\n{rest}"),
        (Some(_), None) => before.clone(),
        (None, None) if at == 0 => before.clone(),
        (None, _) => after,
    };
    match array.get_mut(at) {
        Some(next) => {
            let after = prefix(next.decor());
            next.decor_mut().set_prefix(join(after));
        }
        None if before.contains('\n') => {
            let after = behind + &raw(array.trailing());
            let after = if after.contains('\n') {
                join(after)
            } else {
                String::new()
            };
            array.set_trailing(after);
        }
        None => {}
    }
}

/// Puts comments in front of what follows a place in the document.
pub(super) fn put_behind(document: &mut DocumentMut, position: isize, comments: &str) {
    if comments.is_empty() {
        return;
    }
    let mut next = None;
    visit(document.as_table_mut(), &mut |table| {
        let at = table.position().filter(|at| *at > position);
        next = match (next, at) {
            (Some(next), Some(at)) => Some(at.min(next)),
            (next, at) => next.or(at),
        };
    });
    let Some(next) = next else {
        let trailing = raw(document.trailing());
        return document.set_trailing(format!("{comments}{trailing}"));
    };
    visit(document.as_table_mut(), &mut |table| {
        if table.position() == Some(next) {
            let old = prefix(table.decor());
            let old = old.strip_prefix('\n').unwrap_or(&old);
            table.decor_mut().set_prefix(format!("{comments}{old}"));
        }
    });
}

fn visit(table: &mut Table, look: &mut dyn FnMut(&mut Table)) {
    look(table);
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(table) => visit(table, look),
            Item::ArrayOfTables(tables) => {
                for table in tables.iter_mut() {
                    visit(table, look);
                }
            }
            _ => {}
        }
    }
}

/// Where the last table within a table is.
fn last_position(table: &Table) -> isize {
    let mut table = table.clone();
    let mut last = 0;
    visit(&mut table, &mut |one| {
        last = last.max(one.position().unwrap_or(0));
    });
    last
}

/// Paragraphs of comments above a table that an empty line divides from it.
fn of_more(prefix: String) -> String {
    let lines: Vec<&str> = prefix.split_inclusive('\n').collect();
    let last_empty = lines
        .iter()
        .rposition(|line| line.trim().is_empty() && line.ends_with('\n'));
    let above = last_empty.map_or(&[][..], |at| &lines[..=at]).concat();
    match above.contains('#') {
        true => above,
        false => String::new(),
    }
}

/// The empty line that divides a table from what is above it, if there is one.
fn gap(table: &Table) -> String {
    let prefix = prefix(table.decor());
    let is_empty = prefix
        .split_inclusive('\n')
        .any(|line| line.trim().is_empty() && line.ends_with('\n'));
    if is_empty {
        "\n".to_owned()
    } else {
        String::new()
    }
}

fn key_indent(table: &Table) -> String {
    let first = table.iter().map(|(name, _)| name).next();
    let key = first.and_then(|name| table.key(name));
    key.map(|key| indent_of(prefix(key.leaf_decor())))
        .unwrap_or_default()
}

fn indent_of(prefix: String) -> String {
    let line = prefix.rsplit('\n').next().unwrap_or_default();
    line.chars()
        .take_while(|sign| sign.is_whitespace())
        .collect()
}

fn prefix(decor: &toml_edit::Decor) -> String {
    decor.prefix().map(raw).unwrap_or_default()
}

fn suffix(decor: &toml_edit::Decor) -> String {
    decor.suffix().map(raw).unwrap_or_default()
}

fn raw(text: &toml_edit::RawString) -> String {
    text.as_str().unwrap_or_default().to_owned()
}
