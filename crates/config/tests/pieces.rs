//! The main file and the pieces in `conf.d` beside it are one configuration.

use std::path::{Path, PathBuf};

use dirigo_config::{Config, LoadError, Source, limits};

const MAIN: &str = r#"[director]
interface = "eth0"

[[check]]
name = "web"
type = "http"

[[service]]
address = "192.168.188.120:80"
protocol = "tcp"
"#;

/// A service of its own that uses the main file's check.
const PIECE: &str = r#"[[service]]
address = "192.168.188.121:80"
protocol = "tcp"
checks = ["web"]

  [[service.destination]]
  address = "192.168.188.107"
"#;

/// A folder with a main file and pieces.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(main: &str, pieces: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("dirigo.toml"), main).expect("it is written");
        std::fs::create_dir(folder.path().join("conf.d")).expect("it is written");
        for (name, text) in pieces {
            std::fs::write(folder.path().join("conf.d").join(name), text).expect("it is written");
        }
        Self(folder)
    }

    fn main(&self) -> PathBuf {
        self.0.path().join("dirigo.toml")
    }

    fn load(&self) -> Result<Config, LoadError> {
        Config::load(&self.main())
    }

    /// What is said about it, one line each, paths shortened to what is below the folder.
    fn mistakes(&self) -> String {
        let error = self.load().expect_err("this configuration is wrong");
        assert!(matches!(error, LoadError::Mistakes(_)), "{error}");
        let below = format!("{}/", self.0.path().display());
        let said = error.to_string().replace(&below, "");
        let mut lines: Vec<String> = Vec::new();
        for line in said.lines() {
            match (line.strip_prefix(' '), lines.last_mut()) {
                (Some(rest), Some(last)) => *last += &format!(" {}", rest.trim_start()),
                _ => lines.push(line.to_owned()),
            }
        }
        lines.join("\n")
    }
}

fn addresses(config: &Config) -> Vec<String> {
    let services = config.services.iter();
    services.map(|service| service.key.to_string()).collect()
}

#[test]
fn services_of_the_main_file_come_first_and_pieces_follow_by_name() {
    let other = PIECE.replace("121", "122");
    let folder = Folder::new(
        MAIN,
        &[
            ("20-b.toml", PIECE.as_bytes()),
            ("10-a.toml", other.as_bytes()),
        ],
    );
    let config = folder.load().unwrap();
    assert_eq!(
        addresses(&config),
        [
            "tcp:192.168.188.120:80",
            "tcp:192.168.188.122:80",
            "tcp:192.168.188.121:80",
        ]
    );
    assert!(config.services[2].health.is_some(), "the main file's check");
}

#[test]
fn what_does_not_end_in_toml_and_what_is_hidden_is_no_piece() {
    let folder = Folder::new(
        MAIN,
        &[
            ("web.toml.dpkg-old", b"what?"),
            (".web.toml.swp", b"what?"),
            (".#web.toml", b"what?"),
            ("README", b"what?"),
        ],
    );
    assert_eq!(folder.load().unwrap().services.len(), 1);
}

#[test]
fn a_folder_without_pieces_is_none_missed() {
    let folder = Folder::new(MAIN, &[]);
    std::fs::remove_dir(folder.0.path().join("conf.d")).unwrap();
    assert_eq!(folder.load().unwrap().services.len(), 1);
}

#[test]
fn the_mistakes_of_all_files_are_told_at_once_each_with_its_own_place() {
    let folder = Folder::new(
        &MAIN.replace("protocol = \"tcp\"", "protocol = \"tpc\""),
        &[
            ("a.toml", PIECE.replace("\"web\"", "\"wbe\"").as_bytes()),
            ("b.toml", PIECE.replace("121:80", "122").as_bytes()),
        ],
    );
    assert_eq!(
        folder.mistakes(),
        "dirigo.toml:10:12: `protocol` = \"tpc\" is unknown: did you mean `tcp`?\n\
         conf.d/a.toml:4:11: there is no check \"wbe\": did you mean \"web\"?\n\
         conf.d/b.toml:2:11: 192.168.188.122 has no port: write for example \"192.168.188.122:80\""
    );
}

