//! Maintenance through the whole daemon, with real connections: who gets new ones, what becomes of the others.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use api::{
    Change, DestinationSettings, Maintenance, MaintenanceDone, MaintenanceOrder, ServiceKey,
};
use common::{CHILD, Conversation, FILES, World, root, server, until, vip};
use dirigo_daemon as daemon;

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

fn drain(server: IpAddr) -> MaintenanceOrder {
    MaintenanceOrder::Drain {
        server: server.into(),
        service: None,
        deadline_s: None,
        remove: false,
        now: false,
    }
}

fn order(world: &World, order: &MaintenanceOrder) -> MaintenanceDone {
    world.api().maintain(order).unwrap()
}

fn enable(world: &World, server: IpAddr) {
    let service = None;
    order(
        world,
        &MaintenanceOrder::Enable {
            server: server.into(),
            service,
        },
    );
}

fn held(world: &World) -> Vec<Maintenance> {
    world.api().maintenance().unwrap()
}

fn who_answers(world: &World) -> BTreeSet<u8> {
    world.ask(6).into_iter().collect()
}

/// An open connection to this server.
fn open(world: &World, server: u8) -> Conversation {
    let mut all = (0..20).map(|_| world.connect().unwrap());
    all.find(|open| open.server == server).unwrap()
}

/// Weight of a destination, and what it has when enabled.
fn weight(world: &World, of: IpAddr) -> Option<(u32, Option<u32>)> {
    let services = world.api().services().unwrap();
    let mut all = services.iter().flat_map(|service| &service.destinations);
    let found = all.find(|one| one.destination.ip() == of)?;
    Some((found.settings.weight, found.held_weight))
}

/// The classic service, whose closed connections are forgotten after a second.
fn brief(world: &World) -> String {
    format!("{}[timeouts]\ntcp_fin = 1\n", world.classic("rr"))
}

#[test]
fn a_drained_server_keeps_its_connections_through_restarts_and_is_removed_when_it_has_none() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = brief(&world);
    world.start(&config);
    let mut open = open(&world, 1);
    let removing = MaintenanceOrder::Drain {
        server: server(1).into(),
        service: None,
        deadline_s: None,
        remove: true,
        now: false,
    };
    let done = order(&world, &removing);
    assert_eq!((done.let_go, done.orders.len()), (0, 1));
    for how in ["running", "killed", "stopped"] {
        match how {
            "killed" => world.kill(),
            "stopped" => world.terminate(),
            _ => {}
        }
        if how != "running" {
            assert_eq!(who_answers(&world), BTreeSet::from([2]), "without a daemon");
            world.start(&config);
        }
        assert_eq!(who_answers(&world), BTreeSet::from([2]), "{how}");
        assert!(open.echoes(), "{how}");
        assert_eq!(weight(&world, server(1)), Some((0, Some(1))), "{how}");
        // Of those that were opened to find this one only it is left.
        until("one connection is left", || held(&world)[0].active == 1);
    }
    drop(open);
    until("it is removed", || weight(&world, server(1)).is_none());
    let [order] = &held(&world)[..] else {
        panic!("{:?}", held(&world));
    };
    assert!(order.removed && !order.remove, "{order:?}");
    // The file still names it: a restart does not bring it back.
    world.terminate();
    world.start(&config);
    assert_eq!(weight(&world, server(1)), None);
    assert_eq!(who_answers(&world), BTreeSet::from([2]));
    enable(&world, server(1));
    until("it is back", || {
        who_answers(&world) == BTreeSet::from([1, 2])
    });
    assert_eq!(held(&world), []);
}

