//! `dirigo explain`: which real server a client's packet would go to, and why.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use api::{
    Client, Decision, EXPLAIN_FRAME_BYTES, ExplainFrame, ExplainQuery, ExplainedFrame, Explanation,
    Fate, LinkState, Protocol, ServerExplanation, ServerQuery, ServerShare, Verdict,
};
use trace::{Capture, Sighting};

use crate::exit;
use crate::show::{Common, finish, show};

/// Arguments of `dirigo explain`.
#[derive(clap::Args)]
pub struct Args {
    /// tcp, udp or sctp
    #[arg(value_name = "PROTO", value_parser = protocol, required_unless_present_any = ["packet", "server"])]
    protocol: Option<Protocol>,
    /// The client: ADDRESS:PORT, IPv6 in brackets
    #[arg(value_name = "CLIENT", required_unless_present_any = ["packet", "server"])]
    client: Option<SocketAddr>,
    /// The virtual service: ADDRESS:PORT
    #[arg(value_name = "VIP", required_unless_present_any = ["packet", "server"])]
    virtual_address: Option<SocketAddr>,
    /// A frame of a capture (pcap or pcapng) instead, whatever it is
    #[arg(long, value_name = "FILE", conflicts_with = "protocol")]
    packet: Option<PathBuf>,
    /// Which frame of it: 1 is the first, as in Wireshark
    #[arg(
        long,
        value_name = "N",
        requires = "packet",
        conflicts_with = "protocol"
    )]
    number: Option<std::num::NonZeroUsize>,
    /// The reverse: which services' clients go to this real server, which part of them, and why no more
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["protocol", "packet"])]
    server: Option<IpAddr>,
    /// Take the frame to be addressed to the director's MAC, whatever it was addressed to: for captures of other hosts
    #[arg(long, requires = "packet", conflicts_with = "protocol")]
    to_director: bool,
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
    if let Some(server) = args.server {
        let query = ServerQuery { server };
        let ask = |client: &Client| client.explain_server(&query);
        return finish(show(&args.common, ask, server_text));
    }
    if let Some(file) = &args.packet {
        return explain_frame(file, args);
    }
    let (Some(protocol), Some(client), Some(virtual_address)) =
        (args.protocol, args.client, args.virtual_address)
    else {
        // The command line's own rules have asked for all three.
        return exit::USAGE.into();
    };
    let query = ExplainQuery {
        protocol,
        client,
        virtual_address,
    };
    let ask = |client: &Client| client.explain(&query);
    finish(show(&args.common, ask, text))
}

fn explain_frame(file: &Path, args: &Args) -> ExitCode {
    let frame = match frame_of(file, args.number.map(std::num::NonZero::get)) {
        Ok(frame) => frame,
        Err(message) => {
            talk!("dirigo: {message}");
            return exit::USAGE.into();
        }
    };
    let asked = ExplainFrame {
        to_director: args.to_director,
        ..frame
    };
    let ask = |client: &Client| client.explain_frame(&asked);
    finish(show(&args.common, ask, text))
}

/// One frame of a capture; the first one unless another is asked for.
fn frame_of(file: &Path, number: Option<usize>) -> Result<ExplainFrame, String> {
    let capture = Capture::read(file).map_err(|error| error.to_string())?;
    let count = capture.frames.len();
    let at = number.unwrap_or(1);
    let Some(Sighting { bytes, length, .. }) = capture.frames.get(at - 1) else {
        let has = match count {
            0 => "no frame".to_owned(),
            1 => "one frame".to_owned(),
            count => format!("{count} frames"),
        };
        return Err(format!("{} has {has}, and no number {at}", file.display()));
    };
    if *length as usize > EXPLAIN_FRAME_BYTES {
        return Err(format!(
            "frame {at} of {} has {length} bytes, and none on a wire has more than {EXPLAIN_FRAME_BYTES}: \
             the host that was captured on put segments together (ethtool -K IF tso off gso off gro off)",
            file.display()
        ));
    }
    if number.is_none() && count > 1 {
        talk!("dirigo: frame 1 of {count}; another with --number");
    }
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _never_fails = write!(hex, "{byte:02x}");
    }
    Ok(ExplainFrame {
        hex,
        length: *length,
        to_director: false,
    })
}

