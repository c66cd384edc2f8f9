//! Datagrams that do not fit into one frame: all their pieces must reach one real server.
// A test that cannot go on should say where.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use common::service;
use dirigo_lab::{Family, Host, Net};

/// Port of the service; that of DNS, whose large answers are such datagrams.
const PORT: u16 = 53;
/// As large as DNS ever made them.
const DATAGRAM_BYTES: usize = 8_000;
/// Clients, each a flow of its own.
const CLIENTS: usize = 10;
/// Datagrams of each.
const DATAGRAMS: usize = 5;
/// An MTU of 1500 carries 1480 bytes of the 8,008 in IPv4, and 1448 in IPv6: six pieces.
const LATER_PIECES: u64 = 5;

#[test]
fn fragmented_datagrams_arrive_whole_and_are_answered_whole() {
    if !common::have_root() {
        return;
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        let lab = service::up(family);
        let to = service::offer(&lab, "-u", PORT);
        let _echoes = Host::SERVERS.map(|server| Echo::start(&lab.net, server, to));

        let servers: Vec<Host> = (0..CLIENTS)
            .map(|client| converse(&lab.net, to, client))
            .collect();

        for server in Host::SERVERS {
            assert!(servers.contains(&server), "{family}: {servers:?}");
        }
        let datagrams = (CLIENTS * DATAGRAMS) as u64;
        let first = service::counter(&lab, "fragment_first");
        let followed = service::counter(&lab, "fragment_followed");
        println!("{family}: fragment_first {first}, fragment_followed {followed}");
        assert_eq!(first, datagrams, "{family}");
        assert_eq!(followed, datagrams * LATER_PIECES, "{family}");
    }
}

/// One client's datagrams, each answered whole by the same server; which one that is.
fn converse(net: &Net, to: SocketAddr, client: usize) -> Host {
    let any = match net.family() {
        Family::Ipv4 => IpAddr::from([0; 4]),
        Family::Ipv6 => IpAddr::from([0; 16]),
    };
    let socket = net.on(Host::Client, || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(to)?;
        Ok::<_, std::io::Error>(socket)
    });
    let socket = socket.unwrap().unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut servers = (0..DATAGRAMS).map(|number| {
        let sent = datagram(client * DATAGRAMS + number);
        socket.send(&sent).unwrap();
        let mut answer = vec![0; 2 * DATAGRAM_BYTES];
        let length = socket.recv(&mut answer).expect("an answer");
        answer.truncate(length);
        let is_its = |server: &Host| answer == echoed(*server, &sent);
        let server = Host::SERVERS.into_iter().find(is_its);
        server.unwrap_or_else(|| panic!("{length} bytes, not an echo"))
    });
    let server = servers.next().unwrap();
    assert!(servers.all(|other| other == server), "one flow, one server");
    server
}

/// No two are the same, nor two places of one where pieces might be swapped.
fn datagram(number: usize) -> Vec<u8> {
    let place = |at: usize| (at ^ (at >> 8) ^ number) as u8;
    (0..DATAGRAM_BYTES).map(place).collect()
}

/// What a server makes of a datagram, so that nobody mistakes the one for the other's or for none.
fn echoed(server: Host, datagram: &[u8]) -> Vec<u8> {
    let mut answer: Vec<u8> = datagram.iter().map(|byte| !byte).collect();
    answer.push(server as u8);
    answer
}

/// A real server's answers, until it is dropped.
struct Echo {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start(net: &Net, server: Host, at: SocketAddr) -> Self {
        let socket = net.on(server, || UdpSocket::bind(at)).unwrap().unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let thread = std::thread::spawn(move || {
            let mut bytes = vec![0; 2 * DATAGRAM_BYTES];
            while !ended.load(Ordering::Relaxed) {
                if let Ok((length, client)) = socket.recv_from(&mut bytes) {
                    // What the client did not get, it will say.
                    let _sent = socket.send_to(&echoed(server, &bytes[..length]), client);
                }
            }
        });
        Self {
            end,
            thread: Some(thread),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
