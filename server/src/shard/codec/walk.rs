//! Walks through the names of the keys that a server has cached. Each shard has its keys in parts whose
//! number never changes, and a key belongs to one of them for ever, so that a walk finds every key that
//! is there all the time. A walk goes on in slices of bounded work, and from one shard to the next. What
//! it has found goes with it.
//!
//! ```text
//! some  from a position on, until enough keys were looked at; the answer names the next position
//! all   until the end of the last shard
//! any   from a random position on, until there is a key
//! ```

use std::ops::Range;

use super::glob;

/// The work of a slice: a key that is looked at counts as [`WORK_OF_KEY`], and a part as 1.
const WORK_MAX: usize = 4_096;
const WORK_OF_KEY: usize = 4;
/// The bytes of names after which a walk through some of the keys ends.
const SOME_BYTES_MAX: usize = 64 << 10;
/// The bytes of names that a walk through all keys may find.
pub(in crate::shard) const ALL_BYTES_MAX: usize = 1 << 20;
/// Bits of a position for the shard.
const SHARD_BITS: u32 = 16;
/// Bytes before the names of an answer, and before each name.
const HEAD_BYTES: usize = 16;
const LENGTH_BYTES: usize = 4;

/// See the head of this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    aim: Aim,
    /// It stays at the shard where it begins.
    is_of_one_shard: bool,
    shard: u16,
    part: u32,
    pattern: Option<Box<[u8]>>,
    /// Each name with its length before it.
    found: Vec<u8>,
    number: u64,
    looked_at: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// Some keys: it ends when this number was looked at.
    Some(u32),
    /// All keys.
    All,
    /// Any key: it ends when there is none in this number of parts.
    Any { random: u64, left: u64 },
}

/// What follows a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shard) enum Step {
    /// Another slice, at the shard where the walk is.
    On,
    /// The walk has ended.
    Ended,
    /// It has found more names than it may.
    TooMany,
}

impl Walk {
    /// A walk from this cursor on, 0 at first, until this number of keys was looked at.
    pub(in crate::shard) fn some(cursor: u64, count: u32, pattern: Option<&[u8]>) -> Self {
        let shard = (cursor & ((1 << SHARD_BITS) - 1)) as u16;
        // A cursor that no answer has named is behind the end.
        let part = u32::try_from(cursor >> SHARD_BITS).unwrap_or(u32::MAX);
        Self::new(Aim::Some(count), shard, part, pattern)
    }

    /// A walk through all keys.
    pub(in crate::shard) fn all(pattern: Option<&[u8]>) -> Self {
        Self::new(Aim::All, 0, 0, pattern)
    }

    /// A walk to any key.
    pub(in crate::shard) fn any() -> Self {
        Self::new(Aim::Any { random: 0, left: 0 }, 0, 0, None)
    }

    fn new(aim: Aim, shard: u16, part: u32, pattern: Option<&[u8]>) -> Self {
        let pattern = pattern.map(Into::into);
        Self {
            aim,
            is_of_one_shard: false,
            shard,
            part,
            pattern,
            found: Vec::new(),
            number: 0,
            looked_at: 0,
        }
    }

    /// A walk that stays at the shard where it begins, or not.
    pub(in crate::shard) fn of_one_shard(self, is_of_one_shard: bool) -> Self {
        Self { is_of_one_shard, ..self }
    }

    /// The shards through which it goes, of this number; it is at the one named `own`.
    pub(in crate::shard) fn shards(&self, own: u16, shards: u16) -> Range<u16> {
        if self.is_of_one_shard { own..own + 1 } else { 0..shards }
    }

    /// Begins the walk at shards that have this number of parts each.
    pub(in crate::shard) fn begin(&mut self, shards: &Range<u16>, parts: u32, random: u64) {
        match self.aim {
            Aim::Some(_) | Aim::All if self.shard >= shards.end => {
                (self.shard, self.part) = (shards.end - 1, parts);
            }
            Aim::Some(_) | Aim::All => self.shard = self.shard.max(shards.start),
            Aim::Any { .. } => {
                let all = u64::from(parts) * shards.len() as u64;
                let at = random % all.max(1);
                let shard = at.checked_div(parts.into()).unwrap_or(0);
                self.shard = shards.start + shard as u16;
                self.part = at.checked_rem(parts.into()).unwrap_or(0) as u32;
                self.aim = Aim::Any { random: random.rotate_left(32), left: all };
            }
        }
    }

    /// The shard at which it goes on; `None` if that is none of these.
    pub(in crate::shard) fn shard(&self, shards: &Range<u16>) -> Option<u16> {
        Some(self.shard).filter(|shard| shards.contains(shard))
    }

