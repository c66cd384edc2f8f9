//! Random configurations, each a few steps from the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::common::{server, six, vip};
use crate::left::Table;

/// Random numbers from one seed (splitmix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of `0..limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

const SCHEDULERS: [&str; 8] = ["rr", "wrr", "lc", "wlc", "sh", "mh", "sed", "nq"];

/// Without it, `sh` and `mh` refuse the clients of a drained server, as in IPVS.
fn fallback(scheduler: &str) -> Option<&'static str> {
    match scheduler {
        "sh" => Some("sh-fallback"),
        "mh" => Some("mh-fallback"),
        _ => None,
    }
}

/// A configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Real servers of the service that is always there, with their weights; one has more than 0.
    servers: BTreeMap<u8, u32>,
    scheduler: &'static str,
    /// Whether there are checks, and which pace they have.
    check: Option<u32>,
    /// Real servers of a service that comes and goes.
    six: BTreeSet<u8>,
    pub timeout: u32,
}

impl Plan {
    pub fn first() -> Self {
        Self {
            servers: BTreeMap::from([(1, 1), (2, 1)]),
            scheduler: "rr",
            check: None,
            six: BTreeSet::new(),
            timeout: 900,
        }
    }

    /// Whether what is in the table waits for no check.
    pub fn is_unchecked(&self) -> bool {
        self.check.is_none()
    }

    /// One to three changes.
    pub fn mutate(&mut self, dice: &mut Dice) {
        // Those that had no weight before may be removed; others are drained first.
        let drained = self.with_weight(false);
        for _ in 0..=dice.below(3) {
            self.mutate_once(dice, &drained);
        }
    }

    fn mutate_once(&mut self, dice: &mut Dice, drained: &[u8]) {
        let weighted = self.with_weight(true);
        match dice.below(9) {
            0 | 1 => {
                let weight = 1 + dice.below(3) as u32;
                self.servers.insert(1 + dice.below(4) as u8, weight);
            }
            2 if weighted.len() > 1 => {
                self.servers.insert(dice.of(&weighted), 0);
            }
            3 if !drained.is_empty() => {
                let gone = dice.of(drained);
                if self.servers.get(&gone) == Some(&0) {
                    self.servers.remove(&gone);
                }
            }
            // All who were there are drained, and one who was not takes over.
            4 => {
                let new: Vec<u8> = (1..=4).filter(|n| !self.servers.contains_key(n)).collect();
                if !new.is_empty() {
                    self.servers.values_mut().for_each(|weight| *weight = 0);
                    self.servers.insert(dice.of(&new), 1);
                }
            }
            5 => self.scheduler = dice.of(&SCHEDULERS),
            6 => {
                self.check = match self.check {
                    None => Some(1 + dice.below(3) as u32),
                    Some(_) => None,
                }
            }
            7 => {
                let all = [1, 2, 3, 4];
                self.six = all.into_iter().filter(|_| dice.below(2) == 0).collect();
            }
            _ => self.timeout = 600 + dice.below(600) as u32,
        }
    }

    fn with_weight(&self, has: bool) -> Vec<u8> {
        let all = self.servers.iter();
        all.filter(|(_, weight)| (**weight > 0) == has)
            .map(|(n, _)| *n)
            .collect()
    }

    /// Real servers that another plan has no more.
    pub fn without(&self, other: &Self) -> BTreeSet<u8> {
        let gone = self
            .servers
            .keys()
            .filter(|n| !other.servers.contains_key(n));
        gone.copied().collect()
    }

    /// This one, with the real servers that only the other has, at weight 0.
    pub fn with_drained(mut self, other: &Self) -> Self {
        for n in other.servers.keys() {
            self.servers.entry(*n).or_insert(0);
        }
        self
    }

    /// Real servers of the service that is always there.
    pub fn servers(&self) -> BTreeSet<u8> {
        self.servers.keys().copied().collect()
    }

