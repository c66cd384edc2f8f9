//! The configuration is read again, on a thread that is not the actor's: a large one takes a while.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use api::{Applied, ConfigTexts, GenerationOrigin, Refusal, RefusalCode};
use config::Config;
use tokio::sync::oneshot;
use tracing::warn;

use crate::Options;
use crate::actor::Job;
use crate::files::Files;
use crate::generations::{self, Generations, Kept};
use crate::message::Message;

/// Where the answer goes.
type Reply = oneshot::Sender<Result<Applied, Refusal>>;

/// What follows from SIGHUP.
pub(crate) fn on_signal(file: &Path) -> Message {
    match job(file, GenerationOrigin::Signal, None) {
        Ok(job) => Message::Apply(job),
        Err(refusal) => Message::NotApplied(refusal.message),
    }
}

/// A configuration and the files that it is in.
///
/// # Errors
///
/// A file that cannot be read, or all its mistakes.
fn read(file: &Path) -> Result<(Vec<config::File>, Arc<Config>), Refusal> {
    let files = config::read_files(file).map_err(wrong)?;
    let config = parse(&files)?;
    remember(&files, &config);
    Ok((files, config))
}

/// Of a large configuration only what is otherwise than in the last one is read.
fn parse(files: &[config::File]) -> Result<Arc<Config>, Refusal> {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let config = match last {
        Some(last) => last.1.of_files_again(&last.0, files),
        None => Config::of_files(files),
    };
    config.map(Arc::new).map_err(wrong)
}

/// What was read last and was right.
static LAST: Mutex<Option<Read>> = Mutex::new(None);

type Read = Arc<(Vec<config::File>, Arc<Config>)>;

/// What a start has read, too.
pub(crate) fn remember(files: &[config::File], config: &Arc<Config>) {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    *last = Some(Arc::new((files.to_vec(), Arc::clone(config))));
}

/// The configuration of a file, or of texts that are sent in its place.
///
/// # Errors
///
/// A file that cannot be read, or all mistakes.
pub(crate) fn config(file: &Path, texts: Option<ConfigTexts>) -> Result<Arc<Config>, Refusal> {
    let files = match texts {
        None => config::read_files(file).map_err(wrong)?,
        Some(texts) => texts
            .files
            .into_iter()
            .map(|one| config::File {
                name: one.name,
                bytes: one.text.into_bytes(),
            })
            .collect(),
    };
    parse(&files)
}

/// A configuration that somebody asked for.
///
/// # Errors
///
/// A file that cannot be read, or all its mistakes.
pub(crate) fn job(
    file: &Path,
    origin: GenerationOrigin,
    reply: Option<Reply>,
) -> Result<Job, Refusal> {
    let (files, config) = read(file)?;
    Ok(Job {
        config,
        file: file.to_owned(),
        files,
        origin,
        of: None,
        passed_over: None,
        reply,
        until: None,
        checked_until: None,
    })
}

/// The way back to a generation: to one by its number, or to that before the present one.
///
/// # Errors
///
/// When there is none, or it cannot be read any more.
pub(crate) fn back(
    generations: &Generations,
    own: &Path,
    to: Option<u64>,
    reply: Reply,
) -> Result<Job, Refusal> {
    let number = match to {
        Some(number) => number,
        None => before(generations)?,
    };
    let Some(about) = generations.about(number) else {
        return Err(bad(format!(
            "generation {number} is not kept: `dirigo generations` lists those that are"
        )));
    };
    let job = job(
        &generations.file(number),
        GenerationOrigin::Rollback,
        Some(reply),
    )?;
    let passed_over = config::read_files(own).ok();
    Ok(Job {
        file: about.generation.file,
        of: Some(number),
        passed_over: passed_over.map(|files| generations::digest(&files)),
        ..job
    })
}

/// The generation before the present one; after a rollback, that before the one gone back to.
fn before(generations: &Generations) -> Result<u64, Refusal> {
    let all = generations.all();
    let present = all
        .last()
        .map(|about| about.generation.of.unwrap_or(about.generation.number));
    let numbers = all.iter().map(|about| about.generation.number);
    let before = numbers.filter(|number| Some(*number) < present).max();
    before.ok_or_else(|| {
        bad("there is no generation before this one: `dirigo generations` lists all".to_owned())
    })
}

/// What a daemon follows that is started after a rollback and a crash: not the file that was gone back
/// from, as long as nobody has changed it.
pub(crate) fn after_rollback(options: &Options, files: &Files) -> Options {
    let generations = files.generations();
    let found = || -> Option<Options> {
        let saved = files.load().ok()??;
        // Forgotten at an orderly stop: then the file counts.
        saved.state.applied.as_ref()?;
        let about = generations.about(saved.state.generation)?;
        if about.passed_over? != generations::digest(&options.texts) {
            return None;
        }
        let texts = config::read_files(&generations.file(saved.state.generation)).ok()?;
        let config = Config::of_files(&texts).ok()?;
        Some(Options {
            config,
            texts,
            ..options.clone()
        })
    };
    let Some(found) = found() else {
        return options.clone();
    };
    warn!(
        file = %options.file.display(),
        "the file was gone back from and is as it was then: the generation before goes on. Change the file, or \
         run `dirigo apply` to follow it all the same"
    );
    found
}

/// Enters the generation that a start is: the one before if the files say the same, else a new one.
pub(crate) fn at_start(
    options: &Options,
    generations: &Generations,
    present: u64,
) -> anyhow::Result<Kept> {
    if let Some(about) = generations.about(present)
        && about.is_of(&options.texts)
    {
        return Ok(about);
    }
    let about = Kept::new(present + 1, GenerationOrigin::Start, None, &options.texts);
    generations.keep(&about, &options.texts)?;
    Ok(about)
}

fn wrong(error: impl ToString) -> Refusal {
    bad(error.to_string())
}

fn bad(message: String) -> Refusal {
    Refusal {
        code: RefusalCode::BadConfig,
        message,
    }
}