#[test]
fn letting_go_at_once_resets_tcp_and_sends_udp_elsewhere() {
    if !root() {
        return;
    }
    let mut world = World::new();
    for (index, server) in world.servers.iter().enumerate() {
        serve_udp(server, index as u8 + 1);
    }
    let udp = world.classic("rr").replace("tcp", "udp");
    let udp = udp.replace("[director]\ninterface = \"eth0\"\n", "");
    world.start(&(world.classic("rr") + &udp));
    let mut tcp = open(&world, 1);
    let mut others = open(&world, 2);
    let socket = world
        .client
        .run(|| UdpSocket::bind("[::]:0").unwrap())
        .unwrap();
    let mut flow = socket;
    // The turn decides: of two flows one is the first server's.
    if ask_udp(&flow) != Some(1) {
        flow = world
            .client
            .run(|| UdpSocket::bind("[::]:0").unwrap())
            .unwrap();
        assert_eq!(ask_udp(&flow), Some(1));
    }
    assert_eq!(ask_udp(&flow), Some(1), "the flow stays where it is");
    let now = MaintenanceOrder::Drain {
        server: server(1).into(),
        service: None,
        deadline_s: None,
        remove: false,
        now: true,
    };
    let done = order(&world, &now);
    assert!(done.let_go >= 2, "{done:?}");
    assert_eq!(done.orders[0].connections(), 0);
    assert_eq!(
        ask_udp(&flow),
        Some(2),
        "its next datagram is scheduled anew"
    );
    let error = tcp.failure();
    assert_eq!(
        error,
        std::io::ErrorKind::ConnectionReset,
        "by the director"
    );
    assert!(others.echoes(), "another server's connection goes on");
    assert_eq!(who_answers(&world), BTreeSet::from([2]));
}

/// Answers each datagram with its number.
fn serve_udp(server: &netlink::Namespace, number: u8) {
    let address = SocketAddr::new(vip(), 80);
    let socket = server.run(|| UdpSocket::bind(address).unwrap()).unwrap();
    std::thread::spawn(move || {
        let mut byte = [0];
        while let Ok((_, client)) = socket.recv_from(&mut byte) {
            let _client_is_gone = socket.send_to(&[number], client);
        }
    });
}

/// Who answers a datagram of this flow.
fn ask_udp(flow: &UdpSocket) -> Option<u8> {
    flow.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    flow.send_to(&[0], ("::ffff:10.9.0.100", 80)).unwrap();
    let mut number = [0];
    flow.recv_from(&mut number).ok()?;
    Some(number[0])
}

#[test]
fn a_deadline_lets_go_of_what_is_left_also_when_it_ends_without_a_daemon() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    let mut left = open(&world, 1);
    let deadline = MaintenanceOrder::Drain {
        server: server(1).into(),
        service: None,
        deadline_s: Some(1),
        remove: true,
        now: false,
    };
    order(&world, &deadline);
    assert!(left.echoes());
    world.kill();
    std::thread::sleep(Duration::from_secs(1));
    assert!(left.echoes(), "nobody lets go without a daemon");
    world.start(&config);
    until("it is removed", || weight(&world, server(1)).is_none());
    assert_eq!(left.failure(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_persistent_client_is_sent_elsewhere_with_its_next_connection() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let persistent = world.classic("rr").replace(
        "scheduler = \"rr\"",
        "scheduler = \"rr\"\npersistence = 300",
    );
    world.start(&persistent);
    let mut first = world.connect().unwrap();
    let (own, other) = (first.server, 3 - first.server);
    assert_eq!(who_answers(&world), BTreeSet::from([own]), "persistent");
    order(&world, &drain(server(own)));
    assert_eq!(who_answers(&world), BTreeSet::from([other]));
    assert!(first.echoes(), "what is established stays");
    enable(&world, server(own));
    assert_eq!(
        who_answers(&world),
        BTreeSet::from([other]),
        "its template went along"
    );
}

#[test]
fn checks_and_ipvsadm_do_not_bring_a_drained_server_back() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let service = "protocol = \"tcp\"\nchecks = [\"port\"]\n";
    let config = world.classic("rr").replace("protocol = \"tcp\"\n", service)
        + "[[check]]\nname = \"port\"\ntype = \"tcp\"\ninterval = \"300ms\"\ntimeout = \"250ms\"\nfall = 2\n";
    world.start(&config);
    until("both are up", || {
        [1, 2].map(|n| weight(&world, server(n))) == [Some((1, None)); 2]
    });
    order(&world, &drain(server(1)));
    assert_eq!(who_answers(&world), BTreeSet::from([2]));
    // It fails, is out, passes again, and is back: with weight 0.
    world.set_link(1, false);
    until("it is out", || weight(&world, server(1)).is_none());
    world.set_link(1, true);
    until("it is in again", || weight(&world, server(1)).is_some());
    assert_eq!(weight(&world, server(1)), Some((0, Some(1))));
    let key: ServiceKey = format!("tcp:{}:80", vip()).parse().unwrap();
    let edit = Change::EditDestination {
        service: key,
        destination: SocketAddr::new(server(1), 80),
        settings: DestinationSettings::of(5),
    };
    world.api().change(&edit).unwrap();
    assert_eq!(weight(&world, server(1)), Some((0, Some(5))));
    assert_eq!(who_answers(&world), BTreeSet::from([2]));
    enable(&world, server(1));
    assert_eq!(weight(&world, server(1)), Some((5, None)));
    until("it is used", || {
        who_answers(&world) == BTreeSet::from([1, 2])
    });
}

