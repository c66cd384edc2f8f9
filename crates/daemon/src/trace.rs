//! Traces: what the data plane keeps of frames, told in the table's words, while somebody listens.
//!
//! ```text
//! POST /v1/trace ─► actor: a seat; with the first one, the watched programs ─► thread of its own:
//!                   frames of the seat ─► names ─► conditions ─► JSON line ─► piece ─► channel of 4 ─► socket
//! ```
//!
//! A trace holds nothing that the data path or the actor wait for: a slow client loses its own frames, which are
//! counted, and a gone one ends its trace. A daemon that dies leaves the watched programs forwarding, whose ring is
//! soon full; the next one puts its own in their place, as it does anyway.

use std::sync::mpsc::{RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use api::{Refusal, RefusalCode, TraceLine, TraceQuery, TraceTally};
use axum::body::Bytes;
use dataplane::{Filter, Guide, Watched, WatchedLoader};
use director::verdict::{PassReason, counter_names};
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use crate::limits;
use crate::listing::Chunks;
use crate::message::Message;

mod hub;
mod tell;

pub(crate) use hub::{Hub, Seat};
pub(crate) use tell::Names;
use tell::Teller;

/// What the actor is asked for.
pub(crate) struct Asked {
    /// Frames that are wanted.
    pub(crate) filter: Filter,
    /// The programs that keep frames, if they were loaded for this.
    pub(crate) watched: Option<Watched>,
}

/// What the actor answers.
pub(crate) enum Entry {
    /// The trace has begun.
    Begun(Box<Begun>),
    /// It is the first: these programs are loaded before it can, which takes a while and is not the actor's matter.
    First(WatchedLoader),
}

/// What the actor gives to a trace.
pub(crate) struct Begun {
    /// The frames.
    pub(crate) seat: Seat,
    /// Whose they are.
    pub(crate) guide: Guide,
    /// What things are called.
    pub(crate) names: Names,
}

/// What the kernel's half is asked for.
///
/// # Errors
///
/// When the query asks for what there is not.
pub(crate) fn filter(query: &TraceQuery) -> Result<Filter, Refusal> {
    let (virtual_address, virtual_port, of_service) = match query.service {
        Some(api::ServiceKey::Address { protocol, address }) => {
            // A persistent FTP service also has the data connections, whose ports are others.
            const FTP: u16 = 21;
            let port = Some(address.port()).filter(|port| *port != FTP);
            (Some(address.ip()), port.unwrap_or(0), Some(protocol))
        }
        Some(api::ServiceKey::Mark { .. }) | None => (None, 0, None),
    };
    if let (Some(asked), Some(of_service)) = (query.protocol, of_service)
        && asked != of_service
    {
        return Err(bad(format!(
            "the service is of {}, and {} is asked for: leave one of them out",
            of_service.name(),
            asked.name()
        )));
    }
    if query.one_in == Some(0) || query.rate == Some(0) {
        return Err(bad("one_in and rate begin at 1".to_owned()));
    }
    Ok(Filter {
        client: query.client.map(|client| (client.address(), client.bits())),
        client_port: query.client_port.unwrap_or(0),
        virtual_address,
        virtual_port,
        protocol: query
            .protocol
            .or(of_service)
            .map_or(0, api::Protocol::number),
        verdicts: verdicts(query)?,
        one_in: query.one_in.unwrap_or(1),
        rate: query.rate.unwrap_or(limits::TRACE_RATE),
        snap: query.snap.unwrap_or(0).max(limits::TRACE_HEAD_BYTES),
    })
}

/// Counters of verdicts that are wanted, a bit for each.
fn verdicts(query: &TraceQuery) -> Result<u64, Refusal> {
    if query.everything {
        return Ok(u64::MAX);
    }
    if query.verdicts.is_empty() {
        // What is not about virtual services: an operator's own session would be most of it.
        let foreign = [
            PassReason::Arp,
            PassReason::NotIp,
            PassReason::NotAVirtualAddress,
            PassReason::NotForThisHost,
        ];
        let bits = foreign.iter().map(|reason| 1u64 << reason.counter());
        return Ok(!bits.fold(0, |all, bit| all | bit));
    }
    let mut bits = 0;
    for name in &query.verdicts {
        let found = counter_names().find(|(_, known)| known == name);
        let (number, _) = found.ok_or_else(|| {
            let known: Vec<&str> = counter_names().map(|(_, name)| name).collect();
            bad(format!(
                "there is no verdict {name:?}: {}",
                known.join(", ")
            ))
        })?;
        bits |= 1 << number;
    }
    Ok(bits)
}

fn bad(message: String) -> Refusal {
    Refusal {
        code: RefusalCode::BadRequest,
        message,
    }
}

/// Tells of frames until the client leaves or the daemon ends.
pub(crate) fn start(query: TraceQuery, begun: Begun, actor: SyncSender<Message>) -> Chunks {
    let (sender, receiver) = mpsc::channel(limits::LISTING_CHUNKS);
    tokio::task::spawn_blocking(move || {
        info!("a trace begins");
        let Begun { seat, guide, names } = begun;
        let mut session = Session {
            teller: Teller::new(query, guide, names),
            seat,
            actor,
            sender,
            chunk: Vec::new(),
            told: 0,
        };
        session.run();
        let TraceTally { told, .. } = session.tally();
        info!(told, "a trace ends");
    });
    Chunks::of(receiver)
}

struct Session {
    teller: Teller,
    seat: Seat,
    actor: SyncSender<Message>,
    sender: mpsc::Sender<Bytes>,
    chunk: Vec<u8>,
    told: u64,
}

impl Session {
    fn run(&mut self) {
        // At once, so that the client knows that frames are watched from here on.
        self.push_tally();
        if !self.flush() {
            return;
        }
        let mut next = Instant::now() + limits::TRACE_TALLY;
        while !self.sender.is_closed() {
            // One is waited for; what is there besides goes with it.
            match self.seat.frames.recv_timeout(limits::TRACE_TALLY / 5) {
                Ok(taken) => {
                    self.tell(&taken);
                    while self.chunk.len() < limits::LISTING_CHUNK_BYTES
                        && let Ok(taken) = self.seat.frames.try_recv()
                    {
                        self.tell(&taken);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= next {
                next = Instant::now() + limits::TRACE_TALLY;
                self.push_tally();
                if !self.learn_names() {
                    return;
                }
            }
            if !self.flush() {
                return;
            }
        }
    }

    fn tell(&mut self, taken: &dataplane::Taken) {
        if let Some(frame) = self.teller.tell(taken) {
            self.told += 1;
            self.push(&TraceLine::Frame(Box::new(frame)));
        }
    }

    /// Asks what things are called now; whether there is still a daemon.
    fn learn_names(&mut self) -> bool {
        let (reply, answer) = oneshot::channel();
        match self.actor.try_send(Message::TraceNames(reply)) {
            Ok(()) => match answer.blocking_recv() {
                Ok(names) => {
                    self.teller.learn(names);
                    true
                }
                Err(_) => false,
            },
            // It is busy: the names of a second ago do.
            Err(std::sync::mpsc::TrySendError::Full(_)) => true,
            Err(std::sync::mpsc::TrySendError::Disconnected(_)) => false,
        }
    }

    fn tally(&self) -> TraceTally {
        let tally = self.seat.tally();
        TraceTally {
            seen: tally.seen,
            wanted: tally.wanted,
            told: self.told,
            unsampled: tally.unsampled,
            over_rate: tally.over_rate,
            no_room: tally.no_room,
        }
    }

    fn push_tally(&mut self) {
        self.push(&TraceLine::Tally(self.tally()));
    }

    fn push(&mut self, line: &TraceLine) {
        // Into memory, and every part has a JSON form: this cannot fail.
        if serde_json::to_writer(&mut self.chunk, line).is_ok() {
            self.chunk.push(b'\n');
        }
    }

    /// Sends what is written; whether the client is still there. Waits for a slow one.
    fn flush(&mut self) -> bool {
        if self.chunk.is_empty() {
            return true;
        }
        let chunk = std::mem::take(&mut self.chunk);
        self.sender.blocking_send(chunk.into()).is_ok()
    }
}

/// How far a clock that people read is ahead of the kernel's.
fn clock_offset_ns() -> u64 {
    let now = |clock| {
        let time = nix::time::clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
        u64::try_from(time.as_nanos()).unwrap_or(0)
    };
    let real = now(nix::time::ClockId::CLOCK_REALTIME);
    real.wrapping_sub(now(nix::time::ClockId::CLOCK_MONOTONIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_about_services_must_be_asked_for() {
        let bits = |query: &TraceQuery| verdicts(query).unwrap();
        let usual = bits(&TraceQuery::default());
        assert_eq!(usual & 1 << PassReason::Arp.counter(), 0);
        assert_ne!(usual & 1 << PassReason::NotAService.counter(), 0);
        let everything = TraceQuery {
            everything: true,
            ..TraceQuery::default()
        };
        assert_eq!(bits(&everything), u64::MAX);
        let one = TraceQuery {
            verdicts: vec!["pass_arp".to_owned(), "transmitted".to_owned()],
            ..TraceQuery::default()
        };
        assert_eq!(bits(&one), 1 << 40 | 1);
    }

    #[test]
    fn a_query_for_what_there_is_not_is_refused_with_what_there_is() {
        let query: TraceQuery = serde_json::from_str(r#"{"verdicts": ["dropped"]}"#).unwrap();
        let refusal = filter(&query).unwrap_err();
        assert!(refusal.message.contains("drop_table_full"), "{refusal}");
        let query = r#"{"protocol": "udp", "service": "tcp:192.0.2.1:80"}"#;
        let refusal = filter(&serde_json::from_str(query).unwrap()).unwrap_err();
        assert!(
            refusal.message.contains("leave one of them out"),
            "{refusal}"
        );
        assert!(filter(&serde_json::from_str(r#"{"one_in": 0}"#).unwrap()).is_err());
    }
}
