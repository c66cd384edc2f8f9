//! The lines of `-S`, which `-R` reads again, here and in the original.

use std::fmt::Write;

use api::{ForwardingMethod, Protocol, Service};

use super::list::Writer;

/// One service: its `-A` line, then an `-a` line for each destination.
#[must_use]
pub fn service(service: &Service, writer: Writer<'_>) -> String {
    let key = service.service;
    let switch = match key.protocol {
        Protocol::Tcp => "-t",
        Protocol::Udp => "-u",
    };
    let name = format!("{switch} {}", writer.endpoint(key.address, key.protocol));
    let settings = &service.settings;
    let mut text = format!("-A {name} -s {}", settings.scheduler);
    if let Some(persistence) = &settings.persistence {
        let _ = write!(text, " -p {}", persistence.timeout_s);
        if let Some(mask) = persistence.joining_mask() {
            let _ = write!(text, " -M {mask}");
        }
    }
    text += if settings.one_packet { " -o\n" } else { "\n" };
    for destination in &service.destinations {
        let server = writer.endpoint(destination.destination, key.protocol);
        let weight = destination.settings.weight;
        let (method, tunnel) = match destination.settings.forwarding {
            ForwardingMethod::DirectRouting => ("-g", ""),
            ForwardingMethod::Masquerading => ("-m", ""),
            ForwardingMethod::Tunnelling => ("-i", " --tun-type ipip"),
        };
        let _ = writeln!(text, "-a {name} -r {server} {method} -w {weight}{tunnel}");
    }
    text
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
