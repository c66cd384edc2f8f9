//! Taking real servers out of service for maintenance, and back.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ServiceKey;

/// A real server, as people call it: in JSON a word, by which an address is an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ServerName {
    /// By its address.
    Address(IpAddr),
    /// By the name that `[[real_server]]` gives it.
    Name(String),
}

impl From<IpAddr> for ServerName {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum MaintenanceOrder {
    /// No new connections; what is there is waited for.
    Drain {
        /// The real server.
        server: ServerName,
        /// One service only; all, also those that come, without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceKey>,
        /// Seconds from now after which what is left is let go.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_s: Option<u64>,
        /// Remove it when it has no connection any more.
        #[serde(default)]
        remove: bool,
        /// Let its connections go at once.
        #[serde(default)]
        now: bool,
    },
    /// No new connections; nothing is waited for.
    Disable {
        /// The real server.
        server: ServerName,
        /// One service only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceKey>,
    },
    /// It is held no more.
    Enable {
        /// The real server.
        server: ServerName,
        /// The service of the order that ends; all orders of the server without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceKey>,
    },
}

/// An order as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// The real server.
    pub server: IpAddr,
    /// The service; all without it.
    #[serde(default)]
    pub service: Option<ServiceKey>,
    /// For how long it has been held, in seconds.
    pub for_s: u64,
    /// Seconds until what is left is let go.
    #[serde(default)]
    pub deadline_s: Option<u64>,
    /// Whether it is removed when it has no connection any more.
    pub remove: bool,
    /// Whether it was removed, and stays so until the order ends.
    pub removed: bool,
    /// Services in which it is a destination now.
    pub services: Vec<ServiceKey>,
    /// Its active connections in them.
    pub active: u64,
    /// Its inactive ones: closing, or UDP.
    pub inactive: u64,
}

/// What an order did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceDone {
    /// The real server's address.
    pub server: IpAddr,
    /// Connections that were let go at once.
    pub let_go: u64,
    /// Orders for this real server, as they stand.
    pub orders: Vec<Maintenance>,
}

impl MaintenanceOrder {
    /// The real server.
    #[must_use]
    pub fn server(&self) -> &ServerName {
        match self {
            Self::Drain { server, .. }
            | Self::Disable { server, .. }
            | Self::Enable { server, .. } => server,
        }
    }

    /// The service, if it is about one.
    #[must_use]
    pub fn service(&self) -> Option<ServiceKey> {
        match self {
            Self::Drain { service, .. }
            | Self::Disable { service, .. }
            | Self::Enable { service, .. } => *service,
        }
    }
}

impl Maintenance {
    /// Its connections.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.active + self.inactive
    }

    /// Whether something is waited for.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.remove || self.deadline_s.is_some()
    }
}