fn text(found: &Explanation) -> String {
    let mut lines = packet(found);
    if let Some(service) = &found.service {
        let scheduler = found.scheduler.as_deref().unwrap_or("unknown");
        let generation = match found.generation {
            0 => String::new(),
            number => format!(", generation {number}"),
        };
        lines += &format!("  service:  {service}, scheduler {scheduler}{generation}\n");
    }
    if let Some(why) = decision(found) {
        lines += &format!("  decided:  {why}\n");
    }
    lines += &format!("  becomes:  {}\n", fate(&found.fate));
    if let (Some(server), Some(otherwise)) = (found.fate.destination, &found.otherwise) {
        let becomes = fate(otherwise);
        let hint = fallback_hint(found, otherwise);
        lines += &format!("  if {} stopped answering:  {becomes}{hint}\n", server.ip());
    }
    lines
}

/// What a real server gets, service by service.
fn server_text(found: &ServerExplanation) -> String {
    let server = found.server;
    if found.services.is_empty() {
        return format!("{server} is a destination of no service: nothing goes there\n");
    }
    let mut lines = match found
        .services
        .iter()
        .find_map(|one| link(&one.destination.link))
    {
        Some(link) => format!("to {server}, {link}, now\n"),
        None => format!("to {server}, now\n"),
    };
    for one in &found.services {
        let destination = &one.destination;
        lines += &format!(
            "  {}, scheduler {}, weight {}\n",
            one.service, one.scheduler, destination.settings.weight
        );
        lines += &format!("    new clients:  {}\n", new_clients(one));
        lines += &format!(
            "    connections:  {} active, {} inactive\n",
            destination.active, destination.inactive
        );
        if one.is_persistent {
            lines += &format!(
                "    clients that come back:  those of {} persistence templates, whatever the scheduler says\n",
                destination.templates
            );
        }
    }
    lines
}

fn link(link: &LinkState) -> Option<String> {
    match link {
        LinkState::Resolved { mac, interface } => Some(format!("at {mac} out of {interface}")),
        LinkState::Local => Some("which is this director".to_owned()),
        LinkState::Unresolved { .. } => None,
    }
}

/// Which part of new clients goes there, or why none.
fn new_clients(one: &ServerShare) -> String {
    let destination = &one.destination;
    let none = |why: &str| format!("none: {why}");
    match (&destination.link, destination.held_weight) {
        (LinkState::Unresolved { reason }, _) => none(reason),
        (_, Some(held)) => none(&format!("in maintenance, weight {held} when enabled")),
        _ if destination.settings.weight == 0 => {
            none("weight 0, by order or because its checks fail (dirigo health)")
        }
        _ if destination.overloaded => none("it has reached its upper threshold"),
        _ => match (one.share, one.sample) {
            (None, _) => "of a part that cannot be computed: too many destinations".to_owned(),
            (Some(0), _) => none("the scheduler chooses others"),
            (Some(share), 0) => format!("{} of them", percent(share)),
            (Some(share), sample) => format!(
                "{} of the next {sample}, as loaded as it is now and if all stay",
                percent(share)
            ),
        },
    }
}

/// Hundredths of a percent, as people write them.
fn percent(share: u32) -> String {
    let text = format!("{}.{:02}", share / 100, share % 100);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} %")
}

/// What is asked about, in a line or a few.
fn packet(found: &Explanation) -> String {
    if let Some(frame) = &found.frame {
        return frame_lines(frame);
    }
    let Some(query) = &found.query else {
        return String::new();
    };
    let what = match query.protocol {
        Protocol::Tcp => "a TCP SYN",
        Protocol::Udp => "a UDP datagram",
        Protocol::Sctp => "an SCTP INIT",
    };
    let (client, vip) = (query.client, query.virtual_address);
    format!("{what} from {client} to {vip}, now\n")
}

