//! The true path against real kernels and nginx, in namespaces that end with their test. Needs root.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Segment, VIP4, VIP6, block_on, check, have_nginx, nginx, page, root};
use dirigo_health::attempt::attempt;
use dirigo_health::check::{Check, Kind, To};
use dirigo_health::path::TruePath;
use dirigo_health::reason::{Outcome, Reason};

fn reason(outcome: Outcome) -> Reason {
    match outcome {
        Outcome::Failed(reason) => reason,
        Outcome::Passed { .. } => panic!("it passed"),
    }
}

#[test]
fn each_real_server_is_asked_for_the_virtual_address_by_a_backup_and_by_a_master() {
    if !root() || !have_nginx() {
        return;
    }
    let segment = Segment::new();
    let _one = nginx(&segment.servers[0], "one", None);
    let _two = nginx(&segment.servers[1], "two", None);
    for role in ["backup", "master"] {
        for vip in [VIP4, VIP6] {
            let whom = [(0, vip, 80), (1, vip, 80), (0, vip, 80)];
            let outcomes = segment.ask_all(&whom, &page("^one$"));
            let passed: Vec<bool> = outcomes.iter().map(Outcome::is_pass).collect();
            assert_eq!(passed, [true, false, true], "{role} {vip}: {outcomes:?}");
            assert!(
                matches!(&outcomes[1], Outcome::Failed(Reason::Body { .. })),
                "{outcomes:?}"
            );
        }
        if role == "backup" {
            segment.promote();
        }
    }
}

#[test]
fn a_server_without_the_virtual_address_fails_although_its_own_address_answers() {
    if !root() || !have_nginx() {
        return;
    }
    let segment = Segment::new();
    let _one = nginx(&segment.servers[0], "one", None);
    let _two = nginx(&segment.servers[1], "one", None);
    segment.promote();
    for (vip, forwarding) in [
        (VIP4, "ipv4/ip_forward"),
        (VIP6, "ipv6/conf/all/forwarding"),
    ] {
        segment.servers[0].remove(vip, "lo");
        let outcome = segment.ask(0, vip, 80, &page("one"));
        assert!(
            matches!(reason(outcome), Reason::Timeout { .. }),
            "{vip}: a host that does not forward is silent"
        );
        // Sent on, the packet would reach the director, and through it a server that is well.
        segment.servers[0].sysctl(forwarding, "1");
        let outcome = segment.ask(0, vip, 80, &page("one"));
        assert_eq!(reason(outcome), Reason::Forwarded { vip });
        let own = Check {
            to: To::Own,
            ..page("one")
        };
        assert!(segment.ask(0, vip, 80, &own).is_pass());
    }
}

#[test]
fn a_server_that_answers_arp_or_neighbour_solicitations_for_the_virtual_address_fails() {
    if !root() || !have_nginx() {
        return;
    }
    let segment = Segment::new();
    let server = &segment.servers[0];
    let _one = nginx(server, "one", None);
    server.sysctl("ipv4/conf/all/arp_ignore", "0");
    // IPv6 answers for addresses of the interface itself.
    server.remove(VIP6, "lo");
    server.add(VIP6, "eth0");
    for vip in [VIP4, VIP6] {
        assert_eq!(
            reason(segment.ask(0, vip, 80, &page("one"))),
            Reason::Answers { vip }
        );
        let lenient = Check {
            suppression: false,
            ..page("one")
        };
        assert!(segment.ask(0, vip, 80, &lenient).is_pass());
    }
    server.sysctl("ipv4/conf/all/arp_ignore", "1");
    assert!(segment.ask(0, VIP4, 80, &page("one")).is_pass());
}

