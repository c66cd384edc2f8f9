//! The kernel's maps as [`Tables`].
//!
//! Names and shapes are the contract with `dataplane`; sizes marked there are set when loading.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use director::Instant;
use director::connection::{Bucket, Slot};
use director::limits;
use director::tables::{
    Egress, Link, Segment, Service, ServiceKey, Settings, Statistics, Tables, Tuple,
};
use director::verdict::COUNTERS;

use crate::word::KernelWord;

/// `BPF_F_MMAPABLE`: user space reads and expires through a mapping, without system calls.
const MMAPABLE: u32 = 1 << 10;

#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, MMAPABLE);
#[map]
static VIPS: Array<u64> = Array::with_max_entries(limits::VIP_WORDS, MMAPABLE);
#[map]
static BUCKETS: Array<Bucket<KernelWord>> = Array::with_max_entries(
    limits::CONNECTIONS_DEFAULT / limits::BUCKET_SLOTS as u32,
    MMAPABLE,
);
#[map]
static TUPLES: Array<Tuple> = Array::with_max_entries(limits::CONNECTIONS_DEFAULT, MMAPABLE);
#[map]
static SERVICES: HashMap<ServiceKey, Service> = HashMap::with_max_entries(limits::SERVICES, 0);
#[map]
static PICKS: Array<KernelWord> = Array::with_max_entries(limits::SERVICES, MMAPABLE);
#[map]
static SEGMENTS: Array<Segment> = Array::with_max_entries(limits::SEGMENTS, MMAPABLE);
#[map]
static SLOTS: Array<u32> = Array::with_max_entries(limits::ROTATION_SLOTS, MMAPABLE);
#[map]
static POPULATIONS: Array<KernelWord> = Array::with_max_entries(limits::SERVICES, MMAPABLE);
#[map]
static LINKS: Array<KernelWord> = Array::with_max_entries(limits::DESTINATIONS, MMAPABLE);
#[map]
static GAUGES: Array<KernelWord> = Array::with_max_entries(limits::DESTINATIONS, MMAPABLE);
#[map]
static STATISTICS: PerCpuArray<Statistics> = PerCpuArray::with_max_entries(limits::DESTINATIONS, 0);
#[map]
static EGRESS: Array<Egress> = Array::with_max_entries(limits::INTERFACES, MMAPABLE);
#[map]
static FRAGMENTS: Array<Slot<KernelWord>> = Array::with_max_entries(limits::FRAGMENTS, MMAPABLE);
#[map]
static ALLOWANCES: Array<KernelWord> = Array::with_max_entries(limits::REPLY_BUCKETS, MMAPABLE);
#[map]
static VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS, 0);

/// The maps above.
pub struct KernelTables;

impl Tables for KernelTables {
    type Word = KernelWord;

    #[inline(always)]
    fn now(&self) -> Instant {
        // SAFETY: a helper without arguments.
        Instant {
            ns: unsafe { bpf_ktime_get_coarse_ns() },
        }
    }

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        SETTINGS.get(0)
    }

    #[inline(always)]
    fn vip_word(&self, index: u32) -> u64 {
        VIPS.get(index).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<&Bucket<KernelWord>> {
        BUCKETS.get(index)
    }

    #[inline(always)]
    fn record(&self, slot: u32, tuple: &Tuple) {
        if let Some(place) = TUPLES.get_ptr_mut(slot) {
            // SAFETY: the slot is claimed, so that no other CPU writes its tuple; a reader in user
            // space looks at the tag before and after.
            unsafe { *place = *tuple };
        }
    }

    #[inline(always)]
    fn tuple(&self, slot: u32) -> Option<Tuple> {
        TUPLES.get(slot).copied()
    }

    #[inline(always)]
    fn attached(&self, slot: u32) -> Option<&KernelWord> {
        let tuple = TUPLES.get_ptr_mut(slot)?;
        // SAFETY: the word is the last of the element, aligned, and there for as long as the program runs;
        // `KernelWord` is a word.
        Some(unsafe { &*(&raw mut (*tuple).template).cast::<KernelWord>() })
    }

    #[inline(always)]
    fn population(&self, service: u32) -> Option<&KernelWord> {
        POPULATIONS.get(service)
    }

    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<Service> {
        // SAFETY: the value is copied out at once; the kernel replaces elements, it does not edit
        // them, and frees none while the program runs.
        unsafe { SERVICES.get(key) }.copied()
    }

    #[inline(always)]
    fn picks(&self, service: u32) -> Option<&KernelWord> {
        PICKS.get(service)
    }

    #[inline(always)]
    fn segment(&self, index: u32) -> Option<Segment> {
        SEGMENTS.get(index).copied()
    }

    #[inline(always)]
    fn rotation_slot(&self, index: u32) -> u32 {
        SLOTS.get(index).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn link(&self, destination: u32) -> Link {
        use director::tables::Word;
        Link(LINKS.get(destination).map_or(0, Word::load))
    }

    #[inline(always)]
    fn gauge(&self, destination: u32) -> Option<&KernelWord> {
        GAUGES.get(destination)
    }

    #[inline(always)]
    fn account(&self, destination: u32, connections: u64, bytes: u64) {
        if let Some(statistics) = STATISTICS.get_ptr_mut(destination) {
            // SAFETY: the element is this CPU's own.
            unsafe {
                (*statistics).connections += connections;
                (*statistics).packets += 1;
                (*statistics).bytes += bytes;
            }
        }
    }

    #[inline(always)]
    fn egress(&self, slot: u32) -> Option<Egress> {
        EGRESS.get(slot).copied()
    }

    #[inline(always)]
    fn fragment(&self, index: u32) -> Option<&Slot<KernelWord>> {
        FRAGMENTS.get(index)
    }

    #[inline(always)]
    fn reply_allowance(&self, bucket: u32) -> Option<&KernelWord> {
        ALLOWANCES.get(bucket)
    }

    #[inline(always)]
    fn blur(&self, value: u64, noise: u64) -> u64 {
        crate::frame::blur(value, noise)
    }

    #[inline(always)]
    fn count(&self, counter: u32) {
        if let Some(count) = VERDICTS.get_ptr_mut(counter) {
            // SAFETY: the element is this CPU's own.
            unsafe { *count += 1 };
        }
    }
}
