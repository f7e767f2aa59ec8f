//! Assembles states that arrive in several datagrams.
//!
//! Different states never have the same epoch, so parts of one epoch belong together, no matter who
//! sent them and how often. A lost part is taken from the next time that the states are sent.

use std::time::Duration;

use crate::map::{MapEpoch, ServerStatus};
use crate::time::Micros;

/// The parts received of the newest epoch.
#[derive(Debug, Default)]
pub struct Assembly {
    epoch: MapEpoch,
    begun: Micros,
    missing: usize,
    statuses: Vec<Option<ServerStatus>>,
}

impl Assembly {
    /// Takes the states of the servers from `first` on, and returns those of all `servers` once
    /// they are complete. Parts of an epoch older than the one being assembled are dropped. So is
    /// an assembly that began longer than `patience` ago: a master that has lost its state file may
    /// reuse an epoch that its predecessor had only partly sent.
    pub fn add(
        &mut self,
        now: Micros,
        patience: Duration,
        servers: usize,
        epoch: MapEpoch,
        first: u16,
        statuses: Vec<ServerStatus>,
    ) -> Option<Vec<ServerStatus>> {
        if first == 0 && statuses.len() == servers {
            return Some(statuses);
        }
        let first = usize::from(first);
        if statuses.is_empty() || first + statuses.len() > servers {
            return None;
        }
        let is_over = self.missing == 0 || now >= self.begun + patience;
        if !is_over && epoch < self.epoch {
            return None;
        }
        if is_over || epoch > self.epoch {
            *self = Self { epoch, begun: now, missing: servers, statuses: vec![None; servers] };
        }
        for (place, status) in self.statuses[first..].iter_mut().zip(statuses) {
            self.missing -= usize::from(place.replace(status).is_none());
        }
        if self.missing > 0 {
            return None;
        }
        std::mem::take(&mut self.statuses).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Datagram, DatagramKind, STATES_PER_DATAGRAM};
    use crate::map::ServerState;

    const PATIENCE: Duration = Duration::from_secs(2);
    const NOW: Micros = Micros(1_000_000);

    fn states(servers: u64, state: ServerState) -> Vec<ServerStatus> {
        (0..servers).map(|id| ServerStatus { state, boot_id: id, ..Default::default() }).collect()
    }

    fn epoch(counter: u32) -> MapEpoch {
        MapEpoch { term: 1, counter }
    }

    fn parts(servers: u64, counter: u32, state: ServerState) -> Vec<Datagram> {
        let whole =
            Datagram { epoch: epoch(counter), ..Datagram::new(DatagramKind::Announce, 1, 1, 1) };
        Datagram { statuses: states(servers, state), ..whole }.parts()
    }

    fn add(all: &mut Assembly, now: Micros, part: &Datagram) -> Option<Vec<ServerStatus>> {
        all.add(now, PATIENCE, 60, part.epoch, part.first, part.statuses.clone())
    }

    #[test]
    fn parts_come_in_any_order_and_any_number_of_times() {
        let parts = parts(60, 7, ServerState::Online);
        let sizes: Vec<usize> = parts.iter().map(|part| part.statuses.len()).collect();
        assert_eq!(sizes, [STATES_PER_DATAGRAM, STATES_PER_DATAGRAM, 60 - 2 * STATES_PER_DATAGRAM]);
        let mut all = Assembly::default();
        for at in [2, 0, 2, 0] {
            assert_eq!(add(&mut all, NOW, &parts[at]), None);
        }
        let whole = Some(states(60, ServerState::Online));
        assert_eq!(add(&mut all, NOW, &parts[1]), whole);
        assert_eq!(add(&mut all, NOW, &parts[1]), None, "it begins anew");
    }

    #[test]
    fn a_newer_epoch_takes_the_place_of_an_older_one_and_never_mixes_with_it() {
        let (old, new) = (parts(60, 7, ServerState::Online), parts(60, 8, ServerState::Offline));
        let mut all = Assembly::default();
        assert_eq!(add(&mut all, NOW, &old[0]), None);
        assert_eq!(add(&mut all, NOW, &new[1]), None);
        for part in [&old[1], &old[2], &old[0], &new[0]] {
            assert_eq!(add(&mut all, NOW, part), None);
        }
        assert_eq!(add(&mut all, NOW, &new[2]), Some(states(60, ServerState::Offline)));
    }

    #[test]
    fn what_was_begun_long_ago_is_not_completed() {
        let (old, other) = (parts(60, 8, ServerState::Online), parts(60, 7, ServerState::Offline));
        let mut all = Assembly::default();
        assert_eq!(add(&mut all, NOW, &old[0]), None);
        assert_eq!(add(&mut all, NOW + PATIENCE, &old[1]), None);
        assert_eq!(add(&mut all, NOW + PATIENCE, &old[2]), None, "the first part is forgotten");
        // Also not by a master that has gone back.
        for part in &other[..2] {
            assert_eq!(add(&mut all, NOW + PATIENCE * 2, part), None);
        }
        let whole = add(&mut all, NOW + PATIENCE * 2, &other[2]);
        assert_eq!(whole, Some(states(60, ServerState::Offline)));
    }

    #[test]
    fn what_does_not_fit_is_dropped() {
        let mut all = Assembly::default();
        let mut try_one = |first, count| {
            all.add(NOW, PATIENCE, 60, epoch(1), first, states(count, ServerState::Online))
        };
        assert_eq!(try_one(0, 0), None);
        assert_eq!(try_one(1, 60), None);
        assert_eq!(try_one(60, 1), None);
        assert_eq!(try_one(u16::MAX, 1), None);
        assert_eq!(try_one(0, 60), Some(states(60, ServerState::Online)), "all in one");
    }
}
