//! Reads a trace in a thread of its own, and hands each load thread the requests of its share.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::batch::{BATCHES_MAX, Batch, Entry};
use super::numbering::hash;
use super::timing::Timing;
use super::wish::Wish;
use super::{Numbering, Player, Record, Records, Rules, TraceError, TraceFile};
use crate::request::Access;
use crate::rng::Random;

/// The requests of a file that are looked at before anything is sent, so that a wrong format is told at once.
const FIRST_REQUESTS: usize = 1_000;

/// Which requests of a file are wanted.
#[derive(Debug)]
pub enum Mode {
    /// A write for the first request of each key, with the size that its value has there. The keys are added.
    First(Numbering),
    /// All, with the indices of these keys; without them, indices are hashes, which two keys may share.
    All(Option<Arc<Numbering>>),
}

/// How requests come to load threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Division {
    /// In turn, as their rate or their closed loop asks for them.
    InTurn,
    /// At their recorded times, this many times as fast. All requests for a key come to the same thread, so that their
    /// order stays what it was.
    ByKey {
        /// The factor.
        speed: f64,
    },
}

/// What is read, and for whom.
#[derive(Debug)]
pub struct Feed {
    /// The file.
    pub file: TraceFile,
    /// Which requests.
    pub mode: Mode,
    /// How they are divided.
    pub division: Division,
    /// What they must be.
    pub rules: Rules,
    /// Smallest and largest size of a value; others are clamped.
    pub value_bytes: (u32, u32),
    /// Whether reads are judged.
    pub is_judged: bool,
    /// Share of the reads that stay reads, 0 to 100; the others become writes of the value.
    pub reads_percent: f64,
    /// Seed of that choice.
    pub seed: u64,
    /// The first load thread of this process, and the number of all of all processes.
    pub threads: (u32, u32),
}

/// What was read.
#[derive(Debug, Default)]
pub struct Totals {
    /// The requests for the load threads of this process.
    pub requests: u64,
    /// Those whose value was smaller than the lower bound.
    pub enlarged: u64,
    /// Those whose value was larger than the upper bound.
    pub reduced: u64,
    /// Whether the file was read to its end, and not only as far as anybody wanted it.
    pub is_whole: bool,
    /// The keys of [`Mode::First`].
    pub numbering: Option<Numbering>,
}

/// A feed that reads.
#[derive(Debug)]
pub struct Feeding(JoinHandle<Result<Totals, TraceError>>);

impl Feeding {
    /// Waits until the file is read, or no load thread wants more of it.
    ///
    /// # Errors
    /// [`TraceError`]; what was read before it has been handed out.
    ///
    /// # Panics
    /// If the thread has panicked.
    pub fn finish(self) -> Result<Totals, TraceError> {
        self.0.join().expect("the thread that reads a trace does not panic")
    }
}

impl Feed {
    /// Begins to read for this many load threads of this process.
    ///
    /// # Errors
    /// [`TraceError`], if the beginning of the file is wrong already.
    pub fn start(self, players: u32) -> Result<(Feeding, Vec<Player>), TraceError> {
        try_beginning(&self.file, Some(self.rules))?;
        let (wish, listening) = Wish::new();
        let (senders, players): (Vec<_>, Vec<_>) = (0..players)
            .map(|_| sync_channel(BATCHES_MAX))
            .map(|(sender, receiver)| (sender, Player::new(receiver, Arc::clone(&listening))))
            .unzip();
        let reader = std::thread::Builder::new().name("trace".to_owned());
        let thread = reader.spawn(move || self.read(&wish, Outlets::new(senders)))?;
        Ok((Feeding(thread), players))
    }

    fn read(mut self, wish: &Wish, mut outlets: Outlets) -> Result<Totals, TraceError> {
        let mut totals = Totals::default();
        let ended = self.read_for(wish, &mut outlets, &mut totals);
        // What is behind the end of a run is nobody's mistake.
        let ended = if wish.lasts() { ended } else { Ok(()) };
        // Also what was read before a mistake.
        outlets.finish();
        if let Mode::First(numbering) = self.mode {
            totals.numbering = Some(numbering);
        }
        ended.map(|()| totals)
    }

