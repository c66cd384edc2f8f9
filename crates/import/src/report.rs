//! What was not carried over, or not in the same way.

use std::fmt;

/// All of it, in the order of the text. Prints as one `file:line: sentence` each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    file: String,
    /// Line by line.
    pub lines: Vec<Said>,
}

/// One sentence about one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said {
    /// Line, from 1.
    pub line: usize,
    /// What it is about, why it has no counterpart, what to do instead.
    pub what: String,
}

impl Report {
    pub(crate) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            lines: Vec::new(),
        }
    }

    /// Says something about a line, once.
    pub(crate) fn say(&mut self, line: usize, what: impl Into<String>) {
        let said = Said {
            line,
            what: what.into(),
        };
        if self.lines.last() != Some(&said) {
            self.lines.push(said);
        }
    }

    pub(crate) fn sort(&mut self) {
        self.lines.sort_by_key(|said| said.line);
        let mut seen = std::collections::HashSet::new();
        self.lines
            .retain(|said| seen.insert((said.line, said.what.clone())));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for said in &self.lines {
            writeln!(f, "{}:{}: {}", self.file, said.line, said.what)?;
        }
        Ok(())
    }
}
