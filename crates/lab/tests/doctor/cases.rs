//! The faults: how each is made, where it is looked for, and who is to be named.

use dirigo_lab::Family::{self, Ipv4, Ipv6};
use dirigo_lab::Host::{self, Client, Director, Rs1, Rs2};

/// What makes a fault beside commands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extra {
    /// Nothing.
    None,
    /// The daemon dies, before anything else happens.
    DaemonDies,
    /// The web server of real server 1 dies.
    PageDies,
    /// And another listens on the real address alone.
    PageOnRealAddress,
    /// Real server 1 announces the VIP once.
    Announces,
    /// The director begins while the other end of its veth has too large an MTU for native XDP.
    Generic,
    /// A program that passes everything is on real server 1's interface, held by a process.
    XdpOnServer,
}

/// A fault.
pub struct Case {
    /// What is wrong.
    pub name: &'static str,
    /// In which family.
    pub family: Family,
    /// What makes it so.
    pub seed: &'static [(Host, &'static str)],
    /// And beside that.
    pub extra: Extra,
    /// Where the doctor looks.
    pub look: (Host, &'static str),
    /// The finding.
    pub code: &'static str,
    /// The host that it must name.
    pub culprit: Host,
    /// What the fix does not put back, because it need not.
    pub restore: &'static [(Host, &'static str)],
}

const fn case(
    name: &'static str,
    seed: &'static [(Host, &'static str)],
    look: (Host, &'static str),
    code: &'static str,
    culprit: Host,
) -> Case {
    Case {
        name,
        family: Ipv4,
        seed,
        extra: Extra::None,
        look,
        code,
        culprit,
        restore: &[],
    }
}

const DIRECTOR: (Host, &str) = (Director, "director");
/// Where no daemon answers, the configuration tells what should be.
const DIRECTOR_ALONE: (Host, &str) = (Director, "director -c $CONFIG");
const SERVER1: (Host, &str) = (Rs1, "realserver");
const SERVER2: (Host, &str) = (Rs2, "realserver");
const WITNESS: (Host, &str) = (Client, "witness");

