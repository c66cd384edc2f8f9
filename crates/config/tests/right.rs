//! Right configurations, and what they mean.

use api::{Change, Protocol, ServiceKey};
use dirigo_config::{Config, LoadError, OnStop, Reason, Scheduler, limits};

const SMALLEST: &str = "[director]\ninterface = \"eth0\"\n";

const CLASSIC: &str = r#"
[director]
interfaces = ["eth0", "eth1"]
require_native = true
on_stop = "release"

[connections]
max = 5000

[timeouts]
tcp = 60
tcp_fin = 30
udp = 10

[vips]
manage = false

[[service]]
address = "192.168.188.120:80"
protocol = "tcp"
scheduler = "rr"

  [[service.destination]]
  address = "192.168.188.107"
  weight = 3

  [[service.destination]]
  address = "192.168.188.110:80"
  forwarding = "direct-routing"

[[service]]
address = "[2001:db8::100]:53"
protocol = "udp"

  [[service.destination]]
  address = "2001:db8::7"
  weight = 0

  [[service.destination]]
  address = "[2001:db8::8]:53"
"#;

fn parse(text: &str) -> Config {
    match Config::parse(text, "director.toml") {
        Ok(config) => config,
        Err(mistakes) => panic!("{mistakes}"),
    }
}

fn classic() -> Config {
    parse(CLASSIC)
}

fn mistakes(text: &str) -> Vec<Reason> {
    let parsed = Config::parse(text, "director.toml");
    parsed
        .expect_err("this configuration is wrong")
        .list
        .into_iter()
        .map(|mistake| mistake.reason)
        .collect()
}

#[test]
fn an_interface_is_all_that_must_be_said_and_the_rest_has_defaults() {
    let config = parse(SMALLEST);
    assert_eq!(config.interfaces, ["eth0".parse().unwrap()]);
    assert!(!config.require_native);
    assert_eq!(config.on_stop, OnStop::Keep);
    assert_eq!(config.connections_max, None);
    let timeouts = api::Timeouts::from(config.timeouts);
    assert_eq!(timeouts, api::Timeouts::default());
    assert!(config.manage_vips);
    assert_eq!(config.services, []);
}

#[test]
fn everything_that_is_said_is_taken_over() {
    let config = classic();
    let interfaces: Vec<&str> = config.interfaces.iter().map(|name| name.as_str()).collect();
    assert_eq!(interfaces, ["eth0", "eth1"]);
    assert!(config.require_native);
    assert_eq!(config.on_stop, OnStop::Release);
    let timeouts = api::Timeouts::from(config.timeouts);
    assert_eq!((timeouts.tcp, timeouts.tcpfin, timeouts.udp), (60, 30, 10));
    assert!(!config.manage_vips);

    let [web, names] = config.services.as_slice() else {
        panic!("{:?}", config.services);
    };
    assert_eq!(web.key.to_string(), "tcp:192.168.188.120:80");
    assert_eq!(web.scheduler, Scheduler::Rr);
    assert_eq!(names.key.to_string(), "udp:[2001:db8::100]:53");
    assert_eq!(names.scheduler, Scheduler::Wrr, "the default");
}

#[test]
fn a_destination_has_the_services_port_whether_or_not_it_is_written() {
    let config = classic();
    let listed: Vec<String> = config
        .services
        .iter()
        .flat_map(|service| &service.destinations)
        .map(|destination| format!("{} {}", destination.address, destination.weight))
        .collect();
    assert_eq!(
        listed,
        [
            "192.168.188.107:80 3",
            "192.168.188.110:80 1",
            "[2001:db8::7]:53 0",
            "[2001:db8::8]:53 1",
        ]
    );
}

#[test]
fn the_number_of_connections_is_rounded_up_to_a_power_of_two() {
    for (written, rounded) in [
        (1024, 1024),
        (1025, 2048),
        (5000, 8192),
        (16_777_215, 16_777_216),
        (16_777_216, 16_777_216),
    ] {
        let config = parse(&format!("{SMALLEST}[connections]\nmax = {written}\n"));
        assert_eq!(config.connections_max.map(u32::from), Some(rounded));
    }
}

