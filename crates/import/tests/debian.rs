//! The example configurations that Debian's keepalived and ldirectord ship, where they are installed: each
//! becomes a configuration that passes, and whatever is not in it has a line in the report.

use std::path::{Path, PathBuf};

use config::Config;
use dirigo_import::{Format, Imported, import};

/// Whether the file or folder is there; in CI it must be.
fn is_installed(path: &str, package: &str) -> bool {
    let is_there = Path::new(path).exists();
    assert!(
        is_there || std::env::var_os("CI").is_none(),
        "{path} is missing: install {package}"
    );
    if !is_there {
        eprintln!("skipped: needs Debian's {package}");
    }
    is_there
}

fn imported(format: Format, path: &Path) -> (Imported, Config) {
    let bytes = std::fs::read(path).expect("the sample can be read");
    let name = path.display().to_string();
    let text = String::from_utf8_lossy(&bytes);
    let imported = match import(format, &text, &name) {
        Ok(imported) => imported,
        Err(failure) => panic!("{failure}"),
    };
    match Config::parse(&imported.toml, "imported") {
        Ok(config) => (imported, config),
        Err(mistakes) => panic!("{name}:\n{mistakes}\n{}", imported.toml),
    }
}

const KEEPALIVED: &str = "/usr/share/doc/keepalived/samples";

#[test]
fn every_sample_of_keepaliveds_becomes_a_configuration() {
    if !is_installed(KEEPALIVED, "keepalived") {
        return;
    }
    let files = std::fs::read_dir(KEEPALIVED).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("keepalived.conf.")
    });
    assert!(files.len() >= 20, "{files:?}");
    for file in files {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        let (imported, config) = imported(Format::Keepalived, &file);
        let of_servers = text
            .lines()
            .filter(|line| line.trim_start().starts_with("virtual_server "))
            .count();
        assert!(
            config.services.len() >= of_servers.min(1)
                && imported.services == config.services.len(),
            "{}: {of_servers} virtual servers, {} services",
            file.display(),
            config.services.len()
        );
        for (number, line) in text.lines().enumerate() {
            let word = line.split_whitespace().next().unwrap_or_default();
            let has_no_counterpart =
                word.starts_with("vrrp_instance") || word == "quorum_up" || word == "router_id";
            assert!(
                !has_no_counterpart
                    || imported
                        .report
                        .lines
                        .iter()
                        .any(|said| said.line == number + 1),
                "{}:{}: {line} is not told of\n{}",
                file.display(),
                number + 1,
                imported.report
            );
        }
    }
}

/// What the sample says, by hand.
#[test]
fn keepaliveds_sample_of_quorums_is_carried_over_whole() {
    if !is_installed(KEEPALIVED, "keepalived") {
        return;
    }
    let path = Path::new(KEEPALIVED).join("keepalived.conf.quorum");
    let (imported, config) = imported(Format::Keepalived, &path);
    let [service] = config.services.as_slice() else {
        panic!("{}", imported.toml);
    };
    assert_eq!(service.key.to_string(), "tcp:10.0.1.1:80");
    assert_eq!(service.destinations.len(), 10);
    let health = service.health.as_ref().unwrap();
    assert_eq!((health.rules.quorum, health.rules.hysteresis), (7, 2));
    assert!(health.rules.alpha && health.rules.omega);
    assert_eq!(
        service.persistence.as_ref().map(|one| one.timeout_s),
        Some(900)
    );
    let check = config.checks.values().next().unwrap();
    assert_eq!(
        (
            check.pace.interval.as_secs(),
            check.pace.timeout.as_secs(),
            check.pace.fall
        ),
        (6, 3, 2)
    );
    let told = imported.report.to_string();
    for word in [
        "quorum_up is not carried over",
        "masquerading",
        "listens on port 8080",
    ] {
        assert!(told.contains(word), "{word}\n{told}");
    }
}

#[test]
fn ldirectords_sample_becomes_a_configuration_and_so_does_each_of_its_commented_ones() {
    let path = "/usr/share/doc/ldirectord/examples/ldirectord.cf";
    if !is_installed(path, "ldirectord") {
        return;
    }
    let (imported_one, config) = imported(Format::Ldirectord, Path::new(path));
    assert_eq!(config.services.len(), 1, "{}", imported_one.toml);
    assert_eq!(config.services[0].destinations.len(), 3);
    assert_eq!(config.checks["http"].kind.name(), "http");
    assert!(
        imported_one
            .report
            .to_string()
            .contains("sorry server 127.0.0.1")
    );

    // Those behind `#virtual=`, with the comment signs of one level taken away.
    let text = std::fs::read_to_string(path).unwrap();
    let mut all = String::new();
    let mut inside = false;
    for line in text.lines() {
        let bare = line.strip_prefix('#').unwrap_or("");
        inside = bare.starts_with("virtual") || inside && bare.starts_with('\t');
        if inside {
            all += &format!("{bare}\n");
        }
    }
    let imported_all = import(Format::Ldirectord, &all, "commented").unwrap();
    let config = Config::parse(&imported_all.toml, "commented").unwrap();
    assert!(config.services.len() >= 15, "{}", imported_all.toml);
    assert!(
        config
            .services
            .iter()
            .any(|service| service.destinations.len() == 7),
        "a range and one more"
    );
}
