//! The packet path in the kernel: supplies frame, tables and time to [`director::forward`], and hands
//! its verdict to the driver.
//!
//! What it never does: decide anything.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![allow(internal_features)]
// The xdp macro writes functions of its own beside ours.
#![allow(missing_docs)]

mod frame;
mod tables;
mod word;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use director::Verdict;

/// The director. Attached to each interface that clients' traffic arrives on.
#[xdp]
#[inline(always)]
pub fn director(context: XdpContext) -> u32 {
    let mut frame = frame::XdpFrame::new(context);
    match director::forward(&mut frame, &tables::KernelTables) {
        Verdict::Pass(_) => xdp_action::XDP_PASS,
        Verdict::Drop(_) => xdp_action::XDP_DROP,
        Verdict::Transmit | Verdict::Reply(_) => xdp_action::XDP_TX,
        // SAFETY: a helper call without pointers; it cannot fail in a way that matters here: its
        // return value is the action.
        Verdict::Redirect { interface } => unsafe { bpf_redirect(interface, 0) as u32 },
    }
}

/// Passes everything. The veth trick: `XDP_TX` on a veth is flushed only if its peer has a program.
#[xdp]
pub fn pass(_context: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // The verifier rejects the program if this can be reached.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
