//! The same at the next boot: a systemd unit that runs `up`, and a `sysctl.d` fragment that keeps
//! quiet from before the network is there.
//!
//! Both files are ours alone and are read back: the unit names the VIPs, and the fragment remembers
//! as comments what was found before it, because after a boot nobody else could know.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::plan::{Step, wanted};
use crate::state::State;
use crate::{Error, Key, Vip};

const UNIT: &str = "etc/systemd/system/dirigo-realserver.service";
const WANTED: &str = "etc/systemd/system/multi-user.target.wants/dirigo-realserver.service";
const FRAGMENT: &str = "etc/sysctl.d/90-dirigo-realserver.conf";
/// Begins a line of the fragment that says what was found.
const FOUND: &str = "# found: ";
/// Begins the line of the unit that names the VIPs.
const VIPS: &str = "# vips:";

/// Where the files for the next boot go.
#[derive(Clone, Debug)]
pub struct Persist {
    /// In front of every path; `/` but for tests and images.
    pub root: PathBuf,
    /// The program that the unit starts.
    pub binary: PathBuf,
}

impl Default for Persist {
    fn default() -> Self {
        let binary = std::env::current_exe();
        Self {
            root: PathBuf::from("/"),
            binary: binary.unwrap_or_else(|_| PathBuf::from("/usr/bin/dirigo")),
        }
    }
}

/// The steps that make the next boot know these VIPs too.
pub(crate) fn add(
    persist: &Persist,
    vips: &[Vip],
    state: &State,
    state_dir: &Path,
) -> Result<Vec<Step>, Error> {
    let mut all = known(persist)?;
    all.extend(vips);
    all.sort_unstable();
    all.dedup();
    let mut found = found_before_boot(persist)?;
    for (key, saved) in &state.settings {
        found.entry(key.clone()).or_insert(saved.found);
    }
    files(persist, &all, &found, state_dir)
}

/// The steps that make the next boot forget these VIPs, or all.
pub(crate) fn remove(
    persist: &Persist,
    vips: &[Vip],
    state_dir: &Path,
) -> Result<Vec<Step>, Error> {
    let mut left = known(persist)?;
    left.retain(|vip| !vips.is_empty() && !vips.contains(vip));
    files(persist, &left, &found_before_boot(persist)?, state_dir)
}

/// What to tell the user.
pub(crate) fn reload_note(persist: &Persist) -> String {
    let unit = persist.root.join(UNIT);
    format!(
        "{} changed: systemctl daemon-reload makes systemd read it",
        unit.display()
    )
}

/// What the fragment says was there before it first took effect.
pub(crate) fn found_before_boot(persist: &Persist) -> Result<BTreeMap<Key, i32>, Error> {
    let text = read(&persist.root.join(FRAGMENT))?.unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.strip_prefix(FOUND));
    Ok(lines
        .filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            Some((key.parse().ok()?, value.parse().ok()?))
        })
        .collect())
}

/// The VIPs of the unit.
fn known(persist: &Persist) -> Result<Vec<Vip>, Error> {
    let text = read(&persist.root.join(UNIT))?.unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(VIPS));
    let words = line.unwrap_or_default().split_whitespace();
    Ok(words.filter_map(|word| word.parse().ok()).collect())
}

/// Three steps at most: unit, its place in the boot, fragment; each only if something changes.
fn files(
    persist: &Persist,
    vips: &[Vip],
    found: &BTreeMap<Key, i32>,
    state_dir: &Path,
) -> Result<Vec<Step>, Error> {
    let unit = (!vips.is_empty()).then(|| unit(persist, vips, state_dir));
    let mut steps = Vec::new();
    steps.extend(file(persist.root.join(UNIT), unit)?);
    let link = persist.root.join(WANTED);
    let linked = fs::symlink_metadata(&link).is_ok();
    if linked == vips.is_empty() {
        steps.push(Step::Link {
            path: link,
            target: PathBuf::from("../dirigo-realserver.service"),
            make: !linked,
        });
    }
    let quiet = vips.iter().any(|vip| vip.address().is_ipv4()) && !found.is_empty();
    let fragment = quiet.then(|| fragment(found));
    steps.extend(file(persist.root.join(FRAGMENT), fragment)?);
    Ok(steps)
}

/// `up` runs with `--persist` at boot too: it changes no file then, and reads the fragment to know
/// what was there before.
fn unit(persist: &Persist, vips: &[Vip], state_dir: &Path) -> String {
    let binary = quoted(&persist.binary);
    let names: Vec<String> = vips.iter().map(Vip::to_string).collect();
    let mut options: String = names.iter().map(|vip| format!(" --vip {vip}")).collect();
    if state_dir != Path::new(crate::STATE_DIR) {
        options.push_str(&format!(" --state {}", quoted(state_dir)));
    }
    format!(
        "\
# Written by `dirigo realserver up --persist`, removed by `dirigo realserver down --persist`.
{VIPS} {}

[Unit]
Description=Real server of LVS direct routing: VIP on lo, ARP suppressed
Wants=network-pre.target
After=systemd-sysctl.service network-pre.target
Before=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={binary} realserver up --persist{options}
ExecStop={binary} realserver down{options}

[Install]
WantedBy=multi-user.target
",
        names.join(" ")
    )
}

/// Only what `up` had to set: where somebody else is stricter, their own fragment stays the last
/// word.
fn fragment(found: &BTreeMap<Key, i32>) -> String {
    let mut text = String::from(
        "\
# Written by `dirigo realserver up --persist`, removed by `dirigo realserver down --persist`.
# Real servers of LVS direct routing hold the VIP on lo and must not answer ARP for it
# (arp_ignore), nor name it as the sender of their own ARP requests (arp_announce).
",
    );
    for key in found.keys() {
        let (name, value) = (key.sysctl_name(), wanted(key.setting));
        text.push_str(&format!("{name} = {value}\n"));
    }
    for (key, value) in found {
        text.push_str(&format!("{FOUND}{key}={value}\n"));
    }
    text
}

/// A path as one word of a unit's command line. Source: systemd.service(5), "Command lines".
fn quoted(path: &Path) -> String {
    let mut text = String::from("\"");
    for character in path.display().to_string().chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '%' | '$' => text.extend([character, character]),
            _ => text.push(character),
        }
    }
    text.push('"');
    text
}

fn file(path: PathBuf, to: Option<String>) -> Result<Option<Step>, Error> {
    let from = read(&path)?;
    Ok((from != to).then_some(Step::File { path, from, to }))
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::file("reading", path)(source)),
    }
}
