//! Traces begin and end while packets flow; and a daemon that dies while it traces is put right.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "common/traffic.rs"]
mod traffic;

use std::ops::ControlFlow;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::{ChosenBy, TraceFrame, TraceLine, TraceQuery, TraceTally, Verdict};
use common::{CHILD, FILES, World, root, server, six, until, vip};
use dirigo_daemon as daemon;
use traffic::Traffic;

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

#[test]
fn traces_come_and_go_and_die_while_no_packet_is_lost_and_no_connection_moves() {
    if !root() {
        return;
    }
    let mut world = World::new();
    for (number, server) in world.servers.iter().enumerate() {
        traffic::serve(server, number as u8 + 1);
    }
    let udp = format!(
        "[[service]]\naddress = \"{}:{}\"\nprotocol = \"udp\"\nscheduler = \"rr\"\n\
         [[service.destination]]\naddress = \"{}\"\n[[service.destination]]\naddress = \"{}\"\n",
        vip(),
        traffic::PORT,
        server(1),
        server(2)
    );
    let config = world.classic("rr") + &udp;
    world.start(&config);
    let plain = program(&world);
    let mut open: Vec<_> = (0..4).map(|_| world.connect().unwrap()).collect();
    let traffic = Traffic::begin(&world.client, vip());

    for _ in 0..2 {
        let (frames, _) = first(&world, &TraceQuery::default(), 200);
        assert!(
            frames.iter().all(|frame| frame.destination.is_some()),
            "{frames:?}"
        );
        until("the plain programs are back", || program(&world) == plain);
    }
    // Killed while it traces; whoever listens is told by the end.
    let client = world.api();
    let listening = std::thread::spawn(move || {
        let mut frames = 0u64;
        let ended = client.trace(&TraceQuery::default(), &mut |line| {
            frames += u64::from(matches!(line, TraceLine::Frame(_)));
            ControlFlow::Continue(())
        });
        (frames, ended.is_err())
    });
    until("the watched programs are in place", || {
        program(&world) != plain
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    world.kill();
    let (frames, is_error) = listening.join().unwrap();
    assert!(frames > 0 && is_error, "{frames}");
    world.start(&config);
    assert!(world.api().status().unwrap().adopted);
    assert_eq!(program(&world).1, plain.1, "the plain programs");
    // And the next trace is as any other.
    let (frames, _) = first(&world, &TraceQuery::default(), 10);
    assert_eq!(frames.len(), 10);
    until("the plain programs are back", || {
        program(&world).1 == plain.1
    });

    let told = traffic.end();
    println!("{told:?}");
    assert!(told.known > 100 && told.new > 10, "{told:?}");
    assert_eq!((told.lost, told.moved), (0, 0), "{told:?}");
    assert!(open.iter_mut().all(common::Conversation::echoes));
    assert_eq!(world.api().status().unwrap().counters["pass_not_ready"], 0);
}

#[test]
fn while_the_first_trace_has_its_programs_checked_others_are_answered() {
    if !root() {
        return;
    }
    let mut world = World::new();
    world.start(&world.classic("rr"));
    let plain = program(&world);
    let began = Arc::new(AtomicBool::new(false));
    // Two at once: both find nothing to watch, and both get what they wait for.
    let traces: Vec<_> = (0..2)
        .map(|_| {
            let (client, began) = (world.api(), Arc::clone(&began));
            std::thread::spawn(move || {
                client.trace(&TraceQuery::default(), &mut |line| match line {
                    TraceLine::Frame(_) => ControlFlow::Continue(()),
                    // The first line, a second after the trace began.
                    TraceLine::Tally(_) => {
                        began.store(true, Ordering::SeqCst);
                        ControlFlow::Break(())
                    }
                })
            })
        })
        .collect();
    let mut answers = 0;
    while program(&world) == plain && !began.load(Ordering::SeqCst) {
        world.api().status().unwrap();
        answers += 1;
    }
    for trace in traces {
        trace.join().unwrap().unwrap();
    }
    assert!(answers > 5, "{answers} answers while the verifier worked");
    until("the plain programs are back", || program(&world) == plain);
    world.terminate();
}

#[test]
fn a_trace_tells_of_what_it_is_asked_for_and_says_why() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    let plain = program(&world);
    let client = world.api();
    let (ready, begun) = std::sync::mpsc::channel();
    let listening = std::thread::spawn(move || {
        let mut frames = Vec::new();
        client
            .trace(&TraceQuery::default(), &mut |line| match line {
                TraceLine::Tally(_) => {
                    let _late = ready.send(());
                    ControlFlow::Continue(())
                }
                TraceLine::Frame(frame) => {
                    frames.push(*frame);
                    if frames.len() == 3 {
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
        frames
    });
    begun.recv().unwrap();
    let conversation = world.connect().unwrap();
    let frames = listening.join().unwrap();
    let syn = &frames[0];
    assert_eq!(syn.what, "TCP SYN");
    assert_eq!(
        (syn.verdict, syn.counter.as_str()),
        (Verdict::Transmit, "transmitted")
    );
    assert_eq!(syn.chosen_by, Some(ChosenBy::Scheduler));
    assert_eq!(syn.events, ["connection_new"]);
    assert_eq!(
        syn.service.unwrap().to_string(),
        format!("tcp:{}:80", vip())
    );
    assert_eq!(syn.destination.unwrap().ip(), server(conversation.server));
    assert_eq!(
        (syn.interface.as_str(), syn.egress.as_deref()),
        ("eth0", Some("eth0"))
    );
    let after = syn.after.as_ref().unwrap();
    assert_eq!(after.src_mac, syn.before.dst_mac);
    assert_eq!((syn.before.ttl, after.ttl), (Some(64), Some(63)));
    assert_eq!(frames[1].chosen_by, Some(ChosenBy::Connection));
    drop(conversation);

    // Wrong words are refused with the right ones.
    let nonsense = TraceQuery {
        verdicts: vec!["dropped".to_owned()],
        ..TraceQuery::default()
    };
    let refused = world
        .api()
        .trace(&nonsense, &mut |_| ControlFlow::Break(()));
    assert!(refused.unwrap_err().to_string().contains("drop_table_full"));
    // Four at once and no more; a client that has gone has its seat until that is noticed.
    until("the first trace has ended", || program(&world) == plain);
    let clients: Vec<_> = (0..4).map(|_| listen(&world)).collect();
    let fifth = world
        .api()
        .trace(&TraceQuery::default(), &mut |_| ControlFlow::Break(()));
    assert!(
        fifth
            .unwrap_err()
            .to_string()
            .contains("4 traces run already")
    );
    world.terminate();
    for client in clients {
        let _ended = client.join().unwrap();
    }
}

/// The first frames of a trace, and its last tally.
fn first(world: &World, query: &TraceQuery, count: usize) -> (Vec<TraceFrame>, TraceTally) {
    let (mut frames, mut tally) = (Vec::new(), TraceTally::default());
    world
        .api()
        .trace(query, &mut |line| {
            match line {
                TraceLine::Frame(frame) => frames.push(*frame),
                TraceLine::Tally(now) => tally = now,
            }
            match frames.len() < count {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })
        .unwrap();
    (frames, tally)
}

/// A client that listens until the daemon ends.
fn listen(world: &World) -> std::thread::JoinHandle<Result<(), api::ClientError>> {
    let client = world.api();
    let (ready, begun) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        client.trace(&TraceQuery::default(), &mut |_| {
            let _late = ready.send(());
            ControlFlow::Continue(())
        })
    });
    begun.recv().unwrap();
    thread
}

/// Id and tag of the program on the director's interface, as the kernel tells `ip`.
fn program(world: &World) -> (u64, String) {
    let ip = || {
        Command::new("ip")
            .args(["-j", "link", "show", "dev", "eth0"])
            .output()
    };
    let output = world.director.run(ip).unwrap().unwrap();
    let links: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let program = &links[0]["xdp"]["prog"];
    (
        program["id"].as_u64().unwrap(),
        program["tag"].as_str().unwrap().to_owned(),
    )
}
