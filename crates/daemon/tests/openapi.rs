//! What a running daemon answers is what `docs/openapi.json` says.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use api::{Change, DestinationSettings, HealthState, MaintenanceOrder, ServiceSettings};
use common::{CHILD, FILES, World, root, server, until, vip};
use dirigo_daemon as daemon;
use serde_json::{Value, json};

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

/// Whether the validator is there; says so if not. In CI it must be.
fn validator() -> bool {
    let found = Command::new("python3")
        .args(["-c", "import jsonschema"])
        .stderr(Stdio::null())
        .status();
    let found = found.is_ok_and(|status| status.success());
    assert!(
        found || std::env::var("CI").as_deref() != Ok("true"),
        "this test needs python3-jsonschema, and CI must give it"
    );
    if !found {
        println!("skipped: needs python3-jsonschema");
    }
    found
}

/// What is wrong with an exchange, by the document that the daemon answers; nothing if it is right.
fn complaints(document: &Value, exchanges: &Value) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openapi.py");
    let mut child = Command::new("python3")
        .args(["-W", "ignore", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let all = json!({"document": document, "exchanges": exchanges});
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(all.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// One request with its answer.
fn exchange(world: &World, method: &str, path: &str, query: &str, body: Option<Value>) -> Value {
    let text = body.as_ref().map_or_else(String::new, Value::to_string);
    let answer = world.raw(&format!(
        "{method} {path}{query} HTTP/1.0\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    ));
    let (head, content) = answer.split_once("\r\n\r\n").unwrap();
    let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
    let kind = head
        .lines()
        .find_map(|line| line.strip_prefix("content-type: "));
    json!({
        "method": method.to_lowercase(), "path": path, "request": body, "status": status,
        "type": kind.unwrap(), "answer": content,
    })
}

#[test]
fn every_answer_of_a_running_daemon_is_as_documented() {
    if !root() || !validator() {
        return;
    }
    let mut world = World::new();
    let checked = "protocol = \"tcp\"\nchecks = [\"port\"]\n";
    let config = world
        .classic("wrr")
        .replace("protocol = \"tcp\"\n", checked)
        + "[[check]]\nname = \"port\"\ntype = \"tcp\"\ninterval = \"500ms\"\ntimeout = \"400ms\"\n";
    world.start(&config);
    until("both are up", || {
        let health = world.api().health().unwrap();
        let mut all = health.iter().flat_map(|one| &one.destinations);
        all.all(|one| one.health == HealthState::Up)
    });
    let open = world.connect().unwrap();
    let other = format!("tcp:{}:81", vip()).parse().unwrap();
    let changes = [
        Change::AddService {
            service: other,
            settings: ServiceSettings::of("mh"),
        },
        Change::AddDestination {
            service: other,
            destination: std::net::SocketAddr::new(server(1), 81),
            settings: DestinationSettings::of(3),
        },
        Change::Zero { service: None },
        Change::DeleteService {
            service: format!("tcp:{}:9", vip()).parse().unwrap(),
        },
    ];
    let drain = MaintenanceOrder::Drain {
        server: server(2).into(),
        service: None,
        deadline_s: Some(600),
        remove: false,
        now: false,
    };
    let post = |path, body| exchange(&world, "POST", path, "", Some(body));
    let get = |path, query| exchange(&world, "GET", path, query, None);
    let explain = format!(
        "?protocol=tcp&client=10.9.0.1:4000&virtual_address={}:80",
        vip()
    );
    let of_server = format!("?server={}", server(1));
    let mut exchanges = vec![
        post("/v1/changes", json!(changes[0])),
        post("/v1/batches", json!(changes[1..])),
        post("/v1/changes", json!({"change": "nonsense"})),
        post("/v1/maintenance", json!(drain)),
        get("/v1/connections", ""),
        get("/v1/explain", &explain),
        get("/v1/explain", "?protocol=tcp"),
        get("/v1/explain/server", &of_server),
        get("/v1/explain/server", "?server=example.org"),
        post("/v1/explain", json!({"hex": "00".repeat(60), "length": 90})),
        post("/v1/explain", json!({"hex": "ff", "length": 14})),
        get("/v1/events", "?follow=false&since=1"),
    ];
    let document: Value = {
        let answer = get("/v1/openapi.json", "");
        serde_json::from_str(answer["answer"].as_str().unwrap()).unwrap()
    };
    let paths = document["paths"].as_object().unwrap();
    for (path, methods) in paths
        .iter()
        .filter(|(_, methods)| methods.get("get").is_some())
    {
        let needs = methods["get"]["parameters"].as_array();
        let needs = needs.is_some_and(|all| all.iter().any(|one| one["required"] == true));
        if !needs && path != "/v1/events" && path != "/v1/statistics" {
            exchanges.push(get(path, ""));
        }
    }
    drop(open);
    exchanges.push(post("/v1/stop", json!({"release": false})));
    let mut exchanges = Value::Array(exchanges);
    assert_eq!(complaints(&document, &exchanges), "");

    // And it would have complained.
    let services = exchanges.as_array_mut().unwrap();
    let services = services
        .iter_mut()
        .find(|one| one["path"] == "/v1/services")
        .unwrap();
    let wrong = services["answer"].as_str().unwrap();
    services["answer"] = json!(wrong.replace("\"origin\":\"config\"", "\"origin\":\"heaven\""));
    let said = complaints(&document, &exchanges);
    assert!(
        said.contains("/v1/services") && said.contains("heaven"),
        "{said}"
    );
}