#[test]
fn the_changes_are_the_files_services_and_destinations_in_order() {
    let changes: Vec<Change> = classic().changes().collect();
    let web = ServiceKey::Address {
        protocol: Protocol::Tcp,
        address: "192.168.188.120:80".parse().unwrap(),
    };
    assert_eq!(changes.len(), 6);
    assert!(matches!(
        &changes[0],
        Change::AddService { service, settings } if *service == web && settings.scheduler == "rr"
    ));
    assert!(matches!(
        &changes[1],
        Change::AddDestination { service, settings, .. } if *service == web && settings.weight == 3
    ));
    assert!(matches!(&changes[3], Change::AddService { .. }));
}

#[test]
fn the_same_address_may_offer_tcp_and_udp_and_several_ports() {
    let service = |address, protocol| {
        format!("[[service]]\naddress = \"{address}\"\nprotocol = \"{protocol}\"\n")
    };
    let text = [
        SMALLEST.to_owned(),
        service("192.0.2.100:53", "tcp"),
        service("192.0.2.100:53", "udp"),
        service("192.0.2.100:853", "tcp"),
    ]
    .concat();
    assert_eq!(parse(&text).services.len(), 3);
}

#[test]
fn tables_may_be_written_inline() {
    let config = parse(
        r#"
        director.interface = "eth0"
        service = [{ address = "192.0.2.100:80", protocol = "tcp", destination = [{ address = "192.0.2.7" }] }]
        "#,
    );
    assert_eq!(config.services[0].destinations.len(), 1);
}

#[test]
fn a_file_that_is_not_there_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dirigo.toml");
    let error = Config::load(&path).unwrap_err();
    assert!(matches!(&error, LoadError::Unreadable { .. }));
    let text = error.to_string();
    assert!(text.contains("dirigo.toml cannot be read: No such file"));
    assert!(text.contains("-c FILE"));
}

#[test]
fn a_file_that_is_not_utf8_is_refused_at_the_byte_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latin1.toml");
    std::fs::write(&path, b"[director]\n# gr\xfc\xdfe\ninterface = \"eth0\"\n").unwrap();
    let error = Config::load(&path).unwrap_err();
    assert!(
        error.to_string().contains("latin1.toml:2:5: byte 0xfc"),
        "{error}"
    );
}

#[test]
fn a_file_is_loaded_as_its_text_is_parsed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dirigo.toml");
    std::fs::write(&path, SMALLEST).unwrap();
    assert_eq!(Config::load(&path).unwrap(), parse(SMALLEST));
}

#[test]
fn a_scheduler_has_as_many_destinations_as_it_can_choose_from() {
    let with = |scheduler: &str, count: u32| {
        let destination = |number: u32| {
            let address = std::net::Ipv4Addr::from_bits(0x0b00_0000 + number);
            format!("[[service.destination]]\naddress = \"{address}\"\n")
        };
        let destinations: String = (0..count).map(destination).collect();
        format!(
            "{SMALLEST}[[service]]\naddress = \"10.0.0.1:80\"\nprotocol = \"tcp\"\nscheduler = \"{scheduler}\"\n{destinations}"
        )
    };
    for (scheduler, limit) in [("wlc", 256), ("wrr", 1024)] {
        parse(&with(scheduler, limit));
        let said = mistakes(&with(scheduler, limit + 1));
        let [Reason::TooManyForScheduler { found, .. }] = said.as_slice() else {
            panic!("{said:?}");
        };
        assert_eq!(*found as u32, limit + 1);
    }
}

