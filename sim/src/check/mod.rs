//! The properties that must hold, whatever happens. The checker knows the origin's history and the
//! requests and answers of each client. Of the servers it sees only their maps and calls.
//!
//! ```text
//! position of a value   its place in the origin's history of the key
//! strict                a read asked at t has a position of at least that of every write
//!                       acknowledged before t
//! available             … acknowledged before t − B
//! ```

mod bounds;
mod cached;
mod copies;
mod hops;
mod pauses;
pub(crate) mod queues;
mod reads;
mod swaps;
mod transactions;

use std::collections::{BTreeMap, BTreeSet};

use standin_client::{Answer, ClientError, Outcome};
use standin_protocol::map::MapEpoch;
use standin_server::node::Identity;

use crate::clock::{MS, Time};
use crate::origin::{Commit, Origin, Value, sent_value, stored_value};
use crate::plan::words::{Seconds, letter};
use crate::plan::{Mode, Setup};
use bounds::Lost;
use cached::Cached;
use copies::Copies;
use hops::Hops;
use pauses::Pauses;
use reads::Reads;
use swaps::Swaps;
pub(crate) use transactions::Transaction;
use transactions::Transactions;

/// An operation that has not ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) client: usize,
    pub(crate) key: usize,
    pub(crate) at: Time,
    pub(crate) is_write: bool,
    pub(crate) is_cas: bool,
    pub(crate) is_swap: bool,
    pub(crate) is_get: bool,
    /// For an INVALIDATE or FLUSH: the position of the key when it was requested. Once it is done, no
    /// read may return an older one.
    pub(crate) dropped: Option<usize>,
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Checker {
    mode: Mode,
    /// The bound of `available`: L(1+ρ) on a clock that is a tenth slow, and the time that the news
    /// of a change takes.
    bound: Time,
    ttl: Time,
    asked: BTreeMap<Value, Asked>,
    /// The writes, if the keyspace has no database.
    cached: Option<Cached>,
    /// By key: the times at which the highest acknowledged position rose, the positions, and the
    /// writers.
    acknowledged: Vec<Vec<(Time, usize, Value)>>,
    /// Reads from this id on must succeed and return the current value.
    current_from: Value,
    group_of: Vec<usize>,
    lost: Lost,
    executed: BTreeSet<Value>,
    pub(crate) copies: Copies,
    swaps: Swaps,
    transactions: Transactions,
    pub(crate) hops: Hops,
    pub(crate) pauses: Pauses,
    pub(crate) reads: Reads,
    shard_maps: BTreeMap<(usize, usize), MapEpoch>,
    client_maps: BTreeMap<usize, MapEpoch>,
    master_maps: BTreeMap<usize, MapEpoch>,
    pub(crate) counts: Counts,
}

/// Counts of the clients' results.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) reads: u64,
    pub(crate) hits: u64,
    pub(crate) writes: u64,
    /// Transactions that were carried out because nothing had changed.
    pub(crate) transactions: u64,
    /// Those that were not, because something had.
    pub(crate) transactions_refused: u64,
    /// Reads of both keys of a pair at once.
    pub(crate) pairs_read: u64,
    /// INVALIDATEs and FLUSHes that were done.
    pub(crate) drops: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
    pub(crate) stand_in_hits: u64,
    pub(crate) stale_within_bound: u64,
    /// Writes that were executed (again, by another process) after they had been acknowledged.
    pub(crate) executed_after_ack: u64,
    /// Those of them that replaced a newer acknowledged write, which is the damage that a late copy can
    /// do. It is not a violation, because no rule can recall such a copy.
    pub(crate) overwrote_newer_ack: u64,
    /// Further executions of writes that had been executed before.
    pub(crate) executed_twice: u64,
}

