//! The tables that `-L` prints, byte for byte as the original: titles, widths, blanks at line ends.
//!
//! ```text
//! IP Virtual Server version 1.2.1 (size=4096)
//! Prot LocalAddress:Port Scheduler Flags
//!   -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
//! TCP  192.0.2.100:80 wrr
//!   -> 192.0.2.11:80                Route   3      0          0
//! ```
//!
//! Programs parse these lines, so nothing is ever added to them; `dirigo services` is for people.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use api::{
    Connection, Destination, DestinationSettings, Family, ForwardingMethod, Protocol, Rates,
    Service, ServiceKey, Stats, Tunnel, TunnelChecksum, TunnelKind,
};

use super::line::{Layout, Listing};
use super::names::Names;

/// First line of the whole table. The version is IPVS's, the size is its default number of
/// connection buckets: both are what scripts compare with.
pub const BANNER: &str = "IP Virtual Server version 1.2.1 (size=4096)\n";

/// Characters of a service's name in a table, protocol included; only IPv4 is cut.
const SERVICE_CHARS: usize = 33;
/// Characters of a destination's name in a table; only IPv4 is cut.
const DESTINATION_CHARS: usize = 28;

/// Writes addresses, as numbers or as names.
#[derive(Clone, Copy)]
pub struct Writer<'a> {
    /// `None` for numbers only.
    pub names: Option<&'a dyn Names>,
}

impl Writer<'_> {
    /// `host:port`, IPv6 hosts in brackets; without a protocol no port has a name.
    #[must_use]
    pub fn endpoint(&self, address: SocketAddr, protocol: Option<Protocol>) -> String {
        let mut text = String::new();
        self.append(address, protocol, &mut text);
        text
    }

    /// The same, after what is there.
    fn append(&self, address: SocketAddr, protocol: Option<Protocol>, text: &mut String) {
        let (left, right) = match address {
            SocketAddr::V4(_) => ("", ""),
            SocketAddr::V6(_) => ("[", "]"),
        };
        text.push_str(left);
        match self.names.and_then(|names| names.host(address.ip())) {
            Some(host) => text.push_str(&host),
            None => numeric(address.ip(), text),
        }
        text.push_str(right);
        let port = |names: &dyn Names| names.service(address.port(), protocol?);
        // Writing into a String cannot fail.
        let _ = match self.names.and_then(port) {
            Some(port) => write!(text, ":{port}"),
            None => write!(text, ":{}", address.port()),
        };
    }

    fn service(&self, service: &Service) -> String {
        match service.service {
            ServiceKey::Address { protocol, address } => {
                let title = title(Some(protocol));
                let name = format!("{title:<4} {}", self.endpoint(address, Some(protocol)));
                cut(name, address, SERVICE_CHARS)
            }
            ServiceKey::Mark { mark, family } => {
                let family = match family {
                    Family::V4 => "",
                    Family::V6 => " IPv6",
                };
                // A mark is an `int` to the original.
                format!("FWM  {}{family}", mark.get().cast_signed())
            }
        }
    }

    fn destination(&self, service: &Service, destination: &Destination) -> String {
        let address = destination.destination;
        let name = self.endpoint(address, service.service.protocol());
        cut(name, address, DESTINATION_CHARS)
    }
}

/// The two title lines.
#[must_use]
pub fn titles(layout: Layout) -> String {
    let remote = "  -> RemoteAddress:Port";
    match layout {
        Layout::Default => format!(
            "Prot LocalAddress:Port Scheduler Flags\n\
             {remote}           Forward Weight ActiveConn InActConn\n"
        ),
        Layout::TunInfo => format!(
            "Prot LocalAddress:Port Scheduler Flags\n\
             {remote}           Forward TunnelInfo    Weight ActiveConn InActConn\n"
        ),
        Layout::Stats => counter_titles(["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"]),
        Layout::Rate => counter_titles(["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"]),
        Layout::Thresholds => format!(
            "{:<33} {:<10} {:<10} {:<10} {:<10}\n{remote}\n",
            "Prot LocalAddress:Port", "Uthreshold", "Lthreshold", "ActiveConn", "InActConn"
        ),
        Layout::PersistentConn => format!(
            "{:<33} {:<9} {:<11} {:<10} {:<10}\n{remote}\n",
            "Prot LocalAddress:Port", "Weight", "PersistConn", "ActiveConn", "InActConn"
        ),
    }
}

fn counter_titles(columns: [&str; 5]) -> String {
    let mut line = format!("{:<33}", "Prot LocalAddress:Port");
    for column in columns {
        let _ = write!(line, " {column:>8}");
    }
    line + "\n  -> RemoteAddress:Port\n"
}

