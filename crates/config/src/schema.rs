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
    /// `[api]`
    Api,
    /// `[[notify]]`
    Notify,
    /// `[metrics]`
    Metrics,
    /// `[defaults]`
    Defaults,
    /// `[defaults.service]`
    DefaultsOfServices,
    /// `[defaults.check]`
    DefaultsOfChecks,
    /// `[template.NAME]`
    Template,
    /// `[[real_server]]`
    RealServer,
    /// `[[service]]`
    Service,
    /// `[[service.destination]]`
    Destination,
    /// `[[mark]]`
    Mark,
    /// `[[check]]`
    Check,
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
            Self::Api => "[api]",
            Self::Notify => "[[notify]]",
            Self::Metrics => "[metrics]",
            Self::Defaults => "[defaults]",
            Self::DefaultsOfServices => "[defaults.service]",
            Self::DefaultsOfChecks => "[defaults.check]",
            Self::Template => "[template.NAME]",
            Self::RealServer => "[[real_server]]",
            Self::Service => "[[service]]",
            Self::Destination => "[[service.destination]]",
            Self::Mark => "[[mark]]",
            Self::Check => "[[check]]",
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
pub(crate) const METRICS: Key = key(Table::Root, "metrics", "[metrics]");
pub(crate) const DEFAULTS: Key = key(Table::Root, "defaults", "[defaults.service]");
pub(crate) const TEMPLATE: Key = key(Table::Root, "template", "[template.web]");
pub(crate) const REAL_SERVER: Key = key(Table::Root, "real_server", "[[real_server]]");
pub(crate) const API: Key = key(Table::Root, "api", "[api]");
pub(crate) const NOTIFY: Key = key(Table::Root, "notify", "[[notify]]");
pub(crate) const SERVICE: Key = key(Table::Root, "service", "[[service]]");
pub(crate) const MARK: Key = key(Table::Root, "mark", "[[mark]]");
pub(crate) const CHECK: Key = key(Table::Root, "check", "[[check]]");

pub(crate) const INTERFACE: Key = key(Table::Director, "interface", "\"eth0\"");
pub(crate) const INTERFACES: Key = key(Table::Director, "interfaces", "[\"eth0\", \"eth1\"]");
pub(crate) const SUBNETS: Key = key(Table::Director, "subnets", "[\"192.168.188.0/24\"]");
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
pub(crate) const SLOPPY_SCTP: Key = key(Table::Settings, "sloppy_sctp", "false");
pub(crate) const LBLC_EXPIRATION: Key = key(Table::Settings, "lblc_expiration", "86400");
pub(crate) const LBLCR_EXPIRATION: Key = key(Table::Settings, "lblcr_expiration", "86400");
pub(crate) const CONN_REUSE_MODE: Key = key(Table::Settings, "conn_reuse_mode", "1");

pub(crate) const MANAGE: Key = key(Table::Vips, "manage", "true");

pub(crate) const PER_DESTINATION: Key = key(Table::Metrics, "per_destination", "true");
pub(crate) const MAX_SERIES: Key = key(Table::Metrics, "max_series", "200000");

pub(crate) const DEFAULTS_SERVICE: Key = key(Table::Defaults, "service", "[defaults.service]");
pub(crate) const DEFAULTS_CHECK: Key = key(Table::Defaults, "check", "[defaults.check]");

pub(crate) const SERVER_NAME: Key = key(Table::RealServer, "name", "\"rs1\"");
pub(crate) const SERVER_ADDRESS: Key = key(Table::RealServer, "address", "\"192.168.188.107\"");
pub(crate) const SERVER_WEIGHT: Key = key(Table::RealServer, "weight", "1");
pub(crate) const SERVER_UPPER: Key = key(Table::RealServer, "upper_threshold", "100");
pub(crate) const SERVER_LOWER: Key = key(Table::RealServer, "lower_threshold", "75");
pub(crate) const SERVER_CHECKS: Key = key(Table::RealServer, "checks", "[\"web\"]");

pub(crate) const API_LISTEN: Key = key(Table::Api, "listen", "\"192.0.2.1:8443\"");
pub(crate) const API_TLS: Key = key(Table::Api, "tls", "true");
pub(crate) const API_CERTIFICATE: Key = key(Table::Api, "certificate", "\"/etc/dirigo/api.crt\"");
pub(crate) const API_KEY: Key = key(Table::Api, "key", "\"/etc/dirigo/api.key\"");
pub(crate) const API_TOKEN_FILE: Key = key(Table::Api, "token_file", "\"/etc/dirigo/token\"");
pub(crate) const API_READ_TOKEN_FILE: Key =
    key(Table::Api, "read_token_file", "\"/etc/dirigo/read-token\"");
