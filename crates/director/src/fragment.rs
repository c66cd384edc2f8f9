//! Fragments: later ones go where their first one went.
//!
//! Ports are in the first fragment only. It is balanced as any packet; where it went is kept for some
//! seconds under what all pieces share: addresses, protocol and identification.
//!
//! ```text
//! index = hash of (client, virtual address, protocol, identification)
//! slot    tag: that hash │ entry: destination, tick
//! ```
//!
//! The table is direct mapped: a newcomer takes the place. What is lost goes to the host, which counts as
//! a later fragment without its first.

use crate::address::flow_hash;
use crate::connection::{Entry, FREE, State};
use crate::limits::{FRAGMENT_LIFE_S, FRAGMENTS};
use crate::packet::{Header, Network};
use crate::tables::{Settings, Tables, Word};
use crate::time::ticks_from_seconds;

/// Marks the protocol in a fragment's hash, so that it is never a flow's.
const FRAGMENT_MARK: u8 = 0x80;

#[inline(always)]
fn hash<N: Network>(settings: &Settings, header: &Header<N>, identification: u32) -> u64 {
    let protocol = header.protocol ^ FRAGMENT_MARK;
    let keys = &settings.hash_keys;
    flow_hash(
        header.client,
        header.virtual_address,
        identification,
        protocol,
        keys,
    )
}

/// Keeps where the first fragment goes.
#[inline(always)]
pub fn remember<N: Network>(
    tables: &impl Tables,
    settings: &Settings,
    header: &Header<N>,
    identification: u32,
    destination: u32,
    tick: u32,
) {
    let hash = hash(settings, header, identification);
    let Some(slot) = tables.fragment(hash as u32 & (FRAGMENTS - 1)) else {
        return;
    };
    // Unseen while it changes; of two CPUs that write here at once the later wins, and a mixture has a
    // tag that belongs to one of them and an entry that the reader looks at once more.
    slot.tag.store(FREE);
    slot.entry
        .store(Entry::new(destination, 0, State::NONE, tick).0);
    slot.tag.store(hash);
}

/// Where the first fragment of this one went, if that was not long ago.
#[inline(always)]
pub fn follow<N: Network>(
    tables: &impl Tables,
    settings: &Settings,
    header: &Header<N>,
    identification: u32,
    tick: u32,
) -> Option<u32> {
    const LIFE: u32 = ticks_from_seconds(FRAGMENT_LIFE_S);
    let hash = hash(settings, header, identification);
    let slot = tables.fragment(hash as u32 & (FRAGMENTS - 1))?;
    if slot.tag.load() != hash {
        return None;
    }
    let entry = Entry(slot.entry.load());
    if slot.tag.load() != hash || entry.destination() == 0 || entry.age(tick) > LIFE {
        return None;
    }
    Some(entry.destination())
}
