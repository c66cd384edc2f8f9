//! Watches [`crate::programs`]: keeps each frame as it came, and with what was decided as it leaves.
//!
//! ```text
//! enter ─► head of the frame ─► … count, account … ─► leave ─► wanted? sampled? in its rate? ─► ring
//! ```
//!
//! Never waits: what finds no room in the ring is counted. What it remembers between a frame's beginning and its end
//! is this CPU's own, and no other frame can be decided there meanwhile.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::generated::{
    bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_ringbuf_output, bpf_xdp_load_bytes,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, RingBuf};
use aya_ebpf::programs::XdpContext;
use director::Verdict;
use director::trace::{Control, FRAME_MASK, Record, TRACES, Tally, Wanted};

/// What is wanted. Written by user space at any time.
#[map]
static TRACE_CONTROL: Array<Control> = Array::with_max_entries(1, 0);
/// The frame that this CPU decides.
#[map]
static TRACE_FRAME: PerCpuArray<Decided> = PerCpuArray::with_max_entries(1, 0);
#[map]
static TRACE_TALLY: PerCpuArray<Tally> = PerCpuArray::with_max_entries(TRACES as u32, 0);
/// What was kept and not yet read. Its size is set when loading.
#[map]
static TRACE_RECORDS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Bytes of a frame that addresses and ports are looked for in, less one.
const HEAD_MASK: usize = 127;

/// A frame that is decided.
#[repr(C)]
pub struct Decided {
    record: Record,
    /// As it came, and right behind it as it leaves; at most half of the room each.
    frames: [u8; 2 * (FRAME_MASK as usize + 1)],
}

/// A frame has come.
#[inline(always)]
pub fn enter(context: &XdpContext) {
    trace_enter(context.as_ptr().cast());
}

/// A counter has moved.
#[inline(always)]
pub fn count(counter: u32) {
    if let Some(decided) = decided() {
        decided.record.counters |= 1 << (counter & 63);
    }
}

/// A frame was counted for a destination.
#[inline(always)]
pub fn account(destination: u32) {
    if let Some(decided) = decided() {
        decided.record.destination = destination;
    }
}

/// A frame was decided.
#[inline(always)]
pub fn leave(context: &XdpContext, verdict: Verdict) {
    let (action, egress) = match verdict {
        Verdict::Pass(_) => (xdp_action::XDP_PASS, 0),
        Verdict::Drop(_) => (xdp_action::XDP_DROP, 0),
        Verdict::Transmit | Verdict::Reply(_) => (xdp_action::XDP_TX, 0),
        Verdict::Redirect { interface } => (xdp_action::XDP_REDIRECT, interface),
    };
    trace_leave(context.as_ptr().cast(), action, egress);
}

#[inline(always)]
fn decided() -> Option<&'static mut Decided> {
    // SAFETY: the element is this CPU's own, and this run's until it ends; nobody keeps the reference.
    unsafe { TRACE_FRAME.get_ptr_mut(0)?.as_mut() }
}

/// See [`enter`]; a verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn trace_enter(context: *mut xdp_md) -> u32 {
    let (Some(decided), Some(control)) = (decided(), TRACE_CONTROL.get(0)) else {
        return 0;
    };
    let record = &mut decided.record;
    record.counters = 0;
    record.destination = 0;
    record.sequence += 1;
    let len = len(context);
    record.before_len = len;
    record.before_kept = copy(context, &mut decided.frames, 0, min(len, control.snap));
    0
}

/// See [`leave`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn trace_leave(context: *mut xdp_md, action: u32, egress: u32) -> u32 {
    let (Some(decided), Some(control)) = (decided(), TRACE_CONTROL.get(0)) else {
        return 0;
    };
    let mut wanted_by = 0;
    for trace in 0..TRACES as u32 {
        wanted_by |= trace_wants(trace) << trace;
    }
    if wanted_by == 0 {
        return 0;
    }
    let len = len(context);
    let before = decided.record.before_kept & FRAME_MASK;
    let after = copy(context, &mut decided.frames, before, min(len, control.snap));
    let record = &mut decided.record;
    // SAFETY: helpers without arguments, and a field of the context.
    (record.time_ns, record.cpu, record.interface) = unsafe {
        (
            bpf_ktime_get_ns(),
            bpf_get_smp_processor_id(),
            (*context).ingress_ifindex,
        )
    };
    record.action = action;
    record.egress = egress;
    record.after_len = len;
    record.after_kept = after;
    record.wanted_by = wanted_by;
    let bytes = size_of::<Record>() as u64 + u64::from(before) + u64::from(after);
    // SAFETY: the record and, right behind it, the frames: at most as many bytes as they have.
    let result = unsafe {
        bpf_ringbuf_output(
            (&raw const TRACE_RECORDS).cast_mut().cast(),
            (&raw mut decided.record).cast(),
            bytes,
            0,
        )
    };
    for trace in 0..TRACES as u32 {
        if wanted_by >> trace & 1 != 0
            && let Some(tally) = TRACE_TALLY.get_ptr_mut(trace)
        {
            // SAFETY: the element is this CPU's own.
            let tally = unsafe { &mut *tally };
            if result == 0 {
                tally.kept += 1;
            } else {
                tally.no_room += 1;
            }
        }
    }
    0
}

