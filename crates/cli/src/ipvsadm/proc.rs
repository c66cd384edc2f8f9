//! `dirigo ipvsadm proc FILE`: what the kernel's IPVS shows in `/proc/net`, for programs that read it.
//!
//! ```text
//! TCP  C0000264:0050 wrr              ip_vs: addresses and ports in hexadecimal, host order
//!   -> C000020B:0050      Route   3      5          17
//! TCP C0000201 A282 C0000264 0050 C000020E 0050 SYN_RECV         53      ip_vs_conn
//! ```
//!
//! Source: Linux `net/netfilter/ipvs/ip_vs_ctl.c` and `ip_vs_conn.c`, and recordings of 6.18. The order
//! of services and connections, the kernel's hash order, means nothing there and is another one here.

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::ControlFlow;

use api::{Connection, ForwardingMethod, Netmask, Rates, Service, ServiceKey, Stats};

use super::failure::{Doing, Failure, from_client};
use super::{Ipvsadm, list};

/// Ticks of the kernel's clock in a second, in which persistence is told: Debian's `CONFIG_HZ`.
const HZ: u32 = 250;

/// The files there are.
const FILES: &str = "ip_vs, ip_vs_conn, ip_vs_conn_sync, ip_vs_stats";

impl Ipvsadm<'_> {
    /// Prints a file.
    pub fn proc(&mut self, words: &[String]) -> u8 {
        let done = match words {
            [file] => self.proc_file(file),
            _ => Err(Failure::ProcFile {
                found: words.join(" "),
                files: FILES,
            }),
        };
        match done {
            Ok(()) => 0,
            Err(failure) => self.report(&failure),
        }
    }

    fn proc_file(&mut self, file: &str) -> Result<(), Failure> {
        let name = file.strip_prefix("/proc/net/").unwrap_or(file);
        match name {
            "ip_vs" => {
                let text: String = self.services(false)?.iter().map(service).collect();
                self.print(&format!("{}{TITLES}{text}", list::BANNER))
            }
            "ip_vs_conn" => self.proc_connections(CONNECTION_TITLES, &connection),
            "ip_vs_conn_sync" => self.proc_connections(SYNC_TITLES, &synced_connection),
            "ip_vs_stats" => {
                let totals = self
                    .kernel
                    .totals()
                    .map_err(|error| from_client(error, Doing::Other))?;
                self.print(&stats(totals.stats, totals.rates))
            }
            _ => Err(Failure::ProcFile {
                found: file.to_owned(),
                files: FILES,
            }),
        }
    }

    fn proc_connections(
        &mut self,
        titles: &'static str,
        line: &dyn Fn(&Connection) -> String,
    ) -> Result<(), Failure> {
        self.stream_connections(titles.to_owned(), &mut |connection, text| {
            text.push_str(&line(connection));
        })
    }

    /// Prints connections as they arrive.
    pub(super) fn stream_connections(
        &mut self,
        titles: String,
        write: &mut dyn FnMut(&Connection, &mut String),
    ) -> Result<(), Failure> {
        // The titles wait for the first line: without a daemon there is nothing to head.
        let mut titles = Some(titles);
        let output = &mut *self.output;
        let mut written = Ok(());
        let mut text = String::new();
        self.kernel
            .connections(&mut |connection| {
                text.clear();
                text.extend(titles.take());
                write(&connection, &mut text);
                written = output.write_all(text.as_bytes());
                match written {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            })
            .map_err(|error| from_client(error, Doing::Other))?;
        written?;
        self.print(&titles.unwrap_or_default())
    }
}

const TITLES: &str = "Prot LocalAddress:Port Scheduler Flags\n\
                      \x20 -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n";
const CONNECTION_TITLES: &str =
    "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n";
const SYNC_TITLES: &str =
    "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\n";

