//! Events through the whole daemon: each change of state once, with who and why, to whoever listens.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::Duration;

use api::{
    Author, Change, DestinationSettings, Event, EventKind, EventQuery, ServiceKey, ServiceSettings,
    Told,
};
use common::{CHILD, FILES, World, root, server, until, vip};
use dirigo_daemon as daemon;
use netlink::{AddressFlags, Netlink};

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

fn service(port: u16) -> ServiceKey {
    format!("tcp:{}:{port}", vip()).parse().unwrap()
}

fn add_service(port: u16) -> Change {
    Change::AddService {
        service: service(port),
        settings: ServiceSettings::of("rr"),
    }
}

fn remembered(world: &World) -> Vec<Event> {
    ask(world, "follow=false").0
}

/// Events, and how many were said to be missed.
fn ask(world: &World, query: &str) -> (Vec<Event>, Vec<Option<u64>>) {
    let (mut events, mut missed) = (Vec::new(), Vec::new());
    let query = EventQuery::from_text(query).unwrap();
    let shown = &mut |told| {
        match told {
            Told::Event(event) => events.push(*event),
            Told::Missed(one) => missed.push(one.missed),
        }
        ControlFlow::Continue(())
    };
    world.api().events(&query, shown).unwrap();
    (events, missed)
}

fn of(events: &[Event], kind: EventKind) -> Vec<&Event> {
    events.iter().filter(|one| one.what.kind == kind).collect()
}

fn until_told(world: &World, kind: EventKind, count: usize) -> Event {
    until(&format!("{kind} is told {count} times"), || {
        of(&remembered(world), kind).len() >= count
    });
    (*of(&remembered(world), kind).last().unwrap()).clone()
}

/// A stream of events, read by a thread until the daemon ends.
struct Stream(mpsc::Receiver<Event>);

impl Stream {
    fn open(world: &World, query: &str) -> Self {
        let (client, query) = (world.api(), EventQuery::from_text(query).unwrap());
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let done = client.events(&query, &mut |told| {
                if let Told::Event(event) = told {
                    let _test_is_over = sender.send(*event);
                }
                ControlFlow::Continue(())
            });
            done.expect("a stream ends in an orderly way with its daemon");
        });
        Self(receiver)
    }

    fn next(&self) -> Event {
        common::Patience::receive(common::PATIENCE, &self.0).unwrap()
    }

    fn rest(self) -> Vec<Event> {
        let next = || common::Patience::receive(common::PATIENCE, &self.0);
        let mut rest = Vec::new();
        loop {
            match next() {
                Ok(event) => rest.push(event),
                Err(mpsc::RecvTimeoutError::Disconnected) => return rest,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the stream does not end"),
            }
        }
    }
}

#[test]
fn what_is_changed_is_told_once_with_who_did_it_and_what_was_before() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.start(&world.classic("rr"));
    let stream = Stream::open(&world, "since=0");
    let first = stream.next();
    let started = of(&remembered(&world), EventKind::DaemonStarted).len();
    assert_eq!(started, 1, "{}", world.log());
    let destination = SocketAddr::new(server(1), 80);
    let edit = Change::EditDestination {
        service: service(80),
        destination,
        settings: DestinationSettings::of(5),
    };
    world.api().change(&edit).unwrap();
    world.api().change(&edit).unwrap();
    let ipvsadm = world.api().of_program("ipvsadm");
    let all = [
        add_service(81),
        add_service(81),
        Change::DeleteService {
            service: service(80),
        },
    ];
    let refusals = ipvsadm.change_all(&all).unwrap();
    assert!(refusals[1].is_some(), "{refusals:?}");
    ipvsadm.change(&Change::Clear).unwrap();
    world.terminate();

    let mut told = vec![first];
    told.extend(stream.rest());
    let table: Vec<String> = told
        .iter()
        .filter(|event| event.what.by.is_some())
        .map(|event| event.what.to_string())
        .collect();
    assert_eq!(
        table,
        [
            "destination edited tcp:10.9.0.100:80 10.9.0.11:80: weight 1 → weight 5 (by api)",
            "virtual service removed tcp:10.9.0.100:80: rr with 2 destinations (by ipvsadm)",
            "virtual service added tcp:10.9.0.100:81: rr (by ipvsadm)",
            "table cleared (by ipvsadm)",
            "daemon stopped: forwarding goes on (by signal)",
        ],
        "{}",
        world.log()
    );
    let ids: Vec<u64> = told.iter().map(|event| event.id).collect();
    assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    // The journal has the same, a line for each.
    let log = world.log();
    for event in &told {
        let line = format!("event=\"{}\" id={}", event.what.kind, event.id);
        assert_eq!(log.matches(&line).count(), 1, "{line} in {log}");
    }
}

