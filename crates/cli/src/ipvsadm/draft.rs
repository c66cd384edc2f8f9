//! The options of one invocation, as they are read.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;

use api::{
    DestinationSettings, Family, ForwardingMethod, Netmask, Persistence, Protocol, SchedulerFlags,
    ServiceKey, ServiceSettings, TunnelKind,
};

use super::address::{endpoint, inet_aton, leading_number, number};
use super::failure::Misuse;
use super::grammar::{Command, Given, Name, Switch};
use super::line::{Layout, Line, Listing, ServerLine, ServiceLine, Subject, destination};
use super::names::Names;
use super::values::{check_group, cut, flags, in_range, int, timeout, tunnel, tunnel_kind};
use super::words::Read;

/// Bytes of a scheduler's name that the kernel's structure holds.
const SCHEDULER_BYTES: usize = 15;
/// The same of a persistence engine's.
const ENGINE_BYTES: usize = 15;
/// What `-s` is when it is not given.
const DEFAULT_SCHEDULER: &str = "wlc";
/// What `-p` is without a value; the original's manual says 300, its program does this.
const DEFAULT_PERSISTENCE_S: u32 = 360;

/// What has been read so far. It starts with the defaults.
pub struct Draft<'a> {
    names: &'a dyn Names,
    /// The options that were there.
    pub given: Given,
    service: Option<ServiceKey>,
    server: (IpAddr, u16),
    scheduler: String,
    sched_flags: Option<String>,
    flags: SchedulerFlags,
    engine: Option<String>,
    persistence_s: Option<u32>,
    netmask: Option<Netmask>,
    /// The values of `--set`.
    pub timeouts: [u32; 3],
    forwarding: ForwardingMethod,
    weight: u32,
    upper_threshold: u32,
    lower_threshold: u32,
    tunnel: TunnelKind,
    tunnel_port: u16,
}

impl<'a> Draft<'a> {
    /// Nothing yet.
    #[must_use]
    pub fn new(names: &'a dyn Names) -> Self {
        Self {
            names,
            given: Given::default(),
            service: None,
            server: (Ipv4Addr::UNSPECIFIED.into(), 0),
            scheduler: String::new(),
            sched_flags: None,
            flags: SchedulerFlags::NONE,
            engine: None,
            persistence_s: None,
            netmask: None,
            timeouts: [0; 3],
            forwarding: ForwardingMethod::DirectRouting,
            weight: 1,
            upper_threshold: 0,
            lower_threshold: 0,
            tunnel: TunnelKind::default(),
            tunnel_port: 0,
        }
    }

    /// Takes one switch; `word` is where it stood.
    ///
    /// # Errors
    ///
    /// When it was there before, or its value is none.
    pub fn take(&mut self, (switch, value): Read<'_>, word: &str) -> Result<(), Misuse> {
        let text = value.unwrap_or_default();
        match switch {
            Switch::Command(_) | Switch::Help | Switch::Version => {
                Err(Misuse::SecondCommand(word.to_owned()))
            }
            Switch::Service(protocol) => {
                self.once(Name::Service)?;
                let (address, port) =
                    endpoint(text, Some(protocol), self.names).ok_or(Misuse::ServiceAddress)?;
                let address = SocketAddr::new(address, port.unwrap_or(0));
                if address.is_ipv6() {
                    self.netmask = None;
                }
                self.service = Some(ServiceKey::Address { protocol, address });
                Ok(())
            }
            Switch::Mark => {
                self.once(Name::Service)?;
                let mark = number(text, 1..=i64::from(u32::MAX))
                    .and_then(|mark| u32::try_from(mark).ok())
                    .and_then(NonZeroU32::new)
                    .ok_or_else(|| Misuse::Mark(text.to_owned()))?;
                let family = Family::V4;
                self.service = Some(ServiceKey::Mark { mark, family });
                Ok(())
            }
            Switch::Ipv6 => match &mut self.service {
                Some(ServiceKey::Mark { family, .. }) => {
                    *family = Family::V6;
                    self.netmask = None;
                    Ok(())
                }
                _ => Err(Misuse::Ipv6WithoutMark),
            },
            Switch::Forward(method) => {
                self.once(Name::ForwardingMethod)?;
                self.forwarding = method;
                Ok(())
            }
            Switch::Sort => Ok(()),
            Switch::Plain(name) => {
                self.once(name)?;
                self.plain(name, value)
            }
        }
    }

