//! Links, addresses, neighbours, routes and network namespaces of the kernel, blocking.
//!
//! ```text
//! Netlink ── one request, one answer ──► the kernel, in the namespace of the thread that opened it
//! Monitor ◄── what changes, as it changes ──┘
//! FrameSocket ◄─► frames of one interface        namespace: threads and children elsewhere
//! ReplySocket ◄─► checks' packets on the segment   Tun: the same packets in a namespace of their own
//! guard: a port that the kernel leaves alone
//! ```
//!
//! What you may rely on: a handle keeps speaking to the namespace it was opened in, whatever its
//! owner does later; every list is complete and consistent (a dump the kernel interrupted is asked
//! again); an error says what was attempted and quotes the kernel's own explanation if it gave one.
//!
//! What never happens here: no cache, no thread of its own, no use of `/sys` (which shows the
//! namespace of the mount, not of the thread), no decision.

mod address;
mod error;
mod filter;
mod link;
mod monitor;
mod neighbour;
mod route;
mod socket;

pub mod announce;
pub mod arp;
pub mod ethtool;
pub mod frame_socket;
pub mod guard;
pub mod namespace;
pub mod ndp;
pub mod peer;
pub mod reply_socket;
pub mod tun;

pub use address::{Address, AddressFlags};
pub use error::Error;
pub use frame_socket::FrameSocket;
pub use link::{AttachedXdp, Counters, Link, XdpMode};
pub use monitor::{Event, Monitor};
pub use namespace::Namespace;
pub use neighbour::{Neighbour, NeighbourState};
pub use reply_socket::ReplySocket;
pub use route::{Route, SourceRule};
pub use socket::Netlink;
pub use tun::Tun;

/// A hardware address of Ethernet.
pub type Mac = [u8; 6];

/// `02:00:00:00:00:07`
#[must_use]
pub fn mac_text(mac: &Mac) -> String {
    let bytes: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

/// Longest prefix of an address's family: 32 or 128 bits.
#[must_use]
pub fn host_prefix(address: &std::net::IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}
