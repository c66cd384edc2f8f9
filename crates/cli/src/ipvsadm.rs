//! `dirigo ipvsadm …`, and the binary when it is called as `ipvsadm`.
//!
//! ```text
//! words ─► words (popt) ─► parse ─► Line ─► here ─► Kernel (the daemon) ─► list, save
//!                            └── Failure: ipvsadm's sentence and exit code ──┘
//! ```
//!
//! **Why not clap.** Scripts depend on what popt does: bundles that begin with the command
//! (`-Lnc`), values glued with or without `=`, an optional value that stops at a dash, left-over
//! words anywhere, no abbreviations, a command that must come first; and on which of several
//! mistakes is reported, in which words, with which of four exit codes. The whole reader is
//! 100 lines; bending clap to it would be more.
//!
//! What may I rely on: grammar, output and exit codes are those of ipvsadm 1.31 as recorded in
//! `tests/golden`. What the original can and Dirigo cannot yet passes the same syntax checks and
//! then says so, with exit code 255.
//!
//! It never touches the kernel's IPVS, and never reads a configuration.

use std::io::{BufRead, Read, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use api::Change;

mod address;
mod change;
mod failure;
mod grammar;
mod kernel;
mod line;
mod list;
mod names;
mod order;
mod parse;
mod save;
#[cfg(test)]
mod tests;
mod values;
mod words;

use change::{existing, unsupported};
use failure::{Doing, Failure, from_client};
use kernel::Kernel;
use line::{Layout, Line, Listing, Subject};
use names::Names;

/// What `-v` prints: the version whose behaviour this is.
const VERSION: &str = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n";
/// What `-h` prints after the version; `{program}` is how it was called.
const USAGE: &str = include_str!("ipvsadm/usage.txt");
/// Longest line that `-R` reads: a hundred times the longest sensible one.
const LINE_MAX_BYTES: u64 = 64 << 10;

/// The words as typed; ipvsadm's grammar is not clap's.
#[derive(clap::Args)]
pub struct Args {
    /// ipvsadm's own options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<std::ffi::OsString>,
}

/// Runs it for the daemon of this user's instance. `program` is how messages call it.
pub fn main(program: &str, args: Args) -> ExitCode {
    let words: Vec<String> = args
        .words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut ipvsadm = Ipvsadm {
        program,
        kernel: &mut api::Client::new(&crate::instance(None)),
        names: &names::SystemNames::default(),
        input: &mut std::io::stdin().lock(),
        output: &mut std::io::stdout().lock(),
        complaints: &mut std::io::stderr().lock(),
    };
    ExitCode::from(ipvsadm.run(&words))
}

/// ipvsadm and everything it touches.
pub struct Ipvsadm<'a> {
    /// How it was called, for the usage hint.
    pub program: &'a str,
    /// Where the table is.
    pub kernel: &'a mut dyn Kernel,
    /// Host and service names.
    pub names: &'a dyn Names,
    /// For `-R`.
    pub input: &'a mut dyn BufRead,
    /// Tables.
    pub output: &'a mut dyn Write,
    /// Messages.
    pub complaints: &'a mut dyn Write,
}

/// The exit code so far; broken off when nothing may follow, not even in a restore.
type Done = Result<ControlFlow<(), u8>, Failure>;

