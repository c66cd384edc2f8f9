//! What to do about the facts, as data: printed by `--dry-run`, tested, carried out, undone.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Serialize;

use crate::observe::{Facts, Held, Place};
use crate::state::{self, Saved, State};
use crate::sysctl::{ALL, LO, hides_vip, keeps_vip_out};
use crate::{Error, Key, Options, Setting, Vip, persist};

/// One change. Each can be undone by its reverse, which is a step again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Sets a setting.
    Set {
        /// Which.
        key: Key,
        /// From this value,
        from: i32,
        /// to this one.
        to: i32,
    },
    /// Switches `lo` on. Never undone: others may have come to need it.
    SwitchLoOn,
    /// Adds an address to `lo`.
    AddAddress {
        /// The address.
        address: IpAddr,
        /// Its prefix.
        prefix: u8,
    },
    /// Removes an address from `lo`.
    RemoveAddress {
        /// The address.
        address: IpAddr,
        /// Its prefix.
        prefix: u8,
    },
    /// Writes a file, or removes it.
    File {
        /// Which.
        path: PathBuf,
        /// What it holds now, if it is there,
        #[serde(skip)]
        from: Option<String>,
        /// and what it shall hold, if it shall be there.
        #[serde(rename = "present", serialize_with = "is_some")]
        to: Option<String>,
    },
    /// Makes a symbolic link, or removes it.
    Link {
        /// Which.
        path: PathBuf,
        /// Where it points.
        target: PathBuf,
        /// It shall be there.
        make: bool,
    },
}

/// The steps, planned or done, and what the user should know beside them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// In order. None means that everything already was as it should be.
    pub steps: Vec<Step>,
    /// Sentences.
    pub notes: Vec<String>,
}

/// A file's text is no news to a program; whether it shall be there is.
fn is_some<S: serde::Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(text.is_some())
}