pub(crate) const API_CONSOLE: Key = key(Table::Api, "console", "true");
pub(crate) const API_EVERYONE_READS: Key = key(Table::Api, "everyone_reads", "false");

pub(crate) const NOTIFY_COMMAND: Key = key(Table::Notify, "command", "[\"/usr/local/bin/page\"]");
pub(crate) const NOTIFY_USER: Key = key(Table::Notify, "user", "\"nobody\"");
pub(crate) const NOTIFY_URL: Key = key(Table::Notify, "url", "\"https://hooks.example.com/lvs\"");
pub(crate) const NOTIFY_TOKEN_FILE: Key =
    key(Table::Notify, "token_file", "\"/etc/dirigo/hook-token\"");
pub(crate) const NOTIFY_TRUST: Key = key(Table::Notify, "trust", "\"/etc/dirigo/hook-ca.pem\"");
pub(crate) const NOTIFY_EVENTS: Key = key(
    Table::Notify,
    "events",
    "[\"quorum-lost\", \"quorum-gained\"]",
);
pub(crate) const NOTIFY_LEVEL: Key = key(Table::Notify, "level", "\"warning\"");
pub(crate) const NOTIFY_TIMEOUT: Key = key(Table::Notify, "timeout", "\"10s\"");

pub(crate) const SERVICE_ADDRESS: Key = key(Table::Service, "address", "\"192.168.188.120:80\"");
pub(crate) const PROTOCOL: Key = key(Table::Service, "protocol", "\"tcp\"");
pub(crate) const SERVICE_MARK: Key = key(Table::Service, "mark", "7");
pub(crate) const FAMILY: Key = key(Table::Service, "family", "\"ipv4\"");
pub(crate) const SERVICE_TEMPLATE: Key = key(Table::Service, "template", "\"web\"");
pub(crate) const SCHEDULER: Key = key(Table::Service, "scheduler", "\"wrr\"");
pub(crate) const FLAGS: Key = key(Table::Service, "flags", "[\"flag-1\"]");
pub(crate) const PERSISTENCE: Key = key(Table::Service, "persistence", "360");
pub(crate) const NETMASK: Key = key(Table::Service, "netmask", "\"255.255.255.0\"");
pub(crate) const ONE_PACKET: Key = key(Table::Service, "one_packet", "false");
pub(crate) const SHARE: Key = key(Table::Service, "share", "75");
pub(crate) const SERVICE_CHECKS: Key = key(Table::Service, "checks", "[\"web\"]");
pub(crate) const QUORUM: Key = key(Table::Service, "quorum", "1");
pub(crate) const HYSTERESIS: Key = key(Table::Service, "hysteresis", "0");
pub(crate) const INHIBIT_ON_FAILURE: Key = key(Table::Service, "inhibit_on_failure", "false");
pub(crate) const SLOW_START: Key = key(Table::Service, "slow_start", "\"30s\"");
pub(crate) const ALPHA: Key = key(Table::Service, "alpha", "true");
pub(crate) const OMEGA: Key = key(Table::Service, "omega", "false");
pub(crate) const SORRY_SERVER: Key = key(Table::Service, "sorry_server", "\"192.168.188.109\"");
pub(crate) const REAL_SERVERS: Key = key(Table::Service, "real_servers", "[\"rs1\"]");
pub(crate) const DESTINATION: Key = key(Table::Service, "destination", "[[service.destination]]");

pub(crate) const ADDRESS: Key = key(Table::Destination, "address", "\"192.168.188.107\"");
pub(crate) const DESTINATION_SERVER: Key = key(Table::Destination, "real_server", "\"rs1\"");
pub(crate) const PORT: Key = key(Table::Destination, "port", "80");
pub(crate) const WEIGHT: Key = key(Table::Destination, "weight", "1");
pub(crate) const UPPER_THRESHOLD: Key = key(Table::Destination, "upper_threshold", "100");
pub(crate) const LOWER_THRESHOLD: Key = key(Table::Destination, "lower_threshold", "75");
pub(crate) const FORWARDING: Key = key(Table::Destination, "forwarding", "\"direct-routing\"");

