//! UDP that never pauses and of which every packet is asked for: known connections and new ones, each packet echoed.
//!
//! What is under way at once is less than a veth's queue holds, so that nothing but the director loses a packet.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use netlink::Namespace;

/// The service's port.
pub const PORT: u16 = 7000;

/// Connections that live as long as the traffic.
const KNOWN: usize = 8;

/// One packet in so many rounds begins a connection.
const ROUNDS_UNTIL_NEW: u64 = 4;

/// Answers every packet with its server's number and what it held. A socket for each family, because an answer must come
/// from the virtual address.
pub fn serve(server: &Namespace, number: u8) {
    for address in [super::vip(), super::six(100)] {
        let socket = server
            .run(|| UdpSocket::bind(SocketAddr::new(address, PORT)).unwrap())
            .unwrap();
        std::thread::spawn(move || {
            let mut packet = [0; 16];
            while let Ok((len, from)) = socket.recv_from(&mut packet[1..]) {
                packet[0] = number;
                let _client_is_gone = socket.send_to(&packet[..=len], from);
            }
        });
    }
}

/// What became of the packets.
#[derive(Debug, Default)]
pub struct Told {
    /// Answered on connections that lived all the time.
    pub known: u64,
    /// Answered on new connections.
    pub new: u64,
    /// Not answered.
    pub lost: u64,
    /// Answered by another server than the connection's.
    pub moved: u64,
}

/// Packets of a client, until told to end.
pub struct Traffic {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Told>,
}

impl Traffic {
    /// Begins; the first connections are answered when this returns.
    pub fn begin(client: &Namespace, service: IpAddr) -> Self {
        let namespace = std::fs::File::from(client.fd().try_clone_to_owned().unwrap());
        let is_over = Arc::new(AtomicBool::new(false));
        let (ended, (ready, begun)) = (Arc::clone(&is_over), std::sync::mpsc::channel());
        let thread = std::thread::spawn(move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let known: Vec<_> = (0..KNOWN).map(|_| Connection::begin(service)).collect();
            ready.send(()).unwrap();
            flow(service, known, &ended)
        });
        begun.recv().unwrap();
        Self { is_over, thread }
    }

    /// Ends it and tells.
    pub fn end(self) -> Told {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn flow(service: IpAddr, known: Vec<Connection>, is_over: &AtomicBool) -> Told {
    let mut told = Told::default();
    let mut round = 0u64;
    while !is_over.load(Ordering::Relaxed) {
        round += 1;
        for connection in &known {
            connection.send(round);
        }
        for connection in &known {
            match connection.answer(round) {
                Some(server) if server == connection.server => told.known += 1,
                Some(_) => told.moved += 1,
                None => told.lost += 1,
            }
        }
        if round.is_multiple_of(ROUNDS_UNTIL_NEW) {
            let new = Connection::open(service);
            new.send(round);
            match new.answer(round) {
                Some(_) => told.new += 1,
                None => told.lost += 1,
            }
        }
    }
    told
}

struct Connection {
    socket: UdpSocket,
    server: u8,
}

impl Connection {
    fn open(service: IpAddr) -> Self {
        let any: IpAddr = match service {
            IpAddr::V4(_) => [0; 4].into(),
            IpAddr::V6(_) => [0u16; 8].into(),
        };
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.connect((service, PORT)).unwrap();
        let patience = Some(Duration::from_secs(3));
        socket.set_read_timeout(patience).unwrap();
        Self { socket, server: 0 }
    }

    fn begin(service: IpAddr) -> Self {
        let mut connection = Self::open(service);
        connection.send(0);
        connection.server = connection.answer(0).expect("the service answers");
        connection
    }

    fn send(&self, number: u64) {
        self.socket.send(&number.to_be_bytes()).unwrap();
    }

    /// Who answered, if anybody did.
    fn answer(&self, number: u64) -> Option<u8> {
        let mut packet = [0; 16];
        loop {
            let len = self.socket.recv(&mut packet).ok()?;
            if packet[1..len] == number.to_be_bytes() {
                return Some(packet[0]);
            }
        }
    }
}
