//! What the machine held before the run, and whether the run added to it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::report::Outcome;
use crate::tools;

/// Folders in which tests and labs make entries.
const FOLDERS: [&str; 4] = [
    "/run/netns",
    "/sys/class/net",
    "/sys/fs/bpf/dirigo",
    "/run/dirigo",
];

/// Programs that tests and labs start.
const PROGRAMS: [&str; 4] = ["dirigo", "nginx", "wrk", "tcpdump"];

/// Entries of the folders and processes of the programs.
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Looks.
    pub fn take() -> Result<Self> {
        let mut seen = processes()?;
        for folder in FOLDERS.iter().filter(|folder| may_exist(folder)) {
            seen.extend(entries(folder));
        }
        Ok(Self(seen))
    }

    /// What is there now and was not `before`.
    fn since(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

/// Paths in a folder; one that is not there, or vanished meanwhile, holds nothing.
fn entries(folder: &str) -> Vec<String> {
    // bpffs opens to root alone.
    let listed =
        tools::output(tools::as_root("find").args([folder, "-mindepth", "1", "-maxdepth", "1"]));
    let listed = listed.unwrap_or_default();
    listed.lines().map(str::to_owned).collect()
}

/// Takes away the pins and files of tests that were killed: those whose name has the number of a process that is gone.
pub fn sweep() {
    for folder in ["/sys/fs/bpf/dirigo", "/run/dirigo"] {
        for path in entries(folder) {
            let name = path.rsplit('/').next().unwrap_or_default();
            let is_gone = |pid| !Path::new(&format!("/proc/{pid}")).exists();
            if test_of(name).is_some_and(is_gone) {
                println!("left by a test that was killed, taken away: {path}");
                let _stays = tools::as_root("rm").args(["-rf", "--", &path]).status();
            }
        }
    }
}

/// The process of the test whose entry has this name, as `daemon-test-27866-0.lock`.
fn test_of(name: &str) -> Option<u32> {
    let stem = name.split('.').next()?;
    let is_of_a_test = stem.starts_with("test-") || stem.contains("-test-");
    let mut parts = stem.rsplit('-');
    let last = parts.next()?.parse().ok();
    let before = parts.next()?.parse().ok();
    before.or(last).filter(|_| is_of_a_test && last.is_some())
}

/// Compares with what stood before. Gives processes that are just ending a moment to do so.
pub fn compare(before: &Snapshot) -> Result<Outcome> {
    const LOOKS: usize = 30;
    let mut left = Vec::new();
    for _ in 0..LOOKS {
        left = Snapshot::take()?.since(before);
        if left.is_empty() {
            return Ok(Outcome::Passed(
                "no namespace, link, pin, socket or process is left".into(),
            ));
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    Ok(Outcome::Failed(format!(
        "the run left: {}",
        left.join(", ")
    )))
}

/// Whether `folder` is worth asking for: everything below bpffs is hidden from a user.
fn may_exist(folder: &str) -> bool {
    folder.starts_with("/sys/fs/bpf") || Path::new(folder).exists()
}

fn processes() -> Result<BTreeSet<String>> {
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").context("reading /proc")? {
        let pid = entry.context("reading /proc")?.file_name();
        let Some(pid) = pid
            .to_str()
            .filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
        else {
            continue;
        };
        // A process may end between the listing and this look.
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if PROGRAMS.contains(&name.trim()) {
            seen.insert(format!("process {pid} ({})", name.trim()));
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_tests_name_a_process() {
        assert_eq!(test_of("daemon-test-27866-0.state.json"), Some(27_866));
        assert_eq!(test_of("test-stories-12-3"), Some(12));
        assert_eq!(test_of("large-test-77.lock"), Some(77));
        for other in [
            "default.lock",
            "lab-doc",
            "lab-7-1",
            "test",
            "my-test-a",
            "web-1-2",
        ] {
            assert_eq!(test_of(other), None, "{other}");
        }
    }

    #[test]
    fn what_stood_before_is_not_a_leftover_and_what_came_since_is() {
        let now = Snapshot::take().unwrap();
        let loopback = "/sys/class/net/lo".to_owned();
        assert!(now.0.contains(&loopback));

        let mut before = now.0.clone();
        before.remove(&loopback);
        assert_eq!(now.since(&Snapshot(before)), [loopback]);
        assert!(now.since(&now).is_empty());
    }
}
