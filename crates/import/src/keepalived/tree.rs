//! Lines, words and braces. `!` and `#` begin comments; quotes keep blanks.

use std::collections::HashMap;

use crate::Wrong;
use crate::report::Report;

/// A line: its words, and what stands in its braces.
#[derive(Debug)]
pub(super) struct Block {
    pub line: usize,
    /// At least one.
    pub words: Vec<String>,
    pub items: Vec<Block>,
}

impl Block {
    pub fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    pub fn word(&self, index: usize) -> Option<&str> {
        self.words.get(index).map(String::as_str)
    }

    /// The words behind the first one.
    pub fn rest(&self) -> String {
        self.words.get(1..).unwrap_or_default().join(" ")
    }

    /// The second word, which there must be.
    pub fn value(&self) -> Result<&str, Wrong> {
        let problem = || format!("`{}` has no value behind it", self.name());
        self.word(1).ok_or_else(|| (self.line, problem()))
    }
}

/// Braces within braces; keepalived has five.
const DEPTH: usize = 16;

/// All blocks of a file.
pub(super) fn parse(text: &str, report: &mut Report) -> Result<Vec<Block>, Wrong> {
    let mut variables: HashMap<String, String> = HashMap::new();
    // What is open, outermost first; the file itself is at the bottom.
    let mut open: Vec<Block> = vec![block(0, Vec::new())];
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let line = index + 1;
        let mut joined = first.to_owned();
        while joined.ends_with('\\') {
            joined.pop();
            joined.push(' ');
            joined.push_str(lines.next().map_or("", |(_, next)| next));
        }
        let trimmed = joined.trim_start();
        if trimmed.starts_with('@') {
            report.say(
                line,
                format!(
                    "a line for one configuration id only, left out: `{}`",
                    trimmed.trim_end()
                ),
            );
            // Its braces would be missed, so those that it opens are refused.
            if trimmed.contains('{') {
                return Err((line, "a block for one configuration id only: take out the `@id` of this director's, and what is for others".to_owned()));
            }
            continue;
        }
        if let Some((name, value)) = definition(trimmed) {
            let value = substituted(value, &variables, line)?;
            variables.insert(name.to_owned(), value);
            continue;
        }
        let text = substituted(trimmed, &variables, line)?;
        if text.starts_with('~') {
            return Err((
                line,
                "`~SEQ` and its like are not followed: write out the lines that it makes"
                    .to_owned(),
            ));
        }
        words_of_line(&text, line, &mut open)?;
    }
    if let [_, .., unclosed] = open.as_slice() {
        let problem = format!(
            "`{}` is not closed: a `}}` is missing",
            unclosed.words.join(" ")
        );
        return Err((unclosed.line, problem));
    }
    Ok(open.pop().map_or_else(Vec::new, |file| file.items))
}

fn block(line: usize, words: Vec<String>) -> Block {
    Block {
        line,
        words,
        items: Vec::new(),
    }
}

/// `$NAME=value`.
fn definition(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.strip_prefix('$')?.split_once('=')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some((name, value.trim_end()))
}

/// Most bytes of a line after substitution.
const LINE_BYTES: usize = 64 << 10;

/// `$NAME` and `${NAME}` replaced by what is known; others stay, as in regular expressions.
fn substituted(
    text: &str,
    variables: &HashMap<String, String>,
    line: usize,
) -> Result<String, Wrong> {
    if variables.is_empty() || !text.contains('$') {
        return Ok(text.to_owned());
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        out.push_str(before);
        let inner = behind.strip_prefix('{').unwrap_or(behind);
        let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, after) = inner.split_at(end.unwrap_or(inner.len()));
        let is_braced = inner.len() < behind.len();
        let after = if is_braced {
            after.strip_prefix('}').unwrap_or(after)
        } else {
            after
        };
        match variables.get(name) {
            Some(value) => {
                out.push_str(value);
                rest = after;
            }
            None => {
                out.push('$');
                rest = behind;
            }
        }
        if out.len() > LINE_BYTES {
            return Err((
                line,
                "this line is too long when its variables are put in".to_owned(),
            ));
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Puts the words of a line into the innermost open block.
fn words_of_line(text: &str, line: usize, open: &mut Vec<Block>) -> Result<(), Wrong> {
    let mut words: Vec<String> = Vec::new();
    for word in tokens(text) {
        match word {
            Token::Word(word) => words.push(word),
            Token::Open => {
                // A brace on a line of its own belongs to the line above.
                let parent = match std::mem::take(&mut words) {
                    words if !words.is_empty() => block(line, words),
                    _ => {
                        let above = open.last_mut().and_then(|block| block.items.pop());
                        above.ok_or((line, "this `{` has nothing before it".to_owned()))?
                    }
                };
                if open.len() > DEPTH {
                    return Err((line, format!("more than {DEPTH} braces within each other")));
                }
                open.push(parent);
            }
            Token::Close => {
                flush(&mut words, line, open);
                let closed = open.pop().filter(|_| !open.is_empty());
                match (closed, open.last_mut()) {
                    (Some(closed), Some(parent)) => parent.items.push(closed),
                    _ => {
                        return Err((
                            line,
                            "this `}` closes nothing: a `{` is missing, or this is one too many"
                                .to_owned(),
                        ));
                    }
                }
            }
        }
    }
    flush(&mut words, line, open);
    Ok(())
}

fn flush(words: &mut Vec<String>, line: usize, open: &mut [Block]) {
    if let Some(parent) = open.last_mut()
        && !words.is_empty()
    {
        parent.items.push(block(line, std::mem::take(words)));
    }
}

enum Token {
    Word(String),
    Open,
    Close,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut is_quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            '\\' if is_quoted && chars.peek() == Some(&'"') => {
                word.get_or_insert_default().extend(chars.next());
            }
            c if is_quoted => word.get_or_insert_default().push(c),
            '#' | '!' if word.is_none() => break,
            '{' | '}' if word.is_none() => {
                tokens.push(if c == '{' { Token::Open } else { Token::Close });
            }
            // `real_server 192.0.2.1 80{`
            '{' if chars.peek().is_none_or(|c| c.is_whitespace()) => {
                tokens.extend(word.take().map(Token::Word));
                tokens.push(Token::Open);
            }
            c if c.is_whitespace() => tokens.extend(word.take().map(Token::Word)),
            c => word.get_or_insert_default().push(c),
        }
    }
    tokens.extend(word.map(Token::Word));
    tokens
}
