//! `dirigo events`: what became different, when, and why.

use std::io::Write;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use api::{Client, ClientError, EventLevel, EventQuery, Kinds, Missed, ServiceKey, Told};

use crate::show::{Common, ShowError, finish};

/// How long a follower waits before it looks for the next daemon.
const AGAIN: Duration = Duration::from_secs(1);

/// Arguments of `dirigo events`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Go on with those that come, from one daemon to the next
    #[arg(short, long)]
    follow: bool,
    /// Only events after the one with this id
    #[arg(long, value_name = "ID")]
    since: Option<u64>,
    /// Only events of these kinds, for example quorum-lost,quorum-gained
    #[arg(long, value_name = "KIND,…")]
    kind: Option<Kinds>,
    /// Only warnings
    #[arg(long)]
    warnings: bool,
    /// Only events about this virtual service: tcp:192.0.2.100:80
    #[arg(long, value_name = "SERVICE")]
    service: Option<ServiceKey>,
    /// Only events about this real server
    #[arg(long, value_name = "ADDRESS")]
    server: Option<IpAddr>,
}

/// Shows events.
pub fn main(args: &Args) -> ExitCode {
    let query = EventQuery {
        follow: Some(args.follow),
        since: Some(args.since.unwrap_or(0)),
        kind: args.kind.clone(),
        level: args.warnings.then_some(EventLevel::Warning),
        service: args.service,
        server: args.server,
    };
    let client = args.common.client();
    finish(match args.follow {
        false => once(&client, &query, args.common.json),
        true => for_ever(&client, query, args.common.json),
    })
}

/// Shows what one call brings.
fn once(client: &Client, query: &EventQuery, json: bool) -> Result<(), ShowError> {
    let mut output = Output::new(json);
    client.events(query, &mut |told| output.show(&told))?;
    output.failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Goes on where it was when a daemon ends and another one begins.
fn for_ever(client: &Client, mut query: EventQuery, json: bool) -> Result<(), ShowError> {
    let mut output = Output::new(json);
    let mut was_there = false;
    loop {
        let done = client.events(&query, &mut |told| output.show(&told));
        was_there |= done.is_ok() || output.last.is_some();
        query.since = output.last.or(query.since);
        if let Some(error) = output.failed {
            return Err(error.into());
        }
        match done {
            Err(ClientError::Refused(refusal)) => return Err(ClientError::from(refusal).into()),
            Err(error) if !was_there => return Err(error.into()),
            _ => std::thread::sleep(AGAIN),
        }
    }
}

/// Where events go, and how far they have gone.
struct Output {
    json: bool,
    last: Option<u64>,
    failed: Option<std::io::Error>,
}

impl Output {
    fn new(json: bool) -> Self {
        Self {
            json,
            last: None,
            failed: None,
        }
    }

    fn show(&mut self, told: &Told) -> ControlFlow<()> {
        if let Told::Event(event) = told {
            self.last = Some(event.id);
        }
        let text = match self.json {
            // Every part has a JSON form: this cannot fail.
            true => serde_json::to_string(told).unwrap_or_default(),
            false => text(told),
        };
        let mut output = std::io::stdout().lock();
        match writeln!(output, "{text}").and_then(|()| output.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

fn text(told: &Told) -> String {
    match told {
        Told::Event(event) => {
            let what = &event.what;
            let mark = match what.level {
                EventLevel::Warning => '!',
                EventLevel::Info => ' ',
            };
            format!("{} {mark} {:22} {what}", event.time, what.kind)
        }
        Told::Missed(Missed {
            missed: Some(missed),
        }) => format!("… {missed} events are not remembered any more"),
        Told::Missed(Missed { missed: None }) => {
            "… another daemon's events are not remembered any more".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use api::{Event, EventKind, Occurrence};

    use super::*;

    #[test]
    fn an_event_is_a_line_with_what_when_and_why() {
        let what = Occurrence::of(EventKind::DestinationDown)
            .service("tcp:192.0.2.100:80".parse().unwrap())
            .server("192.0.2.11".parse().unwrap())
            .old("up")
            .new("down")
            .because("no answer");
        let event = Told::Event(Box::new(Event {
            id: 7,
            time: "2026-11-28T22:18:03.125Z".to_owned(),
            what,
        }));
        assert_eq!(
            text(&event),
            "2026-11-28T22:18:03.125Z ! destination-down       destination gets no new connections \
             tcp:192.0.2.100:80 192.0.2.11: up → down: no answer"
        );
        let missed = Told::Missed(Missed { missed: Some(3) });
        assert_eq!(text(&missed), "… 3 events are not remembered any more");
    }
}
