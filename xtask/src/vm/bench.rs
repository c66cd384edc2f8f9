//! Instructions for a frame, beside the real IPVS in the same guest.
//!
//! ```text
//! ipvs-vm ► kernel with IPVS, one CPU, a clock that counts instructions ► bench.py ► dirigo.sh ► figures
//! ```
//!
//! `ipvs-vm` is not part of this project: it boots the guest, sends the frames and counts. The hook beside this
//! file puts dirigo in the place of IPVS.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Args, release_build, table};
use crate::tools;

/// The hook's name in the guest, and so that of its rows.
const HOOK: &str = "dirigo.sh";
/// Longest that the guest may take. A guard against hanging.
const LIMIT_S: &str = "1200";
/// What is measured: the least that a driver and a program can do, IPVS, and dirigo.
const CASES: &str = "xdp-drop,xdp-tx,ipvs-dummy-udp,ipvs-dummy-tcp,dirigo";
/// Instructions that an established frame should not exceed.
const MARK: f64 = 1300.0;
/// Rows that the mark is for.
const MARKED: [&str; 2] = ["dirigo-udp", "dirigo-tcp"];

/// Marks around the figures in the document.
const BEGIN: &str = "<!-- instructions: written by `cargo xtask vm --bench IPVS_VM --record` -->\n";
const END: &str = "<!-- end of instructions -->\n";

/// Measures, prints, and says which mark was missed.
pub fn main(ipvs_vm: &Path, args: &Args) -> Result<()> {
    let script = ipvs_vm.with_file_name("guest").join("bench.py");
    if !ipvs_vm.is_file() || !script.is_file() {
        bail!(
            "{} is not ipvs-vm with guest/bench.py beside it",
            ipvs_vm.display()
        );
    }
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => release_build()?,
    };
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let small = folder.path().join("dirigo");
    tools::run(Command::new("strip").arg("-o").args([&small, &binary]))?;
    let hook = tools::root().join("xtask/src/vm").join(HOOK);
    let mut guest = Command::new(ipvs_vm);
    guest.args(["run", "--icount", "--timeout", LIMIT_S]);
    guest.arg("--out").arg(folder.path());
    guest.arg("--copy").arg(&small).arg("--copy").arg(&hook);
    guest.arg(&script).args(["--only", CASES]);
    guest.args(["--hook", &format!("/in/{HOOK}")]);
    tools::run(&mut guest)?;
    let figures = folder.path().join("bench.json");
    let figures = std::fs::read(&figures).context("bench.py left no figures")?;
    let figures = serde_json::from_slice(&figures).context("reading bench.py's figures")?;
    judge(&figures, args.record)
}

fn judge(figures: &Value, is_recorded: bool) -> Result<()> {
    let table = render(figures);
    println!("{table}");
    if is_recorded {
        let document = tools::root().join("docs/vm.md");
        table::record_between(&document, BEGIN, END, &table)?;
    }
    for name in MARKED {
        let median = median(figures, name).with_context(|| format!("{name} was not measured"))?;
        if median > MARK {
            println!("mark missed: {name} takes {median:.0} instructions instead of {MARK:.0}");
        }
    }
    Ok(())
}

fn rows(figures: &Value) -> impl Iterator<Item = &Value> {
    figures["results"].as_array().into_iter().flatten()
}

fn median(figures: &Value, name: &str) -> Option<f64> {
    rows(figures).find(|row| row["name"] == name)?["median"].as_f64()
}

/// The rows as a Markdown table.
fn render(figures: &Value) -> String {
    let kernel = figures["kernel"].as_str().unwrap_or("?");
    let mut table =
        format!("| kernel {kernel} | instructions a frame | lost |\n| --- | --- | --- |\n");
    for row in rows(figures) {
        let (name, median) = (row["name"].as_str(), row["median"].as_f64());
        table.push_str(&format!(
            "| {} | {:.0} | {} of {} |\n",
            name.unwrap_or("?"),
            median.unwrap_or(f64::NAN),
            row["lost"],
            row["sent"]
        ));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_become_rows() {
        let figures = serde_json::json!({
            "kernel": "6.18.15",
            "results": [{"name": "dirigo-udp", "median": 1518.4, "lost": 0, "sent": 98305}],
        });

        assert_eq!(median(&figures, "dirigo-udp"), Some(1518.4));
        let row = "| dirigo-udp | 1518 | 0 of 98305 |";
        assert_eq!(render(&figures).lines().last(), Some(row));
    }
}
