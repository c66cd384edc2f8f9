//! Metrics are text of their own forms, not JSON: passed on as they come.

use std::ops::ControlFlow;

use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Bytes;

use crate::client::{Client, ClientError, run, unreadable};

/// A text form of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// Prometheus text, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl MetricsFormat {
    /// What an `Accept` says to get it.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain;version=0.0.4",
            Self::OpenMetrics => "application/openmetrics-text;version=1.0.0",
        }
    }
}

impl Client {
    /// Shows the metrics to `visit` in pieces, as they arrive, until it says [`ControlFlow::Break`].
    ///
    /// # Errors
    ///
    /// Every [`ClientError`]; pieces before the error have been visited.
    pub fn metrics(
        &self,
        format: MetricsFormat,
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        run(async {
            let accept = format.media_type();
            let answer = self.ask_for(Method::GET, "/metrics", accept, Bytes::new());
            let mut body = answer.await?.into_body();
            while let Some(frame) = self.in_time(body.frame()).await? {
                let frame = frame.map_err(unreadable)?;
                if let Some(data) = frame.data_ref()
                    && visit(data).is_break()
                {
                    break;
                }
            }
            Ok(())
        })
    }
}
