//! What ipvsadm's words are called and which may stand together.
//!
//! Two flat tables: the spellings (short, long, takes a value) and, per command, which options
//! are needed, allowed, exclusive or illegal. Source: `ipvsadm(8)` 1.31 and its recordings.

use std::fmt;

use api::Protocol;

/// What one invocation is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `-A`
    AddService,
    /// `-E`
    EditService,
    /// `-D`
    DeleteService,
    /// `-C`
    Flush,
    /// `-L`, `-l`
    List,
    /// `-a`
    AddServer,
    /// `-d`
    DeleteServer,
    /// `-e`
    EditServer,
    /// `--set`
    Set,
    /// `--start-daemon`
    StartDaemon,
    /// `--stop-daemon`
    StopDaemon,
    /// `-R`
    Restore,
    /// `-S`
    Save,
    /// `-Z`
    Zero,
}

impl fmt::Display for Command {
    /// The name that messages use; it differs from the switch for `-C`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddService => "add-service",
            Self::EditService => "edit-service",
            Self::DeleteService => "delete-service",
            Self::Flush => "flush",
            Self::List => "list",
            Self::AddServer => "add-server",
            Self::DeleteServer => "delete-server",
            Self::EditServer => "edit-server",
            Self::Set => "set",
            Self::StartDaemon => "start-daemon",
            Self::StopDaemon => "stop-daemon",
            Self::Restore => "restore",
            Self::Save => "save",
            Self::Zero => "zero",
        })
    }
}

/// Options as messages name them, in the order in which they are examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is the option of its name, see `Display`")]
pub enum Name {
    Numeric,
    Connection,
    Service,
    Scheduler,
    Persistent,
    Netmask,
    RealServer,
    ForwardingMethod,
    Weight,
    UpperThreshold,
    LowerThreshold,
    McastInterface,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    Nosort,
    SyncId,
    Exact,
    Ops,
    Engine,
    SchedFlags,
    McastGroup,
    McastPort,
    McastTtl,
    SyncMaxlen,
    TunInfo,
    TunType,
    TunPort,
    TunNocsum,
    TunCsum,
    TunRemcsum,
}

impl Name {
    /// Every option, in the order in which they are examined.
    pub const ALL: [Self; 34] = [
        Self::Numeric,
        Self::Connection,
        Self::Service,
        Self::Scheduler,
        Self::Persistent,
        Self::Netmask,
        Self::RealServer,
        Self::ForwardingMethod,
        Self::Weight,
        Self::UpperThreshold,
        Self::LowerThreshold,
        Self::McastInterface,
        Self::Timeout,
        Self::Daemon,
        Self::Stats,
        Self::Rate,
        Self::Thresholds,
        Self::PersistentConn,
        Self::Nosort,
        Self::SyncId,
        Self::Exact,
        Self::Ops,
        Self::Engine,
        Self::SchedFlags,
        Self::McastGroup,
        Self::McastPort,
        Self::McastTtl,
        Self::SyncMaxlen,
        Self::TunInfo,
        Self::TunType,
        Self::TunPort,
        Self::TunNocsum,
        Self::TunCsum,
        Self::TunRemcsum,
    ];
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Numeric => "numeric",
            Self::Connection => "connection",
            Self::Service => "service-address",
            Self::Scheduler => "scheduler",
            Self::Persistent => "persistent",
            Self::Netmask => "netmask",
            Self::RealServer => "real-server",
            Self::ForwardingMethod => "forwarding-method",
            Self::Weight => "weight",
            Self::UpperThreshold => "u-threshold",
            Self::LowerThreshold => "l-threshold",
            Self::McastInterface => "mcast-interface",
            Self::Timeout => "timeout",
            Self::Daemon => "daemon",
            Self::Stats => "stats",
            Self::Rate => "rate",
            Self::Thresholds => "thresholds",
            Self::PersistentConn => "persistent-conn",
            Self::Nosort => "nosort",
            Self::SyncId => "syncid",
            Self::Exact => "exact",
            Self::Ops => "ops",
            Self::Engine => "pe",
            Self::SchedFlags => "sched-flags",
            Self::McastGroup => "mcast-group",
            Self::McastPort => "mcast-port",
            Self::McastTtl => "mcast-ttl",
            Self::SyncMaxlen => "sync-maxlen",
            Self::TunInfo => "tun-info",
            Self::TunType => "tun-type",
            Self::TunPort => "tun-port",
            Self::TunNocsum => "tun-nocsum",
            Self::TunCsum => "tun-csum",
            Self::TunRemcsum => "tun-remcsum",
        })
    }
}

