//! `dirigo trace`: decisions as they happen, as lines, JSON or pcapng; and the ladder of a connection.
//!
//! ```text
//! daemon ─► decisions ─┬─► lines, or the API's objects with --json
//!                      └─► -w FILE: pcapng
//! captures ─► --merge ─► ladder
//! ```

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use api::{Endpoint, Prefix, Protocol, ServiceKey, TraceFrame, TraceLine, TraceQuery, TraceTally};
use trace::{Capture, Ladder, Writer};

use crate::exit;
use crate::show::{Common, ShowError, finish};

/// Bytes of each frame in a pcapng file unless told otherwise: whole ones.
const SNAP: u32 = 1_536;

/// Arguments of `dirigo trace`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    amount: Amount,
    /// Write frames and decisions to a pcapng file, for Wireshark
    #[arg(short = 'w', long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Draw one connection over captures of several hosts (pcap or pcapng); needs no daemon
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["write", "everything", "verdict"])]
    merge: Vec<PathBuf>,
}

/// Conditions: all that are given must hold.
#[derive(clap::Args)]
#[command(next_help_heading = "Which")]
struct Which {
    /// One connection, over all its packets: 203.0.113.7:40000,192.0.2.100:80
    #[arg(long, value_name = "CLIENT,VIP", value_parser = connection)]
    connection: Option<(SocketAddr, SocketAddr)>,
    /// tcp, udp or sctp
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    protocol: Option<Protocol>,
    /// Clients of a network: 203.0.113.0/24
    #[arg(long, value_name = "NETWORK", conflicts_with = "connection")]
    client: Option<Prefix>,
    /// Of a virtual service: tcp:192.0.2.100:80
    #[arg(long, value_name = "SERVICE", conflicts_with = "connection")]
    service: Option<ServiceKey>,
    /// To a real server: 192.0.2.11 or 192.0.2.11:80
    #[arg(long, value_name = "ADDRESS")]
    destination: Option<Endpoint>,
    /// With a verdict, as dirigo status counts them: drop_table_full; may be repeated
    #[arg(long, value_name = "COUNTER")]
    verdict: Vec<String>,
    /// Also what has nothing to do with virtual services
    #[arg(long, conflicts_with = "verdict")]
    everything: bool,
}

/// How many.
#[derive(clap::Args)]
#[command(next_help_heading = "How many")]
struct Amount {
    /// Every Nth frame
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    one_in: Option<u32>,
    /// At most so many frames in a second on each CPU; the rest is counted [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Stop after this many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Bytes of each frame in the file [default: whole frames]
    #[arg(long, value_name = "BYTES", requires = "write")]
    snap: Option<u32>,
}

/// Traces until it is stopped, or draws a ladder.
pub fn main(args: &Args) -> ExitCode {
    if !args.merge.is_empty() {
        return merge(args);
    }
    finish(follow(args))
}

fn follow(args: &Args) -> Result<(), ShowError> {
    let query = query(args);
    let mut sinks = Sinks {
        is_json: args.common.json,
        has_lines: args.write.is_none(),
        file: args
            .write
            .as_ref()
            .map(|path| open(path, query.snap))
            .transpose()?,
        frames: 0,
        count: args.amount.count.unwrap_or(u64::MAX),
        tally: None,
        failure: None,
    };
    let done = args
        .common
        .client()
        .trace(&query, &mut |line| sinks.take(line));
    sinks.end()?;
    Ok(done?)
}

fn open(path: &PathBuf, snap: Option<u32>) -> std::io::Result<Writer<BufWriter<File>>> {
    let file = File::create(path).map_err(|error| {
        std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    })?;
    Writer::new(BufWriter::new(file), snap.unwrap_or(SNAP))
}

fn query(args: &Args) -> TraceQuery {
    let which = &args.which;
    let connection = which.connection;
    let protocol = which.protocol.or(connection.map(|_| Protocol::Tcp));
    let snap = args.amount.snap.unwrap_or(SNAP);
    TraceQuery {
        protocol,
        client: which
            .client
            .or(connection.and_then(|(client, _)| client.ip().to_string().parse().ok())),
        client_port: connection.map(|(client, _)| client.port()),
        service: which.service.or(connection
            .zip(protocol)
            .map(|((_, address), protocol)| ServiceKey::Address { protocol, address })),
        destination: which.destination,
        verdicts: which.verdict.clone(),
        everything: which.everything,
        one_in: args.amount.one_in,
        rate: args.amount.rate,
        snap: args.write.is_some().then_some(snap),
    }
}

/// Where decisions go.
struct Sinks {
    is_json: bool,
    has_lines: bool,
    file: Option<Writer<BufWriter<File>>>,
    frames: u64,
    count: u64,
    tally: Option<TraceTally>,
    failure: Option<std::io::Error>,
}

