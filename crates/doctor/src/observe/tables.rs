//! What `/proc` and `/sys` tell: sockets, connection tracking, IPVS, clock, memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use api::Protocol;

use crate::facts::{Host, Listener};
use crate::limits::LISTENERS_MAX;

const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0";

pub(super) fn observe(host: &mut Host, unseen: &mut Vec<String>) {
    host.listeners = listeners(unseen);
    host.conntrack = conntrack();
    host.ipvs = ipvs(&read("/proc/net/ip_vs").unwrap_or_default());
    host.bpffs = nix::sys::statfs::statfs("/sys/fs/bpf")
        .is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC);
    host.clocksource = read(&format!("{CLOCK}/current_clocksource"));
    host.clocksources = read(&format!("{CLOCK}/available_clocksource"))
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    host.memory_kib = memory(&read("/proc/meminfo").unwrap_or_default());
    let processors = std::thread::available_parallelism();
    host.processors = processors.map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
}

fn read(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new(path)).ok()?;
    Some(text.trim().to_owned())
}

fn listeners(unseen: &mut Vec<String>) -> Vec<Listener> {
    let mut all = Vec::new();
    for (name, protocol, state) in [
        ("tcp", Protocol::Tcp, "0A"),
        ("tcp6", Protocol::Tcp, "0A"),
        ("udp", Protocol::Udp, "07"),
        ("udp6", Protocol::Udp, "07"),
    ] {
        // `self` is the main thread's namespace; ours may be another.
        match read(&format!("/proc/thread-self/net/{name}")) {
            Some(text) => all.extend(sockets(&text, protocol, state)),
            None if name.ends_with('6') => {}
            None => unseen.push(format!(
                "sockets: /proc/thread-self/net/{name} cannot be read"
            )),
        }
    }
    all.truncate(LISTENERS_MAX);
    all
}

/// Sockets in `state` of a table of `/proc/net`: `sl local_address rem_address st …`.
fn sockets(text: &str, protocol: Protocol, state: &str) -> Vec<Listener> {
    let lines = text.lines().skip(1);
    let found = lines.filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.get(3) != Some(&state) {
            return None;
        }
        let (address, port) = words.get(1)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(Listener {
            protocol,
            address: SocketAddr::new(hex_address(address)?, port),
        })
    });
    found.collect()
}

/// Words of four bytes, each in the machine's order.
fn hex_address(text: &str) -> Option<IpAddr> {
    let words = text.as_bytes().chunks(8).map(|chunk| {
        let word = std::str::from_utf8(chunk).ok()?;
        Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
    });
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.concat();
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

fn conntrack() -> Option<(u64, u64)> {
    let number = |name: &str| {
        read(&format!("/proc/sys/net/netfilter/{name}"))?
            .parse()
            .ok()
    };
    Some((number("nf_conntrack_count")?, number("nf_conntrack_max")?))
}

/// Services of `/proc/net/ip_vs`: `TCP  C0A8BC78:0050 wrr`, or an address in brackets.
fn ipvs(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines();
    let found = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        if !matches!(words.next()?, "TCP" | "UDP" | "SCTP") {
            return None;
        }
        let (address, port) = words.next()?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let address = match address.strip_prefix('[') {
            Some(six) => six.trim_end_matches(']').parse().ok()?,
            None => Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?).into(),
        };
        Some(SocketAddr::new(address, port))
    });
    found.collect()
}

fn memory(text: &str) -> Option<(u64, u64)> {
    let of = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some((of("MemAvailable:")?, of("MemTotal:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_are_read_from_both_families_tables() {
        let four = "  sl  local_address rem_address   st tx_queue\n   \
                    0: 6BBCA8C0:0050 00000000:0000 0A 00000000:00000000\n   \
                    1: 0100007F:0050 0100007F:ABCD 01 00000000:00000000";
        let found = sockets(four, Protocol::Tcp, "0A");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].address, "192.168.188.107:80".parse().unwrap());
        let six = "head\n 0: 00000000000000000000000000000000:0050 \
                   00000000000000000000000000000000:0000 0A 0";
        let found = sockets(six, Protocol::Tcp, "0A");
        assert_eq!(found[0].address, "[::]:80".parse().unwrap());
    }

    #[test]
    fn services_of_ipvs_are_read_in_both_families() {
        let text = "IP Virtual Server version 1.2.1 (size=4096)\n\
                    Prot LocalAddress:Port Scheduler Flags\n  \
                    -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
                    TCP  C0A8BC78:0050 wrr \n\
                    TCP  [2001:0db8:0188:0000:0000:0000:0000:0120]:0050 rr\n";
        let found: Vec<String> = ipvs(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.168.188.120:80", "[2001:db8:188::120]:80"]);
    }
}