/// The set of options that were given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given(u64);

impl Given {
    /// Adds `name`; false when it was there already.
    pub fn insert(&mut self, name: Name) -> bool {
        let fresh = !self.has(name);
        self.0 |= 1 << name as u8;
        fresh
    }

    /// Whether `name` was given.
    #[must_use]
    pub fn has(self, name: Name) -> bool {
        self.0 & (1 << name as u8) != 0
    }

    /// Whether one of `names` was given.
    #[must_use]
    pub fn has_any(self, names: &[Name]) -> bool {
        names.iter().any(|name| self.has(*name))
    }
}

/// What a command makes of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It must be there.
    Needed,
    /// It may be there.
    Allowed,
    /// At most one of these may be there.
    Exclusive,
    /// It must not be there.
    Illegal,
}

/// The matrix of commands and options.
#[must_use]
pub fn rule(command: Command, name: Name) -> Rule {
    use Name as N;
    use Rule::{Allowed, Exclusive, Illegal, Needed};
    match (command, name) {
        (Command::AddService | Command::EditService, _) => match name {
            N::Service => Needed,
            N::Scheduler | N::Persistent | N::Netmask | N::Ops | N::Engine | N::SchedFlags => {
                Allowed
            }
            _ => Illegal,
        },
        (Command::AddServer | Command::EditServer, _) => match name {
            N::Service | N::RealServer => Needed,
            N::ForwardingMethod | N::Weight | N::UpperThreshold | N::LowerThreshold => Allowed,
            N::TunType | N::TunPort | N::TunNocsum | N::TunCsum | N::TunRemcsum => Allowed,
            _ => Illegal,
        },
        (Command::DeleteServer, N::Service | N::RealServer) => Needed,
        (Command::DeleteService, N::Service) => Needed,
        (Command::List, _) => match name {
            N::Connection | N::Service | N::Timeout | N::Daemon => Exclusive,
            N::Numeric | N::Nosort | N::Exact | N::SyncId => Allowed,
            N::Stats | N::Rate | N::Thresholds | N::PersistentConn | N::TunInfo => Allowed,
            _ => Illegal,
        },
        (Command::StartDaemon, _) => match name {
            N::McastInterface | N::McastGroup | N::McastPort | N::McastTtl => Allowed,
            N::SyncMaxlen | N::SyncId => Allowed,
            _ => Illegal,
        },
        (Command::StopDaemon, N::SyncId) => Allowed,
        (Command::Save, N::Numeric) => Allowed,
        (Command::Zero, N::Service) => Allowed,
        _ => Illegal,
    }
}

/// What a word that starts with `-` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// A command.
    Command(Command),
    /// `-h`
    Help,
    /// `-v`
    Version,
    /// `-t`, `-u`, `--sctp-service`
    Service(Protocol),
    /// `-f`
    Mark,
    /// `-6`
    Ipv6,
    /// `-g`, `-i`, `-m`
    Forward(api::ForwardingMethod),
    /// `--sort`: what happens anyway
    Sort,
    /// An option whose name says it all.
    Plain(Name),
}

/// Whether an option takes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// None.
    Nothing,
    /// The rest of the word or the next one.
    Value,
    /// The same, unless the next one starts with `-`.
    MaybeValue,
}

/// One spelling.
#[derive(Clone, Copy, Debug)]
pub struct Spelling {
    /// `-A`; `'\0'` for none.
    pub short: char,
    /// `--add-service`
    pub long: &'static str,
    /// Its value.
    pub takes: Takes,
    /// Its meaning.
    pub switch: Switch,
}

const fn spell(short: char, long: &'static str, takes: Takes, switch: Switch) -> Spelling {
    Spelling {
        short,
        long,
        takes,
        switch,
    }
}

const fn command(short: char, long: &'static str, command: Command) -> Spelling {
    spell(short, long, Takes::Nothing, Switch::Command(command))
}

