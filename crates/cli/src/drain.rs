//! `dirigo drain|enable|disable`: real servers out of service, and back.
//!
//! The daemon does what is ordered and waits; `drain` only watches it. So Ctrl-C, a lost terminal and a restart
//! of the daemon end nothing but the watching.

use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api::{
    Client, ClientError, Maintenance, MaintenanceDone, MaintenanceOrder, ServerName, Service,
    ServiceKey,
};

use crate::show::{Common, ShowError, duration, finish, show};

/// Arguments of `dirigo drain`.
#[derive(clap::Args)]
pub struct DrainArgs {
    #[command(flatten)]
    which: Which,
    /// When it is over, what is left is let go: 90s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    deadline: Option<u64>,
    /// Remove it from its services when it has no connection any more
    #[arg(long)]
    remove: bool,
    /// Let go of its connections at once
    #[arg(long, conflicts_with = "deadline")]
    now: bool,
    /// Order it and return; the daemon waits by itself
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `dirigo enable` and `dirigo disable`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    common: Common,
}

#[derive(clap::Args)]
struct Which {
    /// The real server's address, or its name in the configuration
    #[arg(value_name = "SERVER", value_parser = server)]
    server: ServerName,
    /// In this service only: tcp:ADDRESS:PORT, or as `dirigo services` writes it
    #[arg(long, value_name = "SERVICE")]
    service: Option<ServiceKey>,
}

/// How often the daemon is asked what is left.
const LOOK: Duration = Duration::from_millis(250);

/// How long a daemon that is restarted is waited for.
const RESTART: Duration = Duration::from_secs(30);

/// Drains a real server, and watches until it has no connection any more.
pub fn drain(args: &DrainArgs) -> ExitCode {
    finish(drain_and_watch(args))
}

fn drain_and_watch(args: &DrainArgs) -> Result<(), ShowError> {
    let order = MaintenanceOrder::Drain {
        server: args.which.server.clone(),
        service: args.which.service,
        deadline_s: args.deadline,
        remove: args.remove,
        now: args.now,
    };
    // Before it is ordered, so that no Ctrl-C falls between.
    let left = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&left))?;
    let client = args.common.client();
    let done = client.maintain(&order)?;
    let mut screen = Screen::new(args.common.json);
    if done.let_go > 0 && !args.common.json {
        let count = counted(done.let_go, "connection");
        talk!("{count} of {} let go", args.which.server);
    }
    let its = |orders: &[Maintenance]| its(orders, done.server, args.which.service);
    let mut last = its(&done.orders);
    while let Some(order) = last
        .clone()
        .filter(|order| !args.no_wait && is_awaited(order))
    {
        screen.show(&order)?;
        std::thread::sleep(LOOK);
        if left.load(Ordering::Relaxed) {
            screen.end()?;
            talk!(
                "the drain goes on without this command: `dirigo drain {0}` watches it again, `dirigo enable \
                 {0}` ends it",
                args.which.server
            );
            return Ok(());
        }
        last = its(&look(&client)?);
    }
    screen.last(last.as_ref(), &args.which.server)?;
    Ok(())
}

/// Whether there is still something to watch.
fn is_awaited(order: &Maintenance) -> bool {
    order.connections() > 0 || order.is_pending()
}

/// What stands now. A daemon that does not answer is being restarted, as far as we know.
fn look(client: &Client) -> Result<Vec<Maintenance>, ClientError> {
    let until = Instant::now() + RESTART;
    let mut is_told = false;
    loop {
        match client.maintenance() {
            Err(ClientError::Unreachable { .. } | ClientError::Protocol(_))
                if Instant::now() < until =>
            {
                if !std::mem::replace(&mut is_told, true) {
                    talk!("the daemon does not answer; the drain goes on when it is back");
                }
                std::thread::sleep(LOOK);
            }
            answer => return answer,
        }
    }
}

fn its(orders: &[Maintenance], server: IpAddr, service: Option<ServiceKey>) -> Option<Maintenance> {
    let mut orders = orders.iter();
    let is_it = |one: &&Maintenance| (one.server, one.service) == (server, service);
    orders.find(is_it).cloned()
}

/// Where the count is shown: a line that is written anew on a terminal, a line for each change elsewhere, and
/// with `--json` the API's object in each.
struct Screen {
    is_json: bool,
    is_terminal: bool,
    shown: String,
}

impl Screen {
    fn new(is_json: bool) -> Self {
        Self {
            is_json,
            is_terminal: !is_json && std::io::stdout().is_terminal(),
            shown: String::new(),
        }
    }

    fn show(&mut self, order: &Maintenance) -> std::io::Result<()> {
        let text = match self.is_json {
            true => serde_json::to_string(order)?,
            false => line(order, self.is_terminal),
        };
        // Another second is no news where every line stays.
        let news = match self.is_json {
            true => format!("{} {}", order.active, order.inactive),
            false => text.clone(),
        };
        if news == self.shown {
            return Ok(());
        }
        self.shown = news;
        let mut output = std::io::stdout().lock();
        match self.is_terminal {
            true => write!(output, "\r{text}\x1b[K")?,
            false => writeln!(output, "{text}")?,
        }
        output.flush()
    }

    /// Leaves what is shown on its line.
    fn end(&mut self) -> std::io::Result<()> {
        match self.is_terminal && !self.shown.is_empty() {
            true => writeln!(std::io::stdout()),
            false => Ok(()),
        }
    }