    fn once(&mut self, name: Name) -> Result<(), Misuse> {
        match self.given.insert(name) {
            true => Ok(()),
            false => Err(Misuse::Repeated(name)),
        }
    }

    fn plain(&mut self, name: Name, value: Option<&str>) -> Result<(), Misuse> {
        let text = value.unwrap_or_default();
        match name {
            Name::RealServer => self.server = self.real_server(text)?,
            Name::Scheduler => self.scheduler = cut(text, SCHEDULER_BYTES).to_owned(),
            Name::SchedFlags => self.sched_flags = Some(text.to_owned()),
            Name::Persistent => {
                let given = value.map(|text| timeout(text, 1)).transpose()?;
                self.persistence_s = Some(given.unwrap_or(DEFAULT_PERSISTENCE_S));
            }
            Name::Netmask => self.netmask = Some(self.read_netmask(text)?),
            Name::Weight => self.weight = int("weight", text)?,
            Name::UpperThreshold => self.upper_threshold = int("u_threshold", text)?,
            Name::LowerThreshold => self.lower_threshold = int("l_threshold", text)?,
            // An empty name is none to the kernel.
            Name::Engine => {
                let engine = cut(text, ENGINE_BYTES);
                self.engine = (!engine.is_empty()).then(|| engine.to_owned());
            }
            Name::TunType => self.tunnel = tunnel_kind(text)?,
            Name::TunPort => {
                let port = in_range("tunnel port", text, 1..=65_535)?;
                self.tunnel_port = u16::try_from(port).unwrap_or_default();
            }
            Name::SyncId => drop(in_range("syncid", text, 0..=255)?),
            Name::SyncMaxlen => drop(in_range("sync-maxlen", text, 1..=65_507)?),
            Name::McastPort => drop(in_range("mcast-port", text, 1..=65_535)?),
            Name::McastTtl => drop(in_range("mcast-ttl", text, 1..=255)?),
            Name::McastGroup => check_group(text)?,
            _ => {}
        }
        Ok(())
    }

    /// The port comes from the service *seen so far*; the order of words matters here.
    fn real_server(&self, text: &str) -> Result<(IpAddr, u16), Misuse> {
        // A port by name is TCP's where the service has no protocol.
        let protocol = |service: ServiceKey| service.protocol().unwrap_or(Protocol::Tcp);
        let protocol = self.service.map(protocol);
        let (address, port) = endpoint(text, protocol, self.names).ok_or(Misuse::ServerAddress)?;
        let copied = || self.service.map_or(0, |service| service.port());
        Ok((address, port.unwrap_or_else(copied)))
    }

    /// Which grammar applies depends on the service seen so far, too; an IPv6 service that comes
    /// later takes the mask back.
    fn read_netmask(&self, text: &str) -> Result<Netmask, Misuse> {
        if self.service.is_some_and(|service| service.is_ipv6()) {
            let prefix = u8::try_from(leading_number(text)).ok();
            let fits = prefix.filter(|prefix| (1..=128).contains(prefix));
            return fits.map(Netmask::V6).ok_or(Misuse::Netmask6);
        }
        inet_aton(text).map(Netmask::V4).ok_or(Misuse::Netmask)
    }

    /// Without `-p` a mask is taken and means nothing; one that joins no clients is none.
    fn persistence(&self) -> Option<Persistence> {
        let netmask = self.netmask.filter(|mask| !mask.is_whole());
        self.persistence_s
            .map(|timeout_s| Persistence { timeout_s, netmask })
    }

    fn scheduler(&self) -> &str {
        match self.scheduler.as_str() {
            "" => DEFAULT_SCHEDULER,
            named => named,
        }
    }

    /// `sh-…` and `mh-…` belong to one scheduler each. Checked for every command, and late, because
    /// `-b` may come before `-s`.
    ///
    /// # Errors
    ///
    /// When a flag does not exist, or is another scheduler's.
    pub fn read_flags(&mut self) -> Result<(), Misuse> {
        if let Some(text) = &self.sched_flags {
            self.flags = flags(text, self.scheduler())?;
        }
        Ok(())
    }

