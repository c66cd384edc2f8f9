//! A scrape of a snapshot that is made by hand.

use super::*;
use crate::model::ModelReadings;

/// So many services with two destinations each, and one destination that was deleted.
fn snapshot(services: usize, limits: config::Metrics) -> Snapshot {
    let key = |index: usize| {
        let text = format!("tcp:10.{}.{}.1:80", index / 256, index % 256);
        text.parse().unwrap()
    };
    let rows = (0..services).map(|index| ServiceRow {
        key: key(index),
        number: index as u32,
        scheduler: "wrr".to_owned(),
        origin: api::Origin::Config,
        retired: api::Stats {
            packets: 100,
            ..api::Stats::default()
        },
        destinations: index * 2..index * 2 + 2,
    });
    let destinations = (0..services * 2).map(|index| DestinationRow {
        id: index as u32 + 1,
        address: ([192, 0, 2, (index % 2) as u8 + 11], 80).into(),
        weight: 1,
        base: api::Stats {
            packets: 1,
            ..api::Stats::default()
        },
        is_reached: index % 2 == 0,
    });
    Snapshot {
        instance: "model".to_owned(),
        uptime: Duration::from_secs(7),
        adopted: false,
        generation: 3,
        is_file_behind: false,
        limits,
        interfaces: vec![("eth0".to_owned(), "native")],
        vips: services,
        map_bytes: 4096,
        slots: 1024,
        services: rows.collect(),
        destinations: destinations.collect(),
        trash: vec![TrashRow {
            id: 99,
            service: Some(0),
            base: api::Stats::default(),
        }],
        servers: vec![ServerRow {
            address: [192, 0, 2, 11].into(),
            link: "resolved",
            changes: 3,
        }],
        changes: Changes::default(),
        health: vec![HealthRow {
            service: key(0),
            quorum: true,
            sorry: false,
            servers: vec![([192, 0, 2, 11].into(), Some(true))],
        }],
        tally: None,
        retired: api::Stats::default(),
        base: api::Stats::default(),
        readings: Box::new(ModelReadings),
        took: Duration::from_millis(1),
    }
}

fn scrape(services: usize, limits: config::Metrics) -> (String, usize) {
    let counted = Counted {
        at: Instant::now(),
        took: Duration::ZERO,
        states: Vec::new(),
    };
    let snapshot = snapshot(services, limits);
    write::all(&snapshot, &counted, Format::Prometheus, String::new()).unwrap()
}

fn series(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#')).count()
}

fn limits(per_destination: bool, max_series: u32) -> config::Metrics {
    config::Metrics {
        per_destination,
        max_series,
    }
}

#[test]
fn a_service_counts_its_destinations_those_deleted_and_those_forgotten() {
    let (text, _) = scrape(2, config::Metrics::default());
    // Two destinations of 2 - 1 packets, 100 that nobody remembers; the first has a deleted one of 2.
    for line in [
        "dirigo_service_packets_total{service=\"tcp:10.0.0.1:80\"} 104\n",
        "dirigo_service_packets_total{service=\"tcp:10.0.1.1:80\"} 102\n",
        "dirigo_service_destinations_eligible{service=\"tcp:10.0.0.1:80\"} 1\n",
        "dirigo_destination_eligible{service=\"tcp:10.0.1.1:80\",destination=\"192.0.2.12:80\"} 0\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn the_series_of_each_thing_are_as_many_as_the_budget_takes_for_it() {
    let of = |text: &str, what: &str| {
        let lines = text.lines().filter(|line| line.starts_with(what));
        lines.filter(|line| line.contains('{')).count()
    };
    let (text, dropped) = scrape(1, config::Metrics::default());
    assert_eq!(dropped, 0);
    assert_eq!(
        of(&text, "dirigo_service_"),
        series::SERVICE + series::SERVICE_HEALTH
    );
    assert_eq!(of(&text, "dirigo_destination_"), 2 * series::DESTINATION);
    assert_eq!(of(&text, "dirigo_real_server_"), series::SERVER);
    assert_eq!(of(&text, "dirigo_health_up"), series::HEALTH);
}

#[test]
fn a_scrape_has_no_more_series_than_it_may_and_says_how_many_are_missing() {
    let all = series(&scrape(500, limits(true, 5_000_000)).0);
    for max in [1_000, 3_000, 6_000, 11_000] {
        let (text, dropped) = scrape(500, limits(true, max));
        let shown = series(&text);
        assert!(shown <= max as usize, "{shown} of {max}");
        // Nothing that would fit is left out but the rest of one thing of each kind.
        assert!(shown + 60 > max as usize, "{shown} of {max}");
        assert_eq!(shown + dropped, all, "with {max}");
    }
}

#[test]
fn destinations_have_no_series_of_their_own_when_the_configuration_says_so() {
    let (text, dropped) = scrape(3, limits(false, 200_000));
    assert!(!text.contains("dirigo_destination_") && !text.contains("dirigo_health_up"));
    assert!(text.contains("dirigo_service_packets_total{"), "{text}");
    assert_eq!(dropped, 0);
}
