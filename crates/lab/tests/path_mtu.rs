//! Path-MTU discovery through the director: the router that cannot send on tells the VIP, and the
//! director tells the one real server that has to know.
//!
//! ```text
//! far client ──── client, now a router ──── switch ──── director, rs1, rs2
//!   MTU 1500      MTU 1300 to the left        1500
//! ```
//!
//! The far client's own MTU is 1500, so that no side announces a small segment size: only the
//! router's ICMP error can make the real servers send less.
// A test that cannot go on should say where.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use common::service;
use dirigo_lab::topology::INTERFACE;
use dirigo_lab::{Family, Host, Net, Point, Seen};
use netlink::{AddressFlags, Namespace, Netlink, ethtool};

/// What the router can send towards the far client; more than IPv6's least, 1280.
const HOP_MTU: u32 = 1300;
/// Port of the downloads.
const PORT: u16 = 8080;
const DOWNLOAD_BYTES: usize = 4 << 20;
const ETHERNET_BYTES: usize = 14;

#[test]
fn a_download_over_a_hop_of_small_mtu_works_by_path_mtu_discovery() {
    if !common::have_root() {
        return;
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        let lab = service::up(family);
        let far = add_hop(&lab.net);
        let to = service::offer(&lab, "-t", PORT);
        for server in Host::SERVERS {
            serve_one_download(&lab.net, server, to);
        }
        let mark = lab.capture.mark();

        let mut streams = [connect(&far, to), connect(&far, to)];
        let downloads = streams.each_mut().map(|stream| {
            let server = download(stream);
            (server, stream.local_addr().unwrap().port())
        });

        let mut servers = downloads.map(|(server, _)| server);
        servers.sort();
        assert_eq!(servers, Host::SERVERS, "each served one");
        let seen = lab.capture.since(&mark, Point::DirectorPort);
        for (server, client_port) in downloads {
            let told = reports_at_director(&seen, family, server, client_port);
            let heard = lab.capture.since(&mark, Point::Host(server));
            assert_eq!(reports_at_server(&heard, family, client_port), told);
            sends_less_when_told(&heard, family, client_port);
            println!("{family} {server}: told {told} times of the MTU");
        }
        assert!(service::counter(&lab, "icmp_error_forwarded") >= 2);
        assert_eq!(lab.capture.lost(), 0);
    }
}

/// The network behind the hop: its router, its only client, its prefix.
fn beyond(family: Family) -> (IpAddr, IpAddr, u8) {
    match family {
        Family::Ipv4 => ([172, 31, 7, 1].into(), [172, 31, 7, 2].into(), 24),
        Family::Ipv6 => (
            "2001:db8:7::1".parse().unwrap(),
            "2001:db8:7::2".parse().unwrap(),
            64,
        ),
    }
}

/// Makes the lab's client the router of a network with one far client, whose namespace this is.
fn add_hop(net: &Net) -> Namespace {
    let family = net.family();
    let (router, client, prefix) = beyond(family);
    let version = match family {
        Family::Ipv4 => "ipv4",
        Family::Ipv6 => "ipv6",
    };
    let forwarding = format!("{version}/conf/all/forwarding");
    net.set_sysctl(Host::Client, &forwarding, "1").unwrap();
    let far = Namespace::create().unwrap();
    net.on(Host::Client, || {
        let netlink = Netlink::open()?;
        netlink.add_veth("far", INTERFACE, Some(far.fd()))?;
        netlink.set_mtu(netlink.link("far")?.index, HOP_MTU)?;
        set_up("far", router, prefix)
    })
    .unwrap()
    .unwrap();
    far.run(|| {
        let _without_ipv6 = std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0");
        set_up(INTERFACE, client, prefix)?;
        let all = match family {
            Family::Ipv4 => IpAddr::from([0; 4]),
            Family::Ipv6 => IpAddr::from([0; 16]),
        };
        Netlink::open()?.add_route(all, 0, Some(router), None)
    })
    .unwrap()
    .unwrap();
    let host_prefix = if client.is_ipv4() { 32 } else { 128 };
    for host in [Host::Director, Host::Rs1, Host::Rs2] {
        let by = Some(Host::Client.address(family));
        let added = net.netlink(host).unwrap();
        added.add_route(client, host_prefix, by, None).unwrap();
    }
    far
}

fn set_up(interface: &str, address: IpAddr, prefix: u8) -> Result<(), netlink::Error> {
    ethtool::set_tx_checksum(interface, false)?;
    let netlink = Netlink::open()?;
    let index = netlink.link(interface)?.index;
    netlink.set_up(index)?;
    let flags = AddressFlags {
        no_dad: true,
        ..AddressFlags::default()
    };
    netlink.add_address(index, address, prefix, flags)
}

/// What a real server sends: its place among the servers, then bytes that tell their place.
fn content(server: Host) -> Vec<u8> {
    let place = |at: usize| (at ^ (at >> 8) ^ (at >> 16)) as u8;
    let mut content: Vec<u8> = (0..DOWNLOAD_BYTES).map(place).collect();
    content[0] = server as u8;
    content
}