#[test]
fn a_next_daemon_goes_on_with_higher_ids_and_says_that_older_ones_are_gone() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.start(&world.classic("rr"));
    let before = remembered(&world);
    let attached = of(&before, EventKind::InterfaceAttached);
    assert_eq!(attached[0].what.new.as_deref(), Some("native"));
    assert_eq!(of(&before, EventKind::ServerResolved).len(), 2);
    assert_eq!(of(&before, EventKind::VipAdded).len(), 1);
    let last = before.last().unwrap().id;
    world.kill();
    let config = world.classic("wrr");
    world.start(&config);
    let (after, missed) = ask(&world, &format!("follow=false&since={last}"));
    assert_eq!(missed, [None]);
    assert!(after.iter().all(|event| event.id > last));
    let started = of(&after, EventKind::DaemonStarted);
    let how = started[0].what.reason.as_deref();
    assert_eq!(how, Some("took over a running data plane"));
    let edited = of(&after, EventKind::ServiceEdited);
    assert_eq!(edited.len(), 1, "{}", world.log());
    let what = &edited[0].what;
    assert_eq!(what.by, Some(Author::File));
    assert_eq!(
        (what.old.as_deref(), what.new.as_deref()),
        (Some("rr"), Some("wrr"))
    );
    assert!(of(&after, EventKind::ServiceAdded).is_empty());
}

