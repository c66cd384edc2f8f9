//! The frame as the packet path sees it.

/// A frame that is reached by offset only, from its Ethernet header on.
///
/// A `&[u8]` over packet memory does not pass the kernel's verifier: it wants each address compared
/// with the frame's end. An implementation makes that comparison in `window` and the `put`s.
pub trait Frame {
    /// Bytes in the frame.
    fn len(&self) -> usize;

    /// Whether there is no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Index of the interface it arrived on.
    fn ingress(&self) -> u32;

    /// Bytes of the frame that were compared with its end.
    type Window<'a, const N: usize>: Window<N>
    where
        Self: 'a;

    /// The `N` bytes at `offset`, or `None` when the frame ends before they do.
    fn window<const N: usize>(&self, offset: usize) -> Option<Self::Window<'_, N>>;

    /// Writes one byte, or does nothing and returns `None` when the frame ends before.
    fn put_u8(&mut self, offset: usize, value: u8) -> Option<()>;
    /// Writes two bytes in network order, likewise.
    fn put_u16(&mut self, offset: usize, value: u16) -> Option<()>;
    /// Writes four bytes in network order, likewise.
    fn put_u32(&mut self, offset: usize, value: u32) -> Option<()>;
    /// Writes eight bytes in network order, likewise.
    fn put_u64(&mut self, offset: usize, value: u64) -> Option<()>;

    /// The same offset, below 2,048. A verifier forgets here which value it followed, and goes on once for
    /// all of them instead of once for each.
    fn blur(&self, offset: usize) -> usize {
        offset
    }

    /// Cuts the frame to `len` bytes. `None` when it is shorter or the driver refuses.
    fn truncate(&mut self, len: usize) -> Option<()>;

    /// Makes `bytes` of room before the first byte. `None` when there is no headroom.
    fn grow_head(&mut self, bytes: usize) -> Option<()>;
}

/// `N` bytes of a frame, read field by field, in network byte order. A field outside of the window does not
/// compile.
///
/// Not a copy of the header: of a copied structure LLVM makes loads that lie across fields, and those wait
/// for the stores that put the bytes there.
pub trait Window<const N: usize> {
    /// One byte.
    fn u8<const AT: usize>(&self) -> u8;
    /// Two bytes.
    fn u16<const AT: usize>(&self) -> u16;
    /// Four bytes.
    fn u32<const AT: usize>(&self) -> u32;
    /// Eight bytes.
    fn u64<const AT: usize>(&self) -> u64;
}
