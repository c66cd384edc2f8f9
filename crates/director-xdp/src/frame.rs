//! Packet memory as a [`Frame`]. The comparison with the packet's end is here and nowhere else.

use core::arch::asm;
use core::marker::PhantomData;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use aya_ebpf::programs::XdpContext;
use director::Frame;
use director::frame::Window;

/// The frame of one run of the program.
pub struct XdpFrame {
    context: XdpContext,
    start: usize,
    /// The end that addresses are compared with; the compiler does not know that it is `start + len`.
    end: usize,
    len: usize,
}

impl XdpFrame {
    /// The frame of `context`.
    #[inline(always)]
    pub fn new(context: XdpContext) -> Self {
        let (start, end) = (context.data(), context.data_end());
        Self {
            context,
            start,
            end: opaque(end),
            len: end - start,
        }
    }

    /// What the program was called with.
    #[inline(always)]
    pub fn context(&self) -> &XdpContext {
        &self.context
    }

    /// The address of `len` bytes at `offset`, if they are in the packet.
    #[inline(always)]
    fn at(&self, offset: usize, len: usize) -> Option<usize> {
        let mut address = self.start + offset;
        if !core::intrinsics::is_val_statically_known(offset) {
            // One register for the comparison and for what is read behind it: the verifier does not see
            // that two sums are the same address.
            address = opaque(address);
        }
        if address + len > self.end {
            None
        } else {
            Some(address)
        }
    }

    /// Helpers that move the packet make all addresses stale.
    #[inline(always)]
    fn refresh(&mut self, result: i64) -> Option<()> {
        let (start, end) = (self.context.data(), self.context.data_end());
        (self.start, self.end, self.len) = (start, opaque(end), end - start);
        if result == 0 { Some(()) } else { None }
    }
}

impl Frame for XdpFrame {
    #[inline(always)]
    fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    type Window<'a, const N: usize> = XdpWindow<'a, N>;

    #[inline(always)]
    fn window<const N: usize>(&self, offset: usize) -> Option<XdpWindow<'_, N>> {
        let address = self.at(offset, N)?;
        Some(XdpWindow {
            address,
            packet: PhantomData,
        })
    }

    #[inline(always)]
    fn put_u8(&mut self, offset: usize, value: u8) -> Option<()> {
        let address = self.at(offset, 1)?;
        // SAFETY: `at` compared the byte with the end of the packet.
        unsafe { (address as *mut u8).write(value) };
        Some(())
    }

    #[inline(always)]
    fn put_u16(&mut self, offset: usize, value: u16) -> Option<()> {
        let address = self.at(offset, 2)?;
        let value = u64::from(value.to_be());
        // SAFETY: `at` compared the two bytes with the end of the packet.
        unsafe {
            asm!("*(u16 *)({0} + 0) = {1}", in(reg) address, in(reg) value, options(nostack))
        };
        Some(())
    }

    #[inline(always)]
    fn put_u32(&mut self, offset: usize, value: u32) -> Option<()> {
        let address = self.at(offset, 4)?;
        let value = u64::from(value.to_be());
        // SAFETY: `at` compared the four bytes with the end of the packet.
        unsafe {
            asm!("*(u32 *)({0} + 0) = {1}", in(reg) address, in(reg) value, options(nostack))
        };
        Some(())
    }

    #[inline(always)]
    fn put_u64(&mut self, offset: usize, value: u64) -> Option<()> {
        let address = self.at(offset, 8)?;
        let value = value.to_be();
        // SAFETY: `at` compared the eight bytes with the end of the packet.
        unsafe {
            asm!("*(u64 *)({0} + 0) = {1}", in(reg) address, in(reg) value, options(nostack))
        };
        Some(())
    }

    #[inline(always)]
    fn blur(&self, offset: usize) -> usize {
        blur(offset as u64, self.len as u64) as usize & 0x7ff
    }

    #[inline(always)]
    fn truncate(&mut self, len: usize) -> Option<()> {
        let delta = len as i32 - self.len() as i32;
        // SAFETY: the context is that of this run.
        let result = unsafe { bpf_xdp_adjust_tail(self.context.as_ptr().cast(), delta) };
        self.refresh(result)
    }

    #[inline(always)]
    fn grow_head(&mut self, bytes: usize) -> Option<()> {
        // SAFETY: the context is that of this run.
        let result = unsafe { bpf_xdp_adjust_head(self.context.as_ptr().cast(), -(bytes as i32)) };
        self.refresh(result)
    }
}

