//! Real servers' MACs: asked for, heard of, followed.
//!
//! ```text
//!             ┌──────────────── one thread, one poll ────────────────┐
//!   actor ───►│ wanted servers     questions ──► frame sockets ──► segment
//!             │                    answers  ◄── frame sockets ◄──   │
//!   actor ◄───│ links, interfaces  hints    ◄── Monitor (kernel)    │
//!             └──────────────────────────────────────────────────────┘
//! ```
//!
//! A link is reported when it changes, and an interface always before a link through it.
//! It writes nothing but questions, and confirmed MACs into the kernel's neighbour table, so
//! that the host itself follows too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use control::LinkReport;
use netlink::{FrameSocket, Mac, Monitor, Neighbour, NeighbourState, Netlink};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use tracing::warn;

use crate::limits;

mod hear;
mod path;
mod probe;
mod segment;

use path::{Map, Path};
use probe::Probe;
use segment::{Interface, ask};

/// What an ARP or neighbour discovery frame says: an address, its MAC, and whether it answers us.
pub(crate) fn read_claim(frame: &[u8], interface: u32, own: Mac) -> Option<(IpAddr, Mac, bool)> {
    let said = segment::read(frame, interface, own)?;
    Some((said.address, said.mac, said.answers))
}

/// Something the network told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// How real servers are reached has changed: each with how it is reached now.
    Links(Vec<(IpAddr, LinkReport)>),
    /// An interface is as described.
    Interface {
        /// Its number.
        index: u32,
        /// Its name.
        name: String,
        /// Its MAC.
        mac: Mac,
    },
    /// An interface is gone.
    InterfaceGone {
        /// Its number.
        index: u32,
    },
    /// An address of the host was removed.
    AddressGone {
        /// The address.
        address: IpAddr,
    },
}

/// What the resolver shall look after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Real servers, each with the MAC that is believed to begin with.
    pub(crate) servers: BTreeMap<IpAddr, Option<Mac>>,
    /// Virtual addresses: never asked from.
    pub(crate) vips: BTreeSet<IpAddr>,
    /// Names of interfaces whose changes matter.
    pub(crate) interfaces: BTreeSet<String>,
}

/// The way to a running resolver. It ends when this is dropped.
pub(crate) struct Handle {
    wanted: Inbox,
    wake: PipeWriter,
}

/// What is wanted now, and whether everything shall be told again.
type Inbox = Arc<Mutex<Option<(Wanted, bool)>>>;

impl Handle {
    /// Replaces what is wanted; with `again` everything is told again, news or not. Never waits.
    pub(crate) fn want(&mut self, wanted: Wanted, again: bool) {
        let mut inbox = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let again = again || inbox.as_ref().is_some_and(|(_, again)| *again);
        *inbox = Some((wanted, again));
        drop(inbox);
        // One byte for each change, read sixteen at a time: the pipe cannot fill up.
        if let Err(error) = self.wake.write_all(&[0]) {
            warn!(%error, "resolver cannot be woken");
        }
    }
}

/// Starts a resolver in the caller's network namespace; `tell` gets what changes, and ends the
/// resolver by returning false.
pub(crate) fn spawn(tell: impl FnMut(Notice) -> bool + Send + 'static) -> anyhow::Result<Handle> {
    let (reader, wake) = std::io::pipe()?;
    let wanted = Arc::new(Mutex::new(None));
    let mut resolver = Resolver {
        tell: Box::new(tell),
        inbox: Arc::clone(&wanted),
        reader,
        wanted: Wanted::default(),
        targets: BTreeMap::new(),
        interfaces: BTreeMap::new(),
        news: Vec::new(),
        refresh: Instant::now(),
    };
    std::thread::Builder::new()
        .name("resolver".to_owned())
        .spawn(move || resolver.run())?;
    Ok(Handle { wanted, wake })
}

struct Resolver {
    tell: Box<dyn FnMut(Notice) -> bool + Send>,
    inbox: Inbox,
    reader: PipeReader,
    wanted: Wanted,
    targets: BTreeMap<IpAddr, Target>,
    /// Interfaces that targets are behind.
    interfaces: BTreeMap<u32, Interface>,
    /// Links that have changed and are not told yet: many change at once when a switch dies.
    news: Vec<(IpAddr, LinkReport)>,
    /// When ways are looked up again.
    refresh: Instant,
}

struct Target {
    path: Path,
    probe: Probe,
    /// An administrator set its MAC: it is believed and not asked.
    permanent: bool,
    reported: Option<LinkReport>,
}

/// Why the loop ended.
enum End {
    /// Nobody wants anything any more.
    Done,
    /// The kernel refused something that must work.
    Failed(netlink::Error),
}

impl From<netlink::Error> for End {
    fn from(error: netlink::Error) -> Self {
        Self::Failed(error)
    }
}

