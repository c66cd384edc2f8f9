//! Each kind of check against a server that speaks its protocol, on loopback.

// A test that cannot go on should say where.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Authority, block_on, check};
use dirigo_health as health;
use health::attempt::{Route, Target, attempt};
use health::check::{Check, Dns, Http, Kind, Script, Smtp, Statuses, Tls, Trust, Udp};
use health::reason::{Outcome, Reason, Share};
use regex::bytes::Regex;

/// Asks once, without the true path.
fn ask(to: SocketAddr, check: &Check) -> Outcome {
    let target = Target {
        server: to.ip(),
        to,
        route: Route::Host,
    };
    block_on(attempt(check, &target))
}

fn reason(outcome: Outcome) -> Reason {
    match outcome {
        Outcome::Failed(reason) => reason,
        Outcome::Passed { .. } => panic!("it passed"),
    }
}

/// Serves each connection by a function of what can be read and written.
fn serve(talk: impl Fn(std::net::TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            talk(stream.unwrap());
        }
    });
    address
}

/// An HTTP server with one answer, which tells of each request's head.
fn pages(answer: &'static str) -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
    let (heads, seen) = std::sync::mpsc::channel();
    let address = serve(move |mut stream| {
        let mut head = String::new();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        while !head.ends_with("\r\n\r\n") && lines.read_line(&mut head).unwrap_or(0) > 0 {}
        let _gone = heads.send(head);
        let _gone = stream.write_all(answer.as_bytes());
    });
    (address, seen)
}

fn http(wanted: Http) -> Check {
    check(Kind::Http(wanted))
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn tcp_connects_or_is_refused() {
    let address = serve(drop);
    assert!(ask(address, &check(Kind::Tcp)).is_pass());
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let gone = listener.local_addr().unwrap();
    assert!(ask(gone, &check(Kind::Tcp)).is_pass());
    drop(listener);
    let port = gone.port();
    assert_eq!(
        reason(ask(gone, &check(Kind::Tcp))),
        Reason::Refused { port }
    );
}

#[test]
fn http_sends_method_path_and_host_and_wants_a_status_of_the_set() {
    let (address, seen) = pages("HTTP/1.1 204 No Content\r\n\r\n");
    let wanted = Http {
        method: "OPTIONS".to_owned(),
        path: "/health?full=1".to_owned(),
        host: Some("www.example:8080".to_owned()),
        statuses: Statuses(vec![200..=200, 204..=206]),
        ..Http::default()
    };
    assert!(ask(address, &http(wanted.clone())).is_pass());
    let head = seen.recv().unwrap().to_lowercase();
    assert!(
        head.starts_with("options /health?full=1 http/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nhost: www.example:8080\r\n"), "{head}");
    let strict = Http {
        statuses: Statuses(vec![200..=200, 301..=399]),
        ..wanted
    };
    let found = reason(ask(address, &http(strict)));
    assert_eq!(
        found,
        Reason::Status {
            found: 204,
            wanted: "200, 301-399".to_owned()
        }
    );
    assert_eq!(found.to_string(), "HTTP status 204, expected 200, 301-399");
}

#[test]
fn http_looks_into_the_body() {
    let (address, _seen) = pages(OK);
    let body = |pattern: &str| {
        http(Http {
            body: Some(Regex::new(pattern).unwrap()),
            ..Http::default()
        })
    };
    assert!(ask(address, &body("^hel+o$")).is_pass());
    assert_eq!(
        reason(ask(address, &body("bye"))),
        Reason::Body {
            pattern: "bye".to_owned(),
            bytes: 5
        }
    );
    // genhash of keepalived, and md5sum: MD5 of "hello".
    let digest = |digest| {
        http(Http {
            digest: Some(digest),
            ..Http::default()
        })
    };
    let hello = 0x5d41_402a_bc4b_2a76_b971_9d91_1017_c592_u128.to_be_bytes();
    assert!(ask(address, &digest(hello)).is_pass());
    let Reason::Digest { found, .. } = reason(ask(address, &digest([0; 16]))) else {
        panic!("another reason");
    };
    assert_eq!(found, "5d41402abc4b2a76b9719d911017c592");
}

#[test]
fn http_names_what_is_wrong_with_an_answer() {
    let (silent, _seen) = pages("");
    let found = reason(ask(silent, &http(Http::default())));
    assert!(matches!(found, Reason::Closed { .. }), "{found:?}");
    let (noise, _seen) = pages("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    let found = reason(ask(noise, &http(Http::default())));
    assert!(
        matches!(
            found,
            Reason::Answer {
                protocol: "HTTP",
                ..
            }
        ),
        "{found:?}"
    );
}

#[test]
fn a_body_that_never_ends_is_cut_and_one_that_stops_times_out() {
    let endless = serve(|mut stream| {
        let _asked = stream.read(&mut [0; 1024]);
        let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 65536]).is_ok() {}
    });
    let pattern = http(Http {
        body: Some(Regex::new("^x+$").unwrap()),
        ..Http::default()
    });
    assert!(ask(endless, &pattern).is_pass());
    let stopped = serve(|mut stream| {
        let _asked = stream.read(&mut [0; 1024]);
        let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx");
        std::thread::sleep(Duration::from_secs(5));
    });
    let found = reason(ask(stopped, &pattern));
    assert!(
        matches!(
            found,
            Reason::Timeout {
                stage: "reading the body",
                ..
            }
        ),
        "{found:?}"
    );
}

