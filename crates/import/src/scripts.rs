//! Shell scripts such as the classic `lvs_dr.sh` and `lvs_rs.sh`.
//!
//! Nothing is run. Variables that the script sets are put in, `for` over words is written out, the branches
//! that stop things are passed over, and each command is looked at:
//!
//! ```text
//! VIP=192.0.2.100
//! ifconfig eth0:0 $VIP netmask 255.255.255.255 up      eth0 is an interface; dirigo adds the address itself
//! ipvsadm -A -t $VIP:80 -s wrr                         a service
//! echo 1 > /proc/sys/net/ipv4/conf/lo/arp_ignore       the real server's half: `dirigo realserver up`
//! ```

use std::collections::HashMap;

use crate::draft::{Draft, Mark};
use crate::report::Report;
use crate::words::{address, number};
use crate::{Wrong, ipvsadm};

mod shell;

use shell::Command;

/// Reads the script.
pub(crate) fn read(text: &str, report: &mut Report) -> Result<Draft, Wrong> {
    let mut draft = Draft::default();
    let mut script = Script::default();
    for command in shell::commands(text)? {
        script.command(&command, &mut draft, report)?;
    }
    if let Some(line) = script.real_server {
        let vips = if script.vips_on_lo.is_empty() {
            " --vip ADDRESS".to_owned()
        } else {
            script
                .vips_on_lo
                .iter()
                .map(|vip| format!(" --vip {vip}"))
                .collect()
        };
        report.say(
            line,
            format!(
                "this is the real server's half, which is no configuration: run `dirigo realserver up{vips} --persist` \
                 on each real server instead"
            ),
        );
    }
    Ok(draft)
}

/// What has been seen so far.
#[derive(Default)]
struct Script {
    /// The first line that is about a real server.
    real_server: Option<usize>,
    vips_on_lo: Vec<String>,
}

/// Keys of `/proc/sys/net/ipv4/vs` that are keys of `[settings]`, and whether they are yes or no there.
const SETTINGS: [(&str, bool); 7] = [
    ("expire_nodest_conn", true),
    ("expire_quiescent_template", true),
    ("sloppy_tcp", true),
    ("sloppy_sctp", true),
    ("conn_reuse_mode", false),
    ("lblc_expiration", false),
    ("lblcr_expiration", false),
];

impl Script {
    fn command(
        &mut self,
        command: &Command,
        draft: &mut Draft,
        report: &mut Report,
    ) -> Result<(), Wrong> {
        let line = command.line;
        let Some((program, words)) = command.words.split_first() else {
            return Ok(());
        };
        let program = program.rsplit('/').next().unwrap_or(program);
        match program {
            "ipvsadm" => ipvsadm_command(words, line, draft, report),
            "ifconfig" => self.ifconfig(words, line, draft, report),
            "ip" => self.ip(words, line, draft, report),
            "route" => report.say(line, "routes to a virtual address are not needed: the data plane sends frames itself"),
            "echo" | "printf" => {
                if let Some((value, path)) = redirected(words) {
                    let key = path.trim_start_matches("/proc/sys/").replace('/', ".");
                    self.sysctl(&key, value, line, draft, report);
                }
            }
            "sysctl" => {
                let is_pair = |word: &&String| word.contains('=');
                for (key, value) in words.iter().filter(is_pair).filter_map(|word| word.split_once('=')) {
                    self.sysctl(&key.replace('/', "."), value, line, draft, report);
                }
            }
            "modprobe" | "insmod" | "rmmod" => report.say(line, "kernel modules of IPVS are not needed"),
            "iptables" | "ip6tables" => mark(words, line, draft, report),
            "arptables" | "nft" => self.of_real_server(line),
            "arping" | "send_arp" => report.say(line, "dirigo announces its addresses itself"),
            program if HARMLESS.contains(&program) => {}
            program => report.say(line, format!("`{program}` is not understood, and says nothing here: look whether it is needed")),
        }
        Ok(())
    }

    fn of_real_server(&mut self, line: usize) {
        self.real_server.get_or_insert(line);
    }

