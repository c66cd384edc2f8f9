//! The true path: packets for the virtual address, in frames for one real server.
//!
//! ```text
//!  this thread         private namespace          thread `path`            segment
//!  ───────────         ─────────────────          ─────────────            ───────
//!  connect ──────────► own TCP, own sysctls
//!  from the director's      │ TUN
//!  address and a leased     └───────────────────► port ─► real server ───► MAC of the server,
//!  port                                                                    VIP, TTL 1
//!                      TUN ◄─────────────────────────────────────────────◄ VIP to the director
//!  guard: a deaf socket on the same port keeps the host's kernel from answering
//! ```
//!
//! What you may rely on: the checked host is the one whose MAC was asked for, and no other: the
//! frame carries it, and a TTL of 1 keeps a server that lacks the address from passing the packet
//! on to one that has it. Ordinary sockets come out, for any library. It makes no difference
//! whether this host holds the virtual address (its kernel then drops the copies that it hears as
//! martians). It works with any number of real servers behind one virtual address.
//!
//! What never happens here: no route, rule, sysctl, neighbour or address of the host is changed,
//! and no MAC but the interface's own is sent from.
//!
//! Why so: `docs/decisions/0007-checks-on-the-true-path.md`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use netlink::Mac;

mod book;
mod factory;
mod packet;
mod way;
mod wire;

use book::Book;
use factory::Factory;
pub use way::Way;

use book::Key;

/// What a leased port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP echo; the port is its identifier.
    Echo,
}

/// What a real server does with ARP (or neighbour discovery) for a virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suppression {
    /// It was silent.
    Silent,
    /// It answers whoever asks for the address.
    Answers,
    /// It asks for others in the address's name.
    Announces,
}

/// The private namespace, and the wire between it and the segments.
#[derive(Debug)]
pub struct TruePath {
    book: Arc<Book>,
    factory: Factory,
}

impl TruePath {
    /// Makes the namespace and starts the threads `path` and `path-sockets`. Needs CAP_SYS_ADMIN
    /// and CAP_NET_ADMIN, from here on CAP_NET_RAW. It all ends when this is dropped.
    pub fn open() -> io::Result<Self> {
        let (factory, tun) = Factory::start()?;
        let (book, woken) = Book::new()?;
        let book = Arc::new(book);
        wire::start(Arc::clone(&book), tun, woken)?;
        Ok(Self { book, factory })
    }

    /// Leases a port towards `peer` at one real server: nobody else is heard on it. To be called in
    /// the host's namespace.
    pub fn lease(&self, way: &Way, protocol: Protocol, peer: IpAddr) -> io::Result<Lease> {
        let key = self.book.enter(way, protocol, peer)?;
        let book = Arc::clone(&self.book);
        Ok(Lease { book, key })
    }

    /// A socket of the private namespace, bound to the lease's address and port.
    pub async fn socket(&self, lease: &Lease) -> io::Result<OwnedFd> {
        self.factory.socket(lease.key).await
    }

    /// Asks one real server, and only it, who has `vip`.
    pub fn ask_for(&self, way: &Way, vip: IpAddr) -> io::Result<()> {
        self.book.ask_for(way, vip)
    }

    /// What was heard of it since then.
    #[must_use]
    pub fn suppression(&self, server: Mac, vip: IpAddr, since: Instant) -> Suppression {
        self.book.suppression(server, vip, since)
    }
}

impl Drop for TruePath {
    fn drop(&mut self) {
        self.book.close();
    }
}

/// A port of the director's, in use towards one real server. The socket must be dropped first.
#[derive(Debug)]
pub struct Lease {
    book: Arc<Book>,
    key: Key,
}

impl Lease {
    /// The director's address and the port.
    #[must_use]
    pub fn source(&self) -> SocketAddr {
        SocketAddr::new(self.key.source, self.key.port)
    }

    /// The real server wanted to send our packet on: the address is not its own.
    #[must_use]
    pub fn was_forwarded(&self) -> bool {
        self.book.was_forwarded(&self.key)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.book.end(&self.key);
    }
}
