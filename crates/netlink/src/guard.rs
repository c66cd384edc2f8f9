//! A port of this host that somebody else speaks from, past the kernel.
//!
//! Whoever sends TCP or UDP by raw frames gets an answer that the kernel sees too, and to TCP that
//! it does not know, the kernel answers with a reset; to such UDP, with "port unreachable". A guard
//! is a socket on that port whose filter drops everything: the kernel finds a socket, which throws
//! the packet away without a word, and gives the port to nobody else.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};

use crate::{Error, filter};

/// What is spoken from a guarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Keeps the kernel silent on one port for as long as it lives.
#[derive(Debug)]
pub struct Guard {
    _socket: OwnedFd,
}

impl Guard {
    /// Guards `address` in the calling thread's namespace; refused if somebody has it.
    pub fn new(transport: Transport, address: SocketAddr) -> Result<Self, Error> {
        let socket = quiet_socket(transport, address)
            .map_err(|source| Error::system(format!("keeping {address} for checks"), source))?;
        Ok(Self { _socket: socket })
    }
}

fn quiet_socket(transport: Transport, address: SocketAddr) -> std::io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let kind = match transport {
        Transport::Tcp => SockType::Stream,
        Transport::Udp => SockType::Datagram,
    };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    // Before the port is bound: nothing slips in between.
    filter::attach(&socket, &filter::NOTHING)?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    if transport == Transport::Tcp {
        listen(&socket, Backlog::new(1)?)?;
    }
    Ok(socket)
}
