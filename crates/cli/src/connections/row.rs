//! A connection in 64 bytes, to sort a million of them.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use api::{Connection, Protocol};

/// What connections are sorted by; those that are equal in it by the whole of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Key {
    /// Seconds that are left
    Expires,
    /// Client's address and port
    Client,
    /// Virtual address and port
    Virtual,
    /// Real server's address and port
    Destination,
    /// State's name
    State,
    /// Protocol
    Protocol,
}

/// The states' names that occurred; each is told once.
#[derive(Debug, Default)]
pub struct States(Vec<String>);

impl States {
    /// Its number; there are some dozen states, and what is more is told as the last.
    fn number(&mut self, name: &str) -> u8 {
        let known = self.0.iter().position(|one| one == name);
        let place = known.unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        });
        u8::try_from(place).unwrap_or(u8::MAX)
    }

    fn name(&self, number: u8) -> &str {
        self.0.get(usize::from(number)).map_or("", String::as_str)
    }
}

/// An address, IPv4 mapped: such IPv6 addresses are refused as services and servers, and no client
/// has one on a wire (RFC 4291, 2.5.5.2).
type Packed = (u128, u16);

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    addresses: [u128; 3],
    ports: [u16; 3],
    expires_s: u32,
    protocol: Option<Protocol>,
    state: u8,
    /// The first bytes of the state's name, which order as it does.
    state_rank: u16,
}

const _: () = assert!(size_of::<Row>() == 64);

impl Row {
    /// Packs a connection.
    #[must_use]
    pub fn new(connection: &Connection, states: &mut States) -> Self {
        let packed = [
            connection.client,
            connection.virtual_address,
            connection.destination,
        ]
        .map(pack);
        let name = connection.state.as_bytes();
        let byte = |place: usize| name.get(place).copied().unwrap_or(0);
        Self {
            addresses: packed.map(|(address, _)| address),
            ports: packed.map(|(_, port)| port),
            expires_s: u32::try_from(connection.expires_s).unwrap_or(u32::MAX),
            protocol: connection.protocol,
            state: states.number(&connection.state),
            state_rank: u16::from_be_bytes([byte(0), byte(1)]),
        }
    }

    /// And back.
    #[must_use]
    pub fn connection(&self, states: &States) -> Connection {
        let address = |place: usize| unpack((self.addresses[place], self.ports[place]));
        Connection {
            protocol: self.protocol,
            client: address(0),
            virtual_address: address(1),
            destination: address(2),
            state: states.name(self.state).to_owned(),
            expires_s: self.expires_s.into(),
        }
    }

    /// The order by a key.
    #[must_use]
    pub fn compare(&self, other: &Self, key: Key) -> Ordering {
        let address = |place: usize| {
            let rank = |row: &Self| (row.addresses[place], row.ports[place]);
            rank(self).cmp(&rank(other))
        };
        let state = |row: &Self| (row.state_rank, row.state);
        let first = match key {
            Key::Expires => self.expires_s.cmp(&other.expires_s),
            Key::Client => address(0),
            Key::Virtual => address(1),
            Key::Destination => address(2),
            Key::State => state(self).cmp(&state(other)),
            Key::Protocol => self.protocol.cmp(&other.protocol),
        };
        let rest = || self.protocol.cmp(&other.protocol);
        first
            .then_with(|| address(0))
            .then_with(|| address(1))
            .then_with(|| address(2))
            .then_with(rest)
    }
}

fn pack(address: SocketAddr) -> Packed {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    (ip.into(), address.port())
}

fn unpack((address, port): Packed) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from(address).to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_connection_survives_packing(
            client: SocketAddr,
            service: SocketAddr,
            server: SocketAddr,
            expires_s in 0u64..=u64::from(u32::MAX),
            state in proptest::sample::select(vec!["ESTABLISHED", "SYN_RECV", "UDP", "NONE", ""]),
        ) {
            // Scopes and flow labels are no part of a connection.
            let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
            let connection = Connection {
                protocol: Some(Protocol::Udp),
                client: plain(client),
                virtual_address: plain(service),
                destination: plain(server),
                state: state.to_owned(),
                expires_s,
            };
            let mut states = States::default();
            let row = Row::new(&connection, &mut states);
            prop_assert_eq!(row.connection(&states), connection);
        }
    }

    #[test]
    fn ipv4_comes_before_ipv6_and_addresses_order_as_numbers() {
        let mut states = States::default();
        let mut row = |client: &str| {
            let address = client.parse().unwrap();
            let connection = Connection {
                protocol: Some(Protocol::Tcp),
                client: address,
                virtual_address: address,
                destination: address,
                state: String::new(),
                expires_s: 0,
            };
            Row::new(&connection, &mut states)
        };
        let sorted = ["9.0.0.1:2", "10.0.0.1:1", "10.0.0.1:10", "[2001:db8::1]:1"].map(&mut row);
        for pair in sorted.windows(2) {
            assert!(pair[0].compare(&pair[1], Key::Client).is_lt());
        }
    }
}
