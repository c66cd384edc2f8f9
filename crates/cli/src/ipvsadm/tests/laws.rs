//! What holds for every line, and for what the recordings cannot show: our own daemon.

use std::ops::ControlFlow;

use api::{Change, ClientError, Connection, Refusal, RefusalCode, Service, Timeouts};
use proptest::prelude::*;

use super::*;
use crate::ipvsadm::Wrapper;
use crate::ipvsadm::grammar::SPELLINGS;
use crate::ipvsadm::kernel::Totals;

/// A kernel side that only ever fails in one way.
struct Failing(fn() -> ClientError);

impl Kernel for Failing {
    fn reach(&mut self) -> Result<(), ClientError> {
        Err(self.0())
    }
    fn services(&mut self) -> Result<Vec<Service>, ClientError> {
        Err(self.0())
    }
    fn timeouts(&mut self) -> Result<Timeouts, ClientError> {
        Err(self.0())
    }
    fn connections(
        &mut self,
        _: &mut dyn FnMut(Connection) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        Err(self.0())
    }
    fn change(&mut self, _: &Change) -> Result<(), ClientError> {
        Err(self.0())
    }
    fn changes(&mut self, _: &[Change]) -> Result<Vec<Option<Refusal>>, ClientError> {
        Err(self.0())
    }
    fn totals(&mut self) -> Result<Totals, ClientError> {
        Err(self.0())
    }
}

fn nobody() -> ClientError {
    ClientError::Unreachable {
        path: "/run/dirigo/default.sock".into(),
        source: std::io::Error::from_raw_os_error(nix::libc::ENOENT),
    }
}

fn another_user() -> ClientError {
    ClientError::NotPermitted {
        path: "/run/dirigo/default.sock".into(),
        source: std::io::Error::from_raw_os_error(nix::libc::EACCES),
    }
}

fn refusal(code: RefusalCode) -> ClientError {
    ClientError::Refused(Refusal {
        code,
        message: "a sentence of the daemon's".to_owned(),
    })
}

#[test]
fn without_a_daemon_every_command_says_where_it_looked_and_how_to_start_one() {
    let message = "Can't initialize ipvs: no daemon answers on /run/dirigo/default.sock \
                   (No such file or directory (os error 2))\n\
                   Is the director running? Start it with: dirigo run -c /etc/dirigo/dirigo.toml\n";
    for line in [
        "",
        "-Ln",
        "-Lnc",
        "-L --timeout",
        "-L --daemon",
        "-Sn",
        "-C",
        "-R",
        "-A -t 192.0.2.100:80 -s rr",
        "-D -t 192.0.2.100:80",
        "-Z -t 192.0.2.100:80",
        "-a -t 192.0.2.100:80 -r 192.0.2.11",
        "-d -t 192.0.2.100:80 -r 192.0.2.11",
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let outcome = run(&mut Failing(nobody), &words, "");
        assert_eq!(
            (outcome.code, outcome.err.as_str()),
            (2, message),
            "{line:?}"
        );
        assert_eq!(outcome.out, "", "{line:?}");
    }
}

#[test]
fn without_a_daemon_the_scripts_and_the_files_say_the_same() {
    let refused = run(&mut Failing(nobody), &["-C"], "");
    let save = |ipvsadm: &mut Ipvsadm<'_>| ipvsadm.wrap(Wrapper::Save, &[]);
    let restore = |ipvsadm: &mut Ipvsadm<'_>| ipvsadm.wrap(Wrapper::Restore, &[]);
    assert_eq!(with_ipvsadm(&mut Failing(nobody), b"", save), refused);
    assert_eq!(
        with_ipvsadm(&mut Failing(nobody), b"-C\n", restore),
        refused
    );
    for file in [
        "ip_vs",
        "/proc/net/ip_vs_conn",
        "ip_vs_conn_sync",
        "ip_vs_stats",
    ] {
        let proc = |ipvsadm: &mut Ipvsadm<'_>| ipvsadm.proc(&[file.to_owned()]);
        assert_eq!(
            with_ipvsadm(&mut Failing(nobody), b"", proc),
            refused,
            "{file}"
        );
    }
}

#[test]
fn a_file_that_the_kernel_does_not_have_is_refused_with_those_it_has() {
    let proc = |ipvsadm: &mut Ipvsadm<'_>| ipvsadm.proc(&["ip_vs_nosuch".to_owned()]);
    let outcome = with_ipvsadm(&mut one_service(), b"", proc);
    assert_eq!(outcome.code, 2);
    assert_eq!(
        outcome.err,
        "\"ip_vs_nosuch\" is no file that dirigo ipvsadm proc shows: there are ip_vs, ip_vs_conn, \
         ip_vs_conn_sync, ip_vs_stats\n"
    );
}

#[test]
fn connections_are_shown_to_readers_of_the_synchronisation_as_well() {
    let mut table = Table::default();
    table.connections.push(Connection {
        protocol: None,
        client: "203.0.113.7:0".parse().unwrap(),
        virtual_address: "0.0.0.7:0".parse().unwrap(),
        destination: "192.0.2.11:0".parse().unwrap(),
        state: "NONE".to_owned(),
        expires_s: 300,
    });
    let proc = |ipvsadm: &mut Ipvsadm<'_>| ipvsadm.proc(&["ip_vs_conn_sync".to_owned()]);
    assert_eq!(
        with_ipvsadm(&mut table, b"", proc).out,
        "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\n\
         IP  CB007107 0000 00000007 0000 C000020B 0000 NONE        LOCAL      300\n"
    );
    assert_eq!(
        run(&mut table, &["-Lnc"], "").out,
        "IPVS connection entries\n\
         pro expire state       source             virtual            destination\n\
         IP  05:00  NONE        203.0.113.7:0      0.0.0.7:0          192.0.2.11:0\n"
    );
}