impl Resolver {
    fn run(&mut self) {
        loop {
            match self.serve() {
                Ok(()) | Err(End::Done) => return,
                Err(End::Failed(error)) => {
                    warn!(%error, "resolver begins anew");
                    std::thread::sleep(Duration::from_secs(1));
                    self.forget_what_was_told();
                    self.refresh = Instant::now();
                }
            }
        }
    }

    fn serve(&mut self) -> Result<(), End> {
        let mut monitor = Monitor::open()?;
        loop {
            self.take_wanted();
            if Instant::now() >= self.refresh {
                self.look_up()?;
            }
            self.ask_those_due();
            self.tell_news()?;
            if !self.wait(&monitor)? {
                return Ok(());
            }
            while let Some(event) = monitor.next(Some(Duration::ZERO))? {
                self.heard_from_kernel(event)?;
            }
            self.heard_from_segments();
        }
    }

    fn take_wanted(&mut self) {
        let news = self
            .inbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((wanted, again)) = news {
            if again {
                self.forget_what_was_told();
            }
            self.targets
                .retain(|address, _| wanted.servers.contains_key(address));
            for (address, believed) in &wanted.servers {
                // It may have been unwanted for a moment that we did not see, and forgotten.
                if let (None, Some(target)) = (believed, self.targets.get_mut(address)) {
                    target.reported = None;
                }
            }
            self.wanted = wanted;
            self.refresh = Instant::now();
        }
    }

    /// Interfaces are opened anew by the next look-up, and told before the links through them.
    fn forget_what_was_told(&mut self) {
        self.interfaces.clear();
        for target in self.targets.values_mut() {
            target.reported = None;
        }
    }

    /// Looks up the way to every target, new ones included.
    fn look_up(&mut self) -> Result<(), End> {
        let now = Instant::now();
        self.refresh = now + limits::ROUTE_REFRESH;
        let map = Map::read(&self.wanted.vips)?;
        let neighbours = Netlink::open()?.neighbours(None)?.into_iter();
        let neighbours: HashMap<(u32, IpAddr), Neighbour> = neighbours
            .map(|entry| ((entry.index, entry.address), entry))
            .collect();
        let servers: Vec<_> = self.wanted.servers.clone().into_iter().collect();
        for (address, believed) in servers {
            let path = map.path(address);
            if let Path::OnLink { interface, .. } = path {
                self.open(interface, &map)?;
            }
            let interface = way(&path).unwrap_or_default();
            let known = neighbours.get(&(interface, address));
            self.set_path(address, path, believed, known, now);
        }
        self.close_unused();
        Ok(())
    }

    fn set_path(
        &mut self,
        address: IpAddr,
        path: Path,
        believed: Option<Mac>,
        entry: Option<&Neighbour>,
        now: Instant,
    ) {
        let entry = entry.filter(|entry| is_fresh(entry.state));
        let fixed = entry.and_then(permanent);
        // What was believed at first is old by the time a way changes.
        let believed = believed.filter(|_| !self.targets.contains_key(&address));
        let is_new = self
            .targets
            .get(&address)
            .is_none_or(|target| way(&target.path) != way(&path));
        if is_new {
            let old = self.targets.remove(&address);
            // A host that is now behind another interface (a bridge over the old one) has most
            // likely kept its MAC; nothing shall leave by the old way meanwhile.
            let moved = old.as_ref().and_then(|old| old.probe.known());
            let known = fixed
                .or(believed)
                .or(entry.and_then(|entry| entry.mac))
                .or(moved);
            let reported = old.and_then(|old| old.reported);
            let target = Target {
                path: path.clone(),
                probe: Probe::new(known, now),
                permanent: fixed.is_some(),
                reported,
            };
            self.targets.insert(address, target);
        } else if let Some(target) = self.targets.get_mut(&address) {
            target.path = path.clone();
            target.permanent = fixed.is_some();
        }
        match path {
            Path::Local => self.report(address, LinkReport::Local),
            Path::Unreachable(reason) => self.report(address, LinkReport::Unresolved { reason }),
            Path::OnLink { interface, .. } => {
                let Some(probe) = self.targets.get(&address).map(|target| &target.probe) else {
                    return;
                };
                if let Some(mac) = fixed.or(probe.known()) {
                    self.report(address, LinkReport::Via { mac, interface });
                } else if probe.is_lost() {
                    let lost = self.silence(address, interface);
                    self.report(address, lost);
                }
            }
        }
    }

    /// Makes ready to ask on an interface, and tells of it.
    fn open(&mut self, index: u32, map: &Map) -> Result<(), End> {
        let Some(link) = map.link(index) else {
            return Ok(());
        };
        if let Some(known) = self.interfaces.get_mut(&index) {
            if known.mac == link.mac && known.name == link.name {
                return Ok(());
            }
            known.mac = link.mac;
            known.name.clone_from(&link.name);
        } else {
            let interface = Interface {
                name: link.name.clone(),
                mac: link.mac,
                socket: FrameSocket::open_discovery(index)?,
            };
            self.interfaces.insert(index, interface);
        }
        self.tell(Notice::Interface {
            index,
            name: link.name.clone(),
            mac: link.mac,
        })
    }