#[test]
fn as_many_services_and_destinations_as_the_data_plane_holds_are_taken_and_not_one_more() {
    let service = |number: usize| {
        let (high, low) = (number >> 8, number & 255);
        format!("[[service]]\naddress = \"10.0.{high}.{low}:80\"\nprotocol = \"tcp\"\n")
    };
    let most: String = (0..limits::SERVICES).map(service).collect();
    let most = format!("{SMALLEST}{most}");
    assert_eq!(parse(&most).services.len(), limits::SERVICES);
    let one_more = format!("{most}{}", service(limits::SERVICES));
    assert_eq!(
        mistakes(&one_more),
        [Reason::TooManyServices {
            number: limits::SERVICES + 1
        }]
    );

    let destination = |number: usize| {
        let address = std::net::Ipv4Addr::from_bits(0x0b00_0000 + number as u32);
        format!("[[service.destination]]\naddress = \"{address}\"\n")
    };
    // As many in each service as one may have.
    let place = |number: usize| {
        let is_first = number.is_multiple_of(limits::STATIC_DESTINATIONS);
        let header = is_first.then(|| service(number / limits::STATIC_DESTINATIONS));
        header.unwrap_or_default() + &destination(number)
    };
    let most: String = (0..limits::DESTINATIONS).map(place).collect();
    let most = format!("{SMALLEST}{most}");
    let taken = parse(&most).services;
    let taken: usize = taken.iter().map(|one| one.destinations.len()).sum();
    assert_eq!(taken, limits::DESTINATIONS);
    let one_more = most + &destination(limits::DESTINATIONS);
    assert_eq!(
        mistakes(&one_more),
        [Reason::TooManyDestinations {
            number: limits::DESTINATIONS + 1
        }]
    );
}

#[test]
fn a_thousand_mistakes_are_shown_and_that_there_are_more() {
    let many = "[[service]]\n[timeouts]\n".repeat(700);
    let found = mistakes(&format!("{SMALLEST}{many}"));
    assert_eq!(found.len(), limits::MISTAKES + 1);
    assert_eq!(found.last(), Some(&Reason::More));
}

#[test]
fn persistence_and_settings_are_taken_over() {
    let config = parse(
        r#"[director]
interface = "eth0"
[settings]
expire_nodest_conn = true
expire_quiescent_template = true
sloppy_tcp = true
sloppy_sctp = true
conn_reuse_mode = 2
lblc_expiration = 60
lblcr_expiration = 120
[[service]]
address = "192.168.188.120:80"
protocol = "tcp"
persistence = 300
netmask = "255.255.255.0"
[[service]]
address = "[2001:db8::100]:53"
protocol = "udp"
persistence = 60
netmask = "64"
one_packet = true
"#,
    );
    let every = api::Settings {
        expire_nodest_conn: true,
        expire_quiescent_template: true,
        sloppy_tcp: true,
        sloppy_sctp: true,
        conn_reuse_mode: 2,
        lblc_expiration: 60,
        lblcr_expiration: 120,
    };
    assert_eq!(config.settings, every);
    let shown = config.services.iter().map(|one| one.settings().to_string());
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            "wrr persistent 300 mask 255.255.255.0",
            "wrr persistent 60 mask 64 ops"
        ]
    );
    assert_eq!(parse(SMALLEST).settings, api::Settings::default());
}

#[test]
fn checks_are_defined_once_and_used_by_services_and_destinations() {
    use health::check::{Http, Kind, Pace, Statuses, Tls, To, Trust};
    let config = Config::parse(
        r#"
        [director]
        interface = "eth0"

        [[check]]
        name = "web"
        type = "https"
        path = "/health"
        host = "www.example.com"
        status = ["200", "301-302"]
        interval = "500 ms"
        trust = "/etc/ssl/own.pem"
        days_left = 7
        rise = 1

        [[check]]
        name = "port"
        type = "tcp"
        to = "own"
        port = 8080
        timeout = "2s"

        [[service]]
        address = "192.168.188.120:443"
        protocol = "tcp"
        checks = ["web", "port"]
        slow_start = "1m"
        sorry_server = "192.168.188.109"

          [[service.destination]]
          address = "192.168.188.107"

          [[service.destination]]
          address = "192.168.188.110"
          checks = ["port"]

        [[service]]
        address = "192.168.188.120:80"
        protocol = "tcp"
        "#,
        "director.toml",
    )
    .unwrap();
    let web = &config.checks["web"];
    assert_eq!(web.to, To::Vip);
    assert!(web.suppression);
    let expected = Http {
        tls: Some(Tls {
            sni: None,
            trust: Trust::File("/etc/ssl/own.pem".into()),
            days_left: Some(7),
        }),
        path: "/health".to_owned(),
        host: Some("www.example.com".to_owned()),
        statuses: Statuses(vec![200..=200, 301..=302]),
        ..Http::default()
    };
    assert_eq!(web.kind, Kind::Http(expected));
    // The default timeout is a second, but never longer than the interval.
    let pace = Pace {
        interval: std::time::Duration::from_millis(500),
        timeout: std::time::Duration::from_millis(500),
        rise: 1,
        ..Pace::default()
    };
    assert_eq!(web.pace, pace);
    assert_eq!(config.checks["port"].port, Some(8080));
    let health = config.services[0].health.as_ref().unwrap();
    assert_eq!(health.checks, ["web".into(), "port".into()]);
    assert_eq!(
        health.exceptions[&"192.168.188.110".parse().unwrap()],
        ["port".into()]
    );
    assert_eq!(health.rules.slow_start.as_secs(), 60);
    assert_eq!(
        health.rules.sorry_server,
        Some("192.168.188.109".parse().unwrap())
    );
    assert!(health.rules.alpha);
    assert_eq!(config.services[1].health, None);
}

