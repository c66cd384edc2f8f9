//! What changes in a namespace, as it changes.

use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::sockopt;

use crate::socket::{Messages, read_datagram};
use crate::{Address, Error, Link, Neighbour, address, link, neighbour};

/// Room for events that nobody has read yet, in bytes. A switch's table relearnt after a failover
/// is some thousand neighbours of 100 to 200 bytes, each charged with its buffer's overhead.
const BACKLOG_BYTES: usize = 4 * 1024 * 1024;
/// `RTMGRP_*` of Linux `rtnetlink.h`: link, neighbour, and per family addresses and routes.
const GROUPS: u32 = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interface is as described now, or is gone.
    Link {
        /// As it is, or as it last was.
        link: Link,
        /// It is gone.
        deleted: bool,
    },
    /// An address was added, changed or removed.
    Address {
        /// As it is, or as it last was.
        address: Address,
        /// It is gone.
        deleted: bool,
    },
    /// A neighbour entry changed.
    Neighbour {
        /// As it is, or as it last was.
        neighbour: Neighbour,
        /// It is gone.
        deleted: bool,
    },
    /// Some route changed: answers of [`crate::Netlink::route_to`] may be different now.
    Route,
    /// Events were lost: read the tables again.
    Overrun,
}

/// A subscription to links, addresses, neighbours and routes of the namespace it was opened in.
///
/// Open it before reading the tables; then nothing falls between.
pub struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
    pending: std::collections::VecDeque<Event>,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor")
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// For tokio's `AsyncFd`.
impl AsRawFd for Monitor {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Monitor {
    /// Subscribes in the calling thread's namespace.
    pub fn open() -> Result<Self, Error> {
        let failed = |source| Error::system("subscribing to changes of the network", source);
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed)?;
        // Beyond rmem_max only with CAP_NET_ADMIN; the default of some 200 KiB will do otherwise.
        if nix::sys::socket::setsockopt(&socket, sockopt::RcvBufForce, &BACKLOG_BYTES).is_err() {
            let _smaller = nix::sys::socket::setsockopt(&socket, sockopt::RcvBuf, &BACKLOG_BYTES);
        }
        socket.bind(&SocketAddr::new(0, GROUPS)).map_err(failed)?;
        socket.set_non_blocking(true).map_err(failed)?;
        Ok(Self {
            socket,
            buffer: Vec::new(),
            pending: std::collections::VecDeque::new(),
        })
    }

    /// The next event, or `None` if `timeout` passed without one. No timeout waits for ever; a zero
    /// one returns at once, which is what an asynchronous owner wants after readiness.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Event>, Error> {
        let failed = |source| Error::system("reading changes of the network", source);
        let until = timeout.map(|timeout| std::time::Instant::now() + timeout);
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some(event));
            }
            match read_datagram(&self.socket, &mut self.buffer) {
                Ok(()) => self.pending.extend(events(&self.buffer)),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Ok(Some(Event::Overrun));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let left = until
                        .map(|until| until.saturating_duration_since(std::time::Instant::now()));
                    if left == Some(Duration::ZERO)
                        || !wait_readable(self.as_fd(), left).map_err(failed)?
                    {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

/// Waits until a descriptor can be read; false if the time ran out first.
pub(crate) fn wait_readable(
    fd: BorrowedFd<'_>,
    timeout: Option<Duration>,
) -> std::io::Result<bool> {
    let until = timeout.map(|timeout| std::time::Instant::now() + timeout);
    loop {
        let left = until.map(|until| until.saturating_duration_since(std::time::Instant::now()));
        let timeout = match left {
            None => PollTimeout::NONE,
            // Rounded up, so that a remainder under a millisecond is waited for and not spun on.
            Some(left) => {
                PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
            }
        };
        match nix::poll::poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
            Ok(0)
                if left == Some(Duration::ZERO)
                    || until.is_none_or(|until| until <= std::time::Instant::now()) =>
            {
                return Ok(false);
            }
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The events of one datagram. One that cannot be read counts as lost, which is safe.
fn events(datagram: &[u8]) -> Vec<Event> {
    Messages(datagram)
        .filter_map(|message| match message {
            Ok((message, _)) => match message.payload {
                NetlinkPayload::InnerMessage(inner) => event(&inner),
                NetlinkPayload::Overrun(_) => Some(Event::Overrun),
                _ => None,
            },
            Err(_) => Some(Event::Overrun),
        })
        .collect()
}

fn event(message: &RouteNetlinkMessage) -> Option<Event> {
    use RouteNetlinkMessage as Message;
    let deleted = matches!(
        message,
        Message::DelLink(_) | Message::DelAddress(_) | Message::DelNeighbour(_)
    );
    match message {
        Message::NewLink(found) | Message::DelLink(found) => {
            link::parse(found).map(|link| Event::Link { link, deleted })
        }
        Message::NewAddress(found) | Message::DelAddress(found) => {
            address::parse(found).map(|address| Event::Address { address, deleted })
        }
        Message::NewNeighbour(found) | Message::DelNeighbour(found) => {
            neighbour::parse(found).map(|neighbour| Event::Neighbour { neighbour, deleted })
        }
        Message::NewRoute(_) | Message::DelRoute(_) => Some(Event::Route),
        _ => None,
    }
}
