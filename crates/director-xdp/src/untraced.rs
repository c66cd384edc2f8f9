//! Where [`crate::programs`] would be watched: nowhere. Nothing is left of these calls.

use aya_ebpf::programs::XdpContext;
use director::Verdict;

/// A frame has come.
#[inline(always)]
pub fn enter(_context: &XdpContext) {}

/// A counter has moved.
#[inline(always)]
pub fn count(_counter: u32) {}

/// A frame was counted for a destination.
#[inline(always)]
pub fn account(_destination: u32) {}

/// A frame was decided.
#[inline(always)]
pub fn leave(_context: &XdpContext, _verdict: Verdict) {}