    /// The whole of it.
    ///
    /// # Errors
    ///
    /// When values do not fit together.
    pub fn finish(self, command: Command) -> Result<Line, Misuse> {
        Ok(match command {
            Command::AddService => Line::AddService(self.service_line()?),
            Command::EditService => Line::EditService(self.service_line()?),
            Command::DeleteService => Line::DeleteService(self.service(command)?),
            Command::AddServer => Line::AddServer(self.server_line(command)?),
            Command::EditServer => Line::EditServer(self.server_line(command)?),
            Command::DeleteServer => Line::DeleteServer {
                service: self.service(command)?,
                destination: self.server.into(),
            },
            Command::Flush => Line::Flush,
            Command::List => Line::List(self.listing()?),
            Command::Zero => Line::Zero(self.service),
            Command::Save => Line::Save {
                numeric: self.given.has(Name::Numeric),
            },
            Command::Restore => Line::Restore,
            Command::Set => {
                let [tcp, tcpfin, udp] = self.timeouts;
                Line::Set(api::Timeouts { tcp, tcpfin, udp })
            }
            Command::StartDaemon => Line::StartDaemon,
            Command::StopDaemon => Line::StopDaemon,
        })
    }

    fn service(&self, command: Command) -> Result<ServiceKey, Misuse> {
        self.service.ok_or(Misuse::Needed {
            option: Name::Service,
            command,
        })
    }

    fn service_line(&self) -> Result<ServiceLine, Misuse> {
        let service = self.service(Command::AddService)?;
        let persistence = self.persistence();
        let one_packet = self.given.has(Name::Ops);
        if let ServiceKey::Address { protocol, address } = service {
            if address.port() == 0 && persistence.is_none() {
                return Err(Misuse::ZeroPort);
            }
            if one_packet && protocol != Protocol::Udp {
                return Err(Misuse::OpsNotUdp);
            }
        }
        Ok(ServiceLine {
            service,
            settings: ServiceSettings {
                scheduler: self.scheduler().to_owned(),
                flags: self.flags,
                persistence,
                engine: self.engine.clone(),
                one_packet,
                share: None,
            },
        })
    }

    fn server_line(&self, command: Command) -> Result<ServerLine, Misuse> {
        let service = self.service(command)?;
        let (address, port) = self.server;
        let tunnels = self.forwarding == ForwardingMethod::Tunnelling;
        if address.is_ipv6() != service.is_ipv6() && !tunnels {
            return Err(Misuse::MixedFamilies);
        }
        let tunnel = tunnel(self.given, tunnels, self.tunnel, self.tunnel_port)?;
        Ok(ServerLine {
            service,
            destination: destination(service, address, port, self.forwarding),
            settings: DestinationSettings {
                forwarding: self.forwarding,
                tunnel,
                weight: self.weight,
                upper_threshold: self.upper_threshold,
                lower_threshold: self.lower_threshold,
            },
        })
    }

    fn listing(&self) -> Result<Listing, Misuse> {
        let given = self.given;
        let no_table = [Name::Connection, Name::Timeout, Name::Daemon];
        let numbers = [Name::Stats, Name::Rate, Name::Thresholds];
        let no_connections = given.has_any(&[Name::Timeout, Name::Daemon]);
        if given.has_any(&no_table) && given.has_any(&numbers)
            || no_connections && given.has(Name::PersistentConn)
        {
            return Err(Misuse::ListConflict);
        }
        Ok(Listing {
            subject: match self.service {
                Some(service) => Subject::One(service),
                None if given.has(Name::Connection) => Subject::Connections,
                None if given.has(Name::Timeout) => Subject::Timeouts,
                None if given.has(Name::Daemon) => Subject::Daemons,
                None => Subject::All,
            },
            layout: layout(given),
            numeric: given.has(Name::Numeric),
            exact: given.has(Name::Exact),
            sorted: !given.has(Name::Nosort),
        })
    }
}

/// Of several layouts the first of this order wins.
fn layout(given: Given) -> Layout {
    [
        (Name::Stats, Layout::Stats),
        (Name::Rate, Layout::Rate),
        (Name::Thresholds, Layout::Thresholds),
        (Name::PersistentConn, Layout::PersistentConn),
        (Name::TunInfo, Layout::TunInfo),
    ]
    .into_iter()
    .find(|(name, _)| given.has(*name))
    .map_or(Layout::Default, |(_, layout)| layout)
}
