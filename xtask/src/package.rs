//! `cargo xtask package`: the Debian package, from a binary and the files in `packaging/`.
//!
//! ```text
//! cargo build ─► tree: binary, links, units, pages, completions, examples ─► dpkg-deb
//! ```
//!
//! `dpkg-deb` and `dpkg-shlibdeps` are on every Debian that can build at all; a packager of cargo's would first have
//! to be built itself, for longer than the whole product takes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::tools;

mod control;
mod man;
mod tree;

/// Options of `cargo xtask package`.
#[derive(clap::Args)]
pub struct Args {
    /// Profile of cargo's whose binary is packed
    #[arg(long, default_value = "release")]
    profile: String,
    /// Folder for the package
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Makes it and says where it is.
pub fn main(args: &Args) -> Result<()> {
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| tools::target_dir().join("debian"));
    let binary = build(&args.profile)?;
    let package = make(&binary, &out, "")?;
    println!("{}", package.display());
    Ok(())
}

/// Builds the binary.
pub fn build(profile: &str) -> Result<PathBuf> {
    let mut cargo = tools::cargo();
    cargo.args([
        "build",
        "--quiet",
        "--locked",
        "--bin",
        "dirigo",
        "--profile",
        profile,
    ]);
    tools::run(&mut cargo)?;
    // Cargo's name for the folder of `dev`.
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(tools::target_dir().join(folder).join("dirigo"))
}

/// Packs a binary; `suffix` comes behind the version.
pub fn make(binary: &Path, out: &Path, suffix: &str) -> Result<PathBuf> {
    for tool in ["dpkg-deb", "dpkg-shlibdeps", "strip", "gzip"] {
        if tools::find(tool).is_none() {
            bail!("{tool} is missing: apt install dpkg-dev binutils gzip");
        }
    }
    std::fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let stage = tempfile::tempdir_in(out).context("making a folder for the tree")?;
    let root = stage.path().join("root");
    let version = version(suffix)?;
    tree::make(binary, &root, &version)?;
    control::write(&root, stage.path(), &version)?;
    let architecture = control::architecture()?;
    let package = out.join(format!("dirigo_{version}_{architecture}.deb"));
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--root-owner-group", "-Zxz", "-z1", "--build"]);
    tools::output(pack.arg(&root).arg(&package))?;
    Ok(package)
}

/// The version on top of the package's changelog.
fn version(suffix: &str) -> Result<String> {
    let changelog = std::fs::read_to_string(files().join("deb/changelog"))?;
    let first = changelog.lines().next().unwrap_or_default();
    let version = first
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'))
        .map(|(version, _)| version.to_owned());
    let version = version.context("packaging/deb/changelog begins with no version")?;
    let ours = env!("CARGO_PKG_VERSION");
    if !version.starts_with(&format!("{ours}-")) {
        bail!("packaging/deb/changelog is about {version}, and Cargo.toml about {ours}");
    }
    Ok(version + suffix)
}

/// What is packed besides the binary.
fn files() -> PathBuf {
    tools::root().join("packaging")
}
