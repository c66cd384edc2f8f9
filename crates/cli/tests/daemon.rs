//! ipvsadm through a real daemon, in a network namespace of its own. Needs root.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Director, Outcome, is_root};

const VIP: &str = "192.168.188.120:80";

#[test]
fn the_classic_script_works_word_for_word() {
    if !is_root() {
        return;
    }
    let director = Director::start();
    for line in [
        "-C",
        "-A -t 192.168.188.120:80 -s wrr",
        "-a -t 192.168.188.120:80 -r 192.168.188.107:80 -g -w 1",
        "-a -t 192.168.188.120:80 -r 192.168.188.110:80 -g -w 1",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let outcome = director.run(&words, "");
        assert_eq!(outcome.err, "", "{line}");
        assert_eq!((outcome.code, outcome.out.as_str()), (0, ""), "{line}");
    }
    assert_eq!(
        director.run(&["-ln"], "").out,
        "IP Virtual Server version 1.2.1 (size=4096)\n\
         Prot LocalAddress:Port Scheduler Flags\n\
         \x20 -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n\
         TCP  192.168.188.120:80 wrr\n\
         \x20 -> 192.168.188.107:80           Route   1      0          0         \n\
         \x20 -> 192.168.188.110:80           Route   1      0          0         \n"
    );
    let services = Command::new(common::dirigo())
        .args(["services", "--json", "--instance", &director.instance])
        .output()
        .unwrap();
    let services: serde_json::Value = serde_json::from_slice(&services.stdout).unwrap();
    assert_eq!(services[0]["service"], format!("tcp:{VIP}"));
    assert_eq!(services[0]["origin"], "runtime");
}

#[derive(serde::Deserialize)]
struct Answer {
    words: Vec<String>,
    input: String,
    code: i32,
    out: String,
    err: String,
    after: String,
}

const TABLE: &str =
    "-C\n-A -t 192.0.2.100:80 -s wrr\n-a -t 192.0.2.100:80 -r 192.0.2.11:80 -g -w 3\n";

#[test]
fn the_daemon_answers_as_ipvs_did_or_says_not_supported_yet() {
    if !is_root() {
        return;
    }
    let director = Director::start();
    let answers: Vec<Answer> = serde_json::from_str(include_str!("golden/answers.json")).unwrap();
    let (mut compared, mut unsupported, mut wrong) = (0, 0, String::new());
    for answer in answers {
        let line = format!("{:?} {:?}", answer.words, answer.input);
        // Names that only the recording machine knew.
        if line.contains("example.test") || answer.out.contains("example.test") {
            continue;
        }
        // Refused, and the README says so: to the data plane it is the IPv4 address.
        if line.contains("::ffff:") {
            continue;
        }
        assert_eq!(director.run(&["-R"], TABLE).err, "", "{line}");
        let words: Vec<&str> = answer.words.iter().map(String::as_str).collect();
        let ours = director.run(&words, &answer.input);
        if ours.err.contains("not supported") {
            println!("{line}: {}", ours.err.trim_end());
            unsupported += 1;
            // Not for a line whose words alone are wrong: those have their own sentence. Of a restore
            // the last line counts.
            if answer.words != ["-R"] {
                assert!([0, 255].contains(&answer.code), "{line}: {}", ours.err);
                assert_eq!(ours.code, 255, "{line}");
            }
            continue;
        }
        let theirs = Outcome {
            code: answer.code,
            out: answer.out,
            err: answer.err,
        };
        let after = director.run(&["-Sn"], "").out;
        if (&ours, &after) != (&theirs, &answer.after) {
            wrong += &format!(
                "{line}:\n  {ours:?} {after:?}\n  {theirs:?} {:?}\n",
                answer.after
            );
        }
        compared += 1;
    }
    assert!(
        wrong.is_empty(),
        "ours, then theirs, with the table after:\n{wrong}"
    );
    println!("{compared} lines compared, {unsupported} not supported");
    assert!(compared > 330, "only {compared} lines were compared");
}

