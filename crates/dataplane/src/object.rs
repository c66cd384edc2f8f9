//! The embedded BPF object, and its maps once loaded.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use aya::maps::{Map, MapData, PerCpuArray, ProgramArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, Pod, include_bytes_aligned};

use director::limits::BUCKET_SLOTS;

use crate::error::Error;
use crate::map::Words;
use crate::test_run::{self, Size};

/// Built by `cargo xtask bpf`, committed, and checked against its sources by a test.
static BYTES: &[u8] = include_bytes_aligned!("../bpf/director.o");

/// The same programs, watched: see [`crate::Watch`].
static WATCHED_BYTES: &[u8] = include_bytes_aligned!("../bpf/trace.o");

/// Maps in the object that hold what is remembered: pinned once, used by every later set of programs.
pub(crate) const MAPS: [&str; 20] = [
    "SETTINGS",
    "VIPS",
    "BUCKETS",
    "TUPLES",
    "SERVICES",
    "PICKS",
    "SEGMENTS",
    "SLOTS",
    "POPULATIONS",
    "LINKS",
    "GAUGES",
    "STANDINGS",
    "LOCALITIES",
    "MARKS",
    "STATISTICS",
    "EGRESS",
    "FRAGMENTS",
    "ALLOWANCES",
    "VISIT",
    "VERDICTS",
];

/// The map in which the attached program finds those it goes on to. Each set of programs has its own, so that
/// no packet is handled by some programs of one set and some of another.
pub(crate) const STAGES_MAP: &str = "STAGES";

/// Programs that the attached one goes on to, by their place in that map.
const STAGES: [&str; 6] = [
    "director_v6",
    "whole",
    "begin_v4",
    "begin_v6",
    "port_unreachable",
    "time_exceeded",
];

/// What distinguishes a set of programs from the object as it is built.
#[derive(Clone, Copy, Debug, Default)]
pub struct Programs<'a> {
    /// Read-only globals of the object that get another value, by name.
    pub globals: &'a [(&'a str, u32)],
    /// Whether it keeps frames for traces.
    pub is_watched: bool,
}

/// The loaded object.
pub(crate) struct Object {
    ebpf: Ebpf,
    stages: Map,
}

/// Its maps.
pub(crate) struct Maps {
    by_name: HashMap<String, Map>,
}

/// Loads the object over the maps pinned in `directory`, pinning those that are not there yet.
pub(crate) fn load(
    directory: &Path,
    connections_max: u32,
    programs: &Programs<'_>,
) -> Result<(Object, Maps), Error> {
    let slots = connections_max.max(BUCKET_SLOTS as u32).next_power_of_two();
    let paths: Vec<_> = MAPS
        .iter()
        .map(|name| (*name, directory.join(name)))
        .collect();
    let mut loader = EbpfLoader::new();
    loader
        .map_max_entries("BUCKETS", slots / BUCKET_SLOTS as u32)
        .map_max_entries("TUPLES", slots);
    for (name, path) in &paths {
        loader.map_pin_path(name, path.as_path());
    }
    for (name, value) in programs.globals {
        loader.override_global(name, value, true);
    }
    let bytes = if programs.is_watched {
        loader.map_max_entries("TRACE_RECORDS", crate::trace::RECORDS_BYTES);
        WATCHED_BYTES
    } else {
        BYTES
    };
    let mut ebpf = loader.load(bytes)?;
    let stages = ebpf
        .take_map(STAGES_MAP)
        .ok_or_else(|| Error::Missing(format!("map {STAGES_MAP}")))?;
    let mut by_name = HashMap::new();
    for name in MAPS {
        let map = ebpf
            .take_map(name)
            .ok_or_else(|| Error::Missing(format!("map {name}")))?;
        by_name.insert(name.to_owned(), map);
    }
    Ok((Object { ebpf, stages }, Maps { by_name }))
}

/// Loads the object with maps of the least size and no pins: only its other program is wanted.
pub(crate) fn load_small() -> Result<Ebpf, Error> {
    let mut loader = EbpfLoader::new();
    for name in MAPS {
        loader.map_max_entries(name, 1);
    }
    Ok(loader.load(BYTES)?)
}

