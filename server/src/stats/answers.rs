//! What a shard has answered: how often each operation on each keyspace ended with which status, and how long it took.
//! Plain integers of the shard; the metrics have their sums.
//!
//! ```text
//! a hit           one integer of its keyspace, and the number of hits of the turn
//! any other       one integer, and when it came: here until the turn ends
//! end of a turn   now the replies are with the kernel: one clock for all of them
//! ```
//! The time of an answer is counted from the turn in which its request was served, whose clock was read after the last
//! byte had been received, to the end of the turn in which the reply was written. So no request reads a clock. A request
//! that waits because its connection does not read its replies counts from when it is served.

use standin_config::ClusterConfig;
use standin_protocol::codes::Status;
use standin_protocol::counters::{Figure, FigureKind, Sample, SampleValue};
use standin_protocol::time::Micros;

use crate::counted::COUNTED;
use crate::histogram::{CELLS, Histogram};
use crate::node::answer::flags;
use crate::node::{Action, Asked};

/// Answers to clients.
pub(crate) const ANSWERS: Figure = Figure {
    name: "answers",
    kind: FigureKind::Counter,
    labels: &["operation", "keyspace", "status"],
    help: "Answers to clients, by operation, keyspace and status. Operations of no keyspace have an empty one, and what is \
           no operation is `other`.",
};
/// Answers to servers.
pub(crate) const PEER_ANSWERS: Figure = Figure {
    name: "peer_answers",
    kind: FigureKind::Counter,
    labels: &["operation", "status"],
    help: "Answers to other servers, whose clients' requests are among theirs.",
};
/// Hits by keyspace.
pub(crate) const KEYSPACE_HITS: Figure = Figure {
    name: "keyspace_hits",
    kind: FigureKind::Counter,
    labels: &["keyspace"],
    help: "Reads of clients that were answered from a cache, of this server or of the owner. Their part of the answers to \
           `get` is the hit ratio of the keyspace.",
};
/// How long clients waited.
pub(crate) const REQUEST_DURATION: Figure = Figure {
    name: "request_duration_us",
    kind: FigureKind::Histogram,
    labels: &["operation", "kind"],
    help: "Time from the last byte of a client's request to its reply, as the server sees it: of reads that a cache has \
           answered (`hit`), of other reads (`miss`), and of writes (`write`).",
};

/// The operations, in the order of [`operation`]. The last one is what has no action.
const OPERATIONS: [&str; 15] = [
    "get",
    "put",
    "delete",
    "cas",
    "touch",
    "modify",
    "invalidate",
    "flush",
    "transact",
    "ping",
    "map",
    "settle",
    "handback",
    "walk",
    "other",
];
/// The positions of reads, and of what changes values, in this list.
const GET: usize = 0;
const WRITES: [usize; 5] = [1, 2, 3, 5, 8];
/// The statuses of requests that failed through no fault of their client.
const FAILED: [Status; 6] = [
    Status::Overloaded,
    Status::OriginUnavailable,
    Status::OutcomeUnknown,
    Status::DeadlineExceeded,
    Status::Unavailable,
    Status::ShuttingDown,
];
/// The number of those on keys.
const ON_KEYS: usize = 9;
const STATUSES: usize = Status::ALL.len();
/// The kinds of answers that have a histogram of their own for each operation.
const KINDS: [&str; 3] = ["hit", "miss", "write"];
const CLASSES: usize = ON_KEYS * KINDS.len();
/// The number of keyspaces that there can be.
const IDS: usize = 256;

fn operation(action: Option<Action>) -> usize {
    match action {
        Some(Action::Get) => 0,
        Some(Action::Put) => 1,
        Some(Action::Delete) => 2,
        Some(Action::Cas) => 3,
        Some(Action::Touch) => 4,
        Some(Action::Modify) => 5,
        Some(Action::Invalidate) => 6,
        Some(Action::Flush) => 7,
        Some(Action::Transact) => 8,
        Some(Action::Ping) => 9,
        Some(Action::Map) => 10,
        Some(Action::Settle) => 11,
        Some(Action::Handback) => 12,
        Some(Action::Walk) => 13,
        None => 14,
    }
}

