//! Wrong lines as a person types them, each with the answer, in one snapshot to read.

use super::*;

const WRONG: &[&str] = &[
    "foo",
    "-t 192.0.2.100:81 -A -s wrr",
    "--add-serv -t 192.0.2.100:81",
    "-A",
    "-A -s wrr",
    "-A -t 192.0.2.100 -s wrr",
    "-A -t 192.0.2.300:81 -s wrr",
    "-A -t 192.0.2.100:http-alt -s wrr",
    "-A -t [2001:db8::1] -s wrr",
    "-A -t 192.0.2.100:81 -u 192.0.2.100:81 -s wrr",
    "-A -t 192.0.2.100:81 -s wrr -w 3",
    "-A -t 192.0.2.100:81 -s round-robin",
    "-A -t 192.0.2.100:81 -s wrr -p abc",
    "-A -t 192.0.2.100:81 -s wrr -o",
    "-A -t 192.0.2.100:80 -s wrr",
    "-E -t 192.0.2.100:81 -s rr",
    "-D -t 192.0.2.100:81",
    "-a -t 192.0.2.100:80",
    "-a -t 192.0.2.100:81 -r 192.0.2.12 -g",
    "-a -t 192.0.2.100:80 -r 192.0.2.11 -g",
    "-a -t 192.0.2.100:80 -r 192.0.2.12 -g -m",
    "-a -t 192.0.2.100:80 -r 192.0.2.12 -w -1",
    "-a -t 192.0.2.100:80 -r 192.0.2.12 -w",
    "-a -t 192.0.2.100:80 -r 2001:db8::12 -g",
    "-a -t 192.0.2.100:80 -r 255.255.255.255 -g",
    "-e -t 192.0.2.100:80 -r 192.0.2.12 -w 2",
    "-d -t 192.0.2.100:80 -r 192.0.2.11:8080",
    "-L -t 192.0.2.100:81",
    "-Lnc --stats",
    "-Lnc -t 192.0.2.100:80",
    "-LnQ",
    "-A -D -t 192.0.2.100:80",
    "-Ln please",
    "-C -t 192.0.2.100:80",
    "-6",
    "-A -t 192.0.2.100:81 -s rr -b mh-port",
    "-a -t 192.0.2.100:80 -r 192.0.2.12 -i --tun-type gre --tun-port 1",
    "-Z -t 192.0.2.100:81",
    // The original does this; we cannot yet.
    "--start-daemon master",
];

#[test]
fn wrong_lines_are_answered_with_the_originals_sentences() {
    let mut text = String::new();
    for line in WRONG {
        let words: Vec<&str> = line.split(' ').collect();
        let outcome = run(&mut one_service(), &words, "");
        assert_eq!(outcome.out, "", "{line}");
        text += &format!(
            "ipvsadm {line}\n  {}: {}\n",
            outcome.code,
            outcome.err.trim_end()
        );
    }
    insta::assert_snapshot!(text);
}
