//! `cargo xtask vm KERNEL…`: the lab on stock Debian kernels, emulated.
//!
//! ```text
//! apt (private lists) ► kernel + busybox ─┐
//! cargo build ► dirigo + its libraries ───┴► initramfs ► QEMU (TCG) ► answers ► table
//! ```
//!
//! Each kernel boots to a shell script of ours, loads the modules that the lab needs, passes the
//! object through its verifier (`cargo xtask load`), runs `dirigo lab run` in IPv4 and IPv6 and
//! says what came out. No root, no network in the guest,
//! nothing installed on the host beyond QEMU. Everything fetched stays in `target/vm`.
//!
//! It proves that the object passes three verifiers; it proves nothing about speed. That is `--bench`, which counts
//! instructions in another guest, one with the real IPVS. `--against-ipvs` compares whom the two choose.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::{bpf, tools};
use guest::{Answer, Guest};

mod against;
mod bench;
mod cpio;
mod guest;
mod machine;
mod modules;
mod packages;
mod script;
mod table;

/// Options of `cargo xtask vm`.
#[derive(clap::Args)]
pub struct Args {
    /// Kernel series; the newest package of each is taken
    #[arg(default_values = ["6.1", "6.12", "6.18"], value_name = "KERNEL")]
    kernels: Vec<String>,
    /// Use this dirigo instead of a release build of the tree
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Only load the object into each kernel; no lab
    #[arg(long)]
    load_only: bool,
    /// Instead of the lab, count a frame's instructions beside the real IPVS, by this program (`ipvs-vm`)
    #[arg(long, value_name = "IPVS_VM", conflicts_with = "load_only")]
    bench: Option<PathBuf>,
    /// Instead of the lab, play random steps on dirigo and on the real IPVS in a guest of this program (`ipvs-vm`)
    #[arg(long, value_name = "IPVS_VM", conflicts_with_all = ["load_only", "bench"])]
    against_ipvs: Option<PathBuf>,
    /// Rounds of `--against-ipvs`
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    rounds: usize,
    /// Where the rounds of `--against-ipvs` come from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Write the result into docs/vm.md
    #[arg(long)]
    record: bool,
}

/// Runs the lab on each kernel; an error unless every one of them shows what it should.
pub fn main(args: &Args) -> Result<()> {
    if tools::find("qemu-system-x86_64").is_none() {
        bail!("qemu-system-x86_64 is missing; to get it: apt-get install qemu-system-x86");
    }
    if let Some(ipvs_vm) = &args.bench {
        return bench::main(ipvs_vm, args);
    }
    if let Some(ipvs_vm) = &args.against_ipvs {
        return against::main(ipvs_vm, args);
    }
    let cache = tools::root().join("target/vm");
    let packages = packages::Packages::open(&cache)?;
    let binary = match (&args.binary, args.load_only) {
        (_, true) => None,
        (Some(binary), _) => Some(binary.clone()),
        (None, _) => Some(release_build()?),
    };
    let mut rows = Vec::new();
    for series in &args.kernels {
        rows.push(
            one(&packages, series, binary.as_deref())
                .with_context(|| format!("kernel {series}"))?,
        );
    }
    let table = table::render(&rows);
    println!("{table}");
    if args.record {
        table::record(&tools::root().join("docs/vm.md"), &table)?;
    }
    match rows.iter().filter(|row| !row.is_ok()).count() {
        0 => Ok(()),
        bad => bail!(
            "{bad} of {} kernels did not show what they should",
            rows.len()
        ),
    }
}

/// Boots the newest kernel of one series and runs the lab in it.
fn one(
    packages: &packages::Packages,
    series: &str,
    binary: Option<&std::path::Path>,
) -> Result<table::Row> {
    let kernel = packages.kernel(series)?;
    eprintln!("xtask: {series}: booting {}", kernel.release);
    let mut guest = Guest::new(&kernel, &packages.busybox()?)?;
    guest.task("uname", "uname -r");
    guest.program(
        "xtask",
        &std::env::current_exe().context("finding xtask itself")?,
    )?;
    guest.file("/director.o", &tools::root().join(bpf::DIRECTOR))?;
    guest.file("/trace.o", &tools::root().join(bpf::TRACE))?;
    guest.task("load", "xtask load /director.o /trace.o");
    if let Some(binary) = binary {
        guest.program("dirigo", binary)?;
        guest.task("lab v4", "dirigo lab run --json");
        guest.task("lab v6", "dirigo lab run --json --ipv6");
    }
    let answers = machine::boot(&kernel, &guest.initramfs()?)?;
    for answer in answers.iter().filter(|answer| answer.code != 0) {
        complain(series, answer);
    }
    Ok(table::Row::of(series, &answers))
}

fn complain(series: &str, answer: &Answer) {
    eprintln!(
        "xtask: {series}: {} ended with {}:",
        answer.task, answer.code
    );
    eprintln!("{}\n{}", answer.output.trim_end(), answer.talk.trim_end());
}

/// Under emulation an unoptimised binary is slower than the lab's own patience.
fn release_build() -> Result<PathBuf> {
    tools::run(tools::cargo().args(["build", "--release", "--locked", "--bin", "dirigo"]))?;
    Ok(tools::target_dir().join("release/dirigo"))
}
