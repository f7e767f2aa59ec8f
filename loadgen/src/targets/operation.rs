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
}

/// The kind of an action, which is what an answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Action::Get`].
    Get,
    /// [`Action::Put`].
    Put,
    /// [`Action::Add`].
    Add,
    /// [`Action::Touch`].
    Touch,
    /// [`Action::Delete`].
    Delete,
}

impl Action<'_> {
    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Get => Kind::Get,
            Self::Put { .. } => Kind::Put,
            Self::Add { .. } => Kind::Add,
            Self::Touch { .. } => Kind::Touch,
            Self::Delete => Kind::Delete,
        }
    }
}

/// The content of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// The value.
    Value(&'a [u8]),
    /// Nothing has this key.
    Absent,
    /// It is done.
    Done,
    /// There is a value, so an add has changed nothing.
    Exists,
}

impl<'a> Found<'a> {
    /// As the checker takes it.
    #[must_use]
    pub fn seen(self) -> Seen<'a> {
        match self {
            Self::Value(bytes) => Seen::Value(bytes),
            Self::Absent | Self::Done | Self::Exists => Seen::Absent,
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
