//! `dirigo plan`, `drift` and `save` with a daemon, real frames and real files.
//!
//! What a plan says is compared with what connections do before and after; what was changed at random at runtime is
//! saved, and then nothing is left to apply. Longer runs by `DIRIGO_SAVES`, a certain one by `DIRIGO_SEED`.
#![allow(clippy::unwrap_used)]

#[path = "../../daemon/tests/common/mod.rs"]
mod common;

extern crate daemon as dirigo_daemon;

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Output};

use api::{Change, DestinationSettings, ServiceKey, ServiceSettings, Timeouts};
use common::{CHILD, FILES, World, root, server, vip};

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

fn run(world: &World, words: &[&str]) -> (i32, String, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_dirigo"))
        .args(words)
        .env("DIRIGO_INSTANCE", &world.instance)
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Runs what must succeed.
fn done(world: &World, words: &[&str]) -> String {
    let (code, out, err) = run(world, words);
    assert_eq!((code, err.as_str()), (0, ""), "{words:?}: {out}");
    out
}

fn named(world: &World) -> String {
    world.file().display().to_string()
}

#[test]
fn a_plan_says_what_would_change_and_exits_with_what_it_found() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let (code, _, err) = run(&world, &["plan"]);
    assert_eq!(code, 3, "nobody answers: {err}");
    let classic = world.classic("rr");
    world.start(&classic);
    let file = named(&world);
    assert_eq!(
        done(&world, &["plan"]),
        format!("nothing would change: generation 1 is as {file}\n")
    );
    world.write(&(classic.replace("\"rr\"", "\"wrr\"") + "weight = 3\n[timeouts]\nudp = 60\n"));
    let (code, out, err) = run(&world, &["plan"]);
    assert_eq!((code, err.as_str()), (2, ""));
    let expected = format!(
        "~ tcp:{0}:80 rr -> wrr\n    ~ {1}:80 weight 1 -> weight 3\n    no live connections; 25 % of new clients go \
         to another real server (exactly)\n~ timeouts.udp: 300 -> 60\n`dirigo apply` would change 1 service and 1 \
         setting, from {file}\n",
        vip(),
        server(2)
    );
    assert_eq!(out, expected);
    let (code, out, _) = run(&world, &["plan", "--json"]);
    let plan: api::Plan = serde_json::from_str(&out).unwrap();
    assert_eq!((code, plan), (2, world.api().plan().unwrap()));
    assert_eq!(world.ask(2), [2, 1], "nothing has changed");

    // Of a file that the daemon does not know.
    let other = world.folder.path().join("other.toml");
    std::fs::write(&other, &classic).unwrap();
    let other = other.display().to_string();
    let out = done(&world, &["plan", "-c", &other]);
    assert_eq!(
        out,
        format!("nothing would change: generation 1 is as {other}\n")
    );

    std::fs::write(&other, classic.replace("\"rr\"", "\"rrr\"")).unwrap();
    let (code, out, err) = run(&world, &["plan", "-c", &other]);
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(
        err.starts_with(&format!("{other}:6:")) && err.contains("rrr"),
        "{err}"
    );
    let (code, _, err) = run(&world, &["plan", "-c", "/nonsense.toml"]);
    assert_eq!(code, 78, "{err}");

    // What is planned is what is done.
    done(&world, &["apply"]);
    assert_eq!(run(&world, &["plan"]).0, 0);

    // A service that a command changed is marked.
    done(
        &world,
        &[
            "ipvsadm",
            "-e",
            "-t",
            &format!("{}:80", vip()),
            "-r",
            &format!("{}:80", server(2)),
            "-g",
            "-w",
            "5",
        ],
    );
    let (code, out, _) = run(&world, &["plan"]);
    assert_eq!(code, 2);
    assert!(
        out.contains(":80  (changed at runtime)\n") && out.contains("weight 5 -> weight 3"),
        "{out}"
    );
}

/// The service's new clients one after another: who gets each.
fn explained(world: &World, clients: &[IpAddr]) -> Vec<Option<IpAddr>> {
    let ask = |client: &IpAddr| {
        let found = world.api().explain(&api::ExplainQuery {
            protocol: api::Protocol::Tcp,
            client: SocketAddr::new(*client, 40_000),
            virtual_address: SocketAddr::new(vip(), 80),
        });
        found.unwrap().fate.destination.map(|one| one.ip())
    };
    clients.iter().map(ask).collect()
}

