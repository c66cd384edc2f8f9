//! A difference between table and file is written into the file: only that, comments and order stay.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, bail};
use api::{
    DestinationDifference, DestinationSettings, Family, Netmask, Protocol, ServiceDifference,
    ServiceKey, ServiceSettings,
};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

/// Makes the documents say of a service what the table has.
pub(super) fn follow(
    documents: &mut [DocumentMut],
    difference: &ServiceDifference,
) -> anyhow::Result<()> {
    let key = &difference.service;
    let servers = servers(documents);
    let place = find(documents, key);
    match (&difference.was, &difference.becomes) {
        // Deleted at runtime.
        (None, _) => {
            let (document, at) = place.context("is not written as a [[service]] of its own")?;
            services(&mut documents[document])?.remove(at);
        }
        // Added at runtime.
        (Some(settings), None) => {
            let main = documents.first_mut().context("there is no file")?;
            let mut table = named(key);
            write_settings(&mut table, &ServiceSettings::of(""), settings);
            for one in &difference.destinations {
                write_destination(&mut table, key, one, &servers)?;
            }
            services(main)?.push(table);
        }
        (Some(settings), Some(before)) => {
            let (document, at) = place.context("is not written as a [[service]] of its own")?;
            let table = services(&mut documents[document])?.get_mut(at);
            let table = table.context("has gone")?;
            write_settings(table, before, settings);
            for one in &difference.destinations {
                write_destination(table, key, one, &servers)?;
            }
        }
    }
    Ok(())
}

/// Real servers that have names.
fn servers(documents: &[DocumentMut]) -> Vec<(String, IpAddr)> {
    let tables = documents
        .iter()
        .filter_map(|one| one.get("real_server")?.as_array_of_tables());
    let named = tables.flat_map(ArrayOfTables::iter).filter_map(|table| {
        let name = table.get("name")?.as_str()?.to_owned();
        Some((name, table.get("address")?.as_str()?.parse().ok()?))
    });
    named.collect()
}

fn services(document: &mut DocumentMut) -> anyhow::Result<&mut ArrayOfTables> {
    let item = document.entry("service");
    let item = item.or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    item.as_array_of_tables_mut()
        .context("services are not written as [[service]]")
}

/// In which document, and as which of its services, a service is.
fn find(documents: &[DocumentMut], key: &ServiceKey) -> Option<(usize, usize)> {
    documents.iter().enumerate().find_map(|(document, one)| {
        let mut tables = one.get("service")?.as_array_of_tables()?.iter();
        let at = tables.position(|table| is(table, key))?;
        Some((document, at))
    })
}

fn is(table: &Table, key: &ServiceKey) -> bool {
    let text = |name: &str| table.get(name).and_then(Item::as_str);
    match key {
        ServiceKey::Address { protocol, address } => {
            let own: Option<SocketAddr> = text("address").and_then(|text| text.parse().ok());
            own == Some(*address) && text("protocol").unwrap_or("tcp") == word(*protocol)
        }
        ServiceKey::Mark { mark, family } => {
            let own = table.get("mark").and_then(Item::as_integer);
            let wanted = if *family == Family::V6 {
                "ipv6"
            } else {
                "ipv4"
            };
            own == Some(i64::from(mark.get())) && text("family").unwrap_or("ipv4") == wanted
        }
    }
}

fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// A service with nothing but its name.
fn named(key: &ServiceKey) -> Table {
    let mut table = Table::new();
    match key {
        ServiceKey::Address { protocol, address } => {
            table["address"] = value(address.to_string());
            table["protocol"] = value(word(*protocol));
        }
        ServiceKey::Mark { mark, family } => {
            table["mark"] = value(i64::from(mark.get()));
            if *family == Family::V6 {
                table["family"] = value("ipv6");
            }
        }
    }
    table
}

