//! The state of each process that faults concern, as far as the script decides it: which fault makes sense, and what
//! is to be done for it. Pure; scenarios are checked with it, and runs are played by it.

use std::collections::BTreeMap;

use super::links::NetworkFault;
use super::proxy::Conduct;
use super::script::{Deed, FaultSpec, PidSource, Script, Trouble, What};
use super::times::Step;

/// What has to be done for a step of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order<'s> {
    /// Nothing: another fault has changed it since.
    Nothing,
    /// To a process of the run.
    Process(&'s str, Act),
    /// To a process of somebody else: SIGSTOP (`true`) or SIGCONT.
    Pid(&'s PidSource, bool),
    /// To what passes through a proxy.
    Proxy(&'s str, Conduct),
    /// Between nodes: begins, or ends.
    Network(&'s NetworkFault, bool),
    /// To a table: begins (`true`), or ends.
    Trouble(&'s str, Trouble, bool),
    /// To a proxy's connections.
    Reset(&'s str),
    /// To nobody.
    Mark,
    /// A command.
    Run(&'s [String]),
}

/// What is done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Terminate,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
    /// A new process.
    Start,
}

/// The state of a process, with the fault that is the reason for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Paused(usize),
    Down(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Whom {
    Process(String),
    Pid(PidSource),
    Proxy(String),
    Database(String),
    /// Commands, units, and faults of the network, of which there can be several: each fault stands for itself.
    Itself(usize),
}

/// See the head of the file. Processes without an entry run.
#[derive(Debug, Default)]
pub(super) struct Holds {
    states: BTreeMap<Whom, State>,
}

/// The moments of a script at which something happens: an end is none if another fault has changed it since. If faults wait
/// for events, their order is not known before, and each end may be one.
pub(super) fn moments(script: &Script) -> Vec<Step> {
    let mut holds = Holds::default();
    let mut steps = script.steps();
    if script.waits() {
        return steps;
    }
    steps.retain(|step| {
        let order = holds.apply(&script.faults[step.fault], step.fault, step.is_undo);
        !matches!(order, Ok(Order::Nothing))
    });
    steps
}

/// Faults that make no sense where they are, each by its index, with the reason.
pub(crate) fn mistakes(script: &Script) -> Vec<(usize, String)> {
    let mut holds = Holds::default();
    let steps = script.steps();
    let wrong = steps.iter().filter_map(|step| {
        let spec = &script.faults[step.fault];
        let why = holds.apply(spec, step.fault, step.is_undo).err()?;
        Some((step.fault, why))
    });
    wrong.collect()
}

impl Holds {
    /// Begins or ends a fault. The error says why it makes no sense now.
    pub(super) fn apply<'s>(
        &mut self,
        spec: &'s FaultSpec,
        fault: usize,
        is_undo: bool,
    ) -> Result<Order<'s>, String> {
        let whom = whom(&spec.deed, fault);
        match is_undo {
            true => Ok(self.undo(spec, fault, &whom)),
            false => self.begin(spec, fault, whom),
        }
    }

    /// The faults that are not undone, the latest first.
    pub(super) fn open(&self) -> Vec<usize> {
        let mut open: Vec<usize> = self
            .states
            .values()
            .map(|state| match state {
                State::Paused(fault) | State::Down(fault) => *fault,
            })
            .collect();
        open.sort_unstable_by(|a, b| b.cmp(a));
        open
    }

    /// Whether a fault has ended this process.
    pub(super) fn is_down(&self, name: &str) -> bool {
        matches!(self.states.get(&Whom::Process(name.to_owned())), Some(State::Down(_)))
    }

    fn begin<'s>(
        &mut self,
        spec: &'s FaultSpec,
        fault: usize,
        whom: Whom,
    ) -> Result<Order<'s>, String> {
        let state = self.states.get(&whom).copied();
        let (next, order) = match &spec.deed {
            Deed::Command { begin, undo } => {
                ((!undo.is_empty()).then_some(State::Down(fault)), Order::Run(begin))
            }
            Deed::Network(network) => (Some(State::Down(fault)), Order::Network(network, true)),
            // When a run begins, it is a command; that makes sense at any time.
            Deed::Unit { .. } => return Ok(Order::Nothing),
            Deed::Proxy { name, .. } | Deed::Database { name, .. } if state.is_some() => {
                return Err(format!("another fault of {name} lasts then; end it before"));
            }
            Deed::Proxy { name, conduct } => {
                (Some(State::Down(fault)), Order::Proxy(name, *conduct))
            }
            Deed::Database { name, trouble } => {
                (Some(State::Down(fault)), Order::Trouble(name, *trouble, true))
            }
            // Whatever else happens to it.
            Deed::Reset(name) => return Ok(Order::Reset(name)),
            Deed::Mark => return Ok(Order::Mark),
            Deed::Pid(_) if state.is_some() => return Err(paused_already()),
            Deed::Pid(pid) => (Some(State::Paused(fault)), Order::Pid(pid, true)),
            Deed::Process { name, what } => {
                let (next, act) = match (what, state) {
                    (What::Restart, _) => (None, Act::Start),
                    (_, Some(State::Down(_))) => {
                        let text = format!("{name} does not run then; write `what = \"restart\"`");
                        return Err(text);
                    }
                    (What::Kill, _) => (Some(State::Down(fault)), Act::Kill),
                    (What::Terminate, None) => (Some(State::Down(fault)), Act::Terminate),
                    (What::Terminate, Some(State::Paused(_))) => {
                        let text = format!(
                            "{name} is paused then, and would not notice; resume it before"
                        );
                        return Err(text);
                    }
                    (What::Pause, None) => (Some(State::Paused(fault)), Act::Stop),
                    (What::Pause, Some(State::Paused(_))) => return Err(paused_already()),
                    (What::Resume, Some(State::Paused(_))) => (None, Act::Continue),
                    (What::Resume, None) => {
                        return Err(format!("there is no pause of {name} to end then"));
                    }
                };
                (next, Order::Process(name, act))
            }
        };
        match next {
            Some(next) => drop(self.states.insert(whom, next)),
            None => drop(self.states.remove(&whom)),
        }
        Ok(order)
    }

    fn undo<'s>(&mut self, spec: &'s FaultSpec, fault: usize, whom: &Whom) -> Order<'s> {
        let state = self.states.get(whom).copied();
        let is_own = state == Some(State::Paused(fault)) || state == Some(State::Down(fault));
        if !is_own {
            return Order::Nothing;
        }
        self.states.remove(whom);
        match (&spec.deed, state) {
            (Deed::Process { name, .. }, Some(State::Paused(_))) => {
                Order::Process(name, Act::Continue)
            }
            (Deed::Process { name, .. }, _) => Order::Process(name, Act::Start),
            (Deed::Pid(pid), _) => Order::Pid(pid, false),
            (Deed::Proxy { name, .. }, _) => Order::Proxy(name, Conduct::Pass),
            (Deed::Database { name, trouble }, _) => Order::Trouble(name, *trouble, false),
            (Deed::Network(network), _) => Order::Network(network, false),
            (Deed::Reset(_) | Deed::Unit { .. } | Deed::Mark, _) => Order::Nothing,
            (Deed::Command { undo, .. }, _) => Order::Run(undo),
        }
    }
}

