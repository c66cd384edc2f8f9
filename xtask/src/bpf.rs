//! `cargo xtask bpf`: from `crates/director-xdp` to the object that is committed.
//!
//! ```text
//! crates/director/src ─┐                                         ┌► director.o
//! crates/director-xdp ─┴► rustc ► bpf-linker ► strip (keep BTF) ─┤
//!                     └─────────► SHA-256 ───────────────────────┴► director.o.sources
//! ```
//!
//! The object is the same, byte for byte, wherever the tree, cargo's home and the toolchain lie:
//! `--remap-path-prefix` hides the three folders and [`wrapper`] takes them out of symbol names.
//! Two checks guard it. `--check` rebuilds and compares; a plain test of [`record`] compares
//! hashes and needs neither rust-src nor the linker.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::tools;
use record::Record;
use toolchain::Toolchain;

mod record;
mod strip;
mod toolchain;
pub mod wrapper;

/// Options of `cargo xtask bpf`.
#[derive(clap::Args)]
pub struct Args {
    /// Rebuild in a temporary folder and compare with the committed object
    #[arg(long)]
    check: bool,
}

/// The program that forwards.
pub const DIRECTOR: &str = "crates/dataplane/bpf/director.o";
/// The programs that `cargo xtask bench` measures it with.
pub const BENCH: &str = "xtask/bpf/bench.o";

/// The same, while somebody traces.
pub const TRACE: &str = "crates/dataplane/bpf/trace.o";

/// The committed objects: name of the binary, and where it lies.
pub const OBJECTS: [(&str, &str); 3] = [("director", DIRECTOR), ("bench", BENCH), ("trace", TRACE)];

/// What `--check` found.
pub enum Checked {
    /// The rebuilt object is the committed one.
    Same,
    /// It could not be rebuilt or compared here; why, and how to get what is missing.
    NotComparable(String),
}

/// Builds or checks the object.
pub fn main(args: &Args) -> Result<()> {
    if !args.check {
        return build();
    }
    match check()? {
        Checked::Same => {
            println!("the committed BPF objects are what their sources give");
            Ok(())
        }
        Checked::NotComparable(why) if tools::is_ci() => bail!("{why}"),
        Checked::NotComparable(why) => {
            eprintln!("NOT CHECKED: {why}");
            Ok(())
        }
    }
}

/// Rebuilds in a temporary folder and compares. An error means that the bytes differ or that the
/// program does not build.
pub fn check() -> Result<Checked> {
    let root = tools::root();
    let recorded = Record::read(&root.join(OBJECTS[0].1))?;
    let toolchain = match Toolchain::matching(&recorded) {
        Ok(toolchain) => toolchain,
        Err(missing) => return Ok(Checked::NotComparable(missing.to_string())),
    };
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let objects = compile(&root, &toolchain, folder.path(), &["--locked"])?;
    if let Some(difference) = toolchain.differs_from(&recorded) {
        return Ok(Checked::NotComparable(difference));
    }
    for (path, object) in &objects {
        let committed = read(&root.join(path))?;
        if *object != committed {
            bail!(
                "{path} is not what its sources give: committed {} bytes, rebuilt {} bytes. \
                 Run `cargo xtask bpf` and commit the result",
                committed.len(),
                object.len()
            );
        }
    }
    Ok(Checked::Same)
}

fn build() -> Result<()> {
    let root = tools::root();
    let toolchain = Toolchain::active()?;
    for (object_path, object) in compile(&root, &toolchain, &root.join("target/bpf"), &[])? {
        let path = root.join(object_path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("making {}", folder.display()))?;
        }
        std::fs::write(&path, &object).with_context(|| format!("writing {}", path.display()))?;
        Record::of(&root, &object, &toolchain)?.write(&path)?;
        println!("{object_path}: {} bytes", object.len());
    }
    Ok(())
}

/// Compiles, links and strips; returns each object with its place.
fn compile(
    root: &Path,
    toolchain: &Toolchain,
    target_dir: &Path,
    options: &[&str],
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let package = root.join("crates/director-xdp");
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(&package)
        .args(["build", "--release", "-Z", "build-std=core"])
        .args(["--target", "bpfel-unknown-none"])
        .args(options)
        .arg("--target-dir")
        .arg(target_dir)
        // Stable rustc, asked to accept `-Z build-std`: the target has no prebuilt core.
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            rustflags(root, toolchain).join("\x1f"),
        )
        .env(
            "RUSTC_WRAPPER",
            std::env::current_exe().context("finding xtask itself")?,
        )
        .env(wrapper::ASKED, "1");
    tools::run(&mut cargo)?;
    let folder = target_dir.join("bpfel-unknown-none/release");
    OBJECTS
        .iter()
        .map(|(name, path)| Ok((*path, strip::debug_sections(&read(&folder.join(name))?)?)))
        .collect()
}

fn rustflags(root: &Path, toolchain: &Toolchain) -> Vec<String> {
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    vec![
        "-Clinker=bpf-linker".into(),
        // BTF is made from debug information; the DWARF itself is stripped afterwards.
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        // v3: 32-bit ALU, atomics. Linux 5.12 and later.
        "-Ctarget-cpu=v3".into(),
        // Without it aya-ebpf would take the building machine's architecture.
        "--cfg=bpf_target_arch=\"x86_64\"".into(),
        // Later ones win, and the work tree may lie in the home folder that holds the others.
        remap(&toolchain.sysroot, "/toolchain"),
        remap(&cargo_home(), "/cargo"),
        remap(root, "/dirigo"),
    ]
}

fn cargo_home() -> PathBuf {
    std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    )
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}
