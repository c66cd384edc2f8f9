//! Mistakes as they are found, each at a byte of the files that are read.
//!
//! Files are read as one: each has a range of offsets of its own, one behind the other, so that a number
//! says file, line and column at once, and mistakes sort into the order in which people read.
//!
//! ```text
//! dirigo.toml        conf.d/a.toml      conf.d/b.toml
//! 0 … 411            412 … 980          981 … 1203        a byte of a file is its base plus its offset
//! ```

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use crate::lines::Lines;
use crate::mistake::{Mistake, Place, Reason};
use crate::{Source, limits};

/// A file that is read, and where its offsets begin.
struct File<'a> {
    name: Arc<str>,
    base: usize,
    text: &'a str,
    lines: Lines<'a>,
}

/// Mistakes as they are found, with the byte each is about.
pub(crate) struct Notes<'a> {
    files: Vec<File<'a>>,
    found: Vec<(usize, Reason)>,
    /// Bytes with a mistake: what several services have from one template is told once.
    places: HashSet<usize>,
    /// Where what several may use stands.
    shared: Vec<Range<usize>>,
    /// The service that is read, which may use it.
    user: Option<usize>,
}

impl<'a> Notes<'a> {
    pub fn new(sources: &[Source<'a>]) -> Self {
        let mut base = 0;
        let mut files = Vec::new();
        for source in sources {
            files.push(File {
                name: source.name.into(),
                base,
                text: source.text,
                lines: Lines::new(source.text),
            });
            // One more than its bytes: its end is a place, too.
            base += source.text.len() + 1;
        }
        Self {
            files,
            found: Vec::new(),
            places: HashSet::new(),
            shared: Vec::new(),
            user: None,
        }
    }

    /// Where the offsets of the file of this number begin.
    pub fn base(&self, file: usize) -> usize {
        self.files.get(file).map_or(0, |file| file.base)
    }

    /// Notes a mistake, if it is a new one and there is room; else only that there are more.
    pub fn add(&mut self, at: usize, reason: Reason) {
        let is_known = |(known_at, known): &(usize, Reason)| {
            let known = match known {
                Reason::Used { reason, .. } => reason,
                known => known,
            };
            *known_at == at && *known == reason
        };
        if !self.places.insert(at) && self.found.iter().any(is_known) {
            return;
        }
        let reason = match self.user {
            Some(user) if self.is_shared(at) => Reason::Used {
                reason: Box::new(reason),
                by: self.place(user, at),
            },
            _ => reason,
        };
        match self.found.len() {
            ..limits::MISTAKES => self.found.push((at, reason)),
            limits::MISTAKES => self.found.push((usize::MAX, Reason::More)),
            _ => {}
        }
    }

    /// Values in these places may be used by many: what is wrong with them only in one service names it.
    pub fn share(&mut self, spans: impl Iterator<Item = Range<usize>>) {
        self.shared.extend(spans);
        self.shared.sort_by_key(|span| span.start);
    }

    /// From now on, the service at this byte is read, or none.
    pub fn read_for(&mut self, user: Option<usize>) {
        self.user = user;
    }

    fn is_shared(&self, at: usize) -> bool {
        let behind = self.shared.partition_point(|span| span.start <= at);
        let nearest = behind.checked_sub(1).and_then(|last| self.shared.get(last));
        nearest.is_some_and(|span| span.contains(&at))
    }

    /// How a message about byte `from` names the place of byte `at`.
    pub fn place(&self, at: usize, from: usize) -> Place {
        let file = self.file_of(at);
        let position = file.lines.position(at - file.base);
        if file.base == self.file_of(from).base {
            return Place::Line(position.line);
        }
        Place::Elsewhere {
            file: Arc::clone(&file.name),
            line: position.line,
            column: position.column,
        }
    }

    /// The name of the main file.
    pub fn main_file(&self) -> Arc<str> {
        Arc::clone(&self.file_of(0).name)
    }

    /// Where the last table header of the same file before byte `before` stands that ends in this key.
    pub fn header_before(&self, key: &str, before: usize) -> Option<usize> {
        let file = self.file_of(before);
        let mut at = file.base;
        let mut found = None;
        for line in file.text.get(..before - file.base)?.split_inclusive('\n') {
            let name = line.trim().trim_start_matches('[').trim_end_matches(']');
            if line.trim_start().starts_with('[') && name.rsplit('.').next() == Some(key) {
                found = Some(at);
            }
            at += line.len();
        }
        found
    }

    /// The text between two bytes of one file, as the file has it.
    pub fn source(&self, span: Range<usize>) -> &'a str {
        let file = self.file_of(span.start);
        let span = span.start - file.base..span.end.saturating_sub(file.base);
        file.text.get(span).unwrap_or_default()
    }

    /// The line of a byte in its file.
    pub fn line(&self, at: usize) -> usize {
        let file = self.file_of(at);
        file.lines.position(at - file.base).line
    }

    /// All of them in the files' order, with the places they are at.
    pub fn into_sorted(mut self) -> Vec<Mistake> {
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|&(at, _)| at);
        let mistake = |(at, reason)| {
            let file = self.file_of(at);
            let place = file.lines.position(at - file.base);
            Mistake {
                file: Arc::clone(&file.name),
                line: place.line,
                column: place.column,
                reason,
            }
        };
        found.into_iter().map(mistake).collect()
    }

    /// The file that a byte is in; there is at least one.
    fn file_of(&self, at: usize) -> &File<'a> {
        let behind = self.files.partition_point(|file| file.base <= at);
        &self.files[behind.saturating_sub(1)]
    }
}