#[test]
fn clients_of_hashing_schedulers_move_as_the_plan_says() {
    if !root() {
        return;
    }
    let mut world = World::with_servers(4);
    // One of each network, spread over all addresses.
    let clients: Vec<IpAddr> = (0..1024_u32)
        .map(|n| IpAddr::from((n.wrapping_mul(0x9e37_79b1) | 0x0100_0000).to_be_bytes()))
        .filter(|address| !matches!(address, IpAddr::V4(v4) if v4.is_loopback() || v4.is_multicast() || v4.octets()[0] >= 224))
        .collect();
    let with = |scheduler: &str, weights: &[u8]| {
        let classic = world_head(scheduler);
        let weights = (1..).zip(weights);
        let all = weights.map(|(n, weight)| {
            format!(
                "[[service.destination]]\naddress = \"{}\"\nweight = {weight}\n",
                server(n)
            )
        });
        classic + &all.collect::<String>()
    };
    world.start(&with("sh", &[1, 1, 1]));
    for (scheduler, before, after) in [
        ("sh", &[1, 1, 1][..], &[1, 1, 1, 1][..]),
        ("sh", &[1, 2, 1], &[1, 0, 1]),
        ("mh", &[1, 1, 1], &[1, 1, 1, 1]),
        ("mh", &[1, 1, 1, 1], &[1, 1, 1]),
    ] {
        world.apply(&with(scheduler, before)).unwrap();
        common::until("all are reached", || {
            (1..=before.len() as u8).all(|n| world.is_resolved(server(n)))
        });
        let then = explained(&world, &clients);
        world.write(&with(scheduler, after));
        let plan = world.api().plan().unwrap();
        let said = plan.services[0].moves.clients.clone().unwrap();
        assert_eq!(said.sample, 0, "it is exact");
        done(&world, &["apply"]);
        common::until("all are reached", || {
            (1..=after.len() as u8).all(|n| world.is_resolved(server(n)))
        });
        let now = explained(&world, &clients);
        let share = |is: &dyn Fn(&Option<IpAddr>, &Option<IpAddr>) -> bool| {
            let count = then
                .iter()
                .zip(&now)
                .filter(|(then, now)| is(then, now))
                .count();
            (count * 10_000 / clients.len()) as i64
        };
        let moved = share(&|then, now| then.is_some() && now.is_some() && then != now);
        let refused = share(&|then, now| then.is_some() && now.is_none());
        // So many clients stand for all of them within a few hundredths.
        for (said, seen) in [(said.moved, moved), (said.refused, refused)] {
            assert!(
                (i64::from(said) - seen).abs() < 500,
                "{scheduler} {before:?} to {after:?}: {said} said, {seen} seen"
            );
        }
    }
}

/// A configuration up to its service's destinations.
fn world_head(scheduler: &str) -> String {
    format!(
        "[director]\ninterface = \"eth0\"\n[[service]]\naddress = \"{}:80\"\nprotocol = \"tcp\"\nscheduler = \"{scheduler}\"\n",
        vip()
    )
}

#[test]
fn connections_and_clients_of_a_rotation_move_as_the_plan_says() {
    if !root() {
        return;
    }
    let mut world = World::with_servers(3);
    let with = |weights: &[(u8, u8)]| {
        let all = weights.iter().map(|(n, weight)| {
            format!(
                "[[service.destination]]\naddress = \"{}\"\nweight = {weight}\n",
                server(*n)
            )
        });
        world_head("wrr") + &all.collect::<String>()
    };
    let (before, after) = (with(&[(1, 3), (2, 1)]), with(&[(2, 1), (3, 1)]));
    world.start(&before);
    let shares = |world: &World, cycle: usize| -> Vec<f64> {
        let answers = world.ask(cycle * 3);
        (1..=3)
            .map(|n| answers.iter().filter(|one| **one == n).count() as f64 / answers.len() as f64)
            .collect()
    };
    let then = shares(&world, 4);
    let mut open: Vec<_> = (0..8).map(|_| world.connect().unwrap()).collect();
    let on_first = open.iter().filter(|one| one.server == 1).count() as u64;
    assert_eq!(on_first, 6);

    world.write(&after);
    // Closed connections are remembered as well, and count.
    let listed = world.api().services().unwrap();
    let live = |address: IpAddr| {
        let mut all = listed[0].destinations.iter();
        let one = all.find(|one| one.destination.ip() == address).unwrap();
        u64::from(one.active) + u64::from(one.inactive)
    };
    let moves = world.api().plan().unwrap().services[0].moves.clone();
    assert_eq!(moves.connections, live(server(1)) + live(server(2)));
    assert_eq!(moves.lost, live(server(1)));
    assert!(moves.lost >= on_first);

    done(&world, &["apply"]);
    for one in &mut open {
        assert_eq!(
            one.echoes(),
            one.server != 1,
            "those of server 1 are lost, the others stay"
        );
    }
    let now = shares(&world, 2);
    let seen: f64 = then
        .iter()
        .zip(&now)
        .map(|(then, now)| (then - now).max(0.0))
        .sum();
    let said = moves.clients.unwrap();
    assert_eq!((said.sample, said.refused), (0, 0));
    assert_eq!(
        said.moved,
        (seen * 10_000.0).round() as u32,
        "{then:?}, {now:?}"
    );
}

