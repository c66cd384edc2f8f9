//! From words to a [`Line`], in the original's order, so that of several mistakes the same one is
//! reported.
//!
//! ```text
//! command ─► options, left to right ─► left-over words ─► scheduler flags
//!         ─► matrix of command and options ─► what must fit together ─► Line
//! ```

use super::draft::Draft;
use super::failure::{Failure, Misuse};
use super::grammar::{Command, Given, Name, Rule, Switch, rule};
use super::line::Line;
use super::names::Names;
use super::values::timeout;
use super::words::Words;

/// Understands one invocation.
///
/// # Errors
///
/// What the original would say of these words before it asks the kernel.
pub fn parse(program: &str, words: &[String], names: &dyn Names) -> Result<Line, Failure> {
    let mut words = Words::new(words);
    let no_command = || Failure::NoCommand {
        program: program.to_owned(),
    };
    let command = match words.next_switch().ok_or_else(no_command)? {
        Ok((Switch::Help, _)) => return Ok(Line::Help),
        Ok((Switch::Version, _)) => return Ok(Line::Version),
        Ok((Switch::Command(command), role)) => checked_role(command, role)?,
        _ => return Err(no_command()),
    };
    let mut draft = Draft::new(names);
    while let Some(read) = words.next_switch() {
        let word = words.last();
        let read = read.map_err(|problem| Failure::Word {
            word: word.to_owned(),
            problem,
        })?;
        draft.take(read, word)?;
    }
    draft.timeouts = left_over(command, words.left_over())?;
    draft.read_flags()?;
    check_matrix(command, draft.given)?;
    Ok(draft.finish(command)?)
}

/// `--start-daemon` and `--stop-daemon` take a role, and word their refusals differently.
fn checked_role(command: Command, role: Option<&str>) -> Result<Command, Misuse> {
    match (command, role) {
        (Command::StartDaemon | Command::StopDaemon, Some("master" | "backup")) => Ok(command),
        (Command::StartDaemon, _) => Err(Misuse::IllegalValue("start-daemon parameter")),
        (Command::StopDaemon, _) => Err(Misuse::IllegalValue("start_daemon")),
        _ => Ok(command),
    }
}

/// Only `--set` has words without a dash: its three values.
fn left_over(command: Command, words: &[&str]) -> Result<[u32; 3], Misuse> {
    let mut timeouts = [0; 3];
    let values = if command == Command::Set { 3 } else { 0 };
    // All three are there before the first is read.
    if words.len() < values {
        return Err(Misuse::SetValues);
    }
    for (seconds, text) in timeouts.iter_mut().zip(words).take(values) {
        *seconds = timeout(text, 0)?;
    }
    match words.get(values) {
        Some(word) => Err(Misuse::LeftOver((*word).to_owned())),
        None => Ok(timeouts),
    }
}

fn check_matrix(command: Command, given: Given) -> Result<(), Misuse> {
    let mut exclusive = None;
    for option in Name::ALL {
        match (rule(command, option), given.has(option)) {
            (Rule::Needed, false) => return Err(Misuse::Needed { option, command }),
            (Rule::Illegal, true) => return Err(Misuse::Illegal { option, command }),
            (Rule::Exclusive, true) => {
                if let Some(earlier) = exclusive.replace(option) {
                    return Err(Misuse::Conflict {
                        later: option,
                        earlier,
                        command,
                    });
                }
            }
            _ => {}
        }
    }
    Ok(())
}
