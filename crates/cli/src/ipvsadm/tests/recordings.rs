//! The golden files: whole sessions with the real ipvsadm, compared byte for byte.

use super::*;
use api::{Connection, Protocol, Stats};

/// Recordings of things that Dirigo cannot do yet. Each must say so: when one works, it leaves
/// this list.
const UNSUPPORTED: &[&str] = &[
    "empty.Z",
    "basic.Ln-rate",
    "basic.Ln-rate-exact",
    "edits.Z-service",
    "edits.start-daemon",
    "edits.start-daemon-again",
    "edits.start-daemon-backup",
    "refused.daemon-bad-iface",
    "traffic.Ln-rate",
    "traffic.Ln-rate-exact",
    "traffic.Ln-t-rate",
    "traffic.Z",
];

/// Recordings that are not compared, and why; with a star, all that start so.
const NOT_COMPARED: &[(&str, &str)] = &[
    (
        "all.*",
        "the table has marks, SCTP, flags and tunnel types: the last test takes the rest",
    ),
    ("fwmark.*", "the service is a firewall mark"),
    (
        "empty.ipvsadm-save*",
        "a script around -S, not yet part of the binary",
    ),
    (
        "basic.ipvsadm-save*",
        "a script around -S, not yet part of the binary",
    ),
    (
        "traffic.ipvsadm-save*",
        "a script around -S, not yet part of the binary",
    ),
    (
        "edits.stop-daemon",
        "stops what --start-daemon could not start",
    ),
    (
        "refused.not-root-A",
        "another user: see the test of its own below",
    ),
    (
        "traffic.Ln-stats*",
        "counts the director's own ICMP errors in OutPkts; the API has no such counter",
    ),
];

fn is_about(what: &str, name: &str) -> bool {
    match what.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == what,
    }
}

struct Recording {
    name: String,
    state: String,
    code: u8,
    commands: Vec<String>,
    input: String,
}

fn recordings() -> Vec<Recording> {
    golden("INDEX.tsv")
        .unwrap()
        .lines()
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let (commands, input) = cells[3]
                .split_once(" <<'EOF' | ")
                .unwrap_or((cells[3], "''"));
            // `echo garbage | ipvsadm -R` is the only pipe.
            let (commands, input) = match commands.strip_prefix("echo garbage | ") {
                Some(commands) => (commands, "'garbage\\n'"),
                None => (commands, input),
            };
            Recording {
                name: cells[0].to_owned(),
                state: cells[1].to_owned(),
                code: cells[2].parse().unwrap(),
                commands: commands.split("; ").map(str::to_owned).collect(),
                input: input.trim_matches('\'').replace("\\n", "\n"),
            }
        })
        .collect()
}

/// What a shell would have printed for the recorded line.
fn play(table: &mut Table, recording: &Recording) -> Outcome {
    let mut all = Outcome {
        code: 0,
        out: String::new(),
        err: String::new(),
    };
    for command in &recording.commands {
        if command == "echo rc=$?" {
            all.out += &format!("rc={}\n", all.code);
            continue;
        }
        let words: Vec<&str> = command
            .strip_prefix("ipvsadm")
            .unwrap()
            .split_whitespace()
            .collect();
        let input = if words == ["-R"] {
            recording.input.as_str()
        } else {
            ""
        };
        let one = run(table, &words, input);
        all = Outcome {
            code: one.code,
            out: all.out + &one.out,
            err: all.err + &one.err,
        };
    }
    all
}

