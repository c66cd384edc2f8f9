//! What happens to a frame. Each reason names one counter; the enums are the list of counters.

/// Declares a reason enum whose discriminants are counter numbers, with the counters' names.
macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum $name { $($(#[$doc])* $variant = $number,)+ }

        impl $name {
            /// All of them, in counter order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Name of the counter, in `status` and in metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Number of the counter.
            #[must_use]
            #[inline(always)]
            pub const fn counter(self) -> u32 { self as u32 }
        }
    };
}

reasons! {
    /// Why a frame goes to the host's stack, untouched.
    PassReason {
        /// ARP is the host's business.
        Arp = 0 "pass_arp",
        /// Neither IPv4 nor IPv6.
        NotIp = 1 "pass_not_ip",
        /// The destination is no address of a virtual service.
        NotAVirtualAddress = 2 "pass_not_a_virtual_address",
        /// A later fragment whose first one is late, lost or was not balanced.
        Fragment = 3 "pass_fragment",
        /// ICMP that is no error about a connection: echo to the VIP is answered by the host.
        Icmp = 4 "pass_icmp",
        /// Neither TCP, UDP nor SCTP, or behind too many IPv6 extension headers.
        UnsupportedProtocol = 5 "pass_unsupported_protocol",
        /// The frame's destination MAC is not the interface's: flooded, or broadcast.
        NotForThisHost = 6 "pass_not_for_this_host",
        /// The address is virtual but the port belongs to no virtual service.
        NotAService = 7 "pass_not_a_service",
        /// TCP without a connection, and not a SYN: the host answers with RST, as in IPVS.
        NoConnection = 8 "pass_no_connection",
        /// Source port 20 never makes a connection, as in IPVS.
        FtpData = 9 "pass_ftp_data",
        /// The destination is the director itself.
        LocalDestination = 10 "pass_local_destination",
        /// The data path has no settings yet.
        NotReady = 11 "pass_not_ready",
    }
}

reasons! {
    /// Why a frame goes nowhere.
    DropReason {
        /// Shorter than an Ethernet header.
        MalformedEthernet = 16 "drop_malformed_ethernet",
        /// IPv4: wrong version, header below 5 words, or a length that lies.
        MalformedIpv4 = 17 "drop_malformed_ipv4",
        /// IPv6: wrong version or a length that lies.
        MalformedIpv6 = 18 "drop_malformed_ipv6",
        /// TCP: header below 5 words or longer than the packet.
        MalformedTcp = 19 "drop_malformed_tcp",
        /// UDP: length below 8 or longer than the packet.
        MalformedUdp = 20 "drop_malformed_udp",
        /// SCTP: shorter than its header and the head of a chunk.
        MalformedSctp = 29 "drop_malformed_sctp",
        /// No eligible destination, and the client had its share of ICMP errors.
        NoDestination = 21 "drop_no_destination",
        /// The connection's destination was deleted; silent, as in IPVS.
        DestinationGone = 22 "drop_destination_gone",
        /// The destination's MAC is not known at the moment.
        DestinationUnresolved = 23 "drop_destination_unresolved",
        /// TTL or hop limit is used up, and the client had its share of ICMP errors.
        TimeExceeded = 24 "drop_time_exceeded",
        /// No slot for a new connection that might be taken.
        TableFull = 25 "drop_table_full",
        /// Another CPU took the slot at the same moment.
        RaceLost = 26 "drop_race_lost",
        /// A table entry that must be there is not.
        Internal = 27 "drop_internal",
        /// The service has its share of the table, and none of its own connections gives way.
        ServiceShare = 28 "drop_service_share",
    }
}

reasons! {
    /// Why the frame's sender gets an answer from the director, in the frame's place.
    ReplyReason {
        /// No eligible destination: ICMP type 3 code 3, ICMPv6 type 1 code 4.
        PortUnreachable = 32 "reply_port_unreachable",
        /// TTL or hop limit is used up: ICMP type 11 code 0, ICMPv6 type 3 code 0.
        TimeExceeded = 33 "reply_time_exceeded",
    }
}

reasons! {
    /// Frames sent to real servers, and what happens beside the verdicts.
    Counter {
        /// Sent out of the interface it came in by.
        Transmitted = 40 "transmitted",
        /// Sent out of another interface.
        Redirected = 41 "redirected",
        /// A connection was made.
        ConnectionNew = 42 "connection_new",
        /// A slot was taken from a connection that had run out.
        EvictedExpired = 43 "evicted_expired",
        /// A slot was taken from a half-open connection.
        EvictedHalfOpen = 44 "evicted_half_open",
        /// A slot was taken from a closing connection.
        EvictedClosing = 45 "evicted_closing",
        /// A slot was taken from a UDP connection.
        EvictedUdp = 46 "evicted_udp",
        /// An ICMP error went to the real server of the connection that it quotes.
        IcmpErrorForwarded = 47 "icmp_error_forwarded",
        /// A first fragment was remembered.
        FragmentFirst = 48 "fragment_first",
        /// A later fragment followed its first one.
        FragmentFollowed = 49 "fragment_followed",
        /// A persistence template was made.
        TemplateNew = 50 "template_new",
        /// A persistence template chose the destination.
        TemplateHit = 51 "template_hit",
    }
}

impl ReplyReason {
    /// What is counted when the sender may not be answered, or had its share.
    #[must_use]
    #[inline(always)]
    pub const fn otherwise(self) -> DropReason {
        match self {
            Self::PortUnreachable => DropReason::NoDestination,
            Self::TimeExceeded => DropReason::TimeExceeded,
        }
    }
}

/// Counters in the counter map; numbers not named above are never moved.
pub const COUNTERS: u32 = 64;

/// What happens to a frame.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes to the host's stack, untouched.
    Pass(PassReason),
    /// Goes nowhere.
    Drop(DropReason),
    /// Leaves by the interface it came in by.
    Transmit,
    /// Leaves by another interface.
    Redirect {
        /// Index of that interface.
        interface: u32,
    },
    /// Is replaced by an ICMP error that leaves by the interface it came in by.
    Reply(ReplyReason),
}

impl Verdict {
    /// Number of the counter that this verdict moves.
    #[must_use]
    #[inline(always)]
    pub fn counter(self) -> u32 {
        match self {
            Self::Pass(reason) => reason.counter(),
            Self::Drop(reason) => reason.counter(),
            Self::Reply(reason) => reason.counter(),
            Self::Transmit => Counter::Transmitted.counter(),
            Self::Redirect { .. } => Counter::Redirected.counter(),
        }
    }
}

/// Every counter as number and name, in order.
pub fn counter_names() -> impl Iterator<Item = (u32, &'static str)> {
    let pass = PassReason::ALL.iter().map(|r| (r.counter(), r.name()));
    let drop = DropReason::ALL.iter().map(|r| (r.counter(), r.name()));
    let reply = ReplyReason::ALL.iter().map(|r| (r.counter(), r.name()));
    let other = Counter::ALL.iter().map(|r| (r.counter(), r.name()));
    pass.chain(drop).chain(reply).chain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_own_number_and_name_within_the_map() {
        let mut numbers = std::collections::HashSet::new();
        let mut names = std::collections::HashSet::new();
        for (number, name) in counter_names() {
            assert!(
                number < COUNTERS && numbers.insert(number) && names.insert(name),
                "{number} {name}"
            );
        }
    }
}