/// Whether a trace is told of the frame: 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn trace_wants(trace: u32) -> u32 {
    let trace = trace & (TRACES as u32 - 1);
    let (Some(decided), Some(control), Some(tally)) = (
        decided(),
        TRACE_CONTROL.get(0),
        TRACE_TALLY.get_ptr_mut(trace),
    ) else {
        return 0;
    };
    let wanted = &control.wanted[trace as usize];
    // Nobody has this place.
    if wanted.rate == 0 {
        return 0;
    }
    // SAFETY: the element is this CPU's own.
    let tally = unsafe { &mut *tally };
    tally.seen += 1;
    if decided.record.counters & wanted.verdicts == 0
        || !may_be_wanted(wanted, &decided.frames, decided.record.before_len)
    {
        return 0;
    }
    tally.wanted += 1;
    if wanted.one_in > 1 && tally.wanted % u64::from(wanted.one_in) != 0 {
        tally.unsampled += 1;
        return 0;
    }
    // SAFETY: a helper without arguments.
    let second = unsafe { bpf_ktime_get_ns() } >> 30;
    if tally.second != second {
        tally.second = second;
        tally.in_second = 0;
    }
    if tally.in_second >= u64::from(wanted.rate) {
        tally.over_rate += 1;
        return 0;
    }
    tally.in_second += 1;
    1
}

/// Whether a frame may be wanted by what stands in its first bytes. What cannot be told so cheaply (an ICMP error,
/// a fragment, extension headers) is left to user space.
#[inline(always)]
fn may_be_wanted(wanted: &Wanted, head: &[u8], len: u32) -> bool {
    let has_addresses = wanted.client_mask[0] | wanted.client_mask[1] | wanted.virtual_mask[1] != 0;
    let has_numbers = wanted.protocol | wanted.client_port | wanted.virtual_port != 0;
    if !has_addresses && !has_numbers {
        return true;
    }
    if len < 34 {
        return false;
    }
    let mut at = 12;
    for _ in 0..2 {
        let kind = u16_at(head, at);
        if kind == 0x8100 || kind == 0x88a8 {
            at += 4;
        }
    }
    let kind = u16_at(head, at);
    at += 2;
    let (source, destination, protocol, ports) = if kind == 0x0800 {
        let words = usize::from(u8_at(head, at) & 0xf);
        let is_later = u16_at(head, at + 6) & 0x1fff != 0;
        let mapped = |at| [0, 0xffff << 32 | u64::from(u32_at(head, at))];
        let ports = if is_later { 0 } else { at + words * 4 };
        (mapped(at + 12), mapped(at + 16), u8_at(head, at + 9), ports)
    } else if kind == 0x86dd {
        (
            [u64_at(head, at + 8), u64_at(head, at + 16)],
            [u64_at(head, at + 24), u64_at(head, at + 32)],
            u8_at(head, at + 6),
            at + 40,
        )
    } else {
        return false;
    };
    if protocol != 6 && protocol != 17 && protocol != 132 {
        return true;
    }
    let agrees = |address: [u64; 2], want: &[u64; 2], mask: &[u64; 2]| {
        (address[0] ^ want[0]) & mask[0] | (address[1] ^ want[1]) & mask[1] == 0
    };
    let has_port = |want: u32, at: usize| want == 0 || want == u32::from(u16_at(head, at));
    (wanted.protocol == 0 || wanted.protocol == u32::from(protocol))
        && agrees(source, &wanted.client, &wanted.client_mask)
        && agrees(destination, &wanted.virtual_address, &wanted.virtual_mask)
        && (ports == 0
            || has_port(wanted.client_port, ports) && has_port(wanted.virtual_port, ports + 2))
}

#[inline(always)]
fn u8_at(head: &[u8], at: usize) -> u8 {
    // SAFETY: masked to the first bytes, which are there.
    unsafe { *head.as_ptr().add(at & HEAD_MASK) }
}

#[inline(always)]
fn u16_at(head: &[u8], at: usize) -> u16 {
    u16::from(u8_at(head, at)) << 8 | u16::from(u8_at(head, at + 1))
}

#[inline(always)]
fn u32_at(head: &[u8], at: usize) -> u32 {
    u32::from(u16_at(head, at)) << 16 | u32::from(u16_at(head, at + 2))
}

#[inline(always)]
fn u64_at(head: &[u8], at: usize) -> u64 {
    u64::from(u32_at(head, at)) << 32 | u64::from(u32_at(head, at + 4))
}

#[inline(always)]
fn min(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

/// Bytes of the frame.
#[inline(always)]
fn len(context: *mut xdp_md) -> u32 {
    // SAFETY: fields of the context; the verifier makes addresses of them.
    unsafe { ((*context).data_end as usize - (*context).data as usize) as u32 }
}

/// Copies the frame's first bytes to `at`; how many.
#[inline(always)]
fn copy(context: *mut xdp_md, frames: &mut [u8], at: u32, len: u32) -> u32 {
    if len == 0 {
        return 0;
    }
    // The helper wants to be shown that it is not 0, and that it fits.
    let len = crate::frame::blur(u64::from(len - 1), 0) as u32 & FRAME_MASK;
    let len = len + 1;
    // SAFETY: place and length are at most half of the room each.
    let result = unsafe {
        bpf_xdp_load_bytes(
            context,
            0,
            frames.as_mut_ptr().add((at & FRAME_MASK) as usize).cast(),
            len,
        )
    };
    if result == 0 { len } else { 0 }
}
