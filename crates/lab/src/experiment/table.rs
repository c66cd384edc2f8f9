//! Step 2: the table, as `ipvsadm -ln` prints it.

use super::Settings;
use crate::report::Check;
use crate::topology::PORT;
use crate::{Error, Host, Lab, Report};

pub(super) fn run(
    lab: &mut Lab,
    _settings: &Settings,
    report: &mut Report,
) -> Result<Vec<Check>, Error> {
    let family = lab.family();
    let table = lab.ipvsadm(&["-ln"])?;
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let service = family.service().to_string();
    let mut checks = vec![expect(&lines, &["TCP", &service, "wrr"])];
    for server in Host::SERVERS {
        let real = std::net::SocketAddr::new(server.address(family), PORT).to_string();
        checks.push(expect(&lines, &["->", &real, "Route", "1"]));
    }
    report.ipvsadm = Some(table);
    Ok(checks)
}

/// A line that begins with these words.
fn expect(lines: &[Vec<&str>], words: &[&str]) -> Check {
    let found = lines.iter().any(|line| line.starts_with(words));
    let did = if found { "it has" } else { "it has not" };
    Check::that(format!("a line `{}`", words.join(" ")), found, did)
}
