//! The screen as text, and what keys do to it.

use api::{
    Destination, DestinationHealth, DestinationSettings, Event, HealthState, Interface, LinkState,
    MaintenanceOrder, Origin, Rates, Service, ServiceHealth, ServiceSettings, Stats, Status,
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::app::{App, Sort, View};
use super::draw;
use super::feed::{Look, News, Wish};
use super::theme::Theme;

const PLAIN: Theme = Theme {
    color: false,
    unicode: true,
};

fn rates(packets: u64) -> Rates {
    Rates {
        connections: packets / 10,
        packets,
        bytes: packets * 60,
        ..Rates::default()
    }
}

fn destination(address: &str, packets: u64) -> Destination {
    Destination {
        destination: address.parse().unwrap(),
        settings: DestinationSettings::of(1),
        origin: Origin::Config,
        active: 7,
        inactive: 3,
        templates: 0,
        overloaded: false,
        stats: Stats::default(),
        rates: rates(packets),
        link: LinkState::Resolved {
            mac: "02:00:00:00:00:07".to_owned(),
            interface: "eth0".to_owned(),
        },
        held_weight: None,
    }
}

fn service(key: &str, packets: u64, destinations: Vec<Destination>) -> Service {
    Service {
        service: key.parse().unwrap(),
        settings: ServiceSettings::of("wrr"),
        stats: Stats::default(),
        rates: rates(packets),
        origin: Origin::Config,
        destinations,
    }
}

/// Two services: one whose second server is down, one by IPv6 that is well.
fn look(packets: u64) -> News {
    let web = service(
        "tcp:192.168.188.120:80",
        packets,
        vec![destination("192.168.188.107:80", packets)],
    );
    let dns = service(
        "udp:[2001:db8::120]:53",
        packets * 40,
        vec![destination("[2001:db8::7]:53", packets * 40)],
    );
    let down = DestinationHealth {
        server: "192.168.188.110".parse().unwrap(),
        weight: None,
        health: HealthState::Down,
        reason: Some("connection refused at port 80".to_owned()),
        suspected: None,
        checks: Vec::new(),
    };
    let health = ServiceHealth {
        service: web.service,
        quorum: true,
        sorry_server: None,
        destinations: vec![down],
    };
    News::Look(Box::new(Look {
        status: Status {
            version: "0.1.0".to_owned(),
            instance: "edge".to_owned(),
            pid: 4711,
            uptime_s: 90_061,
            adopted: false,
            interfaces: vec![Interface {
                name: "eth0".to_owned(),
                mac: "02:00:00:00:00:02".to_owned(),
                mode: "native".to_owned(),
            }],
            vips: Vec::new(),
            connections: 20,
            connections_max: 2_097_152,
            map_bytes: 0,
            services: 2,
            destinations: 2,
            deleted: 0,
            stats: Stats::default(),
            rates: rates(packets * 41),
            timeouts: api::Timeouts::default(),
            settings: api::Settings::default(),
            configuration: api::Configuration::default(),
            counters: std::collections::BTreeMap::new(),
        },
        services: vec![web, dns],
        health: vec![health],
    }))
}

fn event(id: u64) -> News {
    let text = format!(
        "{{\"id\":{id},\"time\":\"2026-11-28T22:18:0{id}.125Z\",\"kind\":\"quorum-lost\",\
         \"level\":\"warning\",\"service\":\"tcp:192.168.188.120:80\"}}"
    );
    let event: Event = serde_json::from_str(&text).unwrap();
    News::Event(Box::new(event))
}

fn app() -> App {
    let mut app = App::default();
    for packets in [0, 10, 20, 40, 80] {
        app.take(look(packets));
    }
    app.take(event(1));
    app.take(event(2));
    app
}

fn screen(app: &mut App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw::screen(frame, app, PLAIN))
        .unwrap();
    let buffer = terminal.backend().buffer();
    let rows = buffer.content().chunks(width.into());
    let lines = rows.map(|row| {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned() + "\n"
    });
    lines.collect()
}

fn press(app: &mut App, keys: &str) {
    for sign in keys.chars() {
        let code = match sign {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            '\u{1b}' => KeyCode::Esc,
            sign => KeyCode::Char(sign),
        };
        app.key(KeyEvent::new(code, KeyModifiers::NONE));
        // Keys act on what is seen.
        screen(app, 80, 24);
    }
}

#[test]
fn services_fit_into_80_by_24_with_their_rates_and_the_last_events() {
    insta::assert_snapshot!(screen(&mut app(), 80, 24));
}

#[test]
fn a_service_shows_its_real_servers_and_why_one_is_not_in_the_table() {
    let mut app = app();
    press(&mut app, "\n");
    insta::assert_snapshot!(screen(&mut app, 80, 16));
}

#[test]
fn a_wide_screen_shows_more_columns_and_a_narrow_one_loses_none_of_the_states() {
    insta::assert_snapshot!(screen(&mut app(), 140, 12));
    let narrow = screen(&mut app(), 44, 10);
    assert!(narrow.contains("1 of 2 out"), "{narrow}");
}

#[test]
fn no_screen_is_too_small_to_be_drawn() {
    for (width, height) in [(1, 1), (5, 3), (20, 4), (200, 6), (10, 60)] {
        let mut app = app();
        for keys in ["", "?", "\n", "\n", "\t"] {
            press(&mut app, keys);
            screen(&mut app, width, height);
        }
    }
}

