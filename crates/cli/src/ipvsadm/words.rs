//! From words to switches, as the popt library reads them.
//!
//! ```text
//! -Lnc              three switches in one word (a bundle)
//! -t 10.0.0.1:80    a value is the next word …
//! -t10.0.0.1:80     … or the rest of the bundle, -t=10.0.0.1:80 too
//! --weight=3        or after the equals sign
//! -p -s rr          an optional value is not taken from a word with a dash
//! a word, -         left over, wherever it stands
//! --                everything after it is left over
//! ```
//!
//! Long names are never abbreviated. A switch that cannot be read is reported with the whole word
//! it stands in, and so is a value that was consumed.

use super::grammar::{SPELLINGS, Spelling, Switch, Takes};

/// Why a word is not a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nobody knows it.
    #[error("unknown option")]
    Unknown,
    /// Its value is not there.
    #[error("missing argument")]
    Missing,
    /// It has a value that it cannot take.
    #[error("option does not take an argument")]
    Unwanted,
}

/// A switch and its value.
pub type Read<'a> = (Switch, Option<&'a str>);

/// Reads words from left to right.
#[derive(Debug)]
pub struct Words<'a> {
    words: &'a [String],
    /// The first word that was not looked at.
    next: usize,
    /// What is left of the bundle that is being read.
    bundle: &'a str,
    /// After `--`.
    only_left_over: bool,
    left_over: Vec<&'a str>,
}

impl<'a> Words<'a> {
    /// All of `words` are ahead.
    #[must_use]
    pub fn new(words: &'a [String]) -> Self {
        Self {
            words,
            next: 0,
            bundle: "",
            only_left_over: false,
            left_over: Vec::new(),
        }
    }

    /// The next switch; `None` at the end.
    pub fn next_switch(&mut self) -> Option<Result<Read<'a>, Problem>> {
        while self.bundle.is_empty() {
            let word = self.take_word()?;
            if self.only_left_over || word == "-" || !word.starts_with('-') {
                self.left_over.push(word);
            } else if word == "--" {
                self.only_left_over = true;
            } else if let Some(long) = word.strip_prefix("--") {
                return Some(self.long(long));
            } else {
                self.bundle = word.get(1..).unwrap_or_default();
            }
        }
        Some(self.short())
    }

    /// The word that was read last: the one that a complaint shows.
    #[must_use]
    pub fn last(&self) -> &'a str {
        self.next
            .checked_sub(1)
            .and_then(|last| self.words.get(last))
            .map_or("", String::as_str)
    }

    /// The words that are no switches and no values, in order.
    #[must_use]
    pub fn left_over(&self) -> &[&'a str] {
        &self.left_over
    }

    fn take_word(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word)
    }

    fn long(&mut self, text: &'a str) -> Result<Read<'a>, Problem> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let spelling = find(|spelling| spelling.long == name)?;
        self.with_value(spelling, value)
    }

    fn short(&mut self) -> Result<Read<'a>, Problem> {
        let mut letters = self.bundle.chars();
        let letter = letters.next().unwrap_or_default();
        let rest = letters.as_str();
        self.bundle = "";
        let spelling = find(|spelling| spelling.short == letter && letter != '\0')?;
        if spelling.takes == Takes::Nothing {
            self.bundle = rest;
            return Ok((spelling.switch, None));
        }
        let glued = rest.strip_prefix('=').unwrap_or(rest);
        self.with_value(spelling, (!rest.is_empty()).then_some(glued))
    }

    fn with_value(
        &mut self,
        spelling: &Spelling,
        attached: Option<&'a str>,
    ) -> Result<Read<'a>, Problem> {
        let next_is_switch = || {
            self.words
                .get(self.next)
                .is_none_or(|word| word.starts_with('-'))
        };
        let value = match (spelling.takes, attached) {
            (Takes::Nothing, Some(_)) => return Err(Problem::Unwanted),
            (Takes::Nothing, None) => None,
            (_, Some(value)) => Some(value),
            (Takes::MaybeValue, None) if next_is_switch() => None,
            (_, None) => Some(self.take_word().ok_or(Problem::Missing)?),
        };
        Ok((spelling.switch, value))
    }
}

fn find(wanted: impl Fn(&Spelling) -> bool) -> Result<&'static Spelling, Problem> {
    SPELLINGS
        .iter()
        .find(|spelling| wanted(spelling))
        .ok_or(Problem::Unknown)
}