fn service(service: &Service) -> String {
    let settings = &service.settings;
    let scheduler = &settings.scheduler;
    let ops = if settings.one_packet { "ops " } else { "" };
    let mut text = match service.service {
        ServiceKey::Address { protocol, address } => {
            let (title, port) = (list::title(Some(protocol)), address.port());
            match address.ip() {
                // A blank more than the others have, and the flag, which IPv6 lacks: as in the kernel.
                IpAddr::V4(ip) => {
                    let address = u32::from(ip);
                    format!("{title}  {address:08X}:{port:04X} {scheduler} {ops} ")
                }
                IpAddr::V6(ip) => format!("{title}  [{}]:{port:04X} {scheduler} ", groups(ip)),
            }
        }
        ServiceKey::Mark { mark, .. } => format!("FWM  {mark:08X} {scheduler} {ops}"),
    };
    if let Some(persistence) = &settings.persistence {
        let mask = match (persistence.netmask, service.service.is_ipv6()) {
            (Some(Netmask::V4(mask)), _) => u32::from(mask),
            (Some(Netmask::V6(prefix)), _) => u32::from(prefix) << 24,
            (None, false) => u32::MAX,
            (None, true) => 128 << 24,
        };
        let ticks = u64::from(persistence.timeout_s) * u64::from(HZ);
        let _ = write!(text, "persistent {ticks} {mask:08X}");
    }
    text += "\n";
    for destination in &service.destinations {
        let address = destination.destination;
        let name = match address.ip() {
            IpAddr::V4(ip) => format!("{:08X}", u32::from(ip)),
            IpAddr::V6(ip) => format!("[{}]", groups(ip)),
        };
        let forward = match destination.settings.forwarding {
            ForwardingMethod::DirectRouting => "Route",
            ForwardingMethod::Tunnelling => "Tunnel",
            ForwardingMethod::Masquerading => "Masq",
        };
        let _ = writeln!(
            text,
            "  -> {name}:{:04X}      {forward:<7} {:<6} {:<10} {:<10}",
            address.port(),
            destination.settings.weight,
            destination.active,
            destination.inactive
        );
    }
    text
}

/// The part that both lists of connections have.
fn tuple(connection: &Connection) -> String {
    let mut text = format!("{:<3}", list::title(connection.protocol));
    for address in [
        connection.client,
        connection.virtual_address,
        connection.destination,
    ] {
        let _ = match address.ip() {
            IpAddr::V4(ip) => write!(text, " {:08X}", u32::from(ip)),
            IpAddr::V6(ip) => write!(text, " {}", groups(ip)),
        };
        let _ = write!(text, " {:04X}", address.port());
    }
    text
}

fn connection(connection: &Connection) -> String {
    let (tuple, state) = (tuple(connection), &connection.state);
    format!("{tuple} {state:<11} {:>7}\n", connection.expires_s)
}

fn synced_connection(connection: &Connection) -> String {
    let (tuple, state) = (tuple(connection), &connection.state);
    let origin = "LOCAL";
    format!(
        "{tuple} {state:<11} {origin:<6} {:>7}\n",
        connection.expires_s
    )
}

/// All eight groups of four digits.
fn groups(address: Ipv6Addr) -> String {
    address
        .segments()
        .map(|group| format!("{group:04x}"))
        .join(":")
}

fn stats(stats: Stats, rates: Rates) -> String {
    let row = |[connections, packets, out_packets, bytes, out_bytes]: [u64; 5]| {
        format!("{connections:8X} {packets:8X} {out_packets:8X} {bytes:16X} {out_bytes:16X}\n")
    };
    let stats = row([
        stats.connections,
        stats.packets,
        stats.out_packets,
        stats.bytes,
        stats.out_bytes,
    ]);
    let rates = row([
        rates.connections,
        rates.packets,
        rates.out_packets,
        rates.bytes,
        rates.out_bytes,
    ]);
    format!(
        "   Total Incoming Outgoing         Incoming         Outgoing\n\
         \x20  Conns  Packets  Packets            Bytes            Bytes\n\
         {stats}\n\
         \x20Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n\
         {rates}"
    )
}
