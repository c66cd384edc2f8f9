//! Changes that somebody asks for: done or refused, logged, and answered.

use std::net::IpAddr;
use std::time::Instant;

use api::{Author, Change, Refusal};
use control::{Event, Link};
use tokio::sync::oneshot;
use tracing::info;

use super::{Actor, Waiting, different};
use crate::events;
use crate::host::Host;
use crate::limits;
use crate::plane::Plane;

impl<P: Plane, H: Host> Actor<P, H> {
    pub(super) fn change(
        &mut self,
        change: Change,
        by: Author,
        reply: oneshot::Sender<Result<(), Refusal>>,
    ) {
        let awaited = added(&change);
        match self.change_table(change, by) {
            Ok(()) => self.answer_when_heard(awaited.into_iter().collect(), || {
                let _gone = reply.send(Ok(()));
            }),
            Err(refusal) => {
                let _gone = reply.send(Err(refusal));
            }
        }
    }

    /// Each change by itself, in order; those after a refused one are done all the same, as
    /// `ipvsadm -R` does them.
    pub(super) fn batch(
        &mut self,
        changes: Vec<Change>,
        by: Author,
        reply: oneshot::Sender<Vec<Option<Refusal>>>,
    ) {
        let awaited = changes.iter().filter_map(added).collect();
        let texts: Vec<String> = changes.iter().map(describe).collect();
        let count = changes.len();
        let refusals = self
            .step_all(changes, by)
            .unwrap_or_else(|refusal| vec![Some(refusal); count]);
        for (change, refusal) in texts.iter().zip(&refusals) {
            log(change, refusal.as_ref());
        }
        self.answer_when_heard(awaited, || {
            let _gone = reply.send(refusals);
        });
    }

    /// One plan and one save for all of them.
    fn step_all(
        &mut self,
        changes: Vec<Change>,
        by: Author,
    ) -> Result<Vec<Option<Refusal>>, Refusal> {
        let zeroed = zeroed(&changes);
        let all = changes.clone();
        let questions = self.state.questions_of_changes(&changes);
        let observed = self.answers(questions, self.addresses()?);
        let (answers, plan) = control::step_all(&mut self.state, changes, &observed);
        let mut told = different::of(&self.state, by);
        let done = changes_done(&all, &answers);
        told.extend(done.filter_map(|change| different::of_change(change, by)));
        self.follow(&plan, false)?;
        told.into_iter().for_each(events::emit);
        self.estimates.zero(&self.state, &zeroed);
        Ok(answers)
    }

    fn change_table(&mut self, change: Change, by: Author) -> Result<(), Refusal> {
        let text = describe(&change);
        let zeroed = zeroed(std::slice::from_ref(&change));
        let told = different::of_change(&change, by);
        let done = self.apply_by(Event::Change(change), Some(by));
        log(&text, done.as_ref().err());
        if done.is_ok() {
            told.into_iter().for_each(events::emit);
            self.estimates.zero(&self.state, &zeroed);
        }
        done
    }

    /// Answers at once, or when the real servers were heard of for the first time.
    fn answer_when_heard(&mut self, awaited: Vec<IpAddr>, reply: impl FnOnce() + Send + 'static) {
        let is_unknown = |address: &IpAddr| self.is_unknown(*address);
        let addresses: Vec<IpAddr> = awaited.into_iter().filter(is_unknown).collect();
        if addresses.is_empty() {
            return reply();
        }
        self.waiting.push(Waiting {
            addresses,
            until: Instant::now() + limits::RESOLVE_WAIT,
            reply: Box::new(reply),
        });
    }

    fn is_unknown(&self, address: IpAddr) -> bool {
        self.state.links.get(&address) == Some(&Link::unknown())
    }

    pub(super) fn answer_waiting(&mut self) {
        let now = Instant::now();
        for mut waiting in std::mem::take(&mut self.waiting) {
            waiting
                .addresses
                .retain(|address| self.is_unknown(*address));
            if waiting.until <= now || waiting.addresses.is_empty() {
                (waiting.reply)();
            } else {
                self.waiting.push(waiting);
            }
        }
    }
}

/// Whose rates begin anew.
fn zeroed(changes: &[Change]) -> Vec<Option<api::ServiceKey>> {
    let zeroed = changes.iter().filter_map(|change| match change {
        Change::Zero { service } => Some(*service),
        _ => None,
    });
    zeroed.collect()
}

/// Those that were not refused.
fn changes_done<'a>(
    changes: &'a [Change],
    refusals: &'a [Option<Refusal>],
) -> impl Iterator<Item = &'a Change> {
    let all = changes.iter().zip(refusals);
    all.filter(|(_, refusal)| refusal.is_none())
        .map(|(change, _)| change)
}

/// What became different is an event; what did not is said here.
fn log(change: &str, refusal: Option<&Refusal>) {
    if let Some(refusal) = refusal {
        info!(change, %refusal, "change refused");
    }
}

/// The real server whose first answer a change should wait for.
fn added(change: &Change) -> Option<IpAddr> {
    match change {
        Change::AddDestination { destination, .. } => Some(destination.ip()),
        _ => None,
    }
}

/// One line for the log.
fn describe(change: &Change) -> String {
    match change {
        Change::AddService { service, settings } => {
            format!("add service {service} {settings}")
        }
        Change::EditService { service, settings } => {
            format!("edit service {service} {settings}")
        }
        Change::DeleteService { service } => format!("delete service {service}"),
        Change::Clear => "clear".to_owned(),
        Change::Zero { service: None } => "zero all counters".to_owned(),
        Change::Zero {
            service: Some(service),
        } => format!("zero counters of {service}"),
        Change::SetTimeouts { timeouts } => format!(
            "set timeouts {} {} {}",
            timeouts.tcp, timeouts.tcpfin, timeouts.udp
        ),
        Change::AddDestination {
            service,
            destination,
            settings,
        } => format!("add {destination} to {service} weight {}", settings.weight),
        Change::EditDestination {
            service,
            destination,
            settings,
        } => format!("edit {destination} of {service} weight {}", settings.weight),
        Change::DeleteDestination {
            service,
            destination,
        } => format!("delete {destination} from {service}"),
    }
}