/// Writes what is otherwise than the file has it.
fn write_settings(table: &mut Table, before: &ServiceSettings, settings: &ServiceSettings) {
    let mut set = |name: &str, is_same: bool, item: Option<Item>| match item {
        _ if is_same => {}
        Some(item) => table[name] = item,
        None => {
            table.remove(name);
        }
    };
    let scheduler = value(settings.scheduler.clone());
    set(
        "scheduler",
        before.scheduler == settings.scheduler,
        Some(scheduler),
    );
    let flags = settings.flags.to_string();
    let names: Array = flags.split(',').filter(|name| !name.is_empty()).collect();
    let flags = (!settings.flags.is_empty()).then(|| value(names));
    set("flags", before.flags == settings.flags, flags);
    let (was, is) = (before.persistence, settings.persistence);
    let seconds = is.map(|one| value(i64::from(one.timeout_s)));
    set(
        "persistence",
        was.map(|one| one.timeout_s) == is.map(|one| one.timeout_s),
        seconds,
    );
    let mask = is.and_then(|one| one.netmask).map(|mask| match mask {
        Netmask::V4(mask) => value(mask.to_string()),
        Netmask::V6(bits) => value(i64::from(bits)),
    });
    let (was, is) = (
        was.and_then(|one| one.netmask),
        is.and_then(|one| one.netmask),
    );
    set("netmask", was == is, mask);
    let one_packet = settings.one_packet.then(|| value(true));
    set(
        "one_packet",
        before.one_packet == settings.one_packet,
        one_packet,
    );
    let share = settings.share.map(|share| value(i64::from(share)));
    set("share", before.share == settings.share, share);
}

fn write_destination(
    table: &mut Table,
    key: &ServiceKey,
    one: &DestinationDifference,
    servers: &[(String, IpAddr)],
) -> anyhow::Result<()> {
    let server = one.destination.ip();
    let names: Vec<&str> = servers
        .iter()
        .filter(|(_, address)| *address == server)
        .map(|(name, _)| name.as_str())
        .collect();
    let listed = position(table, one.destination, &names);
    match (&one.was, listed) {
        (None, Some(at)) => {
            destinations(table)?.remove(at);
        }
        (None, None) if leave_names(table, &names) => {}
        (None, None) => bail!(
            "{} is not written in it: a template has it",
            one.destination
        ),
        (Some(settings), Some(at)) => {
            let entry = destinations(table)?.get_mut(at).context("has gone")?;
            write_terms(entry, one.becomes.as_ref(), settings);
        }
        (Some(settings), None) => {
            let mut entry = Table::new();
            match (leave_names(table, &names), names.first()) {
                (true, Some(name)) => entry["real_server"] = value(*name),
                _ => entry["address"] = value(server.to_string()),
            }
            // The destinations of a mark have ports of their own.
            if key.address().is_none() && one.destination.port() != 0 {
                entry["port"] = value(i64::from(one.destination.port()));
            }
            write_terms(&mut entry, None, settings);
            destinations(table)?.push(entry);
        }
    }
    Ok(())
}

fn destinations(table: &mut Table) -> anyhow::Result<&mut ArrayOfTables> {
    let item = table.entry("destination");
    let item = item.or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    item.as_array_of_tables_mut()
        .context("its destinations are not written as [[service.destination]]")
}

/// Where a destination is in the list of a service.
fn position(table: &Table, destination: SocketAddr, names: &[&str]) -> Option<usize> {
    let mut entries = table.get("destination")?.as_array_of_tables()?.iter();
    entries.position(|entry| {
        let text = |key: &str| entry.get(key).and_then(Item::as_str);
        let address = text("address").and_then(|text| text.parse::<IpAddr>().ok());
        let port = entry.get("port").and_then(Item::as_integer);
        (address == Some(destination.ip())
            || text("real_server").is_some_and(|one| names.contains(&one)))
            && port.is_none_or(|port| port == i64::from(destination.port()))
    })
}

/// Takes a real server out of those that a service names shortly; false if it is not there.
fn leave_names(table: &mut Table, names: &[&str]) -> bool {
    let listed = table.get_mut("real_servers").and_then(Item::as_array_mut);
    let Some(listed) = listed else { return false };
    let before = listed.len();
    listed.retain(|name| name.as_str().is_none_or(|name| !names.contains(&name)));
    listed.len() < before
}

