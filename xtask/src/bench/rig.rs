//! A feeder, loaded and filled, in front of one program.

use anyhow::{Context as _, Result};
use aya::maps::{Array, ProgramArray};
use aya::programs::{TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader, TestRun};
use dataplane::Dataplane;

use super::frames::Fed;
use crate::{bpf, tools};

/// Bytes of the frame's head that the feeder puts back.
const HEAD_BYTES: usize = 72;
/// Bytes of the feeder's map value: head, count, mask, stride, offset, base.
const FEED_BYTES: usize = HEAD_BYTES + 8 + 16;

/// One loaded feeder with its frame.
pub struct Rig {
    ebpf: Ebpf,
    frame: Vec<u8>,
    /// Holds the tail-call target.
    _target: ProgramArray<aya::maps::MapData>,
}

impl Rig {
    /// Feeds `fed`, as `flows` flows (a power of two) in the order that `stride` makes.
    pub fn new(fed: Fed, flows: u32, stride: u32, dataplane: &mut Dataplane) -> Result<Self> {
        // Read, not embedded: `cargo xtask bpf` is what makes it.
        let object = tools::root().join(bpf::BENCH);
        let mut ebpf = EbpfLoader::new()
            .load_file(&object)
            .with_context(|| format!("loading {}", object.display()))?;
        for name in ["feeder", "floor"] {
            program(&mut ebpf, name)?.load()?;
        }
        let map = ebpf.take_map("FEED").context("the bench has no map FEED")?;
        let mut feed: Array<_, [u8; FEED_BYTES]> = Array::try_from(map)?;
        feed.set(0, feed_value(&fed, flows, stride), 0)?;
        let map = ebpf
            .take_map("TARGET")
            .context("the bench has no map TARGET")?;
        let mut target = ProgramArray::try_from(map)?;
        if fed.to_floor {
            let floor = program(&mut ebpf, "floor")?.fd()?.try_clone()?;
            target.set(0, &floor, 0)?;
        } else {
            target.set(0, &dataplane.program_fd()?, 0)?;
        }
        Ok(Self {
            ebpf,
            frame: fed.frame,
            _target: target,
        })
    }

    /// Feeds `count` frames; the action of the last.
    pub fn run(&mut self, count: u32) -> Result<u32> {
        let frame = self.frame.clone();
        let options = TestRunOptions {
            data_in: Some(&frame),
            repeat: count,
            ..TestRunOptions::new()
        };
        Ok(program(&mut self.ebpf, "feeder")?
            .test_run(options)?
            .return_value)
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the bench has no program {name}"))?;
    Ok(program.try_into()?)
}

fn feed_value(fed: &Fed, flows: u32, stride: u32) -> [u8; FEED_BYTES] {
    let mut value = [0; FEED_BYTES];
    let head = fed.frame.len().min(HEAD_BYTES);
    value[..head].copy_from_slice(&fed.frame[..head]);
    let offset = if flows > 1 { fed.flow_offset } else { 0 };
    let words = [flows - 1, stride, offset, fed.base];
    for (at, word) in words.into_iter().enumerate() {
        let start = HEAD_BYTES + 8 + at * 4;
        value[start..start + 4].copy_from_slice(&word.to_ne_bytes());
    }
    value
}