/// The keyspaces of a process, and where each has its integers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Ids and names.
    keyspaces: Vec<(u8, String)>,
    /// The row of each id. Row 0 is that of everything without a known keyspace.
    rows: Box<[u16; IDS]>,
}

impl Layout {
    /// Those of a cluster.
    pub(crate) fn of(cluster: &ClusterConfig) -> Self {
        Self::new(cluster.keyspaces.iter().map(|keyspace| (keyspace.id, keyspace.name.clone())))
    }

    pub(crate) fn new(keyspaces: impl IntoIterator<Item = (u8, String)>) -> Self {
        let keyspaces: Vec<(u8, String)> = keyspaces.into_iter().collect();
        let mut rows = Box::new([0; IDS]);
        for (row, (id, _)) in (1..).zip(&keyspaces) {
            rows[usize::from(*id)] = row;
        }
        Self { keyspaces, rows }
    }

    /// The number of integers that a shard publishes.
    pub(crate) fn cells(&self) -> usize {
        let hits = 2 * self.keyspaces.len();
        let (clients, peers) = (self.client_cells(), OPERATIONS.len() * STATUSES);
        hits + clients + peers + self.late_hits() + CLASSES * CELLS
    }

    fn client_cells(&self) -> usize {
        self.rows() * OPERATIONS.len() * STATUSES
    }

    fn late_hits(&self) -> usize {
        self.rows()
    }

    fn rows(&self) -> usize {
        self.keyspaces.len() + 1
    }

    fn name(&self, row: usize) -> &str {
        row.checked_sub(1).map_or("", |at| &*self.keyspaces[at].1)
    }
}

/// For each keyspace, the clients' reads that the cache has answered at once, by whether there is no row.
pub(crate) type Hits = [[u64; 2]; IDS];

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Answers {
    layout: Layout,
    hits: Box<Hits>,
    /// All others of clients, by row, operation and status.
    clients: Box<[u64]>,
    /// Those of servers, by operation and status.
    peers: Box<[u64]>,
    /// By row, the reads among `clients` that a cache has answered.
    late_hits: Box<[u64]>,
    durations: Box<[Histogram; CLASSES]>,
    /// The number of hits in this turn, and its time.
    turn_hits: u64,
    turn_at: Micros,
    /// The other answers of this turn: their class, and the time of their requests.
    turn: Vec<(u8, Micros)>,
}

/// The class of a hit.
const GET_HIT: usize = 0;

impl Answers {
    pub(crate) fn new(layout: Layout) -> Self {
        let cells = |count| vec![0; count].into_boxed_slice();
        Self {
            hits: Box::new([[0; 2]; IDS]),
            clients: cells(layout.client_cells()),
            peers: cells(OPERATIONS.len() * STATUSES),
            late_hits: cells(layout.late_hits()),
            durations: Box::new([Histogram::default(); CLASSES]),
            turn_hits: 0,
            turn_at: Micros(0),
            turn: Vec::new(),
            layout,
        }
    }

    /// The integers of hits, for a row of them. [`Self::hit_row`] ends it.
    #[inline]
    pub(crate) fn hits(&mut self) -> &mut Hits {
        &mut self.hits
    }

    /// Notes that a row of this many hits has been served in the turn of this time.
    #[inline]
    pub(crate) fn hit_row(&mut self, turn: Micros, hits: usize) {
        if COUNTED {
            (self.turn_at, self.turn_hits) = (turn, self.turn_hits + hits as u64);
        }
    }

    /// Notes an answer that is no hit of a row. These are its flags.
    pub(crate) fn note(&mut self, asked: Asked, status: Status, answer_flags: u8) {
        let Asked { at, action, keyspace, is_peer } = asked;
        let operation = operation(action);
        if is_peer {
            self.peers[operation * STATUSES + status as usize] += 1;
            return;
        }
        let row = match operation < ON_KEYS {
            true => usize::from(self.layout.rows[usize::from(keyspace)]),
            false => 0,
        };
        self.clients[(row * OPERATIONS.len() + operation) * STATUSES + status as usize] += 1;
        if operation >= ON_KEYS {
            return;
        }
        let is_read = matches!(action, Some(Action::Get | Action::Touch));
        let kind = match (is_read, answer_flags & flags::HIT != 0) {
            (true, true) => 0,
            (true, false) => 1,
            (false, _) => 2,
        };
        self.late_hits[row] += u64::from(action == Some(Action::Get) && kind == 0);
        // There are few classes.
        self.turn.push(((operation * KINDS.len() + kind) as u8, at));
    }

