//! Telling the segment where an address lives now, as frames.
//!
//! Routers and hosts that already know the address replace its MAC when they see one of these;
//! those that do not know it learn nothing, which is as it should be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Mac;
use crate::arp::{Arp, BROADCAST};
use crate::ndp::{ALL_NODES, Ndp, Operation, multicast_mac};

/// The frame that announces `address` at `mac`, in the address's family.
#[must_use]
pub fn frame(mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => gratuitous_arp(mac, address).emit(),
        IpAddr::V6(address) => unsolicited_advertisement(mac, address).emit(),
    }
}

/// An ARP request in which sender and target are `address`.
///
/// A request rather than a reply, because it is what every receiver accepts (RFC 5227 §3); the
/// target MAC is all ones, as the field's tools send it.
#[must_use]
pub fn gratuitous_arp(mac: Mac, address: Ipv4Addr) -> Arp {
    Arp {
        target_mac: BROADCAST,
        ..Arp::request(mac, address, address)
    }
}

/// A neighbour advertisement to all nodes that overrides what they knew (RFC 4861 §7.2.6).
#[must_use]
pub fn unsolicited_advertisement(mac: Mac, address: Ipv6Addr) -> Ndp {
    Ndp {
        to: multicast_mac(&ALL_NODES),
        from: mac,
        source: address,
        destination: ALL_NODES,
        operation: Operation::Advertisement {
            solicited: false,
            overriding: true,
        },
        target: address,
        mac: Some(mac),
    }
}