impl Checker {
    /// `pause_max`: see [`standin_config::Timings::pause_max`].
    pub(crate) fn new(setup: &Setup, pause_max: Time) -> Self {
        let mut group_of = Vec::new();
        for (group, size) in setup.groups.iter().enumerate() {
            group_of.extend(std::iter::repeat_n(group, *size));
        }
        Self {
            mode: setup.mode,
            bound: setup.lease * 121 / 100 + 100 * MS,
            ttl: setup.ttl_s * 1_000_000,
            asked: BTreeMap::new(),
            cached: setup.without_database.then(|| Cached::new(setup.keys)),
            acknowledged: vec![Vec::new(); setup.keys],
            current_from: Value::MAX,
            group_of,
            lost: Lost::new(setup.groups.len()),
            executed: BTreeSet::new(),
            copies: Copies::default(),
            swaps: Swaps::default(),
            transactions: Transactions::default(),
            hops: Hops::default(),
            // On a clock that is a tenth slow.
            pauses: Pauses::new(pause_max * 112 / 100),
            reads: Reads::new(setup),
            shard_maps: BTreeMap::new(),
            client_maps: BTreeMap::new(),
            master_maps: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn asked(&mut self, id: Value, asked: Asked) {
        let Asked { key, at, is_write, is_swap, dropped, .. } = asked;
        if is_swap {
            self.swaps.asked(id);
        }
        if let Some(cached) = self.cached.as_mut().filter(|_| is_write || dropped.is_some()) {
            cached.asked(at, key, id);
        }
        self.asked.insert(id, asked);
    }

    pub(crate) fn take_asked(&mut self, id: Value) -> Option<Asked> {
        self.asked.remove(&id)
    }

    /// From this operation on, every operation must succeed and return the current value.
    pub(crate) fn must_be_current(&mut self, id: Value) {
        self.current_from = self.current_from.min(id);
    }

    /// Takes, for each group, whether no member can hear from the master.
    pub(crate) fn faults(&mut self, now: Time, master_lost: &[bool]) {
        self.lost.update(now, master_lost);
    }

    /// Takes the result of an operation. `executors` returns how many running processes have executed
    /// the write of an identity; `None` if one of them may have forgotten it.
    pub(crate) fn completed(
        &mut self,
        now: Time,
        id: Value,
        asked: Asked,
        result: &Result<Answer, ClientError>,
        origin: &Origin,
        executors: &dyn Fn(Identity) -> Option<usize>,
    ) -> Result<(), String> {
        let is_last = id >= self.current_from;
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                self.counts.failed += 1;
                self.counts.unknown += u64::from(*error == ClientError::OutcomeUnknown);
                let client = asked.client;
                return match is_last {
                    true => Err(format!(
                        "client {client} could not read k{} although all is well: {error:?}",
                        asked.key
                    )),
                    false => Ok(()),
                };
            }
        };
        if self.cached.is_some() {
            return self.completed_without_database(now, id, asked, answer, is_last, executors);
        }
        if asked.is_write {
            self.counts.writes += 1;
            return self.written(now, id, asked, answer, origin);
        }
        if let Some(position) = asked.dropped {
            self.counts.drops += 1;
            let writer = origin.history[asked.key][position].writer;
            self.acknowledge(now, asked.key, position, writer);
        }
        if !asked.is_get {
            return Ok(());
        }
        self.count_read(answer);
        let history = &origin.history[asked.key];
        let position = match &answer.outcome {
            Outcome::Value(value) => {
                let value = stored_value(&value.bytes);
                let is_it = |commit: &crate::origin::Commit| {
                    !commit.is_delete && Some(commit.writer) == value
                };
                history.iter().rposition(is_it)
            }
            _ => history.iter().rposition(|commit| commit.is_delete),
        };
        let Some(position) = position else {
            let read = read_by(asked, answer);
            return Err(format!("{read}, which the origin has never held"));
        };
        // No party could tell the caches of the effect of a dead server's write.
        let is_known = |commit: &crate::origin::Commit| !commit.is_orphan;
        if is_last && history[position + 1..].iter().any(is_known) {
            let read = read_by(asked, answer);
            return Err(format!("{read} although all is well, and it is not current"));
        }
        self.fresh(asked, position, answer)
    }

    fn count_read(&mut self, answer: &Answer) {
        self.counts.reads += 1;
        self.counts.hits += u64::from(answer.is_hit());
        self.counts.stand_in_hits += u64::from(answer.is_hit() && answer.is_stand_in());
    }

