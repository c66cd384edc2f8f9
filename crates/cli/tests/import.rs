//! `dirigo import` as it is called.

use assert_cmd::Command;

const RULES: &str = "-A -t 192.0.2.100:80 -s wlc\n-a -t 192.0.2.100:80 -r 192.0.2.11:80 -m -w 2\n";

fn dirigo(folder: &tempfile::TempDir, words: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("dirigo")
        .expect("the binary")
        .current_dir(folder.path())
        .args(words)
        .assert()
}

fn folder_with(name: &str, text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join(name), text).expect("a file in it");
    folder
}

#[test]
fn toml_goes_to_stdout_and_the_report_to_stderr_and_check_takes_the_result() {
    let folder = folder_with("rules", RULES);
    let assert = dirigo(&folder, &["import", "ipvsadm", "rules"]).code(0);
    let output = assert.get_output();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("rules:2: real server 192.0.2.11 is served by masquerading"),
        "{told}"
    );
    std::fs::write(folder.path().join("dirigo.toml"), &output.stdout).expect("it is written");
    dirigo(&folder, &["check", "-c", "dirigo.toml"])
        .code(0)
        .stdout("dirigo.toml: ok: 1 service with 1 destination on eth0\n");
}

#[test]
fn a_file_that_is_there_is_not_written_over() {
    let folder = folder_with("rules", RULES);
    let words = ["import", "ipvsadm", "rules", "-o", "new.toml"];
    dirigo(&folder, &words).code(0).stdout("");
    let written = std::fs::read(folder.path().join("new.toml")).expect("it is there");
    assert!(!written.is_empty());
    dirigo(&folder, &words).code(1);
    assert_eq!(
        std::fs::read(folder.path().join("new.toml")).expect("still"),
        written
    );
}

#[test]
fn a_file_that_is_something_else_is_refused_with_its_line_and_code_78() {
    let folder = folder_with("rules", "-A -t 192.0.2.100:80\nnonsense\n");
    let assert = dirigo(&folder, &["import", "ipvsadm", "rules"])
        .code(78)
        .stdout("");
    let told = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(told.starts_with("rules:2: `nonsense`"), "{told}");
    dirigo(&folder, &["import", "ipvsadm", "absent"]).code(1);
    dirigo(&folder, &["import", "haproxy", "rules"]).code(2);
}