/// One service and its destinations.
#[must_use]
pub fn service(service: &Service, listing: Listing, writer: Writer<'_>) -> String {
    let name = writer.service(service);
    let mut text = match listing.layout {
        Layout::Stats => format!("{name:<33}{}\n", counters(service.stats, listing.exact)),
        Layout::Rate => format!("{name:<33}{}\n", rates(service.rates, listing.exact)),
        _ => format!("{name} {}\n", service.settings),
    };
    for destination in &service.destinations {
        let name = writer.destination(service, destination);
        let cells = cells(destination, listing);
        let _ = writeln!(text, "  -> {name:<28}{cells}");
    }
    text
}

fn cells(destination: &Destination, listing: Listing) -> String {
    let settings = &destination.settings;
    let (active, inactive) = (destination.active, destination.inactive);
    let forward = match settings.forwarding {
        // A destination on the director itself is `Route` as well, as in every kernel since 2.6.37.
        ForwardingMethod::DirectRouting => "Route",
        ForwardingMethod::Tunnelling => "Tunnel",
        ForwardingMethod::Masquerading => "Masq",
    };
    let weight = settings.weight;
    match listing.layout {
        Layout::Stats => counters(destination.stats, listing.exact),
        Layout::Rate => destination_rates(destination.rates, listing.exact),
        Layout::Default => format!(" {forward:<7} {weight:<6} {active:<10} {inactive:<10}"),
        Layout::TunInfo => {
            let tunnel = tunnel_info(settings);
            format!(" {forward:<7} {tunnel:<13} {weight:<6} {active:<10} {inactive:<10}")
        }
        Layout::Thresholds => format!(
            " {:<10} {:<10} {active:<10} {inactive:<10}",
            settings.upper_threshold, settings.lower_threshold
        ),
        Layout::PersistentConn => {
            let templates = destination.templates;
            format!(" {weight:<9} {templates:<11} {active:<10} {inactive:<10}")
        }
    }
}

/// `n/a`, `ipip`, `gue:6080:+c`, `gre:-c`.
fn tunnel_info(settings: &DestinationSettings) -> String {
    if settings.forwarding != ForwardingMethod::Tunnelling {
        return "n/a".to_owned();
    }
    let Tunnel {
        kind,
        port,
        checksum,
    } = settings.tunnel.unwrap_or_default();
    let checksum = match checksum {
        TunnelChecksum::None => "-c",
        TunnelChecksum::Full => "+c",
        TunnelChecksum::Remote => "r+c",
    };
    match kind {
        TunnelKind::Ipip => "ipip".to_owned(),
        TunnelKind::Gue => format!("gue:{port}:{checksum}"),
        TunnelKind::Gre => format!("gre:{checksum}"),
    }
}

/// Connections, packets and bytes in, and out.
fn counters(stats: Stats, exact: bool) -> String {
    let Stats {
        connections,
        packets,
        bytes,
        out_packets,
        out_bytes,
    } = stats;
    [connections, packets, out_packets, bytes, out_bytes]
        .into_iter()
        .map(|number| cell(number, exact))
        .collect()
}

/// A service's per second.
fn rates(rates: Rates, exact: bool) -> String {
    let Rates {
        connections,
        packets,
        bytes,
        out_packets,
        out_bytes,
    } = rates;
    [connections, packets, out_packets, bytes, out_bytes]
        .into_iter()
        .map(|number| cell(number, exact))
        .collect()
}

/// A destination's: only its bytes are ever shortened.
fn destination_rates(rates: Rates, exact: bool) -> String {
    let Rates {
        connections,
        packets,
        bytes,
        out_packets,
        out_bytes,
    } = rates;
    let plain = format!(" {connections:>8} {packets:>8} {out_packets:>8}");
    plain + &cell(bytes, exact) + &cell(out_bytes, exact)
}

/// Nine columns; big numbers lose digits from the right, by thousands.
fn cell(number: u64, exact: bool) -> String {
    if exact {
        return format!(" {number:>8}");
    }
    let (divisor, unit) = match number {
        0..100_000_000 => return format!("{number:>9}"),
        100_000_000..1_000_000_000 => (1_000, 'K'),
        1_000_000_000..100_000_000_000 => (1_000_000, 'M'),
        100_000_000_000..100_000_000_000_000 => (1_000_000_000, 'G'),
        _ => (1_000_000_000_000, 'T'),
    };
    format!("{:>8}{unit}", number / divisor)
}

