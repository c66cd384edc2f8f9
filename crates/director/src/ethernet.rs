//! The link header: what the frame carries, and behind how many VLAN tags.

use crate::frame::{Frame, Window};
use crate::headers::{ETHERNET_BYTES, Ethernet, MacPair};
use crate::limits::VLAN_TAGS;

/// EtherType of an 802.1Q tag.
const ETHER_TYPE_8021Q: u16 = 0x8100;
/// EtherType of an 802.1ad service tag.
const ETHER_TYPE_8021AD: u16 = 0x88a8;
/// Bytes of a tag.
const TAG_BYTES: usize = 4;

/// Whether a tag follows. Drivers that strip tags show none.
#[must_use]
#[inline(always)]
pub fn is_tag(ether_type: u16) -> bool {
    ether_type == ETHER_TYPE_8021Q || ether_type == ETHER_TYPE_8021AD
}

/// A link header with its tags, which stay as they are.
#[derive(Clone, Copy, Debug)]
pub struct LinkHeader {
    /// Destination and source.
    pub addresses: MacPair,
    /// EtherType behind the tags.
    pub ether_type: u16,
    /// Where the network header is.
    pub at: usize,
}

impl LinkHeader {
    /// Reads it with at most two tags (QinQ, IEEE 802.1ad).
    #[inline(always)]
    pub fn read(frame: &impl Frame) -> Option<Self> {
        let ethernet = Ethernet::read(frame)?;
        let (mut ether_type, mut at) = (ethernet.ether_type, ETHERNET_BYTES);
        for _ in 0..VLAN_TAGS {
            if !is_tag(ether_type) {
                break;
            }
            // Two bytes of tag, then the EtherType of what follows.
            let Some(window) = frame.window::<TAG_BYTES>(at) else {
                break;
            };
            ether_type = window.u16::<2>();
            at += TAG_BYTES;
        }
        Some(Self {
            addresses: ethernet.addresses,
            ether_type,
            at: frame.blur(at),
        })
    }
}
