//! The report for people: short sentences and tables, as the README quotes it.

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};

use crate::report::{Afterwards, Check, Report, Spread, Step};
use crate::{Family, Host};

/// Writes a report. `colour` marks the verdicts.
#[must_use]
pub fn write(report: &Report, colour: bool) -> String {
    let mut page = Page {
        text: String::new(),
        colour,
    };
    page.head(report);
    for step in &report.steps {
        page.step(step, report);
    }
    page.verdict(report);
    page.text
}

/// One line under the header and nothing else: reads well in a terminal and in a README.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

struct Page {
    text: String,
    colour: bool,
}

impl Page {
    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    fn table<const N: usize>(&mut self, header: [&str; N], rows: Vec<[String; N]>) {
        let mut table = Table::new();
        table
            .load_style(STYLE)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(header);
        for row in rows {
            table.add_row(row);
        }
        self.line(table.trim_fmt());
    }

    fn head(&mut self, report: &Report) {
        let family = report.family;
        self.line(format!(
            "LVS direct routing on one segment, {family}. The VIP is {}.",
            report.vip
        ));
        let rows = report.hosts.iter().map(|row| {
            let address = row.address.to_string();
            [
                row.host.title().to_owned(),
                address,
                row.mac.clone(),
                row.vip.to_owned(),
            ]
        });
        self.table(["host", "address", "MAC", "VIP"], rows.collect());
        let pages = report.pages.map_or("nobody", crate::page::Kind::title);
        let mode = if report.mode.is_empty() {
            "no"
        } else {
            &report.mode
        };
        self.line(format!(
            "Kernel {}, {mode} XDP, pages by {pages}.",
            report.kernel
        ));
    }

    fn step(&mut self, step: &Step, report: &Report) {
        self.line("");
        self.line(format!("{}. {}", step.step, sentence(&step.title)));
        match (step.step, step.title.contains("announces")) {
            (1, _) => self.resolution(report),
            (2, _) => self.line(report.ipvsadm.as_deref().unwrap_or_default().trim_end()),
            (3, _) => self.spread(&report.spread),
            (4, _) => self.hops(report),
            (5, false) => self.flux(report),
            (5, true) => self.announce(report),
            _ => self.drain(report),
        }
        self.checks(step);
    }

    fn resolution(&mut self, report: &Report) {
        let Some(arp) = &report.arp else { return };
        let resolution = report.family.resolution();
        self.line(format!(
            "The client forgets the VIP and asks by {resolution}. {} hear it; {} answers.",
            sentence(&list(&arp.asked)),
            list(&arp.vip_answered_by)
        ));
        self.line(format!(
            "The client now has {} at {}.",
            report.vip, arp.client_entry
        ));
    }

    fn spread(&mut self, spreads: &[Spread]) {
        let rows = spreads.iter().map(|spread| {
            let by_server = |server| {
                spread
                    .requests
                    .get(&server)
                    .copied()
                    .unwrap_or(0)
                    .to_string()
            };
            let weights: Vec<String> = spread.weights.values().map(u32::to_string).collect();
            [
                spread.scheduler.to_owned(),
                weights.join(":"),
                spread.sequence.len().to_string(),
                by_server(Host::Rs1),
                by_server(Host::Rs2),
            ]
        });
        let header = [
            "scheduler",
            "weights",
            "requests",
            "real server 1",
            "real server 2",
        ];
        self.table(header, rows.collect());
    }

    fn hops(&mut self, report: &Report) {
        self.line("The same request, captured at each host: only the MACs change on the way in.");
        let rows = report.hops.iter().map(|hop| {
            [
                format!("{} → {}", hop.from, hop.to),
                hop.src_mac.clone(),
                hop.dst_mac.clone(),
                hop.src_ip.to_string(),
                hop.dst_ip.to_string(),
                hop.ttl.to_string(),
            ]
        });
        let ttl = if report.family == Family::Ipv4 {
            "TTL"
        } else {
            "hop limit"
        };
        let header = [
            "hop",
            "source MAC",
            "destination MAC",
            "source IP",
            "destination IP",
            ttl,
        ];
        self.table(header, rows.collect());
        let Some(frames) = &report.director_port else {
            return;
        };
        self.line(format!(
            "The client sent {} frames, all through the director; the server sent {} back, and the \
             director's port saw {} of them.",
            frames.sent_by_client, frames.sent_by_server, frames.replies_at_director
        ));
    }

