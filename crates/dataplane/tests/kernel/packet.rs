//! Packets as clients send them, and what is to become of them, written by an independent library.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber,
    Ipv4Header, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, SingleVlanHeader, TcpHeader,
    UdpHeader, icmpv4, icmpv6,
};

pub type Mac = [u8; 6];

pub const DIRECTOR: Mac = [2, 0, 0, 0, 0, 0x10];
/// The director's other interface.
pub const DIRECTOR_2: Mac = [2, 0, 0, 0, 0, 0x20];
pub const GATEWAY: Mac = [2, 0, 0, 0, 0, 0xee];

pub const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
pub const CLIENT_6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 1));
pub const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100));
pub const VIP_6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100));
/// An address that nobody has, behind the director.
pub const FOREIGN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 200));
pub const FOREIGN_6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x200));

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;

/// What follows the IP header.
#[derive(Clone, Debug)]
pub enum Transport {
    /// A segment with these flags.
    Tcp(u8),
    /// A datagram.
    Udp,
    /// Another protocol: its number; ports are not written.
    Other(u8),
}

/// An IPv6 extension header.
#[derive(Clone, Debug)]
pub enum Extension {
    /// Hop-by-hop (0), routing (43) or destination options (60): its number and its length in bytes, a
    /// multiple of eight.
    Options(u8, usize),
    /// A fragment header: offset in units of eight bytes, whether more follow, identification.
    Fragment(u16, bool, u32),
}

impl Extension {
    fn number(&self) -> IpNumber {
        match self {
            Self::Options(number, _) => IpNumber(*number),
            Self::Fragment(..) => IpNumber::IPV6_FRAGMENTATION_HEADER,
        }
    }

    fn bytes(&self, next: IpNumber) -> Vec<u8> {
        match self {
            Self::Options(_, len) => {
                // Two bytes of header, then options: Pad1, each a zero.
                let options = vec![0; len - 2];
                let header = Ipv6RawExtHeader::new_raw(next, &options).unwrap();
                header.to_bytes().to_vec()
            }
            Self::Fragment(offset, more, identification) => {
                let offset = (*offset).try_into().unwrap();
                let header = Ipv6FragmentHeader::new(next, offset, *more, *identification);
                header.to_bytes().to_vec()
            }
        }
    }
}

/// A packet of a client, in a frame.
#[derive(Clone, Debug)]
pub struct Packet {
    pub destination: Mac,
    pub source: Mac,
    pub client: SocketAddr,
    pub virtual_address: SocketAddr,
    pub transport: Transport,
    pub ttl: u8,
    /// IPv4 options, a multiple of four bytes.
    pub options: Vec<u8>,
    pub tcp_options: Vec<u8>,
    pub payload: Vec<u8>,
    /// Bytes after the IP packet.
    pub padding: usize,
    /// VLANs, outermost first.
    pub tags: Vec<u16>,
    /// IPv6 extension headers.
    pub extensions: Vec<Extension>,
    pub identification: u16,
    pub fragment_offset: u16,
    pub more_fragments: bool,
    /// Type of service, or traffic class.
    pub class: u8,
}

pub fn packet(client: IpAddr, client_port: u16, to: IpAddr, port: u16, kind: Transport) -> Packet {
    Packet {
        destination: DIRECTOR,
        source: GATEWAY,
        client: SocketAddr::new(client, client_port),
        virtual_address: SocketAddr::new(to, port),
        transport: kind,
        ttl: 64,
        options: Vec::new(),
        tcp_options: Vec::new(),
        payload: Vec::new(),
        padding: 0,
        tags: Vec::new(),
        extensions: Vec::new(),
        identification: 0x1234,
        fragment_offset: 0,
        more_fragments: false,
        class: 0,
    }
}

/// A segment of the client to the virtual address of its family.
pub fn tcp(client: IpAddr, client_port: u16, port: u16, flags: u8) -> Packet {
    let vip = if client.is_ipv4() { VIP } else { VIP_6 };
    packet(client, client_port, vip, port, Transport::Tcp(flags))
}

