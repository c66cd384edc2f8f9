//! Random worlds, changes and frames, from a seed and nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dirigo_dataplane::{DestinationLink, Rules, Segment};

use crate::packet::{
    ACK, DIRECTOR, DIRECTOR_2, FIN, GATEWAY, PSH, Packet, RST, SYN, Transport, VIP, VIP_6,
    icmp_error, packet,
};
use crate::world::{Change, ELSEWHERE, INGRESS, key, via};

/// A sequence of random choices: xorshift64*, whose state is never 0.
#[derive(Clone)]
pub struct Dice(u64);

/// Services by number: two addresses, both protocols, two ports.
const SERVICES: u32 = 8;
/// Destinations by number, 1 and on.
const DESTINATIONS: u32 = 8;
const PORTS: [u16; 2] = [80, 53];

impl Dice {
    pub fn new(seed: u64, world: u64) -> Self {
        // Neighbouring worlds must not have neighbouring states.
        let mixed = (seed ^ world.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut dice = Self((mixed ^ mixed >> 31) | 1);
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// Keys of the flow hash; the last four are odd.
    pub fn hash_keys(&mut self) -> [u64; 8] {
        let odd = |number| u64::from(number >= 4);
        std::array::from_fn(|number| self.next() << 32 ^ self.next() | odd(number))
    }

    /// The changes that make a world.
    pub fn world(&mut self) -> Vec<Change> {
        let mut changes = vec![
            Change::Interface(0, INGRESS, DIRECTOR),
            Change::Interface(1, ELSEWHERE, DIRECTOR_2),
            Change::Vips(vec![VIP, VIP_6]),
        ];
        if self.one_in(20) {
            changes.push(Change::Interface(0, ELSEWHERE + 1, DIRECTOR));
            changes.push(Change::Interface(3, INGRESS, DIRECTOR));
        }
        changes.extend((1..=DESTINATIONS).map(|id| self.link(id)));
        changes.extend((0..SERVICES).map(|id| self.publish(id)));
        changes
    }

    /// Something that happens between frames.
    pub fn change(&mut self) -> Change {
        match self.below(10) {
            0..4 => {
                let id = self.below(SERVICES as usize) as u32;
                self.publish(id)
            }
            4 => Change::Withdraw(service_key(self.below(SERVICES as usize) as u32)),
            5 | 6 => {
                let id = 1 + self.below(DESTINATIONS as usize) as u32;
                self.link(id)
            }
            7 => {
                let times = [1, 2, 30, 900];
                Change::Timeouts(self.pick(&times), self.pick(&times), self.pick(&times))
            }
            8 => Change::Age(self.pick(&[1, 3, 11, 61, 121, 301, 902])),
            _ => {
                let both = vec![VIP, VIP_6];
                Change::Vips(self.pick(&[both.clone(), both.clone(), both, vec![VIP], vec![VIP_6]]))
            }
        }
    }

    fn link(&mut self, id: u32) -> Change {
        let link = match self.below(12) {
            0 => DestinationLink::Unresolved,
            1 => DestinationLink::Gone,
            2 => DestinationLink::Local,
            3 => via(id, self.pick(&[15, 16, 200])),
            4 | 5 => via(id, 1),
            _ => via(id, 0),
        };
        Change::Link(id, link)
    }

    fn publish(&mut self, number: u32) -> Change {
        let mut end = 0;
        let segments: Vec<Segment> = (0..self.below(4))
            .map(|_| {
                let destinations: Vec<u32> = (0..1 + self.below(4))
                    .map(|_| 1 + self.below(DESTINATIONS as usize) as u32)
                    .collect();
                // Once in a while weights as large as ipvsadm takes.
                let span = if self.one_in(10) {
                    1 << 31
                } else {
                    1 + self.below(7)
                };
                end += span as u64;
                Segment { end, destinations }
            })
            .collect();
        let first = self.next();
        let key = service_key(number);
        Change::PublishWith {
            key,
            id: number + 1,
            rules: self.rules(number & 1 == 0),
            segments,
            first: first % end.max(1),
        }
    }

    /// Mostly none; now and then persistence, one-packet scheduling, or a share of next to nothing.
    fn rules(&mut self, is_v4: bool) -> Rules {
        let masks = if is_v4 {
            [u32::MAX, 0xffff_fffe]
        } else {
            [128, 64]
        };
        Rules {
            persistence_s: self.pick(&[0, 0, 0, 0, 10, 300]),
            client_mask: self.pick(&masks),
            one_packet: self.one_in(6),
            share: self.pick(&[u32::MAX, u32::MAX, u32::MAX, 2]),
            memory: 0,
        }
    }

    /// A frame, mostly right, spoilt once in three.
    pub fn frame(&mut self) -> Vec<u8> {
        let mut bytes = self.packet().bytes();
        if self.one_in(3) {
            for _ in 0..1 + self.below(3) {
                self.spoil(&mut bytes);
            }
        }
        // The kernel runs no program on less than an Ethernet header.
        bytes.resize(bytes.len().max(14), 0);
        bytes
    }

    fn packet(&mut self) -> Packet {
        let packet = self.plain_packet();
        let packet = match self.below(12) {
            0 => self.in_pieces(packet),
            1 => self.complaint_about(packet),
            _ => packet,
        };
        self.dressed(packet)
    }

    fn plain_packet(&mut self) -> Packet {
        let (client, vip) = self.addresses();
        let port = self.pick(&[80, 80, 80, 80, 53, 53, 53, 53, 53, 22]);
        let client_port = self.pick(&[40_000, 40_000, 40_001, 40_002, 40_003, 40_004, 40_005, 20]);
        let transport = match self.below(16) {
            0..9 => Transport::Tcp(self.flags()),
            9..15 => Transport::Udp,
            _ => Transport::Other(self.pick(&[0, 1, 4, 41, 43, 44, 50, 58, 60, 132, 255])),
        };
        let packet = packet(client, client_port, vip, port, transport);
        let len = self.pick(&[0, 0, 1, 2, 3, 17, 64, 519, 521, 1_183, 1_185, 1_400]);
        packet.payload(len)
    }

    /// One piece of a larger packet; the first has the transport header.
    fn in_pieces(&mut self, packet: Packet) -> Packet {
        let mut packet = packet;
        if self.one_in(2) {
            return packet.fragment(0, true);
        }
        if !matches!(packet.transport, Transport::Other(_)) {
            packet.transport = Transport::Other(self.pick(&[6, 17]));
        }
        packet.fragment(self.pick(&[1, 185]), self.one_in(2))
    }

    /// A router's word about what the real server sent on the flow of this packet.
    fn complaint_about(&mut self, packet: Packet) -> Packet {
        let kinds = [
            (3, 4),
            (3, 1),
            (11, 0),
            (12, 0),
            (5, 0),
            (8, 0),
            (2, 0),
            (1, 4),
            (128, 0),
        ];
        let (kind, code) = self.pick(&kinds);
        let quoted = self.pick(&[0, 20, 27, 28, 48, 60, 548]);
        icmp_error(packet.client.ip(), &packet.reversed(), kind, code, quoted)
    }

    /// The same packet with what it may have around it.
    fn dressed(&mut self, packet: Packet) -> Packet {
        let is_v4 = packet.client.is_ipv4();
        let mut packet = packet.ttl(self.pick(&[64, 64, 64, 255, 255, 2, 1, 0]));
        if self.one_in(8) {
            packet = packet.padding(1 + self.below(40));
        }
        if self.one_in(8) && is_v4 {
            packet = packet.options(&vec![1; 4 * (1 + self.below(10))]);
        }
        if self.one_in(6) && !is_v4 {
            for _ in 0..1 + self.below(4) * self.below(3) {
                packet = packet.options_header(self.pick(&[0, 43, 60]), self.pick(&[8, 8, 24, 64]));
            }
        }
        if self.one_in(40) && !is_v4 {
            packet = packet.options_header(60, self.pick(&[1_024, 1_976, 2_048]));
            packet.payload.truncate(80);
        }
        if self.one_in(8) {
            packet = packet.tcp_options(&vec![1; 4 * (1 + self.below(10))]);
        }
        if self.one_in(8) {
            packet = packet.tags([[7].as_slice(), &[7, 8], &[1, 2, 3]][self.below(7) / 3]);
        }
        if self.one_in(30) {
            packet = packet.for_mac(self.pick(&[GATEWAY, DIRECTOR_2, [0xff; 6]]));
        }
        packet.class(self.pick(&[0, 0, 0xb8, 0xff]))
    }

    /// Few clients, so that sequences meet connections; now and then one who may not be answered.
    fn addresses(&mut self) -> (IpAddr, IpAddr) {
        if self.one_in(3) {
            let last = self.pick(&[1, 2, 3, 4]);
            let client = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, last).into();
            let odd = [
                Ipv6Addr::LOCALHOST.into(),
                "ff02::1".parse().unwrap(),
                VIP_6,
            ];
            let client = if self.one_in(20) {
                self.pick(&odd)
            } else {
                client
            };
            let vip = if self.one_in(20) {
                "2001:db8::200".parse().unwrap()
            } else {
                VIP_6
            };
            return (client, vip);
        }
        let client = Ipv4Addr::new(198, 51, 100, self.pick(&[1, 2, 3, 4])).into();
        let odd = [Ipv4Addr::LOCALHOST.into(), Ipv4Addr::BROADCAST.into(), VIP];
        let client = if self.one_in(20) {
            self.pick(&odd)
        } else {
            client
        };
        let vip = if self.one_in(20) {
            Ipv4Addr::new(192, 0, 2, 200).into()
        } else {
            VIP
        };
        (client, vip)
    }

    fn flags(&mut self) -> u8 {
        let flags = [
            SYN,
            SYN,
            SYN,
            ACK,
            ACK,
            ACK | PSH,
            FIN | ACK,
            FIN | ACK,
            RST,
            RST,
            SYN | ACK,
            0,
        ];
        if self.one_in(12) {
            return self.next() as u8 & 0x1f;
        }
        self.pick(&flags)
    }

    /// Makes a frame lie.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match self.below(9) {
            // Any bit.
            0 | 1 => {
                let at = self.below(bytes.len());
                bytes[at] ^= 1 << self.below(8);
            }
            // A bit of a header.
            2 => {
                let at = self.below(bytes.len().min(74));
                bytes[at] ^= 1 << self.below(8);
            }
            // What the frame carries.
            7 => {
                let types = [
                    [8, 0],
                    [8, 6],
                    [0x86, 0xdd],
                    [0x81, 0],
                    [0x88, 0xa8],
                    [0, 60],
                ];
                if let Some(field) = bytes.get_mut(12..14) {
                    field.copy_from_slice(&self.pick(&types));
                }
            }
            3 => bytes.truncate(self.below(bytes.len() + 1)),
            4 => {
                let len = bytes.len() + self.below(60);
                bytes.resize(len, self.next() as u8);
            }
            // A length or another 16-bit field of IPv4, IPv6, TCP over both, UDP over both.
            5 | 6 => {
                let at = self.pick(&[12, 16, 18, 20, 24, 38, 46, 58, 66]);
                let present = bytes.len() as u16;
                let values = [
                    0,
                    1,
                    7,
                    8,
                    19,
                    20,
                    39,
                    40,
                    present,
                    present.wrapping_sub(13),
                    0xffff,
                ];
                let value = self.pick(&values).wrapping_add(self.below(3) as u16);
                if let Some(field) = bytes.get_mut(at..at + 2) {
                    field.copy_from_slice(&value.to_be_bytes());
                }
            }
            // Version and header length, data offset, flags, next header.
            _ => {
                let at = self.pick(&[14, 20, 23, 46, 47, 66, 67]);
                let value = self.next() as u8;
                if let Some(field) = bytes.get_mut(at) {
                    *field = value;
                }
            }
        }
    }
}

fn service_key(number: u32) -> dirigo_dataplane::ServiceKey {
    let vip = if number & 1 == 0 { VIP } else { VIP_6 };
    let protocol = if number & 2 == 0 { 6 } else { 17 };
    key(protocol, vip, PORTS[(number >> 2) as usize & 1])
}
