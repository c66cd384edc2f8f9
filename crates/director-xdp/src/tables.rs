//! The kernel's maps as [`Tables`].
//!
//! Names and shapes are the contract with `dataplane`; sizes marked there are set when loading.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns, bpf_loop};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use director::Instant;
use director::arrival::{Arrival, Outcome, Visit};
use director::connection::{Bucket, Slot};
use director::limits;
use director::tables::{
    Egress, Link, Locality, MarkRule, Segment, Service, ServiceKey, Settings, Standing, Statistics,
    Tables, Tuple, Work,
};
use director::verdict::{COUNTERS, DropReason};

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
static SLOTS: Array<u64> = Array::with_max_entries(limits::ROTATION_SLOTS / 2, MMAPABLE);
#[map]
static POPULATIONS: Array<KernelWord> = Array::with_max_entries(limits::SERVICES, MMAPABLE);
#[map]
static LINKS: Array<KernelWord> = Array::with_max_entries(limits::DESTINATIONS, MMAPABLE);
#[map]
static GAUGES: Array<KernelWord> = Array::with_max_entries(limits::DESTINATIONS, MMAPABLE);
#[map]
static STANDINGS: Array<Standing<KernelWord>> =
    Array::with_max_entries(limits::DESTINATIONS, MMAPABLE);
#[map]
static LOCALITIES: Array<Locality<KernelWord>> =
    Array::with_max_entries(limits::LOCALITIES, MMAPABLE);
#[map]
static MARKS: Array<MarkRule> = Array::with_max_entries(limits::MARK_RULES, MMAPABLE);
#[map]
static STATISTICS: PerCpuArray<Statistics> = PerCpuArray::with_max_entries(limits::DESTINATIONS, 0);
#[map]
static EGRESS: Array<Egress> = Array::with_max_entries(limits::INTERFACES, MMAPABLE);
#[map]
static FRAGMENTS: Array<Slot<KernelWord>> = Array::with_max_entries(limits::FRAGMENTS, MMAPABLE);
#[map]
static ALLOWANCES: Array<KernelWord> = Array::with_max_entries(limits::REPLY_BUCKETS, MMAPABLE);
/// What the functions of [`crate::once`] work on.
#[map]
pub static VISIT: PerCpuArray<Visit> = PerCpuArray::with_max_entries(1, 0);
#[map]
static VERDICTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS, 0);

/// The maps above.
pub struct KernelTables;

/// One turn of some work, as `bpf_loop` calls it: 1 ends the loop.
#[inline(never)]
extern "C" fn turn<W: Work>(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `repeat` gave the work, which outlives the loop.
    let work = unsafe { &mut *context.cast::<W>() };
    i64::from(!work.turn(&KernelTables, index as u32))
}

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
        // Two in an element: the kernel rounds elements up to eight bytes.
        let pair = SLOTS.get(index / 2).copied().unwrap_or(0);
        (pair >> (index % 2 * 32)) as u32
    }

    #[inline(always)]
    fn standing(&self, destination: u32) -> Option<&Standing<KernelWord>> {
        STANDINGS.get(destination)
    }

    #[inline(always)]
    fn locality(&self, index: u32) -> Option<&Locality<KernelWord>> {
        LOCALITIES.get(index)
    }

    #[inline(always)]
    fn mark_rule(&self, index: u32) -> Option<MarkRule> {
        MARKS.get(index).copied()
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn repeat<W: Work>(&self, turns: u32, work: &mut W) {
        // SAFETY: the kernel calls `turn` with this context and before it returns, so that the reference is
        // the only one. `bpf_loop` is in Linux since 5.17; its flags must be 0.
        unsafe {
            bpf_loop(
                turns,
                turn::<W> as *const () as *mut c_void,
                core::ptr::from_mut(work).cast(),
                0,
            )
        };
    }

    #[inline(always)]
    fn connect(&self, arrival: Arrival) -> Outcome {
        let Some(visit) = VISIT.get_ptr_mut(0) else {
            return Outcome::Dropped(DropReason::Internal);
        };
        // SAFETY: the element is this CPU's own, and this run's until it ends.
        let visit = unsafe { &mut *visit };
        visit.arrival = arrival;
        director::arrival::connect(self, visit)
    }

    #[inline(always)]
    fn enter(&self, _visit: &mut Visit) -> u64 {
        crate::once::enter()
    }

    #[inline(always)]
    fn choose(&self, _visit: &Visit) -> u32 {
        crate::once::choose()
    }

    #[inline(always)]
    fn settle(&self, _visit: &Visit, destination: u32) -> u64 {
        crate::once::settle(destination)
    }

    #[inline(always)]
    fn weigh(&self, base: u32, count: u32) -> u64 {
        crate::once::weigh(base, count)
    }

    #[inline(always)]
    fn claim(&self, hash: u64, entry: u64, is_crowd: bool) -> u64 {
        crate::once::claim(hash, entry, is_crowd.into())
    }

    #[inline(always)]
    fn make_visible(&self, hash: u64, slot: u32) {
        crate::once::make_visible(hash, slot);
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
        crate::trace::account(destination);
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
        crate::trace::count(counter);
        if let Some(count) = VERDICTS.get_ptr_mut(counter) {
            // SAFETY: the element is this CPU's own.
            unsafe { *count += 1 };
        }
    }
}