#[test]
fn a_server_that_asks_in_the_virtual_addresss_name_fails() {
    if !root() || !have_nginx() {
        return;
    }
    let segment = Segment::new();
    let server = &segment.servers[0];
    let _one = nginx(server, "one", None);
    server.sysctl("ipv4/conf/all/arp_announce", "0");
    // It has forgotten us, so it must ask before it can answer.
    server.run(|| {
        let netlink = netlink::Netlink::open().unwrap();
        let index = netlink.link("eth0").unwrap().index;
        let _forgotten = netlink.delete_neighbour(index, segment.director.v4());
    });
    let quiet = Check {
        suppression: false,
        ..page("one")
    };
    segment.director.run(|| {
        let path = Arc::new(TruePath::open().unwrap());
        let target = segment.target(&path, 0, SocketAddr::new(VIP4, 80), To::Vip);
        // The pair is watched from the first question on; that question also teaches it who we
        // are, so it is made to forget once more.
        let _first = block_on(attempt(&page("one"), &target));
        segment.servers[0].run(|| {
            let netlink = netlink::Netlink::open().unwrap();
            let index = netlink.link("eth0").unwrap().index;
            netlink
                .delete_neighbour(index, segment.director.v4())
                .unwrap();
        });
        assert!(block_on(attempt(&quiet, &target)).is_pass());
        let outcome = block_on(attempt(&page("one"), &target));
        assert_eq!(reason(outcome), Reason::Announces { vip: VIP4 });
    });
}

#[test]
fn killed_hung_and_refusing_servers_are_told_apart() {
    if !root() || !have_nginx() {
        return;
    }
    let segment = Segment::new();
    let (hung, _files) = nginx(&segment.servers[0], "one", None);
    for vip in [VIP4, VIP6] {
        hung.signal(nix::sys::signal::Signal::SIGSTOP);
        let outcome = segment.ask(0, vip, 80, &page("one"));
        assert_eq!(
            reason(outcome),
            Reason::Timeout {
                stage: "waiting for the answer to the request",
                after: Duration::from_millis(1500)
            }
        );
        assert!(
            segment.ask(0, vip, 80, &check(Kind::Tcp)).is_pass(),
            "its kernel still connects"
        );
        hung.signal(nix::sys::signal::Signal::SIGCONT);
        assert!(segment.ask(0, vip, 80, &page("one")).is_pass());
        // Nobody listens.
        assert_eq!(
            reason(segment.ask(1, vip, 80, &check(Kind::Tcp))),
            Reason::Refused { port: 80 }
        );
    }
}

#[test]
fn echoes_go_the_true_path_too() {
    if !root() || !have_nginx() {
        return;
    }
    let segment = Segment::new();
    for vip in [VIP4, VIP6] {
        for _role in ["backup", "master"] {
            let outcomes = segment.ask_all(&[(0, vip, 0), (1, vip, 0)], &check(Kind::Icmp));
            assert!(outcomes.iter().all(Outcome::is_pass), "{vip}: {outcomes:?}");
        }
        segment.servers[1].remove(vip, "lo");
        let outcome = segment.ask(1, vip, 0, &check(Kind::Icmp));
        assert!(matches!(reason(outcome), Reason::Timeout { .. }));
    }
}