    /// `ifconfig eth0:0 192.0.2.100 netmask … up`.
    fn ifconfig(&mut self, words: &[String], line: usize, draft: &mut Draft, report: &mut Report) {
        let [device, vip, ..] = words else { return };
        if address(vip).is_ok() {
            self.address(device, vip, line, draft, report);
        }
    }

    /// `ip addr add 192.0.2.100/32 dev eth0`, and what else `ip` does.
    fn ip(&mut self, words: &[String], line: usize, draft: &mut Draft, report: &mut Report) {
        let words: Vec<&str> = words
            .iter()
            .map(String::as_str)
            .filter(|word| !word.starts_with('-'))
            .collect();
        match words.as_slice() {
            [object, "add" | "replace", vip, rest @ ..] if "address".starts_with(object) => {
                let device = rest.iter().skip_while(|word| **word != "dev").nth(1);
                let vip = vip.split('/').next().unwrap_or(vip);
                if let Some(device) = device.filter(|_| address(vip).is_ok()) {
                    self.address(device, vip, line, draft, report);
                }
            }
            [object, ..] if "route".starts_with(object) => {
                report.say(line, "routes to a virtual address are not needed: the data plane sends frames itself");
            }
            _ => {}
        }
    }

    fn address(
        &mut self,
        device: &str,
        vip: &str,
        line: usize,
        draft: &mut Draft,
        report: &mut Report,
    ) {
        let device = device.split(':').next().unwrap_or(device);
        if device == "lo" || device.starts_with("dummy") || device.starts_with("tunl") {
            self.of_real_server(line);
            if !self.vips_on_lo.iter().any(|known| known == vip) {
                self.vips_on_lo.push(vip.to_owned());
            }
            return;
        }
        report.say(
            line,
            format!("{vip} is added to {device} and announced by dirigo itself ([vips])"),
        );
        let is_name = (1..=15).contains(&device.len()) && !device.contains(['/', '$']);
        if is_name
            && !draft.interfaces.iter().any(|known| known == device)
            && draft.interfaces.len() < 16
        {
            draft.interfaces.push(device.to_owned());
        }
    }

    fn sysctl(
        &mut self,
        key: &str,
        value: &str,
        line: usize,
        draft: &mut Draft,
        report: &mut Report,
    ) {
        if key.ends_with("arp_ignore") || key.ends_with("arp_announce") || key.ends_with(".hidden")
        {
            return self.of_real_server(line);
        }
        if let Some(name) = key.strip_prefix("net.ipv4.vs.") {
            return setting(name, value, line, draft, report);
        }
        let said = match key {
            "net.ipv4.ip_forward" | "net.ipv6.conf.all.forwarding" => {
                "forwarding by the kernel is not needed: the data plane is before it".to_owned()
            }
            key if key.ends_with("send_redirects") => {
                "redirects are not sent for what the data plane forwards".to_owned()
            }
            key => format!("{key} is the host's own affair: left out"),
        };
        report.say(line, said);
    }
}

/// Programs whose effect is no configuration.
const HARMLESS: [&str; 28] = [
    "[", "[[", "test", "exit", "return", "break", "continue", "sleep", "true", "false", ":", ".",
    "source", "touch", "rm", "shift", "set", "logger", "cat", "export", "local", "success",
    "failure", "cd", "start", "stop", "restart", "status",
];

fn ipvsadm_command(words: &[String], line: usize, draft: &mut Draft, report: &mut Report) {
    if let Some(unknown) = words.iter().find(|word| word.contains('$')) {
        let said = format!("`{unknown}` is not set in this script: the command is left out");
        return report.say(line, said);
    }
    if let Err(problem) = ipvsadm::command(words, line, draft, report) {
        report.say(line, format!("this command is left out: {problem}"));
    }
}

/// `echo 1 > /proc/sys/…`: the value and the path.
fn redirected(words: &[String]) -> Option<(&str, &str)> {
    let at = words.iter().position(|word| word.starts_with('>'))?;
    let glued = words[at].trim_start_matches('>');
    let path = if glued.is_empty() {
        words.get(at + 1)?.as_str()
    } else {
        glued
    };
    let value = words[..at].last()?;
    path.starts_with("/proc/sys/")
        .then_some((value.as_str(), path))
}