    fn flux(&mut self, report: &Report) {
        let Some(flux) = &report.arp_flux else { return };
        let server = flux.server.title();
        self.line(match report.family {
            Family::Ipv4 => {
                format!("arp_ignore is off on {server}: it answers ARP for the VIP, too.")
            }
            Family::Ipv6 => {
                format!("The VIP is on eth0 of {server} instead of lo: it answers, too.")
            }
        });
        self.entry_table(&flux.client_entry_before, &flux.client_entry_after);
        self.line(format!(
            "{} answer; {}. {} requests: {}; the director sees {}.",
            sentence(&list(&flux.answered_by)),
            won(flux.taken_by, flux.races, server),
            flux.requests,
            tally(&flux.answered_requests),
            flux.requests_seen_by_director
        ));
        self.afterwards(report.family, &flux.afterwards);
    }

    fn announce(&mut self, report: &Report) {
        let Some(announce) = &report.arp_announce else {
            return;
        };
        let server = announce.server.title();
        self.line(match report.family {
            Family::Ipv4 => {
                format!("arp_announce is off on {server}; it still answers no ARP for the VIP.")
            }
            Family::Ipv6 => {
                format!("The VIP is on eth0 of {server}, which has to find the client anew.")
            }
        });
        if let Some(question) = &announce.question {
            self.line(format!(
                "To reply it asks: who has {}? Tell {} at {}. The client learns from the question.",
                question.target_ip, question.sender_ip, question.sender_mac
            ));
        }
        self.entry_table(&announce.client_entry_before, &announce.client_entry_after);
        self.line(format!(
            "{} requests: {}; the director sees {}.",
            announce.requests,
            tally(&announce.answered_requests),
            announce.requests_seen_by_director
        ));
        self.afterwards(report.family, &announce.afterwards);
    }

    fn entry_table(&mut self, before: &str, after: &str) {
        let whose = |mac: &str| {
            let host = Host::ALL
                .into_iter()
                .find(|host| netlink::mac_text(&host.mac()) == mac);
            host.map_or("somebody else", Host::title).to_owned()
        };
        let row = |when: &str, mac: &str| [when.to_owned(), mac.to_owned(), whose(mac)];
        let rows = vec![row("before", before), row("after", after)];
        self.table(["", "the client's entry for the VIP", "which is"], rows);
    }

    fn afterwards(&mut self, family: Family, afterwards: &Afterwards) {
        let mended = match family {
            Family::Ipv4 => "Suppression on again",
            Family::Ipv6 => "The VIP on lo again",
        };
        self.line(format!(
            "{mended}: {} answers, and the director sees {} of {} requests.",
            list(&afterwards.vip_answered_by),
            afterwards.requests_seen_by_director,
            afterwards.requests
        ));
    }

    fn drain(&mut self, report: &Report) {
        let mut rows = Vec::new();
        let mut add = |what: String, established: &[crate::report::Established], new| {
            let stayed = established
                .iter()
                .filter(|one| one.after == Some(one.before));
            let stayed = format!("{} of {} stayed", stayed.count(), established.len());
            rows.push([what, stayed, tally(new)]);
        };
        if let Some(drain) = &report.drain {
            let what = format!("{}: weight 0", drain.server.title());
            add(what, &drain.established, &drain.new);
        }
        if let Some(removal) = &report.removal {
            let what = format!("{}: failed, removed", removal.server.title());
            add(what, &removal.established, &removal.new);
        }
        self.table(
            ["change", "established connections", "new connections"],
            rows,
        );
        if let Some(removal) = &report.removal {
            self.line(format!(
                "While it failed, {} of {} requests did; after it was added again: {}.",
                removal.failed,
                removal.requests_while_failing,
                tally(&removal.after_return)
            ));
        }
    }

