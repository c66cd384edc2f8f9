//! Which port speaks to which real server, and what was heard of each.

use std::collections::HashMap;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use netlink::guard::{Guard, Transport};
use netlink::{Mac, ReplySocket, arp::Arp, ndp::Ndp};

use super::packet::{End, Heard};
use super::{Protocol, Suppression, Way};
use crate::limits;

/// The director's end of a check's packets: protocol, address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) protocol: Protocol,
    pub(super) source: IpAddr,
    pub(super) port: u16,
}

impl From<End> for Key {
    fn from(end: End) -> Self {
        Self {
            protocol: end.protocol,
            source: end.address,
            port: end.port,
        }
    }
}

#[derive(Debug)]
struct Entry {
    way: Way,
    /// Where its packets go, and from where alone they are answered.
    peer: IpAddr,
    socket: Arc<ReplySocket>,
    _guard: Option<Guard>,
    /// Nobody holds the lease any more; its last packets may pass until then.
    ends: Option<Instant>,
    forwarded: bool,
}

#[derive(Debug, Default)]
struct Seen {
    answered: Option<Instant>,
    announced: Option<Instant>,
}

#[derive(Debug, Default)]
struct Pages {
    entries: HashMap<Key, Entry>,
    /// The port leased last, for each protocol and source: ports rest as long as possible.
    last: HashMap<(Protocol, IpAddr), u16>,
    sockets: HashMap<u32, Arc<ReplySocket>>,
    seen: HashMap<(Mac, IpAddr), Seen>,
}

#[derive(Debug)]
pub(super) struct Book {
    pages: Mutex<Pages>,
    wake: PipeWriter,
    closed: AtomicBool,
}

