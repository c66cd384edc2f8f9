//! Every metric that there is: name, kind, labels, meaning. `docs/metrics.md` is compared with it.
//!
//! Names follow Prometheus's conventions: the unit is the base unit and stands at the end, before `_total` of
//! a counter, which the writer adds.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows, until the daemon, the data plane or somebody (`ipvsadm -Z`) begins anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Facts as labels; the value is 1.
    Info,
    /// Counts by size.
    Histogram,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Info => "info",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    /// Its name, without `_total` or `_info`.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Its labels, separated by blanks.
    pub(crate) labels: &'static str,
    /// `seconds` or `bytes`, if it has a unit; the name ends in it.
    pub(crate) unit: Option<&'static str>,
    pub(crate) help: &'static str,
}

macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal [$labels:literal] $help:literal;)+) => {
        $(pub(crate) const $constant: Family = Family {
            name: $name,
            kind: Kind::$kind,
            labels: $labels,
            unit: unit($name),
            help: $help,
        };)+

        /// All of them, in the order of a scrape.
        #[cfg(test)]
        pub(crate) const ALL: &[Family] = &[$($constant,)+];
    };
}

/// The unit that a name ends in.
const fn unit(name: &str) -> Option<&'static str> {
    if ends_with(name, "_seconds") {
        Some("seconds")
    } else if ends_with(name, "_bytes") {
        Some("bytes")
    } else {
        None
    }
}

const fn ends_with(name: &str, end: &str) -> bool {
    let (name, end) = (name.as_bytes(), end.as_bytes());
    let mut index = 0;
    while index < end.len() {
        if name.len() < end.len() || name[name.len() - end.len() + index] != end[index] {
            return false;
        }
        index += 1;
    }
    true
}

