//! MODIFY: atomic read-modify-write operations.
//!
//! They are what memcached's and Redis' commands need beyond GET, PUT, DELETE, CAS and TOUCH. One
//! description serves both, so that a codec is a table from commands to [`Modify`]. The server
//! applies it (`server/src/node/modify/`); [`wire`] has its bytes.

pub mod wire;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A read-modify-write of one value. The operand is the command's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Modify {
    /// The new value.
    pub edit: Edit,
    /// The conditions, all of which must hold.
    pub when: When,
    /// The new lifetime.
    pub ttl: Ttl,
    /// The value that the answer brings.
    pub gives: Gives,
    /// The value that is stored if there is none. The edit is not applied then.
    pub vivify: Option<Vivify>,
}

impl Modify {
    /// Returns a hash of everything that the operation does, and of its operand's hash.
    #[must_use]
    pub fn hash_with(&self, operand: u64) -> u64 {
        let seed = operand ^ self.when.version.unwrap_or(0).rotate_left(32);
        xxh3_64_with_seed(&wire::write(self, 0).to_bytes(), seed)
    }

    /// Creates an unconditional operation that keeps the lifetime, and whose answer has no value.
    #[must_use]
    pub const fn new(edit: Edit) -> Self {
        let (when, ttl, gives) = (When::ALWAYS, Ttl::Keep, Gives::Nothing);
        Self { edit, when, ttl, gives, vivify: None }
    }
}

/// The change to a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Edit {
    /// The value stays. Only its lifetime changes.
    Keep,
    /// It is replaced by the operand, with the flags of the command.
    Set,
    /// The operand is put behind it. If there is no value, the operand becomes the value.
    Append,
    /// The operand is put before it. If there is no value, the operand becomes the value.
    Prepend,
    /// It is overwritten by the operand from this offset on. A gap is filled with zeros.
    Overwrite(u32),
    /// It is a number of 64 bits without sign in decimal digits, and grows. It wraps around.
    Increment(u64),
    /// It is a number of 64 bits without sign in decimal digits, and shrinks, to zero at most.
    Decrement(u64),
    /// It is a number of 64 bits with a sign in decimal digits. It may not overflow. If there is no
    /// value, it counts as zero.
    Add(i64),
    /// It is a number with a fraction in decimal digits, and the operand is added to it. If there is no
    /// value, it counts as zero.
    AddFloat,
    /// It becomes empty, without flags.
    Clear,
    /// It is marked as stale, under a new version.
    MarkStale,
    /// It is read by one of many callers who would compute it again. The first who finds it stale,
    /// or with less than this time to live, is told to (WINS), and the others that somebody does
    /// (WON).
    Herd {
        /// In milliseconds; 0: only what is stale is computed again; [`RECACHE_ALWAYS`]: whatever its
        /// lifetime.
        recache_ms: u64,
    },
    /// It is deleted.
    Delete,
}

/// A value is computed again, whatever its lifetime ([`Edit::Herd`]).
pub const RECACHE_ALWAYS: u64 = u64::MAX;

/// The conditions for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct When {
    /// Whether there must be a value, or none.
    pub presence: Presence,
    /// The version that must be current.
    pub version: Option<u64>,
    /// An older version than the current one is accepted too, and leaves the value marked as stale.
    pub older_marks_stale: bool,
    /// The value must be equal to the operand.
    pub equals_operand: bool,
    /// The condition on the lifetime that it has.
    pub lifetime: LifetimeTest,
}

impl When {
    /// No conditions.
    pub const ALWAYS: Self = Self {
        presence: Presence::Any,
        version: None,
        older_marks_stale: false,
        equals_operand: false,
        lifetime: LifetimeTest::Any,
    };
}

/// The condition on the presence of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
    /// None.
    #[default]
    Any,
    /// There must be no value.
    Absent,
    /// There must be a value.
    Present,
}

/// The condition on the lifetime of a value. A value without one lives longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LifetimeTest {
    /// There is none.
    #[default]
    Any,
    /// It must have no lifetime.
    Endless,
    /// It must have a lifetime.
    Limited,
    /// The new lifetime must be longer.
    Longer,
    /// The new lifetime must be shorter.
    Shorter,
    /// It must have a lifetime, and the new one must be shorter.
    LimitedShorter,
}

/// The lifetime of a changed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ttl {
    /// That of the keyspace.
    #[default]
    Keyspace,
    /// The one that it had; that of the keyspace if it is new.
    Keep,
    /// It lives until it is evicted.
    Never,
    /// This number of milliseconds; 0: it has expired.
    For(u64),
    /// The one that it had, and this number of milliseconds more; only these if it is new.
    Longer(u64),
}

/// The value that an answer brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gives {
    /// None.
    #[default]
    Nothing,
    /// The one before the change.
    Old,
    /// The one after the change.
    New,
    /// The length of the one after the change, in decimal digits.
    Length,
}

/// A value that is stored if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vivify {
    /// The value.
    pub value: Vivified,
    /// Its lifetime.
    pub ttl: Ttl,
}

/// See [`Vivify`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vivified {
    /// An empty value. Its first reader is told to compute it (WINS).
    Empty,
    /// A number, in decimal digits.
    Number(u64),
    /// The operand, with the flags of the command.
    Operand,
}
