//! User space's side of the data path: loads, attaches and pins the XDP program, writes its tables and
//! reads what it counted.
//!
//! ```text
//! /sys/fs/bpf/dirigo/<instance>/
//!   SETTINGS VIPS SERVICES …        the maps, by name
//!   STAGES-<number>                 the programs that the attached one goes on to
//!   link-<ifindex>-native|generic   one pinned link for each interface
//! ```
//!
//! What you may rely on: pins outlive this process, so packets keep flowing and connections stay while
//! the daemon restarts; [`Dataplane::open`] takes them over and puts its own programs in the place of those
//! before, whole sets only: no packet meets a part of one and a part of another. A service changes in one piece: new
//! rotation beside the old, visible last. Maps of another layout are refused, never misread.
//!
//! What it never does: decide which tables are right (that is `control`), or open a netlink socket.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

mod arena;
mod attach;
mod connections;
mod destinations;
mod error;
mod explain;
mod leave;
mod map;
mod marks;
mod object;
mod pins;
mod readings;
mod services;
mod settings;
mod snapshot;
mod sys;
mod trace;
mod unanswered;

pub mod test_run;

pub use attach::{Attached, Mode, PassProgram, attach_pass};
pub use connections::{Connection, Swept};
pub use destinations::{Destination, DestinationLink, Standing};
pub use error::Error;
pub use explain::{Decision, Explanation, Flow};
pub use leave::NOBODY;
pub use marks::MarkRule;
pub use object::Programs;
pub use readings::{Readings, StateCount};
pub use services::{Dynamic, Hash, Rules, Schedule, Segment, ServiceKey};
pub use settings::Behaviour;
pub use trace::{Filter, Guide, Known, Taken, Watch};
pub use unanswered::Unanswered;

use std::sync::atomic::Ordering;

use aya::maps::PerCpuArray;
use director::headers::Mac;
use director::tables::{Egress, Gauge, Statistics};
use director::verdict;
use zerocopy::IntoBytes;

use map::Words;

/// Where instances are pinned unless told otherwise.
pub const PIN_ROOT: &str = "/sys/fs/bpf/dirigo";

/// What to open.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the instance: letters, digits, `-` and `_`.
    pub instance: String,
    /// Connections to remember, rounded up to a power of two. Ignored when taking over.
    pub connections_max: u32,
    /// Folder of the pins, on a BPF file system.
    pub pin_root: PathBuf,
}

/// Whether a data plane of an earlier run was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Made anew: all tables are empty.
    Fresh,
    /// Taken over as it stood.
    Adopted,
}

/// What a destination was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets.
    pub packets: u64,
    /// Bytes, as IP packet length.
    pub bytes: u64,
}

/// The data plane of one instance.
pub struct Dataplane {
    object: object::Object,
    /// The programs that are put back when nobody watches any more.
    unwatched: Option<object::Object>,
    directory: PathBuf,
    services: services::Services,
    connections: connections::Table,
    settings: Words,
    vips: Words,
    links: Words,
    standings: Words,
    marks: marks::Marks,
    gauges: Words,
    egress: Words,
    fragments: Words,
    statistics: PerCpuArray<aya::maps::MapData, [u64; 3]>,
    bulk: destinations::BulkReader,
    verdicts: PerCpuArray<aya::maps::MapData, u64>,
    readings: Readings,
    memory_bytes: u64,
}

/// Loads the programs that keep frames for traces, beside whoever writes to the tables.
#[derive(Clone, Debug)]
pub struct WatchedLoader {
    directory: PathBuf,
    connections_max: u32,
}

/// Programs that keep frames for traces, which the kernel has checked.
pub struct Watched(object::Object);

impl WatchedLoader {
    /// Loads them.
    ///
    /// # Errors
    ///
    /// When the kernel refuses them.
    pub fn load(&self) -> Result<Watched, Error> {
        let programs = Programs {
            is_watched: true,
            ..Programs::default()
        };
        let (mut watched, _maps) = object::load(&self.directory, self.connections_max, &programs)?;
        watched.load_programs()?;
        Ok(Watched(watched))
    }
}

