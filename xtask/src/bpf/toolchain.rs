//! What builds the object: a rustc with its own library's sources, and bpf-linker.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, anyhow};

use super::record::Record;
use crate::tools;

/// The linker's release that borrows rustc's own LLVM; later ones want another one installed.
const LINKER: &str = "0.10.4";

/// A rustc, its library's sources and a linker.
pub struct Toolchain {
    /// `rustc --version`.
    pub rustc: String,
    /// `bpf-linker --version`.
    pub linker: String,
    /// Where rustc's own files lie.
    pub sysroot: PathBuf,
    /// The rustup toolchain to name, when it is not the active one.
    named: Option<String>,
}

impl Toolchain {
    /// The active toolchain, complete; or what is missing and how to get it.
    pub fn active() -> Result<Self> {
        Self::complete(None)
    }

    /// The toolchain that built `recorded` if it is installed, else the active one.
    pub fn matching(recorded: &Record) -> Result<Self> {
        let active = Self::active();
        if active
            .as_ref()
            .is_ok_and(|active| active.rustc == recorded.rustc)
        {
            return active;
        }
        match Self::complete(recorded.rustc.split(' ').nth(1).map(str::to_owned)) {
            Ok(named) if named.rustc == recorded.rustc => Ok(named),
            _ => active,
        }
    }

    /// What differs from the toolchain that built the committed object, if anything.
    pub fn differs_from(&self, recorded: &Record) -> Option<String> {
        let mut differences = Vec::new();
        if self.rustc != recorded.rustc {
            let release = recorded.rustc.split(' ').nth(1).unwrap_or("?");
            differences.push(format!(
                "the object was built by {}, here is {}: bytes of different compilers differ. \
                 To compare: rustup toolchain install {release} --component rust-src",
                recorded.rustc, self.rustc
            ));
        }
        if self.linker != recorded.linker {
            differences.push(format!(
                "the object was linked by {}, here is {}. To compare: {}",
                recorded.linker,
                self.linker,
                install_linker()
            ));
        }
        (!differences.is_empty()).then(|| differences.join("; "))
    }

    /// This toolchain's cargo, deaf to settings of the shell that would change the object.
    pub fn cargo(&self) -> Command {
        let mut cargo = named_command("cargo", self.named.as_deref());
        for (key, _) in std::env::vars_os() {
            let name = key.to_string_lossy();
            let changes = [
                "CARGO_PROFILE_",
                "CARGO_BUILD_",
                "CARGO_TARGET_",
                "RUSTC",
                "RUSTFLAGS",
            ]
            .iter()
            .any(|prefix| name.starts_with(prefix));
            if changes {
                cargo.env_remove(&key);
            }
        }
        cargo
    }

    fn complete(named: Option<String>) -> Result<Self> {
        let ask = |word| tools::output(named_command("rustc", named.as_deref()).args(word));
        let rustc = ask(&["--version"][..])?.trim().to_owned();
        let sysroot = PathBuf::from(ask(&["--print", "sysroot"][..])?.trim());
        let linker = tools::output(Command::new("bpf-linker").arg("--version"))
            .map_err(|_| anyhow!("bpf-linker is missing. To get it: {}", install_linker()))?;
        if !has_sources(&sysroot) {
            return Err(anyhow!(
                "the sources of {rustc} are missing in {}. To get them: rustup component add \
                 rust-src, or Debian's package rust-src of the same version, copied there",
                sysroot.display()
            ));
        }
        Ok(Self {
            rustc,
            linker: linker.trim().to_owned(),
            sysroot,
            named,
        })
    }
}

/// A command of a rustup toolchain: the active one's, or the named one's.
fn named_command(program: &str, named: Option<&str>) -> Command {
    let mut command = match (named, std::env::var_os("CARGO")) {
        (None, Some(cargo)) if program == "cargo" => Command::new(cargo),
        _ => Command::new(program),
    };
    if let Some(name) = named {
        // A missing toolchain is an answer here, not a wish to have it installed.
        command
            .env("RUSTUP_TOOLCHAIN", name)
            .env("RUSTUP_AUTO_INSTALL", "0");
    }
    command
}

fn has_sources(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib/src/rust/library/core/src/lib.rs")
        .is_file()
}

fn install_linker() -> String {
    format!("cargo install bpf-linker@{LINKER} --locked (about three minutes)")
}