#[test]
fn what_is_defined_in_two_files_names_both_places() {
    let service = PIECE.replace("121", "120");
    let check = "\n[[check]]\nname = \"web\"\ntype = \"tcp\"\n";
    let folder = Folder::new(MAIN, &[("a.toml", (service + check).as_bytes())]);
    assert_eq!(
        folder.mistakes(),
        "conf.d/a.toml:1:1: service tcp:192.168.188.120:80 is already defined in \
         dirigo.toml:8:1: put all its destinations below one [[service]]\n\
         conf.d/a.toml:10:8: check \"web\" is already defined in dirigo.toml:4:1: give one of \
         the two another name"
    );
}

#[test]
fn a_destination_that_is_a_virtual_address_of_another_file_is_found() {
    let piece = PIECE.replace("188.107", "188.120");
    let folder = Folder::new(MAIN, &[("a.toml", piece.as_bytes())]);
    let said = folder.mistakes();
    assert!(
        said.starts_with("conf.d/a.toml:7:13: destination 192.168.188.120"),
        "{said}"
    );
    assert!(said.contains("dirigo.toml:9:1"), "{said}");
}

#[test]
fn what_counts_for_the_whole_director_stands_in_the_main_file() {
    let piece = "[director]\ninterface = \"eth1\"\n[settings]\nsloppy_tcp = true\n";
    let folder = Folder::new(MAIN, &[("a.toml", piece.as_bytes())]);
    let said = folder.mistakes();
    assert_eq!(said.matches("conf.d/a.toml:").count(), 2, "{said}");
    assert!(
        said.contains("conf.d/a.toml:1:2: [director] is said once"),
        "{said}"
    );
    assert!(
        said.contains("conf.d/a.toml:3:2: [settings] is said once"),
        "{said}"
    );
    assert!(!said.contains("eth1"), "{said}");
}

#[test]
fn a_broken_piece_is_told_beside_the_broken_lines_of_the_others() {
    let folder = Folder::new(
        "[director\n",
        &[
            ("a.toml", b"[[service]]\naddress = \"\xff\"\n"),
            ("b.toml", b"= 1\n"),
        ],
    );
    let said = folder.mistakes();
    let places = [
        "dirigo.toml:1:",
        "conf.d/a.toml:2:12: byte 0xff",
        "conf.d/b.toml:1:1:",
    ];
    for place in places {
        assert!(said.contains(place), "{place} in {said}");
    }
}

#[test]
fn a_key_that_is_set_twice_in_a_piece_names_the_line_of_the_piece() {
    let piece = PIECE.replace(
        "protocol = \"tcp\"",
        "protocol = \"tcp\"\nprotocol = \"udp\"",
    );
    let folder = Folder::new(MAIN, &[("a.toml", piece.as_bytes())]);
    assert_eq!(
        folder.mistakes(),
        "conf.d/a.toml:4:1: `protocol` is already set in line 3: remove one of the two"
    );
}

#[test]
fn a_piece_that_cannot_be_read_is_named() {
    let folder = Folder::new(MAIN, &[]);
    let piece = folder.0.path().join("conf.d/a.toml");
    std::os::unix::fs::symlink("/nonexistent/a.toml", &piece).unwrap();
    let error = folder.load().expect_err("it cannot be read");
    assert!(error.to_string().contains("conf.d/a.toml"), "{error}");
}

#[test]
fn more_services_than_there_is_room_are_counted_over_all_files() {
    let services = |network: u8, count: usize| -> String {
        let service = |number: usize| {
            let (high, low) = (number / 250, number % 250 + 1);
            format!("[[service]]\naddress = \"10.{network}.{high}.{low}:80\"\nprotocol = \"tcp\"\n")
        };
        (0..count).map(service).collect()
    };
    let main = format!(
        "[director]\ninterface = \"eth0\"\n{}",
        services(1, limits::SERVICES)
    );
    let piece = services(2, 2);
    let sources = [Source::new("main", &main), Source::new("piece", &piece)];
    let mistakes = Config::parse_all(&sources).expect_err("there is no room");
    let said = mistakes.to_string();
    assert!(
        said.starts_with("piece:1:1: this is service number 16385"),
        "{said}"
    );
    assert_eq!(mistakes.list.len(), 1);
}

#[test]
fn a_main_file_that_is_no_file_of_a_folder_has_no_pieces() {
    assert!(Config::load(Path::new("/dev/null")).is_err());
}
