//! The slots of keys in commands. A node of Redis Cluster refuses a command whose keys have several
//! slots (CROSSSLOT), before any of it is carried out.

use super::bulk::{Word, Words, Wrong};
use super::said::Said;
use super::tag::{Kind, Tag};
use super::{BESIDE_VALUE, Decoder, nothing, said};
use crate::node::Action;
use crate::shard::codec::{Request, Surroundings, What, head, position};
use standin_protocol::slots::slot;

/// The slot of a key's name, as a node keeps it from one key of a command to the next: 0 for none.
pub(super) type SlotMark = u16;

/// The mark of the slot of a name.
pub(super) fn mark(name: &[u8]) -> SlotMark {
    slot(name) + 1
}

/// What the keys of a command have in common.
enum Keys {
    /// All of one slot, as far as they are there, with the place of the first.
    Of((u32, u32)),
    /// There are none.
    None,
    /// Several slots.
    Cross,
    /// A part of the command is missing. This is the slot of the first.
    Unfinished(SlotMark),
}

/// A command with many keys, before the first is taken.
pub(super) enum Checked {
    /// There is nothing to look at.
    Plain,
    /// It is longer than what a connection may hold, so that the rest of its keys is looked at as it
    /// comes: all must have this slot.
    Long(SlotMark),
    /// It is refused, or not here yet.
    Made(Option<Request>),
}

impl Decoder {
    /// Looks at a command with many keys before the first is taken.
    pub(super) fn check_slots(
        &mut self,
        of: (i32, i32, i32),
        words: Words<'_>,
        around: &Surroundings<'_>,
    ) -> Result<Checked, Wrong> {
        let most = around.limits.value_bytes as usize + BESIDE_VALUE;
        Ok(match keys(words, 1, of)? {
            Keys::Cross => Checked::Made(Some(self.refuse(Tag::said(Said::CrossSlot), words, 0))),
            Keys::Unfinished(_) if words.bytes.len() < most => Checked::Made(None),
            Keys::Unfinished(slot) => Checked::Long(slot),
            Keys::Of(_) | Keys::None => Checked::Plain,
        })
    }

    /// A command that waits for EXEC at a node, which has it only if its key is there. All of it has
    /// come: `end` is where it ends, and these are its words behind its name.
    pub(super) fn held(
        &mut self,
        (taken, of): (u32, (i32, i32, i32)),
        words: Words<'_>,
        end: usize,
        around: &Surroundings<'_>,
    ) -> Result<Request, Wrong> {
        let plain =
            Request { echo: (0, position(end)), ..said(self.marked(Tag::new(Kind::Queue)), end) };
        let key = match keys(words, taken, of)? {
            Keys::Cross => return Ok(said(self.marked(Tag::said(Said::CrossSlot)), end)),
            Keys::None | Keys::Unfinished(_) => return Ok(plain),
            Keys::Of(key) => key,
        };
        let name = &words.bytes[key.0 as usize..key.1 as usize];
        let is_key = (1..=usize::from(around.limits.key_bytes)).contains(&name.len());
        let Some(named) = around.names.of(name).filter(|_| is_key) else { return Ok(plain) };
        let tag = Tag { number: mark(name).into(), ..Tag::new(Kind::Queue) };
        Ok(Request {
            key: (key.0 + position(named.prefix), key.1),
            echo: (0, position(end)),
            what: What::Held(head(Action::Get, named.keyspace, around)),
            ..nothing(self.marked(tag), end)
        })
    }
}

/// The keys among the words of a command of which this number was taken: from the word `first` on, one
/// every `step`, up to the word `last`, if that is not negative.
fn keys(
    mut words: Words<'_>,
    taken: u32,
    (first, last, step): (i32, i32, i32),
) -> Result<Keys, Wrong> {
    if first == 0 {
        return Ok(Keys::None);
    }
    let (from, step) = (first.unsigned_abs(), step.unsigned_abs());
    let last = u32::try_from(last).unwrap_or(u32::MAX);
    let (mut number, mut found) = (taken, None);
    while words.left > 0 && number <= last {
        let place = match words.next()? {
            None | Some(Word::Begun { .. }) => {
                return Ok(Keys::Unfinished(found.map_or(0, |(slot, _)| slot)));
            }
            Some(Word::Whole(from, to)) => (from, to),
        };
        let is_key = number >= from && (number - from).is_multiple_of(step);
        number += 1;
        if !is_key {
            continue;
        }
        let slot = mark(&words.bytes[place.0 as usize..place.1 as usize]);
        match found {
            None => found = Some((slot, place)),
            Some((other, _)) if other != slot => return Ok(Keys::Cross),
            Some(_) => {}
        }
    }
    Ok(found.map_or(Keys::None, |(_, place)| Keys::Of(place)))
}

/// Whether a key of a command of which the first had this slot has another one.
pub(super) fn is_other(before: SlotMark, name: &[u8]) -> bool {
    before != 0 && mark(name) != before
}