/// The table at the start of a state; counters and connections as the recordings show them.
fn set_up(state: &str, recorded: &str) -> Table {
    let mut table = Table::default();
    let mut lines = golden(&format!("setup/{state}.sh")).unwrap();
    if recorded.starts_with("traffic") && !recorded.starts_with("traffic.one") {
        lines += "ipvsadm -a -t 192.0.2.100:80 -r 192.0.2.14:80 -g\n";
    }
    for line in lines
        .lines()
        .filter_map(|line| line.strip_prefix("ipvsadm "))
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(run(&mut table, &words, "").code, 0, "{line}");
    }
    let prefix = recorded.rsplit_once('.').unwrap().0;
    read_gauges(
        &mut table,
        &golden(&format!("{prefix}.Ln.out")).unwrap_or_default(),
    );
    read_templates(
        &mut table,
        &golden(&format!("{prefix}.Ln-persistent-conn.out")).unwrap_or_default(),
    );
    read_stats(
        &mut table,
        &golden(&format!("{prefix}.Ln-stats.out")).unwrap_or_default(),
    );
    // The two lists of connections were made a second apart, so each has its own times.
    let times = golden(&format!("{recorded}.out")).filter(|text| text.starts_with("IPVS"));
    let numbers = golden(&format!("{prefix}.Lnc.out")).unwrap_or_default();
    table.connections = read_connections(&numbers, &times.unwrap_or_else(|| numbers.clone()));
    table
}

/// Rows of a listing: for each destination the cells after its service's and its own name.
fn rows(text: &str) -> Vec<(String, Option<String>, Vec<u64>)> {
    let mut service = String::new();
    let mut rows = Vec::new();
    for line in text.lines().skip(3) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let numbers = words.iter().filter_map(|word| word.parse().ok()).collect();
        if let ["->", destination, ..] = words[..] {
            rows.push((service.clone(), Some(destination.to_owned()), numbers));
        } else {
            service = format!("{}:{}", words[0].to_lowercase(), words[1]);
            rows.push((service.clone(), None, numbers));
        }
    }
    rows
}

fn read_gauges(table: &mut Table, text: &str) {
    for (service, destination, numbers) in rows(text) {
        let key = service.parse().unwrap();
        let service = table
            .services
            .iter_mut()
            .find(|s| s.service == key)
            .unwrap();
        let Some(address) = destination else { continue };
        let address = address.parse().unwrap();
        let known = service
            .destinations
            .iter_mut()
            .find(|d| d.destination == address);
        let destination = known.unwrap();
        destination.active = numbers[1] as u32;
        destination.inactive = numbers[2] as u32;
    }
}

fn read_templates(table: &mut Table, text: &str) {
    for (service, destination, numbers) in rows(text) {
        let key = service.parse().unwrap();
        let mut services = table.services.iter_mut();
        let service = services.find(|s| s.service == key).unwrap();
        let Some(address) = destination else { continue };
        let address = address.parse().unwrap();
        let mut destinations = service.destinations.iter_mut();
        let known = destinations.find(|d| d.destination == address);
        known.unwrap().templates = numbers[1] as u32;
    }
}

fn read_stats(table: &mut Table, text: &str) {
    for (service, destination, numbers) in rows(text) {
        let key = service.parse().unwrap();
        let service = table
            .services
            .iter_mut()
            .find(|s| s.service == key)
            .unwrap();
        let stats = Stats {
            connections: numbers[0],
            packets: numbers[1],
            bytes: numbers[3],
            ..Stats::default()
        };
        match destination {
            None => service.stats = stats,
            Some(address) => {
                let address = address.parse().unwrap();
                let known = service
                    .destinations
                    .iter_mut()
                    .find(|d| d.destination == address);
                known.unwrap().stats = stats;
            }
        }
    }
}

fn read_connections(text: &str, times: &str) -> Vec<Connection> {
    text.lines()
        .zip(times.lines())
        .skip(2)
        .map(|(line, timed)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let time = timed.split_whitespace().nth(1).unwrap();
            let (minutes, seconds) = time.split_once(':').unwrap();
            Connection {
                protocol: match words[0] {
                    "TCP" => Some(Protocol::Tcp),
                    _ => Some(Protocol::Udp),
                },
                expires_s: minutes.parse::<u64>().unwrap() * 60 + seconds.parse::<u64>().unwrap(),
                state: words[2].to_owned(),
                client: words[3].parse().unwrap(),
                virtual_address: words[4].parse().unwrap(),
                destination: words[5].parse().unwrap(),
            }
        })
        .collect()
}