impl Step {
    /// What takes this step back, if anything does.
    #[must_use]
    pub fn reverse(&self) -> Option<Self> {
        Some(match self.clone() {
            Self::Set { key, from, to } => Self::Set {
                key,
                from: to,
                to: from,
            },
            Self::SwitchLoOn => return None,
            Self::AddAddress { address, prefix } => Self::RemoveAddress { address, prefix },
            Self::RemoveAddress { address, prefix } => Self::AddAddress { address, prefix },
            Self::File { path, from, to } => Self::File {
                path,
                from: to,
                to: from,
            },
            Self::Link { path, target, make } => Self::Link {
                path,
                target,
                make: !make,
            },
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { key, from, to } => write!(f, "{}: {from} -> {to}", key.sysctl_name()),
            Self::SwitchLoOn => f.write_str("switch lo on"),
            Self::AddAddress { address, prefix } => write!(f, "add {address}/{prefix} to lo"),
            Self::RemoveAddress { address, prefix } => {
                write!(f, "remove {address}/{prefix} from lo")
            }
            Self::File { path, to: None, .. } => write!(f, "remove {}", path.display()),
            Self::File { path, .. } => write!(f, "write {}", path.display()),
            Self::Link {
                path,
                target,
                make: true,
            } => {
                write!(f, "link {} to {}", path.display(), target.display())
            }
            Self::Link { path, .. } => write!(f, "remove the link {}", path.display()),
        }
    }
}

/// Plans `up`: remember, keep quiet, then hold the VIP.
pub(crate) fn up(facts: &Facts, state: Option<State>, options: &Options) -> Result<Outcome, Error> {
    if options.vips.is_empty() {
        return Err(Error::NoVip);
    }
    refuse_real_interfaces(facts, &options.vips)?;
    let before = state.as_ref().map(State::text);
    let mut state = match state {
        Some(state) => state,
        None => State::fresh()?,
    };
    for vip in &options.vips {
        let found = on_lo(facts, *vip).map(|held| held.prefix).collect();
        state.vips.entry(vip.address()).or_insert(found);
    }
    let quiet = match state.needs_arp() {
        true => suppress(facts, &mut state, options)?,
        false => Vec::new(),
    };
    let mut steps = remember(options, before, Some(state.text()));
    steps.extend(quiet);
    if !facts.lo_up {
        steps.push(Step::SwitchLoOn);
    }
    for vip in &options.vips {
        steps.extend(hold(facts, *vip));
    }
    let mut outcome = Outcome {
        steps,
        notes: Vec::new(),
    };
    if let Some(persist) = &options.persist {
        let files = persist::add(persist, &options.vips, &state, &options.state_dir)?;
        add_files(persist, files, &mut outcome);
    }
    Ok(outcome)
}

/// Plans `down`: let go of the VIP, then restore, then forget.
pub(crate) fn down(
    facts: &Facts,
    state: Option<State>,
    options: &Options,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    let before = state.as_ref().map(State::text);
    let known = state.iter().flat_map(|state| state.vips.keys().copied());
    let vips: Vec<IpAddr> = match options.vips.as_slice() {
        [] => known.collect(),
        named => named.iter().map(|vip| vip.address()).collect(),
    };
    if let Some(mut state) = state {
        for vip in &vips {
            match state.vips.remove(vip) {
                Some(found) => release(facts, *vip, &found, &mut outcome),
                None => outcome.notes.push(not_ours(facts, *vip)),
            }
        }
        if !state.needs_arp() {
            restore(facts, &mut state, &mut outcome);
        }
        let after = (!state.vips.is_empty()).then(|| state.text());
        outcome.steps.extend(remember(options, before, after));
    } else {
        let notes = vips.iter().map(|vip| not_ours(facts, *vip));
        outcome.notes.extend(notes);
    }
    if let Some(persist) = &options.persist {
        let files = persist::remove(persist, &options.vips, &options.state_dir)?;
        add_files(persist, files, &mut outcome);
    }
    Ok(outcome)
}

fn add_files(persist: &persist::Persist, files: Vec<Step>, outcome: &mut Outcome) {
    if !files.is_empty() {
        outcome.notes.push(persist::reload_note(persist));
    }
    outcome.steps.extend(files);
}

/// The director's own situation must not be mistaken for a real server's.
fn refuse_real_interfaces(facts: &Facts, vips: &[Vip]) -> Result<(), Error> {
    for vip in vips {
        let real = facts
            .holders(vip.address())
            .find(|held| held.place == Place::Real);
        if let Some(held) = real {
            return Err(Error::OnRealInterface {
                vip: *vip,
                interface: held.interface.clone(),
                prefix: held.prefix,
            });
        }
    }
    Ok(())
}

/// The settings that need changing, noted in the state with what was found.
fn suppress(facts: &Facts, state: &mut State, options: &Options) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    for setting in [Setting::ArpIgnore, Setting::ArpAnnounce] {
        for name in needing_change(facts, setting) {
            let key = Key::new(name, setting);
            let (from, to) = (facts.setting(name, setting), wanted(setting));
            let saved = Saved {
                found: from,
                set: to,
            };
            state.settings.entry(key.clone()).or_insert(saved);
            steps.push(Step::Set { key, from, to });
        }
    }
    let Some(persist) = &options.persist else {
        return Ok(steps);
    };
    // Set at boot by our own fragment: what was there before it is what `down` restores.
    for (key, found) in persist::found_before_boot(persist)? {
        let set = wanted(key.setting);
        if facts.settings.get(&key) == Some(&set) {
            state.settings.entry(key).or_insert(Saved { found, set });
        }
    }
    Ok(steps)
}

/// `all` and `lo` where their value does not do; and interfaces whose own value, being larger,
/// would win over that of `all` and does not do either.
fn needing_change(facts: &Facts, setting: Setting) -> Vec<&str> {
    let does = |value| match setting {
        // The VIP is about to be added with global scope.
        Setting::ArpIgnore => hides_vip(value, false),
        Setting::ArpAnnounce => keeps_vip_out(value),
        Setting::RpFilter => true,
    };
    let mut names: Vec<&str> = [ALL, LO]
        .into_iter()
        .filter(|name| !does(facts.setting(name, setting)))
        .collect();
    let all = match names.first() {
        Some(&ALL) => wanted(setting),
        _ => facts.setting(ALL, setting),
    };
    for interface in &facts.interfaces {
        if !does(all.max(facts.setting(&interface.name, setting))) {
            names.push(&interface.name);
        }
    }
    names
}