fn paused_already() -> String {
    "it is paused already then; end the other pause before".to_owned()
}

fn whom(deed: &Deed, fault: usize) -> Whom {
    match deed {
        Deed::Process { name, .. } => Whom::Process(name.clone()),
        Deed::Pid(pid) => Whom::Pid(pid.clone()),
        Deed::Proxy { name, .. } | Deed::Reset(name) => Whom::Proxy(name.clone()),
        Deed::Database { name, .. } => Whom::Database(name.clone()),
        Deed::Command { .. } | Deed::Unit { .. } | Deed::Network(_) | Deed::Mark => {
            Whom::Itself(fault)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use standin_protocol::map::ServerState;

    use super::super::script::Awaited;
    use super::super::script::testing::fault;
    use super::*;

    #[test]
    fn a_moment_at_which_nothing_happens_is_none() {
        // The process that was to go on after 10 s is killed before.
        let faults = vec![
            fault("a", 1, Some(9), What::Pause),
            fault("a", 2, None, What::Kill),
            fault("a", 12, None, What::Restart),
        ];
        let script = Script { processes: Vec::new(), faults };
        let at: Vec<u64> = moments(&script).iter().map(|step| step.at.as_secs()).collect();
        assert_eq!(at, [1, 2, 12]);
    }

    #[test]
    fn where_faults_wait_each_end_may_be_one() {
        // By the latest times, the end of the second comes after the restart, which would have ended it.
        let awaited = Awaited {
            server: "a".to_owned(),
            state: ServerState::Offline,
            within: Duration::from_secs(10),
        };
        let waits = FaultSpec { after: Some(awaited), ..fault("b", 0, Some(20), What::Kill) };
        let faults =
            vec![fault("a", 5, None, What::Kill), waits, fault("b", 30, None, What::Restart)];
        let script = Script { processes: Vec::new(), faults };
        let moments: Vec<_> =
            moments(&script).iter().map(|step| (step.at.as_secs(), step.is_undo)).collect();
        assert_eq!(moments, [(5, false), (15, false), (30, false), (35, true)]);
    }

    #[test]
    fn faults_in_an_order_without_sense_are_mistakes() {
        use What::{Kill, Pause, Restart, Resume, Terminate};
        let wrong = |faults: Vec<FaultSpec>| mistakes(&Script { processes: Vec::new(), faults });
        for (faults, what) in [
            (vec![fault("a", 1, None, Resume)], "no pause"),
            (vec![fault("a", 1, None, Pause), fault("b", 2, None, Resume)], "no pause"),
            (vec![fault("a", 1, Some(1), Pause), fault("a", 3, None, Resume)], "no pause"),
            (vec![fault("a", 1, None, Kill), fault("a", 2, None, Pause)], "does not run"),
            (vec![fault("a", 1, None, Kill), fault("a", 2, None, Terminate)], "does not run"),
            (vec![fault("a", 1, Some(5), Pause), fault("a", 2, Some(1), Pause)], "paused already"),
            (vec![fault("a", 1, None, Pause), fault("a", 2, None, Terminate)], "is paused"),
        ] {
            let found = wrong(faults);
            assert_eq!(found.len(), 1, "{what}: {found:?}");
            assert!(found[0].1.contains(what), "{found:?}");
        }
        let right = [
            vec![fault("a", 1, None, Pause), fault("a", 2, None, Resume)],
            vec![fault("a", 1, None, Kill), fault("a", 2, None, Restart)],
            vec![fault("a", 1, Some(1), Terminate), fault("a", 3, None, Kill)],
            vec![fault("a", 1, Some(9), Pause), fault("a", 2, None, Kill)],
            vec![fault("a", 1, None, Pause), fault("b", 1, None, Pause)],
        ];
        right.into_iter().for_each(|faults| assert_eq!(wrong(faults), []));
    }
}
