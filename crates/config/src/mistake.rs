//! What can be wrong with a configuration, and how it is said: what was found, what would be
//! right, what to do.
//!
//! ```text
//! director.toml:14:9: destination 10.0.0.7:8080 listens on port 8080, but direct routing keeps
//!                     the service's port 80: set port = 80
//! ```

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use api::{Protocol, SchedulerFlags, ServiceKey};

use crate::address::AddressFault;
use crate::check::CheckFault;
use crate::doors::ApiFault;
use crate::notify::NotifyFault;
use crate::schema::Table;
use crate::shared::SharedFault;
use crate::values::BadInterfaceName;
use crate::{Scheduler, limits};

/// All mistakes of a configuration, in the order of its files. Prints as one
/// `file:line:column: sentence` each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    /// At least one.
    pub list: Vec<Mistake>,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// What is wrong and what to do; its `Display` is the sentence.
    pub reason: Reason,
}

/// Kinds of mistakes, with the values that the sentence needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentence beside each variant says it")]
pub enum Reason {
    #[error("byte 0x{byte:02x} is not UTF-8, which TOML requires: save the file as UTF-8")]
    NotUtf8 { byte: u8 },
    #[error("this is not TOML: {problem}")]
    Syntax { problem: String },
    #[error("`{key}` is already set in {first}: remove one of the two")]
    KeyTwice { key: Quoted, first: Place },

