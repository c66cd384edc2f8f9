//! `cargo xtask screenshots`: the screens of `dirigo top` for the documentation, as text, from the lab.
//!
//! The test that drives the real thing under tmux writes what it sees. So the documentation shows what was
//! there, and the chore fails when the test does.

use anyhow::{Result, bail};

use crate::tools;

/// Options of `cargo xtask screenshots`.
#[derive(clap::Args)]
pub struct Args {}

/// Writes `docs/top/*.txt` anew.
pub fn main(_args: &Args) -> Result<()> {
    if !tools::is_root() {
        bail!("the lab needs root: sudo -E env PATH=\"$PATH\" cargo xtask screenshots");
    }
    if tools::find("tmux").is_none() {
        bail!("tmux is not installed: apt install tmux");
    }
    let folder = tools::root().join("docs/top");
    std::fs::create_dir_all(&folder)?;
    let mut command = tools::cargo();
    command
        .args(["test", "-p", "dirigo", "--test", "top", "top_shows"])
        .env("DIRIGO_SCREENSHOTS", &folder);
    let status = command.status()?;
    if !status.success() {
        bail!("the test that drives dirigo top failed: nothing that it wrote is worth showing");
    }
    println!("screenshots: {}", folder.display());
    Ok(())
}
