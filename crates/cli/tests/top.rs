//! `dirigo top` as people use it: under tmux, 80 by 24, over a lab with traffic. Needs root and tmux.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::is_root;
use lab::page::Kind;
use lab::{Family, Host, Interrupt, Lab};

/// Whether tmux is there, which it must be in CI.
fn have_tmux() -> bool {
    let there = Command::new("tmux").arg("-V").output().is_ok();
    assert!(
        there || std::env::var_os("CI").is_none(),
        "CI must have tmux"
    );
    if !there {
        println!("skipped: needs tmux");
    }
    there
}

/// Six clients that ask again and again over connections that stay a while.
fn load(service: std::net::SocketAddr) -> Vec<std::ffi::OsString> {
    let (address, port) = (service.ip(), service.port());
    let script = format!(
        "for client in 1 2 3 4 5 6; do (\n\
           while :; do\n\
             exec 3<>/dev/tcp/{address}/{port} || sleep 1\n\
             for request in {{1..60}}; do\n\
               printf 'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&3 || break\n\
               sleep 0.1\n\
             done\n\
           done ) & done; wait"
    );
    ["bash", "-c", &script].map(Into::into).to_vec()
}

/// A terminal that nobody sees.
struct Screen {
    /// Where its server listens; goes with it.
    folder: tempfile::TempDir,
}

impl Screen {
    /// Runs `script` in a terminal of 80 by 24.
    fn open(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let screen = Self { folder };
        screen.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-s",
            "top",
            "-x",
            "80",
            "-y",
            "24",
            script,
        ]);
        screen
    }

    fn tmux(&self, words: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.folder.path().join("tmux"));
        command.args(words);
        let output = command
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TMUX")
            .output()
            .unwrap();
        assert!(output.status.success(), "tmux {words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What is seen.
    fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-t", "top"])
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", "-t", "top", key]);
    }

    /// Waits until something is seen, and returns what is seen then.
    fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let text = self.text();
            if is_so(&text) {
                return text;
            }
            assert!(Instant::now() < end, "waited in vain until {what}:\n{text}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.folder.path().join("tmux"));
        let _gone = command.arg("kill-server").output();
    }
}

/// Where a script writes the screens for the documentation, if it is asked to.
fn show(name: &str, text: &str) {
    let Some(folder) = std::env::var_os("DIRIGO_SCREENSHOTS") else {
        return;
    };
    let lines = text.lines().map(|line| line.trim_end().to_owned() + "\n");
    let file = std::path::Path::new(&folder).join(format!("{name}.txt"));
    std::fs::write(file, lines.collect::<String>()).unwrap();
}

fn weight_of(instance: &str, server: &str) -> u32 {
    let services = api::Client::new(instance).services().unwrap();
    let all = services.iter().flat_map(|service| &service.destinations);
    let mut of = all.filter(|one| one.destination.ip().to_string() == server);
    of.next().unwrap().settings.weight
}

#[test]
fn top_shows_traffic_drains_a_server_survives_the_daemon_and_leaves_the_terminal_as_it_was() {
    if !is_root() || !have_tmux() {
        return;
    }
    let options = lab::Options {
        name: format!("top-{}", std::process::id()),
        family: Family::Ipv4,
        dirigo: common::dirigo().into(),
        standing: false,
        interrupt: Interrupt::default(),
    };
    let mut lab = Lab::up(&options, Kind::available(), &mut |_| {}).unwrap();
    let instance = lab.net.state().instance();
    let service = lab.family().service();
    let _load = lab.net.spawn(Host::Client, "load", load(service)).unwrap();
    let script = format!(
        "echo before; {} top --instance {instance}; echo ended $?; exec sleep 1000",
        common::dirigo()
    );
    let screen = Screen::open(&script);

    let service = format!("tcp:{service}");
    let text = screen.until("services and their traffic", |text| {
        text.contains(&service) && text.contains('█') && text.contains("ok")
    });
    show("top-services", &text);
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );

    screen.press("Enter");
    let text = screen.until("both real servers", |text| {
        text.contains("192.168.188.107:80") && text.contains("192.168.188.110:80")
    });
    show("top-servers", &text);
    screen.press("Enter");
    let text = screen.until("connections of the first", |text| {
        text.matches("ESTABLISHED").count() >= 2
    });
    show("top-connections", &text);

    screen.press("d");
    screen.until("it asks first", |text| {
        text.contains("drain 192.168.188.107 of")
    });
    screen.press("y");
    screen.until("it was done", |text| {
        text.contains("192.168.188.107 drains")
    });
    assert_eq!(weight_of(&instance, "192.168.188.107"), 0);
    screen.press("Escape");
    let text = screen.until("it shows", |text| text.contains("maintenance"));
    show("top-drained", &text);
    screen.press("e");
    screen.press("y");
    screen.until("it serves again", |text| {
        text.contains("is enabled") && !text.contains("maintenance ")
    });
    assert_eq!(weight_of(&instance, "192.168.188.107"), 1);

    screen.press("Escape");
    // A terminal takes Escape and a sign right behind it for one key with Alt.
    screen.until("the services again", |text| text.contains("services (1)"));
    screen.press("/");
    screen.press("nothing-has-this");
    screen.until("nothing fits", |text| text.contains("no virtual services"));
    screen.press("Escape");
    screen.until("everything again", |text| text.contains(&service));

    screen.tmux(&["resize-window", "-t", "top", "-x", "50", "-y", "12"]);
    screen.until("it fits into less", |text| {
        text.contains(&service) && text.contains("? help") && text.lines().count() <= 12
    });
    screen.tmux(&["resize-window", "-t", "top", "-x", "80", "-y", "24"]);

    lab.kill_director();
    screen.until("the daemon is missed", |text| {
        text.contains("what is shown is old")
    });
    lab.restart_director().unwrap();
    let text = screen.until("it is found again", |text| text.contains("answers again"));
    assert!(text.contains(&service), "{text}");

    screen.press("q");
    let text = screen.until("it ends", |text| text.contains("ended 0"));
    assert!(
        text.contains("before") && !text.contains("packets/s"),
        "{text}"
    );
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was_too() {
    if !is_root() || !have_tmux() {
        return;
    }
    let director = common::Director::start();
    let script = format!(
        "echo before; {} top --instance {} --no-color; echo ended $?; exec sleep 1000",
        common::dirigo(),
        director.instance
    );
    let screen = Screen::open(&script);
    screen.until("it is there", |text| text.contains("no virtual services"));
    let pattern = format!("top --instance {}", director.instance);
    let found = Command::new("pgrep").args(["-f", "--", &pattern]).output();
    let found = String::from_utf8(found.unwrap().stdout).unwrap();
    // The shell has the same words.
    let own = found
        .lines()
        .filter_map(|pid| pid.parse::<i32>().ok())
        .find(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "dirigo")
        });
    let pid = nix::unistd::Pid::from_raw(own.unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let text = screen.until("it ends", |text| text.contains("ended 0"));
    assert!(
        text.contains("before") && !text.contains("packets/s"),
        "{text}"
    );
}

#[test]
fn without_a_terminal_or_a_daemon_top_says_so() {
    let mut command = Command::new(common::dirigo());
    let output = command
        .args(["top", "--instance", "nobody"])
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("top needs a terminal"), "{said}");
}