const COMMENTED: &str = "\
# The director of the museum.
[director]
interface = \"eth0\"   # towards the switch

# ---- what is shared ----

[[real_server]]
name = \"one\"
address = \"10.9.0.11\"

# ---- the site ----

# By HTTP.
[[service]]
address = \"10.9.0.100:80\"
protocol = \"tcp\"
scheduler = \"wrr\"   # by strength
real_servers = [\"one\"]

  # The second.
  [[service.destination]]
  address = \"10.9.0.12\"
  weight = 2          # stronger
";

/// In a piece, beside the main file.
const PIECE: &str = "\
# Mail is Anna's.
[[service]]
address = \"10.9.0.100:25\"
protocol = \"tcp\"
scheduler = \"rr\"

  [[service.destination]]
  address = \"10.9.0.11\"   # Bergen
";

fn start_with_a_piece(world: &mut World) -> std::path::PathBuf {
    let folder = world.folder.path().join("conf.d");
    std::fs::create_dir_all(&folder).unwrap();
    let piece = folder.join("mail.toml");
    std::fs::write(&piece, PIECE).unwrap();
    world.start(COMMENTED);
    piece
}

#[test]
fn what_ipvsadm_changed_is_drift_and_is_saved_with_all_comments() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let piece = start_with_a_piece(&mut world);
    let ipvsadm = |words: &str| {
        let words: Vec<&str> = std::iter::once("ipvsadm").chain(words.split(' ')).collect();
        done(&world, &words);
    };
    assert_eq!(
        done(&world, &["drift"]),
        "nothing was changed at runtime: all is as generation 1\n"
    );
    assert!(done(&world, &["save"]).starts_with("nothing to save"));
    ipvsadm("-e -t 10.9.0.100:80 -r 10.9.0.12:80 -g -w 7");
    ipvsadm("-e -t 10.9.0.100:80 -r 10.9.0.11:80 -g -w 4");
    ipvsadm("-a -t 10.9.0.100:25 -r 10.9.0.12:25 -g -w 1 -x 20 -y 10");
    ipvsadm("-A -f 9 -s sh -b sh-port -p 50");
    ipvsadm("-a -f 9 -r 10.9.0.12:8080 -g -w 2");
    ipvsadm("--set 800 0 0");
    let (code, out, err) = run(&world, &["drift"]);
    assert_eq!((code, err.as_str()), (2, ""));
    for line in [
        "~ tcp:10.9.0.100:25\n    + 10.9.0.12:25 weight 1 thresholds 20 10\n",
        "~ tcp:10.9.0.100:80\n    ~ 10.9.0.11:80 weight 1 -> weight 4\n    ~ 10.9.0.12:80 weight 2 -> weight 7\n",
        "    + 10.9.0.12:8080 weight 2\n",
        "~ timeouts.tcp: 900 -> 800\n",
        "since generation 1: 3 services and 1 setting; ",
    ] {
        assert!(out.contains(line), "{line:?} is not in\n{out}");
    }
    let (_, out, _) = run(&world, &["drift", "--json"]);
    assert_eq!(
        serde_json::from_str::<api::Drift>(&out).unwrap(),
        world.api().drift().unwrap()
    );
    assert_eq!(world.api().status().unwrap().configuration.drift, 4);

    let shown = done(&world, &["save", "--dry-run"]);
    assert!(
        shown.contains("-  weight = 2          # stronger\n+  weight = 7          # stronger\n"),
        "{shown}"
    );
    assert_eq!(
        std::fs::read_to_string(world.file()).unwrap(),
        COMMENTED,
        "nothing is written"
    );
    let table = done(&world, &["ipvsadm", "-Sn"]);
    let said = done(&world, &["save"]);
    assert!(
        said.starts_with("generation 2: 4 changes of runtime saved to "),
        "{said}"
    );
    assert_eq!(done(&world, &["ipvsadm", "-Sn"]), table, "nothing moved");
    assert!(done(&world, &["plan"]).starts_with("nothing would change: generation 2"));
    assert!(world.api().drift().unwrap().is_empty());
    done(&world, &["check", "-c", &named(&world)]);

    let text = std::fs::read_to_string(world.file()).unwrap();
    let expected = COMMENTED
        .replace("weight = 2          #", "weight = 7          #")
        .replace("real_servers = [\"one\"]", "real_servers = []")
        + "\n  [[service.destination]]\n  real_server = \"one\"\n  weight = 4\n\n[[service]]\nmark = 9\n\
           scheduler = \"sh\"\nflags = [\"sh-port\"]\npersistence = 50\n\n[[service.destination]]\n\
           address = \"10.9.0.12\"\nport = 8080\nweight = 2\n\n[timeouts]\ntcp = 800\n";
    assert_eq!(text, expected);
    let expected = PIECE.to_owned()
        + "\n  [[service.destination]]\n  address = \"10.9.0.12\"\n  upper_threshold = 20\n  lower_threshold = 10\n";
    assert_eq!(std::fs::read_to_string(&piece).unwrap(), expected);
    let before = world.file().with_extension("toml.before");
    assert_eq!(std::fs::read_to_string(before).unwrap(), COMMENTED);

    // And a daemon that knows nothing but the files makes the same table.
    world.down(true).unwrap();
    world.start(&text);
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(done(&world, &["ipvsadm", "-Sn"])), sorted(table));
}

