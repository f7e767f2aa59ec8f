//! Sums of the servers' counters over their restarts, from STATS a few times a second.
//!
//! A counter starts again at zero with its server's next incarnation; what a killed server
//! counted after the last look is lost, which is a fraction of a second's worth.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig, Target};
use standin_protocol::body::StatsReply;
use standin_protocol::map::Topology;
use standin_protocol::time::Micros;

use crate::threads;

/// The time between two rounds of questions.
const INTERVAL: Duration = Duration::from_millis(250);
/// A server that takes longer is asked again in the next round.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);

/// The sums at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatsReading {
    /// The time at which all servers had been asked.
    pub at: Micros,
    /// Fetches from the database since the first reading.
    pub origin_reads: u64,
    /// Writes to the database since the first reading.
    pub origin_writes: u64,
    /// Requests that stand-ins have processed as owners since the first reading.
    pub stand_in_requests: u64,
    /// Keys that stand-ins have logged for the servers that they stood in for.
    pub keys_logged: u64,
}

/// The counters that are summed, in the order of [`StatsReading`]'s fields.
const SUMMED: [&str; 4] = ["origin_reads", "origin_writes", "stand_in_requests", "keys_logged"];

#[derive(Debug, Default)]
struct Totals {
    sums: [u64; SUMMED.len()],
    /// Incarnation and counters of each server, as last heard.
    last: BTreeMap<u16, (u64, [u64; SUMMED.len()])>,
    readings: Vec<StatsReading>,
    is_stopped: bool,
}

/// A thread that asks all servers.
#[derive(Debug)]
pub struct StatsWatch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    totals: Mutex<Totals>,
    round_done: Condvar,
}

impl StatsWatch {
    /// Starts asking.
    ///
    /// # Errors
    /// A client or thread could not be created.
    pub fn start(topology: Arc<Topology>, client: &ClientConfig) -> std::io::Result<Self> {
        let config = ClientConfig {
            operation_timeout: ANSWER_TIMEOUT,
            connect_timeout: client.connect_timeout.min(ANSWER_TIMEOUT),
            ..client.clone()
        };
        let servers = u16::try_from(topology.servers.len()).unwrap_or(u16::MAX);
        let mut client = Client::new(config, Bootstrap::Config(topology))?;
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let watch = move || {
            while !own.totals().is_stopped {
                standin_protocol::fault::point();
                for server in 0..servers {
                    // A server that does not answer adds nothing.
                    if let Ok(reply) = client.stats(Target::Server(server)) {
                        own.totals().take(server, &reply);
                    }
                }
                own.totals().end_round(Micros::boottime());
                own.round_done.notify_all();
                std::thread::park_timeout(INTERVAL);
            }
        };
        let thread = threads::spawn("stats", watch)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Returns a reading that began after this call, or the last one if that takes too long.
    #[must_use]
    pub fn read_now(&self, within: Duration) -> Option<StatsReading> {
        let deadline = Micros::boottime() + within;
        let mut totals = self.shared.totals();
        // The round under way may have asked some servers before this call: the next counts.
        let enough = totals.readings.len() + 2;
        while totals.readings.len() < enough {
            if let Some(thread) = &self.thread {
                thread.thread().unpark();
            }
            let left = deadline.since(Micros::boottime());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.round_done.wait_timeout(totals, left);
            totals = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        totals.readings.last().copied()
    }

    /// All readings so far.
    #[must_use]
    pub fn readings(&self) -> Vec<StatsReading> {
        self.shared.totals().readings.clone()
    }
}

impl Drop for StatsWatch {
    fn drop(&mut self) {
        self.shared.totals().is_stopped = true;
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    fn take(&mut self, server: u16, reply: &StatsReply) {
        let counted = SUMMED.map(|name| reply.counter(name));
        let is_first_round = self.readings.is_empty();
        let before = match self.last.insert(server, (reply.boot_id, counted)) {
            Some((boot_id, before)) if boot_id == reply.boot_id => before,
            // The counts from before the observation do not matter.
            None if is_first_round => counted,
            Some(_) | None => [0; SUMMED.len()],
        };
        for (sum, (counted, before)) in self.sums.iter_mut().zip(counted.iter().zip(before)) {
            *sum += counted.saturating_sub(before);
        }
    }

    fn end_round(&mut self, at: Micros) {
        let [origin_reads, origin_writes, stand_in_requests, keys_logged] = self.sums;
        let reading =
            StatsReading { at, origin_reads, origin_writes, stand_in_requests, keys_logged };
        self.readings.push(reading);
    }
}

/// The fetches from the database at each reading.
#[must_use]
pub fn origin_reads(readings: &[StatsReading]) -> Vec<(Micros, u64)> {
    readings.iter().map(|reading| (reading.at, reading.origin_reads)).collect()
}

#[cfg(test)]
mod tests {
    use standin_protocol::body::Counter;

    use super::*;

    fn reply(boot_id: u64, origin_reads: u64) -> StatsReply {
        let counters = vec![Counter { name: "origin_reads".to_owned(), value: origin_reads }];
        StatsReply { boot_id, counters, ..StatsReply::default() }
    }

    #[test]
    fn counts_go_on_over_a_restart() {
        let mut totals = Totals::default();
        totals.take(0, &reply(1, 100));
        totals.end_round(Micros(1));
        totals.take(0, &reply(1, 130));
        totals.take(1, &reply(5, 7));
        totals.end_round(Micros(2));
        totals.take(0, &reply(2, 4));
        totals.end_round(Micros(3));
        let reads: Vec<u64> = totals.readings.iter().map(|reading| reading.origin_reads).collect();
        assert_eq!(reads, [0, 37, 41]);
    }
}
