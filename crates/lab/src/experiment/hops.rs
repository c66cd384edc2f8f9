//! Step 4: one request through all three hops, from captured frames.
//!
//! ```text
//! client ──(1)──► director ──(2)──► real server ──(3)──► client
//! ```
//!
//! The request's first data segment is found at every point it passes; it must be the same segment
//! with other MACs. The reply's is followed the same way, and every frame of the connection is
//! counted everywhere: what the director got, it passed on, and of the replies it saw none.

use std::net::{IpAddr, SocketAddr};

use super::Settings;
use super::observe;
use crate::capture::Seen;
use crate::frame::Segment;
use crate::http;
use crate::report::{Check, Hop, PortFrames};
use crate::{Error, Host, Lab, Mark, Point, Report};

pub(super) fn run(
    lab: &mut Lab,
    _settings: &Settings,
    report: &mut Report,
) -> Result<Vec<Check>, Error> {
    let before = Ports::read(lab)?;
    let mark = lab.capture.mark();
    let service = lab.family().service();
    let answer = http::get(&lab.net, Host::Client, service)?;
    let server = observe::served_by(&answer)?;
    let flow = Flow {
        lab,
        mark: &mark,
        client: answer.from,
        service,
    };

    let hops = flow.hops(server);
    let frames = flow.count(server, &before, &Ports::read(lab)?);
    let replies = replies_at_director(lab, &Mark::default());
    let mut checks = hop_checks(&hops, lab, server);
    checks.extend(frame_checks(&frames, replies));
    report.hops = hops;
    report.director_port = Some(frames);
    report.reply_frames_via_director = Some(replies);
    Ok(checks)
}

/// One connection in the captures.
struct Flow<'a> {
    lab: &'a Lab,
    mark: &'a Mark,
    client: SocketAddr,
    service: SocketAddr,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Reply,
}

impl Flow<'_> {
    /// Frames of the connection in one direction that left (or entered) a point.
    fn at(&self, point: Point, outgoing: bool, direction: Direction) -> Vec<Seen> {
        let ends = match direction {
            Direction::Request => (self.client, self.service),
            Direction::Reply => (self.service, self.client),
        };
        let ours = |segment: &Segment| (segment.source, segment.destination) == ends;
        let mut seen = self.lab.capture.since(self.mark, point);
        seen.retain(|seen| seen.outgoing == outgoing && seen.frame.segment().is_some_and(ours));
        seen
    }

    /// The three hops of the first segment with data; fewer if a capture lacks one.
    fn hops(&self, server: Host) -> Vec<Hop> {
        use Direction::{Reply, Request};
        let at_client = Point::Host(Host::Client);
        let at_server = Point::Host(server);
        let port = Point::DirectorPort;
        let legs = [
            (
                Host::Client,
                Host::Director,
                Request,
                [(at_client, true), (port, true)],
            ),
            (
                Host::Director,
                server,
                Request,
                [(port, false), (at_server, false)],
            ),
            (
                server,
                Host::Client,
                Reply,
                [(at_server, true), (at_client, false)],
            ),
        ];
        let hop = |(from, to, direction, points): (Host, Host, Direction, [(Point, bool); 2])| {
            let frames = points.map(|(point, outgoing)| {
                let seen = self.at(point, outgoing, direction);
                (point, seen.into_iter().find(has_data))
            });
            Hop::read(from, to, &frames)
        };
        legs.into_iter().filter_map(hop).collect()
    }

    /// Every frame of the connection, everywhere.
    fn count(&self, server: Host, before: &Ports, after: &Ports) -> PortFrames {
        use Direction::{Reply, Request};
        let at_client = Point::Host(Host::Client);
        let at_server = Point::Host(server);
        let port = Point::DirectorPort;
        let count = |point, outgoing, direction| self.at(point, outgoing, direction).len();
        PortFrames {
            sent_by_client: count(at_client, true, Request),
            into_director: count(port, true, Request),
            out_of_director: count(port, false, Request),
            received_by_server: count(at_server, false, Request),
            sent_by_server: count(at_server, true, Reply),
            received_by_client: count(at_client, false, Reply),
            replies_at_director: replies_at_director(self.lab, self.mark),
            kernel_into_director: after.into_director - before.into_director,
            kernel_out_of_director: after.out_of_director - before.out_of_director,
        }
    }
}

fn has_data(seen: &Seen) -> bool {
    let segment = seen.frame.segment();
    segment.is_some_and(|segment| segment.payload_bytes > 0)
}