/// A datagram of the client to the virtual address of its family.
pub fn udp(client: IpAddr, client_port: u16, port: u16) -> Packet {
    let vip = if client.is_ipv4() { VIP } else { VIP_6 };
    packet(client, client_port, vip, port, Transport::Udp).payload(9)
}

/// What a router tells the virtual address about a packet of the real server, of which it quotes
/// `quoted` bytes. Kind and code are ICMP's or ICMPv6's.
pub fn icmp_error(router: IpAddr, about: &Packet, kind: u8, code: u8, quoted: usize) -> Packet {
    let mut quote = about.ip_packet();
    quote.truncate(quoted);
    let vip = about.client.ip();
    let rest = [0, 0, 5, 0x78];
    let (number, icmp) = match (router, vip) {
        (IpAddr::V4(_), IpAddr::V4(_)) => {
            let kind = Icmpv4Type::Unknown {
                type_u8: kind,
                code_u8: code,
                bytes5to8: rest,
            };
            let header = Icmpv4Header::with_checksum(kind, &quote);
            (1, header.to_bytes().to_vec())
        }
        (IpAddr::V6(source), IpAddr::V6(vip)) => {
            let kind = Icmpv6Type::Unknown {
                type_u8: kind,
                code_u8: code,
                bytes5to8: rest,
            };
            let header =
                Icmpv6Header::with_checksum(kind, source.octets(), vip.octets(), &quote).unwrap();
            (58, header.to_bytes().to_vec())
        }
        mixed => panic!("a packet of two families: {mixed:?}"),
    };
    let mut error = packet(router, 0, vip, 0, Transport::Other(number));
    error.payload = icmp;
    error.payload.extend(quote);
    error
}

impl Packet {
    /// What the real server sends back: the way round.
    pub fn reversed(&self) -> Self {
        let mut back = self.clone();
        (back.client, back.virtual_address) = (self.virtual_address, self.client);
        back
    }

    pub fn to(mut self, address: IpAddr) -> Self {
        self.virtual_address.set_ip(address);
        self
    }

    pub fn for_mac(mut self, mac: Mac) -> Self {
        self.destination = mac;
        self
    }

    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub fn class(mut self, class: u8) -> Self {
        self.class = class;
        self
    }

    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    pub fn tcp_options(mut self, options: &[u8]) -> Self {
        self.tcp_options = options.to_vec();
        self
    }

    /// Payload of `len` bytes, no two neighbours alike.
    pub fn payload(mut self, len: usize) -> Self {
        self.payload = (0..len).map(|n| (n * 7 + 3) as u8).collect();
        self
    }

    pub fn padding(mut self, len: usize) -> Self {
        self.padding = len;
        self
    }

