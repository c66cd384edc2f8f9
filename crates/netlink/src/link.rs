//! Network interfaces.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp,
    XdpAttached,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::{Error, Mac, Netlink};

/// A network interface as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it, unique in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address; zeros where it has none.
    pub mac: Mac,
    /// Largest IP packet it carries, in bytes.
    pub mtu: u32,
    /// An administrator switched it on.
    pub up: bool,
    /// The wire is there.
    pub carrier: bool,
    /// It is `lo`.
    pub loopback: bool,
    /// It does no ARP (tunnels, for example).
    pub no_arp: bool,
    /// The bridge or bond it is a port of.
    pub master: Option<u32>,
    /// For people: `veth`, `bridge`; empty for hardware.
    pub kind: String,
    /// Queues that receive.
    pub rx_queues: u32,
    /// The XDP program that sees its frames first, if there is one.
    pub xdp: Option<AttachedXdp>,
    /// Frames and bytes so far.
    pub counters: Counters,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedXdp {
    /// Where in the receive path it runs.
    pub mode: XdpMode,
    /// The kernel's number of the program; 0 if several run at once.
    pub program: u32,
}

/// Where in the receive path an XDP program runs. Source: Linux `if_link.h`, `XDP_ATTACHED_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// In the driver, before a socket buffer is made.
    Native,
    /// In the stack, on a socket buffer.
    Generic,
    /// In the card, or in several places at once.
    Other,
}

/// Frames and bytes an interface has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames received.
    pub rx_packets: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
}

impl Netlink {
    /// All interfaces of this namespace.
    pub fn links(&self) -> Result<Vec<Link>, Error> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let found = self.dump(&request, &|| "listing interfaces".to_owned())?;
        Ok(found.iter().filter_map(new_link).collect())
    }

    /// The interface of this name; [`Error::NoSuchLink`] if there is none.
    pub fn link(&self, name: &str) -> Result<Link, Error> {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(name.to_owned()));
        self.one_link(message, name.to_owned())
    }

    /// The interface of this index; [`Error::NoSuchLink`] if there is none.
    pub fn link_by_index(&self, index: u32) -> Result<Link, Error> {
        self.one_link(indexed(index), format!("#{index}"))
    }

    /// Makes a pair of virtual Ethernet interfaces. The peer is born in `peer_namespace`, or here.
    pub fn add_veth(
        &self,
        name: &str,
        peer_name: &str,
        peer_namespace: Option<BorrowedFd<'_>>,
    ) -> Result<(), Error> {
        let mut peer = named(peer_name);
        if let Some(namespace) = peer_namespace {
            let fd = namespace.as_raw_fd();
            peer.attributes.push(LinkAttribute::NetNsFd(fd));
        }
        let mut message = named(name);
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.create(message, &|| {
            format!("making the veth pair {name} and {peer_name}")
        })
    }

    /// Makes a bridge.
    pub fn add_bridge(&self, name: &str) -> Result<(), Error> {
        let mut message = named(name);
        message
            .attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(
                InfoKind::Bridge,
            )]));
        self.create(message, &|| format!("making the bridge {name}"))
    }

    /// Removes an interface; a veth takes its peer along.
    pub fn delete_link(&self, name: &str) -> Result<(), Error> {
        let index = self.link(name)?.index;
        let message = RouteNetlinkMessage::DelLink(indexed(index));
        self.change(message, 0, &|| format!("removing the interface {name}"))
    }

    /// Switches an interface on.
    pub fn set_up(&self, index: u32) -> Result<(), Error> {
        self.set(index, "switching on", |message| {
            message.header.flags = LinkFlags::Up;
            message.header.change_mask = LinkFlags::Up;
        })
    }

    /// Switches an interface off.
    pub fn set_down(&self, index: u32) -> Result<(), Error> {
        self.set(index, "switching off", |message| {
            message.header.change_mask = LinkFlags::Up;
        })
    }

    /// Makes an interface a port of the bridge `master`, or of none.
    pub fn set_master(&self, index: u32, master: Option<u32>) -> Result<(), Error> {
        self.set(index, "setting the bridge of", |message| {
            let controller = LinkAttribute::Controller(master.unwrap_or(0));
            message.attributes.push(controller);
        })
    }

    /// Gives an interface a hardware address.
    pub fn set_mac(&self, index: u32, mac: Mac) -> Result<(), Error> {
        self.set(index, "setting the MAC of", |message| {
            message
                .attributes
                .push(LinkAttribute::Address(mac.to_vec()));
        })
    }

    /// Sets the largest IP packet an interface carries, in bytes.
    pub fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), Error> {
        self.set(index, "setting the MTU of", |message| {
            message.attributes.push(LinkAttribute::Mtu(mtu));
        })
    }

    /// Moves an interface to another namespace, where it arrives switched off and bare.
    pub fn set_namespace(&self, index: u32, namespace: BorrowedFd<'_>) -> Result<(), Error> {
        let fd = namespace.as_raw_fd();
        self.set(index, "moving to another namespace", |message| {
            message.attributes.push(LinkAttribute::NetNsFd(fd));
        })
    }

    /// Renames an interface.
    pub fn set_name(&self, index: u32, name: &str) -> Result<(), Error> {
        self.set(index, "renaming", |message| {
            message
                .attributes
                .push(LinkAttribute::IfName(name.to_owned()));
        })
    }

    fn one_link(&self, message: LinkMessage, name: String) -> Result<Link, Error> {
        let request = RouteNetlinkMessage::GetLink(message);
        match self.ask(request, &|| format!("looking up the interface {name}")) {
            Ok(answer) => new_link(&answer).ok_or(Error::NoSuchLink { name }),
            // A name longer than 15 bytes is out of range; no interface can have it.
            Err(error) if matches!(error.errno(), Some(libc::ENODEV | libc::ERANGE)) => {
                Err(Error::NoSuchLink { name })
            }
            Err(error) => Err(error),
        }
    }

    fn create(&self, message: LinkMessage, attempt: &dyn Fn() -> String) -> Result<(), Error> {
        let message = RouteNetlinkMessage::NewLink(message);
        self.change(message, NLM_F_CREATE | NLM_F_EXCL, attempt)
    }

    fn set(
        &self,
        index: u32,
        verb: &str,
        write: impl FnOnce(&mut LinkMessage),
    ) -> Result<(), Error> {
        let mut message = indexed(index);
        write(&mut message);
        self.change(RouteNetlinkMessage::SetLink(message), 0, &|| {
            format!("{verb} the interface #{index}")
        })
    }
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    let name = LinkAttribute::IfName(name.to_owned());
    message.attributes.push(name);
    message
}

