//! The faults that are no scenarios of `standin load` (../scenario/): their scripts and their targets. Pure.
//!
//! They need a load of which a known share reads the database, the reads of the database in each moment, datagrams
//! that are lost or repeated everywhere, or what a server kept over a pause.

use std::time::Duration;

use standin_config::Mode;
use standin_loadgen::faults::proxy::Conduct;

use crate::net::{Impairment, Node};

const A1: Node = Node::Server(0);
/// The server that most faults affect, and whose keys are watched.
pub(crate) const VICTIM: u16 = 0;

/// The default length of a fault that has none of its own.
const LASTS: Duration = Duration::from_secs(8);
/// Datagram loss must last for some time to prove anything; `--seconds 600` is the full proof.
const LOSS_LASTS: Duration = Duration::from_secs(30);
const ORIGIN_DOWN: Duration = Duration::from_secs(10);
const ORIGIN_DELAY: Duration = Duration::from_millis(200);
/// The time between a death and the start of the process that replaces it.
const DEAD_FOR: Duration = Duration::from_secs(2);
/// One of this many datagrams is lost, or repeated.
const DATAGRAMS_PERCENT: u8 = 10;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// kill -9 of a server, which stays dead.
    Kill,
    /// SIGSTOP of a server, and SIGCONT.
    Pause(Duration),
    /// kill -9 of a server, and a new process.
    Restart,
    /// One datagram in ten is lost, everywhere.
    DatagramLoss,
    /// One datagram in ten arrives twice, everywhere.
    DatagramDuplication,
    /// Each call to the database takes 200 ms longer.
    OriginSlow,
    /// The database refuses connections, and has reset those it had.
    OriginDown,
}

/// An action on the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// SIGKILL.
    Kill(Node),
    /// A new process.
    Start(Node),
    /// SIGSTOP.
    Pause(Node),
    /// SIGCONT.
    Continue(Node),
    /// Sets the faults of the network from now on.
    Impair(Vec<Impairment>),
    /// Sets how the proxy treats its connections.
    Origin(Conduct),
}

/// A step of a fault's script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Carries out the action.
    Do(Action),
    /// Lets the load go on.
    Wait(Duration),
    /// Waits, up to a limit, until the master has announced that a server is online.
    UntilOnline(Node),
}

/// The actions, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    /// Causes the fault.
    pub(crate) strike: Vec<Step>,
    /// Ends it; empty for a fault that does not end.
    pub(crate) heal: Vec<Step>,
}

/// The targets of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Targets {
    /// Failures that do not miss the target.
    pub(crate) failures: Failures,
    /// The time of the first good answer for the affected server's keys, for 99 % of the clients.
    pub(crate) first_good: Option<Duration>,
    /// The longest time without a good answer to any client for the affected server's keys.
    pub(crate) silence: Option<Duration>,
    /// Largest number of partitions that a server which was only away may drop when it is back.
    pub(crate) partitions_dropped: Option<u64>,
    /// Time until it is announced to all others.
    pub(crate) announced: Option<Duration>,
    /// Largest rate of origin reads, in multiples of the steady one.
    pub(crate) origin_peak: Option<u32>,
}

/// The failed requests that do not miss the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Failures {
    /// None may fail.
    #[default]
    None,
    /// Those that need the database while it is away, and are told so.
    OriginAway,
    /// Of mode `strict`: reported, not judged.
    Reported,
}

impl Fault {
    /// The faults that `cargo xtask chaos` runs.
    pub(crate) fn defaults() -> Vec<Self> {
        vec![
            Self::Kill,
            Self::Pause(Duration::from_millis(500)),
            // It wakes while the others are deciding about it.
            Self::Pause(Duration::from_millis(900)),
            Self::Pause(Duration::from_secs(2)),
            Self::Pause(Duration::from_secs(30)),
            Self::Restart,
            Self::DatagramLoss,
            Self::DatagramDuplication,
            Self::OriginSlow,
            Self::OriginDown,
        ]
    }

