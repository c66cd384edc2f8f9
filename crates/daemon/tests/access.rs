//! Who may read and who may change: over the socket by user and group, over TCP by token.
#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use api::{Access, Change, Client, ClientError, RefusalCode, Remote, ServiceSettings};
use common::{CHILD, FILES, World, root, vip};
use dirigo_daemon as daemon;

/// Names what a child process with another user tries: `user:group,group:instance`.
const PEER: &str = "DIRIGO_TEST_PEER";
/// The number of the group `dirigo`, for a daemon that shall find one.
const GROUP: &str = "DIRIGO_TEST_GROUP";
const NUMBER: u32 = 48_173;

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| {
        if let Ok(number) = std::env::var(GROUP) {
            know_the_group(&number);
        }
        daemon::run(&options)
    });
}

/// Gives this process, and those threads that it starts from here, a list of groups of their own.
fn know_the_group(number: &str) {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let text = format!("root:x:0:\ndirigo:x:{number}:\n");
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let nothing: Option<&str> = None;
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_PRIVATE | MsFlags::MS_REC,
        nothing,
    )
    .unwrap();
    mount(
        Some(file.path()),
        "/etc/group",
        nothing,
        MsFlags::MS_BIND,
        nothing,
    )
    .unwrap();
}

/// Not a test: a peer that has become somebody else.
#[test]
fn a_peer_as_a_child() {
    let Ok(peer) = std::env::var(PEER) else {
        return;
    };
    let mut words = peer.split(':');
    let mut word = || words.next().unwrap();
    let user: u32 = word().parse().unwrap();
    let groups: Vec<u32> = word()
        .split(',')
        .map(|group| group.parse().unwrap())
        .collect();
    let client = Client::new(word());
    let all: Vec<nix::unistd::Gid> = groups.iter().map(|group| (*group).into()).collect();
    nix::unistd::setgroups(&all[1..]).unwrap();
    nix::unistd::setgid(all[0]).unwrap();
    nix::unistd::setuid(user.into()).unwrap();
    let read = said(client.status().map(drop));
    let change = said(client.change(&change()));
    let access = client.access().map_or("none", Access::name);
    println!("peer: {read} {change} {access}");
}

fn change() -> Change {
    Change::Zero { service: None }
}

fn said(done: Result<(), ClientError>) -> &'static str {
    match done {
        Ok(()) => "yes",
        Err(ClientError::NotPermitted { .. }) => "shut",
        Err(ClientError::Refused(refusal)) if refusal.code == RefusalCode::NotPermitted => "no",
        Err(error) => panic!("{error}"),
    }
}

/// What a peer of this user and these groups, the first of them its own, is answered.
fn peer(world: &World, user: u32, groups: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_peer_as_a_child", "--nocapture"])
        .env(PEER, format!("{user}:{groups}:{}", world.instance))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.split_once("peer: "));
    let Some((_, said)) = line else {
        panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    };
    said.to_owned()
}

#[test]
fn root_and_the_group_change_and_nobody_else_gets_to_the_socket() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.child_environment.push((GROUP, NUMBER.to_string()));
    world.start("[director]\ninterface = \"eth0\"\n");
    let about = std::fs::metadata(api::socket_path(&world.instance)).unwrap();
    assert_eq!(about.permissions().mode() & 0o777, 0o660);
    assert_eq!((about.uid(), about.gid()), (0, NUMBER));
    assert_eq!(peer(&world, 0, "0"), "yes yes change");
    let member = NUMBER.to_string();
    assert_eq!(peer(&world, 65_534, &member), "yes yes change");
    let beside = format!("65534,65533,{NUMBER}");
    assert_eq!(peer(&world, 65_534, &beside), "yes yes change");
    assert_eq!(peer(&world, 65_534, "65534"), "shut shut none");
}

#[test]
fn where_everyone_reads_others_read_and_do_not_change() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.child_environment.push((GROUP, NUMBER.to_string()));
    world.start("[director]\ninterface = \"eth0\"\n[api]\neveryone_reads = true\n");
    assert_eq!(peer(&world, 65_534, "65534,65533"), "yes no read");
    let member = NUMBER.to_string();
    assert_eq!(peer(&world, 65_534, &member), "yes yes change");
    assert_eq!(peer(&world, 0, "0"), "yes yes change");
}

