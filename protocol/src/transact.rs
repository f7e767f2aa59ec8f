//! The values of a TRANSACT and of its answer: read-modify-writes of several keys of one partition, which are
//! executed together if all conditions hold, and not at all otherwise.
//! The heads are rkyv archives of integers only, of fixed size, like the header.

use rkyv::rancor::{Failure, Panic};
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Serialize};

use crate::codes::Status;
use crate::modify::Modify;
use crate::modify::wire::{self, MODIFY_HEAD_BYTES, ModifyHead};

/// The length of a [`TransactHead`].
pub const TRANSACT_HEAD_BYTES: usize = 8;
/// The length of a [`ConditionHead`].
pub const CONDITION_HEAD_BYTES: usize = 16;
/// The length of a [`StepHead`].
pub const STEP_HEAD_BYTES: usize = 8;
/// The length of a [`ResultHead`].
pub const RESULT_HEAD_BYTES: usize = 32;
/// The largest number of conditions. It bounds the work of one request.
pub const CONDITIONS_MAX: usize = 1_024;
/// The largest number of steps.
pub const STEPS_MAX: usize = 1_024;

/// The value of a TRANSACT, before its conditions and steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize)]
pub struct TransactHead {
    /// The number of conditions, at most [`CONDITIONS_MAX`].
    pub conditions: u32,
    /// The number of steps, at most [`STEPS_MAX`].
    pub steps: u32,
}

/// A condition, before its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize)]
pub struct ConditionHead {
    /// The version that the value must have; 0: there must be none.
    pub version: u64,
    /// The length of the key.
    pub key_len: u16,
    /// Zero.
    pub reserved: [u8; 6],
}

/// A step, before its operation, its key and its operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize)]
pub struct StepHead {
    /// The length of the operand.
    pub operand_len: u32,
    /// The length of the key.
    pub key_len: u16,
    /// Zero.
    pub reserved: [u8; 2],
}

/// The result of a step, before its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize)]
pub struct ResultHead {
    /// What is left of the value's lifetime, in milliseconds, as in an item's head.
    pub ttl_ms: u64,
    /// The version of the value that the step has left as it was; 0 otherwise.
    pub version: u64,
    /// The length of the value.
    pub value_len: u32,
    /// The client's flags for the value.
    pub item_flags: u32,
    /// The status, as in the answer to a MODIFY.
    pub status: u8,
    /// Bits of [`crate::item::marks`].
    pub marks: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

const _: () = assert!(size_of::<ArchivedTransactHead>() == TRANSACT_HEAD_BYTES);
const _: () = assert!(size_of::<ArchivedConditionHead>() == CONDITION_HEAD_BYTES);
const _: () = assert!(size_of::<ArchivedStepHead>() == STEP_HEAD_BYTES);
const _: () = assert!(size_of::<ArchivedResultHead>() == RESULT_HEAD_BYTES);

impl TransactHead {
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_at_checked(TRANSACT_HEAD_BYTES)?;
        let head = rkyv::access::<ArchivedTransactHead, Failure>(head).ok()?;
        let (conditions, steps) = (head.conditions.to_native(), head.steps.to_native());
        Some((Self { conditions, steps }, rest))
    }

    fn to_bytes(self) -> [u8; TRANSACT_HEAD_BYTES] {
        let mut bytes = [0; TRANSACT_HEAD_BYTES];
        // A head of integers has a fixed size and needs no allocation: this can't fail.
        let Ok(_) = rkyv::api::serialize_using::<_, Panic>(&self, &mut Buffer::from(&mut bytes));
        bytes
    }
}

