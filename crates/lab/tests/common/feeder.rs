//! Frames at the speed of `BPF_PROG_TEST_RUN`, into the running instance's tables.
//!
//! The bench's feeder makes each frame another flow's and goes on to a second copy of the director's
//! program over the instance's pinned maps: what one program makes of a frame, the other sees.

use std::path::PathBuf;
use std::time::Duration;

use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{TestRunOptions, Xdp};
use aya::{Ebpf, TestRun};
use dataplane::{Dataplane, Opened};
use dirigo_lab::{Host, Lab};

/// The XDP action for "out where it came in": the frame goes to a real server.
const TRANSMIT: u32 = 3;

/// The bench's object.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../../xtask/bpf/bench.o");
/// Bytes of the frame's head that the feeder puts back.
const HEAD_BYTES: usize = 72;
/// Bytes of its map's value.
const FEED_BYTES: usize = HEAD_BYTES + 8 + 16;

/// The feeder with a frame.
pub struct Feeder {
    /// The instance's tables.
    pub plane: Dataplane,
    feeder: Ebpf,
    _target: ProgramArray<MapData>,
    frame: Vec<u8>,
    context: [u8; 24],
}

impl Feeder {
    /// Prepares `frame`, which has its source among the first `sources` addresses of 10.0.0.0/8: a power
    /// of two. `connections_max` is the instance's.
    pub fn new(lab: &Lab, connections_max: u32, frame: Vec<u8>, sources: u32) -> Self {
        let options = dataplane::Options {
            instance: lab.net.state().instance(),
            connections_max,
            pin_root: PathBuf::from("/sys/fs/bpf/dirigo"),
        };
        let (mut plane, opened) = Dataplane::open(&options).unwrap();
        assert!(matches!(opened, Opened::Adopted));
        let mut feeder = Ebpf::load(OBJECT).unwrap();
        program(&mut feeder).load().unwrap();
        let mut feed: Array<_, [u8; FEED_BYTES]> =
            Array::try_from(feeder.take_map("FEED").unwrap()).unwrap();
        feed.set(0, feed_value(&frame, sources), 0).unwrap();
        let mut target = ProgramArray::try_from(feeder.take_map("TARGET").unwrap()).unwrap();
        target.set(0, &plane.program_fd().unwrap(), 0).unwrap();
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
        let ingress = lab.net.link(Host::Director).unwrap().index;
        context[12..16].copy_from_slice(&ingress.to_ne_bytes());
        Self {
            plane,
            feeder,
            _target: target,
            frame,
            context,
        }
    }

    /// Sends `count` frames, each from another source until all had their turn; returns what one took.
    /// To be called in the director's namespace.
    pub fn burst(&mut self, count: u32) -> Duration {
        let last = program(&mut self.feeder).test_run(TestRunOptions {
            data_in: Some(&self.frame),
            ctx_in: Some(&self.context),
            repeat: count,
            ..TestRunOptions::new()
        });
        let last = last.unwrap();
        assert_eq!(last.return_value, TRANSMIT);
        last.duration
    }
}

fn program(feeder: &mut Ebpf) -> &mut Xdp {
    feeder.program_mut("feeder").unwrap().try_into().unwrap()
}

/// The feeder's `Feed`: head, count, mask, stride, offset of the source, base.
fn feed_value(frame: &[u8], sources: u32) -> [u8; FEED_BYTES] {
    let mut value = [0; FEED_BYTES];
    value[..HEAD_BYTES].copy_from_slice(&frame[..HEAD_BYTES]);
    // An odd stride visits all sources, in no order that looks like one.
    let words = [sources - 1, 0x9e_3779, 26, 10 << 24];
    let places = value[HEAD_BYTES + 8..].chunks_exact_mut(4);
    for (place, word) in places.zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    value
}
