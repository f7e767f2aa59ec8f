//! How much a part remembers, and how much it may: for whoever checks that all of it is bounded.

/// Something that grows while others do not get on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// What it is called in the code.
    pub name: &'static str,
    /// How long it is now.
    pub length: usize,
    /// How long it may be.
    pub bound: usize,
}

impl Queue {
    /// Something of that length.
    #[must_use]
    pub fn new(name: &'static str, length: usize, bound: usize) -> Self {
        Self { name, length, bound }
    }

    /// Whether it is longer than it may be.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        self.length > self.bound
    }
}