#[test]
fn a_file_that_says_something_else_is_not_saved_over() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let piece = start_with_a_piece(&mut world);
    done(
        &world,
        &[
            "ipvsadm",
            "-e",
            "-t",
            "10.9.0.100:80",
            "-r",
            "10.9.0.12:80",
            "-g",
            "-w",
            "7",
        ],
    );
    let refused = |world: &World, code: i32, words: &str| {
        let both = || {
            let main = std::fs::read_to_string(world.file()).unwrap();
            (main, std::fs::read_to_string(&piece).unwrap())
        };
        let before = both();
        let (found, out, err) = run(world, &["save"]);
        assert_eq!((found, out.as_str()), (code, ""), "{err}");
        assert!(err.contains(words), "{words:?} is not in {err}");
        assert_eq!(both(), before, "nothing is written");
        assert_eq!(world.api().drift().unwrap().services.len(), 1);
    };
    // Somebody has edited it, and not applied it yet.
    world.write(&COMMENTED.replace("\"wrr\"", "\"wlc\""));
    refused(&world, 1, "(tcp:10.9.0.100:80), so nothing is saved");
    world.write(&(COMMENTED.to_owned() + "[[check]]\nname = \"port\"\ntype = \"tcp\"\n"));
    refused(&world, 1, "(check port), so nothing is saved");
    std::fs::write(&piece, PIECE.replace("11", "12")).unwrap();
    world.write(COMMENTED);
    refused(&world, 1, "(tcp:10.9.0.100:25), so nothing is saved");
    std::fs::write(&piece, PIECE).unwrap();
    // It is wrong.
    world.write(&COMMENTED.replace("\"wrr\"", "\"wrrr\""));
    refused(&world, 78, "wrrr");
    // A comment is nothing else.
    world.write(&("# Mine.\n".to_owned() + COMMENTED));
    done(&world, &["save"]);
    assert!(
        std::fs::read_to_string(world.file())
            .unwrap()
            .starts_with("# Mine.\n")
    );

    // What the file has no words for.
    done(&world, &["ipvsadm", "-A", "-t", "10.9.0.12:99"]);
    refused(&world, 1, "destination 10.9.0.12 is the virtual address in");
    done(&world, &["apply"]);
    // Nobody but the owner of the files writes them.
    let (code, _, err) = run(&world, &["--api", "http://127.0.0.1:1", "save"]);
    assert_eq!(code, 2, "{err}");
}

