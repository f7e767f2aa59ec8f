//! The result of a fault: one row of the table, compared with its targets.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use standin_loadgen::checker::Verdict;
use standin_loadgen::observer::MasterLine;
use standin_loadgen::recorder::{Counts, Ending, FailureKind, Logged, OpKind};
use standin_loadgen::report::table::millis;
use standin_protocol::frame::response_flags;
use standin_protocol::time::Micros;

use crate::catalogue::{Failures, Fault, Targets};
use crate::net::{Node, SERVERS};
use crate::outage;
use crate::play::{COLD_PERCENT, Played};

/// The time for which a server that came back is watched.
const RETURN_WINDOW: Duration = Duration::from_secs(3);
/// Share of the clients whose first good answer counts.
const CLIENTS_SHARE: f64 = 0.99;
/// The largest deviation of the steady hit ratio from the load's design. Beyond it, the figures
/// would be compared with a state that is not steady.
const STEADY_SLACK_PERCENT: f64 = 1.0;
/// Kinds of the master's events by which it takes a server out of service.
const OFFLINE_KINDS: [&str; 2] = ["offline", "waiting"];

/// One row; the JSON has these names.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) fault: String,
    /// The seed of keys and latencies.
    pub(crate) seed: u64,
    pub(crate) counts: Counts,
    /// Beyond the bound, or of what nobody has written.
    pub(crate) stale_beyond: u64,
    /// Requests that failed although they were due before the fault, because of the machine or the
    /// warm-up.
    pub(crate) failed_before: u64,
    pub(crate) lost_writes: u64,
    /// For the affected servers' keys, since the fault, for 99 % of the clients. Scenarios have none.
    pub(crate) first_good_ms: Option<f64>,
    /// The latencies of reads since the fault, over all keys.
    pub(crate) reads: Latency,
    pub(crate) writes: Latency,
    /// The time of the first good write. Writes are so few that an outage of writes does not show
    /// in the figures of all requests.
    pub(crate) first_good_write_ms: Option<f64>,
    pub(crate) write_silence_ms: Option<f64>,
    /// As in [`Counts`], since the fault.
    pub(crate) redraws: u64,
    pub(crate) became_reads: u64,
    /// Whether any client asked for a struck key and had no good answer to the end.
    pub(crate) clients_without: usize,
    /// Longest time without a good answer to anybody for these keys.
    pub(crate) silence_ms: Option<f64>,
    /// The time from the fault to the first announcement that the server is out of service.
    pub(crate) announced_ms: Option<f64>,
    pub(crate) origin_reads_steady_per_s: f64,
    pub(crate) origin_reads_peak_per_s: f64,
    pub(crate) hit_ratio_steady: f64,
    pub(crate) hit_ratio_lowest: f64,
    /// The time from the fault to the return to normal.
    pub(crate) normal_ms: Option<f64>,
    /// The time from the fault to the beginning of its end.
    pub(crate) healed_ms: Option<f64>,
    /// The servers that were marked offline although they answered some party, with the times.
    pub(crate) false_offlines: Vec<String>,
    pub(crate) returned: Option<Returned>,
    /// The missed targets.
    pub(crate) misses: Vec<String>,
    /// Further remarks.
    pub(crate) notes: Vec<String>,
}

/// The latencies of the requests due after the fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// A server that was away and came back as the same process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Returned {
    pub(crate) items_before: u64,
    pub(crate) items_at_return: u64,
    /// Partitions that it dropped because of its absence.
    pub(crate) partitions_dropped: u64,
    /// Keys of its own that were written meanwhile.
    pub(crate) keys_written: u64,
    /// Hit ratio of its own answers, before and in the first seconds after its return.
    pub(crate) hit_ratio_before: f64,
    pub(crate) hit_ratio_after: f64,
    /// Reads of the database by it in these seconds, per second, and before.
    pub(crate) origin_reads_before_per_s: f64,
    pub(crate) origin_reads_after_per_s: f64,
}

