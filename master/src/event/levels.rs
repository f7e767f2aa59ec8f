//! What an event is worth: in the log, and in the file of events.

use tracing::Level;

use super::{MasterEvent, OfflineReason};

impl MasterEvent {
    /// Whether this goes on happening while nothing changes: logs show it only on demand.
    #[must_use]
    pub fn is_routine(&self) -> bool {
        match self {
            Self::Probing { attempt, .. } | Self::ProbeFailed { attempt, .. } => *attempt == 0,
            Self::ProbeAsked { .. } | Self::ProbeTold { .. } | Self::Discounted { .. } => true,
            Self::Acked { .. } | Self::DrainOverdue { .. } => true,
            _ => false,
        }
    }

    /// Whether the states of the servers or the master's own are others now. Complaints, which
    /// are repeated while their reason lasts, are for the log.
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

    /// How the log has it: ERROR when the master can't do its work, WARN when a server is out.
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
