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
mod once;
mod programs;
mod tables;
#[path = "untraced.rs"]
mod trace;
mod word;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // The verifier rejects the program if this can be reached.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