/// What is set where the value found does not do.
pub(crate) fn wanted(setting: Setting) -> i32 {
    match setting {
        Setting::ArpIgnore => 1,
        Setting::ArpAnnounce => 2,
        // Never set here; 0 is the kernel's default.
        Setting::RpFilter => 0,
    }
}

/// The VIP as itself alone on `lo`, in use.
fn hold(facts: &Facts, vip: Vip) -> Vec<Step> {
    let (address, prefix) = (vip.address(), vip.prefix());
    let mut steps = Vec::new();
    let right = on_lo(facts, vip).find(|held| held.prefix == prefix);
    match right {
        Some(held) if held.dad_failed || (held.tentative && facts.lo_up) => {
            steps.push(Step::RemoveAddress { address, prefix });
            steps.push(Step::AddAddress { address, prefix });
        }
        Some(_) => {}
        None => steps.push(Step::AddAddress { address, prefix }),
    }
    // The right one first: between the two the VIP would be nobody's.
    for wrong in on_lo(facts, vip).filter(|held| held.prefix != prefix) {
        let prefix = wrong.prefix;
        steps.push(Step::RemoveAddress { address, prefix });
    }
    steps
}

fn on_lo(facts: &Facts, vip: Vip) -> impl Iterator<Item = &Held> {
    let holders = facts.holders(vip.address());
    holders.filter(|held| held.place == Place::Loopback)
}

/// Puts `lo` back to how the VIP stood on it before.
fn release(facts: &Facts, address: IpAddr, found: &[u8], outcome: &mut Outcome) {
    let now: Vec<u8> = facts
        .holders(address)
        .filter(|held| held.place == Place::Loopback)
        .map(|held| held.prefix)
        .collect();
    for prefix in found.iter().copied().filter(|prefix| !now.contains(prefix)) {
        outcome.steps.push(Step::AddAddress { address, prefix });
    }
    let ours = netlink::host_prefix(&address);
    if now.contains(&ours) && !found.contains(&ours) {
        let prefix = ours;
        outcome.steps.push(Step::RemoveAddress { address, prefix });
    }
    if !found.is_empty() {
        outcome.notes.push(format!(
            "{address} was on lo before `up` and stays there; to remove it: {}",
            removal(address, found)
        ));
    }
}

fn removal(address: IpAddr, prefixes: &[u8]) -> String {
    let commands: Vec<String> = prefixes
        .iter()
        .map(|prefix| format!("ip address del {address}/{prefix} dev lo"))
        .collect();
    commands.join("; ")
}

fn not_ours(facts: &Facts, address: IpAddr) -> String {
    let on_lo: Vec<u8> = facts
        .holders(address)
        .filter(|held| held.place == Place::Loopback)
        .map(|held| held.prefix)
        .collect();
    if on_lo.is_empty() {
        return format!("{address} is not on lo: nothing to take down");
    }
    format!(
        "{address} is on lo, but not by `dirigo realserver up`, and stays there; to remove it: {}",
        removal(address, &on_lo)
    )
}

/// Puts back what was found, where nobody has set something else since.
fn restore(facts: &Facts, state: &mut State, outcome: &mut Outcome) {
    for (key, saved) in std::mem::take(&mut state.settings) {
        match facts.settings.get(&key).copied() {
            Some(now) if now == saved.found => {}
            Some(now) if now == saved.set => outcome.steps.push(Step::Set {
                key,
                from: now,
                to: saved.found,
            }),
            Some(now) => outcome.notes.push(format!(
                "{key} is {now} now; `up` had set it to {}, so somebody else changed it and it stays",
                saved.set
            )),
            None => {}
        }
    }
}

/// The state's file, if its text changes.
fn remember(options: &Options, from: Option<String>, to: Option<String>) -> Vec<Step> {
    if from == to {
        return Vec::new();
    }
    let path = state::path(&options.state_dir);
    vec![Step::File { path, from, to }]
}

#[cfg(test)]
mod tests;