/// Numbers that look random, the same for a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn change(&mut self) -> Change {
        let keys = [
            "tcp:10.9.0.100:80",
            "tcp:10.9.0.100:25",
            "udp:10.9.0.100:53",
            "mark:9",
            "mark:10",
        ];
        let service: ServiceKey = self.one_of(&keys).parse().unwrap();
        let port = service.address().map_or(0, |address| address.port());
        let destination = SocketAddr::from(([10, 9, 0, 11 + self.below(5) as u8], port));
        let settings = DestinationSettings {
            upper_threshold: self.one_of(&[0, 0, 40]),
            ..DestinationSettings::of(self.below(5) as u32)
        };
        let whole = ServiceSettings {
            flags: self.one_of(&[api::SchedulerFlags::NONE, api::SchedulerFlags::FLAG_1]),
            persistence: self
                .one_of(&[None, Some(60)])
                .map(|timeout_s| api::Persistence {
                    timeout_s,
                    netmask: self
                        .one_of(&[None, Some(api::Netmask::V4([255, 255, 255, 0].into()))]),
                }),
            ..ServiceSettings::of(self.one_of(&["rr", "wrr", "sh", "mh", "lc", "wlc", "sed"]))
        };
        match self.below(12) {
            0 => Change::AddService {
                service,
                settings: whole,
            },
            1 => Change::EditService {
                service,
                settings: whole,
            },
            2 => Change::DeleteService { service },
            3..6 => Change::AddDestination {
                service,
                destination,
                settings,
            },
            6..9 => Change::EditDestination {
                service,
                destination,
                settings,
            },
            9 | 10 => Change::DeleteDestination {
                service,
                destination,
            },
            _ => Change::SetTimeouts {
                timeouts: Timeouts {
                    tcp: 100 + self.below(900) as u32,
                    tcpfin: 0,
                    udp: 0,
                },
            },
        }
    }
}

#[test]
fn whatever_is_changed_at_runtime_is_saved_and_then_nothing_is_left_to_apply() {
    if !root() {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|word| word.parse().ok());
    let rounds: u64 = number("DIRIGO_SAVES").unwrap_or(25);
    let seed: u64 = number("DIRIGO_SEED").unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.unwrap().as_secs()
    });
    println!("DIRIGO_SEED={seed}");
    let mut dice = Dice(seed);
    let mut world = World::new();
    start_with_a_piece(&mut world);
    let table = || {
        world
            .api()
            .services()
            .unwrap()
            .into_iter()
            .map(|one| {
                let mut destinations: Vec<_> = one
                    .destinations
                    .into_iter()
                    .map(|it| (it.destination, it.settings))
                    .collect();
                destinations.sort_by_key(|(address, _)| *address);
                (one.service, one.settings, destinations)
            })
            .collect::<Vec<_>>()
    };
    for round in 0..rounds {
        for _ in 0..1 + dice.below(6) {
            // Many are refused: what is not there cannot be deleted.
            let _refused = world.api().change(&dice.change());
        }
        let (before, drift) = (table(), world.api().drift().unwrap());
        let said = done(&world, &["save"]);
        assert_eq!(
            said.starts_with("nothing to save"),
            drift.is_empty(),
            "{said}"
        );
        assert_eq!(
            table(),
            before,
            "round {round} of {seed}: saving changes nothing"
        );
        let status = world.api().status().unwrap();
        assert_eq!(
            status.configuration.drift, 0,
            "round {round} of {seed}: {drift:?}"
        );
        assert_eq!(run(&world, &["plan"]).0, 0, "round {round} of {seed}");
        let applied = world.api().apply(&api::Apply::default()).unwrap();
        assert!(!applied.changed, "round {round} of {seed}: {drift:?}");
        let text = std::fs::read_to_string(world.file()).unwrap();
        for comment in [
            "# The director of the museum.",
            "# towards the switch",
            "# ---- what is shared ----",
            "# ---- the site ----",
        ] {
            assert!(
                text.contains(comment),
                "round {round} of {seed}: {comment} is not in\n{text}"
            );
        }
        done(&world, &["check", "-c", &named(&world)]);
    }
}