impl Row {
    /// Judges the observations.
    pub(crate) fn of(played: &Played) -> Self {
        let fault = played.fault;
        let log = &played.recording.log;
        let strike = played.strikes.first().map_or(played.end, |(_, at)| *at);
        let steady = outage::level(log, played.steady, played.steady_end);
        let counts = played.recording.counts();
        let mut row = Self {
            fault: fault.name(),
            seed: played.seed,
            stale_beyond: counts.stale_beyond + counts.wrong,
            counts,
            lost_writes: played.lost_writes.len() as u64,
            origin_reads_steady_per_s: outage::rate_per_s(
                &played.origin_reads,
                played.steady,
                played.steady_end,
            ),
            origin_reads_peak_per_s: outage::peak_per_s(&played.origin_reads, strike, played.end),
            hit_ratio_steady: steady.map_or(0.0, |level| level.hit_ratio),
            hit_ratio_lowest: outage::lowest_hit_ratio(log, strike, played.end).unwrap_or(0.0),
            healed_ms: played.healed.map(|at| ms(at.since(strike))),
            false_offlines: false_offlines(played, strike),
            reads: Latency::of(log, OpKind::Read, strike, played.end),
            writes: Latency::of(log, OpKind::Write, strike, played.end),
            ..Self::default()
        };
        if let Some(level) = steady {
            let normal = outage::normal_again(log, level, strike, played.end);
            row.normal_ms = normal.map(|at| ms(at.since(strike)));
        }
        let has_failed = |r: &&Logged| matches!(r.sample.ending, Ending::Failed(_));
        row.failed_before =
            log.iter().filter(|r| r.sample.due < strike).filter(has_failed).count() as u64;
        for displaced in log.iter().filter(|r| r.sample.due >= strike).map(|r| r.sample.displaced) {
            row.redraws += u64::from(displaced.redraws);
            row.became_reads += u64::from(displaced.became_read);
        }
        row.watch_struck(played, strike);
        row.returned = returned(played, strike);
        row.misses = row.misses_of(fault.targets(played.attempt_timeout, played.mode));
        row.misses.extend(played.problems.iter().cloned());
        row.notes = row.notes_of(played);
        row
    }

    /// Origin reads at their peak, in multiples of the steady ones.
    pub(crate) fn origin_peak(&self) -> Option<f64> {
        let steady = self.origin_reads_steady_per_s;
        (steady > 0.0).then(|| self.origin_reads_peak_per_s / steady)
    }

    /// Whether every target was reached.
    pub(crate) fn is_good(&self) -> bool {
        self.misses.is_empty()
    }

    fn watch_struck(&mut self, played: &Played, strike: Micros) {
        let log = &played.recording.log;
        let writes: Vec<Logged> =
            log.iter().filter(|r| r.sample.op == OpKind::Write).copied().collect();
        let worse = |seen: Option<f64>, now: f64| Some(seen.map_or(now, |seen| seen.max(now)));
        for server in played.fault.struck() {
            let own = played.strikes.iter().find(|(node, _)| *node == Some(Node::Server(server)));
            let at = own.map_or(strike, |(_, at)| *at);
            let is_struck = |key: u32| played.homes.get(key as usize) == Some(&server);
            let first = outage::first_good(log, is_struck, at);
            self.clients_without += first.without;
            if let Some(since) = first.quantile(CLIENTS_SHARE) {
                self.first_good_ms = worse(self.first_good_ms, ms(since));
            }
            let first_write = outage::first_good(&writes, is_struck, at);
            if let Some(since) = first_write.quantile(CLIENTS_SHARE) {
                self.first_good_write_ms = worse(self.first_good_write_ms, ms(since));
            }
            let silence = |log| ms(outage::longest_silence(log, is_struck, at, played.end));
            self.silence_ms = worse(self.silence_ms, silence(log));
            self.write_silence_ms = worse(self.write_silence_ms, silence(&writes));
            if let Some(told) = announced(&played.events, server, at) {
                self.announced_ms = worse(self.announced_ms, ms(told.since(at)));
            }
        }
    }

