//! One connection over all hosts that were captured on.
//!
//! ```text
//! captures ─► frames of the connection ─► the same frame in several captures is one hop
//!          ─► hops of one packet, first its highest TTL ─► lanes: client, director, real server
//! ```
//!
//! Who is who is read from the request's way: the client's MAC only sends it, the real server's only receives it,
//! the director's does both. Clocks are taken as they are: hosts whose clocks differ show their hops out of place
//! between packets, never within one.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use serde::Serialize;

use crate::captures::Capture;
use crate::frame::{Flow, Frame, Segment};
use crate::mac_text;

mod text;

/// A connection, drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ladder {
    /// IP protocol number.
    pub protocol: u8,
    /// Client address and port.
    pub client: SocketAddr,
    /// Virtual address and port.
    pub service: SocketAddr,
    /// Hosts by their MACs, from the client's to the real server's.
    pub lanes: Vec<Lane>,
    /// Frames between them, in order.
    pub hops: Vec<Hop>,
    /// What is not as in direct routing.
    pub notes: Vec<String>,
    /// Other connections in these captures.
    pub others: usize,
}

/// A host, by its MAC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lane {
    /// The MAC.
    pub mac: String,
    /// `client`, `director`, `real server` or `other`.
    pub role: &'static str,
}

/// A frame on its way from one host to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// When it was seen first, nanoseconds since 1970.
    pub time_ns: u64,
    /// Whose frame it is: number of a lane.
    pub from: usize,
    /// Who takes it.
    pub to: usize,
    /// Ethernet source.
    pub src_mac: String,
    /// Ethernet destination.
    pub dst_mac: String,
    /// IP source.
    pub src: SocketAddr,
    /// IP destination.
    pub dst: SocketAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// What it is.
    pub what: String,
    /// Captures that it is in, and when by the clock of each.
    pub seen: Vec<Seen>,
}

/// A frame in a capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The capture's name.
    pub capture: String,
    /// By its clock.
    pub time_ns: u64,
}

/// Why there is nothing to draw.
#[derive(Debug, thiserror::Error)]
pub enum LadderError {
    /// Nothing of this kind.
    #[error(
        "the {captures} captures have {frames} frames and no TCP, UDP or SCTP packet among them"
    )]
    NoConnection {
        /// How many captures.
        captures: usize,
        /// How many frames.
        frames: usize,
    },
    /// Not that one.
    #[error(
        "no capture has a frame of the connection {client} > {service}; there are {found}, for instance {example}"
    )]
    NotThere {
        /// The client that was asked for.
        client: SocketAddr,
        /// The service that was asked for.
        service: SocketAddr,
        /// How many connections there are.
        found: usize,
        /// One of them.
        example: String,
    },
}

impl Ladder {
    /// Draws a connection: the one that is asked for by client and service, or the one that is in most captures.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn of(
        captures: &[Capture],
        asked: Option<(SocketAddr, SocketAddr)>,
    ) -> Result<Self, LadderError> {
        let read = read(captures);
        let flows = flows(&read);
        let flow = match asked {
            Some((client, service)) => flows
                .iter()
                .find(|flow| (flow.client, flow.service) == (client, service))
                .ok_or_else(|| LadderError::NotThere {
                    client,
                    service,
                    found: flows.len(),
                    example: flows.first().map_or_else(
                        || "none".to_owned(),
                        |flow| format!("{} > {}", flow.client, flow.service),
                    ),
                })?,
            None => flows.first().ok_or_else(|| LadderError::NoConnection {
                captures: captures.len(),
                frames: captures.iter().map(|one| one.frames.len()).sum(),
            })?,
        };
        let mut hops = hops(captures, &read, flow);
        let lanes = lanes(&hops, flow);
        for (hop, _) in &mut hops {
            let lane = |mac: &str| lanes.iter().position(|lane| lane.mac == mac).unwrap_or(0);
            (hop.from, hop.to) = (lane(&hop.src_mac), lane(&hop.dst_mac));
        }
        let notes = notes(&hops, &lanes, flow);
        Ok(Self {
            protocol: flow.protocol,
            client: flow.client,
            service: flow.service,
            lanes,
            hops: hops.into_iter().map(|(hop, _)| hop).collect(),
            notes,
            others: flows.len() - 1,
        })
    }
}

