//! Addresses of interfaces.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags as KernelFlags, AddressHeaderFlags, AddressMessage, CacheInfo,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::{Error, Netlink};

/// A lifetime that does not end.
const FOREVER: u32 = u32::MAX;

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// Bits of the network it stands in: 32 or 128 is the host alone.
    pub prefix: u8,
    /// IPv6: duplicate address detection has not finished; the address is not in use yet.
    pub tentative: bool,
    /// IPv6: another host has it; the address is not in use.
    pub dad_failed: bool,
    /// Not chosen as the source of new connections (`preferred_lft 0`).
    pub deprecated: bool,
    /// 0 global, 253 link, 254 host. Source: `rtnetlink.h`, `RT_SCOPE_*`.
    pub scope: u8,
    /// IPv4: the label, `lo:0` for an alias of old.
    pub label: Option<String>,
}

/// How an address is to be added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressFlags {
    /// IPv6: use it at once, without asking whether another host has it.
    pub no_dad: bool,
    /// Do not choose it as the source of new connections (`preferred_lft 0`).
    pub preferred_zero: bool,
}

impl Netlink {
    /// The addresses of one interface, or of all.
    pub fn addresses(&self, index: Option<u32>) -> Result<Vec<Address>, Error> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let found = self.dump(&request, &|| "listing addresses".to_owned())?;
        let addresses = found.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(message) => parse(message),
            _ => None,
        });
        Ok(addresses
            .filter(|address| index.is_none_or(|index| address.index == index))
            .collect())
    }

    /// Adds an address; an error that [`Error::is_exists`] if it is there already.
    pub fn add_address(
        &self,
        index: u32,
        address: IpAddr,
        prefix: u8,
        flags: AddressFlags,
    ) -> Result<(), Error> {
        let mut message = write(index, address, prefix);
        if flags.no_dad {
            message.header.flags = AddressHeaderFlags::Nodad;
            message
                .attributes
                .push(AddressAttribute::Flags(KernelFlags::Nodad));
        }
        if flags.preferred_zero {
            let mut lifetimes = CacheInfo::default();
            lifetimes.ifa_valid = FOREVER;
            message
                .attributes
                .push(AddressAttribute::CacheInfo(lifetimes));
        }
        let message = RouteNetlinkMessage::NewAddress(message);
        self.change(message, NLM_F_CREATE | NLM_F_EXCL, &|| {
            format!("adding {address}/{prefix} to the interface #{index}")
        })
    }

    /// Removes an address; an error that [`Error::is_not_found`] if it is not there.
    pub fn delete_address(&self, index: u32, address: IpAddr, prefix: u8) -> Result<(), Error> {
        let message = RouteNetlinkMessage::DelAddress(write(index, address, prefix));
        self.change(message, 0, &|| {
            format!("removing {address}/{prefix} from the interface #{index}")
        })
    }
}

fn write(index: u32, address: IpAddr, prefix: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(&address);
    message.header.index = index;
    message.header.prefix_len = prefix;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    message
}

pub(crate) fn family(address: &IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// `None` for families other than IP.
pub(crate) fn parse(message: &AddressMessage) -> Option<Address> {
    let mut local = None;
    let mut address = None;
    let mut label = None;
    let mut flags = u32::from(message.header.flags.bits());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(found) => local = Some(*found),
            AddressAttribute::Address(found) => address = Some(*found),
            AddressAttribute::Label(found) => label = Some(found.clone()),
            AddressAttribute::Flags(found) => flags = found.bits(),
            _ => {}
        }
    }
    let has = |flag: KernelFlags| flags & flag.bits() != 0;
    Some(Address {
        index: message.header.index,
        // With a peer, ADDRESS is the peer and LOCAL is ours; IPv6 without one has no LOCAL.
        address: local.or(address)?,
        prefix: message.header.prefix_len,
        tentative: has(KernelFlags::Tentative),
        dad_failed: has(KernelFlags::Dadfailed),
        deprecated: has(KernelFlags::Deprecated),
        scope: message.header.scope.into(),
        label,
    })
}
