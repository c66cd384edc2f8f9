//! What every test against the kernel needs: root, an instance of its own, and its pins.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use aya::maps::{Array, Map, MapData, PerCpuArray};
use dirigo_dataplane::{Dataplane, Opened, Options, PIN_ROOT};

/// Whether this process may load programs. Without root a test ends here, except where CI=true.
pub fn is_root() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    let is_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!is_ci, "CI=true, but this test needs root");
    eprintln!("skipped: needs root");
    false
}

/// An instance of the data plane that nobody else uses; its pins go with this value, also when the
/// test fails.
pub struct Instance {
    /// What to open.
    pub options: Options,
}

/// Name of every test's instance: each has a pin root of its own.
const NAME: &str = "instance";

impl Instance {
    /// A name for a test, and room for `connections_max`.
    pub fn new(test: &str, connections_max: u32) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Of its own, because the last instance of a root takes the root away with it.
        let root = format!("{PIN_ROOT}/test-{test}-{}-{number}", std::process::id());
        Self {
            options: Options {
                instance: NAME.to_owned(),
                connections_max,
                pin_root: root.into(),
            },
        }
    }

    /// Opens it.
    pub fn open(&self) -> (Dataplane, Opened) {
        Dataplane::open(&self.options).unwrap_or_else(|error| panic!("opening: {error}"))
    }

    /// Where its pins are.
    pub fn directory(&self) -> PathBuf {
        self.options.pin_root.join(&self.options.instance)
    }

    /// A pinned map.
    pub fn map(&self, name: &str) -> MapData {
        MapData::from_pin(self.directory().join(name))
            .unwrap_or_else(|error| panic!("map {name}: {error}"))
    }

    /// A pinned array of elements of `WORDS` 64-bit words.
    pub fn array<const WORDS: usize>(&self, name: &str) -> Array<MapData, [u64; WORDS]> {
        Array::try_from(Map::Array(self.map(name))).unwrap()
    }

    /// A pinned array of counters, one on each CPU.
    pub fn per_cpu(&self, name: &str) -> PerCpuArray<MapData, u64> {
        PerCpuArray::try_from(Map::PerCpuArray(self.map(name))).unwrap()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let released = Dataplane::release(&self.options.pin_root, &self.options.instance);
        if let Err(error) = released {
            eprintln!("pins are left in {}: {error}", self.directory().display());
        }
    }
}
