//! The configurations that were followed, so that the way back is there when it is needed.
//!
//! ```text
//! /run/dirigo/<instance>.generations/7/   about.json, dirigo.toml, conf.d/*.toml
//! ```
//!
//! A generation is on disk before its step, and gone again if the step fails. What it holds are the files
//! as they were read: they can be read by people, and compared. They go with the table: after a reboot the
//! file says what shall be, and its history is its keeper's.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use api::{Generation, GenerationOrigin};
use config::File;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::limits;

/// The name of the main file in a generation, whatever its name was.
const MAIN: &str = "dirigo.toml";

/// All that are kept of an instance.
#[derive(Clone, Debug)]
pub(crate) struct Generations {
    folder: PathBuf,
}

/// What is kept of a generation beside its files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// What the API shows.
    #[serde(flatten)]
    pub(crate) generation: Generation,
    /// When it began, in seconds since 1970.
    pub(crate) at_s: u64,
    /// Of its files.
    pub(crate) digest: String,
    /// Of the daemon's own file when it was gone back from: that is not followed again by itself.
    #[serde(default)]
    pub(crate) passed_over: Option<String>,
}

impl Generations {
    pub(crate) fn within(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Keeps a generation that is about to begin.
    pub(crate) fn keep(&self, about: &Kept, files: &[File]) -> anyhow::Result<()> {
        let number = about.generation.number;
        let write = || -> anyhow::Result<()> {
            let beside = self.folder.join("new");
            remove(&beside)?;
            std::fs::create_dir_all(beside.join(config::PIECES))?;
            for (position, file) in files.iter().enumerate() {
                let name = Path::new(&file.name).file_name().unwrap_or_default();
                let path = match position {
                    0 => beside.join(MAIN),
                    _ => beside.join(config::PIECES).join(name),
                };
                std::fs::write(path, &file.bytes)?;
            }
            std::fs::write(beside.join("about.json"), serde_json::to_vec(about)?)?;
            remove(&self.path(number))?;
            Ok(std::fs::rename(&beside, self.path(number))?)
        };
        write().with_context(|| format!("keeping generation {number} in {}", self.folder.display()))
    }

    /// Forgets one that did not begin, or those that are too old.
    pub(crate) fn forget(&self, number: u64) {
        if let Err(error) = remove(&self.path(number)) {
            tracing::warn!(number, %error, "a generation could not be forgotten");
        }
    }

    /// Forgets all of them.
    pub(crate) fn forget_all(&self) -> anyhow::Result<()> {
        remove(&self.folder).with_context(|| format!("removing {}", self.folder.display()))
    }

    /// Forgets what lies too far back, and what never began.
    pub(crate) fn prune(&self, present: u64) {
        let numbers: Vec<u64> = self.numbers();
        let kept = numbers.iter().filter(|number| **number <= present);
        let surplus = kept.count().saturating_sub(limits::GENERATIONS);
        let unborn = numbers.iter().filter(|number| **number > present);
        for number in numbers.iter().take(surplus).chain(unborn) {
            self.forget(*number);
        }
    }

    /// Those that are kept, oldest first.
    pub(crate) fn all(&self) -> Vec<Kept> {
        let numbers = self.numbers().into_iter();
        numbers.filter_map(|number| self.about(number)).collect()
    }

    /// What is kept of one beside its files.
    pub(crate) fn about(&self, number: u64) -> Option<Kept> {
        let text = std::fs::read(self.path(number).join("about.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Its main file.
    pub(crate) fn file(&self, number: u64) -> PathBuf {
        self.path(number).join(MAIN)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(number.to_string())
    }

    fn numbers(&self) -> Vec<u64> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut numbers: Vec<u64> = names.filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    }
}

impl Kept {
    /// One that begins now.
    pub(crate) fn new(
        number: u64,
        origin: GenerationOrigin,
        of: Option<u64>,
        files: &[File],
    ) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            generation: Generation {
                number,
                origin,
                of,
                file: files
                    .first()
                    .map(|file| file.name.clone().into())
                    .unwrap_or_default(),
                age_s: 0,
            },
            at_s: since.map_or(0, |since| since.as_secs()),
            digest: digest(files),
            passed_over: None,
        }
    }

    /// The same, read from `file`: what was gone back to is kept elsewhere than it came from.
    pub(crate) fn from(mut self, file: &Path) -> Self {
        self.generation.file = file.to_owned();
        self
    }

    /// Whether it is of these files.
    pub(crate) fn is_of(&self, files: &[File]) -> bool {
        self.digest == digest(files)
    }

    /// As the API shows it.
    pub(crate) fn shown(&self) -> Generation {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs());
        Generation {
            age_s: now.saturating_sub(self.at_s),
            ..self.generation.clone()
        }
    }
}

/// Of what files say and what they are called, wherever they are.
pub(crate) fn digest(files: &[File]) -> String {
    let mut hasher = Sha256::new();
    for (position, file) in files.iter().enumerate() {
        let name = Path::new(&file.name).file_name().unwrap_or_default();
        let name = if position == 0 {
            MAIN.as_bytes()
        } else {
            name.as_encoded_bytes()
        };
        for part in [name, &file.bytes] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
    }
    let bytes = hasher.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(main: &str) -> Vec<File> {
        let file = |name: &str, text: &str| File {
            name: name.to_owned(),
            bytes: text.as_bytes().to_vec(),
        };
        vec![
            file("/etc/dirigo/other.toml", main),
            file("/etc/dirigo/conf.d/a.toml", "# a"),
        ]
    }

    fn about(number: u64, text: &str) -> Kept {
        Kept::new(number, GenerationOrigin::Apply, None, &files(text))
    }

    #[test]
    fn a_generation_is_kept_with_all_its_files_and_the_oldest_go() {
        let folder = tempfile::tempdir().unwrap();
        let generations = Generations::within(folder.path().join("one.generations"));
        let count = limits::GENERATIONS as u64 + 2;
        for number in 1..=count {
            generations
                .keep(&about(number, "# main"), &files("# main"))
                .unwrap();
            generations.prune(number);
        }
        let kept: Vec<u64> = generations
            .all()
            .iter()
            .map(|one| one.generation.number)
            .collect();
        assert_eq!(kept, (3..=count).collect::<Vec<_>>());
        let read = config::read_files(&generations.file(count)).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1].bytes, b"# a");
        assert!(
            generations.about(count).unwrap().is_of(&read),
            "wherever it is"
        );
        assert!(!generations.about(count).unwrap().is_of(&files("# other")));
    }

    #[test]
    fn one_that_never_began_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let generations = Generations::within(folder.path().to_owned());
        for number in 1..=2 {
            generations
                .keep(&about(number, "# main"), &files("# main"))
                .unwrap();
        }
        generations.prune(1);
        assert_eq!(generations.numbers(), [1]);
    }
}