    /// One line if all is well, else what is not.
    fn checks(&mut self, step: &Step) {
        let wrong: Vec<&Check> = step.checks.iter().filter(|check| !check.ok).collect();
        if wrong.is_empty() {
            let count = step.checks.len();
            let mark = self.mark(true);
            self.line(format!("{mark}: {count} checks"));
        }
        for check in wrong {
            let mark = self.mark(false);
            self.line(format!(
                "{mark}: should be: {}; was: {}",
                check.should, check.did
            ));
        }
    }

    fn verdict(&mut self, report: &Report) {
        self.line("");
        if let Some(error) = &report.error {
            self.line(format!("The experiment ended early: {error}"));
        }
        let mark = self.mark(report.ok);
        let steps = report.steps.iter().filter(|step| step.ok).count();
        let seconds = report.duration_ms as f64 / 1000.0;
        self.line(format!(
            "{mark}: {steps} of {} parts showed what they should, in {seconds:.1} s",
            report.steps.len()
        ));
    }

    fn mark(&self, ok: bool) -> &'static str {
        match (ok, self.colour) {
            (true, true) => "\x1b[32mok\x1b[0m",
            (true, false) => "ok",
            (false, true) => "\x1b[1;31mFAILED\x1b[0m",
            (false, false) => "FAILED",
        }
    }
}

fn won(taken_by: &str, races: u32, server: &str) -> String {
    match (taken_by, races) {
        ("answer", 1) => format!("the client believes {server}"),
        ("answer", races) => format!("the client believes {server}, the {races}th time it asks"),
        _ => format!("then {server} announces the VIP, and the client believes it"),
    }
}

fn tally(counts: &std::collections::BTreeMap<Host, u32>) -> String {
    let some = counts.iter().filter(|(_, count)| **count > 0);
    let each: Vec<String> = some
        .map(|(host, count)| format!("{count} by {}", host.title()))
        .collect();
    match each.as_slice() {
        [] => "none answered".to_owned(),
        each => each.join(", "),
    }
}

const fn article(host: Host) -> &'static str {
    match host {
        Host::Client => "the client",
        Host::Director => "the director",
        Host::Rs1 | Host::Rs2 => host.title(),
    }
}

/// `the director, real server 1 and real server 2`
fn list(hosts: &[Host]) -> String {
    let titles: Vec<&str> = hosts.iter().map(|host| article(*host)).collect();
    match titles.as_slice() {
        [] => "nobody".to_owned(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn sentence(title: &str) -> String {
    let mut letters = title.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ok: bool) -> Report {
        let mut report = Report::new("test", Family::Ipv4);
        report.steps.push(Step {
            step: 1,
            title: "who answers ARP for the VIP".to_owned(),
            checks: vec![
                Check::that("the sky is blue", true, "it is"),
                Check::that("the grass is green", ok, "it is red"),
            ],
            ok,
        });
        report.ok = ok;
        report
    }

    #[test]
    fn a_check_that_failed_is_told_with_what_should_have_been() {
        let text = write(&report(false), false);
        assert!(
            text.contains("FAILED: should be: the grass is green; was: it is red"),
            "{text}"
        );
        assert!(!text.contains("the sky is blue"), "{text}");
    }

    #[test]
    fn without_colour_there_is_no_escape_and_with_it_the_verdict_has_one() {
        assert!(!write(&report(true), false).contains('\x1b'));
        assert!(write(&report(true), true).contains("\x1b[32mok\x1b[0m"));
    }

    #[test]
    fn the_hosts_come_first_each_with_address_and_mac() {
        let text = write(&report(true), false);
        for line in ["client", "director", "real server 1", "real server 2"] {
            assert!(text.contains(line), "{text}");
        }
        assert!(
            text.contains("192.168.188.108   02:00:00:00:01:08"),
            "{text}"
        );
    }
}
