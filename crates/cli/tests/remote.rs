//! Every command of a daemon elsewhere: over TLS, from another host, with a token.
#![allow(clippy::unwrap_used)]

#[path = "../../daemon/tests/common/mod.rs"]
mod common;

extern crate daemon as dirigo_daemon;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use common::{CHILD, FILES, World, root, until, vip};

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

/// A certificate that signs itself, and two tokens, as files of the world.
fn secrets(world: &World) {
    let made = rcgen::generate_simple_self_signed(["10.9.0.2".to_owned()]).unwrap();
    for (name, text) in [
        ("certificate", made.cert.pem()),
        ("key", made.signing_key.serialize_pem()),
        ("token", "change-0123456789abcdef\n".to_owned()),
        ("read-token", "read-0123456789abcdef\n".to_owned()),
    ] {
        let file = world.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn config(world: &World) -> String {
    let file = |name: &str| world.folder.path().join(name).display().to_string();
    format!(
        "{}[api]\nlisten = \"10.9.0.2:8443\"\ncertificate = \"{}\"\nkey = \"{}\"\ntoken_file = \"{}\"\n\
         read_token_file = \"{}\"\n",
        world.classic("rr"),
        file("certificate"),
        file("key"),
        file("token"),
        file("read-token"),
    )
}

/// Runs the binary on the client's host, where no daemon is.
fn elsewhere(world: &World, token: &str, words: &[&str]) -> Output {
    let file = |name: &str| world.folder.path().join(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_dirigo"));
    command
        .env("DIRIGO_API", "https://10.9.0.2:8443")
        .env("DIRIGO_CA", file("certificate"))
        .env("DIRIGO_TOKEN_FILE", file(token))
        .env("DIRIGO_INSTANCE", "nobody-here")
        .args(words);
    world.client.run(move || command.output()).unwrap().unwrap()
}

#[test]
fn each_command_asks_the_daemon_that_was_chosen() {
    if !root() {
        return;
    }
    let mut world = World::new();
    secrets(&world);
    world.start(&config(&world));
    until("servers are resolved", || {
        world.is_resolved(common::server(1)) && world.is_resolved(common::server(2))
    });
    let service = format!("{}:80", vip());
    let server = common::server(1).to_string();
    let reading: [(&[&str], &str); 12] = [
        (&["status"], &world.instance),
        (&["services"], &service),
        (&["services", "--json"], &service),
        (&["health"], ""),
        (&["connections"], ""),
        (&["metrics"], "dirigo_service_packets_total{"),
        (&["metrics", "--openmetrics"], "# EOF"),
        (&["events"], "daemon started"),
        (&["generations"], "start"),
        (&["explain", "tcp", "10.9.0.1:4000", &service], "sent to"),
        (&["explain", "--server", &server], "50 % of them"),
        (&["ipvsadm", "-Ln"], &service),
    ];
    for token in ["token", "read-token"] {
        for (words, part) in reading {
            let done = elsewhere(&world, token, words);
            let text = String::from_utf8_lossy(&done.stdout).into_owned();
            assert!(done.status.success(), "{words:?}: {done:?}");
            assert!(text.contains(part), "{words:?}: {text}");
        }
    }

    let changing: [&[&str]; 4] = [
        &["ipvsadm", "-A", "-t", "10.9.0.100:81", "-s", "rr"],
        &["disable", &server],
        &["enable", &server],
        &["apply"],
    ];
    for words in changing {
        let refused = elsewhere(&world, "read-token", words);
        assert!(!refused.status.success(), "{words:?}: {refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr);
        // ipvsadm says it in its own words.
        let part = if words[0] == "ipvsadm" {
            "Permission denied"
        } else {
            "token"
        };
        assert!(said.contains(part), "{words:?}: {said}");
        let done = elsewhere(&world, "token", words);
        assert!(done.status.success(), "{words:?}: {done:?}");
    }
    world.terminate();
}