impl Ipvsadm<'_> {
    /// Does one invocation; returns its exit code.
    pub fn run(&mut self, words: &[String]) -> u8 {
        let done = match words {
            [] => self
                .list(Listing::default())
                .map(|()| ControlFlow::Continue(0)),
            words => self.line(words, false),
        };
        match done {
            Ok(ControlFlow::Continue(code)) => code,
            Ok(ControlFlow::Break(())) => 0,
            Err(failure) => self.report(&failure),
        }
    }

    /// Prints what went wrong; a reader that has gone away is told nothing.
    fn report(&mut self, failure: &Failure) -> u8 {
        if !failure.is_broken_pipe() {
            // There is nowhere left to say that saying it failed.
            let _ = writeln!(self.complaints, "{failure}");
        }
        failure.code()
    }

    fn line(&mut self, words: &[String], restoring: bool) -> Done {
        match parse::parse(self.program, words, self.names)? {
            Line::Help => {
                let usage = USAGE.replace("{program}", self.program);
                self.print(&format!("{VERSION}{usage}"))?;
                return Ok(ControlFlow::Break(()));
            }
            Line::Version => {
                self.print(VERSION)?;
                return Ok(ControlFlow::Break(()));
            }
            Line::Restore if restoring => {
                return Err(Failure::NoCommand {
                    program: self.program.to_owned(),
                });
            }
            Line::Restore => return Ok(ControlFlow::Continue(self.restore()?)),
            Line::Save { numeric } => self.save(numeric)?,
            Line::List(listing) => self.list(listing)?,
            Line::Flush => self.change(&Change::Clear, Doing::Other)?,
            Line::AddService(line) => self.set_service(line, true)?,
            Line::EditService(line) => self.set_service(line, false)?,
            Line::DeleteService(service) => {
                let service = existing(service, Doing::Service)?;
                self.change(&Change::DeleteService { service }, Doing::Service)?;
            }
            Line::AddServer(line) => self.set_server(line, true)?,
            Line::EditServer(line) => self.set_server(line, false)?,
            Line::DeleteServer {
                service,
                destination,
            } => {
                let service = existing(service, Doing::Destination)?;
                let change = Change::DeleteDestination {
                    service,
                    destination,
                };
                self.change(&change, Doing::Destination)?;
            }
            Line::Zero(service) => self.zero(service)?,
            Line::Set(timeouts) => {
                self.change(&Change::SetTimeouts { timeouts }, Doing::Other)?;
            }
            Line::StartDaemon => {
                return Err(unsupported(
                    "connection synchronisation (--start-daemon) is",
                ));
            }
            // None can have been started.
            Line::StopDaemon => return Err(Failure::Refused("No daemon is running".to_owned())),
        }
        Ok(ControlFlow::Continue(0))
    }

    fn services(&mut self, sorted: bool) -> Result<Vec<api::Service>, Failure> {
        let mut services = self
            .kernel
            .services()
            .map_err(|error| from_client(error, Doing::Other))?;
        if sorted {
            order::sort(&mut services);
        }
        Ok(services)
    }

    fn list(&mut self, listing: Listing) -> Result<(), Failure> {
        match listing.subject {
            Subject::Connections => self.list_connections(listing),
            Subject::Timeouts => {
                let timeouts = self
                    .kernel
                    .timeouts()
                    .map_err(|error| from_client(error, Doing::Other))?;
                let api::Timeouts { tcp, tcpfin, udp } = timeouts;
                self.print(&format!("Timeout (tcp tcpfin udp): {tcp} {tcpfin} {udp}\n"))
            }
            // No synchronisation, no daemons: the original prints nothing then.
            Subject::Daemons => self
                .kernel
                .reach()
                .map_err(|error| from_client(error, Doing::Other)),
            Subject::All => {
                let services = self.services(listing.sorted)?;
                self.list_services(list::BANNER, &services, listing)
            }
            Subject::One(named) => {
                let mut services = self.services(listing.sorted)?;
                let key = list::key(named);
                services.retain(|service| Some(service.service) == key);
                if services.is_empty() {
                    return Err(Failure::NothingToList);
                }
                self.list_services("", &services, listing)
            }
        }
    }

    fn list_services(
        &mut self,
        banner: &str,
        services: &[api::Service],
        listing: Listing,
    ) -> Result<(), Failure> {
        if listing.layout == Layout::Rate && !services.is_empty() {
            return Err(unsupported("listing rates (--rate) is"));
        }
        let writer = self.writer(listing.numeric);
        let mut text = banner.to_owned() + &list::titles(listing.layout);
        for service in services {
            text += &list::service(service, listing, writer);
        }
        self.print(&text)
    }

    fn list_connections(&mut self, listing: Listing) -> Result<(), Failure> {
        // The titles wait for the first line: without a daemon there is nothing to head.
        let mut titles = Some(list::connection_titles(listing.layout));
        let writer = list::Writer {
            names: (!listing.numeric).then_some(self.names),
        };
        let output = &mut *self.output;
        let mut written = Ok(());
        self.kernel
            .connections(&mut |connection| {
                let line = list::connection(&connection, writer);
                let text = titles.take().unwrap_or_default() + &line;
                written = output.write_all(text.as_bytes());
                match written {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            })
            .map_err(|error| from_client(error, Doing::Other))?;
        written?;
        self.print(&titles.unwrap_or_default())
    }

    fn save(&mut self, numeric: bool) -> Result<(), Failure> {
        let services = self.services(true)?;
        let writer = self.writer(numeric);
        let lines: String = services
            .iter()
            .map(|service| save::service(service, writer))
            .collect();
        self.print(&lines)
    }

    /// Does the lines of standard input one by one. The exit code is the last line's; bad use of
    /// options ends it at once, what the table refuses does not.
    fn restore(&mut self) -> Result<u8, Failure> {
        self.kernel
            .reach()
            .map_err(|error| from_client(error, Doing::Other))?;
        let mut code = 0;
        while let Some(line) = self.input_line()? {
            let words = save::words(&line);
            if words.is_empty() {
                continue;
            }
            code = match self.line(&words, true) {
                Ok(ControlFlow::Continue(code)) => code,
                Ok(ControlFlow::Break(())) => return Ok(0),
                Err(failure) if failure.ends_restore() => return Err(failure),
                Err(failure) => self.report(&failure),
            };
        }
        Ok(code)
    }

    fn input_line(&mut self) -> Result<Option<String>, Failure> {
        let mut line = Vec::new();
        let length = (&mut *self.input)
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

    fn writer(&self, numeric: bool) -> list::Writer<'_> {
        list::Writer {
            names: (!numeric).then_some(self.names),
        }
    }

    fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.output.write_all(text.as_bytes())?;
        Ok(self.output.flush()?)
    }
}