    #[error(
        "{header} is said once for the whole director, in the main file: move it to {main_file}"
    )]
    MainFileOnly {
        header: &'static str,
        main_file: Arc<str>,
    },
    #[error(
        "there are more than {} mistakes, and only that many are shown: mend these, then look again",
        limits::MISTAKES
    )]
    More,

    #[error("{table} has no key `{key}`: {advice}")]
    UnknownKey {
        key: Quoted,
        table: Table,
        advice: Advice,
    },
    #[error("{table} has no `{key}`: add {key} = {example}")]
    MissingKey {
        table: Table,
        key: &'static str,
        example: &'static str,
    },
    #[error("`{key}` takes {expected}, but this is {found}: write for example {key} = {example}")]
    WrongType {
        key: &'static str,
        expected: &'static str,
        found: &'static str,
        example: &'static str,
    },
    #[error("`{key}` takes a table, but this is {found}: write {header} on a line of its own")]
    NotATable {
        key: &'static str,
        found: &'static str,
        header: &'static str,
    },
    #[error("there can be many, so `{key}` has two brackets: write {header} above each")]
    OneBracket {
        key: &'static str,
        header: &'static str,
    },
    #[error("there is only one, so `{key}` has single brackets and stands once: write {header}")]
    TwoBrackets {
        key: &'static str,
        header: &'static str,
    },
    #[error("`{key}` = {value} is out of range: write a number from {min} to {max}")]
    OutOfRange {
        key: &'static str,
        value: Quoted,
        min: i64,
        max: i64,
    },
    #[error("`{key}` = \"{value}\" is unknown: {advice}")]
    UnknownValue {
        key: &'static str,
        value: Quoted,
        advice: Advice,
    },

    #[error(
        "no interface is named: set interface = \"eth0\" in [director] to the one where clients' packets arrive"
    )]
    NoInterface,
    #[error(
        "`interfaces` is empty: name the interfaces where clients' packets arrive, for example interfaces = [\"eth0\"]"
    )]
    EmptyInterfaces,
    #[error("both `interface` and `interfaces` are set: keep one of them")]
    InterfaceAndInterfaces,
    #[error("interface name \"{name}\" {problem}: write it as `ip link` shows it")]
    BadInterface {
        name: Quoted,
        problem: BadInterfaceName,
    },
    #[error("interface {name} is already named in {first}: remove one of the two")]
    InterfaceTwice { name: Quoted, first: Place },
    #[error("{found} interfaces are named, but the data plane has room for {limit}: remove {}", found - limit)]
    TooManyInterfaces { found: usize, limit: usize },

    #[error("{reason} (used by the service in {by})")]
    Used { reason: Box<Reason>, by: Place },
    #[error(
        "this service has {found} destinations, but scheduler {scheduler} chooses from at most {limit}: leave some out, or choose {}",
        if scheduler.is_dynamic() { "one that does not look at all of them, such as `wrr`" } else { "another director for the others" }
    )]
    TooManyForScheduler {
        found: usize,
        scheduler: Scheduler,
        limit: usize,
    },
    #[error(transparent)]
    Shared(SharedFault),
    #[error(transparent)]
    Api(ApiFault),
    #[error(transparent)]
    Notify(NotifyFault),
    #[error(transparent)]
    Check(CheckFault),
    #[error(transparent)]
    Address(AddressFault),
    #[error(
        "virtual address {address} is {kind}, which no service can have: use the unicast address that clients connect to"
    )]
    VirtualAddressNotUnicast { address: IpAddr, kind: &'static str },
    #[error(
        "destination {address} is {kind}, which no real server has: use the server's own unicast address"
    )]
    DestinationNotUnicast { address: IpAddr, kind: &'static str },
    #[error(
        "{method} is IPVS's, but not supported yet: leave `forwarding` out, or write forwarding = \"direct-routing\""
    )]
    ForwardingNotYet { method: &'static str },
    #[error(
        "service {service} is already defined in {first}: put all its destinations below one [[service]]"
    )]
    ServiceTwice { service: ServiceKey, first: Place },
    #[error(
        "this is service number {number}, but the data plane has room for {}: split them over two directors",
        limits::SERVICES
    )]
    TooManyServices { number: usize },

    #[error(
        "`netmask` says which clients are kept together, but nothing keeps them: add persistence = 360"
    )]
    NetmaskWithoutPersistence,
    #[error("netmask \"{netmask}\" does not fit {of}: write {advice}")]
    BadNetmask {
        netmask: Quoted,
        of: String,
        advice: &'static str,
    },
    #[error(
        "one-packet scheduling is for UDP, and this service is {}: leave `one_packet` out",
        protocol.name().to_uppercase()
    )]
    OnePacketNotUdp { protocol: Protocol },
    #[error(
        "port 0 is every port, which needs persistence so that a client's connections stay together: add persistence = 360, or write the port that clients connect to"
    )]
    EveryPortWithoutPersistence,
    #[error(
        "a service by `mark` has no `{key}`: [[mark]] says which packets have it. Leave `{key}` out"
    )]
    MarkAnd { key: &'static str },
    #[error("`family` is for services by `mark`; others have that of their address: leave it out")]
    FamilyWithoutMark,
    #[error(
        "\"{flag}\" is no flag of scheduler {scheduler}: there are {}",
        flags(*scheduler)
    )]
    UnknownFlag { flag: Quoted, scheduler: Scheduler },

    #[error("\"{network}\" is no address and no network: write for example \"192.168.188.0/24\"")]
    BadNetwork { network: Quoted },
    #[error(
        "\"{ports}\" is no port and no range of ports: write for example \"80\" or \"8000-8099\""
    )]
    BadPorts { ports: Quoted },
    #[error("`{key}` is empty: write for example {key} = {example}")]
    EmptyList {
        key: &'static str,
        example: &'static str,
    },
    #[error(
        "all [[mark]] together make more than {} rules, one for each network and range of ports: join some",
        limits::MARK_RULES
    )]
    TooManyMarks,

    #[error(
        "lower threshold {lower} is above the upper one, {upper}: write a lower one, or leave it out, which means three quarters"
    )]
    LowerAboveUpper { lower: u32, upper: u32 },
    #[error(
        "destination {destination} and firewall mark {mark} are of different families: use the server's {} address, or set family = \"{}\"",
        other_family(destination),
        family(destination).to_lowercase()
    )]
    FamilyOfMark { destination: IpAddr, mark: u32 },

    #[error(
        "destination {destination} listens on port {port}, but direct routing keeps the service's port {service_port}: {advice}"
    )]
    PortDiffers {
        destination: String,
        port: u16,
        service_port: u16,
        advice: String,
    },
    #[error("destination {destination} has port {port} in its address as well: leave `port` out")]
    PortGivenTwice { destination: IpAddr, port: u16 },
    #[error(
        "destination {destination} and virtual address {virtual_address} are of different families, but direct routing keeps the packet as it is: use the server's {} address, or add a service for its {} one",
        family(virtual_address),
        family(destination)
    )]
    FamiliesDiffer {
        destination: IpAddr,
        virtual_address: IpAddr,
    },
    #[error(
        "destination {destination} is the virtual address in {service}, so frames would come back to the director: use the real server's own address"
    )]
    DestinationIsVirtual { destination: IpAddr, service: Place },
    #[error(
        "destination {destination} is already in this service, in {first}: remove one of the two"
    )]
    DestinationTwice { destination: IpAddr, first: Place },
    #[error(
        "this is destination number {number}, but the data plane has room for {}: split them over two directors",
        limits::DESTINATIONS
    )]
    TooManyDestinations { number: usize },
}

