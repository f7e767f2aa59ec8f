//! Samples of each server's counters, ten times a second: what it kept over a fault, and what it asked
//! the database for right after.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig, Target};
use standin_protocol::body::StatsReply;
use standin_protocol::map::Topology;
use standin_protocol::time::Micros;

const INTERVAL: Duration = Duration::from_millis(100);
/// A server that takes longer is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) at: Micros,
    pub(crate) server: u16,
    pub(crate) stats: StatsReply,
}

/// Every counter of every server over time, as it rises: one line per answer.
pub(crate) fn csv(samples: &[Sample], from: Micros) -> String {
    let mut lines = String::from("at_ms,server");
    let names = |sample: &Sample| -> Vec<String> {
        sample.stats.counters.iter().map(|counter| counter.name.clone()).collect()
    };
    let columns = samples.first().map(names).unwrap_or_default();
    for name in &columns {
        lines.extend([",", name]);
    }
    for sample in samples.iter().filter(|sample| sample.at >= from) {
        let at_ms = sample.at.since(from).as_millis();
        lines.push_str(&format!("\n{at_ms},{}", sample.stats.server));
        for name in &columns {
            lines.push_str(&format!(",{}", sample.stats.counter(name)));
        }
    }
    lines.push('\n');
    lines
}

/// A thread per server that asks it. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Sampler {
    samples: Arc<Mutex<Vec<Sample>>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Sampler {
    /// Starts asking.
    pub(crate) fn start(topology: &Arc<Topology>, client: &ClientConfig) -> io::Result<Self> {
        let mut sampler =
            Self { samples: Arc::default(), is_over: Arc::default(), threads: Vec::new() };
        for (server, _) in (0..).zip(&topology.servers) {
            let config = ClientConfig {
                operation_timeout: ANSWER_TIMEOUT,
                connect_timeout: client.connect_timeout.min(ANSWER_TIMEOUT),
                ..client.clone()
            };
            let mut client = Client::new(config, Bootstrap::Config(Arc::clone(topology)))?;
            let (samples, is_over) = (Arc::clone(&sampler.samples), Arc::clone(&sampler.is_over));
            let ask = move || {
                while !is_over.load(Ordering::Acquire) {
                    if let Ok(stats) = client.stats(Target::Server(server)) {
                        let sample = Sample { at: Micros::boottime(), server, stats };
                        samples.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
                    }
                    std::thread::park_timeout(INTERVAL);
                }
            };
            let thread = std::thread::Builder::new().name(format!("stats-{server}"));
            sampler.threads.push(thread.spawn(ask)?);
        }
        Ok(sampler)
    }

    /// All answers so far, in order of time.
    pub(crate) fn taken(&self) -> Vec<Sample> {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone();
        samples.sort_by_key(|sample| sample.at);
        samples
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