/// Where the VIP stands, and who answers for it.
pub const ADDRESSES: &[Case] = &[
    case(
        "arp_ignore forgotten",
        &[(
            Rs1,
            "sysctl -qw net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.lo.arp_ignore=0",
        )],
        SERVER1,
        "all-arp-ignore-forgotten",
        Rs1,
    ),
    Case {
        restore: &[(
            Rs1,
            "sysctl -qw net.ipv4.conf.eth0.arp_announce=0 net.ipv4.conf.all.arp_announce=2",
        )],
        ..case(
            "arp_ignore on lo only",
            &[(
                Rs1,
                "sysctl -qw net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0 \
                     net.ipv4.conf.eth0.arp_announce=2 net.ipv4.conf.lo.arp_ignore=1",
            )],
            SERVER1,
            "arp-ignore-on-lo-only",
            Rs1,
        )
    },
    Case {
        restore: &[(Rs2, "sysctl -qw net.ipv4.conf.eth0.arp_ignore=0")],
        ..case(
            "a larger arp_ignore that hides nothing",
            &[(Rs2, "sysctl -qw net.ipv4.conf.eth0.arp_ignore=4")],
            SERVER2,
            "arp-ignore",
            Rs2,
        )
    },
    case(
        "arp_ignore off, seen from the director",
        &[(Rs1, "sysctl -qw net.ipv4.conf.all.arp_ignore=0")],
        DIRECTOR,
        "vip-answered-by-server",
        Rs1,
    ),
    case(
        "arp_ignore off, seen from a client",
        &[(Rs2, "sysctl -qw net.ipv4.conf.all.arp_ignore=0")],
        WITNESS,
        "vip-answered-by-server",
        Rs2,
    ),
    case(
        "arp_announce off",
        &[(
            Rs2,
            "sysctl -qw net.ipv4.conf.all.arp_announce=0 net.ipv4.conf.lo.arp_announce=0",
        )],
        SERVER2,
        "arp-announce",
        Rs2,
    ),
    case(
        "arp_announce of 1",
        &[(
            Rs1,
            "sysctl -qw net.ipv4.conf.all.arp_announce=1 net.ipv4.conf.lo.arp_announce=0",
        )],
        SERVER1,
        "arp-announce",
        Rs1,
    ),
    case(
        "VIP on eth0 of a server",
        &[(Rs1, "ip address add $VIP/32 dev eth0")],
        SERVER1,
        "vip-on-real-interface",
        Rs1,
    ),
    case(
        "VIP on eth0 of a server, seen from the director",
        &[(Rs1, "ip address add $VIP/32 dev eth0")],
        DIRECTOR,
        "vip-answered-by-server",
        Rs1,
    ),
    case(
        "VIP on lo as /24",
        &[(
            Rs2,
            "ip address del $VIP/32 dev lo; ip address add $VIP/24 dev lo",
        )],
        SERVER2,
        "vip-prefix",
        Rs2,
    ),
    case(
        "VIP missing on a server",
        &[(Rs1, "ip address del $VIP/32 dev lo")],
        SERVER1,
        "vip-missing",
        Rs1,
    ),
    case(
        "VIP missing on a server, seen from the director",
        &[(Rs1, "ip address del $VIP/32 dev lo")],
        DIRECTOR,
        "vip-missing-on-server",
        Rs1,
    ),
    case(
        "lo off on a server",
        &[(Rs2, "ip link set lo down")],
        SERVER2,
        "lo-down",
        Rs2,
    ),
    case(
        "a second director",
        &[(Client, "ip address add $VIP/32 dev eth0")],
        DIRECTOR,
        "vip-answered-by-other",
        Client,
    ),
    case(
        "a second director, seen from a server",
        &[(Client, "ip address add $VIP/32 dev eth0")],
        SERVER1,
        "vip-answered-by-other",
        Client,
    ),
    case(
        "VIP on a host that has no business with it",
        &[(Client, "ip address add $VIP/32 dev eth0")],
        WITNESS,
        "vip-on-witness",
        Client,
    ),
    Case {
        extra: Extra::DaemonDies,
        ..case(
            "VIP missing on the director",
            &[(Director, "ip address del $VIP/32 dev eth0")],
            DIRECTOR_ALONE,
            "vip-missing",
            Director,
        )
    },
    Case {
        extra: Extra::DaemonDies,
        ..case("no daemon", &[], DIRECTOR, "daemon-unreachable", Director)
    },
    Case {
        extra: Extra::DaemonDies,
        restore: &[(
            Director,
            "setsid dirigo run -c $CONFIG >/dev/null 2>&1 \
                               </dev/null &",
        )],
        ..case(
            "VIP missing on the director, seen from a client",
            &[(Director, "ip address del $VIP/32 dev eth0")],
            (Client, "witness -c $CONFIG --director $DIRECTOR"),
            "vip-unanswered",
            Director,
        )
    },
    case(
        "VIP on the director as /24",
        &[(
            Director,
            "ip address del $VIP/32 dev eth0; ip address add $VIP/24 dev eth0",
        )],
        DIRECTOR,
        "vip-prefix",
        Director,
    ),
    case(
        "the director's arp_ignore of 8",
        &[(Director, "sysctl -qw net.ipv4.conf.all.arp_ignore=8")],
        DIRECTOR,
        "director-silent",
        Director,
    ),
    case(
        "the director's arp_ignore of 2",
        &[(Director, "sysctl -qw net.ipv4.conf.eth0.arp_ignore=2")],
        DIRECTOR,
        "director-silent",
        Director,
    ),
    Case {
        extra: Extra::Announces,
        ..case(
            "a server's own gratuitous ARP",
            &[],
            WITNESS,
            "neighbour-wrong",
            Rs1,
        )
    },
];

