//! `cargo xtask load`: what this kernel's verifier says of the committed object.
//!
//! Loads every XDP program of it once, attaches none, pins nothing. `cargo xtask vm` runs it in
//! each guest; here it is the shortest way to a verifier log.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use aya::programs::{Program, Xdp};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};

use crate::{bpf, tools};

/// Options of `cargo xtask load`.
#[derive(clap::Args)]
pub struct Args {
    /// Other objects than the committed ones
    objects: Vec<PathBuf>,
}

/// Loads each object and prints one line for each program.
pub fn main(args: &Args) -> Result<()> {
    let committed = [bpf::DIRECTOR, bpf::TRACE].map(|path| tools::root().join(path));
    let objects = match args.objects.as_slice() {
        [] => committed.as_slice(),
        given => given,
    };
    objects.iter().try_for_each(load)
}

fn load(path: &PathBuf) -> Result<()> {
    // The same programs are in both.
    let set = match path.file_name() {
        Some(name) if name == "trace.o" => "watched ",
        _ => "",
    };
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let mut object = EbpfLoader::new()
        .verifier_log_level(VerifierLogLevel::STATS)
        .load(&bytes)
        .with_context(|| format!("making the maps of {}", path.display()))?;
    for line in load_all(&mut object)? {
        println!("{set}{line}");
    }
    Ok(())
}

fn load_all(object: &mut Ebpf) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (name, program) in object.programs_mut() {
        let Program::Xdp(program) = program else {
            bail!("{name} is not an XDP program");
        };
        // The error carries the verifier's log.
        program
            .load()
            .with_context(|| format!("the kernel refuses {name}"))?;
        lines.push(format!("{name}: {}", figures(program)?));
    }
    if lines.is_empty() {
        bail!("the object has no program");
    }
    lines.sort();
    Ok(lines)
}

fn figures(program: &Xdp) -> Result<String> {
    let info = program
        .info()
        .context("asking the kernel about the program")?;
    let seen = info.verified_instruction_count().unwrap_or_default();
    let translated = info.size_translated().unwrap_or_default();
    // An instruction has 8 bytes.
    Ok(format!(
        "{} instructions, the verifier saw {seen}",
        translated / 8
    ))
}
