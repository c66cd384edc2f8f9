//! The configuration is read again, on a thread that is not the actor's: a large one takes a while.

use std::path::Path;
use std::sync::Arc;

use api::{Applied, GenerationOrigin, Refusal, RefusalCode};
use config::Config;
use tokio::sync::oneshot;

use crate::actor::Job;
use crate::message::Message;

/// What follows from SIGHUP.
pub(crate) fn on_signal(file: &Path) -> Message {
    match job(file, GenerationOrigin::Signal, None) {
        Ok(job) => Message::Apply(job),
        Err(refusal) => Message::NotApplied(refusal.message),
    }
}

/// A configuration that somebody asked for.
///
/// # Errors
///
/// A file that cannot be read, or all its mistakes.
pub(crate) fn job(
    file: &Path,
    origin: GenerationOrigin,
    reply: Option<oneshot::Sender<Result<Applied, Refusal>>>,
) -> Result<Job, Refusal> {
    let config = Config::load(file).map_err(|error| Refusal {
        code: RefusalCode::BadConfig,
        message: error.to_string(),
    })?;
    Ok(Job {
        config: Arc::new(config),
        file: file.to_owned(),
        origin,
        reply,
        until: None,
    })
}
