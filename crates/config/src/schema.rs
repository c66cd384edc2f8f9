//! Which keys there are, each with an example that is right. Messages and tests use both.

use std::fmt;

/// A table of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The file itself.
    Root,
    /// `[director]`
    Director,
    /// `[connections]`
    Connections,
    /// `[timeouts]`
    Timeouts,
    /// `[settings]`
    Settings,
    /// `[vips]`
    Vips,
    /// `[[service]]`
    Service,
    /// `[[service.destination]]`
    Destination,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "the file",
            Self::Director => "[director]",
            Self::Connections => "[connections]",
            Self::Timeouts => "[timeouts]",
            Self::Settings => "[settings]",
            Self::Vips => "[vips]",
            Self::Service => "[[service]]",
            Self::Destination => "[[service.destination]]",
        })
    }
}

/// A key and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The table it belongs in.
    pub table: Table,
    /// Its name.
    pub name: &'static str,
    /// A good value, as TOML; for a table, its header.
    pub example: &'static str,
}

const fn key(table: Table, name: &'static str, example: &'static str) -> Key {
    Key {
        table,
        name,
        example,
    }
}

pub(crate) const DIRECTOR: Key = key(Table::Root, "director", "[director]");
pub(crate) const CONNECTIONS: Key = key(Table::Root, "connections", "[connections]");
pub(crate) const TIMEOUTS: Key = key(Table::Root, "timeouts", "[timeouts]");
pub(crate) const SETTINGS: Key = key(Table::Root, "settings", "[settings]");
pub(crate) const VIPS: Key = key(Table::Root, "vips", "[vips]");
pub(crate) const SERVICE: Key = key(Table::Root, "service", "[[service]]");

pub(crate) const INTERFACE: Key = key(Table::Director, "interface", "\"eth0\"");
pub(crate) const INTERFACES: Key = key(Table::Director, "interfaces", "[\"eth0\", \"eth1\"]");
pub(crate) const REQUIRE_NATIVE: Key = key(Table::Director, "require_native", "false");
pub(crate) const ON_STOP: Key = key(Table::Director, "on_stop", "\"keep\"");

pub(crate) const MAX: Key = key(Table::Connections, "max", "1048576");

pub(crate) const TCP: Key = key(Table::Timeouts, "tcp", "900");
pub(crate) const TCP_FIN: Key = key(Table::Timeouts, "tcp_fin", "120");
pub(crate) const UDP: Key = key(Table::Timeouts, "udp", "300");

pub(crate) const EXPIRE_NODEST_CONN: Key = key(Table::Settings, "expire_nodest_conn", "false");
pub(crate) const EXPIRE_QUIESCENT_TEMPLATE: Key =
    key(Table::Settings, "expire_quiescent_template", "false");
pub(crate) const SLOPPY_TCP: Key = key(Table::Settings, "sloppy_tcp", "false");
pub(crate) const CONN_REUSE_MODE: Key = key(Table::Settings, "conn_reuse_mode", "1");

pub(crate) const MANAGE: Key = key(Table::Vips, "manage", "true");

pub(crate) const SERVICE_ADDRESS: Key = key(Table::Service, "address", "\"192.168.188.120:80\"");
pub(crate) const PROTOCOL: Key = key(Table::Service, "protocol", "\"tcp\"");
pub(crate) const SCHEDULER: Key = key(Table::Service, "scheduler", "\"wrr\"");
pub(crate) const PERSISTENCE: Key = key(Table::Service, "persistence", "360");
pub(crate) const NETMASK: Key = key(Table::Service, "netmask", "\"255.255.255.0\"");
pub(crate) const ONE_PACKET: Key = key(Table::Service, "one_packet", "false");
pub(crate) const DESTINATION: Key = key(Table::Service, "destination", "[[service.destination]]");

pub(crate) const ADDRESS: Key = key(Table::Destination, "address", "\"192.168.188.107\"");
pub(crate) const PORT: Key = key(Table::Destination, "port", "80");
pub(crate) const WEIGHT: Key = key(Table::Destination, "weight", "1");
pub(crate) const FORWARDING: Key = key(Table::Destination, "forwarding", "\"direct-routing\"");

/// Every key, in the order of the documentation.
pub const KEYS: [Key; 30] = [
    DIRECTOR,
    CONNECTIONS,
    TIMEOUTS,
    SETTINGS,
    VIPS,
    SERVICE,
    INTERFACE,
    INTERFACES,
    REQUIRE_NATIVE,
    ON_STOP,
    MAX,
    TCP,
    TCP_FIN,
    UDP,
    EXPIRE_NODEST_CONN,
    EXPIRE_QUIESCENT_TEMPLATE,
    SLOPPY_TCP,
    CONN_REUSE_MODE,
    MANAGE,
    SERVICE_ADDRESS,
    PROTOCOL,
    SCHEDULER,
    PERSISTENCE,
    NETMASK,
    ONE_PACKET,
    DESTINATION,
    ADDRESS,
    PORT,
    WEIGHT,
    FORWARDING,
];

/// Keys that IPVS has an option for and Dirigo has not yet.
pub const NOT_YET: [(Table, &str, &str); 2] = [
    (Table::Destination, "upper_threshold", "ipvsadm -x"),
    (Table::Destination, "lower_threshold", "ipvsadm -y"),
];

/// The keys of one table.
pub(crate) fn keys_of(table: Table) -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .filter(move |key| key.table == table)
        .map(|key| key.name)
}
