//! The master's counters and its view of every server, as the metrics have them.

use std::time::Duration;

use standin_protocol::counters::{Figure, Sample, samples};
use standin_protocol::map::ServerState;
use standin_protocol::time::Micros;

use super::Machine;
use crate::counters::{
    Counters, InfoFigures, MasterFigures, PortCounters, StateFigures, ViewFigures,
};
use crate::phase::Phase;

impl Machine {
    /// The figures of [`Self::samples`], for documents.
    pub fn figures() -> impl Iterator<Item = &'static Figure> {
        let lists = [
            Counters::FIGURES,
            PortCounters::FIGURES,
            MasterFigures::FIGURES,
            InfoFigures::FIGURES,
            ViewFigures::FIGURES,
            StateFigures::FIGURES,
        ];
        lists.into_iter().flatten()
    }

    /// The figures now. The machine does not know the number of log lines that were lost, the counters of the port, and
    /// the names of the groups.
    #[must_use]
    pub fn samples(
        &self,
        now: Micros,
        log_lines_lost: u64,
        port: &PortCounters,
        groups: &[String],
    ) -> Vec<Sample> {
        let of_master = MasterFigures {
            term: self.term().into(),
            map_epoch: self.registry.published_epoch().to_u64(),
            is_announcing: self.registry.is_announcing().into(),
            servers_out: self.out_by_verdict() as u64,
            servers_out_max: self.rules.offline_servers_max as u64,
            log_lines_lost,
            loop_age_us: 0,
        };
        let mut all: Vec<Sample> =
            samples(Counters::FIGURES, self.counters.values(), &[]).collect();
        all.extend(samples(PortCounters::FIGURES, port.values(), &[]));
        all.extend(samples(MasterFigures::FIGURES, of_master.values(), &[]));
        let info = InfoFigures { info: 1 };
        all.extend(samples(InfoFigures::FIGURES, info.values(), &[&*self.topology.name]));
        let mut silent_us = vec![0; self.servers.len()];
        if self.registry.is_announcing() {
            for (server, silence) in self.registry.unacknowledged(now, Duration::ZERO) {
                silent_us[usize::from(server)] = micros(silence);
            }
        }
        let statuses = self.registry.published().iter().zip(&self.topology.servers);
        for ((server, (status, info)), unacknowledged_us) in
            self.servers.iter().zip(statuses).zip(silent_us)
        {
            let group = &*groups[usize::from(info.group)];
            let view = ViewFigures {
                server_silent_us: micros(now.since(server.verify.heard_at())),
                server_probing: server.verify.probe_under_way().is_some().into(),
                server_withheld: matches!(server.verify.phase(), Phase::Frozen { .. }).into(),
                server_stopped: is_stopped(status.state, server.by_verdict).into(),
                server_unacknowledged_us: unacknowledged_us,
            };
            all.extend(samples(ViewFigures::FIGURES, view.values(), &[&*info.name, group]));
            for state in ServerState::ALL {
                let value = StateFigures { server_state: (status.state == *state).into() };
                let labels = [&*info.name, group, state.name()];
                all.extend(samples(StateFigures::FIGURES, value.values(), &labels));
            }
        }
        all
    }
}

/// Whether the server leaves, or is offline because it has left.
fn is_stopped(state: ServerState, by_verdict: bool) -> bool {
    match state {
        ServerState::Leaving => true,
        ServerState::Offline => !by_verdict,
        ServerState::Online | ServerState::Returning | ServerState::Waiting => false,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