#[test]
fn a_program_that_feeds_a_restore_line_by_line_finds_each_done() {
    if !is_root() {
        return;
    }
    let director = Director::start();
    let mut restore = director.command(&["-R"]).spawn().unwrap();
    let mut input = restore.stdin.take().unwrap();
    for (line, saved) in [
        ("-A -t 192.0.2.100:80 -s rr", "-A -t 192.0.2.100:80 -s rr\n"),
        ("-D -t 192.0.2.100:80", ""),
        (
            "-A -u 192.0.2.100:53 -s wrr",
            "-A -u 192.0.2.100:53 -s wrr\n",
        ),
    ] {
        writeln!(input, "{line}").unwrap();
        let written = Instant::now();
        while director.run(&["-Sn"], "").out != saved {
            assert!(written.elapsed() < Duration::from_secs(30), "{line}");
        }
    }
    drop(input);
    assert_eq!(restore.wait().unwrap().code(), Some(0));
}

/// Lines of a listing without a service that was not made and without destinations that were not.
fn without(text: &str, refused: &[String]) -> String {
    let mut service = String::new();
    let keeps = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["->", destination, ..] => {
                let name = format!("{service} -> {destination}");
                !refused.contains(&service) && !refused.contains(&name)
            }
            ["TCP" | "UDP" | "SCTP" | "FWM", name, ..] => {
                service = format!("{} {name}", words[0]);
                !refused.contains(&service)
            }
            _ => true,
        }
    };
    let kept: Vec<&str> = text.lines().filter(keeps).collect();
    kept.join("\n") + "\n"
}

/// `TCP 192.0.2.100:85 -> 192.0.2.11:85` of a refused line; its service alone when that was refused.
fn named(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |switch: &str| {
        let place = words.iter().position(|word| *word == switch)?;
        words.get(place + 1).copied()
    };
    let titles = [
        ("-t", "TCP"),
        ("-u", "UDP"),
        ("--sctp-service", "SCTP"),
        ("-f", "FWM"),
    ];
    let service = titles
        .into_iter()
        .find_map(|(switch, title)| Some(format!("{title} {}", after(switch)?)));
    let service = service.expect(line);
    match after("-r") {
        Some(server) => format!("{service} -> {server}"),
        None => service,
    }
}

#[test]
fn the_recorded_table_with_everything_is_made_listed_and_saved_but_for_what_is_not_supported() {
    if !is_root() {
        return;
    }
    let director = Director::start();
    let mut refused = Vec::new();
    for line in include_str!("golden/setup/all.sh").lines() {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let outcome = director.run(&words, "");
        if outcome.code == 0 {
            continue;
        }
        // Masquerading, tunnels, the persistence engine; and a destination of its service.
        let is_known = [" -m", " -i", "--pe sip"];
        match is_known.iter().any(|known| line.contains(known)) {
            true => assert!(
                outcome.err.contains("not supported"),
                "{line}: {}",
                outcome.err
            ),
            false => assert_eq!(outcome.err, "Service not defined\n", "{line}"),
        }
        assert_eq!(outcome.code, 255, "{line}");
        refused.push(named(line));
    }
    for (words, recorded) in [
        ("-Ln", include_str!("golden/all.Ln.out")),
        ("-Ln --stats", include_str!("golden/all.Ln-stats.out")),
        ("-Ln --rate", include_str!("golden/all.Ln-rate.out")),
        (
            "-Ln --thresholds",
            include_str!("golden/all.Ln-thresholds.out"),
        ),
        ("-Ln --timeout", include_str!("golden/all.Ln-timeout.out")),
        ("-Ln -f 8", include_str!("golden/all.Ln-f.out")),
        (
            "-Ln --sctp-service 192.0.2.100:2905",
            include_str!("golden/all.Ln-sctp.out"),
        ),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let ours = director.run(&words, "");
        let recorded = without(recorded, &refused);
        assert_eq!((ours.code, ours.err.as_str()), (0, ""), "{words:?}");
        assert_eq!(ours.out, recorded, "{words:?}");
    }
    assert_eq!(refused.len(), 8, "{refused:?}");
    let saved = director.run(&["-Sn"], "").out;
    assert_eq!(director.run(&["-C"], "").code, 0);
    assert_eq!(director.run(&["-R"], &saved).err, "");
    assert_eq!(director.run(&["-Sn"], "").out, saved);
}