/// An HTTPS server of its own: one certificate, one answer.
fn secure(certificate: &common::Certificate) -> SocketAddr {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = vec![CertificateDer::from_pem_slice(certificate.pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = std::sync::Arc::new(config);
    serve(move |mut stream| {
        let mut session = rustls::ServerConnection::new(config.clone()).unwrap();
        let mut secure = rustls::Stream::new(&mut session, &mut stream);
        let mut head = [0; 1024];
        if secure.read(&mut head).is_ok() {
            let _gone = secure.write_all(OK.as_bytes());
        }
    })
}

fn https(tls: Tls) -> Check {
    http(Http {
        tls: Some(tls),
        host: Some("www.example".to_owned()),
        body: Some(Regex::new("hello").unwrap()),
        ..Http::default()
    })
}

#[test]
fn https_verifies_trust_name_and_end_of_the_certificate() {
    let authority = Authority::new();
    let trusted = || Trust::File(authority.file.clone());
    let by = |trust, days_left| {
        https(Tls {
            sni: None,
            trust,
            days_left,
        })
    };
    let good = secure(&authority.sign("www.example", (2090, 1, 1)));
    assert!(ask(good, &by(trusted(), Some(3650))).is_pass());
    let expired = secure(&authority.sign("www.example", (2021, 1, 1)));
    let other = secure(&authority.sign("other.example", (2090, 1, 1)));
    let said = |address, check| reason(ask(address, &check)).to_string();
    let found = said(expired, by(trusted(), None));
    assert!(found.contains("expired"), "{found}");
    let found = said(other, by(trusted(), None));
    assert!(found.contains("not valid for name"), "{found}");
    let found = said(good, by(Trust::System, None));
    assert!(
        found.contains("UnknownIssuer") || found.contains("unknown issuer"),
        "{found}"
    );
    // As keepalived: anything is good.
    for address in [expired, other, good] {
        assert!(ask(address, &by(Trust::Anybody, None)).is_pass());
    }
    let named = https(Tls {
        sni: Some("other.example".to_owned()),
        trust: trusted(),
        days_left: None,
    });
    assert!(ask(other, &named).is_pass());
}

#[test]
fn https_fails_days_before_the_certificate_does() {
    let authority = Authority::new();
    let now = std::time::SystemTime::now();
    let years = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 31_556_952;
    let until = (1970 + years as i32 + 2, 1, 1);
    let address = secure(&authority.sign("www.example", until));
    let lasting = |days| {
        https(Tls {
            sni: None,
            trust: Trust::File(authority.file.clone()),
            days_left: Some(days),
        })
    };
    assert!(ask(address, &lasting(30)).is_pass());
    let days = 800;
    assert_eq!(
        reason(ask(address, &lasting(days))),
        Reason::ExpiresSoon { days }
    );
}

#[test]
fn https_says_so_when_the_server_does_not_speak_tls() {
    let (plain, _seen) = pages(OK);
    let found = reason(ask(plain, &https(Tls::default())));
    assert!(matches!(found, Reason::Tls(_)), "{found:?}");
}

/// Answers each datagram by a function of it.
fn datagrams(answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if let Some(reply) = answer(&buffer[..length]) {
                let _gone = socket.send_to(&reply, from);
            }
        }
    });
    address
}