fn indexed(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

fn new_link(message: &RouteNetlinkMessage) -> Option<Link> {
    match message {
        RouteNetlinkMessage::NewLink(message) => parse(message),
        _ => None,
    }
}

/// `None` for a bridge's own view of its ports, which is no interface.
pub(crate) fn parse(message: &LinkMessage) -> Option<Link> {
    if message.header.interface_family == AddressFamily::Bridge {
        return None;
    }
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: [0; 6],
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        loopback: flags.contains(LinkFlags::Loopback),
        no_arp: flags.contains(LinkFlags::Noarp),
        master: None,
        kind: String::new(),
        rx_queues: 0,
        xdp: None,
        counters: Counters::default(),
    };
    for attribute in &message.attributes {
        read_attribute(&mut link, attribute);
    }
    Some(link)
}

fn read_attribute(link: &mut Link, attribute: &LinkAttribute) {
    match attribute {
        LinkAttribute::IfName(name) => link.name.clone_from(name),
        LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
        LinkAttribute::Controller(master) => link.master = (*master != 0).then_some(*master),
        LinkAttribute::Address(bytes) => {
            if let Ok(mac) = bytes.as_slice().try_into() {
                link.mac = mac;
            }
        }
        LinkAttribute::NumRxQueues(queues) => link.rx_queues = *queues,
        LinkAttribute::Xdp(found) => link.xdp = attached_xdp(found),
        LinkAttribute::LinkInfo(infos) => {
            for info in infos {
                if let LinkInfo::Kind(kind) = info {
                    link.kind = kind.to_string();
                }
            }
        }
        LinkAttribute::Stats64(stats) => {
            link.counters = Counters {
                rx_packets: stats.rx_packets,
                tx_packets: stats.tx_packets,
                rx_bytes: stats.rx_bytes,
                tx_bytes: stats.tx_bytes,
            };
        }
        _ => {}
    }
}

fn attached_xdp(attributes: &[LinkXdp]) -> Option<AttachedXdp> {
    let mut mode = None;
    let mut program = 0;
    for attribute in attributes {
        match attribute {
            LinkXdp::Attached(XdpAttached::None) => return None,
            LinkXdp::Attached(XdpAttached::Driver) => mode = Some(XdpMode::Native),
            LinkXdp::Attached(XdpAttached::SocketBuffer) => mode = Some(XdpMode::Generic),
            LinkXdp::Attached(_) => mode = Some(XdpMode::Other),
            LinkXdp::ProgId(id) => program = *id,
            _ => {}
        }
    }
    mode.map(|mode| AttachedXdp { mode, program })
}
