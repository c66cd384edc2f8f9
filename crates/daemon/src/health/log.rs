//! What the journal says of health.

use health::check::To;
use health::probe::Standing;
use health::state::News;
use tracing::{info, warn};

use super::Health;

impl Health {
    /// One line for each change.
    pub(crate) fn log(&self, news: &[News]) {
        for one in news {
            match one {
                News::Probe { key, change } => {
                    let (server, to, check) = (key.server, key.to, &*key.check);
                    let to = match self.wanted.checks.get(check).map(|check| check.to) {
                        Some(To::Vip) => format!("virtual address {to}"),
                        _ => format!("own address {to}"),
                    };
                    let is_new = change.was != change.standing;
                    match (&change.reason, change.standing) {
                        (Some(reason), Standing::Down) if is_new => {
                            let reason = reason.to_string();
                            warn!(%server, to, check, reason, "health: down");
                        }
                        (Some(reason), Standing::Down) => {
                            let reason = reason.to_string();
                            info!(%server, to, check, reason, "health: still down");
                        }
                        (Some(reason), _) => {
                            let reason = reason.to_string();
                            warn!(%server, to, check, reason, "health: cannot be checked");
                        }
                        (None, Standing::Up) if is_new => {
                            info!(%server, to, check, "health: up");
                        }
                        _ => {}
                    }
                }
                News::Quorum { service, quorum } => {
                    let (sum, needed) = (quorum.sum, quorum.needed);
                    match quorum.held {
                        true => info!(%service, sum, needed, "health: quorum gained"),
                        false => warn!(%service, sum, needed, "health: quorum lost"),
                    }
                }
                News::Sorry {
                    service,
                    server,
                    serves: true,
                } => warn!(%service, %server, "health: the sorry server serves"),
                News::Sorry {
                    service, server, ..
                } => info!(%service, %server, "health: the sorry server rests"),
                News::Ended { service } => info!(%service, "health: checks end"),
                News::Destination { .. } | News::Configured { .. } => {}
            }
        }
    }
}
