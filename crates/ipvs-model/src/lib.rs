//! IPVS's schedulers as the text describes them: lists that are walked, tables that are filled, nothing
//! precomputed. Tests compare what Dirigo does with it; no product crate uses it.
//!
//! ```text
//! add, edit, delete, set_scheduler ─► Service ◄─ bind, activate, deactivate, unbind (connections)
//!                                        │
//!                         pick(Question) └─► the destination IPVS would choose
//! ```
//!
//! You may rely on it: written from the rules alone (`ipvs.md` 2), without a look at Dirigo's own
//! schedulers; the recordings of a real kernel are reproduced by it (`control/tests/recordings.rs`).
//!
//! It never chooses by itself: time and random numbers come with the question. It knows one thing that
//! IPVS does not: a destination that cannot be reached is passed over in place, as an overloaded one is.

use std::net::{IpAddr, SocketAddr};

mod hashing;
mod least;
mod locality;
mod turns;

pub use hashing::{bucket_of, dh_table, fold, maglev_hash, mh_table, sh_table};

use locality::Localities;
use turns::{Rr, Wrr};

/// A destination. `name` is whatever the test calls it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Unique in the service.
    pub name: u32,
    /// Real address and port.
    pub address: SocketAddr,
    /// Its weight.
    pub weight: u32,
    /// The last weight that was not set to 0 by an edit; `mh` goes by it.
    pub last_weight: u32,
    /// `-x`; 0 is none.
    pub upper: u32,
    /// `-y`; 0 is three quarters of the upper.
    pub lower: u32,
    /// IPVS's flag OVERLOAD.
    pub overloaded: bool,
    /// Whether frames can reach it.
    pub usable: bool,
    /// `ActiveConn`
    pub active: u32,
    /// `InActConn`
    pub inactive: u32,
}

/// Weight and thresholds, as `-w -x -y` give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// `-w`
    pub weight: u32,
    /// `-x`
    pub upper: u32,
    /// `-y`
    pub lower: u32,
}

/// A new connection, as far as a scheduler may see it.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Client's address and port.
    pub client: SocketAddr,
    /// Virtual address.
    pub virtual_address: IpAddr,
    /// Any clock that goes forward, in seconds.
    pub now_s: u64,
    /// Two random numbers of any size, for `twos`.
    pub draws: [u64; 2],
}

/// A virtual service.
#[derive(Clone, Debug)]
pub struct Service {
    scheduler: Scheduler,
    name: String,
    fallback: bool,
    port: bool,
    list: Vec<Destination>,
    trash: Vec<Destination>,
}

/// What a scheduler remembers.
#[derive(Clone, Debug)]
enum Scheduler {
    Rr(Rr),
    Wrr(Wrr),
    Table(Vec<u32>),
    Locality(Localities),
    Nothing,
}

impl Service {
    /// A service with one of IPVS's schedulers, and its flags 1 (fallback) and 2 (port).
    #[must_use]
    pub fn new(scheduler: &str, fallback: bool, port: bool) -> Self {
        let mut service = Self {
            scheduler: Scheduler::Nothing,
            name: String::new(),
            fallback,
            port,
            list: Vec::new(),
            trash: Vec::new(),
        };
        service.set_scheduler(scheduler, fallback, port);
        service
    }

    /// `-E`: another scheduler starts afresh on the list, the same one goes on.
    pub fn set_scheduler(&mut self, scheduler: &str, fallback: bool, port: bool) {
        (self.fallback, self.port) = (fallback, port);
        if self.name == scheduler {
            return;
        }
        scheduler.clone_into(&mut self.name);
        self.scheduler = match scheduler {
            "rr" => Scheduler::Rr(Rr::default()),
            "wrr" => Scheduler::Wrr(Wrr::start(&self.list)),
            "dh" | "sh" | "mh" => Scheduler::Table(Vec::new()),
            "lblc" | "lblcr" => Scheduler::Locality(Localities::default()),
            _ => Scheduler::Nothing,
        };
        self.fill();
    }

    /// The destinations, newest first.
    #[must_use]
    pub fn list(&self) -> &[Destination] {
        &self.list
    }

    /// The table of `dh`, `sh` or `mh`, 0 where nobody is; empty for others.
    #[must_use]
    pub fn table(&self) -> &[u32] {
        match &self.scheduler {
            Scheduler::Table(table) => table,
            _ => &[],
        }
    }

    /// `-a`: at the head of the list; one from the trash comes back with its connections.
    pub fn add(&mut self, name: u32, address: SocketAddr, terms: Terms, usable: bool) {
        let waiting = self.trash.iter().position(|one| one.name == name);
        let mut destination = match waiting {
            Some(at) => self.trash.remove(at),
            None => Destination {
                name,
                address,
                weight: 0,
                last_weight: 0,
                upper: 0,
                lower: 0,
                overloaded: false,
                usable,
                active: 0,
                inactive: 0,
            },
        };
        destination.usable = usable;
        destination.last_weight = terms.weight;
        set_terms(&mut destination, terms);
        self.list.insert(0, destination);
        self.changed(true);
    }

