//! What becomes of several values by the steps of a TRANSACT. Pure: nothing is changed before all steps have
//! been executed on copies (transacting.rs), so that they take effect together or not at all.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use standin_protocol::transact::{Step, StepResult};

use super::modify::{self, Edit, Effect, Found, Gives, Modify, Operand, Ttl};

/// What the steps are executed on.
pub(super) trait Values {
    /// Returns the value of a key. Without `wants_bytes`, it may come without its bytes.
    fn find(&mut self, key: &[u8], wants_bytes: bool) -> Option<Found>;
    /// Returns for how many milliseconds a new value lives; `u64::MAX`: it has no end.
    fn lives_ms(&mut self, ttl: Ttl) -> u64;
    /// Returns the size of the largest value that the key may have.
    fn value_bytes_max(&self, key: &[u8]) -> usize;
}

/// The largest numbers of bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Of all values that are read, and that steps leave.
    pub(super) values: usize,
    /// Of the results.
    pub(super) results: usize,
}

/// What has become of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// It stays under its version, with another lifetime or other marks.
    Header,
    /// It is another one.
    Stored,
    /// There is none any more.
    Deleted,
}

/// A value while steps are executed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Staged {
    pub(super) found: Option<Found>,
    pub(super) change: Change,
}

/// What the steps have done.
#[derive(Debug)]
pub(super) struct Executed<'a> {
    /// The values by their keys, in an order that does not depend on chance.
    pub(super) values: BTreeMap<&'a [u8], Staged>,
    /// The value of the answer.
    pub(super) results: Bytes,
}

/// Executes the steps in their order. Returns `None` if more bytes would be needed than there may be.
pub(super) fn execute<'a>(
    steps: &[Step<'a>],
    bounds: Bounds,
    around: &mut impl Values,
) -> Option<Executed<'a>> {
    let mut wants_bytes: BTreeMap<&[u8], bool> = BTreeMap::new();
    for step in steps {
        *wants_bytes.entry(step.key).or_default() |= depends_on_bytes(&step.modify);
    }
    let (mut values, mut results) = (BTreeMap::new(), Vec::new());
    let mut value_bytes = 0;
    for step in steps {
        let staged = match values.entry(step.key) {
            Entry::Occupied(staged) => staged.into_mut(),
            Entry::Vacant(place) => {
                let found = around.find(step.key, wants_bytes[step.key]);
                value_bytes += found.as_ref().map_or(0, |found| found.value.len());
                place.insert(Staged { found, change: Change::Nothing })
            }
        };
        let operand = Bytes::copy_from_slice(step.operand);
        let operand = Operand { value: &operand, flags: step.item_flags };
        let most = around.value_bytes_max(step.key);
        let applied = modify::apply(&step.modify, staged.found.as_ref(), operand, most);
        if let Effect::Store { value, .. } = &applied.effect {
            value_bytes += value.len();
        }
        if value_bytes > bounds.values {
            return None;
        }
        staged.change(applied.effect, around);
        let found = staged.found.as_ref();
        let result = StepResult {
            status: applied.status,
            version: found.map_or(0, |found| found.version),
            ttl_ms: found.map_or(0, |found| found.ttl_ms),
            item_flags: applied.flags,
            marks: applied.marks,
            value: &applied.value,
        };
        result.append(&mut results);
        if results.len() > bounds.results {
            return None;
        }
    }
    Some(Executed { values, results: results.into() })
}

/// Whether what an operation does or answers depends on the bytes of the value that it finds.
fn depends_on_bytes(modify: &Modify) -> bool {
    let Modify { edit, when, gives, .. } = modify;
    let by_edit = match edit {
        Edit::Set | Edit::Delete | Edit::Clear => false,
        Edit::Keep => *gives != Gives::Nothing,
        _ => true,
    };
    by_edit || when.equals_operand || *gives == Gives::Old
}

impl Staged {
    fn change(&mut self, effect: Effect, around: &mut impl Values) {
        match effect {
            Effect::Nothing => {}
            Effect::Header { ttl, marks } => {
                let found = self.found.as_mut().expect("only a value that is there is kept");
                found.marks = marks;
                if ttl != Ttl::Keep {
                    found.ttl_ms = around.lives_ms(ttl);
                }
                if self.change == Change::Nothing {
                    self.change = Change::Header;
                }
                self.end_if_expired();
            }
            Effect::Store { value, flags, marks, ttl } => {
                let ttl_ms = around.lives_ms(ttl);
                self.found = Some(Found { value, flags, marks, version: 0, ttl_ms });
                self.change = Change::Stored;
                self.end_if_expired();
            }
            Effect::Delete => (self.found, self.change) = (None, Change::Deleted),
        }
    }

    /// A lifetime of nothing has passed for the steps behind it, too.
    fn end_if_expired(&mut self) {
        if self.found.as_ref().is_some_and(|found| found.ttl_ms == 0) {
            (self.found, self.change) = (None, Change::Deleted);
        }
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::transact::results;

    use super::*;
    use crate::node::answer::Status;

    const BOUNDS: Bounds = Bounds { values: 100, results: 1_000 };

    /// Values that were there before, of version 7 and without an end.
    struct Before<'a>(&'a [(&'a str, &'a str)]);

    impl Values for Before<'_> {
        fn find(&mut self, key: &[u8], wants_bytes: bool) -> Option<Found> {
            let (_, value) = self.0.iter().find(|(name, _)| name.as_bytes() == key)?;
            let value = if wants_bytes { value.as_bytes() } else { b"" };
            let value = Bytes::copy_from_slice(value);
            Some(Found { value, flags: 3, marks: 0, version: 7, ttl_ms: u64::MAX })
        }

