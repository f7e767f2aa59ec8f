//! The choice of the segments that are written and freed next: S3-FIFO (Yang et al., SOSP 2023) over
//! segments.
//!
//! ```text
//!              unused: evicted, remembered by the ghost
//!                 ▲                                      ▲ unused: evicted
//!  insert ──► small queue ──used──► main queue ──────────┤
//!                                     ▲  ▲               └used──┐
//!  insert, the ghost knows the key ───┘  └──────────────────────┘
//! ```
//!
//! A queue is a list of sealed segments, oldest first, and an open one. The oldest becomes the
//! *victim*: its items are moved or evicted one by one, a few with each insert, so that no insert pays
//! for a whole segment.
//!
//! Before the oldest come *sparse* segments, in which items were removed or replaced until half was gone or a
//! quarter is left: what is left is moved to the end of its queue. In the main queue such holes would stay for
//! long otherwise, because its segments are evicted only when items of the small queue are used. Then come
//! segments in which everything has expired.

use std::collections::VecDeque;

use super::ghost::Ghost;
use super::item::HEADER_BYTES_MAX;
use super::{PREFETCH_BYTES_MAX, Store, hash_of};

/// The small queue's share of the segments.
const SMALL_SHARE: usize = 10;
/// The number of free segments below which eviction begins: one for each queue to open.
const FREE_AIM: usize = 2;
/// The number of bytes of a victim that are examined per byte inserted. Above 5, eviction stays
/// ahead of inserts even if it keeps as much as it may.
const EVICT_AHEAD: usize = 8;

const SMALL: usize = 0;
const MAIN: usize = 1;

/// The segment being evicted.
#[derive(Clone, Copy)]
struct Victim {
    segment: usize,
    /// The next item to look at.
    next: u32,
    /// The number of bytes that may still be kept. At most three quarters of a segment of the main
    /// queue are kept, so that each eviction frees something.
    keep_bytes: usize,
    /// Whether it is sparse: what is in it is moved, unless no segment is free.
    is_sparse: bool,
}

/// The queues over segments; see the head of the file. It does not move items: [`Store::evict`]
/// does.
pub(super) struct Policy {
    free: Vec<usize>,
    open: [Option<usize>; 2],
    sealed: [VecDeque<usize>; 2],
    victim: Option<Victim>,
    /// Sealed segments that have become sparse, which are still in their queues: the next victims.
    sparse: VecDeque<usize>,
    ghost: Ghost,
    small_segments: usize,
    /// The time before which no sealed segment expires as a whole.
    expired_from_ms: u64,
}

impl Policy {
    pub(super) fn new(segments: usize) -> Self {
        Self {
            free: (0..segments).rev().collect(),
            open: [None; 2],
            sealed: [VecDeque::with_capacity(segments), VecDeque::with_capacity(segments)],
            victim: None,
            sparse: VecDeque::with_capacity(segments),
            ghost: Ghost::default(),
            small_segments: (segments / SMALL_SHARE).max(1),
            expired_from_ms: u64::MAX,
        }
    }

    pub(super) fn free_segments(&self) -> usize {
        self.free.len()
    }

    pub(super) fn bytes(&self) -> usize {
        let sealed: usize = self.sealed.iter().map(VecDeque::capacity).sum();
        let lists = self.free.capacity() + sealed + self.sparse.capacity();
        self.ghost.bytes() + lists * size_of::<usize>()
    }

    pub(super) fn was_evicted_unused(&self, hash: u64) -> bool {
        self.ghost.contains(hash)
    }
}

impl Store {
    /// Evicts ahead of an insert of `bytes`, so that [`open_segment`](Self::open_segment) finds room.
    pub(super) fn make_room(&mut self, bytes: usize, now_ms: u64) {
        let mut left_bytes = (bytes + HEADER_BYTES_MAX) * EVICT_AHEAD;
        while self.policy.free.len() < FREE_AIM && left_bytes > 0 {
            let done_bytes = self.evict(left_bytes, now_ms);
            left_bytes = left_bytes.saturating_sub(done_bytes);
            // While holes can be closed, segments are freed before they are needed.
            if self.policy.sparse.is_empty() {
                break;
            }
        }
        while self.policy.free.is_empty() {
            // Ends after one victim: without a free segment none is opened, and the victim becomes
            // free.
            self.evict(usize::MAX, now_ms);
        }
    }

    /// Returns the open segment of a queue, with room for `bytes` of key and value.
    /// [`make_room`](Self::make_room) has ensured that there is a free one.
    pub(super) fn open_segment(&mut self, main: bool, bytes: usize, now_ms: u64) -> usize {
        self.try_open_segment(main, bytes, now_ms).expect("make_room left a segment free")
    }

    fn try_open_segment(&mut self, main: bool, bytes: usize, now_ms: u64) -> Option<usize> {
        let queue = usize::from(main);
        if let Some(segment) = self.policy.open[queue]
            && self.arena.has_room(segment, bytes)
        {
            return Some(segment);
        }
        let fresh = self.policy.free.pop()?;
        if let Some(full) = self.policy.open[queue].replace(fresh) {
            let sealed = &mut self.arena.segments[full];
            sealed.sealed = true;
            self.policy.expired_from_ms = self.policy.expired_from_ms.min(sealed.expires_last_ms);
            self.policy.sealed[queue].push_back(full);
            self.note_sparse(full);
        }
        self.arena.reset(fresh, main, now_ms);
        let mean_bytes = self.live_bytes as usize / self.index.items().max(1);
        self.prefetch_bytes = mean_bytes.clamp(HEADER_BYTES_MAX, PREFETCH_BYTES_MAX);
        Some(fresh)
    }

