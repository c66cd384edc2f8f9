//! What can be asked of a real server. Definitions only; [`crate::attempt`] asks.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use regex::bytes::Regex;

/// A check as configured: one definition, used by any number of services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is asked.
    pub kind: Kind,
    /// Where.
    pub to: To,
    /// The port; that of the service if none.
    pub port: Option<u16>,
    /// How often, and how many must agree.
    pub pace: Pace,
    /// On the true path: a real server that answers ARP for the virtual address fails.
    pub suppression: bool,
}

/// Where a check goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum To {
    /// To the virtual address, in frames for the real server: the true path.
    #[default]
    Vip,
    /// To the real server's own address, as keepalived does.
    Own,
}

/// How often a probe asks, and how many answers must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From the start of one attempt to the start of the next.
    pub interval: Duration,
    /// The same, while attempts disagree with the state.
    pub fast_interval: Option<Duration>,
    /// Intervals are shortened at random by at most so many hundredths, never lengthened.
    pub jitter_percent: u8,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// So many passes in a row bring a failed one back.
    pub rise: u32,
    /// So many failures in a row take it out.
    pub fall: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            fast_interval: None,
            jitter_percent: 10,
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection.
    Tcp,
    /// A page.
    Http(Http),
    /// A name.
    Dns(Dns),
    /// A datagram.
    Udp(Udp),
    /// A mail server's greeting.
    Smtp(Smtp),
    /// An echo.
    Icmp,
    /// A program of the administrator's.
    Script(Script),
    /// A number, which becomes the weight.
    Agent,
}

impl Kind {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http(http) if http.tls.is_some() => "https",
            Self::Http(_) => "http",
            Self::Dns(_) => "dns",
            Self::Udp(_) => "udp",
            Self::Smtp(_) => "smtp",
            Self::Icmp => "icmp",
            Self::Script(_) => "script",
            Self::Agent => "agent",
        }
    }
}

/// A request by HTTP/1.1, and what its answer must be.
#[derive(Clone, Debug)]
pub struct Http {
    /// With TLS: HTTPS.
    pub tls: Option<Tls>,
    /// `GET`, `HEAD`, `OPTIONS`, …
    pub method: String,
    /// With query, from the slash on.
    pub path: String,
    /// The Host header; the address and port asked if none.
    pub host: Option<String>,
    /// Any of these.
    pub statuses: Statuses,
    /// Must be found in the body.
    pub body: Option<Regex>,
    /// MD5 of the body, as keepalived's genhash gives it.
    pub digest: Option<[u8; 16]>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            tls: None,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: None,
            statuses: Statuses::default(),
            body: None,
            digest: None,
        }
    }
}

impl Eq for Http {}

impl PartialEq for Http {
    fn eq(&self, other: &Self) -> bool {
        let pattern = |http: &Self| http.body.as_ref().map(|body| body.as_str().to_owned());
        self.tls == other.tls
            && self.method == other.method
            && self.path == other.path
            && self.host == other.host
            && self.statuses == other.statuses
            && pattern(self) == pattern(other)
            && self.digest == other.digest
    }
}

/// Ranges of HTTP status codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(pub Vec<RangeInclusive<u16>>);

impl Default for Statuses {
    /// 200 to 299, as keepalived.
    fn default() -> Self {
        Self(vec![200..=299])
    }
}

impl Statuses {
    /// Whether a status is among them.
    #[must_use]
    pub fn contain(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, range) in self.0.iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            if range.start() == range.end() {
                write!(f, "{comma}{}", range.start())?;
            } else {
                write!(f, "{comma}{}-{}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}

/// How TLS is spoken and which certificates are good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The name asked for, and verified; the Host header's if none.
    pub sni: Option<String>,
    /// Whom the certificate must come from.
    pub trust: Trust,
    /// It must last so many days more.
    pub days_left: Option<u32>,
}

/// Whom a certificate must come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Anybody. Its name and its end do not matter either. As keepalived.
    Anybody,
    /// The authorities of this machine (`/etc/ssl/certs/ca-certificates.crt`).
    #[default]
    System,
    /// The authorities in this PEM file.
    File(PathBuf),
}

/// A question by DNS over UDP; any answer without error passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The name asked for; `.` is the root.
    pub name: String,
    /// The number of the record's type: 1 A, 2 NS, 5 CNAME, 6 SOA, 15 MX, 16 TXT, 28 AAAA.
    pub record: u16,
}

impl Default for Dns {
    /// SOA of the root, as keepalived.
    fn default() -> Self {
        Self {
            name: ".".to_owned(),
            record: 6,
        }
    }
}

/// A datagram.
#[derive(Clone, Debug, Default)]
pub struct Udp {
    /// What is sent.
    pub payload: Vec<u8>,
    /// What must be found in the answer. Without it, "port unreachable" is all that fails.
    pub reply: Option<Regex>,
}

impl Eq for Udp {}

impl PartialEq for Udp {
    fn eq(&self, other: &Self) -> bool {
        let pattern = |udp: &Self| udp.reply.as_ref().map(|reply| reply.as_str().to_owned());
        self.payload == other.payload && pattern(self) == pattern(other)
    }
}

/// Greeting, HELO, QUIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    /// The name we give.
    pub helo: String,
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            helo: "dirigo.invalid".to_owned(),
        }
    }
}

/// A program that exits with 0 if the real server is well.
///
/// It gets `DIRIGO_SERVER`, `DIRIGO_VIP` and `DIRIGO_PORT`, and nothing else, in its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    /// The user it runs as; never root.
    pub user: String,
}
