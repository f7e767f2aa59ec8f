//! Load through scripts: a thread for each, which takes one request at a time, on a fixed schedule. Each writes
//! keys of its own, and reads those of all.
//!
//! A request that takes longer than the schedule allows delays the next; nothing is caught up with.
#![expect(clippy::disallowed_methods, reason = "a shell: a schedule needs a clock")]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

use super::judge::{Judge, Verdict};
use super::script::{Answer, Script};

/// Keys that each thread writes.
pub const KEYS_EACH: usize = 40;
/// Keys of a read of many.
const MANY: usize = 8;
/// Quotes that are kept.
const QUOTES_MAX: usize = 1_000;

/// One request.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The thread.
    pub worker: usize,
    /// The only key, or the first.
    pub key: usize,
    /// Times since the beginning of the load.
    pub asked: Duration,
    /// The time at which the answer was here.
    pub ended: Duration,
    /// How it ended.
    pub ending: Ending,
}

/// The end of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// A write or delete was acknowledged.
    Written,
    /// Values were returned, of which this is the worst.
    Read(Verdict),
    /// The client has given up.
    Failed,
}

/// What was said of a request that failed, or a read that should not have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// The thread.
    pub worker: usize,
    /// Times since the beginning of the load.
    pub asked: Duration,
    /// The time at which the answer was here.
    pub ended: Duration,
    /// The library's error, or the command and its answer.
    pub text: String,
}

/// Threads at work.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    begun: Instant,
    interval: Duration,
    stop: AtomicBool,
    keys: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    judge: Judge,
    samples: Vec<Sample>,
    quotes: Vec<Quote>,
}

impl Load {
    /// Begins with a write of each key. Each thread asks once in an `interval` at most.
    #[must_use]
    pub fn start(scripts: Vec<Script>, interval: Duration) -> Self {
        let keys = scripts.len() * KEYS_EACH;
        let state = State { judge: Judge::new(keys), samples: Vec::new(), quotes: Vec::new() };
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            interval,
            stop: AtomicBool::new(false),
            keys,
            state: Mutex::new(state),
        });
        let threads = scripts.into_iter().enumerate().map(|(worker, script)| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.work(worker, script))
        });
        let threads = threads.collect();
        Self { shared, threads }
    }

    /// The names of the keys.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        (0..self.shared.keys).map(key_name).collect()
    }

    /// The time since the beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.shared.begun.elapsed()
    }

    /// Returns whether each thread has had this many good answers to requests for these keys that it asked after
    /// this time.
    #[must_use]
    pub fn goes_on(
        &self,
        after: Duration,
        answers: usize,
        is_meant: impl Fn(usize) -> bool,
    ) -> bool {
        let mut good = vec![0; self.threads.len()];
        let state = self.shared.state();
        // They are in the order in which they ended.
        for sample in state.samples.iter().rev().take_while(|sample| sample.ended > after) {
            if sample.asked > after && sample.ending != Ending::Failed && is_meant(sample.key) {
                good[sample.worker] += 1;
            }
        }
        good.iter().all(|count| *count >= answers)
    }

    /// Ends the load. Returns all requests, and what was said of those that should not have ended as they did (of
    /// the first 1,000).
    ///
    /// # Errors
    /// A script has ended, or hangs.
    pub fn finish(mut self) -> io::Result<(Vec<Sample>, Vec<Quote>)> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| io::Error::other("a thread of the load has panicked"))??;
        }
        let mut state = self.shared.state();
        Ok((std::mem::take(&mut state.samples), std::mem::take(&mut state.quotes)))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// Returns a name that has little in common with others: some hashes do not spread names over servers that differ in
/// their last characters only.
fn key_name(key: usize) -> String {
    format!("load-{:016x}", SplitMix64::seed_from_u64(key as u64).next_u64())
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, worker: usize, mut script: Script) -> io::Result<()> {
        let own = worker * KEYS_EACH;
        for key in own..own + KEYS_EACH {
            self.write(worker, key, true, &mut script)?;
        }
        let mut random = SplitMix64::seed_from_u64(worker as u64);
        let mut due = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            let random = random.next_u64();
            // The lower bits choose the kind of the request, these the key.
            let draw = (random >> 16) as usize;
            let (own, any) = (own + draw % KEYS_EACH, draw % self.keys);
            match random % 20 {
                0..5 => self.write(worker, own, true, &mut script)?,
                5 => self.write(worker, own, false, &mut script)?,
                6 => {
                    let keys = (0..MANY).map(|step| (any + step * 7) % self.keys);
                    self.read(worker, &keys.collect::<Vec<_>>(), &mut script)?;
                }
                7..13 => self.read(worker, &[own], &mut script)?,
                _ => self.read(worker, &[any], &mut script)?,
            }
            due = (due + self.interval).max(Instant::now());
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    fn write(
        &self,
        worker: usize,
        key: usize,
        is_set: bool,
        script: &mut Script,
    ) -> io::Result<()> {
        let number = self.state().judge.begin_write(key);
        let name = key_name(key);
        let command =
            if is_set { format!("set {name} {number}") } else { format!("delete {name}") };
        let asked = self.begun.elapsed();
        let answer = script.ask(&command)?;
        let ended = self.begun.elapsed();
        let mut state = self.state();
        let is_done = answer == Answer::Done;
        state.judge.end_write(key, number, is_done);
        let ending = if is_done { Ending::Written } else { Ending::Failed };
        state.note(Sample { worker, key, asked, ended, ending }, &command, answer);
        Ok(())
    }

    fn read(&self, worker: usize, keys: &[usize], script: &mut Script) -> io::Result<()> {
        let names: Vec<String> = keys.iter().map(|key| key_name(*key)).collect();
        let verb = if keys.len() == 1 { "get" } else { "many" };
        let command = format!("{verb} {}", names.join(" "));
        let floors: Vec<u64> = {
            let state = self.state();
            keys.iter().map(|key| state.judge.floor(*key)).collect()
        };
        let asked = self.begun.elapsed();
        let answer = script.ask(&command)?;
        let ended = self.begun.elapsed();
        let mut state = self.state();
        let ending = match &answer {
            Answer::Values(values) if values.len() == keys.len() => {
                let verdicts = keys.iter().zip(floors).zip(values).map(|((key, floor), value)| {
                    state.judge.after_read(*key, floor, value.as_deref())
                });
                Ending::Read(
                    verdicts.max_by_key(|verdict| *verdict as u8).unwrap_or(Verdict::Wrong),
                )
            }
            Answer::Failed(_) => Ending::Failed,
            Answer::Values(_) | Answer::Done => Ending::Read(Verdict::Wrong),
        };
        state.note(Sample { worker, key: keys[0], asked, ended, ending }, &command, answer);
        Ok(())
    }
}

impl State {
    fn note(&mut self, sample: Sample, command: &str, answer: Answer) {
        let text = match (&sample.ending, answer) {
            (Ending::Failed, Answer::Failed(error)) => Some(error),
            (Ending::Failed, answer) => Some(format!("{command}: {answer:?}")),
            (Ending::Read(Verdict::Late | Verdict::Stale | Verdict::Wrong), answer) => {
                Some(format!("{command}: {answer:?}"))
            }
            _ => None,
        };
        if let Some(text) = text.filter(|_| self.quotes.len() < QUOTES_MAX) {
            let Sample { worker, asked, ended, .. } = sample;
            self.quotes.push(Quote { worker, asked, ended, text });
        }
        self.samples.push(sample);
    }
}