impl Object {
    /// The director program.
    pub(crate) fn program(&mut self) -> Result<&mut Xdp, Error> {
        self.named("director")
    }

    /// Takes a map that is not pinned.
    pub(crate) fn take_map(&mut self, name: &str) -> Result<Map, Error> {
        let map = self.ebpf.take_map(name);
        map.ok_or_else(|| Error::Missing(format!("map {name}")))
    }

    fn named(&mut self, name: &str) -> Result<&mut Xdp, Error> {
        let program = self.ebpf.program_mut(name);
        let program = program.ok_or_else(|| Error::Missing(format!("program {name}")))?;
        Ok(program.try_into()?)
    }

    /// Gives the programs to the kernel's verifier, and puts the later ones where the first finds them. No
    /// program that is attached already calls them: that one has a map of stages of its own.
    pub(crate) fn load_programs(&mut self) -> Result<(), Error> {
        for (place, name) in STAGES.into_iter().enumerate() {
            let program = self.named(name)?;
            program.load()?;
            let fd = program.fd()?.try_clone();
            let fd = fd.map_err(|source| Error::io("duplicating a program", source))?;
            let stages = ProgramArray::try_from(&mut self.stages);
            stages
                .and_then(|mut stages| stages.set(place as u32, &fd, 0))
                .map_err(|source| Error::map(STAGES_MAP, source))?;
        }
        Ok(self.program()?.load()?)
    }

    /// Pins the map of stages. The kernel empties such a map when nobody in user space holds it any more.
    pub(crate) fn pin_stages(&self, path: &Path) -> Result<(), Error> {
        self.stages.pin(path).map_err(|error| {
            Error::io(
                format!("pinning {}", path.display()),
                std::io::Error::other(error),
            )
        })
    }

    /// The sizes of the attached program and of the stages behind it.
    pub(crate) fn sizes(&mut self) -> Result<Vec<(&'static str, Size)>, Error> {
        let names = std::iter::once("director").chain(STAGES);
        names
            .map(|name| Ok((name, test_run::size(self.named(name)?)?)))
            .collect()
    }
}

impl Maps {
    /// A map's data.
    pub(crate) fn data(&self, name: &str) -> Result<&MapData, Error> {
        match self.by_name.get(name) {
            Some(Map::Array(data) | Map::HashMap(data) | Map::PerCpuArray(data)) => Ok(data),
            _ => Err(Error::Missing(format!("map {name}"))),
        }
    }

    /// A second handle of a map.
    pub(crate) fn duplicate(&self, name: &str) -> Result<MapData, Error> {
        MapData::from_fd(self.descriptor(name)?).map_err(|source| Error::map(name, source))
    }

    /// A second descriptor of a map.
    pub(crate) fn descriptor(&self, name: &str) -> Result<OwnedFd, Error> {
        let fd = self.data(name)?.fd();
        let fd = std::os::fd::AsFd::as_fd(fd).try_clone_to_owned();
        fd.map_err(|source| Error::io("duplicating a map", source))
    }

    /// An array map, mapped.
    pub(crate) fn words(&self, name: &str) -> Result<Words, Error> {
        let data = self.data(name)?;
        let info = data.info().map_err(|source| Error::map(name, source))?;
        Words::map(
            data.fd(),
            info.max_entries() as usize,
            info.value_size() as usize,
        )
    }

    /// A per-CPU array.
    pub(crate) fn per_cpu<T: Pod>(&self, name: &str) -> Result<PerCpuArray<MapData, T>, Error> {
        let map = Map::PerCpuArray(self.duplicate(name)?);
        PerCpuArray::try_from(map).map_err(|source| Error::map(name, source))
    }

    /// Memory of all maps, as the kernel accounts it.
    pub(crate) fn memory_bytes(&self) -> Result<u64, Error> {
        let mut sum = 0;
        for name in MAPS {
            let fd =
                std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(self.data(name)?.fd()));
            sum += crate::pins::memlock_bytes(fd)?;
        }
        Ok(sum)
    }
}