/// The heading of `-L -c`.
#[must_use]
pub fn connection_titles(layout: Layout) -> String {
    let engine = match layout {
        Layout::PersistentConn => format!(" {:<16} pe_data", "pe name"),
        _ => String::new(),
    };
    let destination = match layout {
        Layout::PersistentConn => format!("{:<18}", "destination"),
        _ => "destination".to_owned(),
    };
    format!(
        "IPVS connection entries\npro expire {:<11} {:<18} {:<18} {destination}{engine}\n",
        "state", "source", "virtual"
    )
}

/// Appends one line of `-L -c`.
pub fn connection(connection: &Connection, writer: Writer<'_>, text: &mut String) {
    let (minutes, seconds) = (connection.expires_s / 60, connection.expires_s % 60);
    let title = title(connection.protocol);
    let before = text.len();
    // Writing into a String cannot fail.
    let _ = write!(text, "{title:<3} {minutes:02}:{seconds:02}");
    pad(text, before + 11);
    let _ = write!(text, "{:<11} ", connection.state);
    for address in [connection.client, connection.virtual_address] {
        let before = text.len();
        writer.append(address, connection.protocol, text);
        pad(text, before + 19);
    }
    writer.append(connection.destination, connection.protocol, text);
    text.push('\n');
}

/// Blanks up to a column, at least one.
fn pad(text: &mut String, column: usize) {
    text.push(' ');
    while text.len() < column {
        text.push(' ');
    }
}

/// As a listing has it.
#[must_use]
pub fn title(protocol: Option<Protocol>) -> &'static str {
    match protocol {
        Some(Protocol::Tcp) => "TCP",
        Some(Protocol::Udp) => "UDP",
        Some(Protocol::Sctp) => "SCTP",
        None => "IP",
    }
}

fn cut(name: String, address: SocketAddr, chars: usize) -> String {
    match address {
        SocketAddr::V4(_) => name.chars().take(chars).collect(),
        SocketAddr::V6(_) => name,
    }
}

/// An address as C's `inet_ntop` writes it, which shows the last four bytes of an IPv4-compatible
/// address with dots (RFC 4291, 2.5.5.1) where Rust does not.
fn numeric(address: IpAddr, text: &mut String) {
    // Writing into a String cannot fail.
    let _ = match address {
        IpAddr::V6(v6) => match (v6.segments(), v6.octets()) {
            ([0, 0, 0, 0, 0, 0, high, _], [.., a, b, c, d]) if high != 0 => {
                write!(text, "::{a}.{b}.{c}.{d}")
            }
            _ => write!(text, "{v6}"),
        },
        IpAddr::V4(v4) => write!(text, "{v4}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn big_numbers_keep_nine_columns_unless_exact_ones_are_wanted() {
        let cases = [
            (0, "        0", "        0"),
            (99_999_999, " 99999999", " 99999999"),
            (100_000_000, "  100000K", " 100000000"),
            (999_999_999, "  999999K", " 999999999"),
            (1_234_567_890, "    1234M", " 1234567890"),
            (99_999_999_999, "   99999M", " 99999999999"),
            (100_000_000_000, "     100G", " 100000000000"),
            (99_999_999_999_999, "   99999G", " 99999999999999"),
            (100_000_000_000_000, "     100T", " 100000000000000"),
            (u64::MAX, "18446744T", " 18446744073709551615"),
        ];
        for (number, rounded, exact) in cases {
            assert_eq!(cell(number, false), rounded);
            assert_eq!(cell(number, true), exact);
        }
    }

    #[test]
    fn an_ipv6_address_is_written_as_the_c_library_writes_it() {
        for text in [
            "::",
            "::1",
            "::192.0.2.1",
            "::ffff:192.0.2.1",
            "2001:db8::100",
            "1:0:2::3",
        ] {
            let mut written = String::new();
            numeric(text.parse().unwrap(), &mut written);
            assert_eq!(written, text);
        }
    }

    #[test]
    fn minutes_of_an_expiry_time_are_not_bounded() {
        let mut line = String::new();
        connection(
            &Connection {
                protocol: Some(Protocol::Udp),
                client: "[2001:db8::7]:50000".parse().unwrap(),
                virtual_address: "192.0.2.100:53".parse().unwrap(),
                destination: "192.0.2.11:53".parse().unwrap(),
                state: "UDP".to_owned(),
                expires_s: 8015,
            },
            Writer { names: None },
            &mut line,
        );
        assert_eq!(
            line,
            "UDP 133:35 UDP         [2001:db8::7]:50000 192.0.2.100:53     192.0.2.11:53\n"
        );
    }
}
