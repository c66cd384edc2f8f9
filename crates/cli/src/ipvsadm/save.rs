//! The lines of `-S`, which `-R` reads again, here and in the original.

use std::fmt::Write;

use api::{
    Family, ForwardingMethod, Protocol, Service, ServiceKey, Tunnel, TunnelChecksum, TunnelKind,
};

use super::list::Writer;
use super::values::kind_name;

/// One service: its `-A` line, then an `-a` line for each destination.
#[must_use]
pub fn service(service: &Service, writer: Writer<'_>) -> String {
    let key = service.service;
    let name = name(key, writer);
    let settings = &service.settings;
    let flags = settings.flags.names(&settings.scheduler);
    let mut text = format!("-A {name} -s {}", settings.scheduler);
    if let Some(persistence) = &settings.persistence {
        let _ = write!(text, " -p {}", persistence.timeout_s);
        if let Some(mask) = persistence.joining_mask() {
            let _ = write!(text, " -M {mask}");
        }
    }
    if let Some(engine) = &settings.engine {
        let _ = write!(text, " --pe {engine}");
    }
    text += if settings.one_packet { " -o" } else { "" };
    // Of a flag without a name nothing is left but the switch, as in the original.
    if !settings.flags.is_empty() {
        let _ = write!(text, " -b {}", flags.join(","));
    }
    text += "\n";
    for destination in &service.destinations {
        let server = writer.endpoint(destination.destination, key.protocol());
        let weight = destination.settings.weight;
        let (method, tunnel) = match destination.settings.forwarding {
            ForwardingMethod::DirectRouting => ("-g", String::new()),
            ForwardingMethod::Masquerading => ("-m", String::new()),
            ForwardingMethod::Tunnelling => ("-i", tunnel(destination.settings.tunnel)),
        };
        let _ = writeln!(text, "-a {name} -r {server} {method} -w {weight}{tunnel}");
    }
    text
}

fn tunnel(tunnel: Option<Tunnel>) -> String {
    let Tunnel {
        kind,
        port,
        checksum,
    } = tunnel.unwrap_or_default();
    let checksum = match checksum {
        TunnelChecksum::None => "--tun-nocsum",
        TunnelChecksum::Full => "--tun-csum",
        TunnelChecksum::Remote => "--tun-remcsum",
    };
    let name = kind_name(kind);
    match kind {
        TunnelKind::Ipip => format!(" --tun-type {name}"),
        TunnelKind::Gue => format!(" --tun-type {name} --tun-port {port} {checksum}"),
        TunnelKind::Gre => format!(" --tun-type {name} {checksum}"),
    }
}

fn name(key: ServiceKey, writer: Writer<'_>) -> String {
    match key {
        ServiceKey::Address { protocol, address } => {
            let switch = match protocol {
                Protocol::Tcp => "-t",
                Protocol::Udp => "-u",
                Protocol::Sctp => "--sctp-service",
            };
            format!("{switch} {}", writer.endpoint(address, Some(protocol)))
        }
        ServiceKey::Mark { mark, family } => {
            let family = match family {
                Family::V4 => "",
                Family::V6 => " -6",
            };
            format!("-f {}{family}", mark.get().cast_signed())
        }
    }
}

/// The words of one line for `-R`: blanks, tabs and carriage returns part them, nothing quotes
/// them, and `ipvsadm` itself is no word.
#[must_use]
pub fn words(line: &str) -> Vec<String> {
    line.split([' ', '\t', '\r', '\n'])
        .filter(|word| !word.is_empty() && *word != "ipvsadm")
        .map(str::to_owned)
        .collect()
}