    fn last(&mut self, order: Option<&Maintenance>, server: &ServerName) -> std::io::Result<()> {
        self.end()?;
        let mut output = std::io::stdout().lock();
        if self.is_json {
            return writeln!(output, "{}", serde_json::to_string(&order)?);
        }
        let Some(order) = order else {
            return writeln!(
                output,
                "{server} is in maintenance no more: removed, or enabled by somebody"
            );
        };
        if order.removed && order.services.is_empty() {
            return writeln!(
                output,
                "{server} is removed; `dirigo enable {server}` puts it back"
            );
        }
        let left = match order.connections() {
            0 => "no connection is left".to_owned(),
            _ => line(order, false),
        };
        writeln!(
            output,
            "{server} gets no new connections; {left}; `dirigo enable {server}` ends it"
        )
    }
}

/// What is left, as a line.
fn line(order: &Maintenance, with_clock: bool) -> String {
    let (active, inactive) = (order.active, order.inactive);
    let mut line = format!("{}: {active} active, {inactive} inactive", order.server);
    if let Some(deadline_s) = order.deadline_s.filter(|_| with_clock) {
        let (minutes, seconds) = (deadline_s / 60, deadline_s % 60);
        line += &format!(", {minutes}:{seconds:02} until they are let go");
    }
    line
}

/// For `dirigo status` and `dirigo health`: each order on a line.
pub(crate) fn summary(orders: &[Maintenance]) -> String {
    let line = |order: &Maintenance| {
        let (server, left) = (order.server, counted(order.connections(), "connection"));
        let service = order.service.map(|key| format!(" in {key}"));
        let becomes = match (order.removed, order.remove) {
            (true, _) => ", removed",
            (_, true) => ", removed when it has none",
            _ => "",
        };
        let clock = duration(order.for_s);
        format!(
            "maintenance: {server}{}, {left}{becomes}, for {clock} (dirigo enable {server})\n",
            service.unwrap_or_default()
        )
    };
    orders.iter().map(line).collect()
}

fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// Takes a real server out of service and waits for nothing.
pub fn disable(args: &Args) -> ExitCode {
    let order = MaintenanceOrder::Disable {
        server: args.which.server.clone(),
        service: args.which.service,
    };
    let text = |done: &MaintenanceDone| {
        let server = &args.which.server;
        let left: u64 = done.orders.iter().map(Maintenance::connections).sum();
        format!(
            "{server} gets no new connections, and has {}; `dirigo enable {server}` ends it\n",
            counted(left, "connection")
        )
    };
    finish(show(
        &args.common,
        |client: &Client| client.maintain(&order),
        text,
    ))
}

/// Puts a real server back into service.
pub fn enable(args: &Args) -> ExitCode {
    let order = MaintenanceOrder::Enable {
        server: args.which.server.clone(),
        service: args.which.service,
    };
    let text = |done: &(MaintenanceDone, Vec<Service>)| enabled(&args.which.server, done);
    if args.common.json {
        let ask = |client: &Client| client.maintain(&order);
        return finish(show(&args.common, ask, |_| String::new()));
    }
    let ask = |client: &Client| Ok((client.maintain(&order)?, client.services()?));
    finish(show(&args.common, ask, text))
}

fn enabled(server: &ServerName, (done, services): &(MaintenanceDone, Vec<Service>)) -> String {
    let mut text = String::new();
    for service in services {
        let its = service.destinations.iter();
        for one in its.filter(|one| one.destination.ip() == done.server) {
            let key = service.service;
            text += &match one.held_weight {
                Some(_) => format!("{server} stays in maintenance in {key}\n"),
                None => format!("{server} has weight {} in {key}\n", one.settings.weight),
            };
        }
    }
    match (text.is_empty(), done.orders.is_empty()) {
        (true, true) => format!("{server} is in maintenance no more; no service has it now\n"),
        _ => text,
    }
}

fn server(text: &str) -> Result<ServerName, String> {
    match (text.parse::<IpAddr>(), text.parse::<std::net::SocketAddr>()) {
        (Ok(address), _) => Ok(address.into()),
        (_, Ok(with_port)) => Err(format!(
            "a real server is an address without a port, here {}; --service names one of its services",
            with_port.ip()
        )),
        _ if text.is_empty() => Err(
            "a real server is its address, as `dirigo services` shows it, or its name in the configuration".to_owned(),
        ),
        _ => Ok(ServerName::Name(text.to_owned())),
    }
}

fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no time: write for example 90s, 10m or 2h");
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_a_number_with_a_unit() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("10m"), Ok(600));
        assert_eq!(seconds("2h"), Ok(7_200));
        for wrong in ["", "10", "m", "ten m", "-1s", "99999999999999999999h", "1d"] {
            assert!(seconds(wrong).unwrap_err().contains("10m"), "{wrong}");
        }
    }

    #[test]
    fn a_server_with_a_port_is_told_how_to_name_a_service() {
        assert!(server("192.0.2.11").is_ok());
        assert!(
            server("192.0.2.11:80")
                .unwrap_err()
                .contains("here 192.0.2.11;")
        );
        assert_eq!(server("web1"), Ok(ServerName::Name("web1".to_owned())));
        assert!(server("").unwrap_err().contains("dirigo services"));
    }

    #[test]
    fn the_line_says_what_is_left_and_until_when() {
        let order = Maintenance {
            server: "192.0.2.11".parse().unwrap(),
            service: None,
            for_s: 5,
            deadline_s: Some(581),
            remove: false,
            removed: false,
            services: Vec::new(),
            active: 3,
            inactive: 12,
        };
        assert_eq!(line(&order, false), "192.0.2.11: 3 active, 12 inactive");
        let with_clock = "192.0.2.11: 3 active, 12 inactive, 9:41 until they are let go";
        assert_eq!(line(&order, true), with_clock);
    }
}