fn setting(name: &str, value: &str, line: usize, draft: &mut Draft, report: &mut Report) {
    let value = value.trim();
    let Some((key, is_flag)) = SETTINGS.iter().find(|(key, _)| *key == name) else {
        return report.say(
            line,
            format!("net.ipv4.vs.{name} has no counterpart: left out"),
        );
    };
    let taken = match (is_flag, value.parse::<u32>()) {
        (true, Ok(number)) => (number != 0).to_string(),
        (false, Ok(number)) if *key == "conn_reuse_mode" && number <= 2 => number.to_string(),
        (false, Ok(number)) if *key != "conn_reuse_mode" && (1..=2_678_400).contains(&number) => {
            number.to_string()
        }
        _ => {
            return report.say(
                line,
                format!("net.ipv4.vs.{name} = {value} is out of range: left out"),
            );
        }
    };
    draft.settings.retain(|(known, _)| known != key);
    draft.settings.push((key, taken));
}

/// `iptables -t mangle -A PREROUTING -d ADDR -p tcp --dport 80 -j MARK --set-mark 7` as a `[[mark]]`.
fn mark(words: &[String], line: usize, draft: &mut Draft, report: &mut Report) {
    let mut options: HashMap<&str, &str> = HashMap::new();
    for pair in words.windows(2) {
        if pair[0].starts_with('-') {
            options.insert(&pair[0], &pair[1]);
        }
    }
    let find = |names: &[&str]| names.iter().find_map(|name| options.get(name).copied());
    let Some(text) = find(&["--set-mark", "--set-xmark"]) else {
        return report.say(
            line,
            "XDP is before netfilter: this rule does not see what is forwarded",
        );
    };
    let left_out = |problem: &str| format!("this rule is left out: {problem}; say it as [[mark]]");
    let text = text.split('/').next().unwrap_or(text);
    let decimal = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).unwrap_or(0).to_string(),
        None => text.to_owned(),
    };
    let Ok(number) = number("--set-mark", &decimal, 1, u32::MAX) else {
        return report.say(line, left_out("its mark is no number"));
    };
    let Some(to) = find(&["-d", "--destination", "--dst"]).filter(|to| is_network(to)) else {
        return report.say(line, left_out("it names no virtual address (-d)"));
    };
    let known = [
        "-t",
        "-A",
        "-I",
        "-d",
        "--destination",
        "--dst",
        "-p",
        "--protocol",
        "--dport",
        "--destination-port",
        "--dports",
        "-m",
        "-j",
        "--set-mark",
        "--set-xmark",
        "-i",
    ];
    if let Some(other) = options.keys().find(|option| !known.contains(option)) {
        return report.say(line, left_out(&format!("`{other}` has no counterpart")));
    }
    let ports =
        find(&["--dport", "--destination-port", "--dports"]).map(|ports| ports.replace(':', "-"));
    if ports.as_deref().is_some_and(|ports| !is_ports(ports)) {
        return report.say(line, left_out("its ports are no number and no range"));
    }
    let protocol = find(&["-p", "--protocol"]).map(str::to_lowercase);
    if protocol
        .as_deref()
        .is_some_and(|one| !["tcp", "udp", "sctp"].contains(&one))
    {
        return report.say(line, left_out("its protocol has no ports"));
    }
    draft.marks.push(Mark {
        mark: number,
        address: to.to_owned(),
        protocol,
        ports,
    });
}

fn is_network(text: &str) -> bool {
    let (base, prefix) = text.split_once('/').unwrap_or((text, "0"));
    let bits = match base.parse::<std::net::IpAddr>() {
        Ok(base) => {
            if base.is_ipv4() {
                32
            } else {
                128
            }
        }
        Err(_) => return false,
    };
    prefix.parse::<u8>().is_ok_and(|prefix| prefix <= bits)
}

fn is_ports(text: &str) -> bool {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let ports = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
    ports.is_some_and(|(first, last)| first <= last)
}