/// Bytes of the packet that were compared with its end. The borrow keeps helpers from moving the packet.
pub struct XdpWindow<'a, const N: usize> {
    address: usize,
    packet: PhantomData<&'a XdpFrame>,
}

/// One load of a width from the window's packet memory, in network order.
///
/// By hand, because headers lie behind a 14-byte Ethernet header: of a misaligned address the compiler makes a
/// load for each byte, and when it is told that misaligned loads are allowed it makes them on the stack as
/// well, where the verifier forbids them (Linux 6.18: "misaligned stack access off 0+0+-12 size 8").
macro_rules! load {
    ($self:ident, $at:ident, $n:ident, $type:ty, $instruction:literal) => {{
        const { assert!($at + size_of::<$type>() <= $n) };
        let value: u64;
        // SAFETY: the window's bytes were compared with the end of the packet, and the field lies inside
        // of the window by the line above.
        unsafe {
            asm!(
                $instruction,
                out(reg) value,
                in(reg) $self.address,
                const $at,
                options(pure, readonly, nostack)
            );
        }
        <$type>::from_be(value as $type)
    }};
}

impl<const N: usize> Window<N> for XdpWindow<'_, N> {
    #[inline(always)]
    fn u8<const AT: usize>(&self) -> u8 {
        load!(self, AT, N, u8, "{0} = *(u8 *)({1} + {2})")
    }
    #[inline(always)]
    fn u16<const AT: usize>(&self) -> u16 {
        load!(self, AT, N, u16, "{0} = *(u16 *)({1} + {2})")
    }
    #[inline(always)]
    fn u32<const AT: usize>(&self) -> u32 {
        load!(self, AT, N, u32, "{0} = *(u32 *)({1} + {2})")
    }
    #[inline(always)]
    fn u64<const AT: usize>(&self) -> u64 {
        load!(self, AT, N, u64, "{0} = *(u64 *)({1} + {2})")
    }
}

/// The same value, after adding what the verifier does not know and taking it away again.
///
/// Without it Linux 6.18 looks at 489,000 instructions of `whole`, of a million that it allows: once for each
/// number of VLAN tags, kind of transport and state of a slot.
#[inline(always)]
pub fn blur(value: u64, noise: u64) -> u64 {
    let mut blurred = value;
    // SAFETY: two additions in registers.
    unsafe {
        asm!(
            "{0} += {1}",
            "{0} -= {1}",
            inout(reg) blurred,
            in(reg) noise,
            options(pure, nomem, nostack)
        );
    }
    blurred
}

/// Hides from the compiler where a value comes from.
///
/// The packet path compares lengths in headers with the frame's length. From that LLVM (22, rustc 1.95)
/// proves comparisons of addresses needless and leaves them out; the verifier (Linux 6.18) cannot follow the
/// proof: "invalid access to packet, off=530 size=4, R4(id=0,off=530,r=530)".
#[inline(always)]
fn opaque(value: usize) -> usize {
    let hidden;
    // A move, not an empty line: an instruction less would leave two line records at one place, which
    // the kernel refuses ("Invalid line_info").
    // SAFETY: copies one register to another.
    unsafe { asm!("{0} = {1}", out(reg) hidden, in(reg) value, options(pure, nomem, nostack)) };
    hidden
}
