//! Gathering facts: the only part that reads the kernel, asks the daemon and sends packets.

mod daemon;
mod ears;
mod host;
mod path;
mod programs;
mod tables;
mod wire;

use std::collections::BTreeSet;
use std::net::IpAddr;

pub(crate) use ears::Ears;

use crate::facts::{Facts, Host, Neighbour, Segment};
use crate::limits::ADDRESSES_MAX;
use crate::{Options, Role};

/// Why an examination could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// The real server's room could not look.
    #[error(transparent)]
    Realserver(#[from] realserver::Error),
    /// An interface that was named is not there.
    #[error("there is no interface {name} with ARP on this host; there are: {there}")]
    NoSuchInterface {
        /// Its name.
        name: String,
        /// Those there are.
        there: String,
    },
    /// Nothing is known of what to look for.
    #[error(
        "no VIP is known here: name one with --vip ADDR, or the director's configuration with -c FILE"
    )]
    NoVip,
}

impl Error {
    /// The caller may not do this.
    #[must_use]
    pub fn is_not_permitted(&self) -> bool {
        match self {
            Self::Netlink(error) => error.is_not_permitted(),
            Self::Realserver(error) => error.is_not_permitted(),
            _ => false,
        }
    }
}

/// Gathers everything, once.
pub fn observe(options: &Options) -> Result<Facts, Error> {
    let mut ears = Ears::default();
    observe_with(options, &mut ears)
}

/// The same with ears that are open already, so that nothing is missed between two examinations.
pub(crate) fn observe_with(options: &Options, ears: &mut Ears) -> Result<Facts, Error> {
    let mut unseen = Vec::new();
    let mut segment = daemon::segment(options);
    let mut host = host::observe(&mut unseen)?;
    daemon::add_vips(&mut segment, &host, options.role);
    if segment.vips.is_empty() && options.role == Role::Realserver {
        segment.vips = held_on_lo(&host);
    }
    if segment.vips.is_empty() && options.role == Role::Director {
        segment.vips = held_alone(&host);
    }
    if segment.vips.is_empty() && options.role != Role::Director {
        return Err(Error::NoVip);
    }
    let mut facts = Facts {
        role: options.role,
        segment,
        unseen,
        ..Facts::default()
    };
    tables::observe(&mut host, &mut facts.unseen);
    programs::firewall(&mut host, &mut facts.unseen);
    host.routes = host::routes(&host, &facts.segment)?;
    if options.role == Role::Realserver {
        host.unanswered = host::unanswered(&host, &facts.segment)?;
    }
    facts.host = host;
    if options.probe {
        probe(options, &mut facts, ears)?;
    } else {
        let unasked = "the segment was not asked, and no packet was sent (--no-probe)";
        facts.unseen.push(unasked.to_owned());
    }
    Ok(facts)
}

fn probe(options: &Options, facts: &mut Facts, ears: &mut Ears) -> Result<(), Error> {
    let links: Vec<_> = facts.host.segment_links().cloned().collect();
    for name in &options.interfaces {
        if !links.iter().any(|link| link.name == *name) {
            let there: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
            return Err(Error::NoSuchInterface {
                name: name.clone(),
                there: there.join(", "),
            });
        }
    }
    let wanted = |name: &String| options.interfaces.is_empty() || options.interfaces.contains(name);
    let links: Vec<_> = links
        .into_iter()
        .filter(|link| link.up && wanted(&link.name))
        .collect();
    ears.open(&links)?;
    let mut asked = questions(facts);
    if asked.len() > ADDRESSES_MAX {
        let left = asked.len() - ADDRESSES_MAX;
        let note = format!("{left} addresses were not asked for: {ADDRESSES_MAX} are at once");
        facts.unseen.push(note);
        asked.truncate(ADDRESSES_MAX);
    }
    for round in 0..options.rounds.max(1) {
        ears.ask(&links, &facts.host, &asked, round);
    }
    facts.claims = ears.claims(&facts.host);
    facts.asked = asked;
    path::walk(facts, &links, ears)?;
    // What came meanwhile: a server that answers our packet may ask for us with the VIP as sender.
    facts.claims = ears.claims(&facts.host);
    Ok(())
}

/// The addresses to ask for, the most telling first.
fn questions(facts: &Facts) -> Vec<IpAddr> {
    let on_segment: BTreeSet<&str> = facts
        .host
        .segment_links()
        .map(|link| link.name.as_str())
        .collect();
    let own = facts.host.addresses.iter();
    let own = own
        .filter(|held| on_segment.contains(held.interface.as_str()))
        .map(|held| held.address);
    let told = |entry: &&Neighbour| matches!(entry.state.as_str(), "permanent" | "failed");
    let told = facts.host.neighbours.iter().filter(told);
    let gateways = facts
        .host
        .routes
        .values()
        .flatten()
        .filter_map(|route| route.gateway);
    let all = facts
        .segment
        .vips
        .iter()
        .copied()
        .chain(facts.servers())
        .chain(facts.segment.directors.iter().copied())
        .chain(own)
        .chain(gateways)
        .chain(told.map(|entry| entry.address));
    let mut seen = BTreeSet::new();
    all.filter(|address| !address.is_multicast() && seen.insert(*address))
        .collect()
}

/// On a real server that nobody told anything: what stands on `lo` and is of the network.
fn held_on_lo(host: &Host) -> Vec<IpAddr> {
    let loopbacks = host.links.iter().filter(|link| link.loopback);
    let names: Vec<&str> = loopbacks.map(|link| link.name.as_str()).collect();
    let held = host.addresses.iter();
    held.filter(|held| names.contains(&held.interface.as_str()) && !held.address.is_loopback())
        .map(|held| held.address)
        .collect()
}

/// On a director whose daemon is silent: what stands alone on an interface with its program.
fn held_alone(host: &Host) -> Vec<IpAddr> {
    let served = |name: &str| host.link(name).is_some_and(|link| link.xdp.is_some());
    let held = host.addresses.iter().filter(|held| served(&held.interface));
    held.filter(|held| held.prefix == netlink::host_prefix(&held.address))
        .map(|held| held.address)
        .collect()
}

/// Puts VIPs in order, each once.
fn tidy(segment: &mut Segment) {
    segment.vips.sort();
    segment.vips.dedup();
}