#[test]
fn an_order_for_nobody_is_refused_with_who_there_is() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    let refusal = world.api().maintain(&drain(server(9))).unwrap_err();
    let text = refusal.to_string();
    assert!(
        text.contains("no service has a real server 10.9.0.19"),
        "{text}"
    );
    assert!(text.contains("10.9.0.11, 10.9.0.12"), "{text}");
    let elsewhere = MaintenanceOrder::Disable {
        server: server(1).into(),
        service: Some("tcp:10.9.0.100:81".parse().unwrap()),
    };
    let text = world.api().maintain(&elsewhere).unwrap_err().to_string();
    assert!(
        text.contains("there is no service tcp:10.9.0.100:81"),
        "{text}"
    );
    let service = None;
    let server = server(1).into();
    let order = MaintenanceOrder::Enable { server, service };
    let text = world.api().maintain(&order).unwrap_err().to_string();
    assert!(text.contains("is not in maintenance"), "{text}");
    assert_eq!(held(&world), []);
}

#[test]
fn a_real_server_is_called_by_its_configured_name() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    let config = config.replacen("address = \"10.9.0.11\"", "real_server = \"one\"", 1)
        + "[[real_server]]\nname = \"one\"\naddress = \"10.9.0.11\"\n";
    world.start(&config);
    let by_name = |name: &str| MaintenanceOrder::Disable {
        server: api::ServerName::Name(name.to_owned()),
        service: None,
    };
    let done = order(&world, &by_name("one"));
    assert_eq!(done.server, server(1));
    assert_eq!(done.orders.len(), 1);
    assert_eq!(who_answers(&world), BTreeSet::from([2]));
    let text = world
        .api()
        .maintain(&by_name("two"))
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("no [[real_server]] is called \"two\": there are one"),
        "{text}"
    );
    let server = api::ServerName::Name("one".to_owned());
    order(
        &world,
        &MaintenanceOrder::Enable {
            server,
            service: None,
        },
    );
    assert_eq!(who_answers(&world), BTreeSet::from([1, 2]));
}

#[test]
fn who_is_drained_does_not_count_for_a_quorum_and_the_sorry_server_takes_the_clients() {
    if !root() {
        return;
    }
    let mut world = World::with_servers(3);
    let keys = format!(
        "protocol = \"tcp\"\nchecks = [\"port\"]\nsorry_server = \"{}\"\n",
        server(3)
    );
    let config = world.classic("rr").replace("protocol = \"tcp\"\n", &keys)
        + "[[check]]\nname = \"port\"\ntype = \"tcp\"\ninterval = \"500ms\"\ntimeout = \"400ms\"\n";
    world.start(&config);
    until("both real servers serve", || {
        who_answers(&world) == BTreeSet::from([1, 2])
    });
    let mut first = open(&world, 1);
    order(&world, &drain(server(1)));
    assert_eq!(
        who_answers(&world),
        BTreeSet::from([2]),
        "the quorum is held by the second"
    );
    order(&world, &drain(server(2)));
    until("the sorry server serves", || {
        who_answers(&world) == BTreeSet::from([3])
    });
    let quorum = |world: &World| world.api().health().unwrap()[0].clone();
    assert_eq!(quorum(&world).sorry_server, Some(server(3)));
    assert!(
        first.echoes(),
        "a drained server keeps its connections meanwhile"
    );
    // A restart changes nothing in it.
    world.kill();
    world.start(&config);
    until("the sorry server serves again", || {
        who_answers(&world) == BTreeSet::from([3])
    });
    assert!(first.echoes());
    assert_eq!(
        world.api().status().unwrap().configuration.drift,
        0,
        "an order is no drift"
    );
    assert!(world.api().plan().unwrap().is_empty());
    enable(&world, server(2));
    until("the second serves", || {
        who_answers(&world) == BTreeSet::from([2])
    });
    assert_eq!(quorum(&world).sorry_server, None);
}
