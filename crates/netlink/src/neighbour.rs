//! The neighbour table: which MAC an address has on an interface.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
    NeighbourState as KernelState,
};

use crate::address::family;
use crate::{Error, Mac, Netlink, mac_text};

/// One entry of the neighbour table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The interface it is reached on.
    pub index: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its hardware address, once known.
    pub mac: Option<Mac>,
    /// How far the kernel trusts it.
    pub state: NeighbourState,
}

/// How far the kernel trusts an entry. Source: Linux `neighbour.h`, `NUD_*`; RFC 4861 §7.3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NeighbourState {
    /// Asked, not answered yet.
    Incomplete,
    /// Confirmed lately.
    Reachable,
    /// Known; to be confirmed when used.
    Stale,
    /// Used while stale; about to be asked.
    Delay,
    /// Being asked at its known MAC.
    Probe,
    /// Asked in vain.
    Failed,
    /// Needs no resolution.
    Noarp,
    /// Set by an administrator.
    Permanent,
    /// Not in use.
    None,
}

impl NeighbourState {
    /// The kernel sends to its MAC in this state (`NUD_VALID`).
    #[must_use]
    pub fn is_usable(self) -> bool {
        matches!(
            self,
            Self::Reachable
                | Self::Stale
                | Self::Delay
                | Self::Probe
                | Self::Noarp
                | Self::Permanent
        )
    }
}

impl Netlink {
    /// The entries of one interface, or of all: those of ARP and of neighbour discovery.
    pub fn neighbours(&self, index: Option<u32>) -> Result<Vec<Neighbour>, Error> {
        let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let found = self.dump(&request, &|| "listing neighbours".to_owned())?;
        let neighbours = found.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewNeighbour(message) => parse(message),
            _ => None,
        });
        Ok(neighbours
            .filter(|neighbour| index.is_none_or(|index| neighbour.index == index))
            .collect())
    }

    /// Writes an entry, replacing what is there. State `Probe` makes the kernel ask at this MAC now.
    pub fn set_neighbour(
        &self,
        index: u32,
        address: IpAddr,
        mac: Mac,
        state: NeighbourState,
    ) -> Result<(), Error> {
        let mut message = write(index, address);
        message.header.state = state.into();
        let mac_attribute = NeighbourAttribute::LinkLayerAddress(mac.to_vec());
        message.attributes.push(mac_attribute);
        let message = RouteNetlinkMessage::NewNeighbour(message);
        self.change(message, NLM_F_CREATE | NLM_F_REPLACE, &|| {
            let mac = mac_text(&mac);
            format!("setting the neighbour {address} on the interface #{index} to {mac}")
        })
    }

    /// Removes an entry.
    pub fn delete_neighbour(&self, index: u32, address: IpAddr) -> Result<(), Error> {
        let message = RouteNetlinkMessage::DelNeighbour(write(index, address));
        self.change(message, 0, &|| {
            format!("removing the neighbour {address} on the interface #{index}")
        })
    }

    /// Has the kernel resolve an address as if a packet were waiting for it (`NTF_USE`).
    ///
    /// The answer arrives in the table: watch it with [`crate::Monitor`].
    pub fn solicit(&self, index: u32, address: IpAddr) -> Result<(), Error> {
        let mut message = write(index, address);
        message.header.flags = NeighbourFlags::Use;
        let message = RouteNetlinkMessage::NewNeighbour(message);
        self.change(message, NLM_F_CREATE | NLM_F_REPLACE, &|| {
            format!("resolving {address} on the interface #{index}")
        })
    }
}

fn write(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(&address);
    message.header.ifindex = index;
    message
        .attributes
        .push(NeighbourAttribute::Destination(address.into()));
    message
}

/// `None` for entries of other families (a bridge's forwarding table).
pub(crate) fn parse(message: &NeighbourMessage) -> Option<Neighbour> {
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => {
                address = Some(IpAddr::V4(*found));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => {
                address = Some(IpAddr::V6(*found));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    Some(Neighbour {
        index: message.header.ifindex,
        address: address?,
        mac,
        state: message.header.state.into(),
    })
}

impl From<KernelState> for NeighbourState {
    fn from(state: KernelState) -> Self {
        match state {
            KernelState::Incomplete => Self::Incomplete,
            KernelState::Reachable => Self::Reachable,
            KernelState::Stale => Self::Stale,
            KernelState::Delay => Self::Delay,
            KernelState::Probe => Self::Probe,
            KernelState::Failed => Self::Failed,
            KernelState::Noarp => Self::Noarp,
            KernelState::Permanent => Self::Permanent,
            _ => Self::None,
        }
    }
}

impl From<NeighbourState> for KernelState {
    fn from(state: NeighbourState) -> Self {
        match state {
            NeighbourState::Incomplete => Self::Incomplete,
            NeighbourState::Reachable => Self::Reachable,
            NeighbourState::Stale => Self::Stale,
            NeighbourState::Delay => Self::Delay,
            NeighbourState::Probe => Self::Probe,
            NeighbourState::Failed => Self::Failed,
            NeighbourState::Noarp => Self::Noarp,
            NeighbourState::Permanent => Self::Permanent,
            NeighbourState::None => Self::None,
        }
    }
}

impl std::fmt::Display for NeighbourState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Incomplete => "incomplete",
            Self::Reachable => "reachable",
            Self::Stale => "stale",
            Self::Delay => "delay",
            Self::Probe => "probe",
            Self::Failed => "failed",
            Self::Noarp => "noarp",
            Self::Permanent => "permanent",
            Self::None => "none",
        })
    }
}