        fn lives_ms(&mut self, ttl: Ttl) -> u64 {
            match ttl {
                Ttl::For(ms) | Ttl::Longer(ms) => ms,
                Ttl::Keyspace | Ttl::Keep => 60_000,
                Ttl::Never => u64::MAX,
            }
        }

        fn value_bytes_max(&self, _key: &[u8]) -> usize {
            20
        }
    }

    fn step<'a>(key: &'a str, modify: Modify, operand: &'a str) -> Step<'a> {
        Step { key: key.as_bytes(), modify, item_flags: 0, operand: operand.as_bytes() }
    }

    fn set(ttl: Ttl) -> Modify {
        Modify { ttl, ..Modify::new(Edit::Set) }
    }

    fn get() -> Modify {
        Modify { gives: Gives::Old, ..Modify::new(Edit::Keep) }
    }

    #[test]
    fn each_step_finds_what_those_before_it_have_left() {
        let add = Modify { gives: Gives::New, ..Modify::new(Edit::Add(5)) };
        let expire = Modify { ttl: Ttl::For(9), ..Modify::new(Edit::Keep) };
        let steps = [
            step("n", get(), ""),
            step("n", add, ""),
            step("n", add, ""),
            step("n", get(), ""),
            step("x", get(), ""),
            step("x", set(Ttl::Keyspace), "new"),
            step("x", expire, ""),
            step("x", get(), ""),
            step("x", Modify::new(Edit::Delete), ""),
            step("x", Modify::new(Edit::Delete), ""),
            step("y", expire, ""),
            step("y", add, ""),
            step("z", Modify { ttl: Ttl::For(0), ..expire }, ""),
            step("z", get(), ""),
            step("w", set(Ttl::For(0)), "short"),
            step("w", get(), ""),
        ];
        let mut before = Before(&[("n", "1"), ("y", "text"), ("z", "gone")]);
        let executed = execute(&steps, BOUNDS, &mut before).unwrap();
        let shown: Vec<(Status, String, u64)> = results(&executed.results)
            .unwrap()
            .iter()
            .map(|of| (of.status, String::from_utf8(of.value.to_vec()).unwrap(), of.ttl_ms))
            .collect();
        use Status::{NotANumber, NotFound, Ok};
        let wanted = [
            (Ok, "1", u64::MAX),
            (Ok, "6", u64::MAX),
            (Ok, "11", u64::MAX),
            (Ok, "11", u64::MAX),
            (NotFound, "", 0),
            (Ok, "", 60_000),
            (Ok, "", 9),
            (Ok, "new", 9),
            (Ok, "", 0),
            (NotFound, "", 0),
            (Ok, "", 9),
            (NotANumber, "", 9),
            (Ok, "", 0),
            (NotFound, "", 0),
            (Ok, "", 0),
            (NotFound, "", 0),
        ]
        .map(|(status, value, ttl_ms)| (status, value.to_owned(), ttl_ms));
        assert_eq!(shown, wanted);
        let changes: Vec<(&[u8], Change)> =
            executed.values.iter().map(|(key, staged)| (*key, staged.change)).collect();
        use Change::{Deleted, Header, Stored};
        let wanted: [(&[u8], Change); 5] =
            [(b"n", Stored), (b"w", Deleted), (b"x", Deleted), (b"y", Header), (b"z", Deleted)];
        assert_eq!(changes, wanted);
        let number = executed.values[&b"n"[..]].found.as_ref().unwrap();
        assert_eq!((&number.value[..], number.version, number.flags), (&b"11"[..], 0, 3));
    }

    #[test]
    fn a_value_that_is_only_read_or_given_a_lifetime_keeps_its_version() {
        let expire = Modify { ttl: Ttl::For(9), ..Modify::new(Edit::Keep) };
        let steps = [step("a", get(), ""), step("b", expire, ""), step("b", set(Ttl::Never), "")];
        let executed = execute(&steps, BOUNDS, &mut Before(&[("a", "1"), ("b", "2")])).unwrap();
        let versions: Vec<u64> =
            results(&executed.results).unwrap().iter().map(|result| result.version).collect();
        assert_eq!(versions, [7, 7, 0]);
        assert_eq!(executed.values[&b"a"[..]].change, Change::Nothing);
    }

    #[test]
    fn a_value_that_is_too_large_is_refused_in_its_place() {
        let long = "x".repeat(21);
        let steps = [step("a", set(Ttl::Never), &long), step("a", set(Ttl::Never), "short")];
        let executed = execute(&steps, BOUNDS, &mut Before(&[])).unwrap();
        let statuses: Vec<Status> =
            results(&executed.results).unwrap().iter().map(|result| result.status).collect();
        assert_eq!(statuses, [Status::TooLarge, Status::Ok]);
    }

    #[test]
    fn the_bytes_of_what_is_read_left_and_answered_are_bounded() {
        let value = "x".repeat(20);
        let before = [("a", &*value), ("b", &value), ("c", &value), ("d", &value), ("e", &value)];
        let execute = |steps: &[Step<'_>]| execute(steps, BOUNDS, &mut Before(&before)).is_some();
        let keys = ["a", "b", "c", "d", "e"];
        let all = |modify| keys.map(|key| step(key, modify, "")).to_vec();
        assert!(execute(&all(get())), "100 bytes");
        assert!(!execute(&[all(get()), vec![step("f", set(Ttl::Never), "1")]].concat()));
        assert!(execute(&[all(set(Ttl::Never)), all(Modify::new(Edit::Delete))].concat()));
        let many = vec![step("a", get(), ""); 19];
        assert!(execute(&many), "19 results of 52 bytes");
        assert!(!execute(&[many, vec![step("a", get(), "")]].concat()));
    }
}
