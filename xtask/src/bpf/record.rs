//! `director.o.sources`: what the committed object was built from.
//!
//! ```text
//! # Written by `cargo xtask bpf`; a test compares it with the sources and the object.
//! sources 9f86d081…        SHA-256 over the sources, with their paths
//! object 2c26b46b…         SHA-256 of director.o
//! rustc rustc 1.95.0 (59807616e 2026-04-14)
//! bpf-linker bpf-linker 0.10.4
//! ```

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use sha2::{Digest as _, Sha256};

use super::toolchain::Toolchain;

/// Files the object is made from; of a folder, every `.rs` file below it.
const SOURCES: [&str; 5] = [
    "crates/director/Cargo.toml",
    "crates/director/src",
    "crates/director-xdp/Cargo.lock",
    "crates/director-xdp/Cargo.toml",
    "crates/director-xdp/src",
];

/// What the object was built from and with.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// SHA-256 over the sources.
    pub sources: String,
    /// SHA-256 of the object.
    pub object: String,
    /// `rustc --version`.
    pub rustc: String,
    /// `bpf-linker --version`.
    pub linker: String,
}

impl Record {
    /// The record of `object`, just built in `root`.
    pub fn of(root: &Path, object: &[u8], toolchain: &Toolchain) -> Result<Self> {
        Ok(Self {
            sources: hash_sources(root).context("hashing the BPF sources")?,
            object: hex(&Sha256::digest(object)),
            rustc: toolchain.rustc.clone(),
            linker: toolchain.linker.clone(),
        })
    }

    /// Reads the record beside `object`.
    pub fn read(object: &Path) -> Result<Self> {
        let path = path(object);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}; `cargo xtask bpf` writes it", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    /// Writes the record beside `object`.
    pub fn write(&self, object: &Path) -> Result<()> {
        let path = path(object);
        std::fs::write(&path, self.text()).with_context(|| format!("writing {}", path.display()))
    }

    fn text(&self) -> String {
        format!(
            "# Written by `cargo xtask bpf`; a test compares it with the sources and the object.\n\
             sources {}\nobject {}\nrustc {}\nbpf-linker {}\n",
            self.sources, self.object, self.rustc, self.linker
        )
    }

    fn parse(text: &str) -> Result<Self> {
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
                .map(str::to_owned)
                .ok_or_else(|| anyhow!("no line begins with {key:?}; run `cargo xtask bpf`"))
        };
        Ok(Self {
            sources: value("sources")?,
            object: value("object")?,
            rustc: value("rustc")?,
            linker: value("bpf-linker")?,
        })
    }
}

fn path(object: &Path) -> PathBuf {
    let mut name = object.as_os_str().to_owned();
    name.push(".sources");
    name.into()
}

/// SHA-256 over every source: its path from `root`, its length and its bytes, in path order.
fn hash_sources(root: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(root, Path::new(source), &mut files)?;
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let bytes = std::fs::read(root.join(&file))?;
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    Ok(hex(&hash.finalize()))
}

fn collect(root: &Path, path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let full = root.join(path);
    if !full.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    for entry in std::fs::read_dir(&full)? {
        let below = path.join(entry?.file_name());
        if root.join(&below).is_dir() || below.extension().is_some_and(|end| end == "rs") {
            collect(root, &below, files)?;
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const HOW: &str = "run `cargo xtask bpf` and commit both files";

    #[test]
    fn the_committed_object_was_built_from_these_sources() {
        let root = crate::tools::root();
        for (_, path) in super::super::OBJECTS {
            let object = root.join(path);
            let record = Record::read(&object).unwrap();

            let sources = hash_sources(&root).unwrap();
            assert_eq!(
                record.sources, sources,
                "{path}: the BPF sources changed: {HOW}"
            );
            let hash = hex(&Sha256::digest(fs::read(&object).unwrap()));
            assert_eq!(record.object, hash, "{path} changed: {HOW}");
        }
    }

    #[test]
    fn a_source_that_changes_moves_or_appears_changes_the_hash() {
        let tree = tempfile::tempdir().unwrap();
        for folder in ["crates/director/src/deep", "crates/director-xdp/src"] {
            fs::create_dir_all(tree.path().join(folder)).unwrap();
        }
        let write = |path: &str, text: &str| fs::write(tree.path().join(path), text).unwrap();
        for source in &SOURCES[..4] {
            if !source.ends_with("src") {
                write(source, "one");
            }
        }
        write("crates/director/src/deep/a.rs", "one");
        let hash = || hash_sources(tree.path()).unwrap();
        let first = hash();

        write("crates/director/src/deep/a.rs", "two");
        let changed = hash();
        fs::rename(
            tree.path().join("crates/director/src/deep/a.rs"),
            tree.path().join("crates/director/src/a.rs"),
        )
        .unwrap();
        let moved = hash();
        write("crates/director-xdp/src/main.rs", "");
        let appeared = hash();
        write("crates/director/src/notes.txt", "not a source");

        assert_ne!(first, changed);
        assert_ne!(changed, moved);
        assert_ne!(moved, appeared);
        assert_eq!(appeared, hash());
    }

    #[test]
    fn a_record_survives_its_text_form() {
        let record = Record {
            sources: "ab".into(),
            object: "cd".into(),
            rustc: "rustc 1.95.0 (59807616e 2026-04-14)".into(),
            linker: "bpf-linker 0.10.4".into(),
        };
        assert_eq!(Record::parse(&record.text()).unwrap(), record);
        assert!(Record::parse("sources ab\n").is_err());
    }
}