#[test]
fn services_by_mark_and_rules_of_marks_are_read_in_their_order() {
    let config = parse(
        r#"
        [director]
        interface = "eth0"
        [[mark]]
        mark = 7
        addresses = ["192.0.2.0/24", "2001:db8::9"]
        protocol = "tcp"
        ports = ["80", "8000-8099"]
        [[mark]]
        mark = 8
        addresses = ["0.0.0.0/0"]
        [[service]]
        mark = 7
        persistence = 300
        netmask = "255.255.255.0"
        [[service.destination]]
        address = "192.0.2.7"
        [[service.destination]]
        address = "192.0.2.8:8080"
        [[service]]
        mark = 7
        family = "ipv6"
        one_packet = true
        "#,
    );
    let rules: Vec<String> = config
        .marks
        .iter()
        .map(|rule| {
            let protocol = rule.protocol.map_or("any", Protocol::name);
            let (first, last) = rule.ports;
            let network = format!("{}/{}", rule.address, rule.prefix);
            format!("{} {protocol} {network} {first}-{last}", rule.mark)
        })
        .collect();
    assert_eq!(
        rules,
        [
            "7 tcp 192.0.2.0/24 80-80",
            "7 tcp 192.0.2.0/24 8000-8099",
            "7 tcp 2001:db8::9/128 80-80",
            "7 tcp 2001:db8::9/128 8000-8099",
            "8 any 0.0.0.0/0 0-65535",
        ]
    );
    let keys: Vec<String> = config
        .services
        .iter()
        .map(|one| one.key.to_string())
        .collect();
    assert_eq!(keys, ["fwm:7", "fwm6:7"]);
    let ports: Vec<u16> = config.services[0]
        .destinations
        .iter()
        .map(|one| one.address.port())
        .collect();
    assert_eq!(ports, [0, 8080], "without one it is every port");
}

#[test]
fn thresholds_flags_shares_and_every_port_are_read() {
    let config = parse(
        r#"
        [director]
        interface = "eth0"
        [[service]]
        address = "192.0.2.100:0"
        protocol = "sctp"
        persistence = 300
        flags = ["flag-1", "flag-3"]
        share = 40
        [[service.destination]]
        address = "192.0.2.7"
        upper_threshold = 100
        lower_threshold = 50
        "#,
    );
    let service = &config.services[0];
    assert_eq!(service.key.to_string(), "sctp:192.0.2.100:0");
    let settings = service.settings();
    assert_eq!(settings.flags.names("wrr"), ["flag-1", "flag-3"]);
    assert_eq!(settings.share, Some(40));
    let destination = &service.destinations[0];
    assert_eq!(destination.address.port(), 0);
    let settings = destination.settings();
    assert_eq!(
        (settings.upper_threshold, settings.lower_threshold),
        (100, 50)
    );
}

#[test]
fn the_table_is_sized_from_the_memory_within_bounds() {
    let size = |gib: u64| u32::from(dirigo_config::ConnectionsMax::suiting(gib << 30));
    let sizes: Vec<u32> = [0, 1, 8, 16, 24, 32, 64, 4096].map(size).to_vec();
    let million = 1 << 20;
    assert_eq!(
        sizes,
        [
            million,
            million,
            million,
            2 * million,
            2 * million,
            4 * million,
            8 * million,
            16 * million
        ]
    );
}
