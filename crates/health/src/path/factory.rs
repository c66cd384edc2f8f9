//! The thread that lives in the private namespace and makes its sockets.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use netlink::{AddressFlags, Netlink, Tun};
use nix::sched::CloneFlags;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, setsockopt, socket,
    sockopt,
};
use tokio::sync::oneshot;

use super::Protocol;
use super::book::Key;
use crate::limits;

/// The interface of the private namespace.
const TUN: &str = "path0";

/// Settings of the private namespace, which is nobody else's.
const SYSCTLS: [(&str, &str); 5] = [
    // A real server that lacks the address must not pass the packet on to one that has it.
    ("net/ipv4/ip_default_ttl", "1"),
    ("net/ipv6/conf/path0/hop_limit", "1"),
    // Echo requests without privileges.
    ("net/ipv4/ping_group_range", "0 2147483647"),
    // Ports below 1,024 are of no use here; those above are given out by the lease.
    ("net/ipv4/ip_local_port_range", "61000 65535"),
    // Nobody routes here.
    ("net/ipv6/conf/path0/accept_ra", "0"),
];

struct Order {
    key: Key,
    done: oneshot::Sender<io::Result<OwnedFd>>,
}

#[derive(Debug)]
pub(super) struct Factory {
    orders: SyncSender<Order>,
}

impl Factory {
    /// Makes the namespace. It ends with its last socket once this is dropped.
    pub(super) fn start() -> io::Result<(Self, Tun)> {
        let (orders, inbox) = sync_channel(limits::ORDERS);
        let (ready, made) = sync_channel(1);
        let thread = std::thread::Builder::new().name("path-sockets".to_owned());
        thread.spawn(move || match make_namespace() {
            Ok((tun, netlink, index)) => {
                let _gone = ready.send(Ok(tun));
                serve(&inbox, &netlink, index);
            }
            Err(error) => {
                let _gone = ready.send(Err(error));
            }
        })?;
        let tun = made.recv().map_err(io::Error::other)??;
        Ok((Self { orders }, tun))
    }

    /// A socket bound to the key's address and port.
    pub(super) async fn socket(&self, key: Key) -> io::Result<OwnedFd> {
        let (done, made) = oneshot::channel();
        self.orders
            .try_send(Order { key, done })
            .map_err(io::Error::other)?;
        made.await.map_err(io::Error::other)?
    }
}

fn make_namespace() -> io::Result<(Tun, Netlink, u32)> {
    nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
    let tun = Tun::create(TUN).map_err(io::Error::other)?;
    let netlink = Netlink::open().map_err(io::Error::other)?;
    let index = netlink.link(TUN).map_err(io::Error::other)?.index;
    for (name, value) in SYSCTLS {
        set(name, value)?;
    }
    let configured = || -> Result<(), netlink::Error> {
        netlink.set_up(netlink.link("lo")?.index)?;
        netlink.set_up(index)?;
        netlink.add_route(Ipv4Addr::UNSPECIFIED.into(), 0, None, Some(index))?;
        netlink.add_route(Ipv6Addr::UNSPECIFIED.into(), 0, None, Some(index))
    };
    configured().map_err(io::Error::other)?;
    Ok((tun, netlink, index))
}

/// `/proc/sys/net` shows the namespace of the thread that opens it.
fn set(name: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/sys/{name}");
    match std::fs::write(&path, value) {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}"))),
    }
}

fn serve(inbox: &Receiver<Order>, netlink: &Netlink, index: u32) {
    let mut sources = BTreeSet::new();
    while let Ok(order) = inbox.recv() {
        let made = ready(&mut sources, order.key.source, netlink, index)
            .and_then(|()| make_socket(&order.key));
        let _given_up = order.done.send(made);
    }
}

/// The namespace has the director's address, too: its sockets speak from there.
fn ready(
    sources: &mut BTreeSet<IpAddr>,
    source: IpAddr,
    netlink: &Netlink,
    index: u32,
) -> io::Result<()> {
    if sources.contains(&source) {
        return Ok(());
    }
    if sources.len() >= limits::SOURCES {
        let oldest = sources.pop_first();
        if let Some(oldest) = oldest {
            let prefix = netlink::host_prefix(&oldest);
            let removed = netlink.delete_address(index, oldest, prefix);
            removed.map_err(io::Error::other)?;
        }
    }
    let flags = AddressFlags {
        no_dad: true,
        ..AddressFlags::default()
    };
    let prefix = netlink::host_prefix(&source);
    match netlink.add_address(index, source, prefix, flags) {
        // It was added for an attempt that did not wait for it.
        Err(error) if !error.is_exists() => return Err(io::Error::other(error)),
        _ => {}
    }
    let until = Instant::now() + limits::SOURCE_READY;
    while !is_local(netlink, source)? {
        if Instant::now() > until {
            let found = format!("{source} does not become usable in the checks' namespace");
            return Err(io::Error::other(found));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    sources.insert(source);
    Ok(())
}

/// An IPv6 address is there at once, its route a little later, from a work queue of the kernel
/// (`addrconf_dad_work`, Linux 6.18): what is answered in between would be lost.
fn is_local(netlink: &Netlink, source: IpAddr) -> io::Result<bool> {
    let route = netlink.route_to(source).map_err(io::Error::other)?;
    Ok(route.is_some_and(|route| route.local))
}

fn make_socket(key: &Key) -> io::Result<OwnedFd> {
    let family = match key.source {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let (kind, protocol) = match (key.protocol, key.source) {
        (Protocol::Tcp, _) => (SockType::Stream, None),
        (Protocol::Udp, _) => (SockType::Datagram, None),
        (Protocol::Echo, IpAddr::V4(_)) => (SockType::Datagram, Some(SockProtocol::Icmp)),
        (Protocol::Echo, IpAddr::V6(_)) => (SockType::Datagram, Some(SockProtocol::IcmpV6)),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, kind, flags, protocol)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    let address = SockaddrStorage::from(SocketAddr::new(key.source, key.port));
    bind(socket.as_raw_fd(), &address)?;
    Ok(socket)
}
