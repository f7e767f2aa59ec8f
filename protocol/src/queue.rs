//! The length and the bound of everything that a part remembers, for the checks that all of it is
//! bounded.

/// A collection that grows while others are slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Its name in the code.
    pub name: &'static str,
    /// Its present length.
    pub length: usize,
    /// The length that it may have.
    pub bound: usize,
}

impl Queue {
    /// Creates the record of a collection.
    #[must_use]
    pub fn new(name: &'static str, length: usize, bound: usize) -> Self {
        Self { name, length, bound }
    }
}
