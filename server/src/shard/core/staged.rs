//! The requests of a wake-up between its first pass and the others, in the order in which they came.
//!
//! ```text
//! requests   Read, Other, Read, Read, Other, …     a cache line for each
//! others              │                 │          what only these have
//!                  Request           Request
//! ```
//! Nearly all requests are reads ([`Read`]). The passes go over thousands of them, so that the room
//! that each takes is a good part of its cost.

use std::borrow::Cow;
use std::ops::Range;

use super::{ConnKey, Source};
use crate::shard::codec::{Read, Request, What};

/// The largest number of requests that are staged at once. The memory for them is a multiple of that
/// of their bytes.
const STAGED_MAX: usize = 4_096;

/// The position of a request among the received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) conn: ConnKey,
    pub(super) source: Source,
    /// Where it begins in its source.
    pub(super) at: u32,
}

/// A whole request that waits for the second and the third pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Staged<P> {
    pub(super) from: Origin,
    pub(super) place: P,
    pub(super) what: Short,
}

const _: () =
    assert!(size_of::<Staged<crate::node::Place>>() <= 64, "a staged request is a cache line");

/// The short form of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Short {
    Read(Read),
    /// The number of one that has no short form.
    Other(u32),
}

/// Where a key lies that was brought to its form, see [`super::formed::Formed`].
pub(super) type FormedAt = (u32, u32);

/// A request without a short form.
#[derive(Debug)]
struct Other {
    request: Request,
    formed: Option<FormedAt>,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Staging<P> {
    requests: Vec<Staged<P>>,
    others: Vec<Other>,
}

impl<P> Staged<P> {
    /// All of its bytes from the first on, where its source lies.
    #[inline]
    pub(super) fn bytes<'a>(&self, source: &'a [u8]) -> &'a [u8] {
        &source[self.from.at as usize..]
    }
}

impl<P> Default for Staging<P> {
    fn default() -> Self {
        Self { requests: Vec::new(), others: Vec::new() }
    }
}

impl<P> Staging<P> {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Whether no more are staged before these are served.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.requests.len() >= STAGED_MAX
    }

    #[inline]
    pub(super) fn push_read(&mut self, from: Origin, place: P, read: Read) {
        self.requests.push(Staged { from, place, what: Short::Read(read) });
    }

    pub(super) fn push_other(
        &mut self,
        from: Origin,
        place: P,
        request: Request,
        formed: Option<FormedAt>,
    ) {
        let number = u32::try_from(self.others.len()).expect("few requests are staged");
        self.others.push(Other { request, formed });
        self.requests.push(Staged { from, place, what: Short::Other(number) });
    }

    #[inline]
    pub(super) fn requests(&self) -> &[Staged<P>] {
        &self.requests
    }

    /// The long form of a request.
    pub(super) fn request(&self, staged: &Staged<P>) -> Cow<'_, Request> {
        match staged.what {
            Short::Read(read) => Cow::Owned(read.request()),
            Short::Other(number) => Cow::Borrowed(&self.others[number as usize].request),
        }
    }

    /// Whether a request is answered before more of its connection is decoded.
    #[inline]
    pub(super) fn is_alone(&self, staged: &Staged<P>) -> bool {
        let Short::Other(number) = staged.what else { return false };
        matches!(self.others[number as usize].request.what, What::Alone(..))
    }

    /// Where the key of a request lies among those that were brought to their form; `None` if it was
    /// in its form, or there is none.
    pub(super) fn formed(&self, staged: &Staged<P>) -> Option<Range<usize>> {
        let Short::Other(number) = staged.what else { return None };
        let (from, to) = self.others[number as usize].formed?;
        Some(from as usize..to as usize)
    }

    /// Everything has been served.
    pub(super) fn clear(&mut self) {
        self.requests.clear();
        self.others.clear();
    }
}