#[test]
fn health_network_and_host_tell_what_became_different_and_why() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let checked = "protocol = \"tcp\"\nchecks = [\"port\"]\nquorum = 2\n";
    let config = world.classic("rr").replace("protocol = \"tcp\"\n", checked)
        + "[[check]]\nname = \"port\"\ntype = \"tcp\"\ninterval = \"500ms\"\ntimeout = \"400ms\"\n\
           fall = 2\n";
    world.start(&config);
    until_told(&world, EventKind::DestinationUp, 2);
    until_told(&world, EventKind::QuorumGained, 1);
    let lo = |there: bool| {
        world.servers[0]
            .run(|| {
                let netlink = Netlink::open().unwrap();
                let lo = netlink.link("lo").unwrap().index;
                let flags = AddressFlags::default();
                match there {
                    true => netlink.add_address(lo, vip(), 32, flags).unwrap(),
                    false => netlink.delete_address(lo, vip(), 32).unwrap(),
                }
            })
            .unwrap();
    };
    lo(false);
    let failed = until_told(&world, EventKind::CheckFailed, 1);
    assert_eq!(failed.what.check.as_deref(), Some("port"));
    let down = until_told(&world, EventKind::DestinationDown, 1);
    assert_eq!(down.what.server, Some(server(1)));
    assert_eq!(down.what.service, Some(service(80)));
    assert!(down.what.reason.is_some(), "{down:?}");
    until_told(&world, EventKind::QuorumLost, 1);
    lo(true);
    until_told(&world, EventKind::QuorumGained, 2);

    world.set_mac(2, [2, 0, 0, 9, 0, 77]);
    let moved = until_told(&world, EventKind::ServerResolved, 3);
    assert_eq!(moved.what.server, Some(server(2)));
    assert_eq!(moved.what.old.as_deref(), Some("02:00:00:09:00:0c"));
    assert_eq!(moved.what.new.as_deref(), Some("02:00:00:09:00:4d"));

    world
        .director
        .run(|| {
            let netlink = Netlink::open().unwrap();
            let index = netlink.link("eth0").unwrap().index;
            netlink.delete_address(index, vip(), 32).unwrap();
        })
        .unwrap();
    let restored = until_told(&world, EventKind::VipRestored, 1);
    assert_eq!(restored.what.vip, Some(vip()));

    let (only, _) = ask(&world, "follow=false&kind=quorum-lost,vip-restored");
    assert_eq!(only.len(), 2, "{}", world.log());

    // Another host of the segment says that the address is its own.
    world
        .client
        .run(|| {
            let netlink = Netlink::open().unwrap();
            let index = netlink.link("eth0").unwrap().index;
            let mac = netlink.link("eth0").unwrap().mac;
            let socket = netlink::FrameSocket::open_discovery(index).unwrap();
            let std::net::IpAddr::V4(vip) = vip() else {
                unreachable!("the virtual address is IPv4")
            };
            let claim = netlink::arp::Arp::request(mac, vip, vip).emit();
            until("the claim is told", || {
                socket.send(&claim).unwrap();
                !of(&remembered(&world), EventKind::VipClaimed).is_empty()
            });
        })
        .unwrap();
    let claimed = of(&remembered(&world), EventKind::VipClaimed)[0].clone();
    assert_eq!(claimed.what.vip, Some(vip()));
    assert!(claimed.what.mac.is_some(), "{claimed:?}");

    world.replace_directors_interface();
    let gone = until_told(&world, EventKind::InterfaceGone, 1);
    assert_eq!(gone.what.interface.as_deref(), Some("eth0"));
    until_told(&world, EventKind::InterfaceAttached, 2);
    let (warnings, _) = ask(&world, "follow=false&level=warning");
    assert!(of(&warnings, EventKind::ServerResolved).is_empty());
}

#[test]
fn a_slow_reader_is_told_how_much_it_missed_and_holds_up_nobody() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.start(&world.classic("rr"));
    let path = api::socket_path(&world.instance);
    let mut slow = UnixStream::connect(path).unwrap();
    let head = "GET /v1/events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 0\r\n\r\n";
    slow.write_all(head.as_bytes()).unwrap();
    let mut begun = [0; 12];
    slow.read_exact(&mut begun).unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200");
    // More than the ring and every buffer between hold.
    let ports = 1_000..2_500;
    for _ in 0..2 {
        let add: Vec<Change> = ports.clone().map(add_service).collect();
        let remove = ports.clone().map(|port| Change::DeleteService {
            service: service(port),
        });
        let remove: Vec<Change> = remove.collect();
        for changes in [add, remove] {
            let refusals = world.api().change_all(&changes).unwrap();
            assert!(refusals.iter().all(Option::is_none));
        }
    }
    let told = of(&remembered(&world), EventKind::ServiceRemoved).len();
    assert_eq!(told, 1_024, "the ring is bounded");
    slow.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let (mut missed, mut last, mut count) = (0, None, 0);
    for line in BufReader::new(slow).lines() {
        let line = line.unwrap();
        let Some(data) = line.strip_prefix("data: ") else {
            continue;
        };
        match serde_json::from_str(data).unwrap() {
            Told::Missed(one) => missed += one.missed.unwrap(),
            Told::Event(event) => {
                if let Some(last) = last {
                    count += 1;
                    assert_eq!(
                        last + 1 + missed,
                        event.id,
                        "nothing is lost without a word"
                    );
                    missed = match missed {
                        0 => 0,
                        some => {
                            assert!(some > 1_000, "{some} missed");
                            break;
                        }
                    };
                }
                last = Some(event.id);
            }
        }
    }
    assert!(count > 100, "{count} events before the gap");
    let answer = world
        .raw("GET /v1/events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: x\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("must be the id of an event"), "{answer}");
}
