//! The web console as people use it: Chromium, driven by Playwright on the director's own host, over a real daemon
//! with traffic. Needs root, node, npm and chromium.
//!
//! ```text
//! this test ── node crates/console/e2e/<scenario>.mjs ── chromium ── http://127.0.0.1:8088 ── daemon
//!     ▲                 │ "do: kill the daemon"
//!     └─────────────────┘ "done"
//! ```
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::{CHILD, FILES, Patience, World, root, server, until, vip};
use dirigo_daemon as daemon;
use netlink::{AddressFlags, Namespace, Netlink};

const LISTEN: &str = "127.0.0.1:8088";
/// The director's MAC, as the world gives it.
const DIRECTOR: [u8; 6] = [2, 0, 0, 9, 0, 2];
const TOKEN: &str = "change-0123456789abcdef";
/// Where the screens for the documentation go, if they are asked for.
const SCREENSHOTS: &str = "DIRIGO_CONSOLE_SCREENSHOTS";

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

/// One browser at a time: each keeps a processor busy.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_ci() -> bool {
    std::env::var("CI").as_deref() == Ok("true")
}

/// The folder with the scenarios and what they import; says why if there is none. In CI there must be.
fn scenarios() -> Option<PathBuf> {
    let missing: Vec<&str> = ["node", "npm", "chromium"]
        .into_iter()
        .filter(|program| !is_there(program))
        .collect();
    let found = match missing.is_empty() {
        true => installed(),
        false => Err(format!("apt-get install {}", missing.join(" "))),
    };
    match found {
        Ok(folder) => Some(folder),
        Err(why) => {
            assert!(!is_ci(), "CI must drive the console: {why}");
            println!("skipped: {why}");
            None
        }
    }
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Playwright, of the version that is locked: fetched once, and again when the lock is another.
fn installed() -> Result<PathBuf, String> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../console/e2e");
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("console-e2e");
    std::fs::create_dir_all(&to).unwrap();
    let lock = std::fs::read(from.join("package-lock.json")).unwrap();
    let is_new = std::fs::read(to.join("installed")).ok().as_ref() != Some(&lock);
    for entry in std::fs::read_dir(&from).unwrap() {
        let file = entry.unwrap().path();
        if file.is_file() {
            std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
        }
    }
    if is_new {
        let words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        let done = Command::new("npm").args(words).current_dir(&to).output();
        let done = done.map_err(|error| format!("npm: {error}"))?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            return Err(format!("npm ci could not fetch playwright-core: {said}"));
        }
        std::fs::write(to.join("installed"), lock).unwrap();
    }
    Ok(to)
}

/// The `[api]` section, and the token's file.
fn api(world: &World) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let file = world.folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    format!(
        "[api]\nlisten = \"{LISTEN}\"\ntls = false\ntoken_file = \"{}\"\n",
        file.display()
    )
}

/// Checks of short patience, so that tests need not have it.
const CHECK: &str = "[[check]]\nname = \"web\"\ntype = \"tcp\"\ninterval = \"500ms\"\ntimeout = \"400ms\"\n\
                     fall = 2\n";

fn service(address: &str, protocol: &str, scheduler: &str, servers: &[(u8, u32)]) -> String {
    let mut text = format!(
        "[[service]]\naddress = \"{address}\"\nprotocol = \"{protocol}\"\nscheduler = \"{scheduler}\"\n"
    );
    if protocol == "tcp" {
        text += "checks = [\"web\"]\n";
    }
    for (number, weight) in servers {
        let server = server(*number);
        text += &format!("[[service.destination]]\naddress = \"{server}\"\nweight = {weight}\n");
    }
    text
}