    fn misses_of(&self, targets: Targets) -> Vec<String> {
        let mut misses = Vec::new();
        let mut miss = |is_missed: bool, text: String| {
            if is_missed {
                misses.push(text);
            }
        };
        let failed = match targets.failures {
            Failures::None => self.counts.failed,
            Failures::OriginAway => {
                let of = |kind: FailureKind| self.counts.failures[kind as usize];
                // The outcome of a write that was under way is unknown.
                let allowed = of(FailureKind::OriginUnavailable) + of(FailureKind::OutcomeUnknown);
                self.counts.failed - allowed
            }
            Failures::Reported => 0,
        };
        miss(failed > 0, format!("{failed} requests failed"));
        miss(self.stale_beyond > 0, format!("{} reads beyond the bound", self.stale_beyond));
        miss(self.lost_writes > 0, format!("{} acknowledged writes lost", self.lost_writes));
        miss(
            !self.false_offlines.is_empty(),
            format!("marked offline although it answered: {}", self.false_offlines.join(", ")),
        );
        if let Some(bound) = targets.first_good {
            let is_late = self.first_good_ms.is_none_or(|took| took > ms(bound));
            miss(
                is_late || self.clients_without > 0,
                format!("first good answer after more than {bound:?}"),
            );
        }
        if let Some(bound) = targets.silence {
            let is_long = self.silence_ms.is_some_and(|silence| silence > ms(bound));
            miss(is_long, format!("no client had a good answer for longer than {bound:?}"));
        }
        if let (Some(most), Some(returned)) = (targets.partitions_dropped, self.returned) {
            let dropped = returned.partitions_dropped;
            miss(
                dropped > most,
                format!("{dropped} partitions dropped, although it was only paused"),
            );
        }
        let steady_percent = self.hit_ratio_steady * 100.0;
        let is_off = (steady_percent - (100.0 - COLD_PERCENT)).abs() > STEADY_SLACK_PERCENT;
        miss(
            is_off,
            format!("there was no steady state: hit ratio {steady_percent:.1} %, not 95 ± 1 %"),
        );
        if let Some(bound) = targets.announced {
            let is_late = self.announced_ms.is_none_or(|took| took > ms(bound));
            miss(is_late, format!("announced after more than {bound:?}, or not at all"));
        }
        if let Some(times) = targets.origin_peak {
            let limit = self.origin_reads_steady_per_s * f64::from(times);
            let is_over = self.origin_reads_peak_per_s > limit;
            miss(is_over, format!("origin reads rose to more than {times} times the steady ones"));
        }
        misses
    }

    fn notes_of(&self, played: &Played) -> Vec<String> {
        let mut notes = Vec::new();
        let counts = &self.counts;
        notes.extend(self.failed_text());
        if counts.stale + counts.wrong > 0 {
            notes.push(format!(
                "stale: {} ({} beyond the bound of {:?}), the oldest by {} ms; wrong: {}",
                counts.stale,
                counts.stale_beyond,
                played.bound,
                millis(counts.stale_age_us_max),
                counts.wrong
            ));
        }
        if counts.late_writes > 0 {
            notes.push(format!(
                "{} reads showed a write of unknown outcome after a later one",
                counts.late_writes
            ));
        }
        if self.clients_without > 0 {
            notes.push(format!("{} clients had no good answer to the end", self.clients_without));
        }
        if let Some(silence) = self.silence_ms.filter(|silence| *silence > 100.0) {
            notes.push(format!(
                "no client had a good answer for the affected server's keys for {silence:.0} ms"
            ));
        }
        notes.push(self.latency_text("since the fault"));
        notes.extend(self.displaced_text());
        notes.extend(self.returned.map(|returned| returned.to_text()));
        let quoted = |what: &[String]| what.iter().take(4).cloned().collect::<Vec<_>>();
        notes.extend(quoted(&played.lost_writes));
        if counts.failed + self.stale_beyond > 0 {
            notes.extend(quoted(&played.recording.quotes));
        }
        notes
    }