    /// A piece of a larger packet, in units of eight bytes: IPv4 by its flags, IPv6 by a header.
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        if self.client.is_ipv4() {
            (self.fragment_offset, self.more_fragments) = (offset, more);
            return self;
        }
        let identification = u32::from(self.identification) << 8;
        self.extension(Extension::Fragment(offset, more, identification))
    }

    /// Which larger packet it is a piece of; called before [`Packet::fragment`].
    pub fn identification(mut self, identification: u16) -> Self {
        self.identification = identification;
        self
    }

    /// In these VLANs, outermost first.
    pub fn tags(mut self, tags: &[u16]) -> Self {
        self.tags = tags.to_vec();
        self
    }

    /// With one more extension header.
    pub fn extension(mut self, extension: Extension) -> Self {
        self.extensions.push(extension);
        self
    }

    /// With one more header of options.
    pub fn options_header(self, number: u8, len: usize) -> Self {
        self.extension(Extension::Options(number, len))
    }

    /// The frame on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut frame = self.link(self.destination, self.source);
        frame.extend(self.ip_packet());
        // Not zeros: a switch may leave anything there.
        frame.extend(std::iter::repeat_n(0xa5, self.padding));
        frame
    }

    /// The frame that direct routing makes of it.
    pub fn forwarded(&self, destination: Mac, source: Mac) -> Vec<u8> {
        let mut next = self.clone().ttl(self.ttl - 1);
        (next.destination, next.source) = (destination, source);
        next.bytes()
    }

    /// The frame that tells the client: port unreachable.
    pub fn port_unreachable(&self) -> Vec<u8> {
        let v4 = Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port);
        let v6 = Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port);
        self.answer(v4, v6)
    }

    /// The frame that tells the client: time exceeded in transit.
    pub fn time_exceeded(&self) -> Vec<u8> {
        let v4 = Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);
        let v6 = Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded);
        self.answer(v4, v6)
    }

    /// RFC 1812 §4.3.2.3: 576 bytes at most. RFC 4443 §2.4(c): 1,280.
    fn answer(&self, v4: Icmpv4Type, v6: Icmpv6Type) -> Vec<u8> {
        let mut quoted = self.ip_packet();
        let mut frame = self.link(self.source, self.destination);
        match (self.virtual_address.ip(), self.client.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                quoted.truncate(576 - 20 - 8);
                let icmp = Icmpv4Header::with_checksum(v4, &quoted);
                let total = icmp.header_len() + quoted.len();
                let ip = Ipv4Header::new(
                    total as u16,
                    64,
                    IpNumber::ICMP,
                    source.octets(),
                    destination.octets(),
                );
                let mut ip = ip.unwrap();
                // Precedence "internetwork control", as RFC 1812 §4.3.2.5 has it.
                ip.dscp = 0x30.try_into().unwrap();
                ip.header_checksum = ip.calc_header_checksum();
                frame.extend(ip.to_bytes());
                frame.extend(icmp.to_bytes());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                quoted.truncate(1280 - 40 - 8);
                let (source, destination) = (source.octets(), destination.octets());
                let icmp = Icmpv6Header::with_checksum(v6, source, destination, &quoted).unwrap();
                frame.extend(
                    Ipv6Header {
                        payload_length: (icmp.header_len() + quoted.len()) as u16,
                        next_header: IpNumber::IPV6_ICMP,
                        hop_limit: 64,
                        source,
                        destination,
                        ..Default::default()
                    }
                    .to_bytes(),
                );
                frame.extend(icmp.to_bytes());
            }
            mixed => panic!("a packet of two families: {mixed:?}"),
        }
        frame.extend(quoted);
        frame
    }

    /// Ethernet header and tags.
    fn link(&self, destination: Mac, source: Mac) -> Vec<u8> {
        let last = self.ether_type();
        let mut types = vec![EtherType::VLAN_TAGGED_FRAME; self.tags.len()];
        if types.len() > 1 {
            types[0] = EtherType::PROVIDER_BRIDGING;
        }
        types.push(last);
        let mut bytes = ethernet(destination, source, types[0]);
        for (tag, ether_type) in self.tags.iter().zip(&types[1..]) {
            let header = SingleVlanHeader {
                pcp: 5.try_into().unwrap(),
                drop_eligible_indicator: true,
                vlan_id: (*tag).try_into().unwrap(),
                ether_type: *ether_type,
            };
            bytes.extend(header.to_bytes());
        }
        bytes
    }

    fn ether_type(&self) -> EtherType {
        if self.client.is_ipv4() {
            EtherType::IPV4
        } else {
            EtherType::IPV6
        }
    }

    /// The IP packet, header first.
    pub fn ip_packet(&self) -> Vec<u8> {
        let transport = self.transport_bytes();
        let number = match self.transport {
            Transport::Tcp(_) => IpNumber::TCP,
            Transport::Udp => IpNumber::UDP,
            Transport::Other(number) => IpNumber(number),
        };
        let mut bytes = match (self.client.ip(), self.virtual_address.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut ip = Ipv4Header::new(
                    transport.len() as u16,
                    self.ttl,
                    number,
                    source.octets(),
                    destination.octets(),
                )
                .unwrap();
                ip.options = self.options.as_slice().try_into().unwrap();
                ip.set_payload_len(transport.len()).unwrap();
                ip.identification = self.identification;
                ip.dscp = (self.class >> 2).try_into().unwrap();
                ip.dont_fragment = self.fragment_offset == 0 && !self.more_fragments;
                ip.fragment_offset = self.fragment_offset.try_into().unwrap();
                ip.more_fragments = self.more_fragments;
                ip.header_checksum = ip.calc_header_checksum();
                ip.to_bytes().to_vec()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let (first, extensions) = self.extension_bytes(number);
                let mut bytes = Ipv6Header {
                    traffic_class: self.class,
                    flow_label: 0xbeef.try_into().unwrap(),
                    payload_length: (extensions.len() + transport.len()) as u16,
                    next_header: first,
                    hop_limit: self.ttl,
                    source: source.octets(),
                    destination: destination.octets(),
                }
                .to_bytes()
                .to_vec();
                bytes.extend(extensions);
                bytes
            }
            mixed => panic!("a packet of two families: {mixed:?}"),
        };
        bytes.extend(transport);
        bytes
    }

    /// The extension headers before `last`, and the number of the first.
    fn extension_bytes(&self, last: IpNumber) -> (IpNumber, Vec<u8>) {
        let mut numbers: Vec<IpNumber> = self.extensions.iter().map(Extension::number).collect();
        numbers.push(last);
        let headers = self.extensions.iter().zip(&numbers[1..]);
        let bytes = headers.flat_map(|(extension, next)| extension.bytes(*next));
        (numbers[0], bytes.collect())
    }

    /// Header and payload of the transport protocol.
    fn transport_bytes(&self) -> Vec<u8> {
        let (source, destination) = (self.client.port(), self.virtual_address.port());
        let mut bytes = match self.transport {
            Transport::Tcp(flags) => {
                let mut header = TcpHeader::new(source, destination, 0x0102_0304, 64_240);
                header.fin = flags & FIN != 0;
                header.syn = flags & SYN != 0;
                header.rst = flags & RST != 0;
                header.psh = flags & PSH != 0;
                header.ack = flags & ACK != 0;
                header.set_options_raw(&self.tcp_options).unwrap();
                header.checksum = self.tcp_checksum(&header);
                header.to_bytes().to_vec()
            }
            Transport::Udp => self.udp_header(source, destination).to_bytes().to_vec(),
            Transport::Other(_) => Vec::new(),
        };
        bytes.extend(&self.payload);
        bytes
    }

    fn tcp_checksum(&self, header: &TcpHeader) -> u16 {
        match (self.client.ip(), self.virtual_address.ip()) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                header.calc_checksum_ipv4_raw(s.octets(), d.octets(), &self.payload)
            }
            (IpAddr::V6(s), IpAddr::V6(d)) => {
                header.calc_checksum_ipv6_raw(s.octets(), d.octets(), &self.payload)
            }
            mixed => panic!("a packet of two families: {mixed:?}"),
        }
        .unwrap()
    }

    fn udp_header(&self, source: u16, destination: u16) -> UdpHeader {
        let mut header =
            UdpHeader::without_ipv4_checksum(source, destination, self.payload.len()).unwrap();
        header.checksum = match (self.client.ip(), self.virtual_address.ip()) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                header.calc_checksum_ipv4_raw(s.octets(), d.octets(), &self.payload)
            }
            (IpAddr::V6(s), IpAddr::V6(d)) => {
                header.calc_checksum_ipv6_raw(s.octets(), d.octets(), &self.payload)
            }
            mixed => panic!("a packet of two families: {mixed:?}"),
        }
        .unwrap();
        header
    }
}

pub fn ethernet(destination: Mac, source: Mac, ether_type: EtherType) -> Vec<u8> {
    Ethernet2Header {
        destination,
        source,
        ether_type,
    }
    .to_bytes()
    .to_vec()
}
