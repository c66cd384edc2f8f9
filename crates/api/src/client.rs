//! A blocking client for a daemon, by its socket or over TCP.
//!
//! ```text
//! Client::services() ─► connect ─► GET /v1/services ─► collect ─► Vec<Service>
//! Client::connections(query, visit) ─► … ─► body frames ─► lines ─► visit(Connection) each
//! ```
//!
//! Each call is one connection and one request, so a client never holds the daemon's resources
//! between calls and a restarted daemon is found again without effort. The HTTP comes from hyper,
//! driven by a single-threaded runtime that lives for one call: do not call it from async code.
//!
//! It retries nothing: a change that was sent may have been done.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::lines::Lines;
use crate::remote::Wire;
use crate::{
    Access, BATCH_MAX, Change, Connection, ConnectionQuery, EventQuery, ExplainFrame, ExplainQuery,
    Explanation, Maintenance, MaintenanceDone, MaintenanceOrder, MarkRule, Refusal, Remote,
    ServerExplanation, ServerQuery, Service, ServiceHealth, Status, Stop, Told, TraceLine,
    TraceQuery,
};

/// How long the daemon may be silent before the call is given up.
///
/// A change waits for the daemon's plan to be done, which may include resolving a neighbour; ten
/// times the second that takes at worst.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Longest answer that is read into memory: the tables at their limits, with room.
const ANSWER_MAX_BYTES: usize = 256 << 20;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon answers on {}: {source}. Start one with: dirigo run -c FILE", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The socket is there, but not for this user.
    #[error("not permitted to use {}: {source}. Run the command as root", path.display())]
    NotPermitted {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The daemon took the request and then said nothing.
    #[error(
        "the daemon on {} has not answered for {} s. It may be overloaded or stopped; \
         look at its log",
        path.display(),
        SILENCE_MAX.as_secs()
    )]
    Silent {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon answered with a refusal.
    #[error(transparent)]
    Refused(#[from] crate::Refusal),
    /// The answer was not what the protocol promises.
    #[error("the daemon's answer cannot be read: {0}")]
    Protocol(String),
    /// The daemon elsewhere cannot be reached.
    #[error("no daemon answers at {url}: {source}")]
    NoRemote {
        /// Where it was looked for.
        url: String,
        /// What went wrong.
        source: std::io::Error,
    },
    /// This process could not set up what a call needs.
    #[error("cannot prepare a request: {0}")]
    Local(#[source] std::io::Error),
}

/// Where a daemon is.
#[derive(Clone, Debug)]
enum Place {
    Socket(PathBuf),
    Remote(Box<Remote>),
}

/// One daemon, by its socket or over TCP; each call is one request.
#[derive(Clone, Debug)]
pub struct Client {
    place: Place,
    program: &'static str,
}

impl Client {
    /// A client for the daemon of `instance`.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        Self::at(crate::socket_path(instance))
    }

    /// A client for the daemon that listens on `path`.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            place: Place::Socket(path.into()),
            program: "dirigo",
        }
    }

    /// A client for a daemon that is reached over TCP.
    #[must_use]
    pub fn remote(remote: Remote) -> Self {
        Self {
            place: Place::Remote(Box::new(remote)),
            program: "dirigo",
        }
    }

    /// The same, for the program that events shall name: `ipvsadm`.
    #[must_use]
    pub fn of_program(self, program: &'static str) -> Self {
        Self { program, ..self }
    }

    /// Where this client looks for the daemon.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.place {
            Place::Socket(path) => path,
            Place::Remote(remote) => Path::new(remote.url()),
        }
    }

    /// What this caller may do.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub fn access(&self) -> Result<Access, ClientError> {
        self.get("/v1/access")
    }

    /// The daemon and its data plane.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status")
    }

    /// All virtual services with their destinations.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub fn services(&self) -> Result<Vec<Service>, ClientError> {
        self.get("/v1/services")
    }

    /// The health of services that have checks.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub fn health(&self) -> Result<Vec<ServiceHealth>, ClientError> {
        self.get("/v1/health")
    }

    /// Real servers that are in maintenance.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub fn maintenance(&self) -> Result<Vec<Maintenance>, ClientError> {
        self.get("/v1/maintenance")
    }

    /// Takes a real server out of service, or back; what is waited for is not waited for here.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`]; a refusal leaves everything as it was.
    pub fn maintain(&self, order: &MaintenanceOrder) -> Result<MaintenanceDone, ClientError> {
        read(&self.post("/v1/maintenance", order)?)
    }

    /// What would become of a packet, and why. Nothing is changed by asking.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub fn explain(&self, query: &ExplainQuery) -> Result<Explanation, ClientError> {
        self.get(&format!("/v1/explain{}", query.to_text()))
    }

    /// What gives packets a firewall mark, in order.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub fn marks(&self) -> Result<Vec<MarkRule>, ClientError> {
        self.get("/v1/marks")
    }

    /// Whose packets go to a real server.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub fn explain_server(&self, query: &ServerQuery) -> Result<ServerExplanation, ClientError> {
        self.get(&format!("/v1/explain/server{}", query.to_text()))
    }

    /// What would become of a frame of a capture.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub fn explain_frame(&self, frame: &ExplainFrame) -> Result<Explanation, ClientError> {
        read(&self.post("/v1/explain", frame)?)
    }

    /// Shows the remembered connections that `query` is about to `visit`, as they arrive, until it says
    /// [`ControlFlow::Break`].
    ///
    /// # Errors
    ///
    /// Every [`ClientError`]; connections before the error have been visited.
    pub fn connections(
        &self,
        query: &ConnectionQuery,
        visit: &mut dyn FnMut(Connection) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let mut wrong = None;
        self.connection_lines(query, &mut |line| match read(line) {
            Ok(connection) => visit(connection),
            Err(error) => {
                wrong = Some(error);
                ControlFlow::Break(())
            }
        })?;
        wrong.map_or(Ok(()), Err)
    }

    /// The same without reading them: each is one line of JSON, without its end.
    ///
    /// # Errors
    ///
    /// As above.
    pub fn connection_lines(
        &self,
        query: &ConnectionQuery,
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let route = format!("/v1/connections{}", query.to_text());
        run(async {
            let answer = self.ask(Method::GET, &route, Bytes::new()).await?;
            self.visit_lines(answer, visit).await
        })
    }

    /// Shows decisions that `query` is about to `visit`, as they happen, until it says [`ControlFlow::Break`] or the
    /// daemon ends.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`]; what came before the error has been visited.
    pub fn trace(
        &self,
        query: &TraceQuery,
        visit: &mut dyn FnMut(TraceLine) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let mut wrong = None;
        let body = serde_json::to_vec(query)
            .map_err(|error| ClientError::Local(std::io::Error::other(error)))?;
        run(async {
            let answer = self.ask(Method::POST, "/v1/trace", body.into()).await?;
            let mut visit = |line: &[u8]| match read(line) {
                Ok(line) => visit(line),
                Err(error) => {
                    wrong = Some(error);
                    ControlFlow::Break(())
                }
            };
            self.visit_lines(answer, &mut visit).await
        })?;
        wrong.map_or(Ok(()), Err)
    }

    /// Shows events to `visit`, as they come, until it says [`ControlFlow::Break`], or the daemon ends, or,
    /// with `follow` false, all that are remembered were shown.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`]; events before the error have been visited.
    pub fn events(
        &self,
        query: &EventQuery,
        visit: &mut dyn FnMut(Told) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let route = format!("/v1/events{}", query.to_text());
        let is_stream = query.follow != Some(false);
        let mut wrong = None;
        run(async {
            let answer = self.ask(Method::GET, &route, Bytes::new()).await?;
            self.visit_lines(answer, &mut |line| {
                // Ids and names of server-sent events are in their data, too.
                let data = match is_stream {
                    true => line.strip_prefix(b"data: "),
                    false => Some(line),
                };
                match data.map(read) {
                    None => ControlFlow::Continue(()),
                    Some(Ok(told)) => visit(told),
                    Some(Err(error)) => {
                        wrong = Some(error);
                        ControlFlow::Break(())
                    }
                }
            })
            .await
        })?;
        wrong.map_or(Ok(()), Err)
    }

    /// Asks for one change of the table; when this returns, it is done.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`]; a refusal leaves the table as it was.
    pub fn change(&self, change: &Change) -> Result<(), ClientError> {
        self.post("/v1/changes", change).map(drop)
    }

    /// Asks for many changes, in order; each is done or refused by itself. When this returns, those
    /// without a refusal are done.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`] but a refusal of one of them; changes before the error may have been done.
    pub fn change_all(&self, changes: &[Change]) -> Result<Vec<Option<Refusal>>, ClientError> {
        let mut refusals = Vec::with_capacity(changes.len());
        for batch in changes.chunks(BATCH_MAX) {
            let answer: Vec<Option<Refusal>> = read(&self.post("/v1/batches", &batch)?)?;
            if answer.len() != batch.len() {
                let (asked, answered) = (batch.len(), answer.len());
                return Err(ClientError::Protocol(format!(
                    "{answered} answers to {asked} changes"
                )));
            }
            refusals.extend(answer);
        }
        Ok(refusals)
    }

    /// Has the daemon read its configuration and step to it; when this returns, that is done.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`]; after a refusal everything is as it was.
    pub fn apply(&self, apply: &crate::Apply) -> Result<crate::Applied, ClientError> {
        read(&self.post("/v1/apply", apply)?)
    }

    /// What an apply of the daemon's own file would do.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub fn plan(&self) -> Result<crate::Plan, ClientError> {
        self.get("/v1/plan")
    }

    /// What an apply of these files would do.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub fn plan_of(&self, texts: &crate::ConfigTexts) -> Result<crate::Plan, ClientError> {
        read(&self.post("/v1/plan", texts)?)
    }

    /// What was changed at runtime.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub fn drift(&self) -> Result<crate::Drift, ClientError> {
        self.get("/v1/drift")
    }

    /// The configurations that were followed, oldest first.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub fn generations(&self) -> Result<Vec<crate::Generation>, ClientError> {
        self.get("/v1/generations")
    }

    /// Has the daemon step back to an earlier configuration; when this returns, that is done.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`]; after a refusal everything is as it was.
    pub fn rollback(&self, rollback: &crate::Rollback) -> Result<crate::Applied, ClientError> {
        read(&self.post("/v1/rollback", rollback)?)
    }

    /// Asks the daemon to stop.
    ///
    /// # Errors
    ///
    /// Every [`ClientError`].
    pub fn stop(&self, stop: Stop) -> Result<(), ClientError> {
        self.post("/v1/stop", &stop).map(drop)
    }

    fn get<T: DeserializeOwned>(&self, route: &str) -> Result<T, ClientError> {
        let body = run(async {
            let answer = self.ask(Method::GET, route, Bytes::new()).await?;
            self.collect(answer).await
        })?;
        read(&body)
    }

    fn post(&self, route: &str, body: &impl Serialize) -> Result<Bytes, ClientError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| ClientError::Local(std::io::Error::other(error)))?;
        run(async {
            let answer = self.ask(Method::POST, route, body.into()).await?;
            self.collect(answer).await
        })
    }

    /// Sends one request; an answer that is not a success has become the error.
    async fn ask(
        &self,
        method: Method,
        route: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        self.ask_for(method, route, "application/json", body).await
    }

    /// The same, with the form of answer that is wanted.
    pub(crate) async fn ask_for(
        &self,
        method: Method,
        route: &str,
        accept: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let connected = self.in_time(self.connect()).await?;
        let stream = connected.map_err(|source| self.not_connected(source))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(unreadable)?;
        // The connection's own errors reach us through the request; it ends with the runtime.
        tokio::spawn(connection);
        let (host, token) = match &self.place {
            Place::Socket(_) => ("dirigo".to_owned(), None),
            Place::Remote(remote) => (remote.authority(), remote.token()),
        };
        let mut request = Request::builder();
        if let Some(token) = token {
            request = request.header(hyper::header::AUTHORIZATION, token);
        }
        let request = request
            .method(method)
            .uri(route)
            .header(hyper::header::HOST, host)
            .header(hyper::header::ACCEPT, accept)
            .header(hyper::header::USER_AGENT, self.program)
            .header(hyper::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| ClientError::Protocol(error.to_string()))?;
        let answer = self
            .in_time(sender.send_request(request))
            .await?
            .map_err(unreadable)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        Err(refused(status, &self.collect(answer).await?))
    }

    async fn connect(&self) -> std::io::Result<Box<dyn Wire>> {
        match &self.place {
            Place::Socket(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
            Place::Remote(remote) => remote.connect().await,
        }
    }

    fn not_connected(&self, source: std::io::Error) -> ClientError {
        let path = match &self.place {
            Place::Socket(path) => path.clone(),
            Place::Remote(remote) => {
                let url = remote.url().to_owned();
                return ClientError::NoRemote { url, source };
            }
        };
        match source.kind() {
            std::io::ErrorKind::PermissionDenied => ClientError::NotPermitted { path, source },
            _ => ClientError::Unreachable { path, source },
        }
    }

    async fn collect(&self, answer: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES);
        let collected = self.in_time(body.collect()).await?;
        Ok(collected
            .map_err(|error| ClientError::Protocol(error.to_string()))?
            .to_bytes())
    }

    async fn visit_lines(
        &self,
        answer: Response<Incoming>,
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let mut body = answer.into_body();
        let mut lines = Lines::default();
        while let Some(frame) = self.in_time(body.frame()).await? {
            let frame = frame.map_err(unreadable)?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            lines.push(data).map_err(ClientError::Protocol)?;
            while let Some(line) = lines.next_line() {
                if visit(line).is_break() {
                    return Ok(());
                }
            }
        }
        match lines.rest() {
            [] => Ok(()),
            rest => Err(ClientError::Protocol(format!(
                "the answer ends in the middle of a line ({} bytes)",
                rest.len()
            ))),
        }
    }

    pub(crate) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, ClientError> {
        tokio::time::timeout(SILENCE_MAX, work)
            .await
            .map_err(|_| ClientError::Silent {
                path: self.path().to_owned(),
            })
    }
}

/// Runs one call to its end on this thread.
pub(crate) fn run<T>(work: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(ClientError::Local)?
        .block_on(work)
}

fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(text).map_err(|error| ClientError::Protocol(error.to_string()))
}

/// What an answer outside 2xx means. One without a refusal's shape is not from our daemon's
/// routes, so its text is kept for the reader.
fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => ClientError::Refused(refusal),
        Err(_) => ClientError::Protocol(format!(
            "status {status}, {}",
            String::from_utf8_lossy(body).trim()
        )),
    }
}

pub(crate) fn unreadable(error: hyper::Error) -> ClientError {
    ClientError::Protocol(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};

    #[test]
    fn a_socket_that_is_closed_to_this_user_is_told_apart_from_one_that_nobody_serves() {
        let client = Client::new("edge");
        let denied = client.not_connected(Error::from(ErrorKind::PermissionDenied));
        assert!(matches!(denied, ClientError::NotPermitted { .. }));
        assert!(denied.to_string().contains("/run/dirigo/edge.sock"));
        let refused = client.not_connected(Error::from(ErrorKind::ConnectionRefused));
        assert!(matches!(refused, ClientError::Unreachable { .. }));
    }
}
