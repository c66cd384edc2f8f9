//! From recordings into the table: what packets made, and the kernel's order.

use std::net::SocketAddr;

use api::{Connection, Destination, Protocol, Rates, Service, ServiceKey, Stats};

use super::golden;
use crate::ipvsadm::tests::table::Table;

/// Puts into the table what the recording `name` and its neighbours show of it.
pub fn fill(table: &mut Table, name: &str) {
    let (prefix, _) = name.rsplit_once('.').unwrap();
    let neighbour = |of: &str| golden(&format!("{prefix}.{of}.out")).unwrap_or_default();
    let own = golden(&format!("{name}.out")).unwrap_or_default();

    each(table, &neighbour("Ln"), |_, destination, numbers| {
        if let Some(destination) = destination {
            destination.active = numbers[1] as u32;
            destination.inactive = numbers[2] as u32;
        }
    });
    each(
        table,
        &neighbour("Ln-persistent-conn"),
        |_, destination, numbers| {
            if let Some(destination) = destination {
                destination.templates = numbers[1] as u32;
            }
        },
    );
    each(
        table,
        &neighbour("Ln-stats"),
        |service, destination, numbers| {
            let stats = stats(numbers);
            destination
                .map_or(&mut service.stats, |one| &mut one.stats)
                .clone_from(&stats);
        },
    );
    if name.contains("-rate") {
        each(table, &own, |service, destination, numbers| {
            let rates = rates(numbers);
            destination
                .map_or(&mut service.rates, |one| &mut one.rates)
                .clone_from(&rates);
        });
    }
    if name.ends_with("nosort") {
        kernel_order(table, &own, key);
    }
    if name.ends_with("proc-ip_vs") {
        kernel_order(table, &own, key_in_hexadecimal);
    }
    table.connections = match own.starts_with("Pro FromIP") {
        true => connections_of_the_kernel(&own),
        // The lists with names and with numbers were made a second apart: each has its own times.
        false => connections(&neighbour("Lnc"), &own),
    };
    if name.ends_with("proc-ip_vs_stats") {
        let numbers: Vec<u64> = own
            .split_whitespace()
            .filter_map(|word| u64::from_str_radix(word, 16).ok())
            .collect();
        table.totals.stats = stats(&numbers[..5]);
        table.totals.rates = rates(&numbers[5..]);
    }
}

fn stats(numbers: &[u64]) -> Stats {
    Stats {
        connections: numbers[0],
        packets: numbers[1],
        out_packets: numbers[2],
        bytes: numbers[3],
        out_bytes: numbers[4],
    }
}

fn rates(numbers: &[u64]) -> Rates {
    Rates {
        connections: numbers[0],
        packets: numbers[1],
        out_packets: numbers[2],
        bytes: numbers[3],
        out_bytes: numbers[4],
    }
}

/// Shows every row of a listing: its service, its destination if it is one's, its numbers.
fn each(
    table: &mut Table,
    text: &str,
    mut visit: impl FnMut(&mut Service, Option<&mut Destination>, &[u64]),
) {
    let mut place = 0;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["->", destination, ..] = words[..] {
            let Ok(address) = destination.parse::<SocketAddr>() else {
                continue;
            };
            let mut service = table.services[place].clone();
            let mut destinations = service.destinations.iter_mut();
            let known = destinations.position(|one| one.destination == address);
            let mut known = service.destinations[known.unwrap()].clone();
            visit(&mut service, Some(&mut known), &numbers(&words[2..]));
            let mut all = table.services[place].destinations.iter_mut();
            *all.find(|one| one.destination == address).unwrap() = known;
        } else if let Some(key) = key(&words) {
            let mut services = table.services.iter();
            place = services.position(|one| one.service == key).unwrap();
            visit(&mut table.services[place], None, &numbers(&words[2..]));
        }
    }
}

/// The service of a row of a listing.
fn key(words: &[&str]) -> Option<ServiceKey> {
    let ipv6 = if words.contains(&"IPv6") { "6" } else { "" };
    match words {
        ["FWM", mark, ..] => format!("fwm{ipv6}:{mark}").parse().ok(),
        [protocol @ ("TCP" | "UDP" | "SCTP"), address, ..] => {
            format!("{}:{address}", protocol.to_lowercase())
                .parse()
                .ok()
        }
        _ => None,
    }
}

fn numbers(words: &[&str]) -> Vec<u64> {
    words.iter().filter_map(|word| word.parse().ok()).collect()
}

/// Services in the order of a listing, destinations as well.
fn kernel_order(table: &mut Table, text: &str, key: fn(&[&str]) -> Option<ServiceKey>) {
    let mut order = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        order.extend(key(&words));
    }
    let place = |service: &Service| order.iter().position(|key| *key == service.service);
    assert!(
        table
            .services
            .iter()
            .all(|service| place(service).is_some())
    );
    table.services.sort_by_key(place);
}

fn key_in_hexadecimal(words: &[&str]) -> Option<ServiceKey> {
    let [title, name, ..] = words else {
        return None;
    };
    if *title == "FWM" {
        let mark = u32::from_str_radix(name, 16).ok()?;
        // The kernel shows no family here; the recorded table has one IPv6 mark.
        let ipv6 = if mark == 9 { "6" } else { "" };
        return format!("fwm{ipv6}:{mark}").parse().ok();
    }
    let (address, port) = name.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = match address.strip_prefix('[') {
        Some(groups) => groups.trim_end_matches(']').parse().ok()?,
        None => std::net::Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?).into(),
    };
    let address = SocketAddr::new(address, port);
    format!("{}:{address}", title.to_lowercase()).parse().ok()
}

fn connections(text: &str, times: &str) -> Vec<Connection> {
    let times = if times.starts_with("IPVS") {
        times
    } else {
        text
    };
    text.lines()
        .zip(times.lines())
        .skip(2)
        .map(|(line, timed)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let time = timed.split_whitespace().nth(1).unwrap();
            let (minutes, seconds) = time.split_once(':').unwrap();
            Connection {
                protocol: protocol(words[0]),
                expires_s: minutes.parse::<u64>().unwrap() * 60 + seconds.parse::<u64>().unwrap(),
                state: words[2].to_owned(),
                client: words[3].parse().unwrap(),
                virtual_address: words[4].parse().unwrap(),
                destination: words[5].parse().unwrap(),
            }
        })
        .collect()
}

fn connections_of_the_kernel(text: &str) -> Vec<Connection> {
    let address = |address: &str, port: &str| {
        let ip = match address.contains(':') {
            true => address.parse().unwrap(),
            false => std::net::Ipv4Addr::from(u32::from_str_radix(address, 16).unwrap()).into(),
        };
        SocketAddr::new(ip, u16::from_str_radix(port, 16).unwrap())
    };
    let read = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Connection {
            protocol: protocol(words[0]),
            client: address(words[1], words[2]),
            virtual_address: address(words[3], words[4]),
            destination: address(words[5], words[6]),
            state: words[7].to_owned(),
            expires_s: words[8].parse().unwrap(),
        }
    };
    text.lines().skip(1).map(read).collect()
}

fn protocol(title: &str) -> Option<Protocol> {
    match title {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}
