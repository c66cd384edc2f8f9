//! The golden files: whole sessions with the real ipvsadm, compared byte for byte.
//!
//! Numbers that came from packets (counters, rates, connections) and the kernel's hash order are put
//! into the table from the recordings themselves; what is compared is what is made of them.

use super::*;
use crate::ipvsadm::Wrapper;

mod fill;

use fill::fill;

/// Recordings of things that Dirigo cannot do yet. Each must say so: when one works, it leaves
/// this list. The README has them, too.
const UNSUPPORTED: &[&str] = &[
    "edits.start-daemon",
    "edits.start-daemon-again",
    "edits.start-daemon-backup",
    "refused.daemon-bad-iface",
];

/// Recordings that are not compared, and why. The README has them, too.
const NOT_COMPARED: &[(&str, &str)] = &[
    (
        "edits.stop-daemon",
        "stops what --start-daemon could not start",
    ),
    (
        "refused.not-root-A",
        "another user: `another_user_meets_the_originals_two_lines`",
    ),
    (
        "empty.proc-ip_vs_app",
        "there are no application helpers (FTP)",
    ),
    (
        "empty.proc-ip_vs_stats_percpu",
        "counters are not told for each CPU",
    ),
    (
        "empty.sysctl",
        "not ipvsadm's: settings are in the configuration",
    ),
];

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
        let one = match command.as_str() {
            "echo rc=$?" => Outcome {
                out: format!("rc={}\n", all.code),
                code: 0,
                err: String::new(),
            },
            command => play_one(table, command, &recording.input),
        };
        all = Outcome {
            code: one.code,
            out: all.out + &one.out,
            err: all.err + &one.err,
        };
    }
    all
}

fn play_one(table: &mut Table, command: &str, input: &str) -> Outcome {
    let (program, words) = command.split_once(' ').unwrap_or((command, ""));
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    match program {
        "ipvsadm" => {
            let input = if words == ["-R"] { input } else { "" };
            run_bytes(table, &words, input.as_bytes())
        }
        "cat" => with_ipvsadm(table, b"", |ipvsadm| ipvsadm.proc(&words)),
        name => {
            let wrapper = Wrapper::named(name).unwrap();
            with_ipvsadm(table, b"", |ipvsadm| ipvsadm.wrap(wrapper, &words))
        }
    }
}

/// The table at the start of a state, as `recorded` found it.
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
    fill(&mut table, recorded);
    table
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
        if NOT_COMPARED.iter().any(|(what, _)| *what == name) {
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
    let known = UNSUPPORTED.len() + NOT_COMPARED.len();
    assert_eq!(compared + known, recordings().len());
}

#[test]
fn the_readme_names_every_recording_that_is_not_reproduced() {
    let readme = include_str!("../../../../../README.md");
    let others = NOT_COMPARED.iter().map(|(name, _)| name);
    for name in UNSUPPORTED.iter().chain(others) {
        assert!(readme.contains(&format!("`{name}`")), "{name}");
    }
}
