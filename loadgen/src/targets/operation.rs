//! What every target understands: a question, and the answer or failure that ends it. Knows no protocol.

use crate::checker::Seen;
use crate::recorder::FailureKind;

/// A request, as a target gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// The key's bytes.
    pub key: &'a [u8],
    /// The action.
    pub action: Action<'a>,
}

/// The action of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Read the value.
    Get,
    /// Read the values of these keys too, in one request. All are on one server.
    GetMany {
        /// The keys behind the first.
        others: &'a [Vec<u8>],
    },
    /// Read the value with its version, for a [`Self::Cas`].
    Gets,
    /// Write a value.
    Put {
        /// The value.
        value: &'a [u8],
        /// Its lifetime in seconds; 0: the target's own, or none.
        ttl_s: u32,
    },
    /// Write a value if there is none.
    Add {
        /// The value.
        value: &'a [u8],
        /// As with [`Self::Put`].
        ttl_s: u32,
    },
    /// Give what is there a lifetime.
    Touch {
        /// As with [`Self::Put`].
        ttl_s: u32,
    },
    /// Remove the key.
    Delete,
    /// Add to a number, and return the sum.
    Increment {
        /// The number added; with 0, the number is only returned.
        by: u32,
    },
    /// Write a value if what was read is still there.
    Cas {
        /// The version that was read; a target without versions has none.
        version: u64,
        /// The value that was read.
        expected: &'a [u8],
        /// The new value.
        value: &'a [u8],
        /// As with [`Self::Put`].
        ttl_s: u32,
    },
}

/// The kind of an action, which is what an answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Action::Get`].
    Get,
    /// [`Action::GetMany`].
    GetMany,
    /// [`Action::Gets`].
    Gets,
    /// [`Action::Put`].
    Put,
    /// [`Action::Add`].
    Add,
    /// [`Action::Touch`].
    Touch,
    /// [`Action::Delete`].
    Delete,
    /// [`Action::Increment`].
    Increment,
    /// [`Action::Cas`].
    Cas,
}

impl Kind {
    /// Whether it reads values, and changes nothing.
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::GetMany | Self::Gets)
    }
}

impl Action<'_> {
    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Get => Kind::Get,
            Self::GetMany { .. } => Kind::GetMany,
            Self::Gets => Kind::Gets,
            Self::Put { .. } => Kind::Put,
            Self::Add { .. } => Kind::Add,
            Self::Touch { .. } => Kind::Touch,
            Self::Delete => Kind::Delete,
            Self::Increment { .. } => Kind::Increment,
            Self::Cas { .. } => Kind::Cas,
        }
    }
}

/// The content of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// The value.
    Value(&'a [u8]),
    /// The value and its version; 0 if the target has no versions.
    Versioned(&'a [u8], u64),
    /// The values of many keys, in the order of the question; `None`: nothing has this key.
    Many(&'a [Option<&'a [u8]>]),
    /// The sum.
    Number(u64),
    /// Nothing has this key.
    Absent,
    /// It is done.
    Done,
    /// There is a value, so an add has changed nothing; or another one than was read, so a cas has not.
    Exists,
}

impl<'a> Found<'a> {
    /// As the checker takes it.
    #[must_use]
    pub fn seen(self) -> Seen<'a> {
        match self {
            Self::Value(bytes) | Self::Versioned(bytes, _) => Seen::Value(bytes),
            Self::Absent | Self::Done | Self::Exists | Self::Number(_) | Self::Many(_) => {
                Seen::Absent
            }
        }
    }
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The content.
    pub found: Found<'a>,
    /// Bits of [`standin_protocol::frame::response_flags`].
    pub flags: u8,
    /// The server that answered, in the order of the target's addresses.
    pub server: u16,
    /// The number of times that the request was sent.
    pub sends: u32,
}

/// The reason why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// The kind, by which failures are counted.
    pub kind: FailureKind,
    /// The reason in words, with the server that is concerned.
    pub text: String,
}

/// The end of a request.
pub type Ending<'a> = Result<Answer<'a>, Failure>;
