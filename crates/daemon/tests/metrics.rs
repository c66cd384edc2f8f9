//! A real scrape of a real daemon: right by Prometheus's own tools, and true.
#![allow(clippy::unwrap_used)]

mod common;
mod prometheus;

use std::collections::BTreeSet;
use std::io::Write;
use std::ops::ControlFlow;
use std::process::{Command, Stdio};

use api::MetricsFormat;
use common::{CHILD, FILES, World, root, until};
use dirigo_daemon as daemon;
use prometheus::{Prometheus, encoded, monitoring};

#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

fn scrape(world: &World, format: MetricsFormat) -> String {
    let mut text = Vec::new();
    let done = world.api().metrics(format, &mut |piece| {
        text.extend_from_slice(piece);
        ControlFlow::Continue(())
    });
    done.unwrap();
    String::from_utf8(text).unwrap()
}

/// The value of a series, labels and all.
fn value(text: &str, series: &str) -> Option<f64> {
    let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    let found = lines.find(|(name, _)| *name == series)?;
    found.1.parse().ok()
}

/// What `promtool check metrics` has to say; `None` where it is not installed, which CI must not be.
fn promtool(text: &str) -> Option<String> {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(_) => {
            assert_ne!(
                std::env::var("CI").as_deref(),
                Ok("true"),
                "CI needs promtool"
            );
            println!("skipped: no promtool");
            return None;
        }
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some(format!(
        "{}{}",
        output.status,
        String::from_utf8_lossy(&said)
    ))
}

#[test]
fn a_scrape_is_what_promtool_calls_right_and_says_what_was_forwarded() {
    if !root() {
        return;
    }
    let mut world = World::new();
    // A name that must be escaped in a label.
    let name = "\"a \\\"name\\\"\"";
    let check = format!("[[check]]\nname = {name}\ntype = \"tcp\"\ninterval = \"200ms\"\n");
    let with_check = format!("scheduler = \"rr\"\nchecks = [{name}]\n");
    let config = world.classic("rr");
    let config = config.replace("scheduler = \"rr\"\n", &with_check) + &check;
    world.start(&config);
    until("both servers are believed well", || {
        let text = scrape(&world, MetricsFormat::Prometheus);
        let checks = text
            .lines()
            .filter(|line| line.starts_with("dirigo_check_up{"));
        checks.filter(|line| line.ends_with(" 1")).count() == 2
    });
    world.ask(6);
    let text = scrape(&world, MetricsFormat::Prometheus);
    if let Some(said) = promtool(&text) {
        assert_eq!(said, "exit status: 0");
    }
    let service = "{service=\"tcp:10.9.0.100:80\"}";
    let of = |name: &str| value(&text, &format!("{name}{service}"));
    assert_eq!(of("dirigo_service_connections_total"), Some(6.0));
    assert_eq!(of("dirigo_service_destinations_eligible"), Some(2.0));
    assert_eq!(of("dirigo_service_quorum"), Some(1.0));
    for server in ["10.9.0.11:80", "10.9.0.12:80"] {
        let labels = format!("{{service=\"tcp:10.9.0.100:80\",destination=\"{server}\"}}");
        let name = format!("dirigo_destination_connections_total{labels}");
        assert_eq!(value(&text, &name), Some(3.0), "{server}");
    }
    let checked = "dirigo_check_duration_seconds_count{check=\"a \\\"name\\\"\"}";
    assert!(value(&text, checked).unwrap() >= 2.0, "{text}");
    // Every packet that was forwarded was a frame that was transmitted.
    let frames = "dirigo_frames_total{verdict=\"transmitted\",reason=\"forwarded\"}";
    let packets = value(&text, "dirigo_packets_total").unwrap();
    assert!(packets >= 18.0, "{packets}");
    assert!(value(&text, frames).unwrap() >= packets, "{text}");
    let native = "dirigo_interface_native{interface=\"eth0\",mode=\"native\"}";
    assert_eq!(value(&text, native), Some(1.0));
    assert_eq!(
        value(&text, "dirigo_real_servers{link=\"resolved\"}"),
        Some(2.0)
    );
    let open = scrape(&world, MetricsFormat::OpenMetrics);
    assert!(open.ends_with("# EOF\n"), "{open}");
    assert!(open.contains("# UNIT dirigo_bytes bytes\n"), "{open}");
}

#[test]
fn a_restart_of_the_daemon_is_no_reset_of_the_counters() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let config = world.classic("rr");
    world.start(&config);
    world.ask(4);
    world.kill();
    world.start(&config);
    let text = scrape(&world, MetricsFormat::Prometheus);
    assert_eq!(value(&text, "dirigo_connections_total"), Some(4.0));
    assert_eq!(value(&text, "dirigo_adopted"), Some(1.0));
}

/// How large the next one is: a measurement takes 10,000, which take a while to add.
fn services() -> usize {
    let given = std::env::var("DIRIGO_SCRAPE_SERVICES").ok();
    given.map_or(600, |text| text.parse().unwrap())
}

