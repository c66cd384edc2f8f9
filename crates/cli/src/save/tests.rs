use api::{
    Change, DestinationDifference, DestinationSettings, ServiceKey, ServiceSettings,
    SettingDifference,
};

use super::*;

const MAIN: &str = "\
# The site of the museum.

[director]
interface = \"eth0\"   # towards the switch

# ---- what is shared ----

[template.site]
protocol = \"tcp\"
scheduler = \"wlc\"
persistence = 300
real_servers = [\"web1\", \"web2\"]

[[real_server]]
name = \"web1\"
address = \"192.0.2.11\"
weight = 3           # the big one

[[real_server]]
name = \"web2\"
address = \"192.0.2.12\"

# ---- the site ----

# By HTTP.
[[service]]
address = \"192.0.2.100:80\"  # public
template = \"site\"

# By HTTPS.
[[service]]
address = \"192.0.2.100:443\"
template = \"site\"
real_servers = [
  \"web1\",  # first
  \"web2\",  # second
]

# ---- mail ----

# Of the whole house.
[[service]]
address = \"192.0.2.101:25\"
protocol = \"tcp\"
scheduler = \"sh\"
flags = [\"sh-fallback\"] # nobody is refused

  # The old one.
  [[service.destination]]
  address = \"192.0.2.13\"
  weight = 2     # small

  [[service.destination]]
  address = \"192.0.2.14\"
";

const PIECE: &str = "\
[[service]]
mark = 7
scheduler = \"rr\"
destination = [
  { address = \"192.0.2.11\" }, # one
  { address = \"192.0.2.12\", weight = 5 },
]
";

fn files() -> Vec<config::File> {
    [("dirigo.toml", MAIN), ("conf.d/marks.toml", PIECE)]
        .map(|(name, text)| config::File {
            name: name.to_owned(),
            bytes: text.as_bytes().to_vec(),
        })
        .to_vec()
}

fn key(text: &str) -> ServiceKey {
    text.parse().unwrap()
}

fn of(weight: u32) -> Option<DestinationSettings> {
    Some(DestinationSettings::of(weight))
}

/// A difference in destinations alone.
fn destinations(
    service: &str,
    all: &[(
        &str,
        Option<DestinationSettings>,
        Option<DestinationSettings>,
    )],
) -> ServiceDifference {
    let config = Config::of_files(&files()).unwrap();
    let key = key(service);
    let settings = config.services.iter().find(|one| one.key == key);
    let settings = settings.map(config::Service::settings);
    ServiceDifference {
        service: key,
        was: settings.clone(),
        becomes: settings,
        destinations: all
            .iter()
            .map(|(address, was, becomes)| DestinationDifference {
                destination: address.parse().unwrap(),
                was: was.clone(),
                becomes: becomes.clone(),
            })
            .collect(),
    }
}

fn try_save(services: Vec<ServiceDifference>) -> anyhow::Result<Vec<String>> {
    let files = files();
    let drift = Drift {
        generation: 1,
        services,
        settings: Vec::new(),
    };
    edited(&files, &Config::of_files(&files).unwrap(), &drift)
}

/// What would be written, as `diff -u` shows it without its heads.
fn changed(difference: ServiceDifference) -> String {
    let texts = try_save(vec![difference]).unwrap_or_else(|error| panic!("{error:#}"));
    let old = files();
    let lines = old.iter().zip(&texts).flat_map(|(old, new)| {
        let old = String::from_utf8_lossy(&old.bytes);
        let shown = diff::unified(&old, &old, new);
        let lines = shown.lines().map(str::to_owned).collect::<Vec<_>>();
        let heads = old.lines().count() * 2;
        lines.into_iter().skip(heads)
    });
    let lines = lines.filter(|line| line.starts_with(['+', '-']));
    lines.map(|line| line + "\n").collect()
}

#[test]
fn a_weight_is_written_where_it_stands() {
    let difference = destinations("tcp:192.0.2.101:25", &[("192.0.2.13:25", of(2), of(9))]);
    assert_eq!(
        changed(difference),
        "-  weight = 2     # small\n+  weight = 9     # small\n"
    );
    let difference = destinations("tcp:192.0.2.101:25", &[("192.0.2.14:25", of(1), of(0))]);
    assert_eq!(changed(difference), "+  weight = 0\n");
}

#[test]
fn who_shares_a_definition_and_becomes_otherwise_gets_a_table_of_its_own() {
    let difference = destinations("tcp:192.0.2.100:443", &[("192.0.2.12:443", of(1), of(4))]);
    assert_eq!(
        changed(difference),
        "-  \"web2\",  # second\n+\n+[[service.destination]]\n+real_server = \"web2\"\n+weight = 4\n"
    );
}

#[test]
fn what_a_template_names_is_said_again_without_the_one_that_left() {
    let difference = destinations("tcp:192.0.2.100:80", &[("192.0.2.11:80", of(3), None)]);
    assert_eq!(changed(difference), "+real_servers = [\"web2\"]\n");
}

#[test]
fn who_comes_back_as_it_is_defined_is_named_in_the_list() {
    let files = files();
    let text = MAIN.replace("  \"web2\",  # second\n", "");
    let files = [
        config::File {
            name: "dirigo.toml".to_owned(),
            bytes: text.clone().into_bytes(),
        },
        files[1].clone(),
    ];
    let drift = Drift {
        services: vec![destinations(
            "tcp:192.0.2.100:443",
            &[("192.0.2.12:443", None, of(1))],
        )],
        ..Drift::default()
    };
    let texts = edited(&files, &Config::of_files(&files).unwrap(), &drift).unwrap();
    let expected = text.replace(
        "  \"web1\",  # first\n",
        "  \"web1\",  # first\n  \"web2\",\n",
    );
    assert_eq!(texts[0], expected);
}

#[test]
fn inline_tables_and_pieces_are_edited_in_their_place() {
    let difference = destinations(
        "mark:7",
        &[
            ("192.0.2.11:0", of(1), None),
            ("192.0.2.12:0", of(5), of(6)),
            ("192.0.2.15:8080", None, of(1)),
        ],
    );
    let shown = changed(difference);
    assert!(
        shown.contains("{ address = \"192.0.2.12\", weight = 6 }"),
        "{shown}"
    );
    assert!(
        shown.contains("address = \"192.0.2.15\", port = 8080"),
        "{shown}"
    );
    assert!(shown.contains("+") && shown.contains("# one"), "{shown}");
}

#[test]
fn a_service_goes_with_its_comment_and_leaves_what_is_about_more() {
    let difference = ServiceDifference {
        becomes: None,
        ..destinations(
            "tcp:192.0.2.101:25",
            &[
                ("192.0.2.13:25", of(2), None),
                ("192.0.2.14:25", of(1), None),
            ],
        )
    };
    let texts = try_save(vec![difference]).unwrap();
    let expected = MAIN.split("\n# Of the whole house.").next().unwrap();
    assert_eq!(texts[0], format!("{expected}\n"));
    let difference = ServiceDifference {
        becomes: None,
        ..destinations(
            "tcp:192.0.2.100:80",
            &[
                ("192.0.2.11:80", of(3), None),
                ("192.0.2.12:80", of(1), None),
            ],
        )
    };
    let texts = try_save(vec![difference]).unwrap();
    let expected = MAIN.replace(
        "# By HTTP.\n[[service]]\naddress = \"192.0.2.100:80\"  # public\ntemplate = \"site\"\n\n",
        "",
    );
    assert_eq!(texts[0], expected);
}

#[test]
fn a_new_service_is_written_whole_and_looks_as_the_others() {
    let difference = ServiceDifference {
        service: key("udp:192.0.2.102:53"),
        was: None,
        becomes: Some(ServiceSettings {
            one_packet: true,
            flags: api::SchedulerFlags::FLAG_2,
            ..ServiceSettings::of("mh")
        }),
        destinations: vec![DestinationDifference {
            destination: "192.0.2.11:53".parse().unwrap(),
            was: None,
            becomes: of(1),
        }],
    };
    assert_eq!(
        changed(difference),
        "+\n+[[service]]\n+address = \"192.0.2.102:53\"\n+protocol = \"udp\"\n+scheduler = \"mh\"\n\
         +flags = [\"mh-port\"]\n+one_packet = true\n+\n+[[service.destination]]\n+real_server = \"web1\"\n\
         +weight = 1\n"
    );
}

#[test]
fn settings_are_said_against_what_is_inherited_or_refused_by_name() {
    let mut difference = destinations("tcp:192.0.2.100:80", &[]);
    difference.becomes = Some(ServiceSettings {
        persistence: Some(api::Persistence {
            timeout_s: 60,
            netmask: Some(api::Netmask::V4("255.255.255.0".parse().unwrap())),
        }),
        ..ServiceSettings::of("sh")
    });
    assert_eq!(
        changed(difference.clone()),
        "+scheduler = \"sh\"\n+persistence = 60\n+netmask = \"255.255.255.0\"\n"
    );
    difference.becomes = Some(ServiceSettings::of("wlc"));
    let refused = try_save(vec![difference]).unwrap_err().to_string();
    assert!(
        refused.contains("tcp:192.0.2.100:80: `persistence` comes from its template"),
        "{refused}"
    );
    let of_a_server = ServiceDifference {
        service: key("tcp:192.0.2.12:80"),
        was: None,
        becomes: Some(ServiceSettings::of("rr")),
        destinations: Vec::new(),
    };
    let refused = try_save(vec![of_a_server]).unwrap_err().to_string();
    assert!(
        refused.contains("destination 192.0.2.12 is the virtual address in"),
        "{refused}"
    );
    assert!(refused.contains("nothing is"), "{refused}");
    let checked = destinations("tcp:192.0.2.101:25", &[("192.0.2.13:25", of(1), of(7))]);
    let refused = try_save(vec![checked]).unwrap_err().to_string();
    assert!(refused.contains("from its checks"), "{refused}");
}

#[test]
fn timeouts_are_written_and_other_line_ends_stay() {
    let mut files = files();
    let with_returns = MAIN.replace('\n', "\r\n");
    files[0].bytes = with_returns.clone().into_bytes();
    let drift = Drift {
        settings: vec![SettingDifference {
            name: "timeouts.tcp_fin".to_owned(),
            was: "120".to_owned(),
            becomes: "33".to_owned(),
        }],
        ..Drift::default()
    };
    let texts = edited(&files, &Config::of_files(&files).unwrap(), &drift).unwrap();
    let rest = texts[0].replace("\r\n[timeouts]\r\ntcp_fin = 33\r\n", "");
    assert_eq!(rest, with_returns);
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
}

/// What is applied, by the changes that made it.
fn table(
    config: &Config,
) -> BTreeMap<
    ServiceKey,
    (
        ServiceSettings,
        BTreeMap<std::net::SocketAddr, DestinationSettings>,
    ),
> {
    let mut table = BTreeMap::new();
    for change in config.changes() {
        match change {
            Change::AddService { service, settings } => {
                table.insert(service, (settings, BTreeMap::new()));
            }
            Change::AddDestination {
                service,
                destination,
                settings,
            } => {
                let (_, all) = table.get_mut(&service).unwrap();
                all.insert(destination, settings);
            }
            _ => {}
        }
    }
    table
}

#[test]
fn whatever_is_changed_is_read_back_and_comments_about_other_things_stay() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let (mut files, mut saved) = (files(), 0);
        for _ in 0..4 {
            let config = Config::of_files(&files).unwrap();
            let now = table(&config);
            let mut drift = Drift::default();
            for (key, (settings, all)) in &now {
                if dice.below(2) == 0 {
                    continue;
                }
                let mut becomes = settings.clone();
                if dice.below(4) == 0 {
                    let all = ["rr", "wrr", "sh", "mh", "lc"];
                    becomes.scheduler = all[dice.below(5) as usize].to_owned();
                }
                let port = key.address().map_or(0, |address| address.port());
                let mut changed = Vec::new();
                for last in 11..17 {
                    let destination = std::net::SocketAddr::from(([192, 0, 2, last], port));
                    let was = all.get(&destination).cloned();
                    let becomes = match dice.below(4) {
                        0 => None,
                        1 => of(dice.below(5) as u32),
                        2 => Some(DestinationSettings {
                            upper_threshold: dice.below(3) as u32 * 10,
                            ..DestinationSettings::of(1)
                        }),
                        _ => was.clone(),
                    };
                    if was != becomes {
                        changed.push(DestinationDifference {
                            destination,
                            was,
                            becomes,
                        });
                    }
                }
                drift.services.push(ServiceDifference {
                    service: *key,
                    was: Some(settings.clone()),
                    becomes: Some(becomes),
                    destinations: changed,
                });
            }
            let texts = edited(&files, &config, &drift);
            let texts = texts.unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
            for (file, text) in files.iter_mut().zip(texts) {
                file.bytes = text.into_bytes();
            }
            saved += drift.services.len();
        }
        let text = String::from_utf8(files[0].bytes.clone()).unwrap();
        for comment in [
            "# The site of the museum.",
            "# towards the switch",
            "# ---- what is shared ----",
            "# the big one",
            "# ---- the site ----",
            "# By HTTP.",
            "# public",
            "# By HTTPS.",
            "# ---- mail ----",
            "# Of the whole house.",
            "# nobody is refused",
        ] {
            assert!(
                text.contains(comment),
                "seed {seed}, {saved} changes: {comment} is not in\n{text}"
            );
        }
    }
}
