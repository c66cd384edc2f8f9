//! Models of the data plane and the host that fail when told to, for tests of the actor.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;

use control::{Action, HostAddress, Reach, Schedule};

use crate::host::{Host, Interface};
use crate::metrics::Readings;
use crate::plane::{Listing, Plane};

/// Actions that still succeed, shared by plane and host.
#[derive(Clone, Default)]
pub(crate) struct Budget {
    /// `None` for all.
    left: Rc<Cell<Option<usize>>>,
    /// Whether everything works again after one failure.
    heals: Rc<Cell<bool>>,
}

impl Budget {
    /// Has everything fail after `left` actions, or with `heals` only the next one.
    pub(crate) fn set(&self, left: Option<usize>, heals: bool) {
        self.left.set(left);
        self.heals.set(heals);
    }

    fn spend(&self) -> anyhow::Result<()> {
        match self.left.get() {
            Some(0) => {
                if self.heals.get() {
                    self.left.set(None);
                }
                anyhow::bail!("the model's budget is spent");
            }
            Some(left) => self.left.set(Some(left - 1)),
            None => {}
        }
        Ok(())
    }
}

/// What the maps hold.
#[derive(Default)]
pub(crate) struct ModelPlane {
    pub(crate) budget: Budget,
    pub(crate) published: BTreeMap<api::ServiceKey, (u32, Schedule)>,
    pub(crate) reach: BTreeMap<u32, Reach>,
    pub(crate) looked_at: Vec<IpAddr>,
    pub(crate) released: bool,
    /// Whether no destination has connections.
    pub(crate) is_idle: bool,
    pub(crate) templates: std::collections::HashMap<u32, u32>,
    pub(crate) attached: BTreeSet<u32>,
    pub(crate) interface: Rc<Cell<Option<u32>>>,
}

impl Plane for ModelPlane {
    fn carry_out(&mut self, action: &Action) -> anyhow::Result<()> {
        self.budget.spend()?;
        match action {
            Action::PublishService {
                key,
                service,
                schedule,
                ..
            } => {
                self.published.insert(*key, (*service, schedule.clone()));
            }
            Action::WithdrawService { key } => {
                self.published.remove(key);
            }
            Action::WriteDestination { id, reach, .. } => {
                self.reach.insert(*id, *reach);
            }
            Action::WriteVips { addresses, .. } => self.looked_at.clone_from(addresses),
            _ => {}
        }
        Ok(())
    }

    fn picks(&self, _service: u32) -> u64 {
        0
    }

    fn is_renewed(&self, _service: u32) -> bool {
        false
    }

    fn gauges(&self, _id: u32) -> (u32, u32) {
        if self.is_idle { (0, 0) } else { (1, 2) }
    }

    fn stats(&self, _id: u32) -> api::Stats {
        api::Stats::default()
    }

    fn stats_of(&self, ids: &[u32]) -> Vec<api::Stats> {
        vec![api::Stats::default(); ids.len()]
    }

