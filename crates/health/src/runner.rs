//! The thread that checks: it asks when probes are due, and tells what changes.
//!
//! ```text
//! Handle ──want, links──►  thread `health` ──tell──► News
//!                             │      ▲
//!                             └ attempts, at most 1,024 at a time
//! ```
//!
//! What you may rely on: what is told is told in order, each change once; an attempt that hangs
//! holds nobody else up; dropping the handle ends the thread, its sockets and its scripts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlink::Mac;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinSet, LocalSet};

use crate::attempt::{Route, Target, attempt};
use crate::check::{Check, Kind, To};
use crate::limits;
use crate::path::{TruePath, Way};
use crate::probe::Standing;
use crate::reason::{Outcome, Reason};
use crate::state::{News, ProbeKey, State, Wanted};
use crate::tally::Tally;

/// How a real server is reached, as the network shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Not now; why, for people.
    Unresolved(String),
    /// It is this host.
    Local,
    /// By this MAC.
    Via {
        /// The real server's MAC.
        mac: Mac,
        /// Number of the interface towards it.
        interface: u32,
    },
}

enum Order {
    Want(Box<Wanted>),
    Links(BTreeMap<IpAddr, Link>),
    Hurry(Vec<ProbeKey>),
}

/// The way to a running thread. It ends when this is dropped.
#[derive(Debug)]
pub struct Handle {
    orders: UnboundedSender<Order>,
    tally: Tally,
}

impl Handle {
    /// Replaces what is wanted. Never waits. False if the thread has ended.
    pub fn want(&self, wanted: Wanted) -> bool {
        self.orders.send(Order::Want(Box::new(wanted))).is_ok()
    }

    /// Brings probes forward: somebody suspects their real servers. Never waits. False if the thread has ended.
    pub fn hurry(&self, probes: Vec<ProbeKey>) -> bool {
        self.orders.send(Order::Hurry(probes)).is_ok()
    }

    /// What the checks did, counted.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally.clone()
    }

    /// Replaces how real servers are reached. Never waits. False if the thread has ended.
    pub fn links(&self, links: BTreeMap<IpAddr, Link>) -> bool {
        self.orders.send(Order::Links(links)).is_ok()
    }
}

/// Starts the thread in the caller's network namespace. `tell` gets what changes, and ends the
/// thread by returning false.
pub fn spawn(tell: impl FnMut(Vec<News>) -> bool + Send + 'static) -> io::Result<Handle> {
    let (orders, inbox) = unbounded_channel();
    let tally = Tally::default();
    let counts = tally.clone();
    let thread = std::thread::Builder::new().name("health".to_owned());
    thread.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => {
                let runner = Runner::new(Box::new(tell), counts);
                LocalSet::new().block_on(&runtime, runner.run(inbox));
            }
            Err(error) => tracing::error!(%error, "health checks cannot run"),
        }
    })?;
    Ok(Handle { orders, tally })
}

/// What an attempt brings back.
enum Found {
    Outcome(ProbeKey, Outcome, Duration),
    /// The same check passes at the real server's own address.
    OnlyOwnAddress(ProbeKey, Reason),
    Nothing,
}

struct Runner {
    tell: Box<dyn FnMut(Vec<News>) -> bool + Send>,
    state: State,
    checks: BTreeMap<Arc<str>, Check>,
    vips: BTreeSet<IpAddr>,
    links: BTreeMap<IpAddr, Link>,
    ways: HashMap<IpAddr, Way>,
    /// Opened with the first configuration that needs it.
    path: Option<Arc<TruePath>>,
    attempts: JoinSet<Found>,
    dice: RandomState,
    throws: u64,
    tally: Tally,
}

impl Runner {
    fn new(tell: Box<dyn FnMut(Vec<News>) -> bool + Send>, tally: Tally) -> Self {
        Self {
            tell,
            state: State::default(),
            checks: BTreeMap::new(),
            vips: BTreeSet::new(),
            links: BTreeMap::new(),
            ways: HashMap::new(),
            path: None,
            attempts: JoinSet::new(),
            dice: RandomState::new(),
            throws: 0,
            tally,
        }
    }

    async fn run(mut self, mut inbox: UnboundedReceiver<Order>) {
        loop {
            self.start_those_due();
            let now = Instant::now();
            let room = self.attempts.len() < limits::ATTEMPTS;
            let next = self.state.next(now).filter(|_| room);
            let next = next.unwrap_or(now + limits::INTERVAL_MAX);
            let news = tokio::select! {
                order = inbox.recv() => match order {
                    Some(order) => self.obey(order),
                    None => break,
                },
                Some(found) = self.attempts.join_next() => match found {
                    Ok(found) => self.take(found),
                    Err(error) => {
                        tracing::error!(%error, "an attempt to check broke off");
                        Vec::new()
                    }
                },
                () = tokio::time::sleep_until(next.into()) => self.state.tick(Instant::now()),
            };
            if !self.say(news) {
                return;
            }
        }
        let last = self.state.ended();
        self.say(last);
    }

    fn say(&mut self, news: Vec<News>) -> bool {
        if news.is_empty() {
            return true;
        }
        self.tally.news(&news);
        (self.tell)(news)
    }