    /// Writes that were not made where they should have been, so that their latencies miss.
    fn displaced_text(&self) -> Option<String> {
        let (redraws, became_reads) = (self.redraws, self.became_reads);
        (redraws + became_reads > 0).then(|| {
            format!(
                "since the fault: for writes of keys that were being written, {redraws} other \
                 keys were drawn; {became_reads} were made as reads"
            )
        })
    }

    /// Failures by kind.
    pub(crate) fn failed_text(&self) -> Option<String> {
        let kinds = self.counts.failures_by_kind();
        let kinds: Vec<String> = kinds.map(|(kind, n)| format!("{n} {}", kind.name())).collect();
        let mut text = format!("failed: {}", kinds.join(", "));
        if self.failed_before > 0 {
            text += &format!("; {} of them were due before the fault", self.failed_before);
        }
        (!kinds.is_empty()).then_some(text)
    }

    /// Describes the latencies of reads and writes, `when` they were measured.
    pub(crate) fn latency_text(&self, when: &str) -> String {
        let of =
            |latency: Latency| format!("p99 {:.1} ms, max {:.0}", latency.p99_ms, latency.max_ms);
        let mut text = format!("{when}: reads {}; writes {}", of(self.reads), of(self.writes));
        if let Some(first) = self.first_good_write_ms {
            text += &format!("; first good writes of the affected keys after {first:.0} ms");
        }
        if let Some(silence) = self.write_silence_ms {
            text += &format!("; at most {silence:.0} ms without any");
        }
        text
    }
}

impl Latency {
    fn of(log: &[Logged], op: OpKind, from: Micros, until: Micros) -> Self {
        let (p99, longest) = outage::slow_of(log, op, from, until);
        Self { p99_ms: ms(p99), max_ms: ms(longest) }
    }
}

impl Returned {
    fn to_text(self) -> String {
        format!(
            "came back with {} of {} items and {} partitions dropped ({} of its keys were written \
             meanwhile); its hit ratio {:.1} → {:.1} %, its origin reads {:.0} → {:.0}/s",
            self.items_at_return,
            self.items_before,
            self.partitions_dropped,
            self.keys_written,
            self.hit_ratio_before * 100.0,
            self.hit_ratio_after * 100.0,
            self.origin_reads_before_per_s,
            self.origin_reads_after_per_s,
        )
    }
}

/// The first announcement since `at` that takes the server out of service.
fn announced(events: &[MasterLine], server: u16, at: Micros) -> Option<Micros> {
    let name = SERVERS.get(usize::from(server))?;
    let is_return =
        |line: &&MasterLine| ["online", "returning"].iter().any(|state| line.text.ends_with(state));
    events
        .iter()
        .filter(|line| line.at() >= at && line.kind == "announced")
        .filter(|line| line.server.as_deref() == Some(name))
        .find(|line| !is_return(line))
        .map(MasterLine::at)
}

fn false_offlines(played: &Played, strike: Micros) -> Vec<String> {
    let rightly: Vec<&str> = played
        .fault
        .struck()
        .into_iter()
        .filter_map(|server| SERVERS.get(usize::from(server)).copied())
        .collect();
    let taken = played
        .events
        .iter()
        .filter(|line| line.at() >= played.steady && OFFLINE_KINDS.contains(&&*line.kind));
    let falsely = taken.filter_map(|line| {
        let name = line.server.as_deref()?;
        let after_s = line.at().since(strike).as_secs_f64();
        (!rightly.contains(&name)).then(|| format!("{name} after {after_s:.1} s"))
    });
    falsely.collect()
}

