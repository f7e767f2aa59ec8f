//! Guards: commands that are carried out only if their key is as a connection has seen it (watch.rs). Each
//! is one read-modify-write with a condition, executed by the owner of the key in its queue of writes.
//!
//! ```text
//! EXEC ─► what was seen ‖ a command ‖ EXPIRE ─► Modify { when: version … } ─► Verdict ─► the replies
//! ```

use super::bulk::end_of;
use super::tag::{Kind, Tag, marks};
use super::watch::{Seen, split_guard};
use super::{At, Decoder, said};
use crate::node::modify::{Edit, Gives, Modify, Presence, Ttl, When};
use crate::node::{Action, CommandHead, Status};
use crate::shard::codec::{Request, Surroundings, What, position};

impl Decoder {
    /// The guard at the head of `bytes`, all of which is there.
    pub(super) fn guard(&mut self, bytes: &[u8], around: &Surroundings<'_>) -> Request {
        let (seen, has_expire, rest) = split_guard(bytes);
        let before = bytes.len() - rest.len();
        let mut end = end_of(rest);
        let write = self.part_of_guard(rest, around);
        let mut ttl = None;
        if has_expire {
            let expire = &rest[end..];
            end += end_of(expire);
            ttl = self.part_of_guard(expire, around).and_then(|request| lifetime(&request));
        }
        self.at = At::Command;
        let end = before + end;
        let Some(write) = write else { return said(Tag::new(Kind::GuardWrong), end) };
        let of = Tag::unpack(write.tag);
        let Some((what, is_folded)) = guarded(write.what, seen, ttl) else {
            return said(Tag::new(Kind::GuardWrong), end);
        };
        let folded = if is_folded { marks::FOLDED } else { 0 };
        let tag = Tag { kind: Kind::Guard, marks: of.marks | folded, number: of.kind as u64 };
        let moved = |(from, to): (u32, u32)| (from + position(before), to + position(before));
        let (key, value) = (moved(write.key), moved(write.value));
        Request { tag: tag.pack(), bytes: position(end), key, value, what, ..write }
    }

    fn part_of_guard(&mut self, bytes: &[u8], around: &Surroundings<'_>) -> Option<Request> {
        self.at = At::Command;
        self.command(bytes, around).ok().flatten()
    }
}

/// The lifetime that an EXPIRE gives, if it has not passed.
fn lifetime(expire: &Request) -> Option<Ttl> {
    match &expire.what {
        What::Modify(_, modify) if modify.ttl != Ttl::For(0) => Some(modify.ttl),
        _ => None,
    }
}

/// A read or a write of a key as a read-modify-write. `None` for what is neither.
pub(super) fn read_modify_write(what: &What) -> Option<(CommandHead, Modify)> {
    let head = match what {
        What::Modify(head, modify) => return Some((*head, **modify)),
        What::Command(head) => *head,
        _ => return None,
    };
    let modify = match head.action {
        Action::Put => Modify { ttl: head.ttl(), ..Modify::new(Edit::Set) },
        Action::Delete => Modify::new(Edit::Delete),
        Action::Get => Modify { gives: Gives::Old, ..Modify::new(Edit::Keep) },
        _ => return None,
    };
    Some((head, modify))
}

/// A command with the condition that its key is as it was seen; and whether it gives this lifetime too.
/// `None` for what is no command.
fn guarded(what: What, seen: Seen, ttl: Option<Ttl>) -> Option<(What, bool)> {
    let (head, mut modify) = read_modify_write(&what)?;
    let leaves_value = !matches!(modify.edit, Edit::Keep | Edit::Delete);
    let ttl = ttl.filter(|_| leaves_value);
    modify.ttl = ttl.unwrap_or(modify.ttl);
    match seen {
        Seen::Version(version) => modify.when.version = Some(version),
        Seen::Absent | Seen::Unknown => {
            let needs_value = modify.when.presence == Presence::Present;
            if needs_value && leaves_value {
                // There is nothing to do, and it is looked whether that is still so.
                modify.edit = Edit::Delete;
            }
            modify.when = When { presence: Presence::Absent, ..When::ALWAYS };
        }
    }
    let version = modify.when.version.unwrap_or(0);
    let head = CommandHead { action: Action::Modify, version, ttl_ms: 0, ..head };
    Some((What::Alone(head, Some(Box::new(modify))), ttl.is_some()))
}

/// What the answer to a guard means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The key is as it was, and the command has been carried out, or refused by what is there.
    Same,
    /// It has changed, or may have.
    Changed,
    /// It can't be told.
    Failed,
}

impl Verdict {
    /// The verdict by the status of the answer.
    pub(super) fn of(seen: Seen, status: Status) -> Self {
        match (seen, status) {
            (_, Status::Ok | Status::NotANumber | Status::OutOfRange) => Self::Same,
            (Seen::Version(_), Status::NotStored) | (Seen::Absent, Status::NotFound) => Self::Same,
            (Seen::Version(_), Status::VersionMismatch | Status::NotFound) => Self::Changed,
            (Seen::Absent, Status::NotStored) => Self::Changed,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_that_is_surely_as_it_was_lets_a_transaction_be_carried_out() {
        use Status::*;
        let version = Seen::Version(7);
        for (seen, same, changed) in [
            (
                version,
                &[Ok, NotStored, NotANumber, OutOfRange][..],
                &[VersionMismatch, NotFound][..],
            ),
            (Seen::Absent, &[Ok, NotFound, NotANumber, OutOfRange], &[NotStored]),
        ] {
            for status in same {
                assert_eq!(Verdict::of(seen, *status), Verdict::Same, "{seen:?} {status:?}");
            }
            for status in changed {
                assert_eq!(Verdict::of(seen, *status), Verdict::Changed, "{seen:?} {status:?}");
            }
            for status in
                [TooLarge, Unavailable, Overloaded, OutcomeUnknown, NotOwner, ShuttingDown]
            {
                assert_eq!(Verdict::of(seen, status), Verdict::Failed, "{seen:?} {status:?}");
            }
        }
    }
}