#[test]
fn the_host_answers_nothing_that_belongs_to_a_check_and_its_own_connections_go_on() {
    if !root() || !have_nginx() {
        return;
    }
    let segment = Segment::new();
    let _one = nginx(&segment.servers[0], "one", None);
    let (heard, outcomes) = segment.director.run(|| {
        let index = netlink::Netlink::open()
            .unwrap()
            .link("eth0")
            .unwrap()
            .index;
        let mut capture = netlink::FrameSocket::open(index).unwrap();
        let path = Arc::new(TruePath::open().unwrap());
        let target = segment.target(&path, 0, SocketAddr::new(VIP4, 80), To::Vip);
        // An ordinary connection of the host to the same server, held open all the while.
        let own = SocketAddr::new(segment.servers[0].v4(), 80);
        let mut held = std::net::TcpStream::connect(own).unwrap();
        let outcomes: Vec<_> = (0..20)
            .map(|_| block_on(attempt(&page("one"), &target)))
            .collect();
        std::io::Write::write_all(&mut held, b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut held, &mut answer).unwrap();
        assert!(answer.ends_with("one"), "{answer}");
        let mut heard = Vec::new();
        while let Some(frame) = capture.recv(Some(Duration::from_millis(200))).unwrap() {
            heard.push(frame);
        }
        (heard, outcomes)
    });
    assert!(outcomes.iter().all(Outcome::is_pass), "{outcomes:?}");
    // SYNs of the checks that went out, and resets: one for each attempt at its end, none of the
    // host's kernel, whose TTL is 64.
    let sent = |flags: u8| {
        heard.iter().filter(move |frame| {
            let bytes = &frame.bytes;
            frame.outgoing && bytes[12..14] == [8, 0] && bytes[23] == 6 && bytes[47] & flags != 0
        })
    };
    let syns = sent(2)
        .filter(|frame| frame.bytes[30..34] == [10, 9, 0, 100])
        .count();
    assert_eq!(syns, 20);
    assert!(
        sent(4).all(|frame| frame.bytes[22] == 1),
        "a reset by the host"
    );
}

#[test]
fn many_checks_at_once_do_not_mix_up_their_servers() {
    if !root() || !have_nginx() {
        return;
    }
    let segment = Segment::new();
    let _one = nginx(&segment.servers[0], "one", None);
    let _two = nginx(&segment.servers[1], "two", None);
    segment.promote();
    let failures: Vec<_> = segment.director.run(|| {
        let path = Arc::new(TruePath::open().unwrap());
        block_on(async {
            let mut attempts = tokio::task::JoinSet::new();
            for number in 0..400 {
                let server = number % 2;
                let vip = if number % 4 < 2 { VIP4 } else { VIP6 };
                let wanted = page(if server == 0 { "^one$" } else { "^two$" });
                let target = segment.target(&path, server, SocketAddr::new(vip, 80), To::Vip);
                attempts.spawn_local(async move { attempt(&wanted, &target).await });
            }
            let outcomes = attempts.join_all().await;
            outcomes.into_iter().filter(|one| !one.is_pass()).collect()
        })
    });
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn a_stranger_who_knocks_at_a_checks_port_is_not_heard() {
    if !root() || !have_nginx() {
        return;
    }
    let segment = Segment::new();
    // A check that waits; and what is sent to the server that it waits for.
    let (checked, stranger) = (&segment.servers[0], &segment.servers[1]);
    checked.remove(VIP4, "lo");
    let mut sent = checked.run(|| {
        let index = netlink::Netlink::open()
            .unwrap()
            .link("eth0")
            .unwrap()
            .index;
        netlink::FrameSocket::open(index).unwrap()
    });
    let director = segment.director.v4();
    let knock = std::thread::scope(|scope| {
        let asked = scope.spawn(|| segment.ask(0, VIP4, 80, &check(Kind::Tcp)));
        std::thread::sleep(Duration::from_millis(300));
        // The only lease is on the first port.
        let knock = stranger.run(|| {
            let port = SocketAddr::new(director, *dirigo_health::limits::PORTS.start());
            std::net::TcpStream::connect_timeout(&port, Duration::from_millis(500))
        });
        assert!(matches!(
            reason(asked.join().unwrap()),
            Reason::Timeout { .. }
        ));
        knock
    });
    assert_eq!(knock.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    let mut checks = 0;
    while let Some(frame) = sent.recv(Some(Duration::from_millis(100))).unwrap() {
        let bytes = &frame.bytes;
        if bytes[12..14] == [8, 0] && bytes[23] == 6 {
            assert_eq!(bytes[30..34], [10, 9, 0, 100], "an answer to the stranger");
            checks += 1;
        }
    }
    assert!(checks > 0, "the check was sent there");
}