/// The state of the first affected server before and after, if it is still the same process.
fn returned(played: &Played, strike: Micros) -> Option<Returned> {
    let healed = played.healed?;
    let [server] = played.fault.struck()[..] else { return None };
    if !matches!(played.fault, Fault::Pause(_)) {
        return None;
    }
    let own = || played.samples.iter().filter(|sample| sample.server == server);
    let before = own().rfind(|sample| sample.at < strike)?;
    let first = own().find(|sample| sample.at >= played.steady)?;
    let back = own().find(|sample| sample.at >= healed)?;
    let later = own().find(|sample| sample.at >= back.at + RETURN_WINDOW)?;
    if before.stats.boot_id != later.stats.boot_id {
        return None;
    }
    let reads_per_s = |from: &crate::samples::Sample, to: &crate::samples::Sample| {
        let reads =
            to.stats.counter("origin_reads").saturating_sub(from.stats.counter("origin_reads"));
        reads as f64 / to.at.since(from.at).as_secs_f64().max(1e-3)
    };
    let log = &played.recording.log;
    // Counted from its first own answer, because its stand-ins may still have its keys before that.
    let answers = |r: &&Logged| r.served_by == Some(server) && !has(r, response_flags::FORWARDED);
    let first_own = log
        .iter()
        .filter(|r| r.sample.sent >= healed)
        .filter(answers)
        .map(|r| r.sample.ended)
        .min()
        .unwrap_or(healed);
    let written: BTreeSet<u32> = log
        .iter()
        .filter(|r| r.sample.op == OpKind::Write && r.served_by.is_some())
        .filter(|r| (strike..healed).contains(&r.sample.ended))
        .map(|r| r.key)
        .filter(|key| played.homes.get(*key as usize) == Some(&server))
        .collect();
    let hit_ratio = |from: Micros, until: Micros| {
        let reads = || {
            let due = log.iter().filter(|r| (from..until).contains(&r.sample.due));
            due.filter(answers).filter(|r| r.sample.op == OpKind::Read)
        };
        let hits = reads().filter(|r| has(r, response_flags::HIT)).count();
        hits as f64 / reads().count().max(1) as f64
    };
    let dropped = |sample: &crate::samples::Sample| sample.stats.counter("partitions_dropped");
    Some(Returned {
        items_before: before.stats.counter("items"),
        items_at_return: back.stats.counter("items"),
        partitions_dropped: dropped(later).saturating_sub(dropped(before)),
        keys_written: written.len() as u64,
        hit_ratio_before: hit_ratio(played.steady, strike),
        hit_ratio_after: hit_ratio(first_own, first_own + RETURN_WINDOW),
        origin_reads_before_per_s: reads_per_s(first, before),
        origin_reads_after_per_s: reads_per_s(back, later),
    })
}

fn has(request: &Logged, flag: u8) -> bool {
    matches!(request.sample.ending, Ending::Answered { flags, .. } if flags & flag != 0)
}

/// Every request that failed, was slow, or was not fresh, as CSV, for finding the reason.
pub(crate) fn requests(played: &Played) -> String {
    const SLOW: Duration = Duration::from_millis(100);
    let strike = played.strikes.first().map_or(played.end, |(_, at)| *at);
    let after_ms = |at: Micros| (at.0 as f64 - strike.0 as f64) / 1_000.0;
    let mut text = "due_ms,ended_ms,client,key,home,served_by,operation,sends,ending\n".to_owned();
    let is_plain = |r: &Logged| {
        let is_fresh = matches!(
            r.sample.ending,
            Ending::Answered { verdict: None | Some(Verdict::Fresh), .. }
        );
        is_fresh && r.sample.ended.since(r.sample.due) < SLOW
    };
    for request in played.recording.log.iter().filter(|request| !is_plain(request)) {
        let Logged { worker, key, served_by, sample } = request;
        let name = |id: u16| SERVERS.get(usize::from(id)).copied().unwrap_or("?");
        let home = played.homes.get(*key as usize).map_or("?", |id| name(*id));
        let ending = match sample.ending {
            Ending::Failed(kind) => kind.name().to_owned(),
            Ending::Answered { flags, verdict, .. } => format!("{verdict:?} flags {flags:#04x}"),
        };
        text += &format!(
            "{:.1},{:.1},{worker},{key},{home},{},{},{},\"{ending}\"\n",
            after_ms(sample.due),
            after_ms(sample.ended),
            served_by.map_or("-", name),
            sample.op.name(),
            sample.sends,
        );
    }
    text
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests;