/// Frames with the service as their source that went to or came from the director. A frame the
/// bridge floods there because it does not know better is not one: it is for somebody else.
fn replies_at_director(lab: &Lab, mark: &Mark) -> usize {
    let service = lab.family().service();
    let director = Host::Director.mac();
    let seen = lab.capture.since(mark, Point::DirectorPort);
    let replies = seen.iter().filter(|seen| {
        let frame = &seen.frame;
        let is_reply = frame
            .segment()
            .is_some_and(|segment| segment.source == service);
        is_reply && (frame.to == director || frame.from == director)
    });
    replies.count()
}

impl Hop {
    /// One hop from the same segment at two points; `None` unless both saw it alike.
    fn read(from: Host, to: Host, frames: &[(Point, Option<Seen>); 2]) -> Option<Self> {
        let [(here, Some(sent)), (there, Some(received))] = frames else {
            return None;
        };
        let segment = sent.frame.segment()?;
        if sent.frame != received.frame {
            return None;
        }
        Some(Self {
            from,
            to,
            src_mac: netlink::mac_text(&sent.frame.from),
            dst_mac: netlink::mac_text(&sent.frame.to),
            src_ip: segment.source.ip(),
            dst_ip: segment.destination.ip(),
            src_port: segment.source.port(),
            dst_port: segment.destination.port(),
            ttl: segment.ttl,
            captured_at: vec![here.name(), there.name()],
        })
    }

    fn line(&self) -> String {
        let Self {
            src_mac,
            dst_mac,
            src_ip,
            dst_ip,
            ..
        } = self;
        format!("{src_mac} > {dst_mac}, {src_ip} > {dst_ip}")
    }
}

fn hop_checks(hops: &[Hop], lab: &Lab, server: Host) -> Vec<Check> {
    let family = lab.family();
    let (client, vip) = (Host::Client.address(family), family.vip());
    let legs: [(Host, Host, IpAddr, IpAddr); 3] = [
        (Host::Client, Host::Director, client, vip),
        (Host::Director, server, client, vip),
        (server, Host::Client, vip, client),
    ];
    let mut checks: Vec<Check> = legs
        .into_iter()
        .map(|(from, to, source, destination)| {
            let macs = [from, to].map(|host| netlink::mac_text(&host.mac()));
            let should = format!("{} > {}, {source} > {destination}", macs[0], macs[1]);
            let hop = hops.iter().find(|hop| (hop.from, hop.to) == (from, to));
            let did = hop.map_or_else(|| "not captured".to_owned(), Hop::line);
            Check::that(format!("{from} to {to}: {should}"), did == should, did)
        })
        .collect();
    if let [first, second, ..] = hops {
        checks.push(Check::equal(
            "the director takes one from the TTL, leaving",
            &first.ttl.saturating_sub(1),
            &second.ttl,
            u8::to_string,
        ));
    }
    checks
}

fn frame_checks(frames: &PortFrames, replies: usize) -> [Check; 5] {
    let PortFrames {
        sent_by_client,
        sent_by_server,
        ..
    } = *frames;
    let passed = [
        frames.into_director,
        frames.out_of_director,
        frames.received_by_server,
    ];
    let kernel = (frames.kernel_into_director, frames.kernel_out_of_director);
    // Other frames (ARP, neighbour discovery) may pass meanwhile, but not fewer than these.
    let counted =
        |kernel: u64, seen: usize| usize::try_from(kernel).is_ok_and(|kernel| kernel >= seen);
    let kernel_agrees = counted(kernel.0, passed[0]) && counted(kernel.1, passed[1]);
    [
        Check::that(
            format!("all {sent_by_client} frames of the client pass through the director"),
            sent_by_client > 0 && passed == [sent_by_client; 3],
            format!(
                "{} in, {} out, {} at the server",
                passed[0], passed[1], passed[2]
            ),
        ),
        Check::that(
            format!("all {sent_by_server} frames of the server reach the client"),
            sent_by_server > 0 && frames.received_by_client == sent_by_server,
            frames.received_by_client.to_string(),
        ),
        Check::equal(
            "replies of this request at the director's port",
            &0,
            &frames.replies_at_director,
            usize::to_string,
        ),
        Check::equal(
            "replies at the director's port since the lab was built",
            &0,
            &replies,
            usize::to_string,
        ),
        Check::that(
            "the kernel's counters of that port agree",
            kernel_agrees,
            format!("{} in, {} out", kernel.0, kernel.1),
        ),
    ]
}

/// The kernel's frame counters of the director's port, seen from the director.
struct Ports {
    into_director: u64,
    out_of_director: u64,
}

impl Ports {
    fn read(lab: &Lab) -> Result<Self, Error> {
        let counters = lab.net.port(Host::Director)?.counters;
        Ok(Self {
            into_director: counters.tx_packets,
            out_of_director: counters.rx_packets,
        })
    }
}
