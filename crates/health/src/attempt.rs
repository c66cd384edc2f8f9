//! One attempt: asks one real server one thing, and says what it found.
//!
//! ```text
//! Route ─► socket ─► question ─► answer ─► Outcome
//!   └ own address: an ordinary socket
//!   └ true path: a leased port of crate::path, and the question who has the address by ARP
//! ```
//!
//! An attempt never takes longer than its timeout, and leaves neither socket nor process behind.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::check::{Check, Kind};
use crate::limits;
use crate::path::{Suppression, TruePath, Way};
use crate::reason::{Outcome, Reason, Share};

mod agent;
mod dns;
mod http;
mod icmp;
mod script;
mod smtp;
mod socket;
mod tls;
mod udp;

use socket::Ends;

/// How the real server is reached.
#[derive(Clone, Debug)]
pub enum Route {
    /// By an ordinary socket: its own address, or the director is the real server itself.
    Host,
    /// By frames for this real server.
    Through(Arc<TruePath>, Way),
}

/// Whom an attempt asks.
#[derive(Clone, Debug)]
pub struct Target {
    /// The real server's own address.
    pub server: IpAddr,
    /// Where the packets go: the virtual address or the own one, and the port.
    pub to: SocketAddr,
    /// How.
    pub route: Route,
}

/// Asks once.
pub async fn attempt(check: &Check, target: &Target) -> Outcome {
    let started = Instant::now();
    let watched = if check.suppression {
        watch(target)
    } else {
        None
    };
    let ends = Ends::new(target);
    let asked = ask(check, target, &ends);
    let found = match tokio::time::timeout(check.pace.timeout, asked).await {
        Ok(found) => found,
        Err(_) if ends.stage() == script::WAITING => Err(Reason::Local(format!(
            "{} scripts run already: check less often, or with faster ones",
            limits::SCRIPTS
        ))),
        Err(_) => Err(Reason::Timeout {
            stage: ends.stage(),
            after: check.pace.timeout,
        }),
    };
    if ends.was_forwarded() {
        return Outcome::Failed(Reason::Forwarded {
            vip: target.to.ip(),
        });
    }
    match found {
        Ok(share) => match watched.and_then(|watched| watched.finding(target, started)) {
            Some(reason) => Outcome::Failed(reason),
            None => Outcome::Passed {
                took: started.elapsed(),
                share,
            },
        },
        Err(reason) => Outcome::Failed(reason),
    }
}

async fn ask(check: &Check, target: &Target, ends: &Ends<'_>) -> Result<Option<Share>, Reason> {
    match &check.kind {
        Kind::Tcp => ends.connect().await.map(drop)?,
        Kind::Http(http) => http::ask(http, ends).await?,
        Kind::Dns(dns) => dns::ask(dns, ends).await?,
        Kind::Udp(udp) => udp::ask(udp, ends, check.pace.timeout).await?,
        Kind::Smtp(smtp) => smtp::ask(smtp, ends).await?,
        Kind::Icmp => icmp::ask(ends).await?,
        Kind::Script(script) => script::ask(script, target, ends).await?,
        Kind::Agent => return agent::ask(ends).await.map(Some),
    }
    Ok(None)
}

/// The real server is asked for the virtual address's MAC while the check runs.
struct Watched {
    path: Arc<TruePath>,
    way: Way,
}

fn watch(target: &Target) -> Option<Watched> {
    let Route::Through(path, way) = &target.route else {
        return None;
    };
    if let Err(error) = path.ask_for(way, target.to.ip()) {
        tracing::debug!(%error, "the question who has a virtual address is lost");
    }
    Some(Watched {
        path: Arc::clone(path),
        way: way.clone(),
    })
}

impl Watched {
    /// Its answer came before that of the check: the question was sent first.
    fn finding(&self, target: &Target, since: Instant) -> Option<Reason> {
        let vip = target.to.ip();
        match self.path.suppression(self.way.mac, vip, since) {
            Suppression::Silent => None,
            Suppression::Answers => Some(Reason::Answers { vip }),
            Suppression::Announces => Some(Reason::Announces { vip }),
        }
    }
}

/// What is left of a timeout that began then; at least a millisecond.
fn left(timeout: Duration, since: Instant) -> Duration {
    timeout
        .saturating_sub(since.elapsed())
        .max(Duration::from_millis(1))
}