impl Dataplane {
    /// Loads the program, over pinned maps when the instance has some.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, with what it said; when pins are there that this version cannot
    /// read; when the instance's name is not one.
    pub fn open(options: &Options) -> Result<(Self, Opened), Error> {
        let directory = pins::directory(&options.pin_root, &options.instance)?;
        let is_adopted = pins::prepare(&directory)?;
        let programs = Programs::default();
        let (mut object, maps) = object::load(&directory, options.connections_max, &programs)?;
        enter(&mut object, &directory)?;
        let connections = connections::Table::new(&maps)?;
        let settings = maps.words("SETTINGS")?;
        if !is_adopted {
            settings::initialise(&settings, connections.buckets());
        }
        connections.recover_claims();
        let dataplane = Self {
            services: services::Services::new(&maps)?,
            fragments: maps.words("FRAGMENTS")?,
            vips: maps.words("VIPS")?,
            links: maps.words("LINKS")?,
            standings: maps.words("STANDINGS")?,
            marks: marks::Marks::new(&maps)?,
            gauges: maps.words("GAUGES")?,
            egress: maps.words("EGRESS")?,
            statistics: maps.per_cpu("STATISTICS")?,
            bulk: destinations::BulkReader::new(maps.descriptor("STATISTICS")?)?,
            verdicts: maps.per_cpu("VERDICTS")?,
            readings: Readings::new(&maps, connections.clone())?,
            memory_bytes: maps.memory_bytes()?,
            object,
            unwatched: None,
            directory,
            connections,
            settings,
        };
        Ok((
            dataplane,
            if is_adopted {
                Opened::Adopted
            } else {
                Opened::Fresh
            },
        ))
    }

    /// Puts another set of programs in the place of those that are attached, on every interface, while packets
    /// flow: none is lost, and all tables stay.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the programs, or a global has no such name: those before stay.
    pub fn replace_programs(&mut self, programs: &Programs<'_>) -> Result<(), Error> {
        let connections_max = u32::try_from(self.connections_max()).unwrap_or(u32::MAX);
        let (mut object, _maps) = object::load(&self.directory, connections_max, programs)?;
        enter(&mut object, &self.directory)?;
        self.object = object;
        self.unwatched = None;
        Ok(())
    }

    /// Attaches the program to an interface of the calling thread's network namespace; one that is pinned
    /// there has been taken over.
    ///
    /// # Errors
    ///
    /// When there is no such interface, when another program is on it, or when native mode is
    /// required and the driver cannot.
    pub fn attach(&mut self, interface: &str, require_native: bool) -> Result<Mode, Error> {
        attach::attach(&mut self.object, &self.directory, interface, require_native)
    }

    /// Detaches the program from an interface.
    ///
    /// # Errors
    ///
    /// When there is no such interface or its pin cannot be removed.
    pub fn detach(&mut self, interface: &str) -> Result<(), Error> {
        attach::detach(&self.directory, attach::index_of(interface)?)
    }

    /// Detaches the program from the interface of this number, which may be gone.
    ///
    /// # Errors
    ///
    /// When its pin cannot be removed.
    pub fn detach_index(&mut self, interface: u32) -> Result<(), Error> {
        attach::detach(&self.directory, interface)
    }

    /// Interfaces with the program attached.
    #[must_use]
    pub fn attached(&self) -> Vec<Attached> {
        attach::attached(&self.directory)
    }

    /// Detaches an instance everywhere and removes its pins; whether there were any.
    ///
    /// # Errors
    ///
    /// When a pin cannot be removed.
    pub fn release(pin_root: &Path, instance: &str) -> Result<bool, Error> {
        pins::remove(&pins::directory(pin_root, instance)?)
    }

