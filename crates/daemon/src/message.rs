//! What the actor is told and asked.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::{Refusal, Service, Status};
use tokio::sync::oneshot;

use crate::actor::{Basis, Job};
use crate::metrics::Snapshot;
use crate::plane::Listing;
use crate::resolver::Notice;

/// One message.
pub(crate) enum Message {
    /// `GET /v1/status`
    Status(oneshot::Sender<Status>),
    /// `GET /v1/services`
    Services(oneshot::Sender<Vec<Service>>),
    /// `GET /v1/marks`
    Marks(oneshot::Sender<Vec<api::MarkRule>>),
    /// `GET /v1/health`
    HealthView(oneshot::Sender<Vec<api::ServiceHealth>>),
    /// `GET /v1/segment`, as far as the table knows.
    Segment(oneshot::Sender<api::Segment>),
    /// `GET /v1/statistics`: rates and connections now, and those of the destinations of these services.
    Statistics(
        Vec<api::ServiceKey>,
        oneshot::Sender<crate::statistics::Sample>,
    ),
    /// `GET`, `POST /v1/explain`
    Explain(
        crate::explain::Question,
        oneshot::Sender<Result<api::Explanation, Refusal>>,
    ),
    /// `GET /v1/explain/server`
    ExplainServer(IpAddr, oneshot::Sender<crate::explain::Reverse>),
    /// `GET /metrics`
    Metrics(oneshot::Sender<Snapshot>),
    /// `GET /v1/connections`
    Connections(oneshot::Sender<Connections>),
    /// `POST /v1/trace`
    Trace(
        crate::trace::Asked,
        std::sync::mpsc::SyncSender<Message>,
        oneshot::Sender<Result<crate::trace::Entry, Refusal>>,
    ),
    /// A trace has ended: the number of its seat.
    TraceLeft(usize),
    /// A trace asks what things are called now.
    TraceNames(oneshot::Sender<crate::trace::Names>),
    /// `POST /v1/changes`
    Change(
        api::Change,
        api::Author,
        oneshot::Sender<Result<(), Refusal>>,
    ),
    /// `POST /v1/batches`
    Batch(
        Vec<api::Change>,
        api::Author,
        oneshot::Sender<Vec<Option<Refusal>>>,
    ),
    /// `POST /v1/apply`, SIGHUP: a configuration that was read.
    Apply(Job),
    /// `/v1/plan`: a configuration that was read; what is known is answered, and computed elsewhere.
    Plan(Arc<config::Config>, oneshot::Sender<Result<Basis, Refusal>>),
    /// `GET /v1/drift`
    Drift(oneshot::Sender<api::Drift>),
    /// SIGHUP, and the configuration cannot be read or is wrong.
    NotApplied(String),
    /// `GET /v1/maintenance`
    MaintenanceView(oneshot::Sender<Vec<api::Maintenance>>),
    /// `POST /v1/maintenance`
    Maintain(
        api::MaintenanceOrder,
        oneshot::Sender<Result<api::MaintenanceDone, Refusal>>,
    ),
    /// `POST /v1/stop`
    Stop(api::Stop, oneshot::Sender<Result<(), Refusal>>),
    /// A signal asks us to end.
    Terminate,
    /// The network told something.
    Network(Notice),
    /// Checks found something.
    Health(Vec<health::state::News>),
}

/// What a thread needs to list connections.
pub(crate) struct Connections {
    /// Real addresses by destination id.
    pub(crate) addresses: HashMap<u32, SocketAddr>,
    /// Services by their numbers.
    pub(crate) services: BTreeMap<u32, api::ServiceKey>,
    /// The connections.
    pub(crate) listing: Listing,
}