    pub fn text(&self) -> String {
        // The one client comes to every port again within the two minutes after a FIN. As with any LVS by direct routing,
        // its SYN then goes where the connection before went, which may be a server that is gone.
        let mut text = format!(
            "[director]\ninterface = \"eth0\"\n[settings]\nconn_reuse_mode = 2\n[timeouts]\ntcp = {}\n",
            self.timeout
        );
        if let Some(seconds) = self.check {
            write!(
                text,
                "[[check]]\nname = \"port\"\ntype = \"tcp\"\ninterval = \"{seconds}s\"\ntimeout = \"1s\"\nfall = 5\n"
            )
            .unwrap();
        }
        let four = self.servers.iter().map(|(n, weight)| (server(*n), *weight));
        self.write_service(&mut text, vip(), self.scheduler, four.collect());
        if !self.six.is_empty() {
            let all = self.six.iter().map(|n| (six(10 + n), 1));
            self.write_service(&mut text, six(100), "wrr", all.collect());
        }
        text
    }

    fn write_service(
        &self,
        text: &mut String,
        vip: IpAddr,
        scheduler: &str,
        to: Vec<(IpAddr, u32)>,
    ) {
        let address = SocketAddr::new(vip, 80);
        write!(
            text,
            "[[service]]\naddress = \"{address}\"\nprotocol = \"tcp\"\nscheduler = \"{scheduler}\"\n"
        )
        .unwrap();
        if let Some(flag) = fallback(scheduler) {
            writeln!(text, "flags = [\"{flag}\"]").unwrap();
        }
        if self.check.is_some() {
            text.push_str("checks = [\"port\"]\n");
        }
        for (server, weight) in to {
            write!(
                text,
                "[[service.destination]]\naddress = \"{server}\"\nweight = {weight}\n"
            )
            .unwrap();
        }
    }

    /// Services, the one that is always there first.
    pub fn services(&self) -> Vec<api::ServiceKey> {
        let mut all = vec![vip()];
        if !self.six.is_empty() {
            all.push(six(100));
        }
        let key = |vip| api::ServiceKey::Address {
            protocol: api::Protocol::Tcp,
            address: SocketAddr::new(vip, 80),
        };
        all.into_iter().map(key).collect()
    }

    /// What `ipvsadm -Sn` lists, sorted.
    pub fn listed(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut list = |vip: IpAddr, scheduler: &str, servers: Vec<(IpAddr, u32)>| {
            let service = SocketAddr::new(vip, 80);
            let flags = fallback(scheduler).map(|flag| format!(" -b {flag}"));
            let flags = flags.unwrap_or_default();
            lines.push(format!("-A -t {service} -s {scheduler}{flags}"));
            for (server, weight) in servers {
                let server = SocketAddr::new(server, 80);
                lines.push(format!("-a -t {service} -r {server} -g -w {weight}"));
            }
        };
        let four = self.servers.iter().map(|(n, weight)| (server(*n), *weight));
        list(vip(), self.scheduler, four.collect());
        if !self.six.is_empty() {
            list(
                six(100),
                "wrr",
                self.six.iter().map(|n| (six(10 + n), 1)).collect(),
            );
        }
        lines.sort_unstable();
        lines
    }

    /// The same as [`Plan::listed`], as data.
    pub fn table(&self) -> Table {
        let at = |address| SocketAddr::new(address, 80);
        let four = self
            .servers
            .iter()
            .map(|(n, weight)| (at(server(*n)), *weight));
        let mut all = vec![(self.scheduler, four.collect())];
        if !self.six.is_empty() {
            all.push((
                "wrr",
                self.six.iter().map(|n| (at(six(10 + n)), 1)).collect(),
            ));
        }
        let all = self.services().into_iter().zip(all);
        all.map(|(key, (scheduler, weights))| (key, (scheduler.to_owned(), weights)))
            .collect()
    }

    /// Each service that there ever is with the real servers that may be given new connections: none, when it is
    /// not there now.
    pub fn eligible(&self) -> [(SocketAddr, Vec<IpAddr>); 2] {
        let four = self.with_weight(true).into_iter().map(server);
        let other = self.six.iter().map(|n| six(10 + n));
        [(vip(), four.collect()), (six(100), other.collect())]
            .map(|(address, servers)| (SocketAddr::new(address, 80), servers))
    }
}