    /// Writes an interface that frames arrive on or leave by, `slot` 0 to 15. Put the one that
    /// traffic arrives on first: slots are searched in order.
    pub fn write_interface(&mut self, slot: u8, interface: u32, mac: [u8; 6]) {
        let mac = Mac::from_bytes(mac).word();
        self.egress.write(
            usize::from(slot),
            &Egress {
                mac,
                interface,
                reserved: 0,
            },
        );
    }

    /// Writes which addresses are virtual. Additions show at once, removals too.
    pub fn write_vips(&mut self, vips: &[IpAddr]) {
        self.write_addresses(vips, 0);
    }

    /// Has every address looked at, for firewall marks of wide prefixes: each foreign packet then costs as much
    /// as one to a virtual address without a service.
    pub fn write_all_addresses(&mut self) {
        self.write_addresses(&[], u64::MAX);
    }

    fn write_addresses(&mut self, vips: &[IpAddr], background: u64) {
        let mut words = vec![background; self.vips.len()];
        for vip in vips {
            let (word, bit) = director::memory::vip_bit_of(*vip);
            words[word as usize] |= 1 << bit;
        }
        for (index, word) in words.iter().enumerate() {
            self.vips.word(index).store(*word, Ordering::Release);
        }
    }

    /// Writes the rules that give packets a firewall mark, instead of those before; all change at once.
    ///
    /// # Errors
    ///
    /// When there are too many.
    pub fn write_marks(&mut self, rules: &[MarkRule]) -> Result<(), Error> {
        self.marks.write(&self.settings, rules)
    }

    /// Makes a service that only schedules, by rotation: see [`Dataplane::publish`]. `first` is the position of
    /// the next pick. No segments: no eligible destination.
    ///
    /// # Errors
    ///
    /// When the tables are full.
    pub fn publish_service(
        &mut self,
        key: &ServiceKey,
        service: u32,
        segments: &[Segment],
        first: u64,
    ) -> Result<(), Error> {
        let segments = segments.to_vec();
        let schedule = Schedule::Rotation { segments, first };
        self.publish(key, service, &Rules::default(), &schedule)
    }

    /// Makes a service, or replaces what it picks, in one piece.
    ///
    /// # Errors
    ///
    /// When the tables are full.
    pub fn publish(
        &mut self,
        key: &ServiceKey,
        service: u32,
        rules: &Rules,
        schedule: &Schedule,
    ) -> Result<(), Error> {
        self.services.publish(key, service, rules, schedule)
    }

    /// Removes a service; its connections stay.
    ///
    /// # Errors
    ///
    /// When the kernel refuses. A service that is not there is removed already.
    pub fn withdraw_service(&mut self, key: &ServiceKey) -> Result<(), Error> {
        self.services.withdraw(key)
    }

    /// Position in the service's cycle that the next pick takes; `None` when it has no cycle.
    #[must_use]
    pub fn position(&self, service: u32) -> Option<u64> {
        self.services.position(service)
    }

    /// Picks that this service number has ever made; never goes back, whoever has the number.
    #[must_use]
    pub fn picks(&self, service: u32) -> u64 {
        self.services.picks(service)
    }

    /// Whether its last connection was refused because all were overloaded, which has renewed its cycle.
    #[must_use]
    pub fn is_renewed(&self, service: u32) -> bool {
        self.services.is_renewed(service)
    }

    /// Services that are published: key and number.
    #[must_use]
    pub fn services(&self) -> Vec<(ServiceKey, u32)> {
        self.services.published()
    }

    /// Writes how a destination is reached and what it may be given. Each word changes in one piece, the way
    /// there last.
    pub fn write_destination(&mut self, id: u32, destination: impl Into<Destination>) {
        let destination = destination.into();
        self.standings
            .standing(id as usize)
            .edit(&destination.standing);
        let word = self.links.word(id as usize);
        word.store(destination.link_word().0, Ordering::Release);
    }

    /// Whether a destination has reached its upper threshold and not yet come below its lower one.
    #[must_use]
    pub fn is_overloaded(&self, id: u32) -> bool {
        self.standings.standing(id as usize).is_overloaded()
    }