    /// Takes the answer to an operation in a keyspace without a database.
    fn completed_without_database(
        &mut self,
        now: Time,
        id: Value,
        asked: Asked,
        answer: &Answer,
        is_last: bool,
        executors: &dyn Fn(Identity) -> Option<usize>,
    ) -> Result<(), String> {
        let is_executed = match answer.outcome {
            Outcome::Mismatch { .. } | Outcome::Unmet(_) => false,
            // A delete that finds nothing has been executed, a CAS has not.
            Outcome::NotFound => !asked.is_cas,
            _ => true,
        };
        let Some(cached) = &mut self.cached else { return Ok(()) };
        if asked.is_write || asked.dropped.is_some() {
            self.counts.writes += u64::from(asked.is_write);
            self.counts.drops += u64::from(!asked.is_write);
            if is_executed {
                cached.acknowledged(now, asked.key, id);
            }
            return match &answer.outcome {
                Outcome::Modified(old) => match sent_value(&old.bytes) {
                    Some(old) => {
                        let is_unique = cached.is_acknowledged(asked.key, old)
                            && self.copies.is_over(old, executors);
                        self.swaps.answered(asked.key, id, old, is_unique)
                    }
                    // There was none.
                    None => Ok(()),
                },
                _ => Ok(()),
            };
        }
        if !asked.is_get {
            return Ok(());
        }
        self.count_read(answer);
        // What is cached may be gone.
        let Outcome::Value(value) = &answer.outcome else { return Ok(()) };
        let read = read_by(asked, answer);
        let Some(value) = sent_value(&value.bytes) else { return Err(format!("{read}, nonsense")) };
        self.transactions.read(value)?;
        let bound = if is_last { 0 } else { self.bound_of(asked) };
        let before = asked.at.saturating_sub(bound);
        let Some(cached) = &self.cached else { return Ok(()) };
        let outdated = |before| {
            let is_over = || self.copies.is_over(value, executors);
            let by = cached.outdated_by(asked.key, value, before, is_over);
            by.map_err(|()| format!("{read}, which nobody has written"))
        };
        if let Some((at, writer)) = outdated(before)? {
            let ago = Seconds(asked.at - at);
            return Err(format!("{read}; v{writer} was acknowledged {ago} before it asked"));
        }
        self.counts.stale_within_bound += u64::from(outdated(asked.at)?.is_some());
        Ok(())
    }

    /// Notes that the origin has executed a write for a process of a server, which is the last commit
    /// in its history.
    pub(crate) fn executed(
        &mut self,
        process: (usize, u32),
        key: usize,
        id: Value,
        history: &[Commit],
    ) -> Result<(), String> {
        let acknowledged = &self.acknowledged[key];
        let own = acknowledged.iter().find(|(.., writer)| *writer == id);
        self.counts.executed_after_ack += u64::from(own.is_some());
        let before = history.len().saturating_sub(2);
        let overwrites = |(_, first, _): &(Time, usize, Value)| {
            // The value that is replaced now was acknowledged, and was written after this write's
            // first copy.
            acknowledged.iter().any(|(_, position, writer)| {
                position > first && (*position == before || *writer == history[before].writer)
            })
        };
        self.counts.overwrote_newer_ack += u64::from(own.is_some_and(overwrites));
        self.counts.executed_twice += u64::from(!self.executed.insert(id));
        self.swaps.executed(id)?;
        self.copies.executes(process, id)
    }

    /// Checks that the value read is not older than allowed.
    fn fresh(&mut self, asked: Asked, position: usize, answer: &Answer) -> Result<(), String> {
        let strictly = self.needed(asked.key, asked.at);
        if strictly.is_none_or(|(_, needed, _)| position >= needed) {
            return Ok(());
        }
        let bound = self.bound_of(asked);
        let Some((at, needed, writer)) = self.needed(asked.key, asked.at.saturating_sub(bound))
        else {
            self.counts.stale_within_bound += 1;
            return Ok(());
        };
        if position >= needed {
            self.counts.stale_within_bound += 1;
            return Ok(());
        }
        let (read, before) = (read_by(asked, answer), Seconds(asked.at - at));
        Err(format!("{read}; v{writer} was acknowledged {before} before it asked"))
    }

    /// Returns how long ago a value that a read returns may have been overwritten.
    fn bound_of(&self, asked: Asked) -> Time {
        match self.mode {
            Mode::Strict => 0,
            // A key's group is that of its home.
            Mode::Available => {
                let group = self.group_of[asked.key % self.group_of.len()];
                let lost =
                    self.lost.overlaps(group, asked.at.saturating_sub(2 * self.bound), asked.at);
                if lost { self.ttl + 2 * self.bound } else { self.bound }
            }
        }
    }

    /// Returns the highest position acknowledged before a time, and since when it has been.
    fn needed(&self, key: usize, before: Time) -> Option<(Time, usize, Value)> {
        let risen = &self.acknowledged[key];
        let count = risen.partition_point(|(at, ..)| *at < before);
        risen[..count].last().copied()
    }