#[test]
fn help_says_every_key() {
    let mut app = app();
    press(&mut app, "?");
    insta::assert_snapshot!(screen(&mut app, 80, 24));
    press(&mut app, "x");
    assert!(!app.is_helping);
}

#[test]
fn the_worst_comes_first_by_state_and_the_busiest_by_packets() {
    let mut app = app();
    let first = |app: &App| app.service_lines()[0].key.to_string();
    app.sort = Sort::Packets;
    assert_eq!(first(&app), "udp:[2001:db8::120]:53");
    app.sort = Sort::State;
    assert_eq!(first(&app), "tcp:192.168.188.120:80");
    press(&mut app, "r");
    assert_eq!(first(&app), "udp:[2001:db8::120]:53");
}

#[test]
fn a_filter_is_typed_kept_and_dropped() {
    let mut app = app();
    press(&mut app, "/OUT\n");
    assert_eq!(app.service_lines().len(), 1);
    let text = screen(&mut app, 80, 24);
    assert!(text.contains("filter: OUT"), "{text}");
    press(&mut app, "\u{1b}");
    assert_eq!((app.service_lines().len(), app.view), (2, View::Services));
    // While it is typed, q is a letter.
    press(&mut app, "/q");
    assert!(!app.is_over);
}

#[test]
fn a_server_is_drained_only_after_a_yes() {
    let mut app = app();
    press(&mut app, "d");
    assert!(app.question.is_none(), "nothing to drain is chosen");
    press(&mut app, "\nd");
    let text = screen(&mut app, 80, 24);
    assert!(
        text.contains("drain 192.168.188.107 of tcp:192.168.188.120:80?"),
        "{text}"
    );
    press(&mut app, "n");
    assert_eq!(app.wishes, []);
    press(&mut app, "dy");
    let order = MaintenanceOrder::Drain {
        server: api::ServerName::Address("192.168.188.107".parse().unwrap()),
        service: Some("tcp:192.168.188.120:80".parse().unwrap()),
        deadline_s: None,
        remove: false,
        now: false,
    };
    assert_eq!(app.wishes, [Wish::Order(order)]);
}

#[test]
fn connections_are_asked_for_while_they_are_shown() {
    let mut app = app();
    press(&mut app, "\n\n");
    let service = "tcp:192.168.188.120:80".parse().unwrap();
    let server = "192.168.188.107:80".parse().unwrap();
    assert_eq!(app.wishes, [Wish::Connections(Some((service, server)))]);
    app.take(News::Connections(
        vec![api::Connection {
            protocol: Some(api::Protocol::Tcp),
            client: "203.0.113.7:40000".parse().unwrap(),
            virtual_address: "192.168.188.120:80".parse().unwrap(),
            destination: server,
            state: "ESTABLISHED".to_owned(),
            expires_s: 897,
        }],
        true,
    ));
    insta::assert_snapshot!(screen(&mut app, 80, 10));
    press(&mut app, "\u{1b}");
    assert_eq!(app.view, View::Servers(service));
    assert_eq!(app.wishes.last(), Some(&Wish::Connections(None)));
}

#[test]
fn a_daemon_that_is_gone_is_said_and_so_is_its_return() {
    let mut app = app();
    app.take(News::Lost(
        "no daemon answers on /run/dirigo/edge.sock".to_owned(),
    ));
    let text = screen(&mut app, 80, 24);
    assert!(
        text.contains("what is shown is old: no daemon answers"),
        "{text}"
    );
    assert!(text.contains("192.168.188.120:80"), "{text}");
    app.take(look(1));
    let text = screen(&mut app, 80, 24);
    assert!(
        text.contains("the daemon answers again, pid 4711"),
        "{text}"
    );
}

#[test]
fn the_selected_line_stays_in_sight_in_a_long_list() {
    let mut app = App::default();
    let News::Look(mut look) = look(5) else {
        unreachable!()
    };
    look.services = (0..300)
        .map(|index| {
            let key = format!("tcp:10.0.{}.{}:80", index / 100, index % 100 + 1);
            service(&key, 1, vec![destination("192.168.188.107:80", 1)])
        })
        .collect();
    app.take(News::Look(look));
    screen(&mut app, 80, 12);
    press(&mut app, "G");
    let text = screen(&mut app, 80, 12);
    assert!(
        text.contains("tcp:10.0.2.100:80") && text.contains("ok"),
        "{text}"
    );
    press(&mut app, "g");
    let text = screen(&mut app, 80, 12);
    assert!(
        text.contains("tcp:10.0.0.1:80") && !text.contains("tcp:10.0.2.100:80"),
        "{text}"
    );
}

#[test]
fn events_have_a_view_of_their_own_the_newest_first() {
    let mut app = app();
    press(&mut app, "\n\t");
    let text = screen(&mut app, 80, 12);
    let (first, second) = (text.find("22:18:02"), text.find("22:18:01"));
    assert!(first.is_some() && first < second, "{text}");
    press(&mut app, "\t");
    assert!(matches!(app.view, View::Servers(_)));
}

#[test]
fn without_colours_nothing_is_coloured() {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let mut app = app();
    terminal
        .draw(|frame| draw::screen(frame, &mut app, PLAIN))
        .unwrap();
    let cells = terminal.backend().buffer().content();
    let plain = ratatui::style::Color::Reset;
    assert!(
        cells
            .iter()
            .all(|cell| cell.fg == plain && cell.bg == plain)
    );
}
