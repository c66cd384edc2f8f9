//! The programs, one for each step.
//!
//! Two objects are made of them: the director, and the same with [`crate::trace`] watching.

use core::arch::asm;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::XdpContext;
use director::packet::{NetworkV4, NetworkV6};
use director::{Next, PassReason, ReplyReason, Tables, Verdict};

use crate::{frame, tables, trace};

/// The programs that come after [`director`]. Filled by user space before anything is attached.
#[map]
static STAGES: ProgramArray = ProgramArray::with_max_entries(6, 0);

/// Places in [`STAGES`].
const FAST_V6: u32 = 0;
const WHOLE: u32 = 1;
const BEGIN_V4: u32 = 2;
const BEGIN_V6: u32 = 3;
const PORT_UNREACHABLE: u32 = 4;
const TIME_EXCEEDED: u32 = 5;

/// The director: foreign frames and known connections. Attached to each interface that clients' traffic
/// arrives on.
#[xdp]
#[inline(always)]
pub fn director(context: XdpContext) -> u32 {
    trace::enter(&context);
    let context_of_calls = XdpContext::new(context.ctx);
    let mut frame = frame::XdpFrame::new(context);
    director::fast(&mut frame, &tables::KernelTables, |next| {
        go_on(&context_of_calls, next)
    })
}

/// The same for IPv6.
#[xdp]
#[inline(always)]
pub fn director_v6(context: XdpContext) -> u32 {
    let context_of_calls = XdpContext::new(context.ctx);
    let mut frame = frame::XdpFrame::new(context);
    director::fast_v6(&mut frame, &tables::KernelTables, |next| {
        go_on(&context_of_calls, next)
    })
}

/// Known connections whose packets are not plain.
#[xdp]
#[inline(always)]
pub fn whole(context: XdpContext) -> u32 {
    let mut frame = frame::XdpFrame::new(context);
    let next = director::whole(&mut frame, &tables::KernelTables);
    go_on(frame.context(), next)
}

/// New connections of IPv4.
#[xdp]
#[inline(always)]
pub fn begin_v4(context: XdpContext) -> u32 {
    let mut frame = frame::XdpFrame::new(context);
    let next = director::begin::<NetworkV4>(&mut frame, &tables::KernelTables);
    go_on(frame.context(), next)
}

/// New connections of IPv6.
#[xdp]
#[inline(always)]
pub fn begin_v6(context: XdpContext) -> u32 {
    let mut frame = frame::XdpFrame::new(context);
    let next = director::begin::<NetworkV6>(&mut frame, &tables::KernelTables);
    go_on(frame.context(), next)
}

/// Answers that nobody serves here.
#[xdp]
#[inline(always)]
pub fn port_unreachable(context: XdpContext) -> u32 {
    answer(context, ReplyReason::PortUnreachable)
}

/// Answers that the packet has come too far.
#[xdp]
#[inline(always)]
pub fn time_exceeded(context: XdpContext) -> u32 {
    answer(context, ReplyReason::TimeExceeded)
}

#[inline(always)]
fn answer(context: XdpContext, reason: ReplyReason) -> u32 {
    let mut frame = frame::XdpFrame::new(context);
    let verdict = director::answer(&mut frame, &tables::KernelTables, reason);
    act(frame.context(), verdict)
}

/// Each call has its own place as a constant, which the kernel makes a jump of. Of one call for all it would have to
/// look the place up, and with retpolines the processor then waits where it could run ahead.
#[inline(always)]
fn go_on(context: &XdpContext, next: Next) -> u32 {
    match next {
        Next::Done(verdict) => act(context, verdict),
        Next::FastV6 => call::<FAST_V6>(context),
        Next::Whole => call::<WHOLE>(context),
        Next::BeginV4 => call::<BEGIN_V4>(context),
        Next::BeginV6 => call::<BEGIN_V6>(context),
        Next::Answer(ReplyReason::PortUnreachable) => call::<PORT_UNREACHABLE>(context),
        Next::Answer(ReplyReason::TimeExceeded) => call::<TIME_EXCEEDED>(context),
    }
}

#[inline(always)]
fn call<const STAGE: u32>(context: &XdpContext) -> u32 {
    let stage: u64;
    // SAFETY: a constant in a register. Written so that calls of several stages are not merged into one.
    unsafe { asm!("{0} = {1}", out(reg) stage, const STAGE, options(nomem, nostack)) };
    // SAFETY: the map holds programs of the same kind. Where it holds none, the call returns.
    unsafe { STAGES.tail_call(context, stage as u32) };
    act(context, Verdict::Pass(PassReason::NotReady))
}

#[inline(always)]
fn act(context: &XdpContext, verdict: Verdict) -> u32 {
    tables::KernelTables.count_verdict(verdict);
    trace::leave(context, verdict);
    match verdict {
        Verdict::Pass(_) => xdp_action::XDP_PASS,
        Verdict::Drop(_) => xdp_action::XDP_DROP,
        Verdict::Transmit | Verdict::Reply(_) => xdp_action::XDP_TX,
        // SAFETY: a helper call without pointers; what it returns is the action.
        Verdict::Redirect { interface } => unsafe { bpf_redirect(interface, 0) as u32 },
    }
}

/// Passes everything. The veth trick: `XDP_TX` on a veth is flushed only if its peer has a program.
#[xdp]
pub fn pass(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}
