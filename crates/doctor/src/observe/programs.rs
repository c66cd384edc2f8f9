//! What the firewall's own programs tell. They are asked, not told.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::facts::Host;
use crate::limits::{COMMAND, OUTPUT_MAX_BYTES};
use crate::netfilter::Origin;

pub(super) fn firewall(host: &mut Host, unseen: &mut Vec<String>) {
    match (
        run("nft", &["-j", "list", "ruleset"]),
        run("nft", &["-a", "list", "ruleset"]),
    ) {
        (Ok(Some(json)), Ok(Some(text))) => {
            if let Err(error) = host.ruleset.add_nft(&json, &text) {
                unseen.push(error);
            }
        }
        (Ok(None), _) | (_, Ok(None)) => {
            unseen.push("nftables rules: the program nft is not installed".to_owned());
        }
        (Err(error), _) | (_, Err(error)) => unseen.push(format!("nftables rules: {error}")),
    }
    for (program, origin) in [
        ("iptables-save", Origin::Iptables),
        ("ip6tables-save", Origin::Ip6tables),
    ] {
        match run(program, &[]) {
            Ok(Some(text)) => host.ruleset.add_iptables(&text, origin),
            // Where it is not installed nobody writes its rules.
            Ok(None) => {}
            Err(error) => unseen.push(format!("{program}: {error}")),
        }
    }
}

/// A program's output; `None` if it is not installed.
fn run(program: &str, words: &[&str]) -> Result<Option<String>, String> {
    let mut command = Command::new(program);
    // Some systems keep these outside the path of ordinary users.
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .args(words)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| error.to_string())?,
    };
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let reader = std::thread::spawn(move || drain(stdout));
    let talk = std::thread::spawn(move || drain(stderr));
    let until = Instant::now() + COMMAND;
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if Instant::now() >= until => {
                let _gone = child.kill();
                let _status = child.wait();
                return Err(format!("no end within {} s", COMMAND.as_secs()));
            }
            None => std::thread::sleep(std::time::Duration::from_millis(2)),
        }
    };
    let text = reader.join().unwrap_or_default();
    if status.success() {
        return Ok(Some(text));
    }
    let said = talk.join().unwrap_or_default();
    Err(said
        .lines()
        .next()
        .unwrap_or("failed without a word")
        .to_owned())
}

fn drain(from: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // A pipe that breaks has said what it had to say.
        let _read = from.take(OUTPUT_MAX_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
