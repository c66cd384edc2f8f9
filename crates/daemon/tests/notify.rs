//! Who is told of events: programs of the administrator's, and servers over HTTPS.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, mpsc};

use api::{Change, Event, EventKind, ServiceSettings};
use common::{CHILD, FILES, World, root, until, vip};
use dirigo_daemon as daemon;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Not a test: the process that the tests start.
#[test]
fn the_daemon_as_a_child() {
    common::run_as_a_child(CHILD, FILES, |options| daemon::run(&options));
}

fn add_service(port: u16) -> Change {
    Change::AddService {
        service: format!("tcp:{}:{port}", vip()).parse().unwrap(),
        settings: ServiceSettings::of("rr"),
    }
}

/// A program, readable for everybody, in a folder that everybody may write to.
fn program(world: &World, name: &str, text: &str) -> String {
    let folder = world.folder.path();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let file = folder.join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file.display().to_string()
}

fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_program_is_told_its_kinds_in_order_as_nobody_and_a_hung_one_holds_up_only_itself() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let told = world.folder.path().join("told");
    let line = "read -r json; echo \"$(id -u) $DIRIGO_EVENT $DIRIGO_SERVICE $json\" >> \"$1\"";
    let good = program(&world, "good", line);
    let hung = program(
        &world,
        "hung",
        "echo begun >> \"$1\"; sleep 100 & sleep 100",
    );
    let begun = world.folder.path().join("begun");
    let bad = program(&world, "bad", "echo 'out of paper' >&2; exit 3");
    let config = format!(
        "{}[[notify]]\ncommand = [\"{good}\", \"{}\"]\nevents = [\"service-added\", \"service-removed\"]\n\
         [[notify]]\ncommand = [\"{hung}\", \"{}\"]\ntimeout = \"300ms\"\nevents = [\"service-added\"]\n\
         [[notify]]\ncommand = [\"{bad}\"]\nevents = [\"table-cleared\"]\n",
        world.classic("rr"),
        told.display(),
        begun.display(),
    );
    world.start(&config);
    let api = world.api();
    for port in 81..85 {
        api.change(&add_service(port)).unwrap();
    }
    let remove = Change::DeleteService {
        service: format!("tcp:{}:81", vip()).parse().unwrap(),
    };
    api.change(&remove).unwrap();
    api.change(&Change::Clear).unwrap();
    until("the program was told everything", || {
        lines(&told).len() == 5
    });
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid;
    for (line, port) in lines(&told).iter().zip([81, 82, 83, 84, 81]) {
        let mut words = line.splitn(4, ' ');
        assert_eq!(words.next().unwrap(), nobody.to_string());
        let kind = words.next().unwrap();
        assert_eq!(words.next().unwrap(), format!("tcp:{}:{port}", vip()));
        let event: Event = serde_json::from_str(words.next().unwrap()).unwrap();
        assert_eq!(event.what.kind.name(), kind);
    }
    until("each call of the hung one was ended", || {
        lines(&begun).len() == 4
    });
    until("what went wrong is in the journal", || {
        let log = world.log();
        log.matches("not done within 300 ms").count() == 4
            && log.contains("exit status: 3: out of paper")
    });
    let left = std::process::Command::new("pgrep")
        .args(["-f", &hung])
        .output()
        .unwrap();
    assert!(left.stdout.is_empty(), "its children are gone, too");
    world.terminate();
}

/// Answers each request with the next status, and tells its body and its authorization.
fn serve(
    listener: TcpListener,
    config: Arc<rustls::ServerConfig>,
    statuses: Vec<&'static str>,
) -> mpsc::Receiver<(String, String)> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for status in statuses {
            let (tcp, _) = listener.accept().unwrap();
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = BufReader::new(rustls::StreamOwned::new(tls, tcp));
            let (mut length, mut token) = (0, String::new());
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                let Some((name, value)) = line.trim().split_once(": ") else {
                    if line.trim().is_empty() {
                        break;
                    }
                    assert!(line.starts_with("POST /lvs?x=1 HTTP/1.1"), "{line}");
                    continue;
                };
                match name.to_lowercase().as_str() {
                    "content-length" => length = value.parse().unwrap(),
                    "authorization" => token = value.to_owned(),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            let _test_is_over = sender.send((String::from_utf8(body).unwrap(), token));
        }
    });
    receiver
}