impl ConditionHead {
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_at_checked(CONDITION_HEAD_BYTES)?;
        let head = rkyv::access::<ArchivedConditionHead, Failure>(head).ok()?;
        let (version, key_len) = (head.version.to_native(), head.key_len.to_native());
        Some((Self { version, key_len, reserved: head.reserved }, rest))
    }

    fn to_bytes(self) -> [u8; CONDITION_HEAD_BYTES] {
        let mut bytes = [0; CONDITION_HEAD_BYTES];
        // As above.
        let Ok(_) = rkyv::api::serialize_using::<_, Panic>(&self, &mut Buffer::from(&mut bytes));
        bytes
    }
}

impl StepHead {
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_at_checked(STEP_HEAD_BYTES)?;
        let head = rkyv::access::<ArchivedStepHead, Failure>(head).ok()?;
        let (operand_len, key_len) = (head.operand_len.to_native(), head.key_len.to_native());
        Some((Self { operand_len, key_len, reserved: head.reserved }, rest))
    }

    fn to_bytes(self) -> [u8; STEP_HEAD_BYTES] {
        let mut bytes = [0; STEP_HEAD_BYTES];
        // As above.
        let Ok(_) = rkyv::api::serialize_using::<_, Panic>(&self, &mut Buffer::from(&mut bytes));
        bytes
    }
}

impl ResultHead {
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_at_checked(RESULT_HEAD_BYTES)?;
        let head = rkyv::access::<ArchivedResultHead, Failure>(head).ok()?;
        let read = Self {
            ttl_ms: head.ttl_ms.to_native(),
            version: head.version.to_native(),
            value_len: head.value_len.to_native(),
            item_flags: head.item_flags.to_native(),
            status: head.status,
            marks: head.marks,
            reserved: head.reserved,
        };
        Some((read, rest))
    }

    fn to_bytes(self) -> [u8; RESULT_HEAD_BYTES] {
        let mut bytes = [0; RESULT_HEAD_BYTES];
        // As above.
        let Ok(_) = rkyv::api::serialize_using::<_, Panic>(&self, &mut Buffer::from(&mut bytes));
        bytes
    }
}

/// A key that has to be as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The version of its value; `None`: there must be none.
    pub version: Option<u64>,
}

/// A read-modify-write of a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The operation. It has no condition on the version.
    pub modify: Modify,
    /// The client's flags, if the operand becomes the value.
    pub item_flags: u32,
    /// The operand.
    pub operand: &'a [u8],
}

/// A TRANSACT.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transaction<'a> {
    /// The conditions, all of which must hold before the first step.
    pub conditions: Vec<Condition<'a>>,
    /// The steps, in their order. Each finds what those before it have left.
    pub steps: Vec<Step<'a>>,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepResult<'a> {
    /// The status, as in the answer to a MODIFY.
    pub status: Status,
    /// The version of the value that the step has left as it was; 0 otherwise.
    pub version: u64,
    /// What is left of the value's lifetime, in milliseconds; `u64::MAX`: it has no end.
    pub ttl_ms: u64,
    /// The client's flags for the value.
    pub item_flags: u32,
    /// Bits of [`crate::item::marks`].
    pub marks: u8,
    /// The value.
    pub value: &'a [u8],
}