    fn is_overloaded(&self, _id: u32) -> bool {
        false
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    fn templates(&self) -> std::collections::HashMap<u32, u32> {
        self.templates.clone()
    }

    fn unanswered(
        &self,
        _ids: &BTreeSet<u32>,
    ) -> std::collections::HashMap<u32, dataplane::Unanswered> {
        std::collections::HashMap::new()
    }

    fn let_go(&mut self, _ids: &BTreeSet<u32>) -> u64 {
        self.is_idle = true;
        3
    }

    fn turn_templates(&mut self, ids: &BTreeSet<u32>) -> u64 {
        self.templates.retain(|id, _| !ids.contains(id));
        0
    }

    fn sweep(&self, _parts: usize) {}

    fn explain(
        &self,
        _flow: &dataplane::Flow,
        _dead: Option<u32>,
    ) -> anyhow::Result<dataplane::Explanation> {
        anyhow::bail!("a model forwards nothing")
    }

    fn explain_frame(
        &self,
        _bytes: &[u8],
        _dead: Option<u32>,
    ) -> anyhow::Result<dataplane::Explanation> {
        anyhow::bail!("a model forwards nothing")
    }

    fn ingress_macs(&self) -> Vec<[u8; 6]> {
        Vec::new()
    }

    fn watched_loader(&self) -> anyhow::Result<dataplane::WatchedLoader> {
        anyhow::bail!("a model forwards nothing")
    }

    fn begin_to_watch(&mut self, _watched: dataplane::Watched) -> anyhow::Result<dataplane::Watch> {
        anyhow::bail!("a model forwards nothing")
    }

    fn end_to_watch(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn guide(&self) -> anyhow::Result<dataplane::Guide> {
        anyhow::bail!("a model forwards nothing")
    }

    fn readings(&self) -> Box<dyn Readings> {
        Box::new(ModelReadings)
    }

    fn listing(&self) -> Listing {
        Box::new(|_| {})
    }

    fn published(&self) -> Vec<api::ServiceKey> {
        self.published.keys().copied().collect()
    }

    fn attached(&self) -> Vec<(String, u32, &'static str)> {
        let attached = self.attached.iter();
        attached
            .map(|index| ("eth0".to_owned(), *index, "native"))
            .collect()
    }

    fn attach(&mut self, _interface: &str, _native: bool) -> anyhow::Result<&'static str> {
        self.attached.extend(self.interface.get());
        Ok("native")
    }

    fn detach(&mut self, index: u32) -> anyhow::Result<()> {
        self.attached.remove(&index);
        Ok(())
    }

    fn size(&self) -> (u64, u64) {
        (4096, 1024)
    }

    fn release(&mut self) -> anyhow::Result<()> {
        self.released = true;
        Ok(())
    }
}

/// Nothing was ever forwarded but two packets for each destination.
pub(crate) struct ModelReadings;

impl Readings for ModelReadings {
    fn stats(&self, _id: u32) -> api::Stats {
        api::Stats {
            packets: 2,
            ..api::Stats::default()
        }
    }

    fn gauges(&self, _id: u32) -> (u32, u32) {
        (1, 2)
    }

    fn is_overloaded(&self, _id: u32) -> bool {
        false
    }

    fn population(&self, _service: u32) -> u64 {
        3
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let names = director::verdict::counter_names();
        names.map(|(_, name)| (name, 0)).collect()
    }

    fn states(&self) -> Vec<dataplane::StateCount> {
        Vec::new()
    }
}

/// The host's virtual addresses.
#[derive(Default)]
pub(crate) struct ModelHost {
    pub(crate) budget: Budget,
    pub(crate) vips: BTreeSet<IpAddr>,
    /// The number of `eth0`, shared with the plane; none while it is gone.
    pub(crate) interface: Rc<Cell<Option<u32>>>,
}

impl Host for ModelHost {
    fn addresses(&self) -> anyhow::Result<Vec<HostAddress>> {
        let own = HostAddress {
            interface: "eth0".to_owned(),
            address: IpAddr::from([192, 0, 2, 2]),
            prefix: 24,
        };
        let vips = self.vips.iter().map(|vip| HostAddress {
            address: *vip,
            prefix: 32,
            ..own.clone()
        });
        Ok(vips.chain([own.clone()]).collect())
    }

    fn interfaces(&self) -> anyhow::Result<Vec<Interface>> {
        let there = self.interface.get().into_iter();
        Ok(there
            .map(|index| Interface {
                index,
                name: "eth0".to_owned(),
                mac: [2; 6],
            })
            .collect())
    }

    fn add_vip(&mut self, address: IpAddr, _interface: &str) -> anyhow::Result<bool> {
        self.budget.spend()?;
        anyhow::ensure!(self.interface.get().is_some(), "there is no eth0");
        Ok(self.vips.insert(address))
    }

    fn remove_vip(&mut self, address: IpAddr, _interface: &str) -> anyhow::Result<()> {
        self.budget.spend()?;
        self.vips.remove(&address);
        Ok(())
    }

    fn announce(&mut self, _address: IpAddr, _interface: &str) -> anyhow::Result<()> {
        Ok(())
    }
}