pub(crate) const DESTINATION_CHECKS: Key = key(Table::Destination, "checks", "[\"web\"]");

pub(crate) const MARK_NUMBER: Key = key(Table::Mark, "mark", "7");
pub(crate) const MARK_ADDRESSES: Key = key(Table::Mark, "addresses", "[\"192.168.188.0/24\"]");
pub(crate) const MARK_PROTOCOL: Key = key(Table::Mark, "protocol", "\"tcp\"");
pub(crate) const MARK_PORTS: Key = key(Table::Mark, "ports", "[\"80\", \"8000-8099\"]");

pub(crate) const CHECK_NAME: Key = key(Table::Check, "name", "\"web\"");
pub(crate) const CHECK_TYPE: Key = key(Table::Check, "type", "\"http\"");
pub(crate) const CHECK_TO: Key = key(Table::Check, "to", "\"vip\"");
pub(crate) const CHECK_PORT: Key = key(Table::Check, "port", "80");
pub(crate) const CHECK_INTERVAL: Key = key(Table::Check, "interval", "\"2s\"");
pub(crate) const CHECK_FAST_INTERVAL: Key = key(Table::Check, "fast_interval", "\"500ms\"");
pub(crate) const CHECK_JITTER: Key = key(Table::Check, "jitter", "10");
pub(crate) const CHECK_TIMEOUT: Key = key(Table::Check, "timeout", "\"1s\"");
pub(crate) const CHECK_RISE: Key = key(Table::Check, "rise", "2");
pub(crate) const CHECK_FALL: Key = key(Table::Check, "fall", "3");
pub(crate) const CHECK_SUPPRESSION: Key = key(Table::Check, "suppression", "true");
pub(crate) const CHECK_METHOD: Key = key(Table::Check, "method", "\"GET\"");
pub(crate) const CHECK_PATH: Key = key(Table::Check, "path", "\"/health\"");
pub(crate) const CHECK_HOST: Key = key(Table::Check, "host", "\"www.example.com\"");
pub(crate) const CHECK_STATUS: Key = key(Table::Check, "status", "[\"200-299\"]");
pub(crate) const CHECK_BODY: Key = key(Table::Check, "body", "\"^OK\"");
pub(crate) const CHECK_DIGEST: Key = key(
    Table::Check,
    "digest",
    "\"5d41402abc4b2a76b9719d911017c592\"",
);
pub(crate) const CHECK_SNI: Key = key(Table::Check, "sni", "\"www.example.com\"");
pub(crate) const CHECK_TRUST: Key = key(Table::Check, "trust", "\"system\"");
pub(crate) const CHECK_DAYS_LEFT: Key = key(Table::Check, "days_left", "7");
pub(crate) const CHECK_QUERY: Key = key(Table::Check, "query", "\"www.example.com\"");
pub(crate) const CHECK_RECORD: Key = key(Table::Check, "record", "\"SOA\"");
pub(crate) const CHECK_PAYLOAD: Key = key(Table::Check, "payload", "\"ping\"");
pub(crate) const CHECK_REPLY: Key = key(Table::Check, "reply", "\"^pong\"");
pub(crate) const CHECK_HELO: Key = key(Table::Check, "helo", "\"dirigo.invalid\"");
pub(crate) const CHECK_COMMAND: Key = key(Table::Check, "command", "[\"/usr/local/bin/check\"]");
pub(crate) const CHECK_USER: Key = key(Table::Check, "user", "\"nobody\"");

/// What is said once for the whole director, in the main file: all tables of the file that are neither
/// lists nor have names.
pub(crate) fn of_the_main_file() -> impl Iterator<Item = Key> {
    let is_one = |key: &Key| !key.example.starts_with("[[") && *key != TEMPLATE;
    KEYS.into_iter()
        .filter(move |key| key.table == Table::Root && is_one(key))
}

/// What a service is, or consists of; templates and defaults say the rest.
const OF_SERVICES_ALONE: [&Key; 5] = [
    &SERVICE_ADDRESS,
    &SERVICE_MARK,
    &FAMILY,
    &SERVICE_TEMPLATE,
    &DESTINATION,
];

