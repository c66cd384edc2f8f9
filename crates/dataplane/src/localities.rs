//! What `lblc` and `lblcr` remember, through its mapping: the data path keeps it, here it is forgotten.

use std::sync::atomic::Ordering;

use director::connection::{CLAIMED, FREE};
use director::limits::LOCALITIES;
use director::tables::Weight;

use crate::error::Error;
use crate::map::Words;
use crate::object::Maps;

/// Where the tag, the size and the first member are in an element, in words.
const TAG: usize = 0;
const SIZE: usize = 2;
const MEMBERS: usize = 3;

/// All addresses that are remembered.
pub(crate) struct Localities {
    pub(crate) words: Words,
    standings: Words,
}

impl Localities {
    pub(crate) fn new(maps: &Maps) -> Result<Self, Error> {
        Ok(Self {
            words: maps.words("LOCALITIES")?,
            standings: maps.words("STANDINGS")?,
        })
    }

    /// Forgets all addresses of a service: it is another one now, or has another scheduler. They are told by their
    /// members, which are destinations of one service.
    pub(crate) fn forget(&self, service: u32) {
        for index in 0..LOCALITIES as usize {
            let tag = self.words.word_at(index, TAG);
            let seen = tag.load(Ordering::Acquire);
            if seen == FREE || seen == CLAIMED || !self.is_of(index, service) {
                continue;
            }
            // Losing means that it was given to another address just now.
            let _ = tag.compare_exchange(seen, FREE, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    fn is_of(&self, index: usize, service: u32) -> bool {
        let size = self.words.word_at(index, SIZE).load(Ordering::Acquire);
        let member = self.words.word_at(index, MEMBERS).load(Ordering::Acquire);
        let standing = self.standings.word_at(member as usize, 0);
        size == 0 || Weight(standing.load(Ordering::Acquire)).service() == service & 0xffff
    }
}