    /// Goes on at the shard where it is. `visit` gives the names of a part's keys, and returns the number
    /// of keys that it has looked at.
    pub(in crate::shard) fn slice(
        &mut self,
        shards: &Range<u16>,
        parts: u32,
        mut visit: impl FnMut(u32, &mut dyn FnMut(&[u8])) -> usize,
    ) -> Step {
        let mut work = 0;
        while work < WORK_MAX {
            if let Aim::Any { random, left } = self.aim {
                if self.number > 0 {
                    self.choose(random);
                    return Step::Ended;
                }
                if left == 0 {
                    return Step::Ended;
                }
            }
            if self.part >= parts {
                return self.leave_shard(shards);
            }
            let Self { pattern, found, number, .. } = self;
            let looked_at = visit(self.part, &mut |name| {
                if pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, name)) {
                    // A name is shorter than a frame.
                    found.extend_from_slice(&(name.len() as u32).to_le_bytes());
                    found.extend_from_slice(name);
                    *number += 1;
                }
            });
            self.part += 1;
            self.looked_at += looked_at;
            work += 1 + WORK_OF_KEY * looked_at;
            match &mut self.aim {
                Aim::Some(count) => {
                    let is_enough = self.looked_at >= *count as usize;
                    if is_enough || self.found.len() >= SOME_BYTES_MAX {
                        return Step::Ended;
                    }
                }
                Aim::All if self.found.len() > ALL_BYTES_MAX => return Step::TooMany,
                Aim::All => {}
                Aim::Any { left, .. } => *left -= 1,
            }
        }
        match self.aim {
            // Whoever asks for some keys asks again.
            Aim::Some(_) => Step::Ended,
            _ => Step::On,
        }
    }

    /// Goes to the next shard, if there is one.
    fn leave_shard(&mut self, shards: &Range<u16>) -> Step {
        self.part = 0;
        self.shard = self.shard.saturating_add(1);
        let is_last = !shards.contains(&self.shard);
        match self.aim {
            Aim::Any { .. } if is_last => self.shard = shards.start,
            Aim::All if is_last => return Step::Ended,
            Aim::Some(_) => {
                if is_last {
                    self.shard = 0;
                }
                return Step::Ended;
            }
            _ => {}
        }
        Step::On
    }

    /// Keeps only one of the names.
    fn choose(&mut self, random: u64) {
        let chosen = (random % self.number) as usize;
        let name = names(&self.found).nth(chosen).unwrap_or_default().to_vec();
        self.found.clear();
        self.found.extend_from_slice(&(name.len() as u32).to_le_bytes());
        self.found.extend(name);
        self.number = 1;
    }

    /// The answer of a walk that has ended: the next cursor, 0 at the end; the number of names; and the
    /// names.
    pub(in crate::shard) fn into_answer(self) -> Vec<u8> {
        let cursor = u64::from(self.part) << SHARD_BITS | u64::from(self.shard);
        let head = [cursor.to_le_bytes(), self.number.to_le_bytes()].concat();
        [head, self.found].concat()
    }

    /// The bytes of memory that it takes.
    pub(in crate::shard) fn bytes(&self) -> usize {
        let pattern = self.pattern.as_ref().map_or(0, |pattern| pattern.len());
        size_of::<Self>() + pattern + self.found.capacity()
    }
}

/// What a walk has found.
#[derive(Debug)]
pub(in crate::shard) struct Found<'a> {
    /// The cursor from which the next walk goes on; 0: from the beginning.
    pub(in crate::shard) cursor: u64,
    /// The number of names.
    pub(in crate::shard) number: u64,
    names: &'a [u8],
}

impl<'a> Found<'a> {
    /// Reads the answer of a walk. Returns `None` if these bytes are none.
    pub(in crate::shard) fn read(answer: &'a [u8]) -> Option<Self> {
        let (head, names) = answer.split_at_checked(HEAD_BYTES)?;
        let (cursor, number) = head.split_at(HEAD_BYTES / 2);
        let number_of = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
        Some(Self { cursor: number_of(cursor)?, number: number_of(number)?, names })
    }

    /// The names.
    pub(in crate::shard) fn names(&self) -> impl Iterator<Item = &'a [u8]> {
        names(self.names)
    }
}