impl Book {
    pub(super) fn new() -> io::Result<(Self, PipeReader)> {
        let (woken, wake) = io::pipe()?;
        let book = Self {
            pages: Mutex::default(),
            wake,
            closed: AtomicBool::new(false),
        };
        Ok((book, woken))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a new end towards a real server, on a port that is free and now guarded.
    pub(super) fn enter(&self, way: &Way, protocol: Protocol, peer: IpAddr) -> io::Result<Key> {
        let mut pages = self.pages();
        let socket = self.socket(&mut pages, way.interface)?;
        let (first, last) = (*limits::PORTS.start(), *limits::PORTS.end());
        let mut port = *pages.last.get(&(protocol, way.source)).unwrap_or(&last);
        for _ in limits::PORTS {
            port = if port >= last { first } else { port + 1 };
            let key = Key {
                protocol,
                source: way.source,
                port,
            };
            if pages.entries.contains_key(&key) {
                continue;
            }
            let guard = match guard(&key) {
                Ok(guard) => guard,
                Err(error) if error.errno() == Some(libc::EADDRINUSE) => continue,
                Err(error) => return Err(io::Error::other(error)),
            };
            let entry = Entry {
                way: way.clone(),
                peer,
                socket,
                _guard: guard,
                ends: None,
                forwarded: false,
            };
            pages.entries.insert(key, entry);
            pages.last.insert((protocol, way.source), port);
            return Ok(key);
        }
        Err(io::Error::other(format!(
            "all {} ports for checks from {} are in use: check less often, or with a shorter timeout",
            limits::PORTS.len(),
            way.source
        )))
    }

    /// The socket on an interface, opened if need be.
    fn socket(&self, pages: &mut Pages, interface: u32) -> io::Result<Arc<ReplySocket>> {
        if let Some(socket) = pages.sockets.get(&interface) {
            return Ok(Arc::clone(socket));
        }
        let (first, last) = (*limits::PORTS.start(), *limits::PORTS.end());
        let socket = ReplySocket::open(interface, first, last).map_err(io::Error::other)?;
        let socket = Arc::new(socket);
        pages.sockets.insert(interface, Arc::clone(&socket));
        self.wake();
        Ok(socket)
    }

    /// A lease has ended.
    pub(super) fn end(&self, key: &Key) {
        let mut pages = self.pages();
        if key.protocol == Protocol::Tcp {
            if let Some(entry) = pages.entries.get_mut(key) {
                entry.ends = Some(Instant::now() + limits::PORT_REST);
            }
        } else {
            pages.entries.remove(key);
        }
    }

    /// Forgets ends whose time is over.
    pub(super) fn sweep(&self, now: Instant) {
        let mut pages = self.pages();
        pages
            .entries
            .retain(|_, entry| entry.ends.is_none_or(|ends| ends > now));
    }

    /// Sends a packet of the private namespace to where its port belongs.
    pub(super) fn carry_out(&self, packet: &[u8]) {
        let Some(sent) = super::packet::sent(packet) else {
            return;
        };
        let key = Key::from(sent.from);
        let mut pages = self.pages();
        let entry = pages.entries.get(&key);
        // To whom else? A stranger that wrote to the port, if one came through.
        let Some(entry) = entry.filter(|entry| entry.peer == sent.to.address) else {
            return;
        };
        let mut ethernet = [0; 14];
        ethernet[..6].copy_from_slice(&entry.way.mac);
        ethernet[6..12].copy_from_slice(&entry.way.own_mac);
        let kind: u16 = if key.source.is_ipv4() { 0x0800 } else { 0x86dd };
        ethernet[12..].copy_from_slice(&kind.to_be_bytes());
        if let Err(error) = entry.socket.send(&ethernet, packet) {
            tracing::debug!(%error, "a check's packet is lost");
        }
        // Nothing follows a reset.
        if sent.reset && entry.ends.is_some() {
            pages.entries.remove(&key);
        }
    }

    /// Whether a packet heard on a segment is for the private namespace.
    pub(super) fn is_ours(&self, packet: &[u8]) -> bool {
        let Some(heard) = super::packet::heard(packet) else {
            return false;
        };
        let mut pages = self.pages();
        match heard {
            Heard::Answer(answer) => {
                let entry = pages.entries.get(&Key::from(answer.to));
                entry.is_some_and(|entry| entry.peer == answer.from.address)
            }
            Heard::Error { about, expired } => {
                let entry = pages.entries.get_mut(&Key::from(about.from));
                let Some(entry) = entry.filter(|entry| entry.peer == about.to.address) else {
                    return false;
                };
                entry.forwarded |= expired;
                true
            }
        }
    }

    pub(super) fn was_forwarded(&self, key: &Key) -> bool {
        let pages = self.pages();
        pages.entries.get(key).is_some_and(|entry| entry.forwarded)
    }

    /// Asks one real server who has `vip`.
    pub(super) fn ask_for(&self, way: &Way, vip: IpAddr) -> io::Result<()> {
        let mut pages = self.pages();
        let socket = self.socket(&mut pages, way.interface)?;
        if pages.seen.len() < limits::WATCHED {
            pages.seen.entry((way.mac, vip)).or_default();
        }
        drop(pages);
        let question = match (way.source, vip) {
            (IpAddr::V4(source), IpAddr::V4(vip)) => {
                let mut question = Arp::request(way.own_mac, source, vip);
                question.to = way.mac;
                question.emit()
            }
            (IpAddr::V6(source), IpAddr::V6(vip)) => {
                let mut question = Ndp::solicitation(way.own_mac, source, vip);
                question.to = way.mac;
                question.emit()
            }
            _ => return Ok(()),
        };
        let (ethernet, packet) = question.split_at(14);
        socket.send(ethernet, packet).map_err(io::Error::other)
    }

    /// Somebody with this MAC claims this address: by an answer, or in a question of its own.
    pub(super) fn claimed(&self, mac: Mac, address: IpAddr, by_answer: bool) {
        let mut pages = self.pages();
        if let Some(seen) = pages.seen.get_mut(&(mac, address)) {
            let now = Some(Instant::now());
            if by_answer {
                seen.answered = now;
            } else {
                seen.announced = now;
            }
        }
    }

    pub(super) fn suppression(&self, server: Mac, vip: IpAddr, since: Instant) -> Suppression {
        let pages = self.pages();
        let Some(seen) = pages.seen.get(&(server, vip)) else {
            return Suppression::Silent;
        };
        if seen.answered.is_some_and(|at| at >= since) {
            Suppression::Answers
        } else if seen
            .announced
            .is_some_and(|at| at.elapsed() < limits::ANNOUNCED_HOLDS)
        {
            Suppression::Announces
        } else {
            Suppression::Silent
        }
    }

    /// The sockets that are listened on.
    pub(super) fn sockets(&self) -> Vec<(u32, Arc<ReplySocket>)> {
        let pages = self.pages();
        let all = pages.sockets.iter();
        all.map(|(index, socket)| (*index, Arc::clone(socket)))
            .collect()
    }

    /// An interface is gone: the next lease through it opens it anew.
    pub(super) fn forget(&self, interface: u32) {
        self.pages().sockets.remove(&interface);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        let mut wake = &self.wake;
        if let Err(error) = wake.write_all(&[0]) {
            tracing::warn!(%error, "the checks' path cannot be woken");
        }
    }
}

/// A guard for what the kernel would answer. To echo replies it answers nothing.
fn guard(key: &Key) -> Result<Option<Guard>, netlink::Error> {
    let transport = match key.protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
        Protocol::Echo => return Ok(None),
    };
    Guard::new(transport, SocketAddr::new(key.source, key.port)).map(Some)
}
