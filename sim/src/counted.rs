//! Counts how often things have happened. Each seed counts some hundred of them, so their names are
//! composed only for display.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// The beginning of a name, and the rest of it.
type Name = (&'static str, Cow<'static, str>);

/// See the file's head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counted(BTreeMap<Name, u64>);

impl Counted {
    /// Adds to a count. `of` is the beginning of its name.
    pub(crate) fn add(&mut self, of: &'static str, name: impl Into<Cow<'static, str>>, by: u64) {
        *self.0.entry((of, name.into())).or_default() += by;
    }

    pub(crate) fn add_all(&mut self, other: Self) {
        for (name, by) in other.0 {
            *self.0.entry(name).or_default() += by;
        }
    }

    /// Returns the full names, sorted, with the counts.
    pub(crate) fn list(&self) -> BTreeMap<String, u64> {
        self.0.iter().map(|((of, name), count)| (format!("{of}{name}"), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_whatever_they_begin_with() {
        let mut counted = Counted::default();
        counted.add("sim ", "reads", 1);
        counted.add("", "probes", 2);
        let mut other = Counted::default();
        other.add("sim ", "reads".to_owned(), 4);
        counted.add_all(other);
        let list: Vec<(String, u64)> = counted.list().into_iter().collect();
        assert_eq!(list, [("probes".to_owned(), 2), ("sim reads".to_owned(), 5)]);
    }
}