/// The segment: who is where, how large packets may be, who forwards what.
pub const SEGMENT: &[Case] = &[
    case(
        "two servers with one MAC",
        &[(Rs2, "ip link set eth0 address 02:00:00:00:01:07")],
        DIRECTOR,
        "mac-shared",
        Rs2,
    ),
    case(
        "a real address twice",
        &[(Rs2, "ip address add $RS1/24 dev eth0")],
        DIRECTOR,
        "address-conflict",
        Rs2,
    ),
    case(
        "the director's own address twice",
        &[(Client, "ip address add $DIRECTOR/24 dev eth0")],
        DIRECTOR,
        "address-conflict",
        Client,
    ),
    case(
        "a server's MTU too small",
        &[(Rs1, "ip link set eth0 mtu 1400")],
        DIRECTOR,
        "mtu-mismatch",
        Rs1,
    ),
    case(
        "the director's MTU too small",
        &[(Director, "ip link set eth0 mtu 1400")],
        DIRECTOR,
        "mtu-mismatch",
        Director,
    ),
    case(
        "the director's MTU too small, seen from a client",
        &[(Director, "ip link set eth0 mtu 1400")],
        WITNESS,
        "mtu-mismatch",
        Director,
    ),
    case(
        "a server without ARP",
        &[(Rs2, "ip link set eth0 arp off")],
        SERVER2,
        "arp-off",
        Rs2,
    ),
    case(
        "a server without ARP, seen from the director",
        &[(Rs2, "ip link set eth0 arp off")],
        DIRECTOR,
        "server-silent",
        Rs2,
    ),
    case(
        "a server's interface off",
        &[(Rs1, "ip link set eth0 down")],
        SERVER1,
        "interface-down",
        Rs1,
    ),
    case(
        "a server without its own address, seen from the director",
        &[(Rs1, "ip address del $RS1/24 dev eth0")],
        DIRECTOR,
        "server-silent",
        Rs1,
    ),
    case(
        "a server that answers for no address",
        &[(Rs2, "sysctl -qw net.ipv4.conf.all.arp_ignore=8")],
        SERVER2,
        "arp-ignore",
        Rs2,
    ),
    case(
        "a server that answers for no address, seen from the director",
        &[(Rs2, "sysctl -qw net.ipv4.conf.all.arp_ignore=8")],
        DIRECTOR,
        "server-silent",
        Rs2,
    ),
    case(
        "a neighbour that is wrong for good",
        &[(
            Director,
            "ip neighbour replace $RS1 lladdr 02:00:00:00:09:09 dev eth0 nud permanent",
        )],
        DIRECTOR,
        "neighbour-wrong",
        Director,
    ),
    case(
        "a neighbour that failed",
        &[(Rs1, "ip neighbour replace $RS2 dev eth0 nud failed")],
        SERVER1,
        "neighbour-failed",
        Rs1,
    ),
    case(
        "arp_filter on the director",
        &[(Director, "sysctl -qw net.ipv4.conf.all.arp_filter=1")],
        DIRECTOR,
        "arp-filter",
        Director,
    ),
    case(
        "proxy_arp on a server",
        &[(Rs1, "sysctl -qw net.ipv4.conf.eth0.proxy_arp=1")],
        SERVER1,
        "proxy-arp",
        Rs1,
    ),
    Case {
        restore: &[(
            Rs1,
            "ip link del d0; sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0",
        )],
        ..case(
            "strict rp_filter where replies leave otherwise",
            &[(
                Rs1,
                "ip neighbour replace $CLIENT lladdr 02:00:00:00:01:11 dev eth0 nud stale; ip link add d0 type bridge; ip link set d0 up; \
                     ip route add $CLIENT/32 dev d0; sysctl -qw net.ipv4.conf.all.rp_filter=1",
            )],
            SERVER1,
            "rp-filter-strict",
            Rs1,
        )
    },
    case(
        "a client's packets swallowed by a route",
        &[(
            Rs2,
            "ip neighbour replace $CLIENT lladdr 02:00:00:00:01:11 dev eth0 nud stale; \
             ip route add blackhole $CLIENT",
        )],
        SERVER2,
        "no-route-back",
        Rs2,
    ),
    case(
        "the director without ARP",
        &[(Director, "ip link set eth0 arp off")],
        DIRECTOR,
        "arp-off",
        Director,
    ),
    case(
        "policy routing refuses what comes from the VIP",
        &[(Rs1, "ip rule add from $VIP prohibit pref 10")],
        SERVER1,
        "no-route-back",
        Rs1,
    ),
    Case {
        restore: &[(Rs2, "ip route flush table 77")],
        ..case(
            "policy routing sends what comes from the VIP into a blackhole",
            &[(
                Rs2,
                "ip route add blackhole default table 77; ip rule add from $VIP lookup 77 pref 11",
            )],
            SERVER2,
            "no-route-back",
            Rs2,
        )
    },
    case(
        "the director as a server's router",
        &[(Rs2, "ip route add default via $DIRECTOR")],
        SERVER2,
        "reply-through-director",
        Rs2,
    ),
    case(
        "TX checksum offload on a client's veth",
        &[(Client, "ethtool -K eth0 tx on >/dev/null")],
        WITNESS,
        "tx-checksum-offload",
        Client,
    ),
];