#[test]
fn dns_wants_an_answer_without_error() {
    let server = |code: u8| {
        datagrams(move |question| {
            assert_eq!(question[12..], *b"\x03www\x07example\0\0\x01\0\x01");
            let mut answer = question.to_vec();
            answer[2] |= 0x80;
            answer[3] = code;
            Some(answer)
        })
    };
    let www = check(Kind::Dns(Dns {
        name: "www.example".to_owned(),
        record: 1,
    }));
    assert!(ask(server(0), &www).is_pass());
    let found = reason(ask(server(3), &www));
    assert_eq!(
        found.to_string(),
        "DNS: response code 3 (no such name), expected 0 (no error)"
    );
    let silent = datagrams(|_| None);
    let found = reason(ask(silent, &www));
    assert!(matches!(found, Reason::Timeout { .. }), "{found:?}");
}

#[test]
fn udp_passes_in_silence_unless_a_reply_is_wanted_and_fails_when_the_port_is_closed() {
    let silent = datagrams(|_| None);
    let echo = datagrams(|question| Some(question.to_vec()));
    let wanted = |reply: Option<&str>| {
        check(Kind::Udp(Udp {
            payload: b"\x01ping".to_vec(),
            reply: reply.map(|reply| Regex::new(reply).unwrap()),
        }))
    };
    assert!(ask(silent, &wanted(None)).is_pass());
    assert!(ask(echo, &wanted(None)).is_pass());
    assert!(ask(echo, &wanted(Some("(?-u)^\\x01ping$"))).is_pass());
    let found = reason(ask(echo, &wanted(Some("pong"))));
    assert!(
        matches!(
            found,
            Reason::Answer {
                protocol: "UDP",
                ..
            }
        ),
        "{found:?}"
    );
    let found = reason(ask(silent, &wanted(Some("pong"))));
    assert!(matches!(found, Reason::Timeout { .. }), "{found:?}");
    let closed = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let port = closed.port();
    assert_eq!(reason(ask(closed, &wanted(None))), Reason::Refused { port });
}

#[test]
fn smtp_says_helo_and_quit() {
    let server = |greeting: &'static str| {
        serve(move |mut stream| {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let _gone = stream.write_all(greeting.as_bytes());
            for (command, reply) in [
                ("HELO mx.example", "250-mail.example\r\n250 HELP\r\n"),
                ("QUIT", "221 bye\r\n"),
            ] {
                let Some(Ok(line)) = lines.next() else { return };
                let reply = if line == command {
                    reply
                } else {
                    "500 what?\r\n"
                };
                let _gone = stream.write_all(reply.as_bytes());
            }
        })
    };
    let smtp = check(Kind::Smtp(Smtp {
        helo: "mx.example".to_owned(),
    }));
    assert!(ask(server("220 mail.example ESMTP\r\n"), &smtp).is_pass());
    let found = reason(ask(server("554 go away\r\n"), &smtp));
    assert_eq!(found.to_string(), "SMTP: \"554 go away\", expected 220");
    let found = reason(ask(
        server("220 mail\r\n"),
        &check(Kind::Smtp(Smtp::default())),
    ));
    assert_eq!(found.to_string(), "SMTP: \"500 what?\", expected 250");
}

#[test]
fn an_agent_gives_its_weight() {
    let server =
        |line: &'static str| serve(move |mut stream| drop(stream.write_all(line.as_bytes())));
    let share = |line| match ask(server(line), &check(Kind::Agent)) {
        Outcome::Passed { share, .. } => share,
        Outcome::Failed(reason) => panic!("{reason}"),
    };
    assert_eq!(share("75%\n"), Some(Share::Percent(75)));
    assert_eq!(share("12\r\n"), Some(Share::Weight(12)));
    let found = reason(ask(server("busy\n"), &check(Kind::Agent)));
    assert!(
        matches!(
            found,
            Reason::Answer {
                protocol: "agent",
                ..
            }
        ),
        "{found:?}"
    );
    let found = reason(ask(server(""), &check(Kind::Agent)));
    assert!(matches!(found, Reason::Closed { .. }), "{found:?}");
}