    /// The name on the command line and in the table.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Kill => "kill".to_owned(),
            Self::Pause(length) => format!("pause-{}", length.as_secs_f64()),
            Self::Restart => "restart".to_owned(),
            Self::DatagramLoss => "datagram-loss".to_owned(),
            Self::DatagramDuplication => "datagram-duplication".to_owned(),
            Self::OriginSlow => "origin-slow".to_owned(),
            Self::OriginDown => "origin-down".to_owned(),
        }
    }

    /// The fault with this name, including pauses of other lengths than the default ones.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        if let Some(found) = Self::defaults().into_iter().find(|fault| fault.name() == name) {
            return Some(found);
        }
        let length = name.strip_prefix("pause-")?.parse().ok()?;
        Duration::try_from_secs_f64(length).ok().map(Self::Pause)
    }

    /// Whether it needs a network of namespaces.
    pub(crate) fn needs_namespaces(self) -> bool {
        matches!(self, Self::DatagramLoss | Self::DatagramDuplication)
    }

    /// The servers whose keys are watched from the moment when the fault affects each. The master is right to mark them
    /// offline: they do not answer anyone.
    pub(crate) fn struck(self) -> Vec<u16> {
        match self {
            Self::Kill | Self::Pause(_) | Self::Restart => vec![VICTIM],
            _ => Vec::new(),
        }
    }

    /// Length of the load before the steady state is measured. If a server's keys change their owner,
    /// servers must have had time to learn their usual load on the database, and to forget the warm-up.
    pub(crate) fn load_before(self) -> Duration {
        Duration::from_secs(if self.struck().is_empty() { 3 } else { 18 })
    }

    /// The actions. `lasts` is the length of faults that have none of their own.
    pub(crate) fn script(self, lasts: Option<Duration>) -> Script {
        use Step::{Do, UntilOnline, Wait};
        let for_as_long = Wait(lasts.unwrap_or(LASTS));
        let (strike, heal) = match self {
            Self::Kill => (vec![Do(Action::Kill(A1))], vec![]),
            Self::Pause(length) => {
                (vec![Do(Action::Pause(A1)), Wait(length)], vec![Do(Action::Continue(A1))])
            }
            Self::Restart => {
                let strike = vec![Do(Action::Kill(A1)), Wait(DEAD_FOR)];
                (strike, vec![Do(Action::Start(A1)), UntilOnline(A1)])
            }
            Self::DatagramLoss => {
                let lasts = Wait(lasts.unwrap_or(LOSS_LASTS));
                impaired(vec![Impairment::DatagramLoss(DATAGRAMS_PERCENT)], lasts)
            }
            Self::DatagramDuplication => {
                impaired(vec![Impairment::Duplication(DATAGRAMS_PERCENT)], for_as_long)
            }
            Self::OriginSlow => {
                let strike = vec![Do(Action::Origin(Conduct::delayed(ORIGIN_DELAY))), for_as_long];
                (strike, vec![Do(Action::Origin(Conduct::Pass))])
            }
            Self::OriginDown => {
                let lasts = Wait(lasts.unwrap_or(ORIGIN_DOWN));
                let strike = vec![Do(Action::Origin(Conduct::Refuse)), lasts];
                (strike, vec![Do(Action::Origin(Conduct::Pass))])
            }
        };
        Script { strike, heal }
    }

    /// The targets. `attempt` is the clients' attempt timeout.
    pub(crate) fn targets(self, attempt: Duration, mode: Mode) -> Targets {
        let (soon, told) = (Some(Duration::from_millis(250)), Some(Duration::from_secs(1)));
        if mode == Mode::Strict {
            // No server answers for an owner that may still have a lease. Failures are reported,
            // and reads are checked as for other faults.
            let announced = matches!(self, Self::Kill | Self::Restart).then_some(told).flatten();
            let partitions_dropped = matches!(self, Self::Pause(_)).then_some(0);
            let failures = Failures::Reported;
            return Targets { failures, announced, partitions_dropped, ..Targets::default() };
        }
        let targets = Targets { silence: self.silence_allowed(attempt), ..Targets::default() };
        match self {
            Self::Kill | Self::Restart => {
                Targets { first_good: soon, announced: told, origin_peak: Some(2), ..targets }
            }
            Self::Pause(_) => {
                Targets { first_good: Some(attempt * 3), partitions_dropped: Some(0), ..targets }
            }
            Self::OriginDown => Targets { failures: Failures::OriginAway, ..targets },
            _ => targets,
        }
    }

    /// The longest silence for the affected keys: an attempt that gets no answer, another one, and
    /// the answer of another server.
    fn silence_allowed(self, attempt: Duration) -> Option<Duration> {
        (!self.struck().is_empty()).then(|| attempt * 3)
    }
}

impl Script {
    /// The longest wait; a server that comes online takes longer.
    pub(crate) fn length(&self) -> Duration {
        let waits = self.strike.iter().chain(&self.heal).map(|step| match step {
            Step::Wait(length) => *length,
            Step::Do(_) | Step::UntilOnline(_) => Duration::ZERO,
        });
        waits.sum()
    }
}

fn impaired(impairments: Vec<Impairment>, lasts: Step) -> (Vec<Step>, Vec<Step>) {
    let strike = vec![Step::Do(Action::Impair(impairments)), lasts];
    (strike, vec![Step::Do(Action::Impair(Vec::new()))])
}

impl Action {
    /// Whether the action begins a fault.
    pub(crate) fn strikes(&self) -> bool {
        match self {
            Self::Kill(_) | Self::Pause(_) => true,
            Self::Impair(impairments) => !impairments.is_empty(),
            Self::Origin(conduct) => *conduct != Conduct::Pass,
            Self::Start(_) | Self::Continue(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