    /// Examines at least `budget_bytes` of a victim's items, or all of them. Returns how many were examined.
    fn evict(&mut self, budget_bytes: usize, now_ms: u64) -> usize {
        let Some(mut victim) = self.policy.victim.take().or_else(|| self.choose_victim(now_ms))
        else {
            return budget_bytes;
        };
        let (_, end) = self.arena.span(victim.segment);
        if self.arena.segments[victim.segment].live_bytes == 0 {
            victim.next = end;
        }
        let mut done_bytes = 0;
        while victim.next < end && done_bytes < budget_bytes {
            let item = self.arena.view(victim.next).expect("a segment is items from front to end");
            let footprint_bytes = self.arena.footprint_bytes(&item);
            let hash = hash_of(&self.hasher, &item);
            let offset = victim.next;
            victim.next = self.arena.behind(offset, footprint_bytes);
            done_bytes += footprint_bytes;
            if self.index.find(hash, |other| other == offset).is_some() {
                self.keep_or_drop(&mut victim, hash, offset, footprint_bytes, now_ms);
            }
        }
        if victim.next < end {
            self.policy.victim = Some(victim);
        } else {
            let main = self.arena.segments[victim.segment].main;
            self.arena.reset(victim.segment, main, now_ms);
            self.policy.free.push(victim.segment);
        }
        done_bytes
    }

    /// Moves a live item of the victim to the main queue if it was used, otherwise drops it. All items of
    /// a sparse victim stay in their queue.
    fn keep_or_drop(
        &mut self,
        victim: &mut Victim,
        hash: u64,
        offset: u32,
        footprint_bytes: usize,
        now_ms: u64,
    ) {
        let item = self.arena.view(offset).expect("the index names items that are in the arena");
        let (mut header, bytes) = (item.header, item.key.len() + item.value.len());
        if header.expired(now_ms) {
            self.unlink(hash, offset);
            self.expired += 1;
            return;
        }
        let from_main = self.arena.segments[victim.segment].main;
        let used = header.frequency > 0;
        if (used || victim.is_sparse)
            && footprint_bytes <= victim.keep_bytes
            && let Some(segment) =
                self.try_open_segment(from_main || !victim.is_sparse, bytes, now_ms)
        {
            if !victim.is_sparse {
                // An item from the small queue starts again at zero; in the main queue each round
                // costs one use.
                header.frequency = if from_main { header.frequency - 1 } else { 0 };
                self.kept += 1;
            }
            let copy = self.arena.append_copy(segment, &header, offset);
            self.link(hash, Some(offset), copy);
            victim.keep_bytes -= footprint_bytes;
            return;
        }
        if !from_main && !used {
            self.policy.ghost.add(hash);
        }
        self.unlink(hash, offset);
        self.evicted += 1;
    }

    /// Takes the next segment to evict out of its queue.
    fn choose_victim(&mut self, now_ms: u64) -> Option<Victim> {
        self.policy.ghost.fit(self.index.items());
        let sparse = self.take_sparse();
        let segment = sparse.or_else(|| self.take_expired(now_ms)).or_else(|| {
            let [small, main] = &mut self.policy.sealed;
            if small.len() >= self.policy.small_segments {
                small.pop_front()
            } else {
                main.pop_front().or_else(|| small.pop_front())
            }
        })?;
        let (next, _) = self.arena.span(segment);
        let segment_bytes = self.arena.segment_bytes();
        self.arena.segments[segment].sealed = false;
        let is_sparse = sparse.is_some();
        let main = self.arena.segments[segment].main;
        let keep_bytes = if main && !is_sparse { segment_bytes / 4 * 3 } else { segment_bytes };
        Some(Victim { segment, next, keep_bytes, is_sparse })
    }

    /// Notes that a segment is sparse, if it is sealed and has become so.
    pub(super) fn note_sparse(&mut self, segment: usize) {
        let half = self.arena.segment_bytes() / 2;
        let of = &mut self.arena.segments[segment];
        let (live_bytes, written_bytes) = (of.live_bytes as usize, of.written_bytes as usize);
        let gone_bytes = written_bytes - live_bytes;
        // Large items leave ends of segments unwritten. Those are no holes: moving closes none of them.
        let is_sparse = gone_bytes >= half || (gone_bytes > 0 && live_bytes <= half / 2);
        if of.sealed && !of.is_sparse && is_sparse {
            of.is_sparse = true;
            self.policy.sparse.push_back(segment);
        }
    }

    /// Takes the segment that became sparse first.
    fn take_sparse(&mut self) -> Option<usize> {
        let segment = self.policy.sparse.pop_front()?;
        let main = self.arena.segments[segment].main;
        let sealed = &mut self.policy.sealed[usize::from(main)];
        let place = sealed.iter().position(|other| *other == segment);
        sealed.remove(place.expect("sparse segments come before all others"))
    }

    /// Takes a sealed segment in which every item has expired.
    fn take_expired(&mut self, now_ms: u64) -> Option<usize> {
        if now_ms < self.policy.expired_from_ms {
            return None;
        }
        let mut next_ms = u64::MAX;
        for queue in [SMALL, MAIN] {
            let sealed = &mut self.policy.sealed[queue];
            for place in 0..sealed.len() {
                let expires_last_ms = self.arena.segments[sealed[place]].expires_last_ms;
                if expires_last_ms <= now_ms {
                    return sealed.remove(place);
                }
                next_ms = next_ms.min(expires_last_ms);
            }
        }
        self.policy.expired_from_ms = next_ms;
        None
    }
}