    /// Notes that the replies of this turn have been written by now.
    pub(crate) fn turn_ended(&mut self, end: Micros) {
        let hits = std::mem::take(&mut self.turn_hits);
        if hits > 0 {
            self.durations[GET_HIT].add(end.since(self.turn_at), hits);
        }
        for (class, at) in self.turn.drain(..) {
            self.durations[usize::from(class)].add(end.since(at), 1);
        }
        // After a burst of late answers it is as long as there were requests.
        self.turn.shrink_to(TURN_KEPT);
    }

    /// The integers that are published, [`Layout::cells`] of them.
    pub(crate) fn cells(&self) -> impl Iterator<Item = u64> + '_ {
        let hits = self.layout.keyspaces.iter().flat_map(|(id, _)| self.hits[usize::from(*id)]);
        let counts = self.clients.iter().chain(&*self.peers).chain(&*self.late_hits).copied();
        hits.chain(counts).chain(self.durations.iter().flat_map(Histogram::cells))
    }
}

/// The capacity that the answers of a turn may keep.
const TURN_KEPT: usize = 4_096;

/// The figures of [`samples`].
pub(crate) static FIGURES: [Figure; 4] = [ANSWERS, PEER_ANSWERS, KEYSPACE_HITS, REQUEST_DURATION];

/// The figures of all shards, from the sums of their [`Answers::cells`]. What has not occurred is left
/// out.
pub(crate) fn samples(layout: &Layout, sums: &[u64]) -> Vec<Sample> {
    let keyspaces = layout.keyspaces.len();
    let (hits, rest) = sums.split_at(2 * keyspaces);
    let (clients, rest) = rest.split_at(layout.client_cells());
    let (peers, rest) = rest.split_at(OPERATIONS.len() * STATUSES);
    let (late_hits, durations) = rest.split_at(layout.late_hits());
    let mut all = Vec::new();
    for (cell, count) in clients.iter().enumerate() {
        let (row, operation) =
            (cell / STATUSES / OPERATIONS.len(), cell / STATUSES % OPERATIONS.len());
        let status = Status::ALL[cell % STATUSES];
        let at_once = match (row, operation, status) {
            (1.., 0, Status::Ok) => hits[2 * (row - 1)],
            (1.., 0, Status::NotFound) => hits[2 * (row - 1) + 1],
            _ => 0,
        };
        if count + at_once > 0 {
            let status = lower(status);
            let labels = [OPERATIONS[operation], layout.name(row), &*status];
            all.push(Sample::new(ANSWERS, count + at_once).with_labels(labels));
        }
    }
    for (cell, count) in peers.iter().enumerate().filter(|(_, count)| **count > 0) {
        let status = lower(Status::ALL[cell % STATUSES]);
        let labels = [OPERATIONS[cell / STATUSES], &*status];
        all.push(Sample::new(PEER_ANSWERS, *count).with_labels(labels));
    }
    for (row, late) in late_hits.iter().enumerate().skip(1) {
        let hits = late + hits[2 * (row - 1)] + hits[2 * (row - 1) + 1];
        all.push(Sample::new(KEYSPACE_HITS, hits).with_labels([layout.name(row)]));
    }
    for (class, cells) in durations.chunks(CELLS).enumerate() {
        let mut histogram = Histogram::default();
        histogram.add_cells(cells.iter().copied());
        if histogram.count() > 0 {
            let labels = [OPERATIONS[class / KINDS.len()], KINDS[class % KINDS.len()]];
            all.push(of_histogram(REQUEST_DURATION, &histogram, labels));
        }
    }
    all
}

