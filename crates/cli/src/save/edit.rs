//! What a service shall be is written into the files: only what is otherwise; comments, order and layout stay.
//!
//! ```text
//! [[service]]                    its own keys           ◄─ settings
//!   [[service.destination]]      a table of its own     ◄─ weights and thresholds; added, removed
//!   real_servers = ["a", "b"]    a name in its list     ◄─ removed; added, if it is as [[real_server]] says
//! [template.x], [defaults]       are others' as well: never touched. A service says for itself what is
//!                                otherwise in it
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::{
    DestinationSettings, Family, Netmask, Persistence, Protocol, SchedulerFlags, ServiceKey,
    ServiceSettings,
};
use toml_edit::{Array, DocumentMut, Item, TableLike, Value};

use super::layout::{self, List, tables};

/// What a service is to be in the files.
pub(super) struct Target {
    pub key: ServiceKey,
    /// None for a service that goes.
    pub settings: Option<ServiceSettings>,
    pub destinations: BTreeMap<SocketAddr, DestinationSettings>,
}

/// The files of a configuration, while they are edited.
pub(super) struct Files {
    all: Vec<File>,
    /// Real servers by name.
    servers: BTreeMap<Arc<str>, IpAddr>,
}

struct File {
    document: DocumentMut,
    has_mark: bool,
    has_returns: bool,
}

const MARK: char = '\u{feff}';

impl Files {
    pub fn read(files: &[config::File], config: &config::Config) -> Result<Self, String> {
        let read = |file: &config::File| {
            let text = std::str::from_utf8(&file.bytes)
                .map_err(|error| format!("{}: {error}", file.name))?;
            let one = File::parse(text).map_err(|error| format!("{}: {error}", file.name))?;
            match one.text() == text {
                true => Ok(one),
                false => Err(format!(
                    "{}: its line ends are of two kinds, and would not stay as they are: write it with one",
                    file.name
                )),
            }
        };
        Ok(Self {
            all: files.iter().map(read).collect::<Result<_, _>>()?,
            servers: config.real_servers.clone(),
        })
    }

    pub fn texts(&self) -> Vec<String> {
        self.all.iter().map(File::text).collect()
    }

    /// Writes a timeout into the main file.
    pub fn set_timeout(&mut self, name: &str, seconds: u32) -> Result<(), String> {
        let file = self.all.first_mut().ok_or("there is no file")?;
        let item = file.document.entry("timeouts");
        let table = item.or_insert(toml_edit::table());
        let table = table.as_table_like_mut();
        let table = table.ok_or("[timeouts] is not written as a table")?;
        layout::set(table, name, i64::from(seconds).into());
        Ok(())
    }

    /// Makes the files say of a service what it is to be; `now` is what they say.
    pub fn follow(&mut self, target: &Target, now: Option<&config::Service>) -> Result<(), String> {
        let Some(settings) = &target.settings else {
            return self.remove(&target.key);
        };
        let (file, at) = match now {
            Some(_) => self.find(&target.key).ok_or(NOT_FOUND)?,
            None => self.add(&target.key)?,
        };
        let layers = self.layers(file, at);
        let has = |name: &str| layers.iter().any(|layer| layer.contains_key(name));
        let inherited: Vec<&str> = KEYS.into_iter().filter(|name| has(name)).collect();
        let named_above = layers.iter().find_map(|layer| names(*layer));
        let details = self.details();
        let servers = &self.servers;
        let document = self.all[file].document.as_table_mut();
        let list = List::of(document, "service", false).ok_or(NOT_FOUND)?;
        let (table, is_inline) = list.get_mut(at).ok_or(NOT_FOUND)?;
        write_settings(
            table,
            &inherited,
            now.map(config::Service::settings),
            settings,
        )?;
        let mut place = Place {
            table,
            is_inline,
            servers,
            details,
            named_above,
            is_mark: target.key.address().is_none(),
            left: String::new(),
            position: 0,
        };
        place.follow(&target.destinations, now)?;
        let (left, position) = (place.left, place.position);
        layout::put_behind(&mut self.all[file].document, position, &left);
        Ok(())
    }

    fn remove(&mut self, key: &ServiceKey) -> Result<(), String> {
        let (file, at) = self.find(key).ok_or(NOT_FOUND)?;
        let document = &mut self.all[file].document;
        let list = List::of(document.as_table_mut(), "service", false).ok_or(NOT_FOUND)?;
        if let Some((comments, position)) = list.remove(at) {
            layout::put_behind(document, position, &comments);
        }
        Ok(())
    }

