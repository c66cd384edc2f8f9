//! What must not be noticed by clients: a daemon that dies, a real server's new network card.
// A test that cannot go on should say where.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use api::LinkState;
use dirigo_lab::http::Connection;
use dirigo_lab::page::Kind;
use dirigo_lab::{Director, Family, Host, Lab};

/// Connections that wrk keeps open.
const CONNECTIONS: u32 = 16;

fn up(family: Family) -> Lab {
    let options = common::options(family);
    Lab::up(&options, Kind::available(), &mut |line| println!("{line}")).unwrap()
}

/// How long wrk runs. `DIRIGO_WRK_SECONDS=30` is the full test; it is shorter by default.
fn wrk_seconds() -> u64 {
    let seconds = std::env::var("DIRIGO_WRK_SECONDS").ok();
    seconds.and_then(|word| word.parse().ok()).unwrap_or(8)
}

/// `ActiveConn` of all destinations.
fn active(director: &Director) -> u32 {
    let services = director.services().unwrap();
    let destinations = services.iter().flat_map(|service| &service.destinations);
    destinations.map(|destination| destination.active).sum()
}

#[test]
fn a_daemon_killed_and_restarted_under_load_loses_no_connection_and_no_request() {
    if !common::have_root() || !common::have_wrk() {
        return;
    }
    let seconds = wrk_seconds();
    let mut lab = up(Family::Ipv4);
    lab.capture.stop();
    let client = lab.net.namespace(Host::Client).try_clone().unwrap();
    let service = Family::Ipv4.service();
    let wrk = std::thread::spawn(move || {
        let mut wrk = Command::new("wrk");
        let time = format!("-d{seconds}s");
        let connections = format!("-c{CONNECTIONS}");
        wrk.args([
            "-t1",
            &connections,
            &time,
            "--timeout",
            "10s",
            &format!("http://{service}/"),
        ]);
        client.run(|| wrk.output()).unwrap().unwrap()
    });
    std::thread::sleep(Duration::from_secs(seconds) / 3);
    let before = active(lab.director.as_ref().unwrap());

    lab.kill_director();
    std::thread::sleep(Duration::from_secs(seconds) / 6);
    lab.restart_director().unwrap();

    let director = lab.director.as_ref().unwrap();
    let after = active(director);
    assert!(director.status().unwrap().adopted);
    let output = wrk.join().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}");
    // wrk writes these lines only if there is something to say.
    assert!(!said.contains("Socket errors"), "{said}");
    assert!(!said.contains("Non-2xx"), "{said}");
    assert!(said.contains("requests in"), "{said}");
    assert_eq!(
        (before, after),
        (CONNECTIONS, CONNECTIONS),
        "ActiveConn before and after"
    );
}

#[test]
fn a_real_server_with_another_mac_is_followed_and_keeps_its_connections() {
    if !common::have_root() {
        return;
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        let lab = up(family);
        let service = family.service();
        let mut connection = Connection::open(&lab.net, Host::Client, service).unwrap();
        let server = connection.get().unwrap().server().unwrap();
        let other = [2, 0, 0, 0, 0x02, server as u8];

        let changed = Instant::now();
        lab.net.set_mac(server, other).unwrap();

        let director = lab.director.as_ref().unwrap();
        let wanted = netlink::mac_text(&other);
        let followed = lab.net.interrupt().poll(Duration::from_secs(10), || {
            let services = director.services()?;
            let mut destinations = services.iter().flat_map(|service| &service.destinations);
            let known = destinations.any(|destination| match &destination.link {
                LinkState::Resolved { mac, .. } => *mac == wanted,
                _ => false,
            });
            Ok(known.then(|| changed.elapsed()))
        });
        let followed = followed.unwrap().expect("the director follows");
        println!("{family}: followed after {followed:?}");
        assert_eq!(connection.get().unwrap().server(), Some(server));
    }
}