/// Has a real server answer one connection with its content.
fn serve_one_download(net: &Net, server: Host, at: SocketAddr) {
    let listener = net.on(server, || TcpListener::bind(at)).unwrap().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _client) = listener.accept().unwrap();
        // What the client did not get, it will say.
        let _sent = stream.write_all(&content(server));
    });
}

fn connect(far: &Namespace, to: SocketAddr) -> TcpStream {
    let limit = Duration::from_secs(20);
    let stream = far.run(|| TcpStream::connect_timeout(&to, limit));
    let stream = stream.unwrap().expect("connected");
    stream.set_read_timeout(Some(limit)).unwrap();
    stream
}

/// Reads to the end; which server's content it was.
fn download(stream: &mut TcpStream) -> Host {
    let mut bytes = Vec::with_capacity(DOWNLOAD_BYTES);
    let read = stream.read_to_end(&mut bytes);
    assert!(read.is_ok(), "{read:?} after {} bytes", bytes.len());
    let is_it = |server: &Host| bytes == content(*server);
    let server = Host::SERVERS.into_iter().find(is_it);
    server.unwrap_or_else(|| panic!("{} bytes, not the content", bytes.len()))
}

/// How many reports about the connection the director handed on. Each came for the VIP, and each
/// left for the one real server of the connection.
fn reports_at_director(seen: &[Seen], family: Family, server: Host, client_port: u16) -> usize {
    let (mut came, mut left) = (0, 0);
    for report in reports(seen, family, client_port) {
        if report.outgoing {
            assert_eq!(report.frame.from, Host::Client.mac());
            assert_eq!(report.frame.to, Host::Director.mac());
            assert_eq!(destination(report, family), family.vip());
            came += 1;
        } else {
            assert_eq!(report.frame.from, Host::Director.mac());
            assert_eq!(report.frame.to, server.mac(), "the connection's server");
            left += 1;
        }
    }
    assert!(came > 0, "{family}: the router complained about {server}");
    assert_eq!(came, left, "{family} {server}");
    left
}

/// How many reports about the connection reached its server.
fn reports_at_server(heard: &[Seen], family: Family, client_port: u16) -> usize {
    reports(heard, family, client_port)
        .filter(|report| !report.outgoing)
        .count()
}

/// Before the report the server sends what the hop cannot carry; of what it sends afterwards, the
/// later half (what was on its way is past by then) fits.
fn sends_less_when_told(heard: &[Seen], family: Family, client_port: u16) {
    let first = reports(heard, family, client_port).next().unwrap();
    let told = first.time;
    let of_it = |seen: &&Seen| {
        let segment = seen.frame.segment();
        seen.outgoing && segment.is_some_and(|it| it.destination.port() == client_port)
    };
    let fits = |seen: &Seen| seen.bytes.len() <= ETHERNET_BYTES + HOP_MTU as usize;
    let (before, after): (Vec<&Seen>, Vec<&Seen>) = heard
        .iter()
        .filter(of_it)
        .partition(|seen| seen.time <= told);
    assert!(before.iter().any(|seen| !fits(seen)), "big ones first");
    let later = &after[after.len() / 2..];
    assert!(later.len() * HOP_MTU as usize > DOWNLOAD_BYTES / 4);
    assert!(later.iter().all(|seen| fits(seen)), "small ones later");
}

/// "Fragmentation needed" (type 3 code 4) or "packet too big" (type 2) about a connection.
fn reports(seen: &[Seen], family: Family, client_port: u16) -> impl Iterator<Item = &Seen> {
    let about = move |seen: &&Seen| quoted_port(&seen.bytes, family) == Some(client_port);
    seen.iter().filter(about)
}

/// The client's port in the TCP segment that a report quotes; none if the frame is no report.
fn quoted_port(frame: &[u8], family: Family) -> Option<u16> {
    // No IP header in these labs has options or extensions.
    let (ip_bytes, protocol_at, protocol, kind): (_, _, _, &[u8]) = match family {
        Family::Ipv4 => (20, 9, 1, &[3, 4]),
        Family::Ipv6 => (40, 6, 58, &[2, 0]),
    };
    let ethertype: &[u8] = match family {
        Family::Ipv4 => &[0x08, 0x00],
        Family::Ipv6 => &[0x86, 0xdd],
    };
    let packet = frame.get(ETHERNET_BYTES..)?;
    let icmp = packet.get(ip_bytes..)?;
    let is_report = frame.get(12..14)? == ethertype
        && *packet.get(protocol_at)? == protocol
        && icmp.get(..2)? == kind;
    let port = icmp.get(8 + ip_bytes + 2..)?.first_chunk()?;
    is_report.then(|| u16::from_be_bytes(*port))
}

fn destination(report: &Seen, family: Family) -> IpAddr {
    let packet = &report.bytes[ETHERNET_BYTES..];
    match family {
        Family::Ipv4 => <[u8; 4]>::try_from(&packet[16..20]).unwrap().into(),
        Family::Ipv6 => <[u8; 16]>::try_from(&packet[24..40]).unwrap().into(),
    }
}