    /// Zeroes a destination's statistics, gauges and standing, before its id names another destination.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn reset_destination(&mut self, id: u32) -> Result<(), Error> {
        self.standings.standing(id as usize).clear();
        self.gauges.word(id as usize).store(0, Ordering::Release);
        let cpus =
            aya::util::nr_cpus().map_err(|(_, source)| Error::io("counting CPUs", source))?;
        let zero = aya::maps::PerCpuValues::try_from(vec![[0u64; 3]; cpus])
            .map_err(|source| Error::io("zeroing statistics", source))?;
        self.statistics
            .set(id, zero, 0)
            .map_err(|source| Error::map("STATISTICS", source))
    }

    /// Active and inactive connections of a destination.
    #[must_use]
    pub fn gauges(&self, id: u32) -> (u32, u32) {
        Gauge::split(self.gauges.load(id as usize))
    }

    /// What a destination was sent, over all CPUs.
    #[must_use]
    pub fn destination_stats(&self, id: u32) -> Stats {
        destinations::sum(&self.statistics, id)
    }

    /// What destinations were sent, over all CPUs, in the order of `ids`: with many, at a fraction of what one after
    /// another costs.
    #[must_use]
    pub fn stats_of(&self, ids: &[u32]) -> Vec<Stats> {
        let one_by_one = |_not_offered| ids.iter().map(|id| self.destination_stats(*id)).collect();
        self.bulk.read(ids).unwrap_or_else(one_by_one)
    }

    /// Every counter by name, over all CPUs.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let total = |number| {
            self.verdicts
                .get(&number, 0)
                .map_or(0, |values| values.iter().sum())
        };
        verdict::counter_names()
            .map(|(number, name)| (name, total(number)))
            .collect()
    }

    /// Counters and gauges for another thread: it shares the maps, not this object.
    #[must_use]
    pub fn readings(&self) -> Readings {
        self.readings.clone()
    }

    /// Shows every remembered connection, in no order.
    pub fn connections(&self, visit: &mut dyn FnMut(Connection)) {
        self.connections_handle().list(visit);
    }

    /// A view of the connections for another thread: it shares the maps, not this object.
    #[must_use]
    pub fn connections_handle(&self) -> ConnectionsHandle {
        ConnectionsHandle {
            table: self.connections.clone(),
            settings: self.settings.clone(),
        }
    }

    /// Forgets connections that have run out, in the next `buckets` buckets of the table.
    pub fn sweep(&self, buckets: usize) -> Swept {
        self.connections.sweep(&self.settings, buckets)
    }

    /// Writes the three timeouts that can be set, in seconds (`ipvsadm --set`).
    pub fn write_timeouts(&mut self, tcp_s: u32, tcpfin_s: u32, udp_s: u32) {
        settings::write_timeouts(&self.settings, tcp_s, tcpfin_s, udp_s);
    }

    /// The settings as the program reads them.
    #[must_use]
    pub fn settings(&self) -> Option<director::tables::Settings> {
        self.settings.read(0)
    }

    /// Writes IPVS's settings of connection behaviour.
    pub fn write_behaviour(&mut self, behaviour: &Behaviour) {
        settings::write_behaviour(&self.settings, behaviour);
    }

    /// Persistence templates of each destination that has some.
    #[must_use]
    pub fn templates(&self) -> std::collections::HashMap<u32, u32> {
        self.connections.templates()
    }

    /// Memory of all maps, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Connections that fit.
    #[must_use]
    pub fn connections_max(&self) -> u64 {
        self.connections.slots() as u64
    }

    /// A handle of the program, to tail-call it from another.
    ///
    /// # Errors
    ///
    /// When the kernel refuses another descriptor.
    pub fn program_fd(&mut self) -> Result<aya::programs::ProgramFd, Error> {
        let fd = self.object.program()?.fd()?.try_clone();
        fd.map_err(|source| Error::io("duplicating the program", source))
    }

    /// What loads the programs that keep frames for traces, for another thread: nearly all of a second is the
    /// kernel's verifier, for which the one writer should not wait.
    #[must_use]
    pub fn watched_loader(&self) -> WatchedLoader {
        WatchedLoader {
            directory: self.directory.clone(),
            connections_max: u32::try_from(self.connections_max()).unwrap_or(u32::MAX),
        }
    }

    /// Puts programs that keep frames for traces in the place of those that are attached, on every interface, while
    /// packets flow.
    ///
    /// # Errors
    ///
    /// When the kernel refuses them: those before stay.
    pub fn begin_to_watch(&mut self, watched: Watched) -> Result<Watch, Error> {
        let Watched(mut watched) = watched;
        let watch = Watch::new(&mut watched)?;
        place(&mut watched, &self.directory)?;
        let before = std::mem::replace(&mut self.object, watched);
        self.unwatched.get_or_insert(before);
        Ok(watch)
    }

    /// Puts the programs back that were attached before [`Dataplane::begin_to_watch`]; they are still loaded.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; it may be tried again.
    pub fn end_to_watch(&mut self) -> Result<(), Error> {
        if let Some(mut unwatched) = self.unwatched.take() {
            if let Err(error) = place(&mut unwatched, &self.directory) {
                self.unwatched = Some(unwatched);
                return Err(error);
            }
            self.object = unwatched;
        }
        Ok(())
    }

    /// What tells whose a traced frame was, for another thread.
    #[must_use]
    pub fn guide(&self) -> Guide {
        Guide {
            settings: self.settings.clone(),
            table: self.connections.clone(),
        }
    }

    /// How large the programs are: the attached one first, then those it goes on to.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub fn program_sizes(&mut self) -> Result<Vec<(&'static str, test_run::Size)>, Error> {
        self.object.sizes()
    }

    /// Runs the program once on `frame`, as if it had come in by interface `ingress` (1, the loopback,
    /// is always there). The kernel wants 14 bytes at least.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the run.
    pub fn test_run(&mut self, ingress: u32, frame: &[u8]) -> Result<test_run::Outcome, Error> {
        test_run::once(self.object.program()?, ingress, frame)
    }
}