/// The times of clients' requests by kind, over all operations, from the sums of their [`Answers::cells`].
pub(crate) fn by_kind(layout: &Layout, sums: &[u64]) -> [(&'static str, Histogram); KINDS.len()] {
    let durations = &sums[layout.cells() - CLASSES * CELLS..];
    let mut kinds = KINDS.map(|kind| (kind, Histogram::default()));
    for (class, cells) in durations.chunks(CELLS).enumerate() {
        kinds[class % KINDS.len()].1.add_cells(cells.iter().copied());
    }
    kinds
}

/// What a keyspace's clients have asked for and got.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Answers to reads.
    pub(crate) reads: u64,
    /// Those of a cache.
    pub(crate) hits: u64,
    /// Answers to writes.
    pub(crate) writes: u64,
    /// Answers to reads and writes that did not get what they asked for, through no fault of the client.
    pub(crate) failed: u64,
}

/// The totals of each keyspace, by its name, from the sums of their [`Answers::cells`].
pub(crate) fn by_keyspace<'a>(
    layout: &'a Layout,
    sums: &[u64],
) -> impl Iterator<Item = (&'a str, Totals)> {
    let (hits, rest) = sums.split_at(2 * layout.keyspaces.len());
    let (clients, rest) = rest.split_at(layout.client_cells());
    let late_hits = &rest[OPERATIONS.len() * STATUSES..];
    (1..layout.rows()).map(|row| {
        let at_once: u64 = hits[2 * (row - 1)..][..2].iter().sum();
        let mut totals =
            Totals { reads: at_once, hits: at_once + late_hits[row], ..Totals::default() };
        let cells = &clients[row * OPERATIONS.len() * STATUSES..][..OPERATIONS.len() * STATUSES];
        for (operation, statuses) in cells.chunks(STATUSES).enumerate() {
            let all: u64 = statuses.iter().sum();
            match operation {
                GET => totals.reads += all,
                _ if WRITES.contains(&operation) => totals.writes += all,
                _ => continue,
            }
            totals.failed += FAILED.iter().map(|status| statuses[*status as usize]).sum::<u64>();
        }
        (layout.name(row), totals)
    })
}

/// The sample of a histogram.
pub(crate) fn of_histogram<const N: usize>(
    figure: Figure,
    histogram: &Histogram,
    labels: [&str; N],
) -> Sample {
    let labels = labels.into_iter().map(str::to_owned).collect();
    let value: SampleValue = histogram.value();
    Sample { figure, labels, value }
}

/// The name of an operation.
pub(crate) fn operation_name(action: Action) -> &'static str {
    OPERATIONS[operation(Some(action))]
}

