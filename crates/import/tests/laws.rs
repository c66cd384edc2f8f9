//! What holds for every text, and what is said about texts that cannot be what they should be.

use config::Config;
use dirigo_import::{Format, import};
use proptest::prelude::*;

const ALL: [Format; 4] = [
    Format::Keepalived,
    Format::Ldirectord,
    Format::Ipvsadm,
    Format::Scripts,
];

fn sample(format: Format) -> &'static str {
    match format {
        Format::Keepalived => include_str!("samples/keepalived.conf"),
        Format::Ldirectord => include_str!("samples/ldirectord.cf"),
        Format::Ipvsadm => include_str!("samples/ipvsadm.rules"),
        Format::Scripts => include_str!("samples/lvs_dr.sh"),
    }
}

/// It is refused with a line that it has, or becomes a configuration that passes.
fn check(format: Format, text: &str) -> Result<(), TestCaseError> {
    let lines = text.lines().count().max(1);
    match import(format, text, "sample") {
        Err(failure) => {
            prop_assert!((1..=lines).contains(&failure.line), "{failure}");
            prop_assert!(!failure.problem.is_empty());
        }
        Ok(imported) => {
            if let Err(mistakes) = Config::parse(&imported.toml, "imported") {
                return Err(TestCaseError::fail(format!(
                    "{mistakes}\n{}",
                    imported.toml
                )));
            }
            for said in &imported.report.lines {
                prop_assert!((1..=lines).contains(&said.line), "{said:?}");
            }
        }
    }
    Ok(())
}

/// A word of the sample, or one that could stand in its place.
fn word(format: Format) -> impl Strategy<Value = String> {
    let mut words: Vec<String> = sample(format)
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let others = [
        "{",
        "}",
        "\"",
        "\n",
        "\n",
        "=",
        "-1",
        "0",
        "99999999999",
        "::1",
        "127.0.0.1",
        "224.0.0.1",
        "0.0.0.0:0",
        "255.255.255.255",
        "$VIP",
        "$",
        "${",
        "\\",
        "\\\n",
        "->",
        "-",
        "#",
        "!",
        "@x",
        "~SEQ(a,1)",
        "ä",
        "(",
        "[x",
        "::ffff:1.2.3.4",
        "65536",
        ";;",
        ";",
        "done",
        "for i in 1 2",
        "\t",
    ];
    words.extend(others.map(str::to_owned));
    proptest::sample::select(words)
}

fn case() -> impl Strategy<Value = (Format, Vec<(usize, usize, String)>)> {
    proptest::sample::select(ALL.to_vec()).prop_flat_map(|format| {
        let edit = (0..sample(format).len(), 0usize..24, word(format));
        (Just(format), proptest::collection::vec(edit, 1..6))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_is_refused_with_a_line_or_becomes_a_configuration(
        format in proptest::sample::select(ALL.to_vec()),
        text in any::<String>(),
    ) {
        check(format, &text)?;
    }

    #[test]
    fn any_edit_of_a_sample_is_refused_with_a_line_or_becomes_a_configuration((format, edits) in case()) {
        let mut text = sample(format).to_owned();
        for (at, length, word) in edits {
            let from = text.floor_char_boundary(at.min(text.len()));
            let to = text.floor_char_boundary((from + length).min(text.len()));
            text.replace_range(from..to.max(from), &format!(" {word} "));
        }
        check(format, &text)?;
    }
}

fn refused(format: Format, text: &str) -> String {
    match import(format, text, "file") {
        Err(failure) => failure.to_string(),
        Ok(imported) => panic!("taken:\n{}", imported.toml),
    }
}

#[test]
fn what_is_no_keepalived_conf_is_refused_with_its_line() {
    let said = |text| refused(Format::Keepalived, text);
    assert_eq!(
        said("global_defs {\n}\nvirtual_server 192.0.2.1 80 {\n  lb_kind DR\n"),
        "file:3: `virtual_server 192.0.2.1 80` is not closed: a `}` is missing"
    );
    assert_eq!(
        said("global_defs {\n}\n}\n"),
        "file:3: this `}` closes nothing: a `{` is missing, or this is one too many"
    );
    assert_eq!(
        said("virtual_server 192.0.2.1 80 {\n protocol TCP\n wieght 3\n}\n"),
        "file:3: keepalived has no `wieght` here"
    );
    assert_eq!(
        said(
            "virtual_server 192.0.2.1 80 {\n protocol TCP\n real_server 192.0.2.2 80 {\n  weight x\n }\n}\n"
        ),
        "file:4: `weight x`: write a whole number from 0 to 65535"
    );
    assert_eq!(
        said("virtual_server www.example.com 80 {\n protocol TCP\n}\n"),
        "file:1: `www.example.com` is no IP address, and names are not looked up: write the address"
    );
    assert_eq!(
        said("virtual_server group web {\n}\n"),
        "file:1: there is no virtual_server_group `web`"
    );
    assert_eq!(
        said("[director]\n"),
        "file:1: keepalived has no block `[director]`: is this a keepalived.conf?"
    );
}

#[test]
fn what_is_no_ldirectord_cf_is_refused_with_its_line() {
    let said = |text| refused(Format::Ldirectord, text);
    assert_eq!(
        said("checkinterval=1\nvirtual\n"),
        "file:2: `virtual` is no line of ldirectord.cf: they are written key = value"
    );
    assert_eq!(said("colour=blue\n"), "file:1: ldirectord has no `colour`");
    assert_eq!(
        said("virtual=192.0.2.1:80\n\treal=192.0.2.2:80 gate heavy\n"),
        "file:2: `weight heavy`: write a whole number from 0 to 2147483647"
    );
}

#[test]
fn what_ipvsadm_save_does_not_print_is_refused_with_its_line() {
    let said = |text| refused(Format::Ipvsadm, text);
    assert!(
        said("IP Virtual Server version 1.2.1 (size=4096)\n")
            .starts_with("file:1: this is a listing")
    );
    assert_eq!(
        said("-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:81 -r 192.0.2.2 -g\n"),
        "file:2: its service is not defined above: add its -A line"
    );
    assert_eq!(
        said("-A -t 192.0.2.1:gopher -s rr\n"),
        "file:1: `gopher` is no port: write a number from 0 to 65535, as `ipvsadm-save -n` does"
    );
    assert_eq!(said("-A -t\n"), "file:1: `-t` has no value behind it");
}

#[test]
fn a_loop_without_end_is_refused_with_its_line() {
    assert_eq!(
        refused(
            Format::Scripts,
            "VIP=192.0.2.1\nfor r in 1 2; do\n  ipvsadm -C\n"
        ),
        "file:2: this `for` has no `done`"
    );
}
