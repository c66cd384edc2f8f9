//! Dirigo beside the real IPVS: the same random steps, and who got each frame.
//!
//! ```text
//! script.rs ► script ─┬► ipvs-vm ► runner.py with ipvsadm -R ──────────────► answers ─┐
//!                     └► namespaces here ► runner.py with dirigo ipvsadm -R ► answers ─┴► first difference of a round
//! ```
//!
//! Dirigo runs on this machine, natively attached, as `dirigo run`: the command line, control, maps and the object
//! are all compared, not a model of them. `ipvs-vm` is not part of this project.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{Args, script, table};
use crate::tools;

const RUNNER: &str = "runner.py";
/// Longest that the guest may take. A guard against hanging.
const LIMIT_S: &str = "3000";
/// Differences that are shown; the first ones say enough.
const SHOWN: usize = 5;

/// Marks around the result in the document.
const BEGIN: &str =
    "<!-- against: written by `cargo xtask vm --against-ipvs IPVS_VM --record` -->\n";
const END: &str = "<!-- end of against -->\n";

/// Plays the rounds on both sides; an error if they differ.
pub fn main(ipvs_vm: &Path, args: &Args) -> Result<()> {
    if !ipvs_vm.is_file() {
        bail!(
            "{} is not ipvs-vm: give the path of that program",
            ipvs_vm.display()
        );
    }
    if args.rounds == 0 || args.rounds > script::ROUNDS_MAX {
        bail!(
            "{} rounds: 1 to {} are right",
            args.rounds,
            script::ROUNDS_MAX
        );
    }
    let binary = match &args.binary {
        Some(binary) => std::path::absolute(binary).context("finding dirigo")?,
        None => debug_build()?,
    };
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let rounds = script::rounds(args.seed, args.rounds);
    let steps = folder.path().join("script");
    std::fs::write(&steps, rounds.concat()).context("writing the script")?;
    let ours = folder.path().join("dirigo.answers");
    let theirs = folder.path().join("ipvs.answers");
    tools::run(&mut here(&binary, &steps, &ours))?;
    tools::run(&mut in_guest(ipvs_vm, &steps, folder.path()))?;
    let read = |path| std::fs::read_to_string(path).context("reading the answers");
    judge(&rounds, &read(&ours)?, &read(&theirs)?, args)
}

fn debug_build() -> Result<std::path::PathBuf> {
    tools::run(tools::cargo().args(["build", "--locked", "--bin", "dirigo"]))?;
    Ok(tools::target_dir().join("debug/dirigo"))
}

fn runner() -> std::path::PathBuf {
    tools::root().join("xtask/src/vm").join(RUNNER)
}

/// The runner with dirigo, with network, pins and sockets that nobody else sees.
fn here(binary: &Path, steps: &Path, answers: &Path) -> Command {
    const ALONE: &str =
        "mount -t tmpfs run /run && mount -t bpf bpf /sys/fs/bpf && exec python3 \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "sh", "-c", ALONE, "sh"]);
    command.arg(runner()).args([binary, steps, answers]);
    command
}

/// The runner with the real ipvsadm.
fn in_guest(ipvs_vm: &Path, steps: &Path, folder: &Path) -> Command {
    let mut guest = Command::new(ipvs_vm);
    guest.args(["run", "--timeout", LIMIT_S, "--smp", "1", "--out"]);
    guest.arg(folder).arg("--copy").arg(steps).arg(runner());
    guest.args(["ipvs", "/in/script", "/out/ipvs.answers"]);
    guest
}

/// One round in which the two did not do the same.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    round: usize,
    /// The line of the round, from 1; the lines before it are the shortest history that shows it.
    step: usize,
    dirigo: String,
    ipvs: String,
}

fn judge(rounds: &[String], ours: &str, theirs: &str, args: &Args) -> Result<()> {
    let differences = compare(rounds, ours, theirs)?;
    for one in differences.iter().take(SHOWN) {
        let Difference {
            round,
            step,
            dirigo,
            ipvs,
        } = one;
        println!(
            "seed {}, round {round}, step {step}: dirigo gave the frame to {dirigo}, IPVS to {ipvs} (- is nobody):",
            args.seed
        );
        let lines = rounds[*round].lines().take(*step);
        lines.for_each(|line| println!("    {line}"));
    }
    let text = format!(
        "{} rounds of seed {}, {} steps, {} answers compared, {} rounds with a difference\n",
        rounds.len(),
        args.seed,
        rounds
            .iter()
            .map(|round| round.lines().count() - 1)
            .sum::<usize>(),
        theirs.lines().count(),
        differences.len()
    );
    println!("{text}");
    if args.record {
        table::record_between(&tools::root().join("docs/vm.md"), BEGIN, END, &text)?;
    }
    match differences.len() {
        0 => Ok(()),
        count => bail!(
            "dirigo and IPVS differ in {count} of {} rounds",
            rounds.len()
        ),
    }
}

/// The first difference of each round that has one.
fn compare(rounds: &[String], ours: &str, theirs: &str) -> Result<Vec<Difference>> {
    let (mut ours, mut theirs) = (ours.lines(), theirs.lines());
    let mut differences = Vec::new();
    for (round, text) in rounds.iter().enumerate() {
        let mut first = None;
        let sends = text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.starts_with("send "));
        for (line, _) in sends {
            let (Some(dirigo), Some(ipvs)) = (ours.next(), theirs.next()) else {
                bail!("the answers end in round {round}: a runner stopped early");
            };
            if dirigo != ipvs && first.is_none() {
                first = Some(Difference {
                    round,
                    step: line + 1,
                    dirigo: dirigo.to_owned(),
                    ipvs: ipvs.to_owned(),
                });
            }
        }
        differences.extend(first);
    }
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_of_a_round_is_found() {
        let rounds = [
            "round 0\nsend a\n",
            "round 1\nsend a\ndo x\nsend b\nsend c\n",
        ]
        .map(String::from);
        let found = compare(&rounds, "1\n2\n3\n4\n", "1\n2\n-\n5\n").unwrap();
        let want = Difference {
            round: 1,
            step: 4,
            dirigo: "3".into(),
            ipvs: "-".into(),
        };
        assert_eq!(found, [want]);
        assert!(compare(&rounds, "1\n2\n3\n4\n", "1\n").is_err());
    }
}