impl Sinks {
    fn take(&mut self, line: TraceLine) -> ControlFlow<()> {
        match self.put(&line) {
            Ok(()) if self.frames < self.count => ControlFlow::Continue(()),
            Ok(()) => ControlFlow::Break(()),
            Err(error) => {
                self.failure = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn put(&mut self, line: &TraceLine) -> std::io::Result<()> {
        if let TraceLine::Frame(frame) = line {
            self.frames += 1;
            self.put_frame(frame)?;
        }
        if self.is_json {
            let mut output = std::io::stdout().lock();
            serde_json::to_writer(&mut output, line)?;
            writeln!(output)?;
        }
        if let TraceLine::Tally(tally) = line {
            self.put_tally(*tally)?;
        }
        Ok(())
    }

    fn put_frame(&mut self, frame: &TraceFrame) -> std::io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write(frame)?;
        } else if !self.is_json {
            writeln!(std::io::stdout().lock(), "{}", trace::line(frame))?;
        }
        Ok(())
    }

    /// The first says that frames are watched from now on; later ones are news when more was lost.
    fn put_tally(&mut self, tally: TraceTally) -> std::io::Result<()> {
        match self.tally {
            None if self.has_lines && !self.is_json => {
                writeln!(std::io::stdout().lock(), "{}", trace::HEADER)?;
            }
            None => talk!("tracing; ends with Ctrl-C or --count"),
            Some(before) if tally.lost() > before.lost() => {
                talk!("dirigo: {}", loss(&tally));
            }
            Some(_) => {}
        }
        self.tally = Some(tally);
        // Whoever interrupts us has what was told until a second ago.
        if let Some(file) = &mut self.file {
            file.flush()?;
        }
        Ok(())
    }

    fn end(&mut self) -> std::io::Result<()> {
        if let Some(file) = &mut self.file {
            file.flush()?;
            talk!("{} frames written", self.frames);
        }
        self.failure.take().map_or(Ok(()), Err)
    }
}

fn loss(tally: &TraceTally) -> String {
    format!(
        "{} of {} wanted frames were not told of: {} over the rate (--rate), {} because this reader was too slow",
        tally.lost(),
        tally.wanted,
        tally.over_rate,
        tally.no_room
    )
}

fn merge(args: &Args) -> ExitCode {
    let captures: Result<Vec<_>, _> = args.merge.iter().map(|path| Capture::read(path)).collect();
    let captures = match captures {
        Ok(captures) => captures,
        Err(error) => {
            talk!("dirigo: {error}");
            return ExitCode::from(exit::FAILED);
        }
    };
    let ladder = match Ladder::of(&captures, args.which.connection) {
        Ok(ladder) => ladder,
        Err(error) => {
            talk!("dirigo: {error}");
            return ExitCode::from(exit::FAILED);
        }
    };
    if args.common.json {
        match serde_json::to_string_pretty(&ladder) {
            Ok(text) => data!("{text}"),
            Err(error) => {
                talk!("dirigo: {error}");
                return ExitCode::from(exit::FAILED);
            }
        }
    } else {
        data!("{}", ladder.to_string().trim_end());
        if ladder.others > 0 && args.which.connection.is_none() {
            talk!(
                "{} other connections: choose one with --connection",
                ladder.others
            );
        }
    }
    ExitCode::SUCCESS
}

fn connection(text: &str) -> Result<(SocketAddr, SocketAddr), String> {
    let wrong = || {
        format!(
            "{text:?} is no connection: write CLIENT,VIP, each as ADDRESS:PORT, for instance \
             203.0.113.7:40000,192.0.2.100:80"
        )
    };
    let (client, vip) = text.split_once(',').ok_or_else(wrong)?;
    let read = |text: &str| text.trim().parse().map_err(|_| wrong());
    Ok((read(client)?, read(vip)?))
}

fn protocol(text: &str) -> Result<Protocol, String> {
    let mut all = Protocol::ALL.into_iter();
    all.find(|one| one.name().eq_ignore_ascii_case(text))
        .ok_or_else(|| format!("{text:?} is no protocol: write tcp, udp or sctp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_two_addresses() {
        let found = connection("203.0.113.7:40000,192.0.2.100:80").unwrap();
        assert_eq!(found.0.port(), 40_000);
        assert!(connection("[2001:db8::1]:9,[2001:db8::2]:53").is_ok());
        for wrong in ["203.0.113.7,192.0.2.100", "203.0.113.7:1", ""] {
            assert!(connection(wrong).unwrap_err().contains("write CLIENT,VIP"));
        }
    }

    #[test]
    fn what_was_lost_is_told_with_its_reason() {
        let tally = TraceTally {
            wanted: 10,
            over_rate: 3,
            no_room: 1,
            ..TraceTally::default()
        };
        assert!(
            loss(&tally).starts_with("4 of 10 wanted frames"),
            "{}",
            loss(&tally)
        );
    }
}
