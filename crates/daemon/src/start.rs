//! From nothing, or from what an earlier daemon left, to a whole state.
//!
//! ```text
//! lock ─► data plane: fresh or adopted ─► attach ─► state: file's, stepped by the configuration
//!      ─► fresh: wait for the real servers' first answers
//!      ─► save ─► carry out everything, once, without a gap for what stays
//! ```

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;

use anyhow::Context;
use api::{Author, EventKind, Occurrence};
use config::ConnectionsMax;
use control::{Desired, Event, Link, Observed, Plan, Saved, State};
use tracing::{info, warn};

use crate::actor::{About, Actor, File, Reload, difference, tell_attached, wanted};
use crate::announce::Announcements;
use crate::bpffs::PinRoot;
use crate::estimates::Estimates;
use crate::execute::Rooms;
use crate::files::Files;
use crate::health::{Believed, Health};
use crate::host::{self, Host};
use crate::message::Message;
use crate::metrics::Changes;
use crate::plane::{self, Plane};
use crate::release::take_away;
use crate::suspicion::Suspicion;
use crate::{Error, Options, claims, events, limits, permission, reread, resolver};

/// A daemon that is ready to work.
pub(crate) struct Started {
    pub(crate) actor: Actor<plane::Kernel, host::Kernel>,
    pub(crate) inbox: Receiver<Message>,
    pub(crate) outbox: SyncSender<Message>,
}

/// Brings everything up, short of the API. A fresh start that fails leaves nothing behind; what
/// was taken over stays.
pub(crate) fn start(options: &Options, files: &Files) -> Result<Started, Error> {
    let pin_root = PinRoot::find();
    let had_pins = pin_root.path().join(&options.instance).exists();
    // Finding them is the last thing that needs more than is kept; no thread is there yet.
    permission::reduce()?;
    let opened = open(pin_root.clone(), options, files);
    let (plane, adopted) = opened.inspect_err(|_| {
        if !had_pins {
            leave_nothing(options, files, &pin_root);
        }
    })?;
    info!(
        instance = options.instance,
        adopted,
        version = env!("CARGO_PKG_VERSION"),
        "starting"
    );
    bring_up(plane, adopted, options, files).inspect_err(|_| {
        if !adopted {
            leave_nothing(options, files, &pin_root);
        }
    })
}

/// Takes away what a fresh start has made before it failed.
fn leave_nothing(options: &Options, files: &Files, pin_root: &PinRoot) {
    if let Err(error) = take_away(&options.instance, files, pin_root) {
        warn!(
            error = crate::chain(&error),
            "the failed start left something behind"
        );
    }
}

