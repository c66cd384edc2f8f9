//! `-R`: the lines of standard input, one by one as far as anybody can tell.
//!
//! ```text
//! line ─► parse ─┬─ a change ──► pending ─┐
//!                └─ anything else ────────┴─► all pending ones in one request ─► their refusals
//! ```
//!
//! Changes that have arrived together are asked for together; what each is answered is printed in
//! their order, and before anything else is done. Nothing waits for a line that has not arrived, so a
//! program that feeds lines one after another finds each done.

use std::io::{BufRead, Read};
use std::ops::ControlFlow;

use super::change::{Asked, asked};
use super::failure::Failure;
use super::line::Line;
use super::{Ipvsadm, parse, save};

/// Longest line: a hundred times the longest sensible one.
const LINE_MAX_BYTES: u64 = 64 << 10;

/// Most changes of one request: a tenth of a second of the daemon's time.
const PENDING_MAX: usize = api::BATCH_MAX;

/// Changes that were read and not yet asked for, and the exit code of the last line.
#[derive(Default)]
struct Pending {
    changes: Vec<Asked>,
    code: u8,
}

impl Ipvsadm<'_> {
    /// Does the lines of standard input. The exit code is the last line's; bad use of options ends
    /// it at once, what the table refuses does not.
    pub(super) fn restore(&mut self) -> Result<u8, Failure> {
        self.reach()?;
        let mut pending = Pending::default();
        while let Some(text) = self.input_line()? {
            let words = save::words(&text);
            if words.is_empty() {
                continue;
            }
            match parse::parse(self.program, &words, self.names) {
                Ok(line) => match asked(&line) {
                    Some(change) => pending.changes.push(change),
                    None => {
                        self.flush(&mut pending)?;
                        if self.other_line(line, &mut pending)?.is_break() {
                            return Ok(0);
                        }
                    }
                },
                Err(failure) => {
                    self.flush(&mut pending)?;
                    self.skip_or_end(failure, &mut pending)?;
                }
            }
            if pending.changes.len() >= PENDING_MAX || !self.has_line() {
                self.flush(&mut pending)?;
            }
        }
        self.flush(&mut pending)?;
        Ok(pending.code)
    }

    fn other_line(
        &mut self,
        line: Line,
        pending: &mut Pending,
    ) -> Result<ControlFlow<()>, Failure> {
        match self.carry_out(line, true) {
            Ok(ControlFlow::Continue(code)) => pending.code = code,
            Ok(ControlFlow::Break(())) => return Ok(ControlFlow::Break(())),
            Err(failure) => self.skip_or_end(failure, pending)?,
        }
        Ok(ControlFlow::Continue(()))
    }

    fn skip_or_end(&mut self, failure: Failure, pending: &mut Pending) -> Result<(), Failure> {
        if failure.ends_restore() {
            return Err(failure);
        }
        pending.code = self.report(&failure);
        Ok(())
    }

    /// Asks for everything that waits, and says what was refused.
    fn flush(&mut self, pending: &mut Pending) -> Result<(), Failure> {
        let changes = std::mem::take(&mut pending.changes);
        if changes.is_empty() {
            return Ok(());
        }
        for answer in self.changes(&changes)? {
            match answer {
                None => pending.code = 0,
                Some(failure) => self.skip_or_end(failure, pending)?,
            }
        }
        Ok(())
    }

    /// Whether the next line is there without waiting, as far as can be told.
    fn has_line(&self) -> bool {
        self.input.buffer().contains(&b'\n') || (self.has_input)()
    }

    fn input_line(&mut self) -> Result<Option<String>, Failure> {
        let mut line = Vec::new();
        let length = (&mut self.input)
            .take(LINE_MAX_BYTES)
            .read_until(b'\n', &mut line)
            .map_err(Failure::Input)?;
        match length as u64 {
            0 => Ok(None),
            LINE_MAX_BYTES.. => Err(Failure::Input(std::io::Error::other(format!(
                "a line is longer than {LINE_MAX_BYTES} bytes; one line is one command"
            )))),
            _ => Ok(Some(String::from_utf8_lossy(&line).into_owned())),
        }
    }
}
