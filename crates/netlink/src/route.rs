//! Which way the kernel would send a packet.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
    RouteVia,
};
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};

use crate::address::family;
use crate::{Error, Netlink, host_prefix};

/// Where a packet to one address would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The interface it leaves by.
    pub interface: u32,
    /// The router it is handed to; without one the address itself is the neighbour.
    pub gateway: Option<IpAddr>,
    /// The source address the kernel would choose.
    pub source: Option<IpAddr>,
    /// The address is this host's own.
    pub local: bool,
}

/// A rule of policy routing for packets from some addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRule {
    /// Lower is asked first.
    pub priority: u32,
    /// The addresses.
    pub source: IpAddr,
    /// Bits of the address that count.
    pub prefix: u8,
}

impl SourceRule {
    /// Whether packets from `address` are meant.
    #[must_use]
    pub fn is_about(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(four) => (u128::from(four.to_bits()) << 96, true),
            IpAddr::V6(six) => (six.to_bits(), false),
        };
        let ((one, four), (other, also_four)) = (bits(self.source), bits(address));
        let shift = 128_u32.saturating_sub(self.prefix.into());
        four == also_four && (one ^ other).checked_shr(shift).unwrap_or(0) == 0
    }
}

impl Netlink {
    /// Where a packet to `destination` would go; `None` if there is no route.
    pub fn route_to(&self, destination: IpAddr) -> Result<Option<Route>, Error> {
        self.look_up(
            to_prefix(destination, host_prefix(&destination)),
            destination,
        )
    }

    /// Where a packet from `source`, an address of this host, to `destination` would go; `None` if there is no
    /// route, or a rule of policy routing refuses it.
    pub fn route_from(&self, source: IpAddr, destination: IpAddr) -> Result<Option<Route>, Error> {
        let mut message = to_prefix(destination, host_prefix(&destination));
        message.header.source_prefix_length = host_prefix(&source);
        message
            .attributes
            .push(RouteAttribute::Source(source.into()));
        self.look_up(message, destination)
    }

    fn look_up(&self, message: RouteMessage, destination: IpAddr) -> Result<Option<Route>, Error> {
        let request = RouteNetlinkMessage::GetRoute(message);
        match self.ask(request, &|| {
            format!("looking up the route to {destination}")
        }) {
            Ok(RouteNetlinkMessage::NewRoute(answer)) => Ok(parse(&answer)),
            Ok(_) => Ok(None),
            Err(error) if is_no_route(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The rules of policy routing of one family that look at the source, in the order in which they are asked.
    pub fn source_rules(&self, is_ipv6: bool) -> Result<Vec<SourceRule>, Error> {
        let mut message = RuleMessage::default();
        message.header.family = match is_ipv6 {
            true => AddressFamily::Inet6,
            false => AddressFamily::Inet,
        };
        let request = RouteNetlinkMessage::GetRule(message);
        let found = self.dump(&request, &|| "listing rules of policy routing".to_owned())?;
        let rules = found.iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewRule(rule) => source_rule(rule),
            _ => None,
        });
        let mut rules: Vec<SourceRule> = rules.collect();
        rules.sort_by_key(|rule| rule.priority);
        Ok(rules)
    }

    /// Adds a route to `destination`/`prefix` by a gateway, an interface, or both.
    pub fn add_route(
        &self,
        destination: IpAddr,
        prefix: u8,
        gateway: Option<IpAddr>,
        interface: Option<u32>,
    ) -> Result<(), Error> {
        let mut message = to_prefix(destination, prefix);
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = RouteType::Unicast;
        // Without a router the destination is on the link itself; IPv6 has no such scope.
        if gateway.is_none() && destination.is_ipv4() {
            message.header.scope = RouteScope::Link;
        }
        let gateway_attribute = gateway.map(|gateway| RouteAttribute::Gateway(gateway.into()));
        message.attributes.extend(gateway_attribute);
        message
            .attributes
            .extend(interface.map(RouteAttribute::Oif));
        let message = RouteNetlinkMessage::NewRoute(message);
        self.change(message, NLM_F_CREATE | NLM_F_EXCL, &|| {
            format!("adding a route to {destination}/{prefix}")
        })
    }
}

fn source_rule(message: &RuleMessage) -> Option<SourceRule> {
    let attributes = message.attributes.iter();
    let source = attributes.clone().find_map(|attribute| match attribute {
        RuleAttribute::Source(source) => Some(*source),
        _ => None,
    });
    let priority = attributes.clone().find_map(|attribute| match attribute {
        RuleAttribute::Priority(priority) => Some(*priority),
        _ => None,
    });
    Some(SourceRule {
        priority: priority.unwrap_or(0),
        source: source?,
        prefix: message.header.src_len,
    })
}

fn to_prefix(destination: IpAddr, prefix: u8) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(&destination);
    message.header.destination_prefix_length = prefix;
    // A default route has no destination attribute.
    if prefix > 0 {
        let destination = RouteAttribute::Destination(destination.into());
        message.attributes.push(destination);
    }
    message
}

/// What the kernel answers for "no way there": no route, unreachable, prohibited, blackhole.
fn is_no_route(error: &Error) -> bool {
    matches!(error, Error::Refused { .. })
        && matches!(
            error.errno(),
            Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL)
        )
}

fn parse(message: &RouteMessage) -> Option<Route> {
    let mut interface = None;
    let mut gateway = None;
    let mut source = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(found) => interface = Some(*found),
            RouteAttribute::Gateway(found) => gateway = address(found),
            RouteAttribute::Via(RouteVia::Inet6(found)) => gateway = Some(IpAddr::V6(*found)),
            RouteAttribute::Via(RouteVia::Inet(found)) => gateway = Some(IpAddr::V4(*found)),
            RouteAttribute::PrefSource(found) => source = address(found),
            _ => {}
        }
    }
    match message.header.kind {
        RouteType::Unicast | RouteType::Local => Some(Route {
            interface: interface?,
            gateway,
            source,
            local: message.header.kind == RouteType::Local,
        }),
        _ => None,
    }
}

fn address(found: &RouteAddress) -> Option<IpAddr> {
    match found {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