fn write_terms(
    entry: &mut Table,
    before: Option<&DestinationSettings>,
    settings: &DestinationSettings,
) {
    let mut set = |name: &str, was: Option<u32>, is: u32, default: u32| {
        if was == Some(is) {
            return;
        }
        if is == default {
            entry.remove(name);
        } else {
            entry[name] = value(i64::from(is));
        }
    };
    // Written even when it is the default: a template or defaults may have another.
    let weight = before.map(|one| one.weight);
    set("weight", weight, settings.weight, u32::MAX);
    let upper = before.map(|one| one.upper_threshold);
    set("upper_threshold", upper, settings.upper_threshold, 0);
    let lower = before.map(|one| one.lower_threshold);
    set("lower_threshold", lower, settings.lower_threshold, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# the web\n[director]\ninterface = \"eth0\"\n\n[[real_server]]\nname = \"rs3\"\n\
        address = \"192.0.2.13\"\n\n[[service]]\naddress = \"192.0.2.100:80\" # public\nprotocol = \"tcp\"\n\
        scheduler = \"rr\"\nreal_servers = [\"rs3\"]\n[[service.destination]]\naddress = \"192.0.2.11\"\n\
        # the old one\n[[service.destination]]\naddress = \"192.0.2.12\"\nweight = 2\n";

    fn destination(last: u8, was: Option<u32>, becomes: Option<u32>) -> DestinationDifference {
        DestinationDifference {
            destination: SocketAddr::from(([192, 0, 2, last], 80)),
            was: was.map(DestinationSettings::of),
            becomes: becomes.map(DestinationSettings::of),
        }
    }

    fn followed(difference: &ServiceDifference) -> String {
        let mut documents = [FILE.parse().unwrap()];
        follow(&mut documents, difference).unwrap();
        documents[0].to_string()
    }

    #[test]
    fn only_what_differs_is_written_and_comments_stay() {
        let text = followed(&ServiceDifference {
            service: "tcp:192.0.2.100:80".parse().unwrap(),
            was: Some(ServiceSettings::of("wlc")),
            becomes: Some(ServiceSettings::of("rr")),
            destinations: vec![
                destination(11, None, Some(1)),
                destination(12, Some(7), Some(2)),
                destination(13, Some(0), Some(1)),
                destination(14, Some(1), None),
            ],
        });
        let config = config::Config::parse(&text, "saved").unwrap();
        let service = &config.services[0];
        assert_eq!(service.scheduler.name(), "wlc");
        let mut found: Vec<(String, u32)> = service
            .destinations
            .iter()
            .map(|one| (one.address.ip().to_string(), one.weight.into()))
            .collect();
        found.sort_unstable();
        let expected = [("192.0.2.12", 7), ("192.0.2.13", 0), ("192.0.2.14", 1)];
        assert_eq!(
            found,
            expected.map(|(address, weight)| (address.to_owned(), weight))
        );
        assert!(text.contains("# the web"), "{text}");
        assert!(text.contains("# public"), "{text}");
        assert!(text.contains("real_server = \"rs3\""), "{text}");
    }

    #[test]
    fn services_come_and_go_whole() {
        let added = followed(&ServiceDifference {
            service: "udp:192.0.2.101:53".parse().unwrap(),
            was: Some(ServiceSettings::of("sh")),
            becomes: None,
            destinations: vec![DestinationDifference {
                destination: "192.0.2.11:53".parse().unwrap(),
                was: Some(DestinationSettings::of(3)),
                becomes: None,
            }],
        });
        let config = config::Config::parse(&added, "saved").unwrap();
        assert_eq!(config.services.len(), 2);
        assert_eq!(config.services[1].destinations.len(), 1);
        let gone = followed(&ServiceDifference {
            service: "tcp:192.0.2.100:80".parse().unwrap(),
            was: None,
            becomes: Some(ServiceSettings::of("rr")),
            destinations: Vec::new(),
        });
        assert!(!gone.contains("[[service]]"), "{gone}");
    }
}