fn frame_lines(frame: &ExplainedFrame) -> String {
    let hop = &frame.hop;
    let address = |one: SocketAddr| match one.port() {
        0 => one.ip().to_string(),
        _ => one.to_string(),
    };
    let mut lines = match (hop.src, hop.dst) {
        (Some(from), Some(to)) => {
            format!(
                "{} from {} to {}, now\n",
                frame.what,
                address(from),
                address(to)
            )
        }
        _ => format!("{}, now\n", frame.what),
    };
    lines += &format!(
        "  frame:    {} to {}, {} bytes",
        hop.src_mac, hop.dst_mac, hop.len
    );
    if let Some(ttl) = hop.ttl {
        lines += &format!(", {ttl} hops left");
    }
    if frame.missing > 0 {
        let missing = frame.missing;
        lines += &format!("; {missing} of them were not captured and count as zeros");
    }
    lines += "\n";
    if !frame.is_to_director {
        lines +=
            "  frame:    it is not addressed to the director; --to-director asks as if it were\n";
    }
    lines
}

/// Which flag would spare the clients of a hash table's dead server.
fn fallback_hint(found: &Explanation, otherwise: &Fate) -> String {
    let is_refused = otherwise.counter == "reply_port_unreachable";
    match (&found.decision, found.scheduler.as_deref()) {
        (Decision::Table { .. }, Some(name @ ("sh" | "mh"))) if is_refused => {
            format!("; with the flag {name}-fallback, another slot would be asked")
        }
        _ => String::new(),
    }
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
        Decision::Table {
            slot,
            slots,
            tried,
            destination,
        } => {
            let fallback = match tried {
                0 | 1 => String::new(),
                tried => format!(", after {} others (fallback)", tried - 1),
            };
            let refused = match (found.fate.destination, destination) {
                (Some(_), _) => String::new(),
                (None, Some(owner)) => {
                    format!("; it is {owner}'s, who may not be given it (dirigo services)")
                }
                (None, None) => "; it is nobody's".to_owned(),
            };
            format!("by hash: slot {slot} of {slots}{fallback}{refused}")
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
        "pass_arp" => "ARP is the host's matter",
        "pass_not_ip" => "it is no IP packet",
        "pass_not_for_this_host" => {
            "the frame is not addressed to the interface that it came in by"
        }
        "pass_not_a_virtual_address" => "the address is no virtual address",
        "pass_not_a_service" => "no virtual service has this address, port and protocol",
        "pass_ftp_data" => "source port 20 never makes a connection",
        "pass_local_destination" => "the destination is the director itself",
        "pass_not_ready" => "the data path has no settings yet",
        "reply_port_unreachable" | "drop_no_destination" => "no destination may be given it",
        "drop_destination_gone" => "the destination of its connection was deleted",
        "drop_destination_unresolved" => "the MAC of its destination is not known",
        "drop_table_full" => "the connection table has no room in its two buckets",
        "drop_service_share" => "the service has its share of the connection table",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(server: &str) -> Fate {
        Fate {
            verdict: Verdict::Transmit,
            counter: "transmitted".to_owned(),
            destination: Some(server.parse().unwrap()),
            mac: Some("02:00:00:00:01:07".to_owned()),
            interface: Some("eth0".to_owned()),
        }
    }

    fn not_sent(verdict: Verdict, counter: &str) -> Fate {
        Fate {
            verdict,
            counter: counter.to_owned(),
            destination: None,
            mac: None,
            interface: None,
        }
    }

    fn by_hash() -> Explanation {
        Explanation {
            query: Some(ExplainQuery {
                protocol: Protocol::Tcp,
                client: "203.0.113.7:40000".parse().unwrap(),
                virtual_address: "192.0.2.100:80".parse().unwrap(),
            }),
            frame: None,
            generation: 3,
            service: Some("tcp:192.0.2.100:80".parse().unwrap()),
            scheduler: Some("mh".to_owned()),
            decision: Decision::Table {
                slot: 1705,
                slots: 4093,
                tried: 1,
                destination: Some("192.0.2.11:80".parse().unwrap()),
            },
            fate: sent("192.0.2.11:80"),
            otherwise: Some(not_sent(Verdict::Reply, "reply_port_unreachable")),
        }
    }

    #[test]
    fn each_line_answers_one_question() {
        assert_eq!(
            text(&by_hash()),
            "a TCP SYN from 203.0.113.7:40000 to 192.0.2.100:80, now\n\
             \x20 service:  tcp:192.0.2.100:80, scheduler mh, generation 3\n\
             \x20 decided:  by hash: slot 1705 of 4093\n\
             \x20 becomes:  sent to 192.0.2.11:80 at 02:00:00:00:01:07 out of eth0 (transmitted)\n\
             \x20 if 192.0.2.11 stopped answering:  refused with an ICMP error: no destination may be \
             given it (reply_port_unreachable); with the flag mh-fallback, another slot would be asked\n"
        );
    }

    fn share(share: Option<u32>, sample: u32) -> ServerShare {
        let destination = serde_json::json!({
            "destination": "192.0.2.11:80", "origin": "config", "active": 12, "inactive": 3,
            "stats": api::Stats::default(), "settings": api::DestinationSettings::of(2),
            "link": {"state": "resolved", "mac": "02:00:00:00:01:07", "interface": "eth0"},
        });
        ServerShare {
            service: "tcp:192.0.2.100:80".parse().unwrap(),
            scheduler: "wrr".to_owned(),
            is_persistent: false,
            share,
            sample,
            destination: serde_json::from_value(destination).unwrap(),
        }
    }

    #[test]
    fn a_server_is_told_its_part_of_each_service_or_why_it_has_none() {
        let part = share(Some(3_350), 0);
        assert_eq!(new_clients(&part), "33.5 % of them");
        let text = new_clients(&share(Some(10_000), 4_000));
        assert_eq!(
            text,
            "100 % of the next 4000, as loaded as it is now and if all stay"
        );
        assert!(new_clients(&share(None, 0)).contains("cannot be computed"));
        let mut none = share(Some(0), 0);
        assert!(new_clients(&none).ends_with("chooses others"));
        none.destination.overloaded = true;
        assert!(new_clients(&none).ends_with("upper threshold"));
        none.destination.settings.weight = 0;
        assert!(new_clients(&none).contains("weight 0"));
        none.destination.held_weight = Some(2);
        assert!(new_clients(&none).contains("weight 2 when enabled"));
        let reason = "no answer to ARP on eth0".to_owned();
        none.destination.link = LinkState::Unresolved { reason };
        assert_eq!(new_clients(&none), "none: no answer to ARP on eth0");

        let found = |services| ServerExplanation {
            server: "192.0.2.11".parse().unwrap(),
            generation: 1,
            services,
        };
        assert_eq!(
            server_text(&found(vec![part])),
            "to 192.0.2.11, at 02:00:00:00:01:07 out of eth0, now\n\
             \x20 tcp:192.0.2.100:80, scheduler wrr, weight 2\n\
             \x20   new clients:  33.5 % of them\n\
             \x20   connections:  12 active, 3 inactive\n"
        );
        assert!(server_text(&found(vec![])).contains("nothing goes there"));
    }

    #[test]
    fn a_refusing_slot_is_said_to_be_whose_it_is() {
        let found = Explanation {
            fate: not_sent(Verdict::Reply, "reply_port_unreachable"),
            otherwise: None,
            ..by_hash()
        };
        let owner = "slot 1705 of 4093; it is 192.0.2.11:80's, who may not be given it";
        assert!(text(&found).contains(owner), "{}", text(&found));
    }

    #[test]
    fn what_is_not_balanced_has_its_reason_and_nothing_more() {
        let found = Explanation {
            service: None,
            scheduler: None,
            decision: Decision::None,
            fate: not_sent(Verdict::Pass, "pass_not_a_service"),
            otherwise: None,
            ..by_hash()
        };
        let text = text(&found);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "  becomes:  left to this host: no virtual service has this address, port and protocol \
              (pass_not_a_service)"
            ]
        );
    }
}
