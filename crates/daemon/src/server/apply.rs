//! The configuration is applied.

use std::path::PathBuf;
use std::sync::Arc;

use api::{Applied, Apply, ConfigTexts, GenerationOrigin, Refusal, RefusalCode, Rollback};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, State};
use axum::response::IntoResponse;
use tokio::sync::oneshot;

use crate::access::Peer;

use super::{Answer, Desk, Refused, Routes, parse, refused, stopping};
use crate::actor::Job;
use crate::generations::Kept;
use crate::limits;
use crate::message::Message;
use crate::reread;

pub(super) fn routes() -> Routes {
    Routes::default()
        .post("/v1/apply", apply)
        .get("/v1/plan", plan_of_own)
        .ask("/v1/plan", limits::PLAN_BYTES, plan_of)
        .get("/v1/drift", drift)
        .get("/v1/generations", generations)
        .post("/v1/rollback", rollback)
}

/// Where the answer goes.
type Reply = oneshot::Sender<Result<Applied, Refusal>>;

async fn apply(
    State(desk): State<Desk>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let asked: Apply = parse(body)?;
    let file = asked.file.unwrap_or_else(|| desk.file.to_path_buf());
    if file != *desk.file && !may_name_a_file(&peer) {
        return Err(refused(
            RefusalCode::NotPermitted,
            format!(
                "only root on this host may name another file than {}: what is wrong in it is told, word by word",
                desk.file.display()
            ),
        ));
    }
    if !file.is_absolute() {
        return Err(refused(
            RefusalCode::BadRequest,
            format!(
                "{} is no whole path: name the file from / on",
                file.display()
            ),
        ));
    }
    perform(&desk, move |reply| {
        reread::job(&file, GenerationOrigin::Apply, Some(reply))
    })
    .await
}

/// Whether the daemon, which may read everything, reads any file for this one.
fn may_name_a_file(peer: &Peer) -> bool {
    matches!(peer, Peer::Local(Some(credentials)) if credentials.user == 0)
}

async fn rollback(State(desk): State<Desk>, body: Result<Bytes, BytesRejection>) -> Answer {
    let asked: Rollback = parse(body)?;
    let (generations, file) = (Arc::clone(&desk.generations), Arc::clone(&desk.file));
    perform(&desk, move |reply| {
        reread::back(&generations, &file, asked.to, reply)
    })
    .await
}

async fn plan_of_own(State(desk): State<Desk>) -> Answer {
    plan(&desk, None).await
}

/// What is asked is read here and nowhere kept: no file is named, so none is told of.
async fn plan_of(State(desk): State<Desk>, body: Result<Bytes, BytesRejection>) -> Answer {
    let texts: ConfigTexts = parse(body)?;
    if texts.files.is_empty() {
        return Err(refused(
            RefusalCode::BadRequest,
            "no file was sent: the main file comes first, then the pieces".to_owned(),
        ));
    }
    plan(&desk, Some(texts)).await
}

/// Off the actor but for what it alone knows: a large table takes a while.
async fn plan(desk: &Desk, texts: Option<ConfigTexts>) -> Answer {
    let _place = desk.plans.acquire().await.map_err(|_| stopping())?;
    let own = Arc::clone(&desk.file);
    let first = texts.as_ref().and_then(|texts| texts.files.first());
    let named = first.map_or_else(|| own.to_path_buf(), |file| PathBuf::from(&file.name));
    let read = tokio::task::spawn_blocking(move || reread::config(&own, texts)).await;
    let config = read.map_err(|_| stopping())?.map_err(Refused)?;
    let basis = desk.ask(|reply| Message::Plan(config, reply)).await?;
    let basis = basis.map_err(Refused)?;
    let planned = tokio::task::spawn_blocking(move || basis.plan(named)).await;
    let plan = planned.map_err(|_| stopping())?.map_err(Refused)?;
    Ok(axum::Json(plan).into_response())
}

async fn drift(State(desk): State<Desk>) -> Answer {
    Ok(axum::Json(desk.ask(Message::Drift).await?).into_response())
}

async fn generations(State(desk): State<Desk>) -> Answer {
    let all = desk.generations.all();
    let all: Vec<api::Generation> = all.iter().map(Kept::shown).collect();
    Ok(axum::Json(all).into_response())
}

/// Reads what is to be applied on a thread of its own, and has the actor apply it.
async fn perform(
    desk: &Desk,
    read: impl FnOnce(Reply) -> Result<Job, Refusal> + Send + 'static,
) -> Answer {
    let (reply, answer) = oneshot::channel();
    let read = move || read(reply);
    let job = tokio::task::spawn_blocking(read).await;
    let job = job.map_err(|_| stopping())?.map_err(Refused)?;
    desk.send(Message::Apply(job))?;
    let applied = answer.await.map_err(|_| stopping())?.map_err(Refused)?;
    Ok(axum::Json(applied).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Credentials;

    #[test]
    fn only_root_of_this_host_has_any_file_read() {
        let of = |user| {
            Peer::Local(Some(Credentials {
                user,
                groups: vec![0],
            }))
        };
        assert!(may_name_a_file(&of(0)));
        for other in [of(1000), Peer::Local(None), Peer::Remote] {
            assert!(!may_name_a_file(&other), "{other:?}");
        }
    }
}