    fn close_unused(&mut self) {
        let used: BTreeSet<u32> = self
            .targets
            .values()
            .filter_map(|target| way(&target.path))
            .collect();
        self.interfaces.retain(|index, _| used.contains(index));
    }

    fn ask_those_due(&mut self) {
        let now = Instant::now();
        let shared = Duration::from_secs(1) * self.targets.len() as u32 / limits::PROBES_PER_SECOND;
        let pace = limits::PROBE_INTERVAL.max(shared);
        let silent = self
            .targets
            .values()
            .filter(|target| target.probe.is_lost());
        let shared = Duration::from_secs(1) * silent.count() as u32 / limits::BROADCASTS_PER_SECOND;
        let lost_pace = limits::LOST_INTERVAL.max(shared);
        let mut lost = Vec::new();
        for (address, target) in &mut self.targets {
            let Path::OnLink { interface, source } = target.path else {
                continue;
            };
            if target.permanent || target.probe.due() > now {
                continue;
            }
            let round = target.probe.round(now, pace, lost_pace);
            let Some(out) = self.interfaces.get(&interface) else {
                continue;
            };
            if round.lost {
                lost.push((*address, interface));
            }
            ask(*address, out, source, round.question);
        }
        for (address, interface) in lost {
            let lost = self.silence(address, interface);
            self.report(address, lost);
        }
    }

    /// What is said of a real server that does not answer.
    fn silence(&self, address: IpAddr, interface: u32) -> LinkReport {
        let asked = if address.is_ipv4() {
            "ARP"
        } else {
            "neighbour solicitation"
        };
        let name = self.interfaces.get(&interface).map_or("?", |one| &one.name);
        LinkReport::Unresolved {
            reason: format!("no answer to {asked} on {name}"),
        }
    }

    /// Waits for whatever comes first; false when nobody wants us any more.
    fn wait(&mut self, monitor: &Monitor) -> Result<bool, End> {
        let asked = self
            .targets
            .values()
            .filter(|target| !target.permanent && matches!(target.path, Path::OnLink { .. }));
        let next = asked
            .map(|target| target.probe.due())
            .chain([self.refresh])
            .min();
        let left = next.map_or(limits::ROUTE_REFRESH, |next| {
            next.saturating_duration_since(Instant::now())
        });
        // Rounded up: a remainder below a millisecond is waited for, not spun on.
        let timeout =
            PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
        let sockets = self.interfaces.values().map(|one| one.socket.as_fd());
        let mut fds: Vec<PollFd<'_>> = [self.reader.as_fd(), monitor.as_fd()]
            .into_iter()
            .chain(sockets)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        if let Err(error) = nix::poll::poll(&mut fds, timeout)
            && error != nix::errno::Errno::EINTR
        {
            warn!(%error, "waiting for the network");
            std::thread::sleep(limits::TICK);
        }
        let woken = fds[0].any().unwrap_or(false);
        Ok(!woken || self.reader.read(&mut [0; 16]).is_ok_and(|count| count > 0))
    }

    /// Notes a link to be told, if it is news.
    fn report(&mut self, address: IpAddr, link: LinkReport) {
        let Some(target) = self.targets.get_mut(&address) else {
            return;
        };
        if target.reported.as_ref() != Some(&link) {
            target.reported = Some(link.clone());
            self.news.push((address, link));
        }
    }

    fn tell_news(&mut self) -> Result<(), End> {
        let news = std::mem::take(&mut self.news);
        if news.is_empty() || (self.tell)(Notice::Links(news)) {
            Ok(())
        } else {
            Err(End::Done)
        }
    }

    /// Tells something, after what happened before it.
    fn tell(&mut self, notice: Notice) -> Result<(), End> {
        self.tell_news()?;
        if (self.tell)(notice) {
            Ok(())
        } else {
            Err(End::Done)
        }
    }
}

/// Whether the kernel has confirmed an entry lately. A stale one may be of a server long gone: that
/// one is asked before it gets traffic.
fn is_fresh(state: NeighbourState) -> bool {
    matches!(
        state,
        NeighbourState::Reachable
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
    )
}

fn permanent(entry: &Neighbour) -> Option<Mac> {
    (entry.state == NeighbourState::Permanent)
        .then_some(entry.mac)
        .flatten()
}

/// The interface of a way, if it has one.
fn way(path: &Path) -> Option<u32> {
    match path {
        Path::OnLink { interface, .. } => Some(*interface),
        Path::Local | Path::Unreachable(_) => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
