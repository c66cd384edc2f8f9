//! The commands that change the table, asked of the daemon.

use api::{Change, Refusal};

use super::Ipvsadm;
use super::failure::{Doing, Failure, from_client, refused};
use super::line::Line;

/// A change with what it is called when it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// For the daemon.
    pub change: Change,
    /// For the sentence.
    pub doing: Doing,
}

/// What a line changes; `None` for one that changes nothing.
#[must_use]
pub fn asked(line: &Line) -> Option<Asked> {
    let (change, doing) = match line.clone() {
        Line::AddService(line) => (
            Change::AddService {
                service: line.service,
                settings: line.settings,
            },
            Doing::Service,
        ),
        Line::EditService(line) => (
            Change::EditService {
                service: line.service,
                settings: line.settings,
            },
            Doing::Service,
        ),
        Line::DeleteService(service) => (Change::DeleteService { service }, Doing::Service),
        Line::Zero(service) => (Change::Zero { service }, Doing::Service),
        Line::AddServer(line) => (
            Change::AddDestination {
                service: line.service,
                destination: line.destination,
                settings: line.settings,
            },
            Doing::Destination,
        ),
        Line::EditServer(line) => (
            Change::EditDestination {
                service: line.service,
                destination: line.destination,
                settings: line.settings,
            },
            Doing::Destination,
        ),
        Line::DeleteServer {
            service,
            destination,
        } => (
            Change::DeleteDestination {
                service,
                destination,
            },
            Doing::Destination,
        ),
        Line::Flush => (Change::Clear, Doing::Other),
        Line::Set(timeouts) => (Change::SetTimeouts { timeouts }, Doing::Other),
        Line::Help
        | Line::Version
        | Line::List(_)
        | Line::Save { .. }
        | Line::Restore
        | Line::StartDaemon
        | Line::StopDaemon => return None,
    };
    Some(Asked { change, doing })
}

impl Ipvsadm<'_> {
    /// One change, done when this returns.
    pub(super) fn change(&mut self, asked: &Asked) -> Result<(), Failure> {
        self.kernel
            .change(&asked.change)
            .map_err(|error| from_client(error, asked.doing))
    }

    /// Many, in order; for each why it was not done.
    pub(super) fn changes(&mut self, asked: &[Asked]) -> Result<Vec<Option<Failure>>, Failure> {
        let changes: Vec<Change> = asked.iter().map(|one| one.change.clone()).collect();
        let answers = self
            .kernel
            .changes(&changes)
            .map_err(|error| from_client(error, Doing::Other))?;
        let failure = |(answer, one): (Option<Refusal>, &Asked)| {
            answer.map(|refusal| refused(refusal, one.doing))
        };
        Ok(answers.into_iter().zip(asked).map(failure).collect())
    }
}