#[test]
fn what_does_not_fit_into_a_scrape_is_counted_in_it_and_said_in_the_log() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let count = services();
    let config = world.classic("rr") + "[metrics]\nmax_series = 5000\n[vips]\nmanage = false\n";
    world.start(&config);
    let keys = (0..count).map(|index| {
        let (third, last) = (index / 250, index % 250 + 1);
        let text = format!("tcp:172.16.{third}.{last}:80");
        text.parse::<api::ServiceKey>().unwrap()
    });
    let keys: Vec<api::ServiceKey> = keys.collect();
    let added = keys.iter().map(|key| api::Change::AddService {
        service: *key,
        settings: api::ServiceSettings::of("rr"),
    });
    let filled = keys.iter().map(|key| api::Change::AddDestination {
        service: *key,
        destination: std::net::SocketAddr::new(common::server(1), 80),
        settings: api::DestinationSettings::of(1),
    });
    let changes: Vec<api::Change> = added.chain(filled).collect();
    let refusals = world.api().change_all(&changes).unwrap();
    assert!(refusals.iter().all(Option::is_none), "{refusals:?}");
    let begun = std::time::Instant::now();
    let text = scrape(&world, MetricsFormat::Prometheus);
    println!(
        "{count} services: {} bytes in {:?}; the actor was busy for {} s",
        text.len(),
        begun.elapsed(),
        value(&text, "dirigo_metrics_snapshot_seconds").unwrap()
    );
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series <= 5000, "{series}");
    let dropped = value(&text, "dirigo_metrics_series_dropped{of=\"destination\"}").unwrap();
    assert!(dropped > 0.0, "{text}");
    until("the log says it", || {
        world.log().contains("a scrape of metrics left series out")
    });
    if let Some(said) = promtool(&text) {
        assert_eq!(said, "exit status: 0");
    }
}

/// Names of metrics in a text: words that begin as ours do.
fn names(text: &str) -> BTreeSet<&str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_of_name(c));
    words
        .filter(|word| word.starts_with("dirigo_") || word.starts_with("process_"))
        .collect()
}

/// The queries of the dashboard, its variables filled in.
fn queries(dashboard: &serde_json::Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries = targets.map(|target| target["expr"].as_str().unwrap());
    queries
        .map(|query| {
            query
                .replace("$job", "dirigo")
                .replace("$instance", ".*")
                .replace("$service", ".*")
                .replace("$__rate_interval", "10s")
        })
        .collect()
}

#[test]
fn a_real_prometheus_scrapes_takes_the_dashboards_queries_and_says_that_a_server_died() {
    if !root() || !prometheus::is_installed() {
        return;
    }
    let mut world = World::new();
    let check = "[[check]]\nname = \"port\"\ntype = \"tcp\"\ninterval = \"500ms\"\n\
         timeout = \"400ms\"\nfall = 2\n";
    let config = world.classic("rr");
    let with_check = "scheduler = \"rr\"\nchecks = [\"port\"]\n";
    let config = config.replace("scheduler = \"rr\"\n", with_check) + check + prometheus::API;
    world.start(&config);
    let prometheus = Prometheus::start(&world);
    until("Prometheus knows both servers to be well", || {
        prometheus.value(&world, "sum(dirigo_health_up)") == Some(2.0)
    });
    assert_eq!(prometheus.value(&world, "up"), Some(1.0));
    assert_eq!(prometheus.firing(&world), Vec::<String>::new());

    world.set_link(2, false);

    until("the alert fires", || {
        let firing = prometheus.firing(&world);
        firing.contains(&"DirigoRealServerDown 10.9.0.12".to_owned())
    });
    let others = prometheus.firing(&world);
    assert!(
        !others.iter().any(|one| one.contains("10.9.0.11")),
        "{others:?}"
    );

    let text = std::fs::read_to_string(monitoring("dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let queries = queries(&dashboard);
    assert!(queries.len() > 20, "{queries:?}");
    for query in &queries {
        let answer = prometheus.ask(&world, &format!("query?query={}", encoded(query)));
        assert!(answer.is_some(), "Prometheus does not take {query}");
    }
    let scraped = scrape(&world, MetricsFormat::Prometheus);
    let known = names(&scraped);
    let rules = std::fs::read_to_string(monitoring("alerts.yml")).unwrap();
    let queries = queries.join("\n");
    for name in names(&queries).union(&names(&rules)) {
        assert!(known.contains(name), "no scrape has {name}");
    }
}

#[test]
fn every_alert_says_what_it_must_and_keeps_quiet_when_nothing_is_wrong() {
    if !prometheus::is_installed() {
        return;
    }
    for (what, file) in [("check", "alerts.yml"), ("test", "alerts_test.yml")] {
        let mut command = Command::new("promtool");
        let output = command.args([what, "rules"]).arg(monitoring(file)).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
    let rules = std::fs::read_to_string(monitoring("alerts.yml")).unwrap();
    let tests = std::fs::read_to_string(monitoring("alerts_test.yml")).unwrap();
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: Vec<&str> = alerts.collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        for what in ["fires", "keeps quiet"] {
            let name = format!("- name: {alert}, {what}\n");
            assert!(tests.contains(&name), "no test that {alert} {what}");
        }
    }
}