/// The name of a status.
pub(crate) fn lower(status: Status) -> String {
    status.name().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Micros = Micros(1_000);
    const END: Micros = Micros(1_100);

    fn answers() -> Answers {
        Answers::new(Layout::new([(7, "items".to_owned()), (9, "others".to_owned())]))
    }

    fn asked(action: Action, keyspace: u8) -> Asked {
        Asked { at: AT, action: Some(action), keyspace, is_peer: false }
    }

    fn number(samples: &[Sample], name: &str, labels: &[&str]) -> u64 {
        let found = samples.iter().find(|s| s.figure.name == name && s.labels == labels);
        match found.map(|sample| &sample.value) {
            Some(SampleValue::Number(number)) => *number,
            Some(SampleValue::Histogram { buckets, beyond, .. }) => {
                buckets.iter().map(|(_, count)| count).sum::<u64>() + beyond
            }
            None => 0,
        }
    }

    #[test]
    fn each_answer_is_counted_once_where_it_belongs() {
        let mut answers = answers();
        answers.hits()[7][0] += 2;
        answers.hits()[9][1] += 1;
        answers.hit_row(AT, 3);
        answers.note(asked(Action::Get, 7), Status::Ok, 0);
        answers.note(asked(Action::Get, 7), Status::Ok, flags::HIT);
        answers.note(asked(Action::Put, 9), Status::NotStored, 0);
        answers.note(asked(Action::Get, 8), Status::UnknownKeyspace, 0);
        answers.note(asked(Action::Ping, 7), Status::Ok, 0);
        answers.note(Asked::other(AT), Status::Malformed, 0);
        let of_peer = Asked { is_peer: true, ..asked(Action::Get, 7) };
        answers.note(of_peer, Status::NotOwner, 0);
        answers.turn_ended(END);
        let cells: Vec<u64> = answers.cells().collect();
        assert_eq!(cells.len(), answers.layout.cells());
        let samples = samples(&answers.layout, &cells);
        for (labels, count) in [
            (["get", "items", "ok"], 4),
            (["get", "others", "not_found"], 1),
            (["put", "others", "not_stored"], 1),
            (["get", "", "unknown_keyspace"], 1),
            (["ping", "", "ok"], 1),
            (["other", "", "malformed"], 1),
        ] {
            assert_eq!(number(&samples, "answers", &labels), count, "{labels:?}");
        }
        assert_eq!(samples.iter().filter(|s| s.figure == ANSWERS).count(), 6);
        assert_eq!(number(&samples, "peer_answers", &["get", "not_owner"]), 1);
        assert_eq!(number(&samples, "keyspace_hits", &["items"]), 3);
        assert_eq!(number(&samples, "keyspace_hits", &["others"]), 1);
        let totals: Vec<_> = by_keyspace(&answers.layout, &cells).collect();
        let items = Totals { reads: 4, hits: 3, writes: 0, failed: 0 };
        let others = Totals { reads: 1, hits: 1, writes: 1, failed: 0 };
        assert_eq!(totals, [("items", items), ("others", others)]);
        for (labels, count) in [(["get", "hit"], 4), (["get", "miss"], 2), (["put", "write"], 1)] {
            assert_eq!(number(&samples, "request_duration_us", &labels), count, "{labels:?}");
        }
    }

    #[test]
    fn a_keyspace_s_writes_and_failures_are_totalled_and_what_a_client_did_wrong_is_no_failure() {
        let mut answers = answers();
        for (action, status) in [
            (Action::Put, Status::Ok),
            (Action::Cas, Status::VersionMismatch),
            (Action::Delete, Status::OutcomeUnknown),
            (Action::Modify, Status::NotANumber),
            (Action::Get, Status::OriginUnavailable),
            (Action::Touch, Status::Overloaded),
        ] {
            answers.note(asked(action, 7), status, 0);
        }
        let cells: Vec<u64> = answers.cells().collect();
        let totals: Vec<_> = by_keyspace(&answers.layout, &cells).collect();
        let items = Totals { reads: 1, hits: 0, writes: 4, failed: 2 };
        assert_eq!(totals, [("items", items), ("others", Totals::default())]);
    }

    #[test]
    fn an_answer_takes_from_its_turn_to_the_end_of_that_of_its_reply() {
        let mut answers = answers();
        answers.hit_row(AT, 10);
        answers.turn_ended(END);
        answers.note(asked(Action::Put, 7), Status::Ok, 0);
        answers.turn_ended(Micros(6_000));
        answers.turn_ended(Micros(9_000));
        let cells: Vec<u64> = answers.cells().collect();
        let samples = samples(&answers.layout, &cells);
        let sum = |kind: &str| {
            let of = |s: &&Sample| s.figure == REQUEST_DURATION && s.labels[1] == kind;
            match &samples.iter().find(of).expect("it has occurred").value {
                SampleValue::Histogram { sum, .. } => *sum,
                SampleValue::Number(_) => unreachable!("it is a histogram"),
            }
        };
        assert_eq!((sum("hit"), sum("write")), (10 * 100, 5_000));
    }

    #[test]
    fn every_action_and_status_has_its_place() {
        assert_eq!(operation(None) + 1, OPERATIONS.len());
        assert_eq!(operation(Some(Action::Transact)) + 1, ON_KEYS);
        assert_eq!(operation(Some(Action::Get)), GET);
        let writes = [Action::Put, Action::Delete, Action::Cas, Action::Modify, Action::Transact];
        assert_eq!(writes.map(|action| operation(Some(action))), WRITES);
        assert!(Status::ALL.iter().enumerate().all(|(at, status)| *status as usize == at));
    }
}
