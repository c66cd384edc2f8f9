//! `dirigo explain`: which real server a client's packet would go to, and why.

use std::net::SocketAddr;
use std::process::ExitCode;

use api::{Client, Decision, ExplainQuery, Explanation, Fate, Protocol, Verdict};

use crate::show::{Common, finish, show};

/// Arguments of `dirigo explain`.
#[derive(clap::Args)]
pub struct Args {
    /// tcp, udp or sctp
    #[arg(value_name = "PROTO", value_parser = protocol)]
    protocol: Protocol,
    /// The client: ADDRESS:PORT, IPv6 in brackets
    #[arg(value_name = "CLIENT")]
    client: SocketAddr,
    /// The virtual service: ADDRESS:PORT
    #[arg(value_name = "VIP")]
    virtual_address: SocketAddr,
    #[command(flatten)]
    common: Common,
}

fn protocol(text: &str) -> Result<Protocol, String> {
    let mut all = Protocol::ALL.into_iter();
    all.find(|one| one.name() == text)
        .ok_or_else(|| "write tcp, udp or sctp".to_owned())
}

/// Explains a packet.
pub fn main(args: &Args) -> ExitCode {
    let query = ExplainQuery {
        protocol: args.protocol,
        client: args.client,
        virtual_address: args.virtual_address,
    };
    let ask = |client: &Client| client.explain(&query);
    finish(show(&args.common, ask, text))
}

fn text(found: &Explanation) -> String {
    let packet = match found.query.protocol {
        Protocol::Tcp => "a TCP SYN",
        Protocol::Udp => "a UDP datagram",
        Protocol::Sctp => "an SCTP INIT",
    };
    let (client, vip) = (found.query.client, found.query.virtual_address);
    let mut lines = format!("{packet} from {client} to {vip}, now\n");
    if let Some(service) = &found.service {
        let scheduler = found.scheduler.as_deref().unwrap_or("unknown");
        lines += &format!("  service:  {service}, scheduler {scheduler}\n");
    }
    if let Some(why) = decision(found) {
        lines += &format!("  decided:  {why}\n");
    }
    lines += &format!("  becomes:  {}\n", fate(&found.fate));
    if let (Some(server), Some(otherwise)) = (found.fate.destination, &found.otherwise) {
        let becomes = fate(otherwise);
        lines += &format!("  if {} stopped answering:  {becomes}\n", server.ip());
    }
    lines
}

fn decision(found: &Explanation) -> Option<String> {
    Some(match &found.decision {
        Decision::None => return None,
        Decision::Connection { state, expires_s } => format!(
            "by its connection, {state}, which would be forgotten in {expires_s} s; nothing is scheduled"
        ),
        Decision::Template => {
            "by the client's persistence template; the scheduler is not asked".to_owned()
        }
        Decision::Rotation { position, cycle } => {
            format!(
                "by the turn: position {position} of a cycle of {cycle}; the next client has the next one"
            )
        }
        Decision::Table { slot, slots, tried } => {
            let fallback = match tried {
                0 | 1 => String::new(),
                tried => format!(", the {tried}th slot that was asked (fallback)"),
            };
            format!("by hash: slot {slot} of {slots}{fallback}")
        }
        Decision::List {
            destinations,
            is_drawn: true,
        } => format!("drawn from {destinations} destinations: another packet may draw another"),
        Decision::List { destinations, .. } => {
            format!("the best of {destinations} destinations at this moment")
        }
    })
}

/// What becomes of a packet, in a line.
fn fate(fate: &Fate) -> String {
    let counter = &fate.counter;
    let server = fate.destination.map(|one| one.to_string());
    let (server, mac, interface) = (
        server.as_deref().unwrap_or("a destination without a name"),
        fate.mac.as_deref().unwrap_or("unknown"),
        fate.interface.as_deref().unwrap_or("unknown"),
    );
    match fate.verdict {
        Verdict::Transmit | Verdict::Redirect => {
            format!("sent to {server} at {mac} out of {interface} ({counter})")
        }
        Verdict::Reply | Verdict::Pass | Verdict::Drop => {
            let what = match fate.verdict {
                Verdict::Reply => "refused with an ICMP error",
                Verdict::Pass => "left to this host",
                _ => "dropped",
            };
            format!("{what}: {} ({counter})", reason(counter))
        }
    }
}

/// What a counter of a packet that is not forwarded means.
fn reason(counter: &str) -> &str {
    match counter {
        "pass_not_a_virtual_address" => "the address is no virtual address",
        "pass_not_a_service" => "no virtual service has this address, port and protocol",
        "pass_ftp_data" => "source port 20 never makes a connection",
        "pass_local_destination" => "the destination is the director itself",
        "pass_not_ready" => "the data path has no settings yet",
        "reply_port_unreachable" | "drop_no_destination" => {
            "the service has no destination that may be given it"
        }
        "drop_destination_gone" => "the destination of its connection was deleted",
        "drop_destination_unresolved" => "the MAC of its destination is not known",
        "drop_table_full" => "the connection table has no room in its two buckets",
        "drop_service_share" => "the service has its share of the connection table",
        other => other,
    }
}
