//! What is defined once and used in many places: real servers, templates, and defaults.
//!
//! ```text
//! [[service]]                  its own keys
//!   template = "web"      ─►   [template.web]         what it does not say itself
//!                         ─►   [defaults.service]     what neither says
//!   real_servers = ["a"]  ─►   [[real_server]]        address, weight, thresholds, checks
//! ```
//!
//! A table that uses another is laid over it ([`Section::over`]): reading goes on as if its keys stood
//! there. So each key is read by one function, wherever it stands.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::check::Checks;
use crate::mistake::Reason;
use crate::notes::Notes;
use crate::schema::{self, Key, Table};
use crate::section::{At, Section};
use crate::{Mark, address, limits, options, rules, service, suggest};

mod fault;

pub use fault::SharedFault;

/// Everything that services may use.
pub(crate) struct Shared<'t> {
    pub checks: Checks,
    pub servers: BTreeMap<Arc<str>, Server<'t>>,
    /// Rules of firewall marks: they say where a service by mark can be asked.
    pub marks: Vec<Mark>,
    /// Single addresses of those, and where they stand.
    pub mark_addresses: HashMap<IpAddr, usize>,
    templates: BTreeMap<&'t str, (usize, Rc<Section<'t>>)>,
    defaults: Option<Rc<Section<'t>>>,
}

/// A real server, and the table that says more about it.
pub(crate) struct Server<'t> {
    /// Where it is defined.
    pub at: usize,
    /// Its address, if that could be read.
    pub address: Option<At<IpAddr>>,
    /// Its table.
    pub section: Rc<Section<'t>>,
}

impl<'t> Shared<'t> {
    /// Reads all of them; what is wrong with them is noted whether or not anybody uses them.
    pub fn read(root: &Section<'t>, checks: Checks, notes: &mut Notes<'_>) -> Self {
        let defaults = root.one(&schema::DEFAULTS, Table::Defaults, notes);
        let defaults = defaults.and_then(|defaults| {
            defaults.one(&schema::DEFAULTS_SERVICE, Table::DefaultsOfServices, notes)
        });
        let mut shared = Self {
            servers: servers(root, &checks, notes),
            checks,
            marks: Vec::new(),
            mark_addresses: HashMap::new(),
            templates: BTreeMap::new(),
            defaults: defaults.map(Rc::new),
        };
        shared.templates = templates(root, notes);
        let layers = shared.templates.values().map(|(_, template)| template);
        for layer in layers.chain(&shared.defaults) {
            note_alone(layer, &shared, notes);
        }
        let tables = shared.servers.values().map(|server| &server.section);
        let layers = shared.templates.values().map(|(_, template)| template);
        for table in tables.chain(layers).chain(&shared.defaults) {
            notes.share(table.spans());
        }
        shared
    }

    /// The service's table over its template and the defaults.
    pub fn laid_over(&self, mut service: Section<'t>, notes: &mut Notes<'_>) -> Section<'t> {
        if let Some(name) = service.string(&schema::SERVICE_TEMPLATE, notes) {
            match self.templates.get(name.value) {
                Some((_, template)) => service.over(template),
                None => {
                    let known = self.templates.keys().copied();
                    let fault = SharedFault::NoTemplate {
                        name: name.value.into(),
                        advice: suggest::among(name.value, known, "define it as [template.NAME]"),
                    };
                    notes.add(name.at, Reason::Shared(fault));
                }
            }
        }
        if let Some(defaults) = &self.defaults {
            service.over(defaults);
        }
        service
    }

    /// The real server of this name.
    pub fn server(&self, name: &At<&str>, notes: &mut Notes<'_>) -> Option<&Server<'t>> {
        let found = self.servers.get(name.value);
        if found.is_none() {
            let known = self.servers.keys().map(|name| &**name);
            let define = "define it as [[real_server]] with this name";
            let fault = SharedFault::NoServer {
                name: name.value.into(),
                advice: suggest::among(name.value, known, define),
            };
            notes.add(name.at, Reason::Shared(fault));
        }
        found
    }
}