/// Where something else stands, as a message about another place says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the same file.
    Line(usize),
    /// A place in another file.
    Elsewhere {
        /// The file, as it was named.
        file: Arc<str>,
        /// Line, from 1.
        line: usize,
        /// Column, from 1, in characters.
        column: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Elsewhere { file, line, column } => write!(f, "{file}:{line}:{column}"),
        }
    }
}

/// What to do about a word that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "one line each in `Display` says it")]
pub enum Advice {
    DidYouMean(&'static str),
    BelongsIn(Table),
    Write(&'static str),
    OneOf(Vec<&'static str>),
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DidYouMean(word) => write!(f, "did you mean `{word}`?"),
            Self::BelongsIn(table) => write!(f, "it belongs in {table}"),
            Self::Write(header) => write!(f, "write {header}"),
            Self::OneOf(words) if words.len() == 1 => write!(f, "there is {}", listed(words)),
            Self::OneOf(words) => write!(f, "there are {}", listed(words)),
        }
    }
}

/// A piece of the file as a message quotes it: on one line, and not longer than
/// [`limits::QUOTED_CHARS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted(pub String);

impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(limits::QUOTED_CHARS) {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        if chars.next().is_some() {
            f.write_str("…")?;
        }
        Ok(())
    }
}

impl From<&str> for Quoted {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let place = format!("{}:{}:{}: ", mistake.file, mistake.line, mistake.column);
            write_wrapped(f, &place, &mistake.reason.to_string())?;
        }
        Ok(())
    }
}

/// Columns of a terminal that a message fills before it goes on below.
const WIDTH: usize = 94;

/// Columns for the sentence itself, however long the file's path is.
const LEAST_WIDTH: usize = 50;

/// Writes `place` and then the sentence, its later lines indented to where it began.
fn write_wrapped(f: &mut fmt::Formatter<'_>, place: &str, sentence: &str) -> fmt::Result {
    let indent = place.chars().count();
    let width = WIDTH.saturating_sub(indent).max(LEAST_WIDTH);
    f.write_str(place)?;
    let mut used = 0;
    for word in unbreakable_parts(sentence) {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            write!(f, "\n{:indent$}", "")?;
            used = 0;
        } else if used > 0 {
            f.write_str(" ")?;
            used += 1;
        }
        f.write_str(&word)?;
        used += length;
    }
    Ok(())
}

/// The words of a sentence, `key = value` counting as one: people copy it.
fn unbreakable_parts(sentence: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut glue = false;
    for word in sentence.split(' ') {
        match parts.last_mut() {
            Some(part) if glue || word == "=" => {
                part.push(' ');
                part.push_str(word);
            }
            _ => parts.push(word.to_owned()),
        }
        glue = word == "=";
    }
    parts
}

/// `a`, `b` and `c`, each in backticks.
fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn flags(scheduler: Scheduler) -> String {
    let all = [SchedulerFlags::FLAG_1, SchedulerFlags::FLAG_2];
    let names = |flag: SchedulerFlags| flag.names(scheduler.name());
    let mut names: Vec<String> = all.into_iter().flat_map(names).collect();
    for name in ["flag-1", "flag-2", "flag-3"] {
        if !names.iter().any(|one| one == name) {
            names.push(name.to_owned());
        }
    }
    listed(&names.iter().map(String::as_str).collect::<Vec<_>>())
}

fn other_family(address: &IpAddr) -> &'static str {
    if address.is_ipv6() { "IPv4" } else { "IPv6" }
}

fn family(address: &IpAddr) -> &'static str {
    if address.is_ipv6() { "IPv6" } else { "IPv4" }
}
