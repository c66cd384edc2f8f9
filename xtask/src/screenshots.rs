//! `cargo xtask screenshots`: the screens of the documentation, from running daemons: those of `dirigo top` as text,
//! those of the web console as pictures.
//!
//! The tests that drive the real things, under tmux and in Chromium, write what they see. So the documentation shows
//! what was there, and the chore fails when a test does.

use std::path::Path;

use anyhow::{Result, bail};

use crate::tools;

/// Options of `cargo xtask screenshots`.
#[derive(clap::Args)]
pub struct Args {
    /// Only those of `top` or of the `console`
    #[arg(long, value_name = "WHICH", value_parser = ["top", "console"])]
    only: Option<String>,
}

/// Largest picture: a repository is no place for more.
const PICTURE_BYTES: u64 = 300_000;

/// Programs without which there is nothing to show, and the Debian package of each.
const NEEDED: [(&str, &str, &str); 4] = [
    ("top", "tmux", "tmux"),
    ("console", "chromium", "chromium"),
    ("console", "node", "nodejs"),
    ("console", "npm", "npm"),
];

/// Writes `docs/top/*.txt` and `docs/console/*.png` anew.
pub fn main(args: &Args) -> Result<()> {
    if !tools::is_root() {
        bail!("the lab needs root: sudo -E env PATH=\"$PATH\" cargo xtask screenshots");
    }
    let is_wanted = |which: &str| args.only.as_deref().is_none_or(|only| only == which);
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|(which, program, _)| is_wanted(which) && tools::find(program).is_none())
        .map(|(_, _, package)| *package)
        .collect();
    if !missing.is_empty() {
        bail!("not installed: apt-get install {}", missing.join(" "));
    }
    if is_wanted("top") {
        let words = ["-p", "dirigo", "--test", "top", "top_shows"];
        write("docs/top", &words, "DIRIGO_SCREENSHOTS")?;
    }
    if is_wanted("console") {
        let words = [
            "-p",
            "dirigo-daemon",
            "--test",
            "console",
            "the_console_is_photographed",
        ];
        let folder = write("docs/console", &words, "DIRIGO_CONSOLE_SCREENSHOTS")?;
        small(&folder)?;
    }
    Ok(())
}

/// Runs the test that writes into a folder.
fn write(folder: &str, words: &[&str], variable: &str) -> Result<std::path::PathBuf> {
    let folder = tools::root().join(folder);
    std::fs::create_dir_all(&folder)?;
    let mut command = tools::cargo();
    command
        .arg("test")
        .args(words)
        .args(["--", "--nocapture"])
        .env(variable, &folder);
    if !command.status()?.success() {
        bail!("the test failed: nothing that it wrote is worth showing");
    }
    println!("screenshots: {}", folder.display());
    Ok(folder)
}

/// Says which pictures are too large to be kept.
fn small(folder: &Path) -> Result<()> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_none_or(|end| end != "png") {
            continue;
        }
        count += 1;
        let len = entry.metadata()?.len();
        if len > PICTURE_BYTES {
            bail!(
                "{} has {len} bytes, more than {PICTURE_BYTES}: show less on it",
                entry.path().display()
            );
        }
    }
    if count == 0 {
        bail!("no picture was written");
    }
    Ok(())
}