/// Has a browser go through a scenario. What it asks to be done meanwhile, `act` does.
fn drive(world: &mut World, folder: &Path, scenario: &str, act: impl Fn(&mut World, &str)) {
    let mut command = Command::new("node");
    command
        .arg(folder.join(format!("{scenario}.mjs")))
        .env("CONSOLE_URL", format!("http://{LISTEN}"))
        .env("CONSOLE_TOKEN", TOKEN)
        .env("CONSOLE_VIP", vip().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if let Some(screens) = std::env::var_os(SCREENSHOTS) {
        command.env("CONSOLE_SCREENS", screens);
    }
    let mut browser = world.director.spawn(&mut command).unwrap();
    let mut stdin = browser.stdin.take().unwrap();
    for line in BufReader::new(browser.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.strip_prefix("do: ") {
            Some(what) => {
                act(world, what);
                let _browser_is_gone = writeln!(stdin, "done");
            }
            None => println!("{line}"),
        }
    }
    let ended = browser.wait().unwrap();
    assert!(ended.success(), "{scenario}: {ended}");
}

/// Answers bytes on a port, as long as the process lives.
fn echo(host: &Namespace, port: u16) {
    let listener = host
        .run(|| TcpListener::bind(("::", port)).unwrap())
        .unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut bytes = [0; 512];
                while let Ok(len @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..len]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// Clients that come, ask for a while, and go; unlike those of the tests of forwarding they leave processors to
/// others.
struct Load {
    is_over: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn begin(client: &Namespace, services: &[SocketAddr]) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let thread = |service: SocketAddr| {
            let namespace = std::fs::File::from(client.fd().try_clone_to_owned().unwrap());
            let ended = Arc::clone(&is_over);
            std::thread::spawn(move || {
                nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                let mut turn = 0u64;
                while !ended.load(Ordering::Relaxed) {
                    turn += 1;
                    visit(service, turn, &ended);
                }
            })
        };
        let threads = services.iter().copied().map(thread).collect();
        Self { is_over, threads }
    }

    fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// Some connections at once, some requests on each; more and fewer in turns, so that a chart has a shape.
fn visit(service: SocketAddr, turn: u64, ended: &AtomicBool) {
    let wave = [2, 3, 5, 8, 9, 8, 5, 3];
    let count = wave[(turn + u64::from(service.port())) as usize % wave.len()];
    let patience = Duration::from_millis(500);
    let open = (0..count).filter_map(|_| TcpStream::connect_timeout(&service, patience).ok());
    let mut open: Vec<TcpStream> = open.collect();
    for _ in 0..30 {
        if ended.load(Ordering::Relaxed) {
            return;
        }
        for stream in &mut open {
            let _server_is_gone = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Says to the director that a virtual address is this host's. Clients do not hear it: their traffic goes on.
fn claim(host: &Namespace) {
    host.run(|| {
        let netlink = Netlink::open().unwrap();
        let link = netlink.link("eth0").unwrap();
        let socket = netlink::FrameSocket::open_discovery(link.index).unwrap();
        let IpAddr::V4(vip) = vip() else {
            unreachable!("the virtual address is IPv4")
        };
        let mut claim = netlink::arp::Arp::request(link.mac, vip, vip).emit();
        claim[..6].copy_from_slice(&DIRECTOR);
        socket.send(&claim).unwrap();
    })
    .unwrap();
}

#[test]
fn the_console_shows_what_is_and_changes_only_for_who_may() {
    if !root() {
        return;
    }
    let Some(folder) = scenarios() else { return };
    let _turn = alone();
    let mut world = World::new();
    let config = format!(
        "[director]\ninterface = \"eth0\"\n{}{CHECK}{}{}",
        api(&world),
        service(&format!("{}:80", vip()), "tcp", "wrr", &[(1, 1), (2, 3)]),
        service(&format!("{}:53", vip()), "udp", "mh", &[(1, 1), (2, 1)]),
    );
    world.start(&config);
    until("both are up", || {
        let health = world.api().health().unwrap();
        let mut all = health.iter().flat_map(|one| &one.destinations);
        all.all(|one| one.health == api::HealthState::Up)
    });
    let load = Load::begin(&world.client, &[SocketAddr::new(vip(), 80)]);
    drive(&mut world, &folder, "console", |world, what| match what {
        "kill the daemon" => world.kill(),
        "start the daemon" => world.start(&config),
        "claim the virtual address" => claim(&world.client),
        "unplug server 2" => world.set_link(2, false),
        other => panic!("cannot do {other:?}"),
    });
    load.end();
}

#[test]
fn a_thousand_services_are_shown_by_few_rows() {
    if !root() {
        return;
    }
    let Some(folder) = scenarios() else { return };
    let _turn = alone();
    let mut world = World::new();
    let config = thousand(&world);
    world.start(&config);
    drive(&mut world, &folder, "thousand", |_, what| {
        panic!("cannot do {what:?}")
    });
}

fn thousand(world: &World) -> String {
    let services = (0..1000).map(|number: u16| {
        let address = format!("10.9.0.{}:{}", 100 + number / 250, 1000 + number % 250);
        service(
            &address,
            "udp",
            ["wrr", "wlc", "mh", "rr"][usize::from(number % 4)],
            &[(1, 1), (2, 2)],
        )
    });
    let services: String = services.collect();
    format!("[director]\ninterface = \"eth0\"\n{}{services}", api(world))
}

/// The screens of the documentation; `cargo xtask screenshots` asks for them.
#[test]
fn the_console_is_photographed_for_the_documentation() {
    if !root() || std::env::var_os(SCREENSHOTS).is_none() {
        return;
    }
    let folder = scenarios().expect("the screens need a browser");
    let _turn = alone();
    let mut world = World::with_servers(6);
    world.instance = "console-demo".to_owned();
    let stray = world.add_host("stray", 30);
    let second: IpAddr = [10, 9, 0, 101].into();
    for host in &world.servers {
        host.run(|| {
            let netlink = Netlink::open().unwrap();
            let lo = netlink.link("lo").unwrap().index;
            let flags = AddressFlags::default();
            netlink.add_address(lo, second, 32, flags).unwrap();
        })
        .unwrap();
        for port in [443, 8080, 5432] {
            echo(host, port);
        }
        host.run(|| {
            UdpSocket::bind(("0.0.0.0", 53))
                .map(std::mem::forget)
                .unwrap()
        })
        .unwrap();
    }
    let all: Vec<(u8, u32)> = (1..=6)
        .map(|number| (number, 1 + u32::from(number % 3)))
        .collect();
    let at = |address: IpAddr, port: u16| SocketAddr::new(address, port).to_string();
    let config = format!(
        "[director]\ninterface = \"eth0\"\n{}{CHECK}{}{}{}{}{}",
        api(&world),
        service(&at(vip(), 80), "tcp", "wrr", &all),
        service(&at(vip(), 443), "tcp", "mh", &all[..4]),
        service(&at(vip(), 53), "udp", "rr", &all[2..5]),
        service(&at(second, 8080), "tcp", "wlc", &all[1..5]),
        service(&at(second, 5432), "tcp", "sed", &all[..2]),
    );
    world.start(&config);
    until("all are up", || {
        let health = world.api().health().unwrap();
        let mut all = health.iter().flat_map(|one| &one.destinations);
        all.all(|one| one.health == api::HealthState::Up)
    });
    let busy = [(vip(), 80), (vip(), 443), (second, 8080), (second, 5432)];
    let busy = busy.map(|(address, port)| SocketAddr::new(address, port));
    let load = Load::begin(&world.client, &busy);
    drive(&mut world, &folder, "screens", |world, what| match what {
        "claim the virtual address" => claim(&stray),
        "unplug server 6" => world.set_link(6, false),
        "forget all" => {
            let another = thousand(world);
            world.apply(&another).unwrap();
        }
        other => panic!("cannot do {other:?}"),
    });
    load.end();
}

/// Sends bytes to the console's address and reads the whole answer: its status, its head, its body.
fn raw(world: &World, request: &str) -> (u16, String, String) {
    let bytes = world
        .director
        .run(|| {
            let mut stream = TcpStream::connect(LISTEN).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            bytes
        })
        .unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn ask(world: &World, method: &str, path: &str, more: &str) -> (u16, String, String) {
    let host = if more.contains("Host: ") {
        ""
    } else {
        "Host: 127.0.0.1:8088\r\n"
    };
    raw(
        world,
        &format!("{method} {path} HTTP/1.1\r\n{host}{more}Connection: close\r\n\r\n"),
    )
}

#[test]
fn the_files_come_with_a_strict_policy_and_nothing_else_comes() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let on = format!("{}{}", world.classic("rr"), api(&world));
    world.start(&on);

    let (status, head, page) = ask(&world, "GET", "/", "");
    assert_eq!(status, 200, "{head}");
    assert!(page.starts_with("<!doctype html>"), "{page}");
    for (name, value) in console::HEADERS {
        let line = format!("{name}: {}", value.to_ascii_lowercase());
        assert!(head.contains(&line), "{line}\n{head}");
    }
    assert!(
        head.contains("content-type: text/html; charset=utf-8"),
        "{head}"
    );

    // Known files are not sent again.
    let tag = head
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .unwrap();
    let (status, head, body) = ask(&world, "GET", "/", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((status, body.as_str()), (304, ""));
    assert!(
        head.contains("content-security-policy: default-src 'none'"),
        "{head}"
    );
    let (status, head, body) = ask(&world, "HEAD", "/console/app.js", "");
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("content-type: text/javascript"), "{head}");

    // What is no file of it.
    for path in [
        "/console/../../etc/passwd",
        "/console/..%2f..%2fetc%2fpasswd",
        "/console/%2e%2e/index.html",
        "/console/nothing.js",
        "/console/views/",
    ] {
        let (status, _, body) = ask(&world, "GET", path, "");
        assert_eq!(status, 404, "{path}: {body}");
        assert!(!body.contains("root:"), "{path}: {body}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let (status, head, _) = ask(&world, method, "/", "Content-Length: 0\r\n");
        assert_eq!(status, 405, "{method}");
        assert!(head.contains("allow: get, head"), "{head}");
    }

    // A name that somebody else lets point here is not answered: neither the page nor the API.
    for path in ["/", "/console/app.js", "/v1/services"] {
        let (status, _, body) = ask(&world, "GET", path, "Host: evil.example:8088\r\n");
        assert_eq!(status, 401, "{path}: {body}");
    }
    let (status, ..) = ask(
        &world,
        "GET",
        "/v1/status",
        "Sec-Fetch-Site: cross-site\r\n",
    );
    assert_eq!(status, 403);
    let (status, head, _) = ask(
        &world,
        "GET",
        "/v1/status",
        "Sec-Fetch-Site: same-origin\r\n",
    );
    assert_eq!(status, 200);
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    assert!(
        head.contains("cross-origin-resource-policy: same-origin"),
        "{head}"
    );
    assert!(!head.contains("access-control-allow"), "{head}");

    // Who has no token changes nothing, and a page of another site not even with it.
    let order = format!(r#"{{"order":"drain","server":"{}"}}"#, server(1));
    let long = format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n",
        order.len()
    );
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let own = "Origin: http://127.0.0.1:8088\r\n";
    for (more, expected) in [
        (String::new(), 401),
        (
            "Authorization: Bearer wrong-0123456789abcdef\r\n".to_owned(),
            401,
        ),
        (format!("{bearer}Origin: http://evil.example\r\n"), 403),
        (format!("Cookie: dirigo-token={TOKEN}\r\n{own}"), 401),
    ] {
        let text = format!(
            "POST /v1/maintenance HTTP/1.1\r\nHost: {LISTEN}\r\n{more}{long}Connection: close\r\n\r\n{order}"
        );
        let (status, _, body) = raw(&world, &text);
        assert_eq!(status, expected, "{more}: {body}");
        assert!(world.api().maintenance().unwrap().is_empty(), "{more}");
    }
    let text = format!(
        "POST /v1/maintenance HTTP/1.1\r\nHost: {LISTEN}\r\n{bearer}{own}{long}Connection: close\r\n\r\n{order}"
    );
    assert_eq!(raw(&world, &text).0, 200);
    assert_eq!(world.api().maintenance().unwrap().len(), 1);

    // And it can be left out.
    world.terminate();
    world.start(&format!("{on}console = false\n"));
    assert_eq!(ask(&world, "GET", "/", "").0, 400);
    assert_eq!(ask(&world, "GET", "/v1/status", "").0, 200);
}

/// Statistics from the socket, until `enough`.
fn statistics(
    world: &World,
    query: &str,
    enough: impl Fn(&[api::Statistics]) -> bool,
) -> Vec<api::Statistics> {
    let path = api::socket_path(&world.instance);
    let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    let request = format!("GET /v1/statistics{query} HTTP/1.0\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut told = Vec::new();
    let patience = Patience::of(Duration::from_secs(30));
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        assert!(!patience.is_over(), "in vain: {told:?}");
        if let Some(data) = line.strip_prefix("data: ") {
            told.push(serde_json::from_str(data).unwrap());
            if enough(&told) {
                return told;
            }
        }
    }
    panic!("the stream ended: {told:?}");
}

#[test]
fn statistics_tell_what_is_different_and_nothing_is_read_while_nobody_listens() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr") + &service("10.9.0.100:9", "udp", "rr", &[(1, 1)]);
    world.start(&config);
    let web: api::ServiceKey = format!("tcp:{}:80", vip()).parse().unwrap();
    let idle: api::ServiceKey = "udp:10.9.0.100:9".parse().unwrap();
    let open: Vec<_> = (0..4).map(|_| world.connect().unwrap()).collect();

    let query = format!("?service={web}");
    let told = statistics(&world, &query, |told| {
        let figures = told.iter().filter_map(|one| *one.services.get(&web)?);
        told.len() > 2 && figures.max_by_key(|one| one.1).is_some_and(|one| one.1 > 0)
    });
    let first = &told[0];
    assert_eq!(
        first.services.len(),
        2,
        "the first has everything: {first:?}"
    );
    let figures = first.services[&web].unwrap();
    assert_eq!((figures.3 + figures.4, figures.5, figures.6), (4, 2, 2));
    assert_eq!(first.destinations.len(), 2);
    assert_eq!(first.total.3, 4);
    let later = told[1..]
        .iter()
        .filter(|one| one.services.contains_key(&idle));
    assert_eq!(later.count(), 0, "what is as it was is left out");
    assert!(told.windows(2).all(|two| two[0].time_ms < two[1].time_ms));
    drop(open);

    // A destination that gets no new connections, and a service that goes.
    let has_begun = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let listening = scope.spawn(|| {
            statistics(&world, &query, |told| {
                has_begun.store(true, Ordering::Relaxed);
                let eligible = told.last().and_then(|one| *one.services.get(&web)?);
                let is_gone = told
                    .iter()
                    .any(|one| one.services.get(&idle) == Some(&None));
                is_gone || eligible.is_some_and(|one| one.5 == 0)
            })
        });
        until("it listens", || has_begun.load(Ordering::Relaxed));
        let drain = api::MaintenanceOrder::Disable {
            server: server(1).into(),
            service: None,
        };
        world.api().maintain(&drain).unwrap();
        let gone = api::Change::DeleteService { service: idle };
        world.api().change(&gone).unwrap();
        let told = listening.join().unwrap();
        let address = SocketAddr::new(server(1), 80);
        let of = |one: &api::Statistics| one.destinations.get(&address).copied().flatten();
        let held = told.iter().filter_map(of).next_back();
        assert_eq!(held.unwrap().5, 0, "its weight is 0 now");
        let web = told
            .iter()
            .filter_map(|one| *one.services.get(&web)?)
            .next_back();
        assert_eq!(
            (web.unwrap().5, web.unwrap().6),
            (1, 2),
            "one of two is eligible"
        );
    });

    // Places are few, and given back.
    let path = api::socket_path(&world.instance);
    let begin = || {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream
            .write_all(b"GET /v1/statistics HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (head, stream)
    };
    let streams: Vec<_> = (0..32).map(|_| begin()).collect();
    assert!(streams.iter().all(|(head, _)| head.ends_with(b"200")));
    assert!(begin().0.ends_with(b"507"), "one too many");
    drop(streams);
    until("places are free again", || begin().0.ends_with(b"200"));
    let refused = world.raw("GET /v1/statistics?every=0 HTTP/1.0\r\n\r\n");
    assert!(
        refused.contains("400") && refused.contains("1 to 60"),
        "{refused}"
    );
}

#[test]
fn the_segment_says_who_answers_for_a_virtual_address() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    let segment = || -> api::Segment {
        let answer = world.raw("GET /v1/segment HTTP/1.0\r\nHost: x\r\n\r\n");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let found = segment();
    assert_eq!(found.interfaces[0].name, "eth0");
    assert_eq!(found.vips.len(), 1);
    assert_eq!((found.vips[0].address, found.vips[0].services), (vip(), 1));
    assert_eq!(found.vips[0].on, ["eth0"]);
    assert!(found.vips[0].claims.is_empty());
    let servers: Vec<_> = found
        .servers
        .iter()
        .map(|one| (one.address, one.serving, one.held))
        .collect();
    assert_eq!(servers, [(server(1), 1, false), (server(2), 1, false)]);

    until("the claim is shown", || {
        claim(&world.servers[1]);
        !segment().vips[0].claims.is_empty()
    });
    let claims = &segment().vips[0].claims;
    assert_eq!(claims[0].mac, "02:00:00:09:00:0c");
    assert_eq!(claims[0].interface, "eth0");
    assert!(claims[0].frames >= 1);
}
