//! One invocation, understood: what the parser hands to whoever does it.

use std::net::{IpAddr, SocketAddr};

use api::{DestinationSettings, ForwardingMethod, ServiceKey, ServiceSettings};

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
    DeleteService(ServiceKey),
    /// `-C`
    Flush,
    /// `-a`
    AddServer(ServerLine),
    /// `-e`
    EditServer(ServerLine),
    /// `-d`
    DeleteServer {
        /// The service.
        service: ServiceKey,
        /// The destination, with the port as given.
        destination: SocketAddr,
    },
    /// `-L`
    List(Listing),
    /// `-Z`, for one service or all
    Zero(Option<ServiceKey>),
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

/// A service and all its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceLine {
    /// Which.
    pub service: ServiceKey,
    /// Its settings; the scheduler is `wlc` when none was given.
    pub settings: ServiceSettings,
}

/// A destination and all its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLine {
    /// The service.
    pub service: ServiceKey,
    /// The destination; its port is already the service's where the method demands it.
    pub destination: SocketAddr,
    /// Its settings.
    pub settings: DestinationSettings,
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
    One(ServiceKey),
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
    service: ServiceKey,
    address: IpAddr,
    port: u16,
    forwarding: ForwardingMethod,
) -> SocketAddr {
    // Direct routing and tunnelling leave the port in the packet alone, so another one than the
    // service's cannot come true; the original puts it right without a word.
    let keeps_port = forwarding != ForwardingMethod::Masquerading;
    let is_mark = service.mark().is_some();
    let port = if keeps_port && !is_mark {
        service.port()
    } else {
        port
    };
    SocketAddr::new(address, port)
}