/// What is on the hosts: firewall, programs, XDP.
pub const HOSTS: &[Case] = &[
    Case {
        restore: &[(Rs1, "nft flush ruleset")],
        ..case(
            "nftables drops the port",
            &[(Rs1, NFT_DROP)],
            SERVER1,
            "firewall-drops",
            Rs1,
        )
    },
    Case {
        restore: &[(Rs1, "nft flush ruleset")],
        ..case(
            "nftables drops what it does not know",
            &[(
                Rs1,
                "nft add table inet filter; nft 'add chain inet filter input { type filter hook \
                     input priority 0; policy drop; }'; nft add rule inet filter input ct state \
                     established,related accept; nft add rule inet filter input tcp dport 22 accept; \
                     nft add rule inet filter input meta l4proto icmp accept",
            )],
            SERVER1,
            "firewall-drops",
            Rs1,
        )
    },
    Case {
        restore: &[(Rs2, "nft flush ruleset")],
        ..case(
            "conntrack's state drops new connections",
            &[(
                Rs2,
                "nft add table ip f; nft 'add chain ip f pre { type filter hook prerouting priority \
                     -150; }'; nft add rule ip f pre iifname eth0 ct state new tcp dport 1-1023 drop",
            )],
            SERVER2,
            "firewall-drops",
            Rs2,
        )
    },
    Case {
        restore: &[(Rs2, "nft flush ruleset")],
        ..case(
            "replies are dropped on their way out",
            &[(
                Rs2,
                "nft add table inet f; nft 'add chain inet f out { type filter hook output priority 0; \
                     }'; nft add rule inet f out ip saddr $VIP reject",
            )],
            SERVER2,
            "firewall-drops",
            Rs2,
        )
    },
    Case {
        restore: &[(Rs1, "iptables -F INPUT")],
        ..case(
            "iptables drops the port",
            &[(Rs1, "iptables -A INPUT -p tcp -m tcp --dport 80 -j DROP")],
            SERVER1,
            "firewall-drops",
            Rs1,
        )
    },
    Case {
        restore: &[(Rs1, "iptables -t raw -F")],
        ..case(
            "iptables drops in a chain of its own",
            &[(
                Rs1,
                "iptables -t raw -N web; iptables -t raw -A web -m conntrack --ctstate NEW -j DROP; \
                     iptables -t raw -A web -m comment --comment 'no more' -j DROP; \
                     iptables -t raw -A PREROUTING -i eth+ -p tcp -m multiport --dports 80,443 -j web",
            )],
            SERVER1,
            "firewall-drops",
            Rs1,
        )
    },
    Case {
        restore: &[(Rs1, "nft flush ruleset")],
        ..case(
            "a firewall on a server, seen from the director",
            &[(Rs1, NFT_DROP)],
            DIRECTOR,
            "service-filtered",
            Rs1,
        )
    },
    Case {
        restore: &[(Director, "nft flush ruleset")],
        ..case(
            "the director's firewall drops ARP for the VIP",
            &[(
                Director,
                "nft add table arp f; nft 'add chain arp f i { type filter hook input priority 0; }'; \
                 nft add rule arp f i arp operation request arp daddr ip $VIP drop",
            )],
            DIRECTOR,
            "firewall-drops",
            Director,
        )
    },
    Case {
        extra: Extra::PageDies,
        restore: &[(Director, "dirigo ipvsadm -e -t $VIP:80 -r $RS1:80 -g -w 1")],
        ..case(
            "the service's port is closed",
            &[],
            DIRECTOR,
            "service-closed",
            Rs1,
        )
    },
    Case {
        extra: Extra::PageDies,
        restore: &[(Director, "dirigo ipvsadm -e -t $VIP:80 -r $RS1:80 -g -w 1")],
        ..case(
            "the service's port is closed, seen there",
            &[],
            SERVER1,
            "service-closed",
            Rs1,
        )
    },
    Case {
        restore: &[(
            Director,
            "dirigo ipvsadm -D -f 7; sed -i '/^# a mark/,$d' $CONFIG; dirigo apply",
        )],
        ..case(
            "nobody listens on a port that has a firewall mark",
            &[(
                Director,
                "printf '# a mark\\n[[mark]]\\nmark = 7\\naddresses = [\"%s\"]\\nprotocol = \"tcp\"\\nports = \
                 [\"8080\"]\\n' $VIP >> $CONFIG; dirigo apply; dirigo ipvsadm -A -f 7 -s rr; \
                 dirigo ipvsadm -a -f 7 -r $RS1 -g -w 1",
            )],
            DIRECTOR,
            "service-closed",
            Rs1,
        )
    },
    Case {
        restore: &[(Director, "dirigo ipvsadm -D --sctp-service $VIP:80")],
        ..case(
            "a real server that does not speak SCTP",
            &[(
                Director,
                "dirigo ipvsadm -A --sctp-service $VIP:80 -s rr; \
                 dirigo ipvsadm -a --sctp-service $VIP:80 -r $RS1:80 -g -w 1",
            )],
            DIRECTOR,
            "service-closed",
            Rs1,
        )
    },
    Case {
        extra: Extra::PageOnRealAddress,
        restore: &[(Rs1, "nft flush ruleset")],
        ..case(
            "the program listens on the real address only",
            &[],
            SERVER1,
            "service-on-real-address-only",
            Rs1,
        )
    },
    Case {
        extra: Extra::PageOnRealAddress,
        restore: &[(Rs1, "nft flush ruleset")],
        ..case(
            "the program listens on the real address only, seen from the director",
            &[],
            DIRECTOR,
            "service-on-real-address-only",
            Rs1,
        )
    },
    Case {
        extra: Extra::XdpOnServer,
        ..case(
            "another XDP program on the interface",
            &[],
            SERVER1,
            "xdp-foreign",
            Rs1,
        )
    },
    Case {
        extra: Extra::Generic,
        ..case(
            "XDP in generic mode",
            &[],
            DIRECTOR,
            "xdp-generic",
            Director,
        )
    },
];

