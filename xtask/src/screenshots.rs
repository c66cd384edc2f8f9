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
        let folder = write("docs/top", &words, "DIRIGO_SCREENSHOTS")?;
        embed(&tools::root().join("docs/top.md"), &folder)?;
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

/// Puts the screens into the page that links to them.
fn embed(page: &Path, folder: &Path) -> Result<()> {
    let text = std::fs::read_to_string(page)?;
    let screen = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    Ok(std::fs::write(page, embedded(&text, &screen)?)?)
}

/// A page with each `text` block below a link to `(top/NAME)` exchanged for the screen of that name.
fn embedded(page: &str, screen: &impl Fn(&str) -> Option<String>) -> Result<String> {
    const BEGIN: &str = "```text\n";
    let mut pieces = page.split("[the screen](top/");
    let mut whole = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let cut = || {
            let (name, rest) = piece.split_once(')')?;
            let (before, rest) = rest.split_once(BEGIN)?;
            let (_, after) = rest.split_once("\n```\n")?;
            Some((name, before, after))
        };
        let Some((name, before, after)) = cut() else {
            bail!("a link to a screen has no block of text below it");
        };
        let Some(screen) = screen(name) else {
            bail!("no screen is called {name}");
        };
        let screen = screen.trim_end();
        whole += &format!("[the screen](top/{name}){before}{BEGIN}{screen}\n```\n{after}");
    }
    Ok(whole)
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

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str =
        "Before.\n\n[the screen](top/one.txt), in the lab:\n\n```text\nold\nold\n```\n\nAfter.\n";

    #[test]
    fn a_block_below_a_link_becomes_the_screen_and_nothing_else_changes() {
        let screen = |name: &str| (name == "one.txt").then(|| "new\n\nlast\n".to_owned());
        let now = embedded(PAGE, &screen).unwrap();
        assert_eq!(now, PAGE.replace("old\nold", "new\n\nlast"));
        assert_eq!(embedded(&now, &screen).unwrap(), now);
    }

    #[test]
    fn a_link_without_a_screen_or_without_a_block_is_a_mistake() {
        assert!(embedded(PAGE, &|_: &str| None).is_err());
        let bare = PAGE.replace("```text", "```console");
        assert!(embedded(&bare, &|_: &str| Some(String::new())).is_err());
    }

    #[test]
    fn the_page_shows_the_screens_that_are_kept() {
        let folder = tools::root().join("docs/top");
        let page = std::fs::read_to_string(tools::root().join("docs/top.md")).unwrap();
        let screen = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
        assert_eq!(embedded(&page, &screen).unwrap(), page);
    }
}
