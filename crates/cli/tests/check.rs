//! `dirigo check` as it is called.

use assert_cmd::Command;

const GOOD: &str = r#"[director]
interface = "eth0"
[[service]]
address = "192.168.188.120:80"
protocol = "tcp"
[[service.destination]]
address = "192.168.188.107"
[[service.destination]]
address = "192.168.188.110"
"#;

/// Runs `dirigo check` on a file with this text, in a folder of its own.
fn check(text: &str, options: &[&str]) -> assert_cmd::assert::Assert {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("dirigo.toml"), text).expect("a file in it");
    Command::cargo_bin("dirigo")
        .expect("the binary")
        .current_dir(folder.path())
        .args(["check", "-c", "dirigo.toml"])
        .args(options)
        .assert()
}

fn json(assert: &assert_cmd::assert::Assert) -> serde_json::Value {
    serde_json::from_slice(&assert.get_output().stdout).expect("JSON on stdout")
}

#[test]
fn a_good_configuration_is_summed_up_in_one_line() {
    check(GOOD, &[])
        .code(0)
        .stdout("dirigo.toml: ok: 1 service with 2 destinations on eth0\n")
        .stderr("");
}

#[test]
fn all_mistakes_go_to_stderr_and_the_exit_code_is_78() {
    let text = GOOD
        .replace("192.168.188.107", "192.168.188.107:8080")
        .replace("eth0", "");
    check(&text, &[]).code(78).stdout("").stderr(
        "dirigo.toml:2:13: interface name \"\" is empty: write it as `ip link` shows it
dirigo.toml:7:11: destination 192.168.188.107:8080 listens on port 8080, but direct routing
                  keeps the service's port 80: write \"192.168.188.107\"
2 mistakes
",
    );
}

#[test]
fn a_missing_file_is_a_bad_configuration_and_is_named() {
    let assert = Command::cargo_bin("dirigo")
        .unwrap()
        .args(["check", "-c", "/nonexistent/dirigo.toml"])
        .assert()
        .code(78)
        .stdout("");
    let stderr = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(
        stderr.starts_with(
            "dirigo check: the configuration /nonexistent/dirigo.toml cannot be read: No such file"
        ),
        "{stderr}"
    );
}

#[test]
fn json_tells_what_the_configuration_would_make() {
    let report = json(&check(GOOD, &["--json"]).code(0));
    assert_eq!(report["ok"], true);
    assert_eq!(report["interfaces"][0], "eth0");
    assert_eq!(report["changes"][0]["service"], "tcp:192.168.188.120:80");
    assert_eq!(report["changes"][2]["destination"], "192.168.188.110:80");
}

#[test]
fn json_tells_every_mistake_with_its_place() {
    let text = GOOD.replace("protocol = \"tcp\"\n", "protocol = \"icmp\"\nweight = 1\n");
    let report = json(&check(&text, &["--json"]).code(78).stderr(""));
    assert_eq!(report["ok"], false);
    let places: Vec<(u64, u64)> = report["mistakes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["line"].as_u64().unwrap(), m["column"].as_u64().unwrap()))
        .collect();
    assert_eq!(places, [(5, 12), (6, 1)]);
}

#[test]
fn the_exit_code_is_the_same_when_nobody_reads_what_is_said() {
    for (text, code) in [(GOOD, 0), ("[director]\ninterfce = \"eth0\"\n", 78)] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("dirigo.toml");
        std::fs::write(&file, text).expect("a file in it");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);

        let status = std::process::Command::new(env!("CARGO_BIN_EXE_dirigo"))
            .args(["check", "-c"])
            .arg(&file)
            .stdout(writer.try_clone().expect("its end"))
            .stderr(writer)
            .status();

        assert_eq!(status.expect("it runs").code(), Some(code), "{text}");
    }
}
