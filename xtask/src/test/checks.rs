//! The rungs that only look at the sources.

use anyhow::Result;

use super::report::{Outcome, Report};
use crate::{bpf, tools};

/// Programs that make some tests stronger, and the Debian package of each.
const OPTIONAL: [(&str, &str); 10] = [
    ("nginx", "nginx-light"),
    ("wrk", "wrk"),
    ("tcpdump", "tcpdump"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("ethtool", "ethtool"),
    ("tmux", "tmux"),
    ("chromium", "chromium"),
    ("node", "nodejs"),
    ("npm", "npm"),
];

/// Workspaces of their own, which the workspace's checks do not reach.
const BPF_MANIFEST: &str = "crates/director-xdp/Cargo.toml";
const FUZZ_MANIFEST: &str = "fuzz/Cargo.toml";

/// Whether the programs are there that tests use when they can.
pub fn tools(_: &mut Report) -> Result<Outcome> {
    let missing: Vec<_> = OPTIONAL
        .iter()
        .filter(|(program, _)| tools::find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(Outcome::Passed(
            "nginx, wrk, tcpdump, nft, iptables, ethtool, tmux, chromium, node and npm are there"
                .into(),
        ));
    }
    Ok(Outcome::Skipped(format!(
        "tests that use these are weaker or skipped; to get them: apt-get install {}",
        missing.join(" ")
    )))
}

/// rustfmt, over the workspace and those of their own.
pub fn format(_: &mut Report) -> Result<Outcome> {
    tools::run(tools::cargo().args(["fmt", "--all", "--check"]))?;
    for manifest in [BPF_MANIFEST, FUZZ_MANIFEST] {
        tools::run(tools::cargo().args(["fmt", "--check", "--manifest-path", manifest]))?;
    }
    Ok(Outcome::Passed("rustfmt agrees".into()))
}

/// clippy, with every warning an error.
pub fn lints(_: &mut Report) -> Result<Outcome> {
    tools::run(
        tools::cargo()
            .args([
                "clippy",
                "--quiet",
                "--locked",
                "--workspace",
                "--all-targets",
            ])
            .args(["--", "-D", "warnings"]),
    )?;
    Ok(Outcome::Passed("clippy has no warning".into()))
}

/// rustdoc, with every warning an error.
pub fn docs(_: &mut Report) -> Result<Outcome> {
    tools::run(
        tools::cargo()
            .args(["doc", "--quiet", "--locked", "--workspace", "--no-deps"])
            .arg("--document-private-items")
            // The pages are for us: private items are in them, and links to those are good.
            .env(
                "RUSTDOCFLAGS",
                "-D warnings -A rustdoc::private-intra-doc-links",
            ),
    )?;
    Ok(Outcome::Passed("rustdoc has no warning".into()))
}

/// cargo-deny over both workspaces. It judges what others publish and needs the network for part
/// of it, so its absence or a dead network is said, and fails nothing.
pub fn licences(_: &mut Report) -> Result<Outcome> {
    if tools::output(tools::cargo().args(["deny", "--version"])).is_err() {
        return Ok(Outcome::Passed(
            "NOT CHECKED, cargo-deny is missing; to get it: cargo install cargo-deny --locked"
                .into(),
        ));
    }
    let mut seen = Vec::new();
    for manifest in ["Cargo.toml", BPF_MANIFEST] {
        for what in [&["licenses", "bans", "sources"][..], &["advisories"][..]] {
            let verdict = deny(manifest, what)?;
            seen.push(format!("{} of {manifest} {verdict}", what.join(", ")));
        }
    }
    Ok(Outcome::Passed(seen.join("; ")))
}

fn deny(manifest: &str, what: &[&str]) -> Result<&'static str> {
    let done = tools::output(
        tools::cargo()
            .args([
                "deny",
                "--locked",
                "--config",
                "deny.toml",
                "--manifest-path",
                manifest,
            ])
            .args(["--log-level", "error", "check"])
            .args(what),
    );
    match done {
        Ok(_) => Ok("are clean"),
        Err(error) if is_unreachable(&format!("{error:#}")) => Ok("NOT CHECKED: no network"),
        Err(error) => Err(error),
    }
}

/// Signs of a network that is not there, in cargo-deny's and cargo's words.
fn is_unreachable(error: &str) -> bool {
    ["failed to fetch", "failed to clone", "failed to download"]
        .iter()
        .any(|sign| error.contains(sign))
}

/// Rebuilds the committed object and compares.
pub fn bpf_object(_: &mut Report) -> Result<Outcome> {
    Ok(match bpf::check()? {
        bpf::Checked::Same => {
            Outcome::Passed("the committed object is rebuilt byte for byte".into())
        }
        bpf::Checked::NotComparable(why) => Outcome::Skipped(why),
    })
}