    /// A service with nothing but its name, at the end of the main file's.
    fn add(&mut self, key: &ServiceKey) -> Result<(usize, usize), String> {
        let entries = match key {
            ServiceKey::Address { protocol, address } => vec![
                ("address", address.to_string().into()),
                ("protocol", protocol.name().into()),
            ],
            ServiceKey::Mark { mark, family } => {
                let mut entries = vec![("mark", i64::from(mark.get()).into())];
                if *family == Family::V6 {
                    entries.push(("family", "ipv6".into()));
                }
                entries
            }
        };
        let document = &mut self.all.first_mut().ok_or("there is no file")?.document;
        let list = List::of(document.as_table_mut(), "service", false);
        list.ok_or("`service` is no list")?.push(entries);
        let count = tables(self.all[0].document.as_table(), "service").len();
        Ok((0, count - 1))
    }

    /// In which file, and as which of its services, a service is.
    fn find(&self, key: &ServiceKey) -> Option<(usize, usize)> {
        (0..self.all.len()).find_map(|file| {
            let document = self.all[file].document.as_table();
            let all = tables(document, "service");
            let at = (0..all.len()).find(|at| self.is(file, *at, all[*at], key))?;
            Some((file, at))
        })
    }

    fn is(&self, file: usize, at: usize, table: &dyn TableLike, key: &ServiceKey) -> bool {
        let text = |name: &str| table.get(name).and_then(Item::as_str);
        match key {
            ServiceKey::Address { protocol, address } => {
                let own = text("address").and_then(|text| text.parse::<SocketAddr>().ok());
                let layers = self.layers(file, at);
                let mut above = layers.iter();
                let above = above.find_map(|layer| layer.get("protocol")?.as_str());
                own == Some(*address)
                    && text("protocol").or(above) == Some(Protocol::name(*protocol))
            }
            ServiceKey::Mark { mark, family } => {
                let own = table.get("mark").and_then(Item::as_integer);
                let is_v6 = text("family") == Some("ipv6");
                own == Some(i64::from(mark.get())) && is_v6 == (*family == Family::V6)
            }
        }
    }

    /// What lies under a service's own keys: its template, and the defaults.
    fn layers(&self, file: usize, at: usize) -> Vec<&dyn TableLike> {
        let own = tables(self.all[file].document.as_table(), "service");
        let template = own.get(at).and_then(|own| own.get("template")?.as_str());
        let of_all = |find: &dyn Fn(&DocumentMut) -> Option<&Item>| {
            let mut all = self.all.iter();
            all.find_map(|one| find(&one.document)?.as_table_like())
        };
        let template = template.and_then(|name| of_all(&|one| one.get("template")?.get(name)));
        let defaults = of_all(&|one| one.get("defaults")?.get("service"));
        template.into_iter().chain(defaults).collect()
    }

    /// What `[[real_server]]` says of each that has a name.
    fn details(&self) -> BTreeMap<String, Terms> {
        let all = self.all.iter();
        let all = all.flat_map(|one| tables(one.document.as_table(), "real_server"));
        all.filter_map(|table| Some((table.get("name")?.as_str()?.to_owned(), Terms::of(table))))
            .collect()
    }
}

const NOT_FOUND: &str = "where it is written could not be found";

/// Keys that a service may have from its template or the defaults.
const KEYS: [&str; 8] = [
    "scheduler",
    "flags",
    "persistence",
    "netmask",
    "one_packet",
    "share",
    "checks",
    "real_servers",
];

impl File {
    fn parse(text: &str) -> Result<Self, toml_edit::TomlError> {
        let has_returns = text.contains("\r\n");
        let plain = text.strip_prefix(MARK).unwrap_or(text);
        let plain = if has_returns {
            plain.replace("\r\n", "\n")
        } else {
            plain.to_owned()
        };
        Ok(Self {
            document: plain.parse()?,
            has_mark: text.starts_with(MARK),
            has_returns,
        })
    }

    fn text(&self) -> String {
        let mut text = self.document.to_string();
        if self.has_returns {
            text = text.replace('\n', "\r\n");
        }
        if self.has_mark {
            text.insert(0, MARK);
        }
        text
    }
}

/// Weight and thresholds as a table says them.
#[derive(Clone, Copy, Default)]
struct Terms {
    weight: Option<i64>,
    upper: Option<i64>,
    lower: Option<i64>,
}

impl Terms {
    fn of(table: &dyn TableLike) -> Self {
        let number = |name: &str| table.get(name).and_then(Item::as_integer);
        Self {
            weight: number("weight"),
            upper: number("upper_threshold"),
            lower: number("lower_threshold"),
        }
    }

    fn over(self, below: Self) -> Self {
        Self {
            weight: self.weight.or(below.weight),
            upper: self.upper.or(below.upper),
            lower: self.lower.or(below.lower),
        }
    }
}

