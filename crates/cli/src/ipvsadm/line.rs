//! One invocation, understood: what the parser hands to whoever does it.

use std::net::{IpAddr, SocketAddr};

use api::{ForwardingMethod, Tunnel};

use super::flags::Flags;
use super::grammar::Transport;

/// What to do. Values of connection synchronisation, which does not exist yet, are checked by the
/// parser and not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// `-h`
    Help,
    /// `-v`
    Version,
    /// `-A`
    AddService(ServiceLine),
    /// `-E`
    EditService(ServiceLine),
    /// `-D`
    DeleteService(Service),
    /// `-C`
    Flush,
    /// `-a`
    AddServer(ServerLine),
    /// `-e`
    EditServer(ServerLine),
    /// `-d`
    DeleteServer {
        /// The service.
        service: Service,
        /// The destination, with the port as given.
        destination: SocketAddr,
    },
    /// `-L`
    List(Listing),
    /// `-Z`, for one service or all
    Zero(Option<Service>),
    /// `-S`
    Save {
        /// `-n`
        numeric: bool,
    },
    /// `-R`
    Restore,
    /// `--set`; 0 leaves one as it is
    Set(api::Timeouts),
    /// `--start-daemon`
    StartDaemon,
    /// `--stop-daemon`
    StopDaemon,
}

/// Which virtual service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `-t`, `-u`, `--sctp-service`
    Address {
        /// Its protocol.
        transport: Transport,
        /// Virtual address and port; port 0 is every port.
        address: SocketAddr,
    },
    /// `-f`
    Mark {
        /// The mark, 1 or more.
        mark: u32,
        /// With `-6`.
        ipv6: bool,
    },
}

impl Service {
    /// The port that a destination without one gets.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Address { address, .. } => address.port(),
            Self::Mark { .. } => 0,
        }
    }

    /// The protocol whose names a destination's port may use.
    #[must_use]
    pub fn transport(self) -> Transport {
        match self {
            Self::Address { transport, .. } => transport,
            Self::Mark { .. } => Transport::Tcp,
        }
    }

    /// Whether its clients are IPv6.
    #[must_use]
    pub fn is_ipv6(self) -> bool {
        match self {
            Self::Address { address, .. } => address.is_ipv6(),
            Self::Mark { ipv6, .. } => ipv6,
        }
    }
}

/// A service and all its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLine {
    /// Which.
    pub service: Service,
    /// `-s`; `wlc` when none was given.
    pub scheduler: String,
    /// Whether one was.
    pub scheduler_given: bool,
    /// `-p`, and `-M` with it
    pub persistence: Option<api::Persistence>,
    /// `-o`
    pub one_packet: bool,
    /// `--pe`
    pub engine: Option<String>,
    /// `-b`
    pub flags: Flags,
}

/// A destination and all its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLine {
    /// The service.
    pub service: Service,
    /// The destination; its port is already the service's where the method demands it.
    pub destination: SocketAddr,
    /// `-g`, `-i`, `-m`
    pub forwarding: ForwardingMethod,
    /// `-w`
    pub weight: u32,
    /// `-x`
    pub upper_threshold: u32,
    /// `-y`
    pub lower_threshold: u32,
    /// `--tun-type` and what belongs to it
    pub tunnel: Tunnel,
}

/// What to list, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// What.
    pub subject: Subject,
    /// Which columns.
    pub layout: Layout,
    /// `-n`
    pub numeric: bool,
    /// `-X`
    pub exact: bool,
    /// Not `--nosort`.
    pub sorted: bool,
}

impl Default for Listing {
    /// What no words at all list.
    fn default() -> Self {
        Self {
            subject: Subject::All,
            layout: Layout::Default,
            numeric: false,
            exact: false,
            sorted: true,
        }
    }
}

/// What to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Every service.
    All,
    /// One service.
    One(Service),
    /// `-c`
    Connections,
    /// `--timeout`
    Timeouts,
    /// `--daemon`
    Daemons,
}

/// Which columns a table of services has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Forward, weight, connections.
    Default,
    /// `--stats`
    Stats,
    /// `--rate`
    Rate,
    /// `--thresholds`
    Thresholds,
    /// `--persistent-conn`
    PersistentConn,
    /// `--tun-info`
    TunInfo,
}

/// The address of a destination with the port it gets.
#[must_use]
pub fn destination(
    service: Service,
    address: IpAddr,
    port: u16,
    forwarding: ForwardingMethod,
) -> SocketAddr {
    // Direct routing and tunnelling leave the port in the packet alone, so another one than the
    // service's cannot come true; the original puts it right without a word.
    let keeps_port = forwarding != ForwardingMethod::Masquerading;
    let is_mark = matches!(service, Service::Mark { .. });
    let port = if keeps_port && !is_mark {
        service.port()
    } else {
        port
    };
    SocketAddr::new(address, port)
}