#[test]
fn explain_names_the_server_its_mac_and_the_rule_and_says_why_there_is_none() {
    if !is_root() {
        return;
    }
    let director = Director::start();
    let explain = |vip: &str| {
        let words = ["explain", "tcp", "203.0.113.7:40000", vip, "--instance"];
        let mut command = Command::new(common::dirigo());
        let output = command
            .args(words)
            .arg(&director.instance)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for line in [
        "-A -t 192.0.2.100:80 -s sh",
        "-a -t 192.0.2.100:80 -r 192.0.2.11:80",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(director.run(&words, "").err, "", "{line}");
    }
    // An added destination is resolved, or has had its time, before the command returns.
    let text = explain("192.0.2.100:80");
    for part in [
        "service:  tcp:192.0.2.100:80, scheduler sh, generation 1\n",
        // `ipvs.md` 2.2: the bucket of 203.0.113.7.
        "decided:  by hash: slot 124 of 256\n",
        "becomes:  sent to 192.0.2.11:80 at ",
        " out of eth0 (transmitted)\n",
        "if 192.0.2.11 stopped answering:  refused with an ICMP error",
        "sh-fallback",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    assert!(explain("192.0.2.100:81").contains("(pass_not_a_service)"));
    assert!(explain("192.0.2.99:80").contains("no virtual address"));

    let drain = "-e -t 192.0.2.100:80 -r 192.0.2.11:80 -w 0";
    let words: Vec<&str> = drain.split(' ').collect();
    assert_eq!(director.run(&words, "").err, "");
    let text = explain("192.0.2.100:80");
    let owner = "slot 124 of 256; it is 192.0.2.11:80's, who may not be given it";
    assert!(text.contains(owner), "{text}");
}

#[test]
fn explain_takes_a_frame_of_a_capture_and_says_which_there_are() {
    if !is_root() {
        return;
    }
    let director = Director::start();
    for line in [
        "-A -t 192.0.2.100:80 -s sh",
        "-a -t 192.0.2.100:80 -r 192.0.2.11:80",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(director.run(&words, "").err, "", "{line}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.pcap");
    let mut syn = Vec::new();
    etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 0x63])
        .ipv4([203, 0, 113, 7], [192, 0, 2, 100], 61)
        .tcp(40_000, 80, 1, 1024)
        .syn()
        .write(&mut syn, &[])
        .unwrap();
    // Classic pcap: a header of 24 bytes, and 16 before each frame.
    let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
    bytes.extend([[0; 4], [0; 4], 96_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat());
    for frame in [&vec![0xff; 60], &syn] {
        let length = (frame.len() as u32).to_le_bytes();
        bytes.extend([[0; 4], [0; 4], length, length].concat());
        bytes.extend(frame);
    }
    std::fs::write(&file, bytes).unwrap();
    let explain = |words: &[&str]| {
        let mut command = Command::new(common::dirigo());
        command
            .arg("explain")
            .args(["--packet", file.to_str().unwrap()]);
        let output = command.args(words).args(["--instance", &director.instance]);
        let output = output.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, out, err) = explain(&["--number", "2", "--to-director"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for part in [
        "TCP SYN from 203.0.113.7:40000 to 192.0.2.100:80, now\n",
        "54 bytes, 61 hops left\n",
        "decided:  by hash: slot 124 of 256\n",
        "becomes:  sent to 192.0.2.11:80 at ",
    ] {
        assert!(out.contains(part), "{part:?} in {out}");
    }
    let (code, out, _) = explain(&["--number", "2"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("--to-director asks as if it were"), "{out}");
    assert!(out.contains("(pass_not_for_this_host)"), "{out}");
    let (code, out, err) = explain(&[]);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("frame 1 of 2; another with --number"), "{err}");
    assert!(out.contains("(pass_not_ip)"), "{out}");
    let (code, _, err) = explain(&["--number", "3"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("has 2 frames, and no number 3"), "{err}");
    std::fs::write(&file, "no capture").unwrap();
    let (code, _, err) = explain(&[]);
    assert_eq!(code, Some(2));
    assert!(err.contains("neither pcap nor pcapng"), "{err}");
}