/// A frame, with the number of its capture and its time there.
struct Read {
    capture: usize,
    time_ns: u64,
    frame: Frame,
}

fn read(captures: &[Capture]) -> Vec<Read> {
    let numbered = captures.iter().enumerate();
    let all = numbered.flat_map(|(capture, one)| {
        one.frames.iter().filter_map(move |sighting| {
            Some(Read {
                capture,
                time_ns: sighting.time_ns,
                frame: Frame::read(&sighting.bytes)?,
            })
        })
    });
    all.collect()
}

/// All connections, the one in most captures first, then the earliest. Packets of both directions belong to one.
fn flows(read: &[Read]) -> Vec<Flow> {
    let mut found: HashMap<Flow, (u128, u64)> = HashMap::new();
    for one in read {
        let Some(flow) = one.frame.flow().map(|flow| oriented(flow, &one.frame)) else {
            continue;
        };
        let reversed = Flow {
            protocol: flow.protocol,
            client: flow.service,
            service: flow.client,
        };
        // Whoever begins it says which way round it is; later packets follow.
        let key = if found.contains_key(&reversed) && !begins(&one.frame) {
            reversed
        } else {
            flow
        };
        let entry = found.entry(key).or_insert((0, one.time_ns));
        entry.0 |= 1 << (one.capture & 127);
        entry.1 = entry.1.min(one.time_ns);
    }
    let mut flows: Vec<_> = found.into_iter().collect();
    flows.sort_by_key(|(flow, (captures, time))| {
        let is_tcp = flow.protocol == 6;
        (
            std::cmp::Reverse((captures.count_ones(), is_tcp)),
            *time,
            flow.client,
        )
    });
    flows.into_iter().map(|(flow, _)| flow).collect()
}

/// TCP's first segment.
fn begins(frame: &Frame) -> bool {
    frame
        .segment
        .is_some_and(|segment| segment.flags & 0x12 == 0x02)
}

/// The flow with its client where it should be: a service answers from the lower port, as a rule.
fn oriented(flow: Flow, frame: &Frame) -> Flow {
    let is_answer = frame
        .segment
        .is_some_and(|segment| segment.flags & 0x12 == 0x12);
    let looks_reversed = flow.client.port() < flow.service.port() && !begins(frame);
    if frame.quoted.is_none() && (is_answer || looks_reversed) {
        return Flow {
            protocol: flow.protocol,
            client: flow.service,
            service: flow.client,
        };
    }
    flow
}

/// What tells the packets of a connection apart, whichever hop they make; the last number counts those that
/// nothing tells apart.
type Packet = (SocketAddr, SocketAddr, u16, Option<Segment>, usize);