/// Writes what is otherwise; what comes from elsewhere is said against.
fn write_settings(
    table: &mut dyn TableLike,
    inherited: &[&str],
    before: Option<ServiceSettings>,
    settings: &ServiceSettings,
) -> Result<(), String> {
    let is_new = before.is_none();
    let before = before.unwrap_or_else(|| ServiceSettings::of(""));
    let mut put = |name: &str, value: Option<Value>, off: Option<Value>| match value {
        Some(value) => {
            layout::set(table, name, value);
            Ok(())
        }
        None if !inherited.contains(&name) => {
            table.remove(name);
            Ok(())
        }
        None => off.map(|off| layout::set(table, name, off)).ok_or(format!(
            "`{name}` comes from its template or [defaults.service], which it cannot be without"
        )),
    };
    let is_other = before.scheduler != settings.scheduler;
    if is_other {
        put("scheduler", Some(settings.scheduler.clone().into()), None)?;
    }
    // Names of flags are their scheduler's.
    if is_new || before.flags != settings.flags || (is_other && !settings.flags.is_empty()) {
        let flags = names_of(settings.flags, &settings.scheduler);
        put("flags", flags, Some(Array::new().into()))?;
    }
    let timeout = |of: Option<Persistence>| of.map(|one| one.timeout_s);
    if is_new || timeout(before.persistence) != timeout(settings.persistence) {
        let seconds = timeout(settings.persistence).map(|seconds| i64::from(seconds).into());
        put("persistence", seconds, None)?;
    }
    let mask = |of: Option<Persistence>| of.and_then(|one| one.netmask);
    if is_new || mask(before.persistence) != mask(settings.persistence) {
        let mask = mask(settings.persistence).map(|mask| match mask {
            Netmask::V4(mask) => mask.to_string().into(),
            Netmask::V6(prefix) => prefix.to_string().into(),
        });
        put("netmask", mask, None)?;
    }
    if is_new || before.one_packet != settings.one_packet {
        let on = settings.one_packet.then(|| true.into());
        put("one_packet", on, Some(false.into()))?;
    }
    if is_new || before.share != settings.share {
        put(
            "share",
            settings.share.map(|share| i64::from(share).into()),
            None,
        )?;
    }
    // Nobody checks it, nobody is in it but those that are.
    for list in ["checks", "real_servers"] {
        if is_new && inherited.contains(&list) {
            put(list, Some(Array::new().into()), None)?;
        }
    }
    Ok(())
}

/// Flags by the names that mean most; none if none is set.
fn names_of(flags: SchedulerFlags, scheduler: &str) -> Option<Value> {
    if flags.is_empty() {
        return None;
    }
    let own = flags.names(scheduler);
    let known = own
        .iter()
        .filter_map(|name| SchedulerFlags::named(name, scheduler));
    let names = match known.fold(SchedulerFlags::NONE, SchedulerFlags::with) == flags {
        true => own,
        false => flags.names(""),
    };
    Some(Value::Array(names.into_iter().collect()))
}

/// A service whose destinations are edited.
struct Place<'a> {
    table: &'a mut dyn TableLike,
    is_inline: bool,
    servers: &'a BTreeMap<Arc<str>, IpAddr>,
    details: BTreeMap<String, Terms>,
    /// Real servers that its template or the defaults name.
    named_above: Option<Vec<String>>,
    is_mark: bool,
    /// Comments that stood above what was taken out, and were about more.
    left: String,
    position: isize,
}

