//! Destinations in the data path: how frames reach them, and what they may be given.

use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{MapData, PerCpuArray};
use director::headers::Mac;
use director::tables::{Link, Weight};

use crate::Stats;
use crate::error::Error;
use crate::map::{SharedStanding, Words};

/// A destination, as the data path knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// How frames reach it.
    pub link: DestinationLink,
    /// What it may be given.
    pub standing: Standing,
}

/// How frames reach a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationLink {
    /// Its MAC is not known: frames of its connections are dropped.
    Unresolved,
    /// Deleted, with connections left: their frames are dropped silently.
    Gone,
    /// The director itself: frames go to the host.
    Local,
    /// By its MAC, out of an interface.
    Via {
        /// The real server's MAC, or its next hop's.
        mac: [u8; 6],
        /// Slot of the interface, see [`crate::Dataplane::write_interface`].
        slot: u8,
    },
}

/// What a destination may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Number of its service.
    pub service: u32,
    /// Its share of new connections; 0: drained.
    pub weight: u32,
    /// No new connections from this many on; 0 is no limit.
    pub upper_threshold: u32,
    /// New ones again below this many; 0 is three quarters of the upper one.
    pub lower_threshold: u32,
    /// Whether it is no more overloaded, whatever its upper threshold was.
    pub is_reopened: bool,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            service: 0,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            is_reopened: false,
        }
    }
}

/// Of weight 1, without thresholds.
impl From<DestinationLink> for Destination {
    fn from(link: DestinationLink) -> Self {
        Self {
            link,
            standing: Standing::default(),
        }
    }
}

impl Destination {
    pub(crate) fn link_word(&self) -> Link {
        let link = match self.link {
            DestinationLink::Unresolved => Link::UNRESOLVED,
            DestinationLink::Gone => Link::GONE,
            DestinationLink::Local => Link::LOCAL,
            DestinationLink::Via { mac, slot } => Link::via(Mac::from_bytes(mac), slot),
        };
        if self.standing.weight == 0 {
            link.drained()
        } else {
            link
        }
    }
}

impl Words {
    /// The standing of a destination, in the map of standings.
    pub(crate) fn standing(&self, id: usize) -> SharedStanding<'_> {
        SharedStanding {
            weight: self.word_at(id, 0),
            thresholds: self.word_at(id, 1),
        }
    }
}

impl SharedStanding<'_> {
    /// Writes a standing over another. It never sets the flag OVERLOAD; it clears it when there is no upper
    /// threshold any more or a higher one, so that the next connection is let in and the test works again
    /// (`__ip_vs_update_dest` in `net/netfilter/ipvs/ip_vs_ctl.c`).
    pub(crate) fn edit(&self, standing: &Standing) {
        let upper = u64::from(standing.upper_threshold);
        let before = self.swap_thresholds(upper << 32 | u64::from(standing.lower_threshold)) >> 32;
        let is_reopened = standing.is_reopened || upper == 0 || upper > before;
        self.change_weight(|present| {
            let kept = if is_reopened {
                0
            } else {
                present & Weight::OVERLOAD
            };
            Weight::new(standing.weight, standing.service).0 | kept
        });
    }

    /// Makes it that of no destination.
    pub(crate) fn clear(&self) {
        self.swap_thresholds(0);
        self.change_weight(|_| 0);
    }
}

/// Elements that are read by one call at most.
const BATCH: u32 = 1_024;
/// Elements that nobody asked for and that are read with others rather than by a call of their own.
const GAP: u32 = 8;

/// What destinations were sent, over all CPUs, in the order of `ids`: those whose ids are near each other by one call.
pub(crate) struct BulkReader {
    map: OwnedFd,
    /// Words of an element: three for each CPU that there may be.
    element_words: usize,
}

impl BulkReader {
    pub(crate) fn new(map: OwnedFd) -> Result<Self, Error> {
        let cpus =
            aya::util::nr_cpus().map_err(|(_, source)| Error::io("counting CPUs", source))?;
        Ok(Self {
            map,
            element_words: 3 * cpus,
        })
    }

    /// Nothing where the kernel reads no batches.
    pub(crate) fn read(&self, ids: &[u32]) -> std::io::Result<Vec<Stats>> {
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_unstable_by_key(|at| ids[*at]);
        let mut all = vec![Stats::default(); ids.len()];
        let mut words = Vec::new();
        let mut rest = order.as_slice();
        while let Some(first) = rest.first() {
            let near = |pair: &[usize]| {
                let (one, other) = (ids[pair[0]], ids[pair[1]]);
                other - one <= GAP && other - ids[*first] < BATCH
            };
            let more = rest.windows(2).take_while(|pair| near(pair)).count();
            let (run, after) = rest.split_at(more + 1);
            self.read_run(ids, run, &mut words, &mut all)?;
            rest = after;
        }
        Ok(all)
    }

    /// Reads ids that are near each other.
    fn read_run(
        &self,
        ids: &[u32],
        run: &[usize],
        words: &mut Vec<u64>,
        all: &mut [Stats],
    ) -> std::io::Result<()> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Ok(());
        };
        let (first, last) = (ids[*first], ids[*last]);
        let wanted = last - first + 1;
        let found =
            crate::sys::read_batch(self.map.as_fd(), first, wanted, self.element_words, words)?;
        if found < wanted {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        for at in run {
            let begin = (ids[*at] - first) as usize * self.element_words;
            let element = words.get(begin..begin + self.element_words);
            let cpus = element.unwrap_or_default().as_chunks::<3>().0;
            if let Some(stats) = all.get_mut(*at) {
                *stats = over_cpus(cpus);
            }
        }
        Ok(())
    }
}

/// What a destination was sent, over all CPUs.
pub(crate) fn sum(statistics: &PerCpuArray<MapData, [u64; 3]>, id: u32) -> Stats {
    let Ok(values) = statistics.get(&id, 0) else {
        return Stats::default();
    };
    over_cpus(&values)
}

fn over_cpus(values: &[[u64; 3]]) -> Stats {
    values
        .iter()
        .fold(Stats::default(), |sum, [connections, packets, bytes]| {
            Stats {
                connections: sum.connections + connections,
                packets: sum.packets + packets,
                bytes: sum.bytes + bytes,
            }
        })
}
