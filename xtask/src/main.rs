//! `cargo xtask`: every chore of the project.
//!
//! ```text
//! bpf     builds the XDP object that is committed; --check rebuilds and compares
//! load    what this kernel's verifier says of the object
//! test    every check and every test, then the lab; leaves nothing behind
//! bench   times the XDP program
//! soak    long runs of what CI plays a cut of
//! package makes the Debian package
//! screenshots  shows dirigo top and the web console in the documentation, from running daemons
//! vm      loads the object and runs the lab on stock Debian kernels, emulated
//! ```
//!
//! Chores call tools (cargo, apt, QEMU); nothing of the product depends on this room.

use clap::{Parser, Subcommand};

mod bench;
mod bpf;
mod load;
mod package;
mod screenshots;
mod soak;
mod test;
mod tools;
mod vm;

/// Every chore of the project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build the XDP object that is committed beside the data plane
    Bpf(bpf::Args),
    /// Load the object once and say what the verifier says
    Load(load::Args),
    /// Every check and every test, then the lab
    Test(test::Args),
    /// Time the XDP program with BPF_PROG_TEST_RUN
    Bench(bench::Args),
    /// Long runs of what CI plays a cut of
    Soak(soak::Args),
    /// Make the Debian package
    Package(package::Args),
    /// Write the screens of `dirigo top` and of the web console in the documentation anew
    Screenshots(screenshots::Args),
    /// Run the lab on stock Debian kernels under emulation
    Vm(vm::Args),
}

fn main() -> std::process::ExitCode {
    if bpf::wrapper::is_asked_for() {
        return bpf::wrapper::main();
    }
    let done = match Cli::parse().chore {
        Chore::Bpf(args) => bpf::main(&args),
        Chore::Load(args) => load::main(&args),
        Chore::Test(args) => test::main(&args),
        Chore::Bench(args) => bench::main(&args),
        Chore::Soak(args) => soak::main(&args),
        Chore::Package(args) => package::main(&args),
        Chore::Screenshots(args) => screenshots::main(&args),
        Chore::Vm(args) => vm::main(&args),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