const fn flag(short: char, long: &'static str, name: Name) -> Spelling {
    spell(short, long, Takes::Nothing, Switch::Plain(name))
}

const fn value(short: char, long: &'static str, name: Name) -> Spelling {
    spell(short, long, Takes::Value, Switch::Plain(name))
}

const fn service(short: char, long: &'static str, protocol: Protocol) -> Spelling {
    spell(short, long, Takes::Value, Switch::Service(protocol))
}

const fn forward(short: char, long: &'static str, method: api::ForwardingMethod) -> Spelling {
    spell(short, long, Takes::Nothing, Switch::Forward(method))
}

/// Every spelling.
pub const SPELLINGS: &[Spelling] = &[
    command('A', "add-service", Command::AddService),
    command('E', "edit-service", Command::EditService),
    command('D', "delete-service", Command::DeleteService),
    command('C', "clear", Command::Flush),
    command('L', "list", Command::List),
    command('l', "list", Command::List),
    command('Z', "zero", Command::Zero),
    command('a', "add-server", Command::AddServer),
    command('e', "edit-server", Command::EditServer),
    command('d', "delete-server", Command::DeleteServer),
    command('R', "restore", Command::Restore),
    command('S', "save", Command::Save),
    command('\0', "set", Command::Set),
    spell(
        '\0',
        "start-daemon",
        Takes::Value,
        Switch::Command(Command::StartDaemon),
    ),
    spell(
        '\0',
        "stop-daemon",
        Takes::Value,
        Switch::Command(Command::StopDaemon),
    ),
    spell('h', "help", Takes::Nothing, Switch::Help),
    spell('v', "version", Takes::Nothing, Switch::Version),
    service('t', "tcp-service", Protocol::Tcp),
    service('u', "udp-service", Protocol::Udp),
    service('\0', "sctp-service", Protocol::Sctp),
    spell('f', "fwmark-service", Takes::Value, Switch::Mark),
    spell('6', "ipv6", Takes::Nothing, Switch::Ipv6),
    value('s', "scheduler", Name::Scheduler),
    spell(
        'p',
        "persistent",
        Takes::MaybeValue,
        Switch::Plain(Name::Persistent),
    ),
    value('M', "netmask", Name::Netmask),
    flag('o', "ops", Name::Ops),
    value('\0', "pe", Name::Engine),
    value('b', "sched-flags", Name::SchedFlags),
    value('r', "real-server", Name::RealServer),
    forward('g', "gatewaying", api::ForwardingMethod::DirectRouting),
    forward('i', "ipip", api::ForwardingMethod::Tunnelling),
    forward('m', "masquerading", api::ForwardingMethod::Masquerading),
    value('w', "weight", Name::Weight),
    value('x', "u-threshold", Name::UpperThreshold),
    value('y', "l-threshold", Name::LowerThreshold),
    value('\0', "tun-type", Name::TunType),
    value('\0', "tun-port", Name::TunPort),
    flag('\0', "tun-nocsum", Name::TunNocsum),
    flag('\0', "tun-csum", Name::TunCsum),
    flag('\0', "tun-remcsum", Name::TunRemcsum),
    flag('c', "connection", Name::Connection),
    flag('\0', "timeout", Name::Timeout),
    flag('\0', "daemon", Name::Daemon),
    flag('\0', "stats", Name::Stats),
    flag('\0', "rate", Name::Rate),
    flag('\0', "thresholds", Name::Thresholds),
    flag('\0', "persistent-conn", Name::PersistentConn),
    flag('\0', "tun-info", Name::TunInfo),
    flag('X', "exact", Name::Exact),
    flag('n', "numeric", Name::Numeric),
    spell('\0', "sort", Takes::Nothing, Switch::Sort),
    flag('\0', "nosort", Name::Nosort),
    value('\0', "syncid", Name::SyncId),
    value('\0', "sync-maxlen", Name::SyncMaxlen),
    value('\0', "mcast-interface", Name::McastInterface),
    value('\0', "mcast-group", Name::McastGroup),
    value('\0', "mcast-port", Name::McastPort),
    value('\0', "mcast-ttl", Name::McastTtl),
];
