//! Addresses as text, and which of them can be used.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Why a text is not the address that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence beside each variant says it")]
pub enum AddressFault {
    #[error(
        "\"{found}\" is not an IP address, and names are not looked up: write for example {example}"
    )]
    NotAnAddress {
        found: crate::mistake::Quoted,
        example: &'static str,
    },
    #[error("\"{found}\" has a prefix length, but this is one address: write \"{address}\"")]
    HasPrefix {
        found: crate::mistake::Quoted,
        address: String,
    },
    #[error("{address} has no port: write for example \"{}\"", SocketAddr::new(*address, 80))]
    NoPort { address: IpAddr },
    #[error(
        "\"{found}\" has no brackets, so its port cannot be told from its address: write \"{meant}\""
    )]
    NoBrackets {
        found: crate::mistake::Quoted,
        meant: SocketAddr,
    },
    #[error("port \"{found}\" is not a number from 0 to 65535: write the port in digits")]
    BadPort { found: crate::mistake::Quoted },
    #[error("port 0 is no port of a real server: leave it out")]
    PortZero,
    #[error(
        "{found} is an IPv4 address written as IPv6, and no packet carries it so: write {meant}"
    )]
    Mapped {
        found: Ipv6Addr,
        meant: std::net::Ipv4Addr,
    },
}

/// An address with the port that it must have, 0 for every one: `192.0.2.100:80`,
/// `[2001:db8::100]:80`.
pub(crate) fn with_port(text: &str, example: &'static str) -> Result<SocketAddr, AddressFault> {
    if let Some(fault) = missing_brackets(text) {
        return Err(fault);
    }
    match parts(text, example)? {
        (address, Some(port)) => Ok(SocketAddr::new(address, port)),
        (address, None) => Err(AddressFault::NoPort { address }),
    }
}

/// An address, perhaps with a port: `192.0.2.7`, `192.0.2.7:80`, `2001:db8::7`,
/// `[2001:db8::7]:80`.
pub(crate) fn with_optional_port(
    text: &str,
    example: &'static str,
) -> Result<(IpAddr, Option<u16>), AddressFault> {
    match parts(text, example)? {
        (_, Some(0)) => Err(AddressFault::PortZero),
        parts => Ok(parts),
    }
}

fn parts(text: &str, example: &'static str) -> Result<(IpAddr, Option<u16>), AddressFault> {
    let not_an_address = || AddressFault::NotAnAddress {
        found: text.into(),
        example,
    };
    if let Some((address, length)) = text.split_once('/')
        && address.parse::<IpAddr>().is_ok()
    {
        let port = length.find(':').map_or("", |at| &length[at..]);
        return Err(AddressFault::HasPrefix {
            found: text.into(),
            address: format!("{address}{port}"),
        });
    }
    if text.parse::<IpAddr>().is_err()
        && let Some(fault) = missing_brackets(text)
    {
        return Err(fault);
    }
    let (host, port) = split(text);
    let address = host.parse::<IpAddr>().map_err(|_| not_an_address())?;
    if host.len() < text.len() && text.starts_with('[') && address.is_ipv4() {
        return Err(not_an_address());
    }
    if let IpAddr::V6(found) = address
        && let Some(meant) = found.to_ipv4_mapped()
    {
        return Err(AddressFault::Mapped { found, meant });
    }
    Ok((address, port.map(parse_port).transpose()?))
}

/// Why nobody can offer or serve anything at this address, if so.
pub(crate) fn not_unicast(address: &IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_loopback() => Some("a loopback address"),
        _ if address.is_multicast() => Some("a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("a link-local address"),
        _ => None,
    }
}

/// Host and port, without judging either.
fn split(text: &str) -> (&str, Option<&str>) {
    if let Some(inner) = text.strip_prefix('[')
        && let Some((host, rest)) = inner.split_once(']')
    {
        return match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => (text, None),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return (text, None);
    }
    match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

fn parse_port(text: &str) -> Result<u16, AddressFault> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits => Ok(port),
        _ => Err(AddressFault::BadPort { found: text.into() }),
    }
}

/// `2001:db8::100:80` is one good IPv6 address, but somebody who owes us a port meant
/// `[2001:db8::100]:80`.
fn missing_brackets(text: &str) -> Option<AddressFault> {
    if text.starts_with('[') {
        return None;
    }
    let (host, port) = text.rsplit_once(':')?;
    let meant = SocketAddr::new(IpAddr::V6(host.parse().ok()?), parse_port(port).ok()?);
    Some(AddressFault::NoBrackets {
        found: text.into(),
        meant,
    })
}