    /// `-e`: in place.
    pub fn edit(&mut self, name: u32, terms: Terms) {
        let Some(destination) = self.one(name) else {
            return;
        };
        if terms.weight != 0 {
            destination.last_weight = terms.weight;
        }
        set_terms(destination, terms);
        self.changed(false);
    }

    /// `-d`: to the trash.
    pub fn delete(&mut self, name: u32) {
        let Some(at) = self.list.iter().position(|one| one.name == name) else {
            return;
        };
        if let Scheduler::Rr(rr) = &mut self.scheduler {
            rr.delete(name, &self.list);
        }
        let destination = self.list.remove(at);
        self.trash.push(destination);
        self.changed(true);
    }

    /// Whether frames can reach it from now on.
    pub fn set_usable(&mut self, name: u32, usable: bool) {
        if let Some(destination) = self.one(name) {
            destination.usable = usable;
        }
    }

    /// The destination of a new connection.
    pub fn pick(&mut self, question: &Question) -> Option<u32> {
        let list = &self.list;
        match (&mut self.scheduler, self.name.as_str()) {
            (Scheduler::Rr(rr), _) => rr.pick(list),
            (Scheduler::Wrr(wrr), _) => wrr.pick(list),
            (Scheduler::Table(table), name) => {
                hashing::pick(name, table, list, question, (self.fallback, self.port))
            }
            (Scheduler::Locality(known), name) => {
                known.pick(name == "lblcr", list, &self.trash, question)
            }
            (Scheduler::Nothing, name) => least::pick(name, list, question.draws),
        }
    }

    /// A connection begins at a destination, inactive at first.
    pub fn bind(&mut self, name: u32) {
        if let Some(destination) = self.anywhere(name) {
            destination.inactive += 1;
            let total = destination.active + destination.inactive;
            if destination.upper != 0 && total >= destination.upper {
                destination.overloaded = true;
            }
        }
    }

    /// One of its connections becomes active.
    pub fn activate(&mut self, name: u32) {
        if let Some(destination) = self.anywhere(name) {
            destination.inactive -= 1;
            destination.active += 1;
        }
    }

    /// One of its active connections becomes inactive.
    pub fn deactivate(&mut self, name: u32) {
        if let Some(destination) = self.anywhere(name) {
            destination.active -= 1;
            destination.inactive += 1;
        }
    }

    /// A connection of a destination ends.
    pub fn unbind(&mut self, name: u32, was_active: bool) {
        let Some(destination) = self.anywhere(name) else {
            return;
        };
        if was_active {
            destination.active -= 1;
        } else {
            destination.inactive -= 1;
        }
        let total = u64::from(destination.active + destination.inactive);
        let (upper, lower) = (destination.upper, destination.lower);
        let has_room = match (upper, lower) {
            (0, _) => true,
            (_, 0) => 4 * total < 3 * u64::from(upper),
            (_, lower) => total < u64::from(lower),
        };
        if has_room {
            destination.overloaded = false;
        }
    }

    /// The minute's turn of `lblc` and `lblcr`, which forget what nobody asks for.
    pub fn sweep(&mut self, now_s: u64) {
        if let Scheduler::Locality(known) = &mut self.scheduler {
            known.sweep(now_s);
        }
    }

    fn changed(&mut self, is_another_list: bool) {
        if let Scheduler::Wrr(wrr) = &mut self.scheduler {
            wrr.changed(&self.list);
        }
        // `dh` alone does not look at weights, so an edit is nothing to it.
        if is_another_list || self.name != "dh" {
            self.fill();
        }
    }

    fn fill(&mut self) {
        if let Scheduler::Table(table) = &mut self.scheduler {
            *table = match self.name.as_str() {
                "dh" => dh_table(&self.list),
                "sh" => sh_table(&self.list),
                _ => mh_table(&self.list),
            };
        }
    }

    fn one(&mut self, name: u32) -> Option<&mut Destination> {
        self.list.iter_mut().find(|one| one.name == name)
    }

    fn anywhere(&mut self, name: u32) -> Option<&mut Destination> {
        let mut all = self.list.iter_mut().chain(&mut self.trash);
        all.find(|one| one.name == name)
    }
}

impl Destination {
    /// Whether a scheduler may choose it.
    #[must_use]
    pub fn is_eligible(&self) -> bool {
        self.weight > 0 && !self.is_passed_over()
    }

    fn is_passed_over(&self) -> bool {
        self.overloaded || !self.usable
    }

    fn overhead(&self) -> u64 {
        u64::from(self.active) * 256 + u64::from(self.active) + u64::from(self.inactive)
    }
}

/// An edit never sets OVERLOAD; it clears it without an upper threshold, or with a higher one.
fn set_terms(destination: &mut Destination, terms: Terms) {
    if terms.upper == 0 || terms.upper > destination.upper {
        destination.overloaded = false;
    }
    destination.weight = terms.weight;
    destination.upper = terms.upper;
    destination.lower = terms.lower;
}
