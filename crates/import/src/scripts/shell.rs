//! As much of a shell as these scripts use: variables, `for` over words, branches of `case`, functions that
//! stop things. Conditions are taken as true: what is in an `if` is read as if it stood outside.

use std::collections::HashMap;

use crate::Wrong;

/// A command with its variables put in.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub line: usize,
    pub words: Vec<String>,
}

/// Most commands of a script, loops written out.
const COMMANDS: usize = 10_000;

/// Most bytes of a variable's value.
const VALUE_BYTES: usize = 4_096;

/// The commands that a script carries out when it starts things.
pub(super) fn commands(text: &str) -> Result<Vec<Command>, Wrong> {
    let statements = statements(text);
    let mut shell = Shell::default();
    shell.run(&statements, 0)?;
    Ok(shell.done)
}

/// A piece between line ends, `;`, `&&`, `||`, with the line that it stands in.
type Statement = (usize, String);

fn statements(text: &str) -> Vec<Statement> {
    let mut all = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let mut joined = first.to_owned();
        while joined.ends_with('\\') {
            joined.pop();
            joined.push_str(lines.next().map_or("", |(_, next)| next));
        }
        for piece in pieces(&joined) {
            let piece = piece.trim();
            if !piece.is_empty() {
                all.push((index + 1, piece.to_owned()));
            }
        }
    }
    all
}

/// Parts a line at `;`, `&&`, `||` and `|` outside quotes; `;;` is a piece of its own, comments go.
fn pieces(line: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut quote: Option<char> = None;
    let mut chars = line.chars().peekable();
    let mut before = ' ';
    while let Some(c) = chars.next() {
        let last = pieces.last_mut();
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') if before.is_whitespace() => break,
            (None, ';') if chars.peek() == Some(&';') => {
                chars.next();
                pieces.extend([";;".to_owned(), String::new()]);
                before = c;
                continue;
            }
            (None, ';') => {
                pieces.push(String::new());
                before = c;
                continue;
            }
            (None, '&' | '|') if before != '>' && chars.peek() != Some(&'>') => {
                chars.next_if_eq(&c);
                pieces.push(String::new());
                before = c;
                continue;
            }
            _ => {}
        }
        if let Some(last) = last {
            last.push(c);
        }
        before = c;
    }
    pieces
}

#[derive(Default)]
struct Shell {
    variables: HashMap<String, String>,
    done: Vec<Command>,
}

/// Loops within loops.
const DEPTH: usize = 8;

impl Shell {
    fn run(&mut self, statements: &[Statement], depth: usize) -> Result<(), Wrong> {
        let mut at = 0;
        // Whether we are in a branch or a function that stops things.
        let mut stopping = false;
        while let Some((line, statement)) = statements.get(at) {
            at += 1;
            let statement = strip_keywords(statement);
            if let Some(name) = branch(statement) {
                stopping = is_stop(name);
                // `start) command` on one line.
                let rest = statement.split_once(')').map_or("", |(_, rest)| rest);
                let rest = rest
                    .trim_start_matches(')')
                    .trim_start()
                    .trim_start_matches('{')
                    .trim();
                if !rest.is_empty() && !stopping {
                    self.one(*line, rest)?;
                }
                continue;
            }
            match statement {
                ";;" | "}" | "esac" => {
                    stopping = false;
                    continue;
                }
                _ if stopping => continue,
                _ => {}
            }
            if let Some(head) = statement.strip_prefix("for ") {
                let end = end_of_loop(&statements[at..]);
                let Some(end) = end else {
                    return Err((*line, "this `for` has no `done`".to_owned()));
                };
                if depth >= DEPTH {
                    return Err((*line, format!("more than {DEPTH} loops within each other")));
                }
                let body = &statements[at..at + end];
                if let Some((name, words)) = head.split_once(" in ") {
                    let words = self.put_in(words);
                    for word in crate::words::split(&words) {
                        self.variables.insert(name.trim().to_owned(), word);
                        self.run(body, depth + 1)?;
                    }
                }
                at += end + 1;
                continue;
            }
            self.one(*line, statement)?;
        }
        Ok(())
    }

