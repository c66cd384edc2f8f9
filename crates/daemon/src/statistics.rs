//! Rates and connections for those who draw them: read once a second, for all of them together.
//!
//! ```text
//!            every second, while somebody listens
//! ticker ── Message::Statistics ──► actor (gauges, estimates: no system call)
//!    │ one sample, shared
//!    ├──► listener ── what is different from the one before ──► its stream
//!    └──► listener …     a slow one skips samples and holds up nobody
//! ```
//!
//! Nothing runs and nothing is read while nobody listens.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::{DestinationFigures, ServiceFigures, ServiceKey, Statistics, TotalFigures};
use tokio::sync::watch;

use crate::limits;
use crate::message::Message;
use crate::server::Desk;

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) time_ms: u64,
    pub(crate) total: TotalFigures,
    pub(crate) services: BTreeMap<ServiceKey, ServiceFigures>,
    /// Of the services of which somebody wants them.
    pub(crate) destinations: BTreeMap<ServiceKey, BTreeMap<SocketAddr, DestinationFigures>>,
    /// For how long the actor was busy with it.
    pub(crate) took: Duration,
}

/// The last sample; `None` before the first.
type Last = Option<Arc<Sample>>;

/// Where listeners come to.
#[derive(Default)]
pub(crate) struct Hub(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// What the ticker tells, while there is one.
    told: Option<watch::Sender<Last>>,
    /// Services whose destinations are wanted, and by how many.
    wanted: HashMap<ServiceKey, usize>,
}

/// Somebody who listens.
pub(crate) struct Listener {
    hub: Arc<Hub>,
    service: Option<ServiceKey>,
    samples: watch::Receiver<Last>,
    before: Last,
}

impl Hub {
    /// Listens from now on; who comes first wakes the ticker. Call it inside the runtime.
    pub(crate) fn listen(self: &Arc<Self>, service: Option<ServiceKey>, desk: &Desk) -> Listener {
        let mut inner = self.inner();
        if let Some(service) = service {
            *inner.wanted.entry(service).or_default() += 1;
        }
        let samples = match &inner.told {
            Some(told) => told.subscribe(),
            None => {
                let (told, samples) = watch::channel(None);
                inner.told = Some(told);
                tokio::spawn(tick(Arc::clone(self), desk.clone()));
                samples
            }
        };
        Listener {
            hub: Arc::clone(self),
            service,
            samples,
            before: None,
        }
    }

    /// Services whose destinations are wanted; `None` if nobody listens: the ticker has ended then.
    fn wanted(&self) -> Option<Vec<ServiceKey>> {
        let mut inner = self.inner();
        let listens = inner.told.as_ref().is_some_and(|told| !told.is_closed());
        if !listens {
            inner.told = None;
            return None;
        }
        Some(inner.wanted.keys().copied().collect())
    }

    fn tell(&self, sample: Sample) {
        if let Some(told) = &self.inner().told {
            told.send_replace(Some(Arc::new(sample)));
        }
    }

    /// No more comes: the daemon ends.
    fn end(&self) {
        self.inner().told = None;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks and tells until nobody listens, or the actor has gone.
async fn tick(hub: Arc<Hub>, desk: Desk) {
    while let Some(wanted) = hub.wanted() {
        let mut pause = limits::STATISTICS;
        match desk.ask(|reply| Message::Statistics(wanted, reply)).await {
            Ok(mut sample) => {
                sample.time_ms = now_ms();
                pause = pause.max(sample.took * limits::STATISTICS_SHARE);
                hub.tell(sample);
            }
            // It is busy: the next one will do.
            Err(refused) if refused.0.code == api::RefusalCode::Full => {}
            Err(_) => return hub.end(),
        }
        tokio::time::sleep(pause).await;
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

impl Listener {
    /// What is different from the last time; `None` when no more comes.
    pub(crate) async fn next(&mut self) -> Option<Statistics> {
        loop {
            // One that came before us is taken, too.
            let last = self.samples.borrow_and_update().clone();
            let is_new = |last: &Arc<Sample>| {
                let before = self.before.as_ref();
                before.is_none_or(|before| !Arc::ptr_eq(before, last))
            };
            if let Some(last) = last.filter(is_new) {
                let different = different(self.before.as_deref(), &last, self.service);
                self.before = Some(last);
                return Some(different);
            }
            self.samples.changed().await.ok()?;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some(service) = self.service else { return };
        let mut inner = self.hub.inner();
        if let Some(count) = inner.wanted.get_mut(&service) {
            *count -= 1;
            if *count == 0 {
                inner.wanted.remove(&service);
            }
        }
    }
}

fn different(before: Option<&Sample>, now: &Sample, service: Option<ServiceKey>) -> Statistics {
    let nothing = Sample::default();
    let before = before.unwrap_or(&nothing);
    let none = BTreeMap::new();
    let of = |sample: &Sample| {
        let service = service.as_ref()?;
        sample.destinations.get(service).cloned()
    };
    Statistics {
        time_ms: now.time_ms,
        total: now.total,
        services: changed(&before.services, &now.services),
        destinations: changed(
            of(before).as_ref().unwrap_or(&none),
            of(now).as_ref().unwrap_or(&none),
        ),
    }
}

/// What is new or another now, and with `None` what is there no more.
fn changed<K: Ord + Copy, V: PartialEq + Copy>(
    before: &BTreeMap<K, V>,
    now: &BTreeMap<K, V>,
) -> BTreeMap<K, Option<V>> {
    let others = now
        .iter()
        .filter(|(key, value)| before.get(key) != Some(value));
    let others = others.map(|(key, value)| (*key, Some(*value)));
    let gone = before.keys().filter(|key| !now.contains_key(key));
    others.chain(gone.map(|key| (*key, None))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(services: &[(u16, u64)]) -> Sample {
        let services = services.iter().map(|(port, packets)| {
            let figures = ServiceFigures(0, *packets, 0, 0, 0, 1, 1);
            (key(*port), figures)
        });
        Sample {
            services: services.collect(),
            ..Sample::default()
        }
    }

    fn key(port: u16) -> ServiceKey {
        format!("tcp:192.0.2.100:{port}").parse().unwrap()
    }

    #[test]
    fn the_first_has_everything_and_the_next_what_is_different() {
        let first = sample(&[(80, 1), (81, 1), (82, 1)]);
        let all = different(None, &first, None);
        assert_eq!(all.services.len(), 3);
        assert_eq!(different(Some(&first), &first, None).services.len(), 0);

        let next = sample(&[(80, 1), (81, 2), (83, 0)]);
        let told = different(Some(&first), &next, None).services;
        assert!(!told.contains_key(&key(80)), "it is as it was");
        assert_eq!(told[&key(81)].map(|figures| figures.1), Some(2));
        assert_eq!(told[&key(82)], None, "it has gone");
        assert!(told[&key(83)].is_some(), "it is new");
    }

    #[test]
    fn destinations_are_those_of_the_service_that_was_asked_for() {
        let mut one = sample(&[(80, 1), (81, 1)]);
        let address = "192.0.2.11:80".parse().unwrap();
        let figures = DestinationFigures(1, 2, 3, 4, 5, 6);
        let of = BTreeMap::from([(address, figures)]);
        one.destinations.insert(key(80), of);
        assert_eq!(different(None, &one, Some(key(80))).destinations.len(), 1);
        assert_eq!(different(None, &one, Some(key(81))).destinations.len(), 0);
        assert_eq!(different(None, &one, None).destinations.len(), 0);
        let gone = different(Some(&one), &sample(&[(81, 1)]), Some(key(80)));
        assert_eq!(gone.destinations[&address], None);
    }
}