    fn read_for(
        &mut self,
        wish: &Wish,
        outlets: &mut Outlets,
        totals: &mut Totals,
    ) -> Result<(), TraceError> {
        let Self { ref file, ref mut mode, division, rules, is_judged, reads_percent, .. } = *self;
        let (first_thread, threads) = (u64::from(self.threads.0), u64::from(self.threads.1.max(1)));
        let (bytes_min, bytes_max) = self.value_bytes;
        let mut random = Random::new(self.seed);
        let mut timing = match division {
            Division::InTurn => None,
            Division::ByKey { speed } => Some(Timing::new(file, speed, wish)?),
        };
        let (mut records, mut record) = (Records::open(file, wish)?, Record::room());
        let (mut inspection, mut turn) = (rules.begin(), 0_u64);
        while records.read(&mut record)? {
            inspection.check(&record)?;
            let Record { position, .. } = record;
            let due_us = timing.as_mut().map_or(Ok(0), |timing| timing.due_us(position))?;
            let value_bytes = record.value_bytes.clamp(bytes_min, bytes_max);
            let mut access = record.operation.access(value_bytes, record.ttl_s, is_judged);
            if access == Access::Read
                && reads_percent < 100.0
                && random.unit() * 100.0 >= reads_percent
            {
                access = Access::Write { value_bytes, ttl_s: 0 };
            }
            let key = match mode {
                Mode::First(numbering) => match numbering.add(&record.key, position)? {
                    Some(key) => {
                        access = Access::Write { value_bytes, ttl_s: 0 };
                        key
                    }
                    None => continue,
                },
                Mode::All(Some(numbering)) => match numbering.find(&record.key) {
                    Some(key) => key,
                    None => return Err(TraceError::Changed { position }),
                },
                // Nothing depends on it.
                Mode::All(None) => hash(&record.key) as u32,
            };
            let thread = match division {
                Division::InTurn => turn,
                Division::ByKey { .. } => hash(&record.key),
            };
            turn += 1;
            let Some(own) = (thread % threads).checked_sub(first_thread) else { continue };
            if own >= outlets.len() {
                continue;
            }
            totals.requests += 1;
            totals.enlarged += u64::from(value_bytes > record.value_bytes);
            totals.reduced += u64::from(value_bytes < record.value_bytes);
            let entry = Entry { due_us, name_end: 0, key, value_bytes, access };
            if !outlets.give(own as usize, &record.key, entry) {
                return Ok(());
            }
        }
        totals.is_whole = true;
        Ok(())
    }
}

/// Looks at the first requests of a file. Returns the columns that are not used.
///
/// # Errors
/// [`TraceError`], also if there are none.
pub fn try_beginning(file: &TraceFile, rules: Option<Rules>) -> Result<Vec<String>, TraceError> {
    let (mut records, mut record) = (Records::open(file, &Wish::Always)?, Record::room());
    let mut inspection = rules.map(Rules::begin);
    for number in 0..FIRST_REQUESTS {
        if !records.read(&mut record)? {
            if number == 0 {
                return Err(TraceError::Empty);
            }
            break;
        }
        inspection.iter_mut().try_for_each(|inspection| inspection.check(&record))?;
    }
    Ok(records.unused_columns().to_vec())
}

/// The ways to the load threads.
struct Outlets {
    outlets: Vec<Outlet>,
}

struct Outlet {
    /// `None`: the thread has ended.
    sender: Option<SyncSender<Batch>>,
    pending: Batch,
}

impl Outlets {
    fn new(senders: Vec<SyncSender<Batch>>) -> Self {
        let outlet = |sender| Outlet { sender: Some(sender), pending: Batch::default() };
        Self { outlets: senders.into_iter().map(outlet).collect() }
    }

    fn len(&self) -> u64 {
        self.outlets.len() as u64
    }

    /// Gives a thread a request, and waits while it has enough. Returns whether anyone wants more.
    fn give(&mut self, to: usize, name: &[u8], entry: Entry) -> bool {
        let outlet = &mut self.outlets[to];
        outlet.pending.add(name, entry);
        if outlet.pending.is_full() && !outlet.try_send() {
            // While this thread has enough, others may need what is here for them.
            self.try_send_all();
            self.outlets[to].send();
        }
        self.outlets.iter().any(|outlet| outlet.sender.is_some())
    }

    fn finish(mut self) {
        self.try_send_all();
        self.outlets.iter_mut().for_each(Outlet::send);
    }

    fn try_send_all(&mut self) {
        for outlet in &mut self.outlets {
            // What a thread has no room for is sent later.
            let _ = outlet.try_send();
        }
    }
}

impl Outlet {
    /// Whether nothing is pending any more.
    fn try_send(&mut self) -> bool {
        let batch = std::mem::take(&mut self.pending);
        let Some(sender) = self.sender.as_ref().filter(|_| !batch.requests.is_empty()) else {
            return true;
        };
        match sender.try_send(batch) {
            Ok(()) => true,
            Err(TrySendError::Full(batch)) => {
                self.pending = batch;
                false
            }
            Err(TrySendError::Disconnected(_)) => {
                self.sender = None;
                true
            }
        }
    }

    fn send(&mut self) {
        let batch = std::mem::take(&mut self.pending);
        let Some(sender) = self.sender.as_ref().filter(|_| !batch.requests.is_empty()) else {
            return;
        };
        if sender.send(batch).is_err() {
            self.sender = None;
        }
    }
}