fn recorded(recording: &Recording) -> Outcome {
    let name = &recording.name;
    Outcome {
        code: recording.code,
        out: golden(&format!("{name}.out")).unwrap(),
        err: golden(&format!("{name}.err")).unwrap_or_default(),
    }
}

#[test]
fn every_recording_is_reproduced_byte_for_byte() {
    let mut table = Table::default();
    let mut state = String::new();
    let mut compared = 0;
    for recording in recordings() {
        let name = recording.name.as_str();
        if NOT_COMPARED.iter().any(|(what, _)| is_about(what, name)) {
            continue;
        }
        // `edits` go on from one another, everything else starts from its set-up.
        if recording.state != state || recording.state != "edits" {
            state.clone_from(&recording.state);
            table = set_up(&state, name);
        }
        if name == "edits.a-default" {
            // The session had one more step here, whose recording we do not have.
            let words = "-e -t 192.0.2.100:80 -r 192.0.2.11:80 -g -x 5 -y 3";
            run(&mut table, &words.split(' ').collect::<Vec<_>>(), "");
        }
        let ours = play(&mut table, &recording);
        if UNSUPPORTED.contains(&name) {
            assert!(
                ours.err.ends_with("not supported by Dirigo yet\n"),
                "{name}: {ours:?}"
            );
            continue;
        }
        assert_eq!(ours, recorded(&recording), "{name}");
        if let Some(after) = golden(&format!("{name}.after")) {
            assert_eq!(
                run(&mut table, &["-Sn"], "").out,
                after,
                "{name}: the table after it"
            );
        }
        compared += 1;
    }
    assert!(compared > 120, "only {compared} recordings were compared");
}

#[test]
fn every_exception_is_about_a_recording_that_exists() {
    let all = recordings();
    for name in UNSUPPORTED {
        assert!(
            all.iter().any(|recording| recording.name == *name),
            "{name}"
        );
    }
    for (what, _) in NOT_COMPARED {
        assert!(
            all.iter().any(|recording| is_about(what, &recording.name)),
            "{what}"
        );
    }
}

/// `-t 192.0.2.100:80` of a command.
fn service_of(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    words[1..3].join(" ")
}

#[test]
fn of_the_table_with_everything_each_service_that_can_be_made_is_listed_and_saved_as_recorded() {
    let script = golden("setup/all.sh").unwrap();
    let commands: Vec<&str> = script
        .lines()
        .filter_map(|line| line.strip_prefix("ipvsadm "))
        .collect();
    let run = |table: &mut Table, line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        super::run(table, &words, "")
    };
    let mut first = Table::default();
    let unsupported: Vec<String> = commands
        .iter()
        .filter(|line| run(&mut first, line).code != 0)
        .map(|line| service_of(line))
        .collect();
    let can_be_made = |line: &&str| !unsupported.contains(&service_of(line));

    let mut table = Table::default();
    for line in commands.iter().copied().filter(can_be_made) {
        assert_eq!(run(&mut table, line).code, 0, "{line}");
    }

    let recorded = golden("all.Sn.out").unwrap();
    let expected: Vec<&str> = recorded.lines().filter(can_be_made).collect();
    assert!(expected.len() > 30, "{expected:?}");
    let saved = run(&mut table, "-Sn").out;
    assert_eq!(saved.lines().collect::<Vec<_>>(), expected);

    let listed = run(&mut table, "-Ln").out;
    let recorded = golden("all.Ln.out").unwrap();
    let mut is_made = true;
    let expected: Vec<&str> = recorded
        .lines()
        .enumerate()
        .filter(|(place, line)| {
            if *place > 2 && !line.starts_with("  ->") {
                let name: Vec<&str> = line.split_whitespace().take(2).collect();
                let switch = match name[0] {
                    "TCP" => "-t",
                    "UDP" => "-u",
                    _ => "",
                };
                let service = format!("{switch} {}", name[1]);
                is_made = expected.iter().any(|line| service_of(line) == service);
            }
            is_made
        })
        .map(|(_, line)| line)
        .collect();
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
}