fn bring_up(
    mut plane: plane::Kernel,
    adopted: bool,
    options: &Options,
    files: &Files,
) -> Result<Started, Error> {
    let started = Instant::now();
    attach(&mut plane, options)?;
    let host = host::Kernel::open()?;
    let left = left_behind(files, adopted)?;
    let desired = Desired::from(&options.config);
    let believed = if adopted {
        believed(files.load_health(), &left.state)
    } else {
        Vec::new()
    };
    let held = &left.state.maintenance;
    let mut health = Health::new(&options.config, &desired, &believed, held);
    let mut state = next_state(&left.state, options, &health, &plane, &host)?;
    let (outbox, inbox) = sync_channel(limits::MESSAGES);
    let mut resolver = spawn_resolver(&outbox)?;
    let wanted = wanted(&state, &health);
    resolver.want(wanted.clone(), false);
    hear_first_answers(&mut state, &mut health, &inbox);
    health.start(&outbox)?;
    hear_first_checks(
        &left.state,
        &mut state,
        &mut health,
        &inbox,
        (&plane, &host),
    )?;
    let generations = files.generations();
    let kept = reread::at_start(options, &generations, left.state.generation)?;
    state.generation = kept.generation.number;
    tell_links(&left.state, &state);
    let plan = Plan::resumed(&left.state, &left.pending, &state, &plane.published());
    let written = files.save(&state, &plan)?;
    let mut rooms = Rooms {
        plane,
        host,
        announcements: Announcements::default(),
    };
    rooms.carry_out(&plan)?;
    generations.prune(state.generation);
    let names = options.config.interfaces.iter().map(ToString::to_string);
    claims::listen_on(names.collect());
    claims::spawn().context("starting the thread that listens for claims")?;
    let about = About {
        instance: options.instance.clone(),
        adopted,
        started,
        require_native: options.config.require_native,
        release_on_stop: options.config.on_stop == config::OnStop::Release,
        metrics: options.config.metrics,
    };
    let config = Arc::new(options.config.clone());
    reread::remember(&options.texts, &config);
    let mut estimates = Estimates::default();
    estimates.take_over(&state, &rooms.plane);
    let actor = Actor {
        state,
        rooms,
        files: files.clone(),
        resolver: Some(resolver),
        about,
        wanted,
        is_wanted_new: false,
        waiting: Vec::new(),
        ticks: 0,
        is_behind: false,
        attach_failure: None,
        file: File::Current,
        written: Some(written),
        health,
        is_unhealthy: false,
        estimates,
        traces: None,
        reload: Reload::new(
            options.file.clone(),
            config,
            (generations, kept),
            outbox.clone(),
        ),
        suspicion: Suspicion::default(),
        changes: Changes::default(),
    };
    let (services, destinations) = (actor.state.services.len(), actor.state.destinations.len());
    let how = match adopted {
        true => "took over a running data plane",
        false => "with a new data plane",
    };
    let what = Occurrence::of(EventKind::DaemonStarted).because(how);
    events::emit(what.new(format!(
        "version {}, services: {services}, destinations: {destinations}",
        env!("CARGO_PKG_VERSION")
    )));
    Ok(Started {
        actor,
        inbox,
        outbox,
    })
}

/// Opens the data plane. One that is left without its table is begun anew: nobody knows any more
/// which destinations its connections mean.
fn open(
    pin_root: PinRoot,
    options: &Options,
    files: &Files,
) -> anyhow::Result<(plane::Kernel, bool)> {
    let with = dataplane::Options {
        instance: options.instance.clone(),
        connections_max: connections_max(options).into(),
        pin_root: pin_root.path().to_owned(),
    };
    let open = || dataplane::Dataplane::open(&with).context("opening the data plane");
    let (mut dataplane, mut opened) = open()?;
    if opened == dataplane::Opened::Adopted && !files.has_state() {
        warn!("a data plane without its table: it begins anew, its connections are lost");
        drop(dataplane);
        dataplane::Dataplane::release(pin_root.path(), &options.instance)?;
        (dataplane, opened) = open()?;
    }
    let plane = plane::Kernel {
        dataplane,
        instance: options.instance.clone(),
        pin_root,
    };
    Ok((plane, opened == dataplane::Opened::Adopted))
}

/// How many connections a fresh data plane remembers.
fn connections_max(options: &Options) -> ConnectionsMax {
    let suiting = || {
        let memory = nix::sys::sysinfo::sysinfo().map_or(0, |info| info.ram_total());
        ConnectionsMax::suiting(memory)
    };
    options.config.connections_max.unwrap_or_else(suiting)
}

/// Attaches to the interfaces of the configuration, and lets go of others.
fn attach(plane: &mut impl Plane, options: &Options) -> anyhow::Result<()> {
    let wanted: Vec<String> = options
        .config
        .interfaces
        .iter()
        .map(ToString::to_string)
        .collect();
    for name in &wanted {
        let mode = plane
            .attach(name, options.config.require_native)
            .with_context(|| format!("attaching to {name}"))?;
        tell_attached(name, mode);
    }
    for (name, index, _) in plane.attached() {
        if !wanted.contains(&name) {
            match plane.detach(index) {
                Ok(()) => {
                    let what = Occurrence::of(EventKind::InterfaceDetached).interface(&name);
                    events::emit(what.because("the configuration names it no more"));
                }
                Err(error) => warn!(interface = name, %error, "cannot be detached"),
            }
        }
    }
    Ok(())
}