/// What checks of all types have, and may have by default.
const OF_CHECKS_BY_DEFAULT: [&Key; 8] = [
    &CHECK_TO,
    &CHECK_INTERVAL,
    &CHECK_FAST_INTERVAL,
    &CHECK_JITTER,
    &CHECK_TIMEOUT,
    &CHECK_RISE,
    &CHECK_FALL,
    &CHECK_SUPPRESSION,
];

/// Every key, in the order of the documentation.
pub const KEYS: [Key; 117] = [
    DIRECTOR,
    CONNECTIONS,
    TIMEOUTS,
    SETTINGS,
    VIPS,
    API,
    NOTIFY,
    METRICS,
    DEFAULTS,
    TEMPLATE,
    REAL_SERVER,
    SERVICE,
    MARK,
    CHECK,
    INTERFACE,
    INTERFACES,
    SUBNETS,
    REQUIRE_NATIVE,
    ON_STOP,
    MAX,
    TCP,
    TCP_FIN,
    UDP,
    EXPIRE_NODEST_CONN,
    EXPIRE_QUIESCENT_TEMPLATE,
    SLOPPY_TCP,
    SLOPPY_SCTP,
    CONN_REUSE_MODE,
    LBLC_EXPIRATION,
    LBLCR_EXPIRATION,
    MANAGE,
    API_LISTEN,
    API_TLS,
    API_CERTIFICATE,
    API_KEY,
    API_TOKEN_FILE,
    API_READ_TOKEN_FILE,
    API_CONSOLE,
    API_EVERYONE_READS,
    NOTIFY_COMMAND,
    NOTIFY_USER,
    NOTIFY_URL,
    NOTIFY_TOKEN_FILE,
    NOTIFY_TRUST,
    NOTIFY_EVENTS,
    NOTIFY_LEVEL,
    NOTIFY_TIMEOUT,
    PER_DESTINATION,
    MAX_SERIES,
    DEFAULTS_SERVICE,
    DEFAULTS_CHECK,
    SERVICE_ADDRESS,
    PROTOCOL,
    SERVICE_MARK,
    FAMILY,
    SERVICE_TEMPLATE,
    SCHEDULER,
    FLAGS,
    PERSISTENCE,
    NETMASK,
    ONE_PACKET,
    SHARE,
    SERVICE_CHECKS,
    QUORUM,
    HYSTERESIS,
    INHIBIT_ON_FAILURE,
    SLOW_START,
    ALPHA,
    OMEGA,
    SORRY_SERVER,
    REAL_SERVERS,
    DESTINATION,
    ADDRESS,
    DESTINATION_SERVER,
    PORT,
    WEIGHT,
    UPPER_THRESHOLD,
    LOWER_THRESHOLD,
    FORWARDING,
    DESTINATION_CHECKS,
    SERVER_NAME,
    SERVER_ADDRESS,
    SERVER_WEIGHT,
    SERVER_UPPER,
    SERVER_LOWER,
    SERVER_CHECKS,
    MARK_NUMBER,
    MARK_ADDRESSES,
    MARK_PROTOCOL,
    MARK_PORTS,
    CHECK_NAME,
    CHECK_TYPE,
    CHECK_TO,
    CHECK_PORT,
    CHECK_INTERVAL,
    CHECK_FAST_INTERVAL,
    CHECK_JITTER,
    CHECK_TIMEOUT,
    CHECK_RISE,
    CHECK_FALL,
    CHECK_SUPPRESSION,
    CHECK_METHOD,
    CHECK_PATH,
    CHECK_HOST,
    CHECK_STATUS,
    CHECK_BODY,
    CHECK_DIGEST,
    CHECK_SNI,
    CHECK_TRUST,
    CHECK_DAYS_LEFT,
    CHECK_QUERY,
    CHECK_RECORD,
    CHECK_PAYLOAD,
    CHECK_REPLY,
    CHECK_HELO,
    CHECK_COMMAND,
    CHECK_USER,
];

/// The keys of one table.
pub fn keys_of(table: Table) -> impl Iterator<Item = &'static str> {
    let is_of = move |key: &&Key| match table {
        Table::Template | Table::DefaultsOfServices => {
            key.table == Table::Service && !OF_SERVICES_ALONE.contains(key)
        }
        Table::DefaultsOfChecks => OF_CHECKS_BY_DEFAULT.contains(key),
        table => key.table == table,
    };
    KEYS.iter().filter(is_of).map(|key| key.name)
}
