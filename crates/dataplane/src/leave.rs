//! Taking destinations out of the connection table: their connections end, their templates lead nowhere.
//!
//! Both follow the rules of [`director::connection`], as expiry does, and may be done while packets flow and as
//! often as one likes.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use director::connection::{CLAIMED, Entry, FREE};
use director::limits::DESTINATIONS;

use crate::Dataplane;
use crate::connections::Table;
use crate::destinations::DestinationLink;

/// The destination that is nobody: deleted once and for all, so that a template which leads there has the next
/// connection scheduled anew and goes where that goes. The last number; the control plane never gives it.
pub const NOBODY: u32 = DESTINATIONS - 1;

/// How often a slot is looked at again when packets renew it at the same moment.
const TRIES: u32 = 16;

impl Dataplane {
    /// Ends the connections of some destinations; how many. The next packet of each finds none: a SYN or a
    /// datagram is scheduled anew, anything else goes to the host, which answers it with a reset.
    pub fn let_go(&mut self, ids: &BTreeSet<u32>) -> u64 {
        self.connections.let_go(ids)
    }

    /// Has persistence templates lead to these destinations no more; how many did. Their connections stay, and
    /// keep them alive; the next new connection of such a client is scheduled anew and takes its template along.
    pub fn turn_templates(&mut self, ids: &BTreeSet<u32>) -> u64 {
        self.write_destination(NOBODY, DestinationLink::Gone);
        self.connections.turn_templates(ids)
    }
}

impl Table {
    fn let_go(&self, ids: &BTreeSet<u32>) -> u64 {
        let is_meant = |entry: Entry| !entry.state().is_template() && has(ids, entry);
        self.each(|slot, tag, entry| is_meant(entry).then(|| self.take(slot, tag, entry)))
    }

    fn turn_templates(&self, ids: &BTreeSet<u32>) -> u64 {
        let is_meant = |entry: Entry| entry.state().is_template() && has(ids, entry);
        self.each(|slot, _, entry| {
            is_meant(entry).then(|| {
                let turned = entry.redirected(NOBODY).0;
                let (done, failed) = (Ordering::AcqRel, Ordering::Relaxed);
                let word = self.entry(slot);
                word.compare_exchange(entry.0, turned, done, failed).is_ok()
            })
        })
    }

    /// Shows every slot that has an owner; how many were changed. One that is meant, but was changed by somebody
    /// else at the same moment, is shown again.
    fn each(&self, change: impl Fn(usize, u64, Entry) -> Option<bool>) -> u64 {
        let mut changed = 0;
        for slot in 0..self.slots() {
            for _ in 0..TRIES {
                let tag = self.tag(slot).load(Ordering::Acquire);
                if tag == FREE || tag == CLAIMED {
                    break;
                }
                let entry = Entry(self.entry(slot).load(Ordering::Acquire));
                match change(slot, tag, entry) {
                    None => break,
                    Some(true) => {
                        changed += 1;
                        break;
                    }
                    Some(false) => {}
                }
            }
        }
        changed
    }
}

fn has(ids: &BTreeSet<u32>, entry: Entry) -> bool {
    entry.destination() != 0 && ids.contains(&entry.destination())
}
