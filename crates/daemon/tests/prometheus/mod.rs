//! A real Prometheus in the director's namespace, which scrapes the daemon's own listener.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::World;

/// What is shipped.
pub fn monitoring(file: &str) -> std::path::PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/monitoring");
    Path::new(folder).join(file)
}

/// Whether Prometheus is installed, which it must be in CI.
pub fn is_installed() -> bool {
    let mut command = Command::new("prometheus");
    let command = command.arg("--version");
    let there = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = there.is_ok();
    assert!(
        there || std::env::var("CI").as_deref() != Ok("true"),
        "CI needs prometheus"
    );
    if !there {
        println!("skipped: no prometheus");
    }
    there
}

/// Where the daemon listens, if its configuration has [`API`].
pub const TARGET: &str = "127.0.0.1:9180";

/// The daemon's listener for it.
pub const API: &str = "[api]\nlisten = \"127.0.0.1:9180\"\ntls = false\n";

/// A running Prometheus.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes the world's daemon every second, with the rules that are shipped.
    pub fn start(world: &World) -> Self {
        let target = TARGET;
        // Free a moment ago, and nobody else is in this namespace.
        let free = world
            .director
            .run(|| TcpListener::bind("127.0.0.1:0").unwrap());
        let address = free.unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [{}]\n\
             scrape_configs:\n  - job_name: dirigo\n    static_configs: [{{targets: [\"{target}\"]}}]\n",
            monitoring("alerts.yml").display()
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log);
        let child = world.director.spawn(&mut command).unwrap();
        Self {
            child,
            address,
            _folder: folder,
        }
    }

    /// What `/api/v1/<path>` answers as its data; nothing while it cannot.
    pub fn ask(&self, world: &World, path: &str) -> Option<serde_json::Value> {
        let request = format!("GET /api/v1/{path} HTTP/1.0\r\n\r\n");
        let address = self.address;
        let text = world.director.run(move || {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
            stream.write_all(request.as_bytes()).ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            Some(text)
        });
        let text = text.unwrap()?;
        let (_, body) = text.split_once("\r\n\r\n")?;
        let answer: serde_json::Value = serde_json::from_str(body).ok()?;
        (answer["status"] == "success").then(|| answer["data"].clone())
    }

    /// The alerts that fire, as `name server`.
    pub fn firing(&self, world: &World) -> Vec<String> {
        let data = self.ask(world, "alerts").unwrap_or_default();
        let alerts = data["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing
            .map(|alert| {
                let label = |name: &str| alert["labels"][name].as_str().unwrap_or("").to_owned();
                format!("{} {}", label("alertname"), label("server"))
            })
            .collect()
    }

    /// The first value of a query.
    pub fn value(&self, world: &World, query: &str) -> Option<f64> {
        let data = self.ask(world, &format!("query?query={}", encoded(query)))?;
        data["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// A query in a URL.
pub fn encoded(query: &str) -> String {
    query
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
