//! When the faults of a script begin and end: at times from the first request, or after events that they wait for. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::script::{FaultSpec, Script};

/// A moment of the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// From the first request of the run.
    pub at: Duration,
    /// Index of the fault.
    pub fault: usize,
    /// Whether the fault ends; otherwise it begins.
    pub is_undo: bool,
}

impl Step {
    /// Whether its time is that of its moment, and known from the beginning on.
    pub(super) fn is_sure(&self, script: &Script) -> bool {
        let spec = &script.faults[self.fault];
        // Whether an end changes anything may depend on when others come that wait.
        let may_be_nothing = self.is_undo && script.waits();
        spec.after.is_none() && !may_be_nothing && !spec.deed.is_of_network()
    }
}

impl Script {
    /// Whether a fault waits for an event.
    pub(super) fn waits(&self) -> bool {
        self.faults.iter().any(|fault| fault.after.is_some())
    }

    /// When each fault begins. One that waits for an event begins at the latest then, unless the time of the event is
    /// `known`, by the fault's index.
    pub(super) fn begins(&self, known: &BTreeMap<usize, Duration>) -> Vec<Duration> {
        let mut begins: Vec<Duration> = Vec::new();
        for (fault, FaultSpec { at, after, .. }) in self.faults.iter().enumerate() {
            let before = begins.last().copied().unwrap_or_default();
            let from = match (after, known.get(&fault)) {
                (None, _) => Duration::ZERO,
                (Some(_), Some(event)) => *event,
                (Some(awaited), None) => before + awaited.within,
            };
            begins.push(from + *at);
        }
        begins
    }

    /// The moments in order of time, the latest of faults that wait. At the same time, faults end before others begin.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let begins = self.begins(&BTreeMap::new());
        for (fault, (spec, at)) in self.faults.iter().zip(begins).enumerate() {
            steps.push(Step { at, fault, is_undo: false });
            let end = spec.lasts.map(|lasts| Step { at: at + lasts, fault, is_undo: true });
            steps.extend(end);
        }
        steps.sort_by_key(|step| (step.at, !step.is_undo));
        steps
    }

    /// The first fault that a run of this length does not reach, in words.
    #[must_use]
    pub fn beyond(&self, end: Duration) -> Option<String> {
        let begins = self.begins(&BTreeMap::new());
        let mut faults = self.faults.iter().zip(begins);
        let late = faults.find(|(spec, at)| *at + spec.lasts.unwrap_or_default() >= end);
        late.map(|(FaultSpec { name, line, after, lasts, .. }, at)| {
            let latest = if after.is_some() { " at the latest" } else { "" };
            let what = match lasts {
                Some(lasts) if at < end => {
                    format!("ends after {:?}{latest}", at + *lasts)
                }
                _ => format!("begins after {at:?}{latest}"),
            };
            format!(
                "the fault {name:?} in line {line} of the scenario {what}, and the run after {end:?}: \
                 use more --seconds, or an earlier time"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::map::ServerState;

    use super::super::script::testing::fault;
    use super::super::script::{Awaited, What};
    use super::*;

    fn script(faults: Vec<FaultSpec>) -> Script {
        Script { processes: Vec::new(), faults }
    }

    #[test]
    fn steps_are_in_order_and_ends_come_first() {
        let script = script(vec![
            fault("a", 5, Some(2), What::Pause),
            fault("b", 3, None, What::Kill),
            fault("a", 7, Some(1), What::Pause),
        ]);
        let steps: Vec<_> =
            script.steps().iter().map(|s| (s.at.as_secs(), s.fault, s.is_undo)).collect();
        assert_eq!(
            steps,
            [(3, 1, false), (5, 0, false), (7, 0, true), (7, 2, false), (8, 2, true)]
        );
    }

    #[test]
    fn a_fault_that_waits_counts_from_the_event_or_from_the_end_of_the_wait() {
        let awaited = Awaited {
            server: "st-a1".to_owned(),
            state: ServerState::Offline,
            within: Duration::from_secs(10),
        };
        let waits = |at_s, lasts_s| FaultSpec {
            after: Some(awaited.clone()),
            ..fault("a", at_s, lasts_s, What::Pause)
        };
        let script = script(vec![
            fault("a", 5, None, What::Kill),
            waits(1, Some(2)),
            waits(0, None),
            fault("b", 6, None, What::Kill),
        ]);
        let begins = |known: &[(usize, u64)]| {
            let known = known.iter().map(|(fault, at_s)| (*fault, Duration::from_secs(*at_s)));
            let begins = script.begins(&known.collect());
            begins.iter().map(Duration::as_secs).collect::<Vec<_>>()
        };
        assert_eq!(begins(&[]), [5, 16, 26, 6]);
        assert_eq!(begins(&[(1, 7)]), [5, 8, 18, 6]);
        assert_eq!(begins(&[(1, 7), (2, 9)]), [5, 8, 9, 6]);
        let steps: Vec<_> = script.steps().iter().map(|s| (s.at.as_secs(), s.fault)).collect();
        assert_eq!(steps, [(5, 0), (6, 3), (16, 1), (18, 1), (26, 2)]);
        let beyond = script.beyond(Duration::from_secs(20)).unwrap();
        assert!(beyond.contains("begins after 26s at the latest"), "{beyond}");
    }

    #[test]
    fn a_fault_beyond_the_end_is_named() {
        let faults = vec![fault("a", 5, Some(2), What::Pause)];
        let beyond = |end_s| script(faults.clone()).beyond(Duration::from_secs(end_s));
        assert_eq!(beyond(8), None);
        assert!(beyond(6).unwrap().contains("ends after 7s"));
        let begins = beyond(5).unwrap();
        assert!(begins.contains("line 1") && begins.contains("begins after 5s"), "{begins}");
    }
}
