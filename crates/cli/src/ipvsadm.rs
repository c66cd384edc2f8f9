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

use std::io::{BufReader, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

mod address;
mod change;
mod draft;
mod failure;
mod grammar;
mod kernel;
mod line;
mod list;
mod names;
mod order;
mod parse;
mod proc;
mod restore;
mod save;
#[cfg(test)]
mod tests;
mod values;
mod words;
mod wrapper;

use failure::{Doing, Failure, from_client};
use kernel::Kernel;
use line::{Line, Listing, Subject};
use names::Names;

pub use wrapper::Wrapper;

/// What `-v` prints: the version whose behaviour this is.
const VERSION: &str = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n";
/// What `-h` prints after the version; `{program}` is how it was called.
const USAGE: &str = include_str!("ipvsadm/usage.txt");
/// What of standard input is read at once. Lines that have arrived together go to the daemon
/// together.
const INPUT_BYTES: usize = 256 << 10;

/// The words as typed; ipvsadm's grammar is not clap's.
#[derive(clap::Args)]
pub struct Args {
    /// ipvsadm's own options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<std::ffi::OsString>,
}

/// How this is called, and what for.
pub enum Called<'a> {
    /// As ipvsadm; this is its name in messages.
    Ipvsadm(&'a str),
    /// As one of the scripts that come with it.
    Wrapper(Wrapper),
    /// For a file of `/proc/net`, which the original has from the kernel.
    Proc,
}

/// Runs it for the daemon of this user's instance.
pub fn main(called: &Called<'_>, args: Args) -> ExitCode {
    let words: Vec<String> = args
        .words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut input = std::io::stdin().lock();
    let mut output = std::io::BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    let mut ipvsadm = Ipvsadm {
        program: match called {
            Called::Ipvsadm(name) => name,
            Called::Wrapper(_) | Called::Proc => "ipvsadm",
        },
        kernel: &mut crate::remote::client(None).of_program("ipvsadm"),
        names: &names::SystemNames::default(),
        input: BufReader::with_capacity(INPUT_BYTES, &mut input),
        has_input,
        output: &mut output,
        complaints: &mut std::io::stderr().lock(),
    };
    ExitCode::from(match called {
        Called::Ipvsadm(_) => ipvsadm.run(&words),
        Called::Wrapper(wrapper) => ipvsadm.wrap(*wrapper, &words),
        Called::Proc => ipvsadm.proc(&words),
    })
}

/// Whether standard input has something, or its end, at once.
fn has_input() -> bool {
    let stdin = std::io::stdin();
    let mut asked = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    poll(&mut asked, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
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
    pub input: BufReader<&'a mut dyn Read>,
    /// Whether more of it can be read without waiting.
    pub has_input: fn() -> bool,
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
        let line = parse::parse(self.program, words, self.names)?;
        self.carry_out(line, restoring)
    }

    fn carry_out(&mut self, line: Line, restoring: bool) -> Done {
        if let Some(asked) = change::asked(&line) {
            self.change(&asked)?;
            return Ok(ControlFlow::Continue(0));
        }
        match line {
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
            Line::StartDaemon => {
                self.reach()?;
                return Err(Failure::Unsupported {
                    what: "connection synchronisation (--start-daemon) is",
                });
            }
            Line::StopDaemon => {
                self.reach()?;
                // None can have been started.
                return Err(Failure::Refused("No daemon is running".to_owned()));
            }
            // Changes were asked for above.
            _ => {}
        }
        Ok(ControlFlow::Continue(0))
    }

    /// Whether a daemon is there at all.
    fn reach(&mut self) -> Result<(), Failure> {
        self.kernel
            .reach()
            .map_err(|error| from_client(error, Doing::Other))
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
            Subject::Daemons => self.reach(),
            Subject::All => {
                let services = self.services(listing.sorted)?;
                self.list_services(list::BANNER, &services, listing)
            }
            Subject::One(named) => {
                let mut services = self.services(listing.sorted)?;
                services.retain(|service| service.service == named);
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
        let writer = self.writer(listing.numeric);
        let mut text = banner.to_owned() + &list::titles(listing.layout);
        for service in services {
            text += &list::service(service, listing, writer);
        }
        self.print(&text)
    }

    fn list_connections(&mut self, listing: Listing) -> Result<(), Failure> {
        let titles = list::connection_titles(listing.layout);
        let writer = list::Writer {
            names: (!listing.numeric).then_some(self.names),
        };
        self.stream_connections(titles, &mut |connection, text| {
            list::connection(connection, writer, text);
        })
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
