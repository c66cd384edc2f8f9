//! The segment as the director knows it: its interfaces, who says that a virtual address is theirs, and how real
//! servers are reached.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Interface, LinkState};

/// What is on the segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Interfaces with the program attached.
    pub interfaces: Vec<Interface>,
    /// Virtual addresses, of services and of what this host should have.
    pub vips: Vec<VirtualAddress>,
    /// Real servers, by address.
    pub servers: Vec<RealServer>,
}

/// A virtual address, and who answers for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualAddress {
    /// Itself.
    pub address: IpAddr,
    /// Interfaces of the director that have it now: there its kernel answers.
    pub on: Vec<String>,
    /// How many services it has.
    pub services: u64,
    /// Others that answer for it or announce it, heard in the last 75 s.
    pub claims: Vec<Claim>,
}

/// Somebody else's claim of a virtual address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Whose it is.
    pub mac: String,
    /// An address of who has that MAC, where that is known.
    #[serde(default)]
    pub server: Option<IpAddr>,
    /// Where it is heard.
    pub interface: String,
    /// For how long, in seconds.
    pub for_s: u64,
    /// How many frames said so.
    pub frames: u64,
}

/// A real server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealServer {
    /// Its address.
    pub address: IpAddr,
    /// How it is reached.
    pub link: LinkState,
    /// Services in which it is a destination.
    pub services: u64,
    /// Of these, those in which its weight is above 0.
    pub serving: u64,
    /// Whether an order of maintenance holds it in one of them.
    pub held: bool,
    /// Its active connections.
    pub active: u64,
    /// Its inactive ones.
    pub inactive: u64,
}
