//! Who else says that a virtual address is theirs.
//!
//! ```text
//! segment ──► frame sockets ──► a claim on one of our VIPs by a MAC that is not ours ──► an event
//!         ◄── now and then: who else has it?                   silent for a while ──► "gone"
//! ```
//!
//! A real server that lost its ARP suppression, a second director, a machine that was replaced and
//! is on again: each takes clients away without this host seeing a packet less. What it does is seen
//! in two ways: announcements are broadcast, and an answer comes to who asks. So this thread listens
//! all the time and asks once in a while, as RFC 5227 asks, which teaches nobody anything.
//!
//! It decides nothing and changes nothing: an event, told once when it begins
//! and once when it has ended, and a counter of `dirigo status`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use api::{EventKind, Occurrence};
use netlink::arp::Arp;
use netlink::ndp::Ndp;
use netlink::{FrameSocket, Link, Mac, Netlink, mac_text};
use tracing::debug;

use crate::resolver::read_claim;
use crate::{events, limits};

/// Frames so far that claimed one of our addresses for a MAC that is not ours.
static CLAIMS: AtomicU64 = AtomicU64::new(0);

/// Claims that go on now, by virtual address and whose it is said to be.
static GOING_ON: Mutex<BTreeMap<(IpAddr, Mac), Claim>> = Mutex::new(BTreeMap::new());

/// How many claims of other hosts go on now.
pub(crate) fn going_on() -> u64 {
    claims().len() as u64
}

/// Those of a virtual address.
pub(crate) fn of(vip: IpAddr) -> Vec<api::Claim> {
    let claims = claims();
    let all = claims.iter().filter(|((claimed, _), _)| *claimed == vip);
    all.map(|((_, mac), claim)| api::Claim {
        mac: mac_text(mac),
        server: claim.server,
        interface: claim.interface.clone(),
        for_s: claim.begun.elapsed().as_secs(),
        frames: claim.frames,
    })
    .collect()
}

/// What a panic left is whole: each claim is one entry.
fn claims() -> MutexGuard<'static, BTreeMap<(IpAddr, Mac), Claim>> {
    GOING_ON.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often that was heard since the daemon started.
pub(crate) fn count() -> u64 {
    CLAIMS.load(Ordering::Relaxed)
}

/// Names of the interfaces that are listened on.
static INTERFACES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Listens on the interfaces that are [named](listen_on) as long as the process lives.
pub(crate) fn spawn() -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("claims".to_owned());
    thread.spawn(|| Listener::new().run()).map(drop)
}

/// Has these interfaces listened on from now on.
pub(crate) fn listen_on(interfaces: Vec<String>) {
    *INTERFACES.lock().unwrap_or_else(PoisonError::into_inner) = interfaces;
}

/// A claim that is going on.
#[derive(Clone, Debug)]
struct Claim {
    begun: Instant,
    last: Instant,
    interface: String,
    /// Who has the MAC.
    server: Option<IpAddr>,
    frames: u64,
}

struct Listener {
    names: Vec<String>,
    segments: BTreeMap<u32, Segment>,
    own_macs: BTreeSet<Mac>,
}

/// An interface that serves.
struct Segment {
    name: String,
    mac: Mac,
    /// The addresses that stand alone on it: virtual ones.
    vips: BTreeSet<IpAddr>,
    /// An address of its own, to be answered at in IPv6.
    own: Option<std::net::Ipv6Addr>,
    socket: FrameSocket,
}

impl Listener {
    fn new() -> Self {
        Self {
            names: Vec::new(),
            segments: BTreeMap::new(),
            own_macs: BTreeSet::new(),
        }
    }

    fn run(mut self) {
        let mut refresh = Instant::now();
        let mut ask = Instant::now() + limits::CLAIM_QUESTION;
        loop {
            let now = Instant::now();
            if now >= refresh {
                if let Err(error) = self.refresh() {
                    debug!(%error, "looking at interfaces");
                }
                forget(now);
                refresh = now + limits::CLAIM_REFRESH;
            }
            if now >= ask {
                self.ask();
                ask = now + limits::CLAIM_QUESTION;
            }
            self.listen();
        }
    }

