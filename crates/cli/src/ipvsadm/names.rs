//! Names of hosts and services, there and back.
//!
//! Hosts go through the system's resolver (files, DNS: what the host is set up for), which may take
//! seconds for each; services come from `/etc/services`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use api::Protocol;

/// Where the names come from.
pub trait Names {
    /// The first IPv4 address of `host`.
    fn address(&self, host: &str) -> Option<Ipv4Addr>;
    /// The port of a service.
    fn port(&self, service: &str, protocol: Protocol) -> Option<u16>;
    /// The name of an address.
    fn host(&self, address: IpAddr) -> Option<String>;
    /// The name of a port.
    fn service(&self, port: u16, protocol: Protocol) -> Option<String>;
}

/// The names of this host.
#[derive(Debug, Default)]
pub struct SystemNames {
    /// A listing names one address many times; the resolver is asked once.
    hosts: RefCell<HashMap<IpAddr, Option<String>>>,
    services: std::cell::OnceCell<Services>,
}

impl SystemNames {
    fn services(&self) -> &Services {
        self.services.get_or_init(|| {
            let text = std::fs::read("/etc/services").unwrap_or_default();
            Services::parse(&String::from_utf8_lossy(&text))
        })
    }
}

impl Names for SystemNames {
    fn address(&self, host: &str) -> Option<Ipv4Addr> {
        use std::net::ToSocketAddrs;
        (host, 0)
            .to_socket_addrs()
            .ok()?
            .find_map(|address| match address.ip() {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
    }

    fn port(&self, service: &str, protocol: Protocol) -> Option<u16> {
        self.services().port(service, protocol)
    }

    fn host(&self, address: IpAddr) -> Option<String> {
        let mut hosts = self.hosts.borrow_mut();
        hosts
            .entry(address)
            .or_insert_with(|| {
                let numeric_service = nix::libc::NI_NUMERICSERV;
                let flags = nix::libc::NI_NAMEREQD | numeric_service;
                dns_lookup::getnameinfo(&SocketAddr::new(address, 0), flags)
                    .ok()
                    .map(|(host, _)| host)
            })
            .clone()
    }

    fn service(&self, port: u16, protocol: Protocol) -> Option<String> {
        self.services().name(port, protocol)
    }
}

/// The table of `/etc/services`.
///
/// Read here because the standard library has no look-up by protocol and C's needs unsafe code;
/// the file is what every system has behind it.
#[derive(Debug, Default)]
pub struct Services(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    /// The official name first, then the aliases.
    names: Vec<String>,
    port: u16,
    protocol: Protocol,
}

impl Services {
    /// Reads the file's text; lines that say nothing are passed over, as the C library does.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(Entry::parse).collect())
    }

    /// The port of the first entry that has `name`.
    #[must_use]
    pub fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        self.0
            .iter()
            .find(|entry| entry.protocol == protocol && entry.names.iter().any(|n| n == name))
            .map(|entry| entry.port)
    }

    /// The official name of the first entry for `port`.
    #[must_use]
    pub fn name(&self, port: u16, protocol: Protocol) -> Option<String> {
        self.0
            .iter()
            .find(|entry| entry.protocol == protocol && entry.port == port)
            .and_then(|entry| entry.names.first().cloned())
    }
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let (line, _) = line.split_once('#').unwrap_or((line, ""));
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let (port, protocol) = words.next()?.split_once('/')?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => return None,
        };
        Some(Self {
            names: std::iter::once(name)
                .chain(words)
                .map(str::to_owned)
                .collect(),
            port: port.parse().ok()?,
            protocol,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a comment
http\t\t80/tcp\t\twww\t\t# WorldWideWeb HTTP
http-alt 80/tcp
domain 53/tcp
domain 53/udp # both
bad line
huge 99999/tcp
h323 1718/sctp
";

    #[test]
    fn a_service_is_found_by_name_alias_and_port_of_its_protocol() {
        let services = Services::parse(TEXT);
        assert_eq!(services.port("http", Protocol::Tcp), Some(80));
        assert_eq!(services.port("www", Protocol::Tcp), Some(80));
        assert_eq!(services.port("http", Protocol::Udp), None);
        assert_eq!(services.port("huge", Protocol::Tcp), None);
        assert_eq!(services.name(80, Protocol::Tcp).as_deref(), Some("http"));
        assert_eq!(services.name(53, Protocol::Udp).as_deref(), Some("domain"));
        assert_eq!(services.name(1718, Protocol::Sctp).as_deref(), Some("h323"));
        assert_eq!(services.name(54, Protocol::Udp), None);
    }

    #[test]
    fn an_address_without_a_name_is_not_given_its_number_as_one() {
        let names = SystemNames::default();
        assert_eq!(names.address("localhost"), Some(Ipv4Addr::LOCALHOST));
        // Most hosts call it localhost; one that has no name for it must say so.
        let name = names.host(Ipv4Addr::LOCALHOST.into());
        assert!(name.is_none_or(|name| name.parse::<IpAddr>().is_err()));
    }
}