#[test]
fn a_server_is_told_over_https_again_after_a_failure_and_the_last_words_too() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let made = rcgen::generate_simple_self_signed(["10.9.0.1".to_owned()]).unwrap();
    let trust = world.folder.path().join("trust");
    std::fs::write(&trust, made.cert.pem()).unwrap();
    let token = world.folder.path().join("token");
    std::fs::write(&token, "hook-0123456789abcdef\n").unwrap();
    let chain = CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    let listener = world
        .client
        .run(|| TcpListener::bind("10.9.0.1:8443").unwrap());
    let statuses = vec!["503 Busy", "204 No Content", "200 OK"];
    let heard = serve(listener.unwrap(), Arc::new(tls), statuses);
    let config = format!(
        "{}[[notify]]\nurl = \"https://10.9.0.1:8443/lvs?x=1\"\ntrust = \"{}\"\ntoken_file = \"{}\"\n\
         events = [\"service-added\", \"daemon-stopped\"]\n\
         [[notify]]\nurl = \"http://10.9.0.77/nobody\"\nlevel = \"info\"\ntimeout = \"500ms\"\n",
        world.classic("rr"),
        trust.display(),
        token.display()
    );
    world.start(&config);
    world.api().change(&add_service(81)).unwrap();
    let next = || common::Patience::receive(common::PATIENCE, &heard).unwrap();
    let (first, authorization) = next();
    let (second, _) = next();
    assert_eq!(first, second, "what failed is sent again");
    assert_eq!(authorization, "Bearer hook-0123456789abcdef");
    let event: Event = serde_json::from_str(&first).unwrap();
    assert_eq!(event.what.kind, EventKind::ServiceAdded);
    world.terminate();
    let (last, _) = next();
    assert!(last.contains("daemon-stopped"), "{last}");
}

#[test]
fn others_are_told_from_the_next_apply_on_and_a_program_can_gain_no_privileges() {
    if !root() {
        return;
    }
    let mut world = World::new();
    let file = |name: &str| world.folder.path().join(name);
    let (one, two, about) = (file("one"), file("two"), file("about"));
    let line = "echo $DIRIGO_SERVICE >> \"$1\"";
    let tells = program(&world, "tells", line);
    let looks = program(
        &world,
        "looks",
        "grep -E '^(NoNewPrivs|CapEff|CapBnd|Uid|Groups)' /proc/self/status > \"$1.new\"; mv \"$1.new\" \"$1\"",
    );
    let told = |by: &str, of: &Path| {
        format!(
            "[[notify]]\ncommand = [\"{by}\", \"{}\"]\nevents = [\"service-added\"]\n",
            of.display()
        )
    };
    let classic = world.classic("rr");
    let first = format!("{classic}{}", told(&tells, &one));
    world.start(&first);
    let count = |file: &Path| lines(file).len();
    world.api().change(&add_service(81)).unwrap();
    until("the first is told", || count(&one) == 1);

    let both = format!("{first}{}{}", told(&tells, &two), told(&looks, &about));
    let applied = world.apply(&both).unwrap();
    assert!(applied.notes.is_empty(), "{applied:?}");
    world.api().change(&add_service(82)).unwrap();
    until("both are told", || count(&one) == 2 && count(&two) == 1);
    until("it has looked", || about.exists());
    let about = std::fs::read_to_string(&about).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    for said in [
        "NoNewPrivs:\t1".to_owned(),
        "CapEff:\t0000000000000000".to_owned(),
        format!("Uid:\t{0}\t{0}\t{0}\t{0}", nobody.uid),
    ] {
        assert!(about.contains(&said), "{said} is not in {about}");
    }

    // One that cannot be is said, and all goes on as it was.
    let wrong = format!("{both}{}user = \"nobody-at-all\"\n", told(&tells, &two));
    let notes = world.apply(&wrong).unwrap().notes;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("nobody-at-all"), "{notes:?}");
    let second = format!("{classic}{}", told(&tells, &two));
    world.apply(&second).unwrap();
    world.api().change(&add_service(83)).unwrap();
    until("the second is told", || count(&two) == 2);
    assert_eq!(count(&one), 2, "the first is told no more");
    world.terminate();
}
