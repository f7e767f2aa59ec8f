//! The servers that may act as owners, in their own view. All other rules serve this one.

use standin_protocol::map::{ClusterMap, NO_SERVER, ServerState};

use super::{Health, Lease, Model, World};

impl World {
    /// Returns the map by which a server may act as an owner at this moment, if it may.
    fn owner_by(&self, id: u16) -> Option<ClusterMap> {
        let model = &self.servers[usize::from(id)];
        let is_held = |l: &Lease| l.until > self.now && l.needs <= model.epoch;
        if model.health == Health::Dead || !model.leases.iter().any(is_held) {
            return None;
        }
        let status = model.statuses.get(usize::from(id))?;
        let is_known = status.boot_id == model.boot_id && status.state == ServerState::Online;
        let map = || ClusterMap::new(self.topology.clone(), model.epoch, model.statuses.clone());
        is_known.then(map)
    }

    pub(super) fn check_owners(&mut self) {
        let now = self.now;
        for model in &mut self.servers {
            model.leases.retain(|lease| lease.until > now);
        }
        // Only steps that change maps or leases can change this, so the others are skipped.
        let marks = |model: &Model| (model.epoch, model.leases.len(), model.boot_id);
        let marks: Vec<_> = self.servers.iter().map(marks).collect();
        if !self.checks_owners || marks == self.owners_checked {
            return;
        }
        self.owners_checked = marks;
        let maps: Vec<_> = self.ids().map(|id| self.owner_by(id)).collect();
        for partition in 0..self.topology.partitions {
            let is_owner = |id: &u16| {
                maps[usize::from(*id)].as_ref().is_some_and(|m| m.ownership(partition).owner == *id)
            };
            let owners: Vec<u16> = self.ids().filter(is_owner).collect();
            assert!(owners.len() <= 1, "two owners of {partition}: {owners:?} {:?}", self.events);
            // The owner that the master names is the only server that may act as one.
            let named = self.machine.registry().map().ownership(partition).owner;
            let is_said = self.machine.map().is_some() && named != NO_SERVER;
            let acts = owners.first();
            assert!(
                !is_said || acts.is_none_or(|acts| *acts == named),
                "{acts:?} still acts as the owner of {partition}, and {named} is named: {:?}",
                self.events
            );
        }
    }
}
