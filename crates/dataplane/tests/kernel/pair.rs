//! Both halves side by side: each frame and each change goes to the kernel and to its native twin.

use std::time::Duration;

use director::Verdict;
use director::time::TICK_SHIFT;
use nix::time::{ClockId, clock_gettime};

use crate::kernel::Kernel;
use crate::native::Native;
use crate::world::{Change, Received};

/// A kernel and its twin, with the same hash keys.
pub struct Pair {
    pub kernel: Kernel,
    pub native: Native,
}

/// Why a run says nothing or says that something is wrong.
#[derive(Debug)]
pub enum Trouble {
    /// The kernel's clock moved during a frame that depends on it, so that it is not known which time the
    /// program saw. The whole run is done again.
    ClockMoved,
    /// The halves differ.
    Differ(String),
}

impl Pair {
    pub fn new(test: &str, connections_max: u32) -> Self {
        Self::of(Kernel::new(test, connections_max), connections_max)
    }

    /// With keys that are not random, so that a run can be shown again.
    pub fn with_keys(test: &str, connections_max: u32, hash_keys: [u64; 8]) -> Self {
        let mut kernel = Kernel::new(test, connections_max);
        kernel.write_hash_keys(hash_keys);
        Self::of(kernel, connections_max)
    }

    fn of(kernel: Kernel, connections_max: u32) -> Self {
        let native = Native::new(connections_max as usize, kernel.settings().hash_keys);
        let buckets = native.tables.buckets.len() as u32;
        assert_eq!(kernel.settings().bucket_mask, buckets - 1);
        Self { kernel, native }
    }

    /// Empties both.
    pub fn clear(&mut self) {
        self.kernel.touch(&self.native.touched());
        self.kernel.clear();
        self.native.clear();
    }

    /// Empties both after a run that ended in [`Trouble::ClockMoved`].
    pub fn recover(&mut self) {
        self.kernel.wipe();
        self.clear();
    }

    pub fn apply(&mut self, change: &Change) {
        if matches!(change, Change::Age(_)) {
            self.kernel.touch(&self.native.touched());
        }
        self.kernel.apply(change);
        self.native.apply(change);
    }

    /// Lets both forget what has run out, at the same time.
    pub fn sweep(&mut self) -> Result<(), Trouble> {
        let before = coarse_ns();
        self.native.tables.now_ns.set(before);
        self.apply(&Change::Sweep);
        if tick(before) == tick(coarse_ns()) {
            Ok(())
        } else {
            Err(Trouble::ClockMoved)
        }
    }

    /// Gives a frame to both; what it became, if it became the same.
    pub fn receive(&mut self, frame: &[u8]) -> Result<(Verdict, Received), Trouble> {
        let before = coarse_ns();
        let kernel = self.kernel.receive(frame);
        let after = coarse_ns();
        self.native.tables.now_ns.set(before);
        let (verdict, native) = self.native.receive(frame);
        if before != after && (tick(before) != tick(after) || is_limited(verdict)) {
            return Err(Trouble::ClockMoved);
        }
        if kernel == native {
            return Ok((verdict, native));
        }
        let action = (native.action, kernel.action);
        Err(Trouble::Differ(format!(
            "{verdict:?}, natively and in the kernel\naction {action:?}\nframe\n{}\n{}",
            hex(&native.frame),
            hex(&kernel.frame)
        )))
    }

    /// Compares all that frames have left behind.
    pub fn compare(&mut self) -> Result<(), Trouble> {
        let before = coarse_ns();
        self.native.tables.now_ns.set(before);
        let native = self.native.snapshot();
        let kernel = self.kernel.snapshot(&self.native.touched());
        if native == kernel {
            return Ok(());
        }
        // A connection may have run out between the two looks.
        if tick(before) != tick(coarse_ns()) {
            return Err(Trouble::ClockMoved);
        }
        Err(Trouble::Differ(format!(
            "tables, natively and in the kernel\n{native:#?}\n{kernel:#?}"
        )))
    }
}

/// Whether the verdict may depend on the allowance of ICMP errors, which counts milliseconds.
pub fn is_limited(verdict: Verdict) -> bool {
    use director::DropReason::{NoDestination, TimeExceeded};
    match verdict {
        Verdict::Reply(_) => true,
        Verdict::Drop(reason) => matches!(reason, NoDestination | TimeExceeded),
        _ => false,
    }
}

fn tick(ns: u64) -> u64 {
    ns >> TICK_SHIFT
}

/// The clock of the data path.
pub fn coarse_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).unwrap();
    Duration::from(time).as_nanos() as u64
}

/// A frame to read: sixteen bytes a line, its headers and no more.
pub fn hex(frame: &[u8]) -> String {
    const SHOWN: usize = 160;
    let line = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|b| format!("{b:02x} "))
            .collect::<String>()
    };
    let lines: Vec<String> = frame[..frame.len().min(SHOWN)]
        .chunks(16)
        .map(line)
        .collect();
    format!("{} bytes\n{}", frame.len(), lines.join("\n"))
}