/// A certificate for 10.9.0.2 that signs itself, its key, and two tokens, in the world's folder.
fn secrets(world: &World) {
    let made = rcgen::generate_simple_self_signed(["10.9.0.2".to_owned()]).unwrap();
    for (name, text) in [
        ("certificate", made.cert.pem()),
        ("key", made.signing_key.serialize_pem()),
        ("token", "change-0123456789abcdef\n".to_owned()),
        ("read-token", "read-0123456789abcdef\n".to_owned()),
        ("other-token", "other-0123456789abcdef\n".to_owned()),
    ] {
        let file = file(world, name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn file(world: &World, name: &str) -> PathBuf {
    world.folder.path().join(name)
}

fn config(world: &World) -> String {
    let file = |name| file(world, name).display().to_string();
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

#[test]
fn another_host_asks_over_tls_as_far_as_its_token_goes() {
    if !root() {
        return;
    }
    let mut world = World::new();
    secrets(&world);
    world.start(&config(&world));
    let trust = file(&world, "certificate");
    let remote = |token: &str, trust: Option<&PathBuf>| {
        let url = "https://10.9.0.2:8443";
        let remote = Remote::new(url, Some(&file(&world, token)), trust.map(PathBuf::as_path));
        Client::remote(remote.unwrap())
    };
    world
        .client
        .run(|| {
            let may = |token| {
                let client = remote(token, Some(&trust));
                (
                    said(client.status().map(drop)),
                    said(client.change(&change())),
                )
            };
            assert_eq!(may("token"), ("yes", "yes"));
            assert_eq!(may("read-token"), ("yes", "no"));
            assert_eq!(may("other-token"), ("no", "no"));

            let client = remote("token", Some(&trust));
            assert_eq!(client.access().unwrap(), Access::Change);
            let service = format!("tcp:{}:81", vip()).parse().unwrap();
            let settings = ServiceSettings::of("rr");
            let add = Change::AddService { service, settings };
            client.change(&add).unwrap();
            assert_eq!(client.services().unwrap().len(), 2);
            let query = api::EventQuery {
                since: Some(0),
                ..api::EventQuery::default()
            };
            let mut told = false;
            let added = &mut |event: api::Told| match event {
                api::Told::Event(event) if event.what.service == Some(service) => {
                    told = true;
                    std::ops::ControlFlow::Break(())
                }
                _ => std::ops::ControlFlow::Continue(()),
            };
            client.events(&query, added).unwrap();
            assert!(told, "events come over it, too");

            // It may have the daemon follow its own file, and read no other.
            let named = |file: &str| api::Apply {
                file: Some(file.into()),
            };
            let refused = client.apply(&named("/etc/passwd")).unwrap_err().to_string();
            assert!(refused.contains("only root on this host"), "{refused}");

            // One that nobody vouches for is not believed.
            let stranger = rcgen::generate_simple_self_signed(["10.9.0.2".to_owned()]).unwrap();
            let other = file(&world, "other-certificate");
            std::fs::write(&other, stranger.cert.pem()).unwrap();
            let error = remote("token", Some(&other)).status().unwrap_err();
            let said = error.to_string();
            assert!(
                said.contains("https://10.9.0.2:8443") && said.contains("certificate"),
                "{said}"
            );
            // Plain HTTP where TLS is spoken, and silence, hold up nobody.
            let plain = Remote::new("http://10.9.0.2:8443", None, None).unwrap();
            assert!(Client::remote(plain).status().is_err());
            let _silent: Vec<_> = (0..3)
                .map(|_| std::net::TcpStream::connect("10.9.0.2:8443").unwrap())
                .collect();
            assert_eq!(may("token"), ("yes", "yes"));
        })
        .unwrap();
}

#[test]
fn on_loopback_reading_without_tls_and_token_can_be_allowed_and_changing_cannot() {
    if !root() {
        return;
    }
    let mut world = World::new();
    secrets(&world);
    let token = file(&world, "token");
    let config = format!(
        "{}[api]\nlisten = \"127.0.0.1:8080\"\ntls = false\ntoken_file = \"{}\"\n",
        world.classic("rr"),
        token.display()
    );
    world.start(&config);
    world
        .director
        .run(|| {
            let url = "http://127.0.0.1:8080";
            let client = Client::remote(Remote::new(url, None, None).unwrap());
            assert!(client.status().is_ok());
            assert_eq!(client.access().unwrap(), Access::Read);
            let refused = client.change(&change()).unwrap_err().to_string();
            assert!(refused.contains("token_file"), "{refused}");
            let client = Client::remote(Remote::new(url, Some(&token), None).unwrap());
            assert_eq!(said(client.change(&change())), "yes");
        })
        .unwrap();
}

#[test]
fn what_cannot_be_used_is_said_before_anything_is_done() {
    if !root() {
        return;
    }
    let mut world = World::new();
    secrets(&world);
    let good = config(&world);
    std::fs::set_permissions(
        file(&world, "token"),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    std::fs::write(file(&world, "no-certificate"), "nothing\n").unwrap();
    let other = rcgen::generate_simple_self_signed(["10.9.0.2".to_owned()]).unwrap();
    std::fs::write(file(&world, "others"), other.cert.pem()).unwrap();
    let with = |name: &str, instead: &str| {
        let path = |name| format!("\"{}\"", file(&world, name).display());
        good.replace(&path(name), &path(instead))
    };
    let wrong = [
        (good.clone(), "chmod 600"),
        (with("token", "missing").clone(), "No such file"),
        (
            with("token", "other-token").replace("10.9.0.2:8443", "10.9.0.77:8443"),
            "`listen` of [api]",
        ),
        (
            with("token", "other-token").replace("/certificate\"", "/no-certificate\""),
            "PEM format",
        ),
        (
            with("token", "other-token").replace("/certificate\"", "/others\""),
            "with the key",
        ),
    ];
    for (config, said) in wrong {
        let _first = std::fs::remove_file(file(&world, "log"));
        world.start_in_vain(&config);
        let log = world.log();
        assert!(log.contains(said), "{said}: {log}");
        assert!(!world.director_has(vip()));
    }
}

#[test]
fn a_renewed_certificate_and_another_token_count_from_the_next_apply_on_and_broken_ones_do_not() {
    if !root() {
        return;
    }
    let mut world = World::new();
    secrets(&world);
    world.start(&config(&world));
    let trusted = file(&world, "trusted");
    let trust = || std::fs::copy(file(&world, "certificate"), &trusted).unwrap();
    let may = |token: &str| {
        let url = "https://10.9.0.2:8443";
        let remote = Remote::new(url, Some(&file(&world, token)), Some(&trusted)).unwrap();
        let ask = || Client::remote(remote).status().map(drop);
        match world.client.run(ask).unwrap() {
            Err(ClientError::Refused(_) | ClientError::NotPermitted { .. }) => "no",
            Err(_) => "not believed",
            Ok(()) => "yes",
        }
    };
    let apply = || world.api().apply(&api::Apply::default()).unwrap();
    trust();
    std::fs::copy(file(&world, "token"), file(&world, "old-token")).unwrap();
    assert_eq!(may("token"), "yes");

    // The configuration is as before; what it names is not.
    secrets(&world);
    std::fs::copy(file(&world, "other-token"), file(&world, "token")).unwrap();
    assert_eq!(
        (may("old-token"), may("token")),
        ("yes", "no"),
        "nobody has said so"
    );
    let applied = apply();
    assert_eq!((applied.changed, applied.notes), (false, Vec::new()));
    assert_eq!(may("token"), "not believed", "it is another certificate");
    trust();
    assert_eq!((may("token"), may("old-token")), ("yes", "no"));

    // One of the files is wrong: none of them counts.
    std::fs::write(file(&world, "certificate"), "nothing\n").unwrap();
    std::fs::copy(file(&world, "old-token"), file(&world, "token")).unwrap();
    let notes = apply().notes;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(
        notes[0].contains("stay as before") && notes[0].contains("PEM format"),
        "{notes:?}"
    );
    assert_eq!((may("other-token"), may("token")), ("yes", "no"));

    secrets(&world);
    trust();
    world.signal(nix::sys::signal::Signal::SIGHUP);
    common::until("SIGHUP reads them, too", || may("token") == "yes");
}
