//! Sockets of an attempt, on either route.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::{Route, Target};
use crate::path::{Lease, Protocol};
use crate::reason::Reason;

/// Makes an attempt's sockets, and remembers how far it got.
pub(super) struct Ends<'a> {
    target: &'a Target,
    stage: Cell<&'static str>,
    lease: RefCell<Option<Arc<Lease>>>,
}

impl<'a> Ends<'a> {
    pub(super) fn new(target: &'a Target) -> Self {
        Self {
            target,
            stage: Cell::new("connecting"),
            lease: RefCell::new(None),
        }
    }

    /// Where the questions go.
    pub(super) fn to(&self) -> SocketAddr {
        self.target.to
    }

    /// What is going on, for the reason if it never ends.
    pub(super) fn stage(&self) -> &'static str {
        self.stage.get()
    }

    pub(super) fn set_stage(&self, stage: &'static str) {
        self.stage.set(stage);
    }

    /// What a failed call means at this stage.
    pub(super) fn failed(&self, error: &io::Error) -> Reason {
        Reason::of(error, self.stage(), self.target.to.port())
    }

    /// Whether the real server wanted to send our packets on.
    pub(super) fn was_forwarded(&self) -> bool {
        let lease = self.lease.borrow();
        lease.as_ref().is_some_and(|lease| lease.was_forwarded())
    }

    /// A connection.
    pub(super) async fn connect(&self) -> Result<Connection, Reason> {
        let (socket, lease) = self.open(Protocol::Tcp).await.map_err(cannot)?;
        let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
        let stream = socket.connect(self.target.to).await;
        let stream = stream.map_err(|error| self.failed(&error))?;
        // An attempt that ends leaves no state on either side: neither waits for the other.
        let _slower = socket_option(&stream);
        self.set_stage("talking");
        Ok(Connection {
            stream,
            _lease: lease,
        })
    }

    /// A connected socket for datagrams or echoes.
    pub(super) async fn datagrams(&self, protocol: Protocol) -> Result<Datagrams, Reason> {
        let (socket, lease) = self.open(protocol).await.map_err(cannot)?;
        let socket = UdpSocket::from_std(socket.into()).map_err(cannot)?;
        let connected = socket.connect(self.target.to).await;
        connected.map_err(|error| self.failed(&error))?;
        self.set_stage("waiting for the answer");
        Ok(Datagrams {
            socket,
            _lease: lease,
        })
    }

    async fn open(&self, protocol: Protocol) -> io::Result<(OwnedFd, Option<Arc<Lease>>)> {
        match &self.target.route {
            Route::Host => Ok((host_socket(protocol, self.target.to)?, None)),
            Route::Through(path, way) => {
                let lease = Arc::new(path.lease(way, protocol, self.target.to.ip())?);
                let socket = path.socket(&lease).await?;
                *self.lease.borrow_mut() = Some(Arc::clone(&lease));
                Ok((socket, Some(lease)))
            }
        }
    }
}

fn cannot(error: io::Error) -> Reason {
    Reason::Local(error.to_string())
}

fn socket_option(stream: &TcpStream) -> io::Result<()> {
    nix::sys::socket::setsockopt(
        stream,
        nix::sys::socket::sockopt::Linger,
        &libc::linger {
            l_onoff: 1,
            l_linger: Duration::ZERO.as_secs() as libc::c_int,
        },
    )
    .map_err(io::Error::from)
}

fn host_socket(protocol: Protocol, to: SocketAddr) -> io::Result<OwnedFd> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    // Echoes as root need a raw socket only where ping_group_range leaves the group out.
    let (kind, number) = match (protocol, to) {
        (Protocol::Tcp, _) => (SockType::Stream, None),
        (Protocol::Udp, _) => (SockType::Datagram, None),
        (Protocol::Echo, SocketAddr::V4(_)) => (SockType::Datagram, Some(SockProtocol::Icmp)),
        (Protocol::Echo, SocketAddr::V6(_)) => (SockType::Datagram, Some(SockProtocol::IcmpV6)),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(nix::sys::socket::socket(family, kind, flags, number)?)
}

/// A connection, and the port it uses until its end.
pub(super) struct Connection {
    stream: TcpStream,
    _lease: Option<Arc<Lease>>,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A socket for datagrams, and the port it uses until its end.
pub(super) struct Datagrams {
    socket: UdpSocket,
    _lease: Option<Arc<Lease>>,
}

impl Datagrams {
    pub(super) async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes).await.map(drop)
    }

    pub(super) async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(buffer).await
    }
}