impl<'a> Transaction<'a> {
    /// Reads the value of a TRANSACT; `None` if it is none.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (head, mut rest) = TransactHead::split(bytes)?;
        let (conditions, steps) = (head.conditions as usize, head.steps as usize);
        if conditions > CONDITIONS_MAX || steps > STEPS_MAX {
            return None;
        }
        let mut read = Self::default();
        for _ in 0..conditions {
            let (head, behind) = ConditionHead::split(rest)?;
            let (key, behind) = behind.split_at_checked(head.key_len.into())?;
            let version = (head.version != 0).then_some(head.version);
            if head.reserved != [0; 6] {
                return None;
            }
            read.conditions.push(Condition { key, version });
            rest = behind;
        }
        for _ in 0..steps {
            let (head, behind) = StepHead::split(rest)?;
            let (operation, behind) = ModifyHead::split(behind)?;
            let (key, behind) = behind.split_at_checked(head.key_len.into())?;
            let (operand, behind) = behind.split_at_checked(head.operand_len as usize)?;
            let modify = wire::read(&operation, 0)?;
            if head.reserved != [0; 2] || modify.when.version.is_some() {
                return None;
            }
            read.steps.push(Step { key, modify, item_flags: operation.item_flags, operand });
            rest = behind;
        }
        rest.is_empty().then_some(read)
    }

    /// The value of a TRANSACT.
    ///
    /// # Panics
    /// If a length does not fit into its field, which those of keys and values do.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let count = |length| u32::try_from(length).expect("a number that is bounded");
        let key_len = |key: &[u8]| u16::try_from(key.len()).expect("a key's length has 16 bits");
        let (conditions, steps) = (count(self.conditions.len()), count(self.steps.len()));
        let mut bytes = TransactHead { conditions, steps }.to_bytes().to_vec();
        for Condition { key, version } in &self.conditions {
            let (version, key_len) = (version.unwrap_or(0), key_len(key));
            let head = ConditionHead { version, key_len, ..ConditionHead::default() };
            bytes.extend_from_slice(&head.to_bytes());
            bytes.extend_from_slice(key);
        }
        for Step { key, modify, item_flags, operand } in &self.steps {
            let (operand_len, key_len) = (count(operand.len()), key_len(key));
            let head = StepHead { operand_len, key_len, ..StepHead::default() };
            bytes.extend_from_slice(&head.to_bytes());
            bytes.extend_from_slice(&wire::write(modify, *item_flags).to_bytes());
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(operand);
        }
        bytes
    }

    /// All keys, also repeated ones.
    pub fn keys(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        let conditions = self.conditions.iter().map(|condition| condition.key);
        conditions.chain(self.steps.iter().map(|step| step.key))
    }
}

impl Step<'_> {
    /// The number of bytes of a step beside its key and operand.
    pub const HEAD_BYTES: usize = STEP_HEAD_BYTES + MODIFY_HEAD_BYTES;
}

impl StepResult<'_> {
    /// Appends the result to the answer's value.
    ///
    /// # Panics
    /// If the value is longer than 4 GiB, which no value is.
    pub fn append(&self, out: &mut Vec<u8>) {
        let Self { status, version, ttl_ms, item_flags, marks, value } = *self;
        let value_len = u32::try_from(value.len()).expect("a value's length has 32 bits");
        let reserved = [0; 6];
        let status = status as u8;
        let head = ResultHead { ttl_ms, version, value_len, item_flags, status, marks, reserved };
        out.extend_from_slice(&head.to_bytes());
        out.extend_from_slice(value);
    }
}