    fn obey(&mut self, order: Order) -> Vec<News> {
        match order {
            Order::Want(wanted) => {
                let vips = wanted.services.keys().map(|key| key.address.ip()).collect();
                if self.vips != vips {
                    self.vips = vips;
                    self.ways.clear();
                }
                self.checks.clone_from(&wanted.checks);
                // At once, while the process may still do it: it may let go of privileges later.
                if wanted.checks.values().any(|check| check.to == To::Vip)
                    && let Err(reason) = self.path()
                {
                    tracing::error!(%reason, "no checks on the true path");
                }
                let (dice, throws) = (&self.dice, &mut self.throws);
                let throw = || {
                    *throws += 1;
                    dice.hash_one(*throws)
                };
                let news = self.state.configure(&wanted, Instant::now(), throw);
                self.tally.keep(|key| self.state.standing(key).is_some());
                news
            }
            Order::Hurry(probes) => {
                self.state.hurry(&probes, Instant::now());
                Vec::new()
            }
            Order::Links(links) => {
                let known = &self.links;
                self.ways
                    .retain(|server, _| known.get(server) == links.get(server));
                self.links = links;
                Vec::new()
            }
        }
    }

    fn throw(&mut self) -> u64 {
        self.throws += 1;
        self.dice.hash_one(self.throws)
    }

    fn start_those_due(&mut self) {
        while self.attempts.len() < limits::ATTEMPTS
            && let Some((key, check)) = self.state.start(Instant::now())
        {
            // Nobody has said yet where it is: no fault of the real server's.
            if check.to == To::Vip && !self.links.contains_key(&key.server) {
                self.state
                    .postpone(&key, Instant::now() + limits::UNHEARD_WAIT);
                continue;
            }
            let target = self.target(&key, &check);
            self.attempts.spawn_local(async move {
                let begun = Instant::now();
                let outcome = match target {
                    Ok(target) => attempt(&check, &target).await,
                    Err(reason) => Outcome::Failed(reason),
                };
                Found::Outcome(key, outcome, begun.elapsed())
            });
        }
    }

    fn take(&mut self, found: Found) -> Vec<News> {
        let now = Instant::now();
        match found {
            Found::Outcome(key, outcome, took) => {
                // Addresses of this host may have changed since the way was found.
                if let Outcome::Failed(Reason::Local(_)) = outcome {
                    self.ways.remove(&key.server);
                }
                let dice = self.throw();
                let news = self.state.finished(&key, &outcome, now, dice);
                if let Some(standing) = self.state.standing(&key) {
                    self.tally.attempt(&key, &outcome, took, standing);
                }
                self.ask_at_own_address(&news);
                news
            }
            Found::OnlyOwnAddress(key, reason) => self.state.explain(&key, reason, now),
            Found::Nothing => Vec::new(),
        }
    }

    /// A check to the virtual address has gone down: is it the real server, or the address?
    fn ask_at_own_address(&mut self, news: &[News]) {
        for one in news {
            let News::Probe { key, change } = one else {
                continue;
            };
            let fresh = change.standing == Standing::Down && change.was != Standing::Down;
            let (Some(reason), Some(check)) = (&change.reason, self.checks.get(&key.check)) else {
                continue;
            };
            if fresh && check.to == To::Vip && is_unclear(reason, &check.kind) {
                self.explain(key.clone(), check.clone(), reason.clone());
            }
        }
    }

    fn explain(&mut self, key: ProbeKey, check: Check, reason: Reason) {
        let mut to = key.to;
        to.set_ip(key.server);
        let target = Target {
            server: key.server,
            to,
            route: Route::Host,
        };
        self.attempts.spawn_local(async move {
            if !attempt(&check, &target).await.is_pass() {
                return Found::Nothing;
            }
            let reason = Reason::OnlyOwnAddress {
                reason: Box::new(reason),
                own: key.server,
                vip: key.to.ip(),
            };
            Found::OnlyOwnAddress(key, reason)
        });
    }

    fn target(&mut self, key: &ProbeKey, check: &Check) -> Result<Target, Reason> {
        let route = match check.to {
            _ if matches!(check.kind, Kind::Script(_)) => Route::Host,
            To::Own => Route::Host,
            To::Vip => self.route(key.server)?,
        };
        Ok(Target {
            server: key.server,
            to: key.to,
            route,
        })
    }

    /// The true path to a real server.
    fn route(&mut self, server: IpAddr) -> Result<Route, Reason> {
        let (mac, interface) = match self.links.get(&server) {
            None => return Err(Reason::NoWay("no answer yet".to_owned())),
            Some(Link::Unresolved(reason)) => return Err(Reason::NoWay(reason.clone())),
            Some(Link::Local) => return Ok(Route::Host),
            Some(Link::Via { mac, interface }) => (*mac, *interface),
        };
        let way = match self.ways.get(&server) {
            Some(way) => way.clone(),
            None => {
                let way = Way::find(server, mac, interface, &self.vips)
                    .map_err(|error| Reason::NoWay(error.to_string()))?;
                self.ways.insert(server, way.clone());
                way
            }
        };
        Ok(Route::Through(self.path()?, way))
    }

    fn path(&mut self) -> Result<Arc<TruePath>, Reason> {
        if let Some(path) = &self.path {
            return Ok(Arc::clone(path));
        }
        let path = TruePath::open()
            .map_err(|error| Reason::Local(format!("making the checks' namespace: {error}")))?;
        Ok(Arc::clone(self.path.insert(Arc::new(path))))
    }
}

/// Whether the virtual address may be at fault.
fn is_unclear(reason: &Reason, kind: &Kind) -> bool {
    let speaks = !matches!(kind, Kind::Script(_));
    speaks
        && matches!(
            reason,
            Reason::Timeout { .. }
                | Reason::Refused { .. }
                | Reason::Closed { .. }
                | Reason::System { .. }
        )
}
