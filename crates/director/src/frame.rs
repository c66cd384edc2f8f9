//! The frame as the packet path sees it.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A frame that is reached by offset only, from its Ethernet header on.
///
/// A `&[u8]` over packet memory does not pass the kernel's verifier: it wants each address compared
/// with the frame's end. An implementation makes that one comparison in `read` and `write`.
pub trait Frame {
    /// Bytes in the frame.
    fn len(&self) -> usize;

    /// Whether there is no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Index of the interface it arrived on.
    fn ingress(&self) -> u32;

    /// Reads a `T` at `offset`, or `None` when the frame ends before it does.
    fn read<T: FromBytes + Copy>(&self, offset: usize) -> Option<T>;

    /// Writes `value` at `offset`, or does nothing and returns `None` when the frame ends before.
    fn write<T: IntoBytes + Immutable>(&mut self, offset: usize, value: &T) -> Option<()>;

    /// Cuts the frame to `len` bytes. `None` when it is shorter or the driver refuses.
    fn truncate(&mut self, len: usize) -> Option<()>;

    /// Makes `bytes` of room before the first byte. `None` when there is no headroom.
    fn grow_head(&mut self, bytes: usize) -> Option<()>;
}