/// Has the kernel check an object's programs, and puts them in the place of those that are attached.
///
/// ```text
/// new stages, pinned beside the old ─► each link ─► no CPU is in the old programs ─► old stages go
/// ```
///
/// Killed anywhere, each link has one whole set, whose stages are pinned.
fn enter(object: &mut object::Object, directory: &Path) -> Result<(), Error> {
    object.load_programs()?;
    place(object, directory)
}

/// Puts an object's programs, which are loaded, in the place of those that are attached.
fn place(object: &mut object::Object, directory: &Path) -> Result<(), Error> {
    let stages = pins::next_stages(directory)?;
    object.pin_stages(&stages)?;
    attach::take_over(object, directory)?;
    sys::wait_for_programs();
    pins::retire_stages(directory, &stages)
}

/// Reads connections from another thread.
#[derive(Clone)]
pub struct ConnectionsHandle {
    table: connections::Table,
    settings: Words,
}

impl ConnectionsHandle {
    /// Shows every remembered connection, in no order.
    pub fn list(&self, visit: &mut dyn FnMut(Connection)) {
        self.list_until(&mut |connection| {
            visit(connection);
            ControlFlow::Continue(())
        });
    }

    /// The same, until `visit` breaks.
    pub fn list_until(&self, visit: &mut dyn FnMut(Connection) -> ControlFlow<()>) {
        self.table.list(&self.settings, visit);
    }
}

const _: () = assert!(size_of::<Statistics>() == size_of::<[u64; 3]>());

/// Compile-time reminder that what we write has no padding.
fn bytes_of<T: IntoBytes + zerocopy::Immutable>(value: &T) -> &[u8] {
    value.as_bytes()
}