impl Place<'_> {
    fn follow(
        &mut self,
        wanted: &BTreeMap<SocketAddr, DestinationSettings>,
        now: Option<&config::Service>,
    ) -> Result<(), String> {
        let now = now.into_iter().flat_map(|service| &service.destinations);
        let now: BTreeMap<SocketAddr, DestinationSettings> =
            now.map(|one| (one.address, one.settings())).collect();
        for address in now.keys().filter(|address| !wanted.contains_key(address)) {
            self.remove(*address)?;
        }
        for (address, settings) in wanted {
            match now.get(address) {
                Some(was) if was == settings => {}
                Some(_) => self.change(*address, settings)?,
                None => self.add(*address, settings)?,
            }
        }
        Ok(())
    }

    fn remove(&mut self, address: SocketAddr) -> Result<(), String> {
        if let Some(at) = self.entry(address) {
            let list = List::of(self.table, "destination", self.is_inline);
            if let Some((comments, position)) = list.ok_or(NOT_FOUND)?.remove(at) {
                self.left += &comments;
                self.position = self.position.max(position);
            }
            return Ok(());
        }
        self.leave_list(address)
    }

    fn change(
        &mut self,
        address: SocketAddr,
        settings: &DestinationSettings,
    ) -> Result<(), String> {
        let Some(at) = self.entry(address) else {
            // What it shares with other services says something else: it gets a table of its own.
            self.leave_list(address)?;
            return self.add(address, settings);
        };
        let list = List::of(self.table, "destination", self.is_inline).ok_or(NOT_FOUND)?;
        let (entry, _) = list.get_mut(at).ok_or(NOT_FOUND)?;
        let server = entry.get("real_server").and_then(Item::as_str);
        let below = server.and_then(|name| self.details.get(name)).copied();
        let says = Terms::of(entry).over(below.unwrap_or_default());
        for (name, value) in terms(says, settings) {
            layout::set(entry, name, value);
        }
        Ok(())
    }

    fn add(&mut self, address: SocketAddr, settings: &DestinationSettings) -> Result<(), String> {
        let server = self.name(address.ip());
        let below = server.as_ref().and_then(|name| self.details.get(name));
        let below = below.copied().unwrap_or_default();
        let needs_port = self.is_mark && address.port() != 0;
        let own = self.table.get_mut("real_servers");
        if let (Some(list), Some(name)) = (own.and_then(Item::as_array_mut), &server)
            && terms(below, settings).is_empty()
            && !needs_port
        {
            layout::push(list, name.as_str().into());
            return Ok(());
        }
        let mut entries = vec![match server {
            Some(name) => ("real_server", Value::from(name)),
            None => ("address", address.ip().to_string().into()),
        }];
        if needs_port {
            entries.push(("port", i64::from(address.port()).into()));
        }
        entries.extend(terms(below, settings));
        let list = List::of(self.table, "destination", self.is_inline);
        list.ok_or("`destination` is no list")?.push(entries);
        Ok(())
    }

    /// The name of a real server.
    fn name(&self, server: IpAddr) -> Option<String> {
        let mut named = self.servers.iter();
        let (name, _) = named.find(|(_, address)| **address == server)?;
        Some(name.to_string())
    }

    /// Which of the service's own tables of destinations is about one.
    fn entry(&self, destination: SocketAddr) -> Option<usize> {
        let all = tables(&*self.table, "destination");
        all.iter().position(|entry| {
            let text = |key: &str| entry.get(key).and_then(Item::as_str);
            let port = entry.get("port").and_then(Item::as_integer);
            let port = port.and_then(|port| u16::try_from(port).ok());
            let whole = text("address").and_then(|text| text.parse::<SocketAddr>().ok());
            let server = whole.map(|whole| whole.ip());
            let server = server
                .or_else(|| text("address")?.parse().ok())
                .or_else(|| self.servers.get(text("real_server")?).copied());
            let port = port.or(whole.map(|whole| whole.port()));
            server == Some(destination.ip())
                && (!self.is_mark || port.unwrap_or(0) == destination.port())
        })
    }

    /// Takes a real server out of the list of names. One that a template has is written down without it.
    fn leave_list(&mut self, destination: SocketAddr) -> Result<(), String> {
        let name = self.name(destination.ip()).ok_or(NOT_FOUND)?;
        if let Some(list) = self.table.get_mut("real_servers") {
            let list = list.as_array_mut().ok_or(NOT_FOUND)?;
            let at = list.iter().position(|one| one.as_str() == Some(&name));
            layout::remove(list, at.ok_or(NOT_FOUND)?);
            return Ok(());
        }
        let above = self.named_above.as_ref().ok_or(NOT_FOUND)?;
        let list: Array = above.iter().filter(|one| **one != name).collect();
        layout::set(self.table, "real_servers", list.into());
        Ok(())
    }
}

/// Keys that make an entry say what it is to say, where it says something else.
fn terms(says: Terms, settings: &DestinationSettings) -> Vec<(&'static str, Value)> {
    let wanted = [
        ("weight", says.weight.unwrap_or(1), settings.weight),
        (
            "upper_threshold",
            says.upper.unwrap_or(0),
            settings.upper_threshold,
        ),
        (
            "lower_threshold",
            says.lower.unwrap_or(0),
            settings.lower_threshold,
        ),
    ];
    let other = wanted
        .into_iter()
        .filter(|(_, says, wanted)| *says != i64::from(*wanted));
    other
        .map(|(name, _, wanted)| (name, i64::from(wanted).into()))
        .collect()
}

/// The names in a list of real servers.
fn names(table: &dyn TableLike) -> Option<Vec<String>> {
    let list = table.get("real_servers")?.as_array()?;
    let names = list.iter().filter_map(Value::as_str);
    Some(names.map(str::to_owned).collect())
}
