//! `keepalived.conf`: the virtual servers become services; VRRP stays with keepalived.
//!
//! ```text
//! virtual_server 192.0.2.100 80 {     a service
//!     lb_algo wlc
//!     real_server 192.0.2.11 80 {     a destination
//!         TCP_CHECK { … }             a check
//! ```

use std::collections::HashMap;

use crate::Wrong;
use crate::draft::Draft;
use crate::report::Report;
use crate::words::number;

mod checkers;
mod servers;
mod tree;

use tree::Block;

/// Reads the file.
pub(crate) fn read(text: &str, report: &mut Report) -> Result<Draft, Wrong> {
    let blocks = tree::parse(text, report)?;
    let mut draft = Draft::default();
    let mut groups: HashMap<&str, &Block> = HashMap::new();
    for block in &blocks {
        if block.name() == "virtual_server_group" {
            let name = block.word(1).ok_or((block.line, no_name(block)))?;
            groups.insert(name, block);
        }
    }
    for block in &blocks {
        match block.name() {
            "virtual_server_group" => {}
            "virtual_server" => servers::read(block, &groups, &mut draft, report)?,
            "global_defs" => global(block, &mut draft, report)?,
            "vrrp_instance" => vrrp_instance(block, &mut draft, report),
            name if name.starts_with("vrrp_") || name.starts_with("static_") => report.say(
                block.line,
                format!("{name} is not carried over: VRRP and what goes with it stay with keepalived (`keepalived -P`)"),
            ),
            name @ ("include" | "includer" | "includem" | "includew" | "includeb" | "includea") => report.say(
                block.line,
                format!("{name} is not followed: import {} as well, and put the result into conf.d", block.rest()),
            ),
            "bfd_instance" | "track_file" | "track_process" | "track_bfd" | "garp_group" | "SSL"
            | "net_namespace" | "net_namespace_ipvs" | "namespace_with_ipsets" | "instance" | "use_pid_dir"
            | "linkbeat_use_polling" | "child_wait_time" | "process_names" => report.say(
                block.line,
                format!("{} is not carried over: it is about keepalived itself", block.name()),
            ),
            name => {
                let problem = format!("keepalived has no block `{name}`: is this a keepalived.conf?");
                return Err((block.line, problem));
            }
        }
    }
    if draft.vips_are_moved && draft.interfaces.len() > 1 {
        draft.interfaces.dedup();
    }
    Ok(draft)
}

fn no_name(block: &Block) -> String {
    format!("`{}` has no name behind it", block.name())
}

/// `global_defs`: what is about balancing, and a word about the rest.
fn global(block: &Block, draft: &mut Draft, report: &mut Report) -> Result<(), Wrong> {
    for item in &block.items {
        let instead = match item.name() {
            "lvs_timeouts" => {
                timeouts(item, draft)?;
                continue;
            }
            "lvs_sync_daemon" => "connections are not told to another director yet",
            "lvs_flush" => "dirigo's tables are its own, and nothing else is in them",
            "lvs_flush_on_stop" => {
                "it is `on_stop` in [director]: \"keep\", the default, goes on forwarding"
            }
            "router_id" => "dirigo names itself by the host's name",
            name if name.starts_with("notification_") || name.starts_with("smtp_") => {
                "dirigo sends no mail; it tells every change of state as an event"
            }
            "script_user" | "enable_script_security" => {
                "scripts never run as root here; `user` of a [[check]] says as whom"
            }
            "lvs_notify_fifo" | "lvs_notify_fifo_script" | "notify_fifo" | "notify_fifo_script" => {
                "dirigo tells every change of state as an event"
            }
            "nftables_ipvs" => "there is no netfilter before XDP, and none is needed for groups",
            name if name.starts_with("vrrp_") || name.starts_with("bfd_") => {
                "VRRP stays with keepalived (`keepalived -P`)"
            }
            _ => "it is about keepalived itself",
        };
        report.say(
            item.line,
            format!("{} is not carried over: {instead}", item.name()),
        );
    }
    Ok(())
}

/// `lvs_timeouts [tcp N] [tcpfin N] [udp N]`.
fn timeouts(item: &Block, draft: &mut Draft) -> Result<(), Wrong> {
    let wrong = |problem| (item.line, problem);
    for pair in item.words[1..].chunks(2) {
        let [name, seconds] = pair else {
            return Err(wrong(format!(
                "`{}` has no number behind it",
                pair.concat()
            )));
        };
        let place = match name.as_str() {
            "tcp" => 0,
            "tcpfin" => 1,
            "udp" => 2,
            other => {
                return Err(wrong(format!(
                    "lvs_timeouts has no `{other}`: there are tcp, tcpfin and udp"
                )));
            }
        };
        let seconds = number(name, seconds, 1, 2_678_400).map_err(wrong)?;
        draft.timeouts[place] = Some(seconds);
    }
    Ok(())
}

/// It moves addresses, and says on which interface.
fn vrrp_instance(block: &Block, draft: &mut Draft, report: &mut Report) {
    report.say(
        block.line,
        format!(
            "vrrp_instance {} is not carried over: leave it in keepalived.conf, and run keepalived with -P (VRRP \
             only). It moves the addresses, so `manage` is false in [vips]",
            block.word(1).unwrap_or_default()
        ),
    );
    draft.vips_are_moved = true;
    let interface = block.items.iter().find(|item| item.name() == "interface");
    let name = interface.and_then(|item| item.word(1));
    if let Some(name) = name.filter(|name| can_be_interface(name))
        && !draft.interfaces.iter().any(|known| known == name)
        && draft.interfaces.len() < 16
    {
        draft.interfaces.push(name.to_owned());
    }
}

fn can_be_interface(name: &str) -> bool {
    let is_foreign = |c: char| matches!(c, '/' | ':') || c.is_whitespace() || c.is_control();
    (1..=15).contains(&name.len()) && !name.contains(is_foreign) && name != "." && name != ".."
}
