//! The director's programs while somebody traces: the same, and each frame is kept as it comes and as it leaves.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![allow(internal_features)]
// The xdp macro writes functions of its own beside ours.
#![allow(missing_docs)]

#[path = "../frame.rs"]
mod frame;
#[path = "../once.rs"]
mod once;
#[path = "../programs.rs"]
mod programs;
#[path = "../tables.rs"]
mod tables;
#[path = "../trace.rs"]
mod trace;
#[path = "../word.rs"]
mod word;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // The verifier rejects the program if this can be reached.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