const NFT_DROP: &str = "nft add table inet filter; nft 'add chain inet filter input { type filter hook \
                        input priority 0; }'; nft add rule inet filter input tcp dport '{ 80, 443 }' \
                        counter drop";

/// IPv6.
pub const IPV6: &[Case] = &[
    Case {
        family: Ipv6,
        restore: &[(
            Rs1,
            "sysctl -qw net.ipv6.conf.eth0.proxy_ndp=0 net.ipv6.conf.all.forwarding=0",
        )],
        ..case(
            "a server that answers for the VIP as a proxy",
            &[(
                Rs1,
                "sysctl -qw net.ipv6.conf.eth0.proxy_ndp=1 net.ipv6.conf.all.forwarding=1; \
                 ip -6 neighbour add proxy $VIP dev eth0",
            )],
            DIRECTOR,
            "vip-answered-by-server",
            Rs1,
        )
    },
    Case {
        family: Ipv6,
        ..case(
            "policy routing refuses what comes from the VIP",
            &[(Rs1, "ip -6 rule add from $VIP unreachable pref 10")],
            SERVER1,
            "no-route-back",
            Rs1,
        )
    },
    Case {
        family: Ipv6,
        restore: &[(Director, "dirigo ipvsadm -D --sctp-service [$VIP]:80")],
        ..case(
            "a real server that does not speak SCTP",
            &[(
                Director,
                "dirigo ipvsadm -A --sctp-service [$VIP]:80 -s rr; \
                 dirigo ipvsadm -a --sctp-service [$VIP]:80 -r [$RS1]:80 -g -w 1",
            )],
            DIRECTOR,
            "service-closed",
            Rs1,
        )
    },
    Case {
        family: Ipv6,
        ..case(
            "VIP on eth0 of a server",
            &[(Rs1, "ip address add $VIP/128 dev eth0 nodad")],
            SERVER1,
            "vip-on-real-interface",
            Rs1,
        )
    },
    Case {
        family: Ipv6,
        ..case(
            "VIP on eth0 of a server, seen from the director",
            &[(Rs1, "ip address add $VIP/128 dev eth0 nodad")],
            DIRECTOR,
            "vip-answered-by-server",
            Rs1,
        )
    },
    Case {
        family: Ipv6,
        ..case(
            "VIP missing on a server",
            &[(Rs2, "ip address del $VIP/128 dev lo")],
            DIRECTOR,
            "vip-missing-on-server",
            Rs2,
        )
    },
    Case {
        family: Ipv6,
        ..case(
            "IPv6 off on a server's lo",
            &[(Rs2, "sysctl -qw net.ipv6.conf.lo.disable_ipv6=1")],
            SERVER2,
            "vip-missing",
            Rs2,
        )
    },
    Case {
        family: Ipv6,
        ..case(
            "VIP may be a source",
            &[(
                Rs1,
                "ip address change $VIP/128 dev lo preferred_lft forever",
            )],
            SERVER1,
            "vip-preferred",
            Rs1,
        )
    },
    Case {
        family: Ipv6,
        extra: Extra::DaemonDies,
        restore: &[(Director, "sysctl -qw net.ipv6.conf.eth0.accept_dad=0")],
        ..case(
            "DAD failed on the director",
            &[
                (
                    Director,
                    "ip address del $VIP/128 dev eth0; sysctl -qw net.ipv6.conf.eth0.accept_dad=1 net.ipv6.conf.eth0.dad_transmits=1",
                ),
                (Client, "ip address add $VIP/128 dev eth0 nodad; sleep 0.2"),
                (Director, "ip address add $VIP/128 dev eth0; sleep 2.5"),
            ],
            DIRECTOR_ALONE,
            "vip-dad-failed",
            Director,
        )
    },
    Case {
        family: Ipv6,
        ..case(
            "VIP on lo as /64",
            &[(
                Rs1,
                "ip address del $VIP/128 dev lo; ip address add $VIP/64 dev lo nodad preferred_lft 0",
            )],
            SERVER1,
            "vip-prefix",
            Rs1,
        )
    },
    Case {
        family: Ipv6,
        extra: Extra::DaemonDies,
        ..case(
            "VIP on the director as /64",
            &[(
                Director,
                "ip address del $VIP/128 dev eth0; ip address add $VIP/64 dev eth0 nodad",
            )],
            DIRECTOR_ALONE,
            "vip-prefix",
            Director,
        )
    },
    Case {
        family: Ipv6,
        ..case(
            "ip6tables drops the port",
            &[(Rs2, "ip6tables -I INPUT -p tcp --dport 80 -j REJECT")],
            SERVER2,
            "firewall-drops",
            Rs2,
        )
    },
    Case {
        family: Ipv6,
        ..case(
            "a server's MTU too small",
            &[(Rs1, "ip link set eth0 mtu 1400")],
            DIRECTOR,
            "mtu-mismatch",
            Rs1,
        )
    },
];