    fn written(
        &mut self,
        now: Time,
        id: Value,
        asked: Asked,
        answer: &Answer,
        origin: &Origin,
    ) -> Result<(), String> {
        let history = &origin.history[asked.key];
        if let Outcome::Modified(old) = &answer.outcome
            && let Some(old) = stored_value(&old.bytes)
        {
            let is_unique = history.iter().filter(|commit| commit.writer == old).count() == 1;
            self.swaps.answered(asked.key, id, old, is_unique)?;
        }
        let position = match &answer.outcome {
            Outcome::Written { .. } | Outcome::Modified(_) => {
                history.iter().position(|commit| commit.writer == id)
            }
            Outcome::Deleted => {
                // It must have been one of the deletes, but it is not known which.
                let is_it = |commit: &crate::origin::Commit| {
                    commit.is_delete && (asked.at..=now).contains(&commit.at)
                };
                history.iter().position(is_it)
            }
            // Nothing was written.
            _ => return Ok(()),
        };
        let Some(position) = position else {
            let (client, key) = (asked.client, asked.key);
            return Err(format!(
                "client {client} was told that v{id} of k{key} is written; the origin has not got it"
            ));
        };
        self.acknowledge(now, asked.key, position, id);
        Ok(())
    }

    /// Notes that, from now on, no client may read an older position of the key.
    fn acknowledge(&mut self, now: Time, key: usize, position: usize, writer: Value) {
        let risen = &mut self.acknowledged[key];
        if risen.last().is_none_or(|(_, highest, _)| *highest < position) {
            risen.push((now, position, writer));
        }
    }

    /// Whether a server may have one more call for a key under way besides `others`.
    pub(crate) fn may_call(&self, is_write: bool, others: usize) -> Result<(), String> {
        match (is_write, others) {
            (true, 1..) => Err("writes twice at once".to_owned()),
            (false, 2..) => Err(format!("fetches {} times at once", others + 1)),
            _ => Ok(()),
        }
    }

    pub(crate) fn shard_map(
        &mut self,
        server: usize,
        shard: usize,
        epoch: Option<MapEpoch>,
    ) -> Result<(), String> {
        rises(&mut self.shard_maps, (server, shard), epoch)
            .map_err(|text| format!("shard {shard} of server {}: {text}", letter(server)))
    }

    /// Notes that a server's process has ended. The next one has no map.
    pub(crate) fn server_ended(&mut self, server: usize) {
        self.shard_maps.retain(|(id, _), _| *id != server);
        self.hops.server_ended(server);
        self.pauses.server_ended(server);
    }

    pub(crate) fn client_map(
        &mut self,
        client: usize,
        epoch: Option<MapEpoch>,
    ) -> Result<(), String> {
        rises(&mut self.client_maps, client, epoch)
            .map_err(|text| format!("client {client}: {text}"))
    }

    pub(crate) fn master_map(&mut self, master: usize, epoch: MapEpoch) -> Result<(), String> {
        rises(&mut self.master_maps, master, Some(epoch))
            .map_err(|text| format!("master {master}: {text}"))
    }

    pub(crate) fn master_started(&mut self, master: usize) {
        self.master_maps.remove(&master);
    }
}

/// Describes a read and its answer.
fn read_by(asked: Asked, answer: &Answer) -> String {
    let what = match &answer.outcome {
        Outcome::Value(value) => match stored_value(&value.bytes).or(sent_value(&value.bytes)) {
            Some(value) => format!("v{value}"),
            None => "nonsense".to_owned(),
        },
        _ => "no row".to_owned(),
    };
    let (server, flags) = (letter(answer.served_by.into()), crate::flags::in_words(answer.flags));
    format!("client {} read {what} of k{} from server {server}{flags}", asked.client, asked.key)
}

/// Checks that epochs never go back.
fn rises<K: Ord + Copy>(
    maps: &mut BTreeMap<K, MapEpoch>,
    who: K,
    epoch: Option<MapEpoch>,
) -> Result<(), String> {
    let Some(epoch) = epoch else { return Ok(()) };
    match maps.insert(who, epoch) {
        Some(held) if held > epoch => Err(format!("its map went back from {held} to {epoch}")),
        _ => Ok(()),
    }
}
