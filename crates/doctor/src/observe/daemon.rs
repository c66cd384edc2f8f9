//! What is known of the segment beforehand: of the options, and of the daemon if one answers.

use std::path::Path;

use api::{Client, LinkState};

use super::tidy;
use crate::facts::{Daemon, Destination, Host, Key, Segment, Service};
use crate::finding::quoted;
use crate::{Options, Role};

pub(super) fn segment(options: &Options) -> Segment {
    let mut segment = Segment {
        vips: options.vips.clone(),
        services: options.services.clone(),
        servers: options.servers.clone(),
        directors: options.directors.clone(),
        daemon_start: start(options),
        ..Segment::default()
    };
    if let Err(error) = ask(&mut segment, &options.instance)
        && options.role == Role::Director
    {
        segment.daemon_silent = Some(error.to_string());
    }
    tidy(&mut segment);
    segment
}

/// The services' addresses are virtual ones. Of a firewall mark only where this host holds it: packets with a mark
/// may as well come by a route, and then nobody answers for their addresses.
pub(super) fn add_vips(segment: &mut Segment, host: &Host, role: Role) {
    let held = |address| role == Role::Realserver || host.holders(address).next().is_some();
    let of_services = segment.services.iter().filter_map(|service| {
        let address = service.key.address.ip();
        (service.key.mark.is_none() || held(address)).then_some(address)
    });
    segment.vips.extend(of_services.collect::<Vec<_>>());
    tidy(segment);
}

fn ask(segment: &mut Segment, instance: &str) -> Result<(), api::ClientError> {
    let client = Client::new(instance);
    let status = client.status()?;
    let marks = client.marks()?;
    for service in client.services()? {
        // Other methods than direct routing need neither a MAC nor a silent VIP.
        let routed = service.destinations.iter().filter(|one| {
            matches!(
                one.settings.forwarding,
                api::ForwardingMethod::DirectRouting
            )
        });
        let destinations: Vec<Destination> = routed.map(destination).collect();
        for key in Key::all_of(&service.service, &marks) {
            let known = segment.services.iter_mut().find(|known| known.key == key);
            let destinations = destinations.clone();
            match known {
                // The daemon's is what is so; a file says what should be.
                Some(known) => known.destinations = destinations,
                None => segment.services.push(Service { key, destinations }),
            }
        }
    }
    let interfaces = status.interfaces.into_iter();
    segment.daemon = Some(Daemon {
        command: command(status.pid),
        unit: unit(status.pid),
        memory: memory(status.pid),
        here: is_here(status.pid),
        instance: status.instance,
        pid: status.pid,
        interfaces: interfaces
            .map(|interface| (interface.name, interface.mac, interface.mode))
            .collect(),
    });
    Ok(())
}

/// How a daemon is started here: by systemd, if it has the unit; as the one was that died; or by
/// hand.
fn start(options: &Options) -> String {
    const UNITS: [&str; 3] = [
        "/etc/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    ];
    let instance = &options.instance;
    let has_unit = UNITS
        .iter()
        .any(|place| Path::new(place).join("dirigo.service").exists());
    if has_unit && *instance == api::DEFAULT_INSTANCE {
        return "systemctl start dirigo".to_owned();
    }
    if let Some(command) = noted(instance).filter(|_| options.config.is_none()) {
        return command;
    }
    let config = match &options.config {
        Some(path) => format!(" -c {}", quoted(&path.display().to_string())),
        None => String::new(),
    };
    format!("setsid dirigo run{config} --instance {instance} >/dev/null 2>&1 </dev/null &")
}

/// What the last daemon noted in its lock file: process, folder, words.
fn noted(instance: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/run/dirigo/{instance}.lock")).ok()?;
    let mut lines = text.lines().skip(1);
    let folder = lines.next()?;
    let words: Vec<String> = serde_json::from_str(lines.next()?).ok()?;
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let words = words.join(" ");
    let named = words.contains("--instance");
    let instance = match named {
        true => String::new(),
        false => format!(" --instance {instance}"),
    };
    Some(format!(
        "cd {} && setsid {words}{instance} >/dev/null 2>&1 </dev/null &",
        quoted(folder)
    ))
}

fn destination(found: &api::Destination) -> Destination {
    Destination {
        address: found.destination,
        weight: found.settings.weight,
        local: matches!(found.link, LinkState::Local),
        mac: match &found.link {
            LinkState::Resolved { mac, .. } => Some(mac.clone()),
            _ => None,
        },
        unresolved: match &found.link {
            LinkState::Unresolved { reason } => Some(reason.clone()),
            _ => None,
        },
    }
}

fn command(pid: u32) -> Vec<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// `dirigo.service`, if systemd started it.
fn unit(pid: u32) -> Option<String> {
    let group = control_group(pid)?;
    let last = group.rsplit('/').next()?;
    last.ends_with(".service").then(|| last.to_owned())
}

fn control_group(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(line.to_owned())
}

/// Limit and use, where there is a limit.
fn memory(pid: u32) -> Option<(u64, u64)> {
    let group = control_group(pid)?;
    let place = Path::new("/sys/fs/cgroup").join(group.trim_start_matches('/'));
    let read = |name: &str| {
        let text = std::fs::read_to_string(place.join(name)).ok()?;
        text.trim().parse().ok()
    };
    Some((read("memory.max")?, read("memory.current")?))
}

fn is_here(pid: u32) -> bool {
    let theirs = std::fs::read_link(format!("/proc/{pid}/ns/net"));
    let own = std::fs::read_link("/proc/thread-self/ns/net");
    matches!((theirs, own), (Ok(theirs), Ok(own)) if theirs == own)
}