families! {
    // The daemon.
    BUILD = Info "dirigo_build" ["version name"] "The daemon's version, and the name of its instance.";
    UPTIME = Gauge "dirigo_uptime_seconds" [""] "Since the daemon started; forwarding may have begun long before.";
    ADOPTED = Gauge "dirigo_adopted" [""] "1 if the daemon took over a data plane that an earlier one had left.";
    GENERATION = Gauge "dirigo_config_generation" [""] "Which generation of the configuration is in effect.";
    STATE_BEHIND = Gauge "dirigo_state_file_behind" [""] "1 while the state file is older than the state: it could not be written.";
    TOLD = Counter "dirigo_events" [""] "Events told: to the journal, to streams, to who asks later.";
    MISSED = Counter "dirigo_events_missed" [""] "Events that readers of streams missed: they were too slow, and told so.";
    ACTOR = Gauge "dirigo_metrics_snapshot_seconds" [""] "How long this scrape held the actor up.";
    DROPPED = Gauge "dirigo_metrics_series_dropped" ["of"] "Series that this scrape left out, beyond max_series of the configuration.";
    // Interfaces and addresses.
    INTERFACE = Gauge "dirigo_interface_native" ["interface mode"] "1 if the program is attached in native mode, 0 if in generic mode, which is several times slower.";
    VIPS = Gauge "dirigo_vips" [""] "Virtual addresses that this host should have.";
    CLAIMS = Counter "dirigo_vip_claims" [""] "Frames in which another host answered for a virtual address or announced it: a wrong ARP or neighbour answer.";
    CLAIMS_NOW = Gauge "dirigo_vip_claims_active" [""] "Claims of virtual addresses by other hosts that go on now.";
    // Real servers.
    REAL_SERVERS = Gauge "dirigo_real_servers" ["link"] "Real servers by how they are reached: resolved, unresolved (not eligible) or local.";
    NEIGHBOUR_CHANGES = Counter "dirigo_neighbour_changes" ["to"] "Changes of how real servers are reached, by what it was changed to: another MAC, lost, this host.";
    RESOLVED = Gauge "dirigo_real_server_resolved" ["server"] "1 if the real server's MAC is known: it can be sent packets.";
    SERVER_CHANGES = Counter "dirigo_real_server_neighbour_changes" ["server"] "Changes of how the real server is reached: its neighbour entry flaps if this goes on growing.";
    // The data path.
    FRAMES = Counter "dirigo_frames" ["verdict reason"] "Frames by what became of them, and why.";
    EVICTIONS = Counter "dirigo_table_evictions" ["state"] "Connections whose slot was given to another, by the state they were in; half_open and worse: the table is too small.";
    EVENTS = Counter "dirigo_datapath_events" ["event"] "What happened in the data path beside the verdicts: connections and templates made, fragments, ICMP errors.";
    // The connection table.
    ENTRIES = Gauge "dirigo_table_entries" ["kind state"] "Entries of the connection table: connections by protocol and state, and persistence templates.";
    SLOTS = Gauge "dirigo_table_slots" [""] "Entries that fit into the connection table.";
    COUNT_AGE = Gauge "dirigo_table_count_age_seconds" [""] "How old the count behind dirigo_table_entries is: the table is counted every 10 s at most.";
    COUNT_TOOK = Gauge "dirigo_table_count_seconds" [""] "How long that count took.";
    MAPS = Gauge "dirigo_maps_bytes" [""] "Memory of the data path's maps; the connection table is nearly all of it.";
    // Everything together.
    SERVICES = Gauge "dirigo_services" [""] "Virtual services.";
    DESTINATIONS = Gauge "dirigo_destinations" [""] "Destinations of all services together.";
    DELETED = Gauge "dirigo_destinations_deleted" [""] "Deleted destinations that are remembered, for their connections.";
    CONNECTIONS = Counter "dirigo_connections" [""] "Connections scheduled, all services together.";
    PACKETS = Counter "dirigo_packets" [""] "Packets from clients that were forwarded, all services together.";
    BYTES = Counter "dirigo_bytes" [""] "Bytes of those packets, as IP length.";
    // Services.
    SERVICE = Info "dirigo_service" ["service scheduler origin"] "A virtual service's scheduler, and where it came from: config or runtime.";
    SERVICE_CONNECTIONS = Counter "dirigo_service_connections" ["service"] "Connections scheduled.";
    SERVICE_PACKETS = Counter "dirigo_service_packets" ["service"] "Packets from clients that were forwarded.";
    SERVICE_BYTES = Counter "dirigo_service_bytes" ["service"] "Bytes of those packets, as IP length.";
    SERVICE_ACTIVE = Gauge "dirigo_service_connections_active" ["service"] "Connections that are established or begin.";
    SERVICE_INACTIVE = Gauge "dirigo_service_connections_inactive" ["service"] "Connections that are closing, and those of UDP.";
    SERVICE_ENTRIES = Gauge "dirigo_service_table_entries" ["service"] "Entries of the connection table that the service has.";
    SERVICE_DESTINATIONS = Gauge "dirigo_service_destinations" ["service"] "Destinations in the table.";
    SERVICE_ELIGIBLE = Gauge "dirigo_service_destinations_eligible" ["service"] "Destinations that may get new connections: weight above 0, reachable, below their thresholds.";
    SERVICE_QUORUM = Gauge "dirigo_service_quorum" ["service"] "1 if the quorum of a service with checks is held.";
    SERVICE_SORRY = Gauge "dirigo_service_sorry_server" ["service"] "1 if the sorry server of a service with checks serves.";
    // Destinations.
    DESTINATION_CONNECTIONS = Counter "dirigo_destination_connections" ["service destination"] "Connections scheduled.";
    DESTINATION_PACKETS = Counter "dirigo_destination_packets" ["service destination"] "Packets from clients that were forwarded.";
    DESTINATION_BYTES = Counter "dirigo_destination_bytes" ["service destination"] "Bytes of those packets, as IP length.";
    DESTINATION_ACTIVE = Gauge "dirigo_destination_connections_active" ["service destination"] "Connections that are established or begin.";
    DESTINATION_INACTIVE = Gauge "dirigo_destination_connections_inactive" ["service destination"] "Connections that are closing, and those of UDP.";
    DESTINATION_WEIGHT = Gauge "dirigo_destination_weight" ["service destination"] "Its weight; 0: no new connections.";
    DESTINATION_ELIGIBLE = Gauge "dirigo_destination_eligible" ["service destination"] "1 if it may get new connections: weight above 0, reachable, below its thresholds.";
    // Health.
    HEALTH = Gauge "dirigo_health_up" ["service server"] "1 if the checks believe the real server to be well for this service, 0 if not; nothing before the first answer.";
    CHECK_UP = Gauge "dirigo_check_up" ["check server to"] "1 if the check believes the real server to be well, 0 if not; nothing before the first answer.";
    CHECK_ATTEMPTS = Counter "dirigo_check_attempts" ["check server to result"] "Attempts by result: passed, failed, or not_made when this host could not ask.";
    CHECK_RISES = Counter "dirigo_check_rises" ["check server to"] "Times that the real server came to be believed well.";
    CHECK_FALLS = Counter "dirigo_check_falls" ["check server to"] "Times that the real server came to be believed down.";
    CHECK_DURATION = Histogram "dirigo_check_duration_seconds" ["check"] "How long attempts took, failed ones among them.";
    // The process, by the names that every process has.
    PROCESS_START = Gauge "process_start_time_seconds" [""] "When the daemon started, since 1970.";
    PROCESS_CPU = Counter "process_cpu_seconds" [""] "Processor time that the daemon had; the data path is the kernel's and not in it.";
    PROCESS_MEMORY = Gauge "process_resident_memory_bytes" [""] "Memory of the daemon; maps that it shares with the kernel count as far as it touched them.";
    PROCESS_FDS = Gauge "process_open_fds" [""] "Files that the daemon has open.";
    PROCESS_MAX_FDS = Gauge "process_max_fds" [""] "Files that it may have open.";
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../../docs/metrics.md");

    /// A line of the page's tables, as the catalogue would write it.
    fn row(family: &Family) -> String {
        let labels = family.labels.split_whitespace();
        let labels: Vec<String> = labels.map(|label| format!("`{label}`")).collect();
        format!(
            "| `{}` | {} | {} | {} |",
            family.shown(),
            family.kind.name(),
            labels.join(", "),
            family.help
        )
    }

    #[test]
    fn the_page_lists_every_metric_and_no_other() {
        let rows: Vec<&str> = PAGE
            .lines()
            .filter(|line| line.starts_with("| `dirigo_") || line.starts_with("| `process_"))
            .collect();
        let written: Vec<String> = ALL.iter().map(row).collect();
        let missing: Vec<&String> = written
            .iter()
            .filter(|row| !rows.contains(&row.as_str()))
            .collect();
        let text = missing
            .iter()
            .map(|row| format!("{row}\n"))
            .collect::<String>();
        assert!(missing.is_empty(), "docs/metrics.md lacks:\n{text}");
        assert_eq!(rows.len(), written.len(), "docs/metrics.md lists others");
    }

    #[test]
    fn every_name_is_there_once_and_keeps_the_conventions() {
        let mut names = std::collections::BTreeSet::new();
        for family in ALL {
            assert!(names.insert(family.name), "{}", family.name);
            assert!(!family.name.ends_with("_total") && !family.name.ends_with("_info"));
            assert!(family.help.ends_with('.'), "{}", family.name);
            assert!(!family.help.contains(['\\', '\n', '|']), "{}", family.name);
        }
    }
}
