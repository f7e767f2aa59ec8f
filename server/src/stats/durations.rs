//! Durations in STATS, which has numbers only: a histogram is one for each bound, with the number of
//! durations up to it, such as `request_duration_us{kind="hit",le="64"}`.

use standin_protocol::body::Counter;
use standin_protocol::counters::SampleValue;

use super::StatsHub;
use super::answers;
use crate::histogram::Histogram;

impl StatsHub {
    /// The times of clients' requests and of calls to the origin. What has not occurred is left out.
    pub(super) fn durations(&self) -> Vec<Counter> {
        let mut all = Vec::new();
        if let Some(layout) = &self.layout {
            for (kind, times) in answers::by_kind(layout, &self.answers(layout)) {
                push("request_duration_us", "kind", kind, &times, &mut all);
            }
        }
        for (calls, times) in self.calls() {
            push("origin_call_duration_us", "calls", calls, &times, &mut all);
        }
        all
    }
}

fn push(name: &str, label: &str, of: &str, times: &Histogram, all: &mut Vec<Counter>) {
    let SampleValue::Histogram { buckets, beyond, .. } = times.value() else {
        unreachable!("the value of a histogram is one")
    };
    if times.count() == 0 {
        return;
    }
    let mut value = 0;
    let mut push = |bound: &str, count| {
        value += count;
        all.push(Counter { name: format!("{name}{{{label}=\"{of}\",le=\"{bound}\"}}"), value });
    };
    for (bound, count) in buckets {
        push(&bound.to_string(), count);
    }
    push("+Inf", beyond);
}

#[cfg(test)]
mod tests {
    use standin_protocol::codes::Status;
    use standin_protocol::time::Micros;

    use super::*;
    use crate::node::counters::Counters;
    use crate::node::{Action, Asked};
    use crate::origin::Health;
    use crate::stats::answers::{Answers, Layout};

    #[test]
    fn stats_has_the_durations_of_each_kind_up_to_each_bound() {
        let layout = Layout::new([(7, "items".to_owned())]);
        let mut hub = StatsHub::new("a".to_owned(), 1, 2, Micros(0));
        for block in &mut hub.shards {
            block.answers = (0..layout.cells()).map(|_| 0.into()).collect();
        }
        hub.layout = Some(layout.clone());
        for shard in 0..2 {
            let mut answers = Answers::new(layout.clone());
            for action in [Action::Put, Action::Delete] {
                let asked =
                    Asked { at: Micros(0), action: Some(action), keyspace: 7, is_peer: false };
                answers.note(asked, Status::Ok, 0);
            }
            answers.turn_ended(Micros(100));
            hub.publish(shard, Micros(200), &Counters::default(), &answers);
        }
        let stats = hub.reply(1, Micros(300), &Health::Up.into());
        let of = |bound: &str| {
            stats.counter(&format!("request_duration_us{{kind=\"write\",le=\"{bound}\"}}"))
        };
        assert_eq!((of("64"), of("128"), of("256"), of("+Inf")), (0, 4, 4, 4));
        let others = ["kind=\"hit\"", "origin_call"];
        let has = |part: &str| stats.counters.iter().any(|counter| counter.name.contains(part));
        assert!(!others.iter().any(|part| has(part)), "nothing of the kind has occurred");
    }
}