/// What an earlier daemon wrote, as far as it holds for this data plane and this network.
fn left_behind(files: &Files, adopted: bool) -> anyhow::Result<Saved> {
    let loaded = files.load();
    let mut saved = if adopted {
        loaded?
    } else {
        loaded.unwrap_or_else(|error| {
            warn!(error = crate::chain(&error), "what was left is not used");
            None
        })
    }
    .unwrap_or(Saved {
        version: Saved::VERSION,
        state: State::default(),
        pending: Plan::default(),
    });
    if !adopted {
        // The maps are gone, but addresses we added may still be on the host.
        saved.pending = Plan::default();
        let old = std::mem::take(&mut saved.state);
        saved.state.network = old.network;
        saved.state.vips = old.vips;
    }
    let network = this_network()?;
    if saved.state.network != network {
        if adopted {
            warn!("taken over from another network namespace: real servers are looked for anew");
        }
        saved.state.network = network;
        saved.state.vips.clear();
        saved.state.egress.clear();
        for address in saved.state.real_servers() {
            saved.state.links.insert(address, Link::unknown());
        }
    }
    Ok(saved)
}

fn this_network() -> anyhow::Result<u64> {
    let found = std::fs::metadata("/proc/thread-self/ns/net");
    Ok(found.context("looking at our network namespace")?.ino())
}

/// The state to reach: what was left, where it stands now, and the configuration.
fn next_state(
    left: &State,
    options: &Options,
    health: &Health,
    plane: &impl Plane,
    host: &impl Host,
) -> Result<State, Error> {
    let mut state = left.clone();
    let mut events = vec![Event::Resume];
    events.extend(interfaces(options)?);
    let mut desired = Desired::from(&options.config);
    health.filter(&mut desired);
    events.push(Event::Config(desired));
    for event in events {
        let observed = observe(&state, &event, plane, host)?;
        let is_config = matches!(event, Event::Config(_));
        control::step(&mut state, event, &observed).map_err(Error::Config)?;
        // Where nothing was before, that all is new is said in one line.
        if is_config && !left.services.is_empty() {
            let different = difference(&state, Author::File).into_iter();
            different.for_each(events::emit);
        }
    }
    Ok(state)
}

/// What a step must know.
fn observe(
    state: &State,
    event: &Event,
    plane: &impl Plane,
    host: &impl Host,
) -> anyhow::Result<Observed> {
    let questions = state.questions(event);
    let renewed = questions.picks.iter().copied();
    Ok(Observed {
        renewed: renewed.filter(|id| plane.is_renewed(*id)).collect(),
        picks: questions
            .picks
            .into_iter()
            .map(|id| (id, plane.picks(id)))
            .collect(),
        stats: questions
            .stats
            .into_iter()
            .map(|id| (id, plane.stats(id)))
            .collect(),
        addresses: host.addresses()?,
        ..Observed::default()
    })
}

/// Interfaces of the configuration first: the data plane looks for the arrival interface's slot
/// in order.
fn interfaces(options: &Options) -> anyhow::Result<Vec<Event>> {
    let netlink = netlink::Netlink::open()?;
    let names = options.config.interfaces.iter().map(ToString::to_string);
    names
        .map(|name| {
            let link = netlink.link(&name)?;
            Ok(Event::Interface {
                index: link.index,
                name,
                mac: link.mac,
            })
        })
        .collect()
}

fn spawn_resolver(outbox: &SyncSender<Message>) -> anyhow::Result<resolver::Handle> {
    let outbox = outbox.clone();
    resolver::spawn(move |notice| outbox.send(Message::Network(notice)).is_ok())
}

