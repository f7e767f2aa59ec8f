//! The levels of events, in the log and in the event file.

use tracing::Level;

use super::{MasterEvent, OfflineReason};

impl MasterEvent {
    /// Whether the event repeats while nothing changes. Logs show such events only on demand.
    #[must_use]
    pub fn is_routine(&self) -> bool {
        match self {
            Self::Probing { attempt, .. } | Self::ProbeFailed { attempt, .. } => *attempt == 0,
            Self::ProbeAsked { .. } | Self::ProbeTold { .. } | Self::Discounted { .. } => true,
            Self::Acked { .. } | Self::DrainOverdue { .. } => true,
            _ => false,
        }
    }

    /// Whether the event changes the state of a server or of the master itself. Warnings, which are
    /// repeated while their reason lasts, do not count.
    #[must_use]
    pub fn is_change(&self) -> bool {
        !self.is_routine()
            && !matches!(
                self,
                Self::Reported { .. }
                    | Self::ReportedOk { .. }
                    | Self::Silent { .. }
                    | Self::Probing { .. }
                    | Self::ProbeOk { .. }
                    | Self::ProbeFailed { .. }
                    | Self::Unacknowledged { .. }
                    | Self::Distrusted { .. }
                    | Self::NotSaved { .. }
            )
    }

    /// Returns the level in the log: ERROR if the master can't do its work, WARN if a server is out
    /// of service.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::CapReached { .. } | Self::Frozen { .. } | Self::NotSaved { .. } => Level::ERROR,
            Self::MarkedOffline { reason: OfflineReason::Leaving, .. } => Level::INFO,
            Self::MarkedOffline { .. } | Self::MarkedWaiting { .. } => Level::WARN,
            Self::Unacknowledged { .. } | Self::Distrusted { .. } => Level::WARN,
            Self::OriginDown { .. } | Self::OtherMode { .. } | Self::HeldDown { .. } => Level::WARN,
            _ if self.is_routine() => Level::DEBUG,
            _ => Level::INFO,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use standin_protocol::map::MapEpoch;

    use super::*;
    use crate::event::Reporter;
    use crate::machine::ProbeFailure;

    /// Operators define alerts by level, and the event file contains only changes.
    #[test]
    fn each_event_has_its_level_and_kind() {
        let (server, epoch) = (0, MapEpoch::default());
        let (failure, shard) = (ProbeFailure::Timeout, 0);
        let offline = |reason| MasterEvent::MarkedOffline { server, epoch, reason };
        let waiting = MasterEvent::MarkedWaiting {
            server,
            epoch,
            at_most: Duration::ZERO,
            reason: OfflineReason::Verdict,
        };
        let by = Reporter::Server(1);
        let silent =
            MasterEvent::Unacknowledged { server, others: 0, epoch, waited: Duration::ZERO };
        let hold_down = Duration::ZERO;
        let from = ([127, 0, 0, 1], 1).into();
        // (event, level, whether it is routine, whether it is a change)
        let table = [
            (MasterEvent::CapReached { offline: 1, max: 1 }, Level::ERROR, false, true),
            (MasterEvent::Frozen { server }, Level::ERROR, false, true),
            (MasterEvent::NotSaved { epoch }, Level::ERROR, false, false),
            (offline(OfflineReason::Verdict), Level::WARN, false, true),
            (offline(OfflineReason::Origin), Level::WARN, false, true),
            (offline(OfflineReason::Leaving), Level::INFO, false, true),
            (waiting, Level::WARN, false, true),
            (silent, Level::WARN, false, false),
            (MasterEvent::Distrusted { server, from }, Level::WARN, false, false),
            (MasterEvent::OriginDown { server }, Level::WARN, false, true),
            (MasterEvent::OtherMode { server, is_strict: true }, Level::WARN, false, true),
            (MasterEvent::HeldDown { server, hold_down }, Level::WARN, false, true),
            (MasterEvent::Online { server, epoch }, Level::INFO, false, true),
            (MasterEvent::Learned, Level::INFO, false, true),
            (MasterEvent::Reported { server, by }, Level::INFO, false, false),
            (MasterEvent::Probing { server, attempt: 1 }, Level::INFO, false, false),
            (MasterEvent::Probing { server, attempt: 0 }, Level::DEBUG, true, false),
            (
                MasterEvent::ProbeFailed { server, attempt: 0, shard, failure },
                Level::DEBUG,
                true,
                false,
            ),
            (
                MasterEvent::ProbeFailed { server, attempt: 2, shard, failure },
                Level::INFO,
                false,
                false,
            ),
            (MasterEvent::ProbeAsked { server, peers: 1 }, Level::DEBUG, true, false),
            (MasterEvent::Discounted { server, by }, Level::DEBUG, true, false),
            (MasterEvent::Acked { server, epoch }, Level::DEBUG, true, false),
            (MasterEvent::DrainOverdue { server, peer: 1 }, Level::DEBUG, true, false),
        ];
        for (event, level, is_routine, is_change) in table {
            let told = (event.level(), event.is_routine(), event.is_change());
            assert_eq!(told, (level, is_routine, is_change), "{event:?}");
        }
    }
}
