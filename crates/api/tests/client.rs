//! The client against a socket that answers with prepared bytes.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use dirigo_api::{
    Change, Client, ClientError, Connection, ConnectionQuery, Protocol, RefusalCode, Stop,
};

/// A daemon that says one thing, in the given pieces, and remembers what it was asked.
struct Prepared {
    client: Client,
    asked: JoinHandle<String>,
    _folder: tempfile::TempDir,
}

impl Prepared {
    fn new(pieces: Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let asked = read_request(&mut stream);
            for piece in pieces {
                // The client may have hung up on purpose.
                if stream.write_all(piece.as_bytes()).is_err() {
                    break;
                }
            }
            asked
        });
        Self {
            client: Client::at(path),
            asked,
            _folder: folder,
        }
    }

    fn answering(status: &str, body: &str) -> Self {
        let length = body.len();
        Self::new(vec![format!(
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}"
        )])
    }

    fn streaming(pieces: &[&str]) -> Self {
        let mut all = vec!["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()];
        all.extend(
            pieces
                .iter()
                .map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())),
        );
        all.push("0\r\n\r\n".to_owned());
        Self::new(all)
    }

    fn asked(self) -> String {
        self.asked.join().unwrap()
    }
}

fn read_request(stream: &mut impl Read) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).unwrap().to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

fn connection_line(port: u16) -> String {
    let connection = Connection {
        protocol: Some(Protocol::Tcp),
        client: ([192, 0, 2, 1], port).into(),
        virtual_address: ([192, 0, 2, 100], 80).into(),
        destination: ([192, 0, 2, 11], 80).into(),
        state: "ESTABLISHED".to_owned(),
        expires_s: 899,
    };
    serde_json::to_string(&connection).unwrap() + "\n"
}

#[test]
fn a_socket_that_is_not_there_is_told_apart_and_named() {
    let error = Client::at("/nonexistent/dirigo.sock").status().unwrap_err();
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("/nonexistent/dirigo.sock"));
    assert!(error.to_string().contains("dirigo run"));
}

#[test]
fn a_socket_of_a_dead_daemon_is_unreachable_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.sock");
    drop(UnixListener::bind(&path).unwrap());
    let error = Client::at(path).services().unwrap_err();
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
}

#[test]
fn a_change_is_posted_as_json_and_an_empty_answer_is_success() {
    let daemon = Prepared::answering("204 No Content", "");
    daemon.client.change(&Change::Clear).unwrap();
    let asked = daemon.asked();
    assert!(
        asked.starts_with("post /v1/changes http/1.1\r\n"),
        "{asked}"
    );
    assert!(asked.ends_with("\r\n\r\n{\"change\":\"clear\"}"), "{asked}");
}

#[test]
fn many_changes_are_posted_as_one_list_and_each_has_its_answer() {
    let body = r#"[null,{"code":"no-such-service","message":"there is none"}]"#;
    let daemon = Prepared::answering("200 OK", body);
    let zero = Change::Zero { service: None };
    let refusals = daemon.client.change_all(&[Change::Clear, zero]).unwrap();
    let codes: Vec<_> = refusals
        .iter()
        .map(|refusal| refusal.as_ref().map(|refusal| refusal.code))
        .collect();
    assert_eq!(codes, [None, Some(RefusalCode::NoSuchService)]);
    let asked = daemon.asked();
    assert!(asked.starts_with("post /v1/batches "), "{asked}");
    let sent = "\r\n\r\n[{\"change\":\"clear\"},{\"change\":\"zero\"}]";
    assert!(asked.ends_with(sent), "{asked}");
}

#[test]
fn an_answer_that_leaves_changes_out_is_an_error() {
    let daemon = Prepared::answering("200 OK", "[]");
    let error = daemon.client.change_all(&[Change::Clear]).unwrap_err();
    assert!(error.to_string().contains("0 answers to 1"), "{error}");
}

#[test]
fn stop_says_whether_forwarding_stops_too() {
    let daemon = Prepared::answering("200 OK", "");
    daemon.client.stop(Stop { release: true }).unwrap();
    let asked = daemon.asked();
    assert!(asked.starts_with("post /v1/stop "), "{asked}");
    assert!(asked.ends_with("{\"release\":true}"), "{asked}");
}

#[test]
fn a_refusal_keeps_its_code_and_message() {
    let body = r#"{"code":"service-exists","message":"tcp:192.0.2.100:80 is already there"}"#;
    let daemon = Prepared::answering("409 Conflict", body);
    let ClientError::Refused(refusal) = daemon.client.change(&Change::Clear).unwrap_err() else {
        panic!("not a refusal");
    };
    assert_eq!(refusal.code, RefusalCode::ServiceExists);
    assert_eq!(refusal.message, "tcp:192.0.2.100:80 is already there");
}

#[test]
fn an_error_without_a_refusals_shape_is_shown_as_it_is() {
    let daemon = Prepared::answering("404 Not Found", "no such route\n");
    let error = daemon.client.status().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the daemon's answer cannot be read: status 404 Not Found, no such route"
    );
}

#[test]
fn an_answer_of_another_protocol_is_an_error_not_a_crash() {
    for bytes in [
        "SSH-2.0-other\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}}",
        "",
    ] {
        let daemon = Prepared::new(vec![bytes.to_owned()]);
        let error = daemon.client.services().unwrap_err();
        assert!(matches!(error, ClientError::Protocol(_)), "{error:?}");
    }
}

#[test]
fn connections_are_visited_one_by_one_wherever_the_pieces_were_cut() {
    let text = connection_line(1000) + &connection_line(1001) + &connection_line(1002);
    let (first, rest) = text.split_at(90);
    let (second, third) = rest.split_at(200);
    let daemon = Prepared::streaming(&[first, second, third]);
    let mut ports = Vec::new();
    daemon
        .client
        .connections(&ConnectionQuery::default(), &mut |connection| {
            ports.push(connection.client.port());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(ports, [1000, 1001, 1002]);
}

#[test]
fn a_visitor_that_has_seen_enough_ends_the_list() {
    let text = connection_line(1000) + &connection_line(1001);
    let daemon = Prepared::streaming(&[&text]);
    let mut visited = 0;
    daemon
        .client
        .connections(&ConnectionQuery::default(), &mut |_| {
            visited += 1;
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!(visited, 1);
}

#[test]
fn a_list_that_breaks_off_is_an_error_after_what_arrived_was_visited() {
    let text = connection_line(1000) + "{\"protocol\":";
    let daemon = Prepared::streaming(&[&text]);
    let mut visited = 0;
    let error = daemon
        .client
        .connections(&ConnectionQuery::default(), &mut |_| {
            visited += 1;
            ControlFlow::Continue(())
        })
        .unwrap_err();
    assert_eq!(visited, 1);
    assert!(error.to_string().contains("middle of a line"), "{error}");
}