/// Names that have their lengths before them.
fn names(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_at_checked(LENGTH_BYTES)?;
        let length = u32::from_le_bytes(length.try_into().ok()?);
        let (name, rest) = rest.split_at_checked(length as usize)?;
        bytes = rest;
        Some(name)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Shards with parts with keys.
    type Shards = Vec<Vec<Vec<u16>>>;

    /// Carries a walk out, and returns the cursor and the names; `None` if they were too many. A slice's
    /// work is bounded.
    fn walk(mut walk: Walk, shards: &Shards, random: u64) -> Option<(u64, Vec<String>)> {
        let (range, parts) = (0..shards.len() as u16, shards[0].len() as u32);
        walk.begin(&range, parts, random);
        while let Some(shard) = walk.shard(&range) {
            let mut looked_at = 0;
            let step = walk.slice(&range, parts, |part, give| {
                let keys = &shards[usize::from(shard)][part as usize];
                keys.iter().for_each(|key| give(format!("key:{key}").as_bytes()));
                looked_at += keys.len();
                keys.len()
            });
            let largest = shards.iter().flatten().map(Vec::len).max().unwrap();
            assert!(looked_at <= WORK_MAX / WORK_OF_KEY + largest);
            match step {
                Step::On => {}
                Step::Ended => break,
                Step::TooMany => return None,
            }
        }
        let answer = walk.into_answer();
        let found = Found::read(&answer).unwrap();
        let names: Vec<_> =
            found.names().map(|name| String::from_utf8(name.to_vec()).unwrap()).collect();
        assert_eq!(names.len() as u64, found.number);
        Some((found.cursor, names))
    }

    fn shards() -> impl Strategy<Value = Shards> {
        (1_usize..4, 1_usize..40).prop_flat_map(|(shards, parts)| {
            vec(vec(vec(any::<u16>(), 0..9), parts), shards).prop_map(|mut shards| {
                // Each key is there once.
                let mut number = 0..;
                shards.iter_mut().flatten().flatten().for_each(|key| {
                    *key = number.next().unwrap();
                });
                shards
            })
        })
    }

    fn names_of(shards: &Shards, is_wanted: impl Fn(u16) -> bool) -> BTreeSet<String> {
        let keys = shards.iter().flatten().flatten().copied();
        keys.filter(|key| is_wanted(*key)).map(|key| format!("key:{key}")).collect()
    }

    proptest! {
        #[test]
        fn walks_through_some_keys_find_each_once(shards in shards(), count in 1_u32..30) {
            let (mut cursor, mut names, mut rounds) = (0, Vec::new(), 0);
            loop {
                let (next, found) = walk(Walk::some(cursor, count, None), &shards, 0).unwrap();
                names.extend(found);
                (cursor, rounds) = (next, rounds + 1);
                if cursor == 0 {
                    break;
                }
            }
            let all = names_of(&shards, |_| true);
            prop_assert_eq!(names.len(), all.len());
            prop_assert!(rounds <= all.len() / count as usize + shards.len() + 1);
            prop_assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), all);
        }

        #[test]
        fn a_walk_through_all_keys_finds_those_that_match(shards in shards()) {
            let (cursor, names) = walk(Walk::all(Some(b"*[05]")), &shards, 0).unwrap();
            let wanted = names_of(&shards, |key| key % 5 == 0);
            prop_assert_eq!(cursor & 0xffff, shards.len() as u64);
            prop_assert_eq!(names.len(), wanted.len());
            prop_assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), wanted);
        }

        #[test]
        fn a_walk_to_any_key_finds_one_if_there_is_one(shards in shards(), random in any::<u64>()) {
            let (_, names) = walk(Walk::any(), &shards, random).unwrap();
            let all = names_of(&shards, |_| true);
            prop_assert_eq!(names.len(), all.len().min(1));
            prop_assert!(names.iter().all(|name| all.contains(name)));
        }

        #[test]
        fn any_cursor_is_understood(shards in shards(), cursor in any::<u64>()) {
            let all = names_of(&shards, |_| true);
            let (next, names) = walk(Walk::some(cursor, 10, None), &shards, 0).unwrap();
            prop_assert!(names.iter().all(|name| all.contains(name)));
            prop_assert!(next & 0xffff < shards.len() as u64 && next >> SHARD_BITS <= 40);
        }
    }

    #[test]
    fn a_walk_of_one_shard_begins_and_ends_there() {
        let own = Walk::some(0, 100, None).of_one_shard(true);
        assert_eq!((own.shards(1, 3), Walk::all(None).shards(1, 3)), (1..2, 0..3));
        let (mut walk, range) = (own.clone(), own.shards(1, 3));
        walk.begin(&range, 2, 0);
        assert_eq!(walk.shard(&range), Some(1));
        let step = walk.slice(&range, 2, |_, give| {
            give(b"key");
            1
        });
        assert_eq!(step, Step::Ended);
        let answer = walk.into_answer();
        let found = Found::read(&answer).unwrap();
        assert_eq!((found.cursor, found.number), (0, 2));
    }

    #[test]
    fn each_key_may_be_the_random_one() {
        let shards: Shards = vec![vec![vec![0, 1], vec![]], vec![vec![], vec![2]]];
        let mut found = BTreeSet::new();
        for number in 0..100_u64 {
            let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            found.extend(walk(Walk::any(), &shards, random).unwrap().1);
        }
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn a_walk_is_bounded_in_bytes_and_in_work() {
        let keys: Vec<u16> = (0..60_000).collect();
        let full: Shards = vec![vec![keys.clone(); 3]];
        assert_eq!(walk(Walk::all(None), &full, 0), None, "too many names");
        let (_, names) = walk(Walk::all(Some(b"key:7")), &full, 0).unwrap();
        assert_eq!(names.len(), 3);
        let parts: Shards = vec![keys.chunks(100).map(<[u16]>::to_vec).collect()];
        let (cursor, names) = walk(Walk::some(0, u32::MAX, None), &parts, 0).unwrap();
        assert!(cursor > 0 && names.len() < 2_000, "{}", names.len());
        let empty: Shards = vec![vec![vec![]; 10_000]];
        let (cursor, _) = walk(Walk::some(0, 10, None), &empty, 0).unwrap();
        assert_eq!(cursor >> SHARD_BITS, WORK_MAX as u64, "a client asks again");
    }
}