fn script(words: &str) -> Check {
    check(Kind::Script(Script {
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), words.to_owned()],
        user: "nobody".to_owned(),
    }))
}

#[test]
fn a_script_passes_by_exit_code_0_and_its_first_line_is_the_reason_else() {
    let to = SocketAddr::from(([127, 0, 0, 1], 80));
    assert!(ask(to, &script("exit 0")).is_pass());
    assert!(
        ask(
            to,
            &script("test \"$DIRIGO_SERVER $DIRIGO_PORT\" = '127.0.0.1 80'")
        )
        .is_pass()
    );
    let found = reason(ask(to, &script("echo too hot; echo more; exit 3")));
    assert_eq!(found.to_string(), "script: exit code 3: too hot");
    let found = reason(ask(to, &script("kill -9 $$")));
    assert_eq!(found.to_string(), "script: killed by signal 9");
    // What it writes beyond what is kept neither blocks nor kills it.
    assert!(ask(to, &script("head -c 1000000 /dev/zero")).is_pass());
    let missing = check(Kind::Script(Script {
        command: vec!["/nowhere/check".to_owned()],
        user: "nobody".to_owned(),
    }));
    let found = reason(ask(to, &missing));
    assert!(matches!(found, Reason::Local(_)), "{found:?}");
}

#[test]
fn a_script_does_not_run_as_root() {
    if !common::root() {
        return;
    }
    let to = SocketAddr::from(([127, 0, 0, 1], 80));
    let as_root = check(Kind::Script(Script {
        command: vec!["/bin/true".to_owned()],
        user: "root".to_owned(),
    }));
    let found = reason(ask(to, &as_root)).to_string();
    assert!(found.contains("scripts do not run as root"), "{found}");
}

#[test]
fn a_script_is_nobody_without_groups_and_knows_nothing_of_our_environment() {
    if !common::root() {
        return;
    }
    let to = SocketAddr::from(([127, 0, 0, 1], 80));
    assert!(ask(to, &script("grep -q 'NoNewPrivs:.*1' /proc/self/status")).is_pass());
    let test = "id -u; id -G; env | cut -d= -f1 | sort | tr '\\n' ' '";
    let outcome = reason(ask(to, &script(&format!("echo $({test}); exit 1"))));
    let outcome = outcome.to_string();
    assert!(
        outcome.contains("65534 65534 DIRIGO_PORT DIRIGO_SERVER DIRIGO_VIP PATH PWD"),
        "{outcome}"
    );
}

#[test]
fn a_script_that_takes_too_long_is_killed_with_its_children() {
    let to = SocketAddr::from(([127, 0, 0, 1], 80));
    let mark = format!("7{:06}", std::process::id());
    let mut slow = script(&format!("sleep {mark} & sleep {mark}"));
    slow.pace.timeout = Duration::from_millis(300);
    let found = reason(ask(to, &slow));
    assert!(matches!(found, Reason::Timeout { .. }), "{found:?}");
    let until = Instant::now() + Duration::from_secs(5);
    let running = || {
        let all = Command::new("ps")
            .args(["-eo", "stat,args"])
            .output()
            .unwrap();
        let all = String::from_utf8_lossy(&all.stdout).into_owned();
        let living = all.lines().filter(|line| !line.starts_with('Z'));
        living
            .filter(|line| line.contains(&format!("sleep {mark}")))
            .count()
    };
    while running() > 0 {
        assert!(Instant::now() < until, "sleeps are left behind");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn reasons_say_what_was_found_and_what_to_do() {
    let vip = "192.168.188.120".parse().unwrap();
    let only = Reason::OnlyOwnAddress {
        reason: Box::new(Reason::Timeout {
            stage: "connecting",
            after: Duration::from_secs(1),
        }),
        own: "192.168.188.107".parse().unwrap(),
        vip,
    };
    assert_eq!(
        only.to_string(),
        "no answer within 1000 ms while connecting; it answers on 192.168.188.107, but not on \
         192.168.188.120: is 192.168.188.120 missing on its lo? Run `dirigo realserver check --vip \
         192.168.188.120` there"
    );
    assert!(
        Reason::Answers { vip }
            .to_string()
            .contains("answers ARP for 192.168.188.120")
    );
}