    /// An assignment, or a command.
    fn one(&mut self, line: usize, statement: &str) -> Result<(), Wrong> {
        if let Some((name, value)) = assignment(statement) {
            let mut value = self.put_in(value);
            if value.len() > VALUE_BYTES {
                return Err((
                    line,
                    format!("the value of {name} is longer than {VALUE_BYTES} bytes"),
                ));
            }
            let is_quoted =
                value.len() >= 2 && value.starts_with(['"', '\'']) && value.ends_with(&value[..1]);
            if is_quoted {
                value = value[1..value.len() - 1].to_owned();
            }
            self.variables.insert(name.to_owned(), value);
            return Ok(());
        }
        let words = crate::words::split(&self.put_in(statement));
        if self.done.len() >= COMMANDS {
            return Err((
                line,
                format!("more than {COMMANDS} commands, loops written out"),
            ));
        }
        self.done.push(Command { line, words });
        Ok(())
    }

    /// `$NAME` and `${NAME}` replaced by what is set; others stay.
    fn put_in(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('$') {
            out.push_str(before);
            let inner = behind.strip_prefix('{').unwrap_or(behind);
            let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let (name, after) = inner.split_at(end.unwrap_or(inner.len()));
            let is_braced = inner.len() < behind.len();
            let after = if is_braced {
                after.strip_prefix('}')
            } else {
                Some(after)
            };
            match (self.variables.get(name), after) {
                (Some(value), Some(after)) if out.len() < 16 * VALUE_BYTES => {
                    out.push_str(value);
                    rest = after;
                }
                _ => {
                    out.push('$');
                    rest = behind;
                }
            }
        }
        out.push_str(rest);
        out
    }
}

/// `then`, `do`, `else` and the like before a command; alone they are nothing.
fn strip_keywords(mut statement: &str) -> &str {
    loop {
        let (word, rest) = statement
            .split_once(char::is_whitespace)
            .unwrap_or((statement, ""));
        match word {
            "then" | "do" | "else" | "elif" | "if" | "while" | "until" | "!" | "{" | "time" => {
                statement = rest.trim_start();
                if statement.is_empty() {
                    return ":";
                }
            }
            "fi" | "done" | "case" => return ":",
            _ => return statement,
        }
    }
}

/// The name of a branch of `case`, or of a function.
fn branch(statement: &str) -> Option<&str> {
    if let Some(name) = statement.strip_prefix("function ") {
        return Some(name.trim_end_matches(['{', '(', ')', ' ']));
    }
    let (name, _) = statement.split_once(')')?;
    let name = name
        .trim_start_matches('(')
        .trim()
        .trim_end_matches("()")
        .trim_end_matches('(');
    let is_name = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '*' | '|' | '"' | '\'' | ' ')
    };
    let is_one =
        !name.is_empty() && name.chars().all(is_name) && name.split_whitespace().count() <= 3;
    is_one.then_some(name.trim())
}

fn is_stop(name: &str) -> bool {
    let name = name.to_lowercase();
    [
        "stop", "down", "status", "restart", "reload", "usage", "help", "clear", "clean",
    ]
    .iter()
    .any(|word| name.contains(word))
        || name.trim_matches(['"', '\'', ' ']) == "*"
}

/// How many statements are before the `done` of a loop.
fn end_of_loop(statements: &[Statement]) -> Option<usize> {
    let mut open = 1;
    statements.iter().position(|(_, statement)| {
        let mut words = statement
            .split_whitespace()
            .skip_while(|word| matches!(*word, "do" | "then" | "else"));
        match words.next() {
            Some("for" | "while" | "until") => open += 1,
            Some(word) if word == "done" || word.starts_with("done>") => open -= 1,
            _ => {}
        }
        open == 0
    })
}

/// `NAME=value`, perhaps behind `export`.
fn assignment(statement: &str) -> Option<(&str, &str)> {
    let statement = ["export ", "local ", "readonly ", "declare "]
        .iter()
        .find_map(|word| statement.strip_prefix(word))
        .unwrap_or(statement);
    let (name, value) = statement.split_once('=')?;
    let mut chars = name.chars();
    let begins = chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let is_name = begins && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some((name, value.trim()))
}