/// All `[[real_server]]` of all files.
fn servers<'t>(
    root: &Section<'t>,
    checks: &Checks,
    notes: &mut Notes<'_>,
) -> BTreeMap<Arc<str>, Server<'t>> {
    let limit = limits::DESTINATIONS;
    let (sections, beyond) = root.many(&schema::REAL_SERVER, Table::RealServer, limit, notes);
    if let Some(at) = beyond {
        let number = limit + 1;
        notes.add(at, Reason::Shared(SharedFault::TooManyServers { number }));
    }
    let mut servers: BTreeMap<Arc<str>, Server<'t>> = BTreeMap::new();
    let mut addresses: HashMap<IpAddr, Arc<str>> = HashMap::new();
    for section in sections {
        let address = server_address(&section, notes);
        service::weight(&section, notes);
        options::thresholds(&section, notes);
        rules::names(&section, &schema::SERVER_CHECKS, checks, notes);
        section.require(&schema::SERVER_NAME, notes);
        let Some(name) = section.string(&schema::SERVER_NAME, notes) else {
            continue;
        };
        if let Some(fault) = bad_name(name.value) {
            notes.add(name.at, Reason::Shared(fault));
            continue;
        }
        if let Some(first) = servers.get(name.value) {
            let fault = SharedFault::ServerTwice {
                name: name.value.into(),
                first: notes.place(first.at, name.at),
            };
            notes.add(name.at, Reason::Shared(fault));
            continue;
        }
        let name: Arc<str> = name.value.into();
        if let Some(address) = &address
            && let Some(other) = addresses.insert(address.value, Arc::clone(&name))
        {
            let first = servers.get(&other).map_or(0, |server| server.at);
            let fault = SharedFault::AddressTwice {
                address: address.value,
                other: (&*other).into(),
                first: notes.place(first, address.at),
            };
            notes.add(address.at, Reason::Shared(fault));
        }
        let (at, section) = (section.at(), Rc::new(section));
        let server = Server {
            at,
            address,
            section,
        };
        servers.insert(name, server);
    }
    servers
}

/// An address would be taken for one where names are allowed beside addresses.
fn bad_name(name: &str) -> Option<SharedFault> {
    if name.is_empty() {
        return Some(SharedFault::NoName);
    }
    let is_address = name.parse::<IpAddr>().is_ok();
    is_address.then(|| SharedFault::NameIsAddress { name: name.into() })
}

fn server_address(section: &Section<'_>, notes: &mut Notes<'_>) -> Option<At<IpAddr>> {
    section.require(&schema::SERVER_ADDRESS, notes);
    let text = section.string(&schema::SERVER_ADDRESS, notes)?;
    match address::with_optional_port(text.value, schema::SERVER_ADDRESS.example) {
        Err(fault) => {
            notes.add(text.at, Reason::Address(fault));
            None
        }
        Ok((address, port)) => {
            if port.is_some() {
                let fault = SharedFault::ServerPort { address };
                notes.add(text.at, Reason::Shared(fault));
            }
            if let Some(kind) = address::not_unicast(&address) {
                notes.add(text.at, Reason::DestinationNotUnicast { address, kind });
            }
            Some(At {
                at: text.at,
                value: address,
            })
        }
    }
}

/// All `[template.NAME]` of all files.
fn templates<'t>(
    root: &Section<'t>,
    notes: &mut Notes<'_>,
) -> BTreeMap<&'t str, (usize, Rc<Section<'t>>)> {
    let mut templates: BTreeMap<&'t str, (usize, Rc<Section<'t>>)> = BTreeMap::new();
    for (name, section) in root.named(&schema::TEMPLATE, Table::Template, notes) {
        if let Some(&(first, _)) = templates.get(name.value) {
            let fault = SharedFault::TemplateTwice {
                name: name.value.into(),
                first: notes.place(first, name.at),
            };
            notes.add(name.at, Reason::Shared(fault));
            continue;
        }
        templates.insert(name.value, (name.at, Rc::new(section)));
    }
    templates
}

/// What is wrong with a template or the defaults, whoever uses them.
fn note_alone(layer: &Section<'_>, shared: &Shared<'_>, notes: &mut Notes<'_>) {
    let scheduler = options::scheduler(layer, notes);
    match scheduler {
        Some(scheduler) => {
            options::flags(layer, scheduler, notes);
        }
        None => {
            layer.strings(&schema::FLAGS, notes);
        }
    }
    service::protocol(layer, &schema::PROTOCOL, notes);
    options::persistence(layer, None, notes);
    options::one_packet(layer, None, notes);
    options::share(layer, notes);
    rules::names(layer, &schema::SERVICE_CHECKS, &shared.checks, notes);
    rules::rules(layer, None, &[], shared, notes);
    names_of_servers(layer, shared, notes);
}

/// The real servers that a service, or a template, lists.
pub(crate) fn names_of_servers<'s, 't>(
    section: &Section<'t>,
    shared: &'s Shared<'t>,
    notes: &mut Notes<'_>,
) -> Vec<(usize, &'s Server<'t>)> {
    let key: &Key = &schema::REAL_SERVERS;
    let list = section.strings(key, notes);
    let names = list.map_or_else(Vec::new, |list| list.value);
    let server = |name: &At<&str>| Some((name.at, shared.server(name, notes)?));
    names.iter().filter_map(server).collect()
}
