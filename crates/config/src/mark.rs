//! `[[mark]]`: which packets have which firewall mark. There is no netfilter before XDP, so these tables
//! play its part.
//!
//! ```text
//! [[mark]]                                       rules, in the order of the file
//! mark = 7                                       7: tcp to 192.0.2.0/24, ports 80 to 80
//! addresses = ["192.0.2.0/24", "2001:db8::9"] ─► 7: tcp to 192.0.2.0/24, ports 8000 to 8099
//! protocol = "tcp"                               7: tcp to 2001:db8::9/128, ports 80 to 80
//! ports = ["80", "8000-8099"]                    7: tcp to 2001:db8::9/128, ports 8000 to 8099
//! ```

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use api::Protocol;

use crate::mistake::Reason;
use crate::notes::Notes;
use crate::schema::{self, Table};
use crate::section::{At, Section};
use crate::values::MarkNumber;
use crate::{limits, service};

/// One rule: packets to these addresses and ports have this mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The mark.
    pub mark: NonZeroU32,
    /// Of which packets; `None` for all that have ports.
    pub protocol: Option<Protocol>,
    /// The first bits of the virtual addresses,
    pub address: IpAddr,
    /// and how many of them count.
    pub prefix: u8,
    /// First and last virtual port.
    pub ports: (u16, u16),
}

/// All rules of the file, in its order; and where single addresses stand.
pub(crate) fn all(
    root: &Section<'_>,
    notes: &mut Notes<'_>,
) -> (Vec<Mark>, HashMap<IpAddr, usize>) {
    let (sections, beyond) = root.many(&schema::MARK, Table::Mark, limits::MARK_RULES, notes);
    let (mut rules, mut addresses) = (Vec::new(), HashMap::new());
    for section in &sections {
        let new = one(section, notes);
        let whole = |rule: &&Mark| rule.prefix == if rule.address.is_ipv4() { 32 } else { 128 };
        for rule in new.iter().filter(whole) {
            addresses.entry(rule.address).or_insert(section.at());
        }
        if rules.len() + new.len() > limits::MARK_RULES {
            notes.add(section.at(), Reason::TooManyMarks);
            return (rules, addresses);
        }
        rules.extend(new);
    }
    if let Some(at) = beyond {
        notes.add(at, Reason::TooManyMarks);
    }
    (rules, addresses)
}

fn one(section: &Section<'_>, notes: &mut Notes<'_>) -> Vec<Mark> {
    section.require(&schema::MARK_NUMBER, notes);
    section.require(&schema::MARK_ADDRESSES, notes);
    let mark = number(section, &schema::MARK_NUMBER, notes);
    let protocol = service::protocol(section, &schema::MARK_PROTOCOL, notes);
    let addresses = networks(section, &schema::MARK_ADDRESSES, notes);
    let ports = match section.position(&schema::MARK_PORTS) {
        None => vec![(0, u16::MAX)],
        Some(_) => {
            let ports = strings(section, &schema::MARK_PORTS, notes);
            ports.iter().filter_map(|text| range(text, notes)).collect()
        }
    };
    let Some(mark) = mark else { return Vec::new() };
    let rule = |address: (IpAddr, u8), ports| Mark {
        mark,
        protocol,
        address: address.0,
        prefix: address.1,
        ports,
    };
    let each = |address| ports.iter().map(move |ports| rule(address, *ports));
    addresses.into_iter().flat_map(each).collect()
}

/// The number of a mark.
pub(crate) fn number(
    section: &Section<'_>,
    key: &schema::Key,
    notes: &mut Notes<'_>,
) -> Option<NonZeroU32> {
    let number = section.number(key, MarkNumber::try_from, notes)?;
    NonZeroU32::new(number.value.into())
}

/// The networks that a key lists.
pub(crate) fn networks(
    section: &Section<'_>,
    key: &schema::Key,
    notes: &mut Notes<'_>,
) -> Vec<(IpAddr, u8)> {
    let list = strings(section, key, notes);
    list.iter()
        .filter_map(|text| network(text, notes))
        .collect()
}

/// Whether a network, an address of it and how many of its bits count, has an address.
pub(crate) fn has(network: (IpAddr, u8), address: IpAddr) -> bool {
    let bits = |address| match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32u8),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let ((of, width), (one, other_width)) = (bits(network.0), bits(address));
    let host_bits = u32::from(width.saturating_sub(network.1));
    width == other_width && (of ^ one).checked_shr(host_bits).unwrap_or(0) == 0
}

/// A list with something in it.
fn strings<'t>(
    section: &Section<'t>,
    key: &schema::Key,
    notes: &mut Notes<'_>,
) -> Vec<At<&'t str>> {
    let Some(list) = section.strings(key, notes) else {
        return Vec::new();
    };
    if list.value.is_empty() {
        let reason = Reason::EmptyList {
            key: key.name,
            example: key.example,
        };
        notes.add(list.at, reason);
    }
    list.value
}

/// `192.0.2.0/24`, or one address.
fn network(text: &At<&str>, notes: &mut Notes<'_>) -> Option<(IpAddr, u8)> {
    let (address, prefix) = match text.value.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text.value, None),
    };
    let address: Option<IpAddr> = address.parse().ok();
    let read = address.and_then(|address| {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(bits), |prefix| prefix.parse().ok())?;
        (prefix <= bits).then_some((address, prefix))
    });
    if read.is_none() {
        let network = text.value.into();
        notes.add(text.at, Reason::BadNetwork { network });
    }
    read
}

/// `80`, or `8000-8099`.
fn range(text: &At<&str>, notes: &mut Notes<'_>) -> Option<(u16, u16)> {
    let (first, last) = text
        .value
        .split_once('-')
        .unwrap_or((text.value, text.value));
    let read = first.parse().ok().zip(last.parse().ok());
    let read = read.filter(|(first, last): &(u16, u16)| first <= last);
    if read.is_none() {
        let ports = text.value.into();
        notes.add(text.at, Reason::BadPorts { ports });
    }
    read
}