    /// Addresses, MACs and interfaces as they are now.
    fn refresh(&mut self) -> Result<(), netlink::Error> {
        let names = INTERFACES.lock().unwrap_or_else(PoisonError::into_inner);
        self.names.clone_from(&names);
        drop(names);
        let netlink = Netlink::open()?;
        let links = netlink.links()?;
        let addresses = netlink.addresses(None)?;
        self.own_macs = links.iter().map(|link| link.mac).collect();
        let serves = |link: &&Link| self.names.contains(&link.name);
        let serving: Vec<&Link> = links.iter().filter(serves).collect();
        self.segments
            .retain(|index, _| serving.iter().any(|link| link.index == *index));
        for link in serving {
            let held = addresses.iter().filter(|held| held.index == link.index);
            let is_vip =
                |held: &&netlink::Address| held.prefix == netlink::host_prefix(&held.address);
            let vips = held.clone().filter(is_vip).map(|held| held.address);
            let own = held.filter(|held| !is_vip(held) && !held.tentative);
            let mut own = own.filter_map(|held| match held.address {
                IpAddr::V6(six) => Some(six),
                IpAddr::V4(_) => None,
            });
            let socket = match self.segments.remove(&link.index) {
                Some(segment) => segment.socket,
                None => FrameSocket::open_discovery(link.index)?,
            };
            let segment = Segment {
                name: link.name.clone(),
                mac: link.mac,
                vips: vips.take(limits::CLAIM_ADDRESSES).collect(),
                own: own.next(),
                socket,
            };
            self.segments.insert(link.index, segment);
        }
        Ok(())
    }

    fn ask(&self) {
        for segment in self.segments.values() {
            for vip in &segment.vips {
                let frame = match (vip, segment.own) {
                    (IpAddr::V4(vip), _) => {
                        Arp::request(segment.mac, Ipv4Addr::UNSPECIFIED, *vip).emit()
                    }
                    (IpAddr::V6(vip), Some(own)) => {
                        Ndp::solicitation(segment.mac, own, *vip).emit()
                    }
                    (IpAddr::V6(_), None) => continue,
                };
                if let Err(error) = segment.socket.send(&frame) {
                    debug!(%error, interface = segment.name, "asking who else has an address");
                }
            }
        }
    }

    /// Hears for a moment on each interface.
    fn listen(&mut self) {
        if self.segments.is_empty() {
            std::thread::sleep(limits::CLAIM_WAIT);
            return;
        }
        let wait = limits::CLAIM_WAIT / self.segments.len() as u32;
        let mut heard = Vec::new();
        for (index, segment) in &mut self.segments {
            let mut left = wait;
            for _ in 0..limits::CLAIM_FRAMES {
                match segment.socket.recv(Some(left)) {
                    Ok(Some(frame)) if frame.outgoing => {}
                    Ok(Some(frame)) => {
                        let said = read_claim(&frame.bytes, *index, segment.mac);
                        let said = said.filter(|(address, ..)| segment.vips.contains(address));
                        heard.extend(said.map(|said| (segment.name.clone(), said)));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        // An interface that is down says so at once; it is looked at again later.
                        debug!(%error, interface = segment.name, "listening for claims");
                        std::thread::sleep(left);
                        break;
                    }
                }
                left = Duration::ZERO;
            }
        }
        for (interface, (address, mac, answers)) in heard {
            if !self.own_macs.contains(&mac) {
                claimed(&interface, address, mac, answers);
            }
        }
    }
}

fn claimed(interface: &str, vip: IpAddr, mac: Mac, answers: bool) {
    CLAIMS.fetch_add(1, Ordering::Relaxed);
    let now = Instant::now();
    {
        let mut claims = claims();
        if let Some(claim) = claims.get_mut(&(vip, mac)) {
            claim.last = now;
            claim.frames += 1;
            return;
        }
        if claims.len() >= limits::CLAIMS_MAX {
            return;
        }
    }
    // The kernel is asked without the lock; nobody else adds.
    let server = host_at(mac);
    let claim = Claim {
        begun: now,
        last: now,
        interface: interface.to_owned(),
        server,
        frames: 1,
    };
    claims().insert((vip, mac), claim);
    let how = if answers { "answers for" } else { "announces" };
    let mut what = Occurrence::of(EventKind::VipClaimed).vip(vip);
    what.server = server;
    what = what.mac(mac_text(&mac)).interface(interface);
    events::emit(what.because(format!("it {how} it")));
}

fn forget(now: Instant) {
    claims().retain(|(vip, mac), claim| {
        let goes_on = now.duration_since(claim.last) < limits::CLAIM_ENDED;
        if !goes_on {
            let what = Occurrence::of(EventKind::VipClaimEnded).vip(*vip);
            let what = what.mac(mac_text(mac));
            events::emit(what.because(format!("after {} frames", claim.frames)));
        }
        goes_on
    });
}

/// An address by which the kernel knows the host at a MAC.
fn host_at(mac: Mac) -> Option<IpAddr> {
    let neighbours = Netlink::open().and_then(|netlink| netlink.neighbours(None));
    let mut known = neighbours
        .ok()?
        .into_iter()
        .filter(|one| one.mac == Some(mac));
    known.next().map(|one| one.address)
}