#[test]
fn help_version_and_wrong_words_need_no_daemon() {
    for (word, code) in [("-h", 0), ("-v", 0), ("-Q", 255)] {
        let outcome = run(&mut Failing(nobody), &[word], "");
        assert_eq!(outcome.code, code, "{word}");
        assert!(
            !outcome.err.contains("initialize"),
            "{word}: {}",
            outcome.err
        );
    }
}

#[test]
fn another_user_meets_the_originals_two_lines() {
    let expected = golden("refused.not-root-A.err").unwrap();
    for error in [another_user, || refusal(RefusalCode::NotPermitted)] {
        let outcome = run(&mut Failing(error), &["-A", "-t", "192.0.2.100:70"], "");
        assert_eq!((outcome.code, outcome.err.as_str()), (2, expected.as_str()));
    }
}

#[test]
fn what_ipvs_has_no_word_for_is_told_in_the_daemons() {
    for code in [
        RefusalCode::Full,
        RefusalCode::Internal,
        RefusalCode::NotSupported,
    ] {
        let kernel: fn() -> ClientError = match code {
            RefusalCode::Full => || refusal(RefusalCode::Full),
            RefusalCode::Internal => || refusal(RefusalCode::Internal),
            _ => || refusal(RefusalCode::NotSupported),
        };
        let outcome = run(&mut Failing(kernel), &["-C"], "");
        assert_eq!(outcome.err, "a sentence of the daemon's\n");
        assert_eq!(outcome.code, 255);
    }
}

#[test]
fn the_classic_script_makes_the_classic_table() {
    let mut table = Table::default();
    for line in [
        "-C",
        "-A -t 192.168.188.120:80 -s wrr",
        "-a -t 192.168.188.120:80 -r 192.168.188.107:80 -g -w 1",
        "-a -t 192.168.188.120:80 -r 192.168.188.110:80 -g -w 1",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let outcome = run(&mut table, &words, "");
        assert_eq!(
            (outcome.code, outcome.out + &outcome.err),
            (0, String::new()),
            "{line}"
        );
    }
    assert_eq!(
        run(&mut table, &["-ln"], "").out,
        "IP Virtual Server version 1.2.1 (size=4096)\n\
         Prot LocalAddress:Port Scheduler Flags\n\
         \x20 -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n\
         TCP  192.168.188.120:80 wrr\n\
         \x20 -> 192.168.188.107:80           Route   1      0          0         \n\
         \x20 -> 192.168.188.110:80           Route   1      0          0         \n"
    );
}

#[test]
fn a_reader_that_has_gone_away_is_told_nothing() {
    struct Gone;
    impl std::io::Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut complaints = Vec::new();
    let code = Ipvsadm {
        program: "ipvsadm",
        kernel: &mut one_service(),
        names: &RecordedNames::default(),
        input: BufReader::new(&mut Cursor::new(b"")),
        has_input: || false,
        output: &mut Gone,
        complaints: &mut complaints,
    }
    .run(&["-Ln".to_owned()]);
    assert_eq!((code, complaints.as_slice()), (1, b"".as_slice()));
}

/// Words as a person might mistype them: real switches, plausible values, noise.
fn word() -> impl Strategy<Value = String> {
    let switches: Vec<String> = SPELLINGS
        .iter()
        .flat_map(|spelling| {
            [
                format!("-{}", spelling.short),
                format!("--{}", spelling.long),
            ]
        })
        .collect();
    let values = [
        "192.0.2.100:80",
        "[2001:db8::1]:80",
        "192.0.2.11",
        "rr",
        "wlc",
        "3",
        "-1",
        "x=y",
        "--",
        "-",
        "",
        "sh-port,",
        "master",
        "255.255.255.0",
        "[",
        "]:",
        ":",
        "0x",
        "é:80",
        "-é",
    ];
    prop_oneof![
        4 => proptest::sample::select(switches),
        3 => proptest::sample::select(values.to_vec()).prop_map(str::to_owned),
        1 => "-{0,2}[A-Za-z0-9=:.é-]{0,12}",
        1 => any::<String>(),
    ]
}

fn line() -> impl Strategy<Value = Vec<String>> {
    let commands = [
        "-A", "-E", "-D", "-a", "-e", "-d", "-L", "-S", "-R", "-C", "--set", "-Ln",
    ];
    let command = proptest::sample::select(commands.to_vec()).prop_map(str::to_owned);
    (
        prop_oneof![3 => command, 1 => word()],
        proptest::collection::vec(word(), 0..8),
    )
        .prop_map(|(command, mut words)| {
            words.insert(0, command);
            words
        })
}

proptest! {
    #[test]
    fn no_words_make_it_panic_and_every_end_has_one_of_four_codes(
        words in line(),
        input in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let outcome = run_bytes(&mut one_service(), &words, &input);
        prop_assert!([0, 1, 2, 255].contains(&outcome.code));
        prop_assert_eq!(outcome.code == 0 || !outcome.err.is_empty(), true);
    }

    #[test]
    fn lines_of_a_restore_never_make_it_panic(
        lines in proptest::collection::vec(line(), 0..5),
    ) {
        let lines: Vec<String> = lines.iter().map(|words| words.join(" ")).collect();
        let outcome = run(&mut one_service(), &["-R"], &lines.join("\n"));
        prop_assert!([0, 1, 2, 255].contains(&outcome.code));
    }
}