/// Takes what the resolver says into the state, until every real server was heard of or the time
/// is over: traffic is taken only then.
fn hear_first_answers(state: &mut State, health: &mut Health, inbox: &Receiver<Message>) {
    let until = Instant::now() + limits::START_WAIT;
    while state.links.values().any(|link| *link == Link::unknown()) && Instant::now() < until {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(message) = inbox.recv_timeout(left) else {
            break;
        };
        hear(message, state, health);
    }
}

/// Takes into the state what the network says.
fn hear(message: Message, state: &mut State, health: &mut Health) {
    let event = match message {
        Message::Network(resolver::Notice::Links(links)) => {
            health.heard(&links);
            Event::Links(links)
        }
        Message::Network(resolver::Notice::Interface { index, name, mac }) => {
            Event::Interface { index, name, mac }
        }
        Message::Network(resolver::Notice::InterfaceGone { index }) => {
            Event::InterfaceGone { index }
        }
        // Addresses are put on after this, and looked after from then on.
        _ => return,
    };
    if let Err(refusal) = control::step(state, event, &Observed::default()) {
        warn!(%refusal, "a real server cannot be used");
    }
}

/// The file may have changed while no daemon ran, so that it leaves a service to servers that nobody has checked
/// yet, and so to nobody. As when it is applied, they are checked first; what was left serves meanwhile.
fn hear_first_checks(
    left: &State,
    state: &mut State,
    health: &mut Health,
    inbox: &Receiver<Message>,
    (plane, host): (&impl Plane, &impl Host),
) -> anyhow::Result<()> {
    let until = Instant::now() + limits::CHECK_WAIT;
    while is_emptied(left, state, health) {
        let remaining = until.saturating_duration_since(Instant::now());
        let Ok(message) = inbox.recv_timeout(remaining) else {
            break;
        };
        let Message::Health(news) = message else {
            hear(message, state, health);
            continue;
        };
        health.tell(&news);
        let different = health.take(&news);
        let services = different.iter().filter_map(|key| health.allowed(key));
        let event = Event::Services(services.collect());
        let mut observed = observe(state, &event, plane, host)?;
        observed.links = health.reports(&event, state);
        if let Err(refusal) = control::step(state, event, &observed) {
            warn!(%refusal, "the health of real servers cannot be followed");
        }
    }
    Ok(())
}

/// Whether a service that has somebody is left to those who are not checked yet.
fn is_emptied(left: &State, state: &State, health: &Health) -> bool {
    let mut unchecked = health.unchecked();
    unchecked.any(|key| left.serves(key) && !state.serves(key))
}

/// What an earlier daemon believed; and that those are well which it gave clients without checking them. It may have
/// died on its way to a configuration that checks them, and its clients shall lose nobody by that.
fn believed(mut believed: Believed, left: &State) -> Believed {
    let known: BTreeSet<_> = believed
        .iter()
        .map(|(key, server, _)| (*key, *server))
        .collect();
    let listed = left.destinations.values();
    let listed = listed.map(|one| (one.service, one.address.ip()));
    let unchecked = listed.filter(|one| !known.contains(one));
    believed.extend(unchecked.map(|(key, server)| (key, server, true)));
    believed
}

/// How real servers are reached, where that is news.
fn tell_links(left: &State, state: &State) {
    for (address, link) in &state.links {
        let old = left.links.get(address);
        if old == Some(link) {
            continue;
        }
        let of = |kind| Occurrence::of(kind).server(*address);
        events::emit(match link {
            Link::Unresolved { reason } => of(EventKind::ServerUnresolved).because(reason),
            Link::Local => of(EventKind::ServerLocal),
            Link::Via { mac, slot } => {
                let mut what = of(EventKind::ServerResolved).new(netlink::mac_text(mac));
                what.interface = state.egress.get(slot).map(|egress| egress.name.clone());
                what.old = match old {
                    Some(Link::Via { mac, .. }) => Some(netlink::mac_text(mac)),
                    _ => None,
                };
                what
            }
        });
    }
}