/// Reads the value of the answer to a TRANSACT that was executed; `None` if it is none.
#[must_use]
pub fn results(bytes: &[u8]) -> Option<Vec<StepResult<'_>>> {
    let (mut rest, mut read) = (bytes, Vec::new());
    while !rest.is_empty() {
        let (head, behind) = ResultHead::split(rest)?;
        let (value, behind) = behind.split_at_checked(head.value_len as usize)?;
        let ResultHead { ttl_ms, version, item_flags, marks, .. } = head;
        let status = Status::from_wire(head.status)?;
        read.push(StepResult { status, version, ttl_ms, item_flags, marks, value });
        rest = behind;
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modify::{Edit, Gives, Ttl, When};

    fn transaction() -> Transaction<'static> {
        let put = Modify { ttl: Ttl::For(7), ..Modify::new(Edit::Set) };
        let add = Modify { gives: Gives::New, ..Modify::new(Edit::Add(-3)) };
        Transaction {
            conditions: vec![
                Condition { key: b"a", version: Some(u64::MAX) },
                Condition { key: b"other", version: None },
            ],
            steps: vec![
                Step { key: b"a", modify: put, item_flags: 9, operand: b"value" },
                Step { key: b"", modify: add, item_flags: 0, operand: b"" },
            ],
        }
    }

    #[test]
    fn a_transaction_is_read_as_it_was_written_and_no_part_of_it_is() {
        let transaction = transaction();
        let bytes = transaction.to_bytes();
        let (keys, operands) = (b"aothera".len(), b"value".len());
        let heads = TRANSACT_HEAD_BYTES + 2 * CONDITION_HEAD_BYTES + 2 * Step::HEAD_BYTES;
        assert_eq!(bytes.len(), heads + keys + operands);
        assert_eq!(Transaction::read(&bytes).as_ref(), Some(&transaction));
        for length in 0..bytes.len() {
            assert_eq!(Transaction::read(&bytes[..length]), None, "{length}");
        }
        assert_eq!(Transaction::read(&[&bytes[..], b"x"].concat()), None);
        assert_eq!(transaction.keys().collect::<Vec<_>>(), [&b"a"[..], b"other", b"a", b""]);
        assert_eq!(Transaction::read(&[0; 8]), Some(Transaction::default()));
    }

    #[test]
    fn what_is_too_much_or_has_no_meaning_is_refused() {
        let head = |conditions: u32, steps: u32| TransactHead { conditions, steps }.to_bytes();
        let condition = ConditionHead::default().to_bytes();
        let most = CONDITIONS_MAX as u32;
        let many = [&head(most, 0)[..], &condition.repeat(CONDITIONS_MAX)].concat();
        assert!(Transaction::read(&many).is_some());
        let more = [&head(most + 1, 0)[..], &condition.repeat(CONDITIONS_MAX + 1)].concat();
        assert_eq!(Transaction::read(&more), None);
        let keep = wire::write(&Modify::new(Edit::Keep), 0).to_bytes();
        let step = [&StepHead::default().to_bytes()[..], &keep].concat();
        let many = [&head(0, STEPS_MAX as u32)[..], &step.repeat(STEPS_MAX)].concat();
        assert!(Transaction::read(&many).is_some());
        let more = [&head(0, STEPS_MAX as u32 + 1)[..], &step.repeat(STEPS_MAX + 1)].concat();
        assert_eq!(Transaction::read(&more), None);
        let when = When { version: Some(3), ..When::ALWAYS };
        let conditional = Modify { when, ..Modify::new(Edit::Set) };
        let steps = vec![Step { key: b"a", modify: conditional, item_flags: 0, operand: b"" }];
        let bytes = Transaction { steps, ..Transaction::default() }.to_bytes();
        assert_eq!(Transaction::read(&bytes), None, "a version of a step");
        let reserved = ConditionHead { reserved: [0, 0, 0, 0, 0, 1], ..ConditionHead::default() };
        assert_eq!(Transaction::read(&[&head(1, 0)[..], &reserved.to_bytes()].concat()), None);
        let reserved = StepHead { reserved: [1, 0], ..StepHead::default() }.to_bytes();
        assert_eq!(Transaction::read(&[&head(0, 1)[..], &reserved, &keep].concat()), None);
        let unknown = ModifyHead { edit: 99, ..ModifyHead::default() }.to_bytes();
        let step = StepHead::default().to_bytes();
        assert_eq!(Transaction::read(&[&head(0, 1)[..], &step, &unknown].concat()), None);
    }

    #[test]
    fn results_are_read_as_they_were_written() {
        let one = StepResult {
            status: Status::NotANumber,
            version: 5,
            ttl_ms: u64::MAX,
            item_flags: 7,
            marks: 8,
            value: b"value",
        };
        let other = StepResult { status: Status::Ok, value: b"", ..one };
        let mut bytes = Vec::new();
        one.append(&mut bytes);
        other.append(&mut bytes);
        assert_eq!(results(&bytes), Some(vec![one, other]));
        assert_eq!((results(&bytes[..bytes.len() - 1]), results(&[])), (None, Some(Vec::new())));
        bytes[24] = 0xFF;
        assert_eq!(results(&bytes), None, "no such status");
    }
}