/// The connection's hops, with the packet that each carries.
fn hops(captures: &[Capture], read: &[Read], flow: &Flow) -> Vec<(Hop, Packet)> {
    let mut times: HashMap<_, usize> = HashMap::new();
    let mut hops: BTreeMap<(Packet, [u8; 6], [u8; 6]), Hop> = BTreeMap::new();
    for one in read {
        let frame = &one.frame;
        let (Some(src), Some(dst), Some(ttl)) = (frame.src, frame.dst, frame.ttl) else {
            continue;
        };
        let ends = [(src, dst), (dst, src)];
        let is_ours = frame.protocol == Some(flow.protocol)
            && ends.contains(&(flow.client, flow.service))
            || frame.quoted == Some(*flow);
        if !is_ours {
            continue;
        }
        let same = (one.capture, frame.src_mac, frame.dst_mac, src, dst);
        let same = (same, frame.identification, frame.segment);
        let time = times.entry(same).or_default();
        let packet = (src, dst, frame.identification, frame.segment, *time);
        *time += 1;
        let hop = hops
            .entry((packet, frame.src_mac, frame.dst_mac))
            .or_insert_with(|| Hop {
                time_ns: one.time_ns,
                from: 0,
                to: 0,
                src_mac: mac_text(&frame.src_mac),
                dst_mac: mac_text(&frame.dst_mac),
                src,
                dst,
                ttl,
                what: frame.what.clone(),
                seen: Vec::new(),
            });
        hop.time_ns = hop.time_ns.min(one.time_ns);
        hop.seen.push(Seen {
            capture: captures
                .get(one.capture)
                .map_or_else(String::new, |one| one.name.clone()),
            time_ns: one.time_ns,
        });
    }
    let mut first: HashMap<Packet, u64> = HashMap::new();
    for ((packet, ..), hop) in &hops {
        let time = first.entry(*packet).or_insert(hop.time_ns);
        *time = hop.time_ns.min(*time);
    }
    let mut hops: Vec<_> = hops
        .into_iter()
        .map(|((packet, ..), hop)| (hop, packet))
        .collect();
    hops.sort_by_key(|(hop, packet)| {
        let begun = first.get(packet).copied().unwrap_or(hop.time_ns);
        (begun, *packet, std::cmp::Reverse(hop.ttl), hop.time_ns)
    });
    hops
}

/// Hosts, in the order of the request's way.
fn lanes(hops: &[(Hop, Packet)], flow: &Flow) -> Vec<Lane> {
    let requests = || hops.iter().filter(|(hop, _)| hop.dst == flow.service);
    let sends = |mac: &str| requests().any(|(hop, _)| hop.src_mac == mac);
    let takes = |mac: &str| requests().any(|(hop, _)| hop.dst_mac == mac);
    let answers = |mac: &str| {
        hops.iter()
            .any(|(hop, _)| hop.src == flow.service && hop.src_mac == mac)
    };
    let role = |mac: &str| match (sends(mac), takes(mac)) {
        (true, false) => "client",
        (true, true) => "director",
        (false, true) => "real server",
        // No request was captured: whoever answers is the real server.
        (false, false) if answers(mac) => "real server",
        (false, false) => "other",
    };
    let mut macs: Vec<&str> = Vec::new();
    for (hop, _) in hops {
        for mac in [&hop.src_mac, &hop.dst_mac] {
            if !macs.contains(&mac.as_str()) {
                macs.push(mac);
            }
        }
    }
    let mut lanes: Vec<Lane> = macs
        .into_iter()
        .map(|mac| Lane {
            mac: mac.to_owned(),
            role: role(mac),
        })
        .collect();
    lanes.sort_by_key(|lane| match lane.role {
        "client" => 0,
        "director" => 1,
        "real server" => 2,
        _ => 3,
    });
    lanes
}

/// What is not as in direct routing.
fn notes(hops: &[(Hop, Packet)], lanes: &[Lane], flow: &Flow) -> Vec<String> {
    let role = |lane: usize| lanes.get(lane).map_or("other", |lane| lane.role);
    let mut notes = Vec::new();
    let requests: Vec<_> = hops
        .iter()
        .filter(|(hop, _)| hop.dst == flow.service)
        .collect();
    if !requests.is_empty() && !lanes.iter().any(|lane| lane.role == "director") {
        notes.push(
            "no request passes a director: either none of these captures sees what it sends, or the client sends \
             to the real server itself; who answers ARP for the VIP says: dirigo doctor"
                .to_owned(),
        );
    }
    let through = hops.iter().filter(|(hop, _)| {
        hop.src == flow.service && (role(hop.to) == "director" || role(hop.from) == "director")
    });
    match through.count() {
        0 => {}
        count => notes.push(format!(
            "{count} replies pass the director: the real server's way back should not lead through it"
        )),
    }
    let stuck = requests.iter().filter(|(hop, packet)| {
        role(hop.to) == "director"
            && !requests
                .iter()
                .any(|(other, same)| same == packet && role(other.from) == "director")
    });
    match stuck.count() {
        0 => {}
        count => notes.push(format!(
            "{count} requests reach the director and are not seen to leave it"
        )),
    }
    notes
}

#[cfg(test)]
mod tests;
