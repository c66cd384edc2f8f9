//! Programs that only the bench loads: the floor, and the feeder that hands a fresh frame to the program
//! under test.
//!
//! `BPF_PROG_TEST_RUN` with a repeat count gives a program its own output back. The feeder puts the
//! frame's head back, chooses the next flow, and tail-calls.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
// The xdp macro writes functions of its own beside ours.
#![allow(missing_docs)]

use core::arch::asm;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, ProgramArray};
use aya_ebpf::programs::XdpContext;

/// Bytes of the frame's head that are put back: Ethernet, IP and the transport header's first bytes.
const HEAD_BYTES: usize = ETHERNET_BYTES + 7 * 8;
/// Where the IP header begins.
const ETHERNET_BYTES: usize = 14;

/// What the feeder feeds. `xtask/src/bench.rs` writes it.
#[repr(C)]
pub struct Feed {
    /// The frame's first bytes, and two that are not used.
    head: [u64; HEAD_BYTES.div_ceil(8)],
    /// Frames fed so far.
    count: u64,
    /// Flows less one, a power of two less one.
    mask: u32,
    /// Odd number that puts the flows in an order.
    stride: u32,
    /// Offset of the four bytes of the source address that number the flow; 0 for one flow.
    offset: u32,
    /// Added to the flow's number.
    base: u32,
}

#[map]
static FEED: Array<Feed> = Array::with_max_entries(1, 0);
#[map]
static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Puts the frame back, makes it the next flow's, and goes to the program under test.
#[xdp]
pub fn feeder(context: XdpContext) -> u32 {
    if feed(&context).is_none() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: the map holds one program, put there before this one runs.
    unsafe { TARGET.tail_call(&context, 0) };
    xdp_action::XDP_ABORTED
}

#[inline(always)]
fn feed(context: &XdpContext) -> Option<()> {
    let feed = FEED.get_ptr_mut(0)?;
    let (start, end) = (context.data(), context.data_end());
    if start + HEAD_BYTES > end {
        return None;
    }
    // SAFETY: the map element is there for as long as the program runs, one CPU runs the bench, and the
    // comparison above covers every word written here and the address below.
    unsafe {
        put_back(start, (&raw const (*feed).head) as usize);
        let offset = (*feed).offset as usize & 63;
        if offset != 0 {
            (*feed).count += 1;
            let flow = ((*feed).count as u32).wrapping_mul((*feed).stride) & (*feed).mask;
            let address = flow.wrapping_add((*feed).base).to_be();
            let at = start + offset;
            if at + 4 > end {
                return None;
            }
            store32(at, address);
        }
    }
    Some(())
}

/// Writes the head in pieces that follow the fields: a load that lies across two stores of a moment ago waits for
/// both to reach the cache, which no frame from a wire makes a program do.
///
/// # Safety
///
/// `HEAD_BYTES` bytes at both addresses are ours.
#[inline(always)]
unsafe fn put_back(to: usize, from: usize) {
    // SAFETY: the pieces end with the head.
    unsafe {
        store64(to, load64(from));
        store32(to + 8, load32(from + 8));
        store16(to + 12, load16(from + 12));
        for word in 0..(HEAD_BYTES - ETHERNET_BYTES) / 8 {
            let at = ETHERNET_BYTES + word * 8;
            store64(to + at, load64(from + at));
        }
    }
}

/// The floor: swaps the MAC addresses and transmits, the least that a program can do that forwards.
#[xdp]
pub fn floor(context: XdpContext) -> u32 {
    let (start, end) = (context.data(), context.data_end());
    if start + 12 > end {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: twelve bytes were compared with the end.
    unsafe {
        let (first, second) = (load64(start), load32(start + 8));
        let source = first >> 48 | u64::from(second) << 16;
        store64(start, source & 0xffff_ffff_ffff | first << 48);
        store32(start + 8, (first >> 16) as u32);
    }
    xdp_action::XDP_TX
}

/// One load or store of a width: of a misaligned address the compiler would make one for each byte, and a
/// slow floor would flatter every ratio.
macro_rules! access {
    ($load:ident $store:ident $type:ty, $from:literal, $to:literal) => {
        #[inline(always)]
        unsafe fn $load(address: usize) -> $type {
            let value: u64;
            // SAFETY: the caller compared the bytes with the end of the packet.
            unsafe { asm!($from, out(reg) value, in(reg) address, options(nostack)) };
            value as $type
        }

        #[inline(always)]
        unsafe fn $store(address: usize, value: $type) {
            let value = value as u64;
            // SAFETY: the caller compared the bytes with the end of the packet.
            unsafe { asm!($to, in(reg) address, in(reg) value, options(nostack)) };
        }
    };
}

access!(load16 store16 u16, "{0} = *(u16 *)({1} + 0)", "*(u16 *)({0} + 0) = {1}");
access!(load32 store32 u32, "{0} = *(u32 *)({1} + 0)", "*(u32 *)({0} + 0) = {1}");
access!(load64 store64 u64, "{0} = *(u64 *)({1} + 0)", "*(u64 *)({0} + 0) = {1}");

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // The verifier rejects the program if this can be reached.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
