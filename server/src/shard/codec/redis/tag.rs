//! What a codec remembers of a request beside its bytes: how its reply is written, and where the
//! decoder was before it.

use super::LEFT_BITS;
use super::bulk::Wrong;
use super::said::Said;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// The kind of a request, by which its reply is written.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Kind { $($(#[$doc])* $name),+ }

        impl Kind {
            const ALL: &'static [Self] = &[$(Self::$name),+];
        }
    };
}

kinds! {
    /// Fixed; the number is that of a [`Said`].
    Said,
    /// Bytes that are no command; the number is that of a [`Said`], and the byte that is wrong.
    Wrong,
    /// A wrong number of words; the number is that of the command in the table.
    Arity,
    /// A wrong lifetime; the number is that of the command in the table.
    BadExpire,
    /// An unknown option, which is repeated.
    BadOption,
    /// An unknown command; its words are repeated.
    Unknown,
    /// An unknown subcommand; its words are repeated.
    Subcommand,
    /// A command that waits for EXEC.
    Queue,
    /// MULTI.
    Multi,
    /// DISCARD.
    Discard,
    /// EXEC.
    Exec,
    /// The reply to EXEC if nothing was carried out.
    ExecNull,
    /// A key of WATCH.
    Watch,
    /// UNWATCH.
    Unwatch,
    /// A command that is carried out only if its key has not changed; the number is that of its kind.
    Guard,
    /// Such a command that can't be carried out.
    GuardWrong,
    /// A transaction that its owner carries out in one step.
    Transact,
    /// The beginning of the reply to EXEC; the number is that of the commands.
    ExecHead,
    /// A command in a line.
    Inline,
    /// The value, or null.
    Get,
    /// The length of the value.
    Strlen,
    /// A part of the value.
    GetRange,
    /// The lifetime in seconds.
    Ttl,
    /// The lifetime in milliseconds.
    Pttl,
    /// The time of its end in seconds; the number is the time of the request.
    ExpireTime,
    /// The time of its end in milliseconds; the number is the time of the request.
    PexpireTime,
    /// The type of the value.
    Type,
    /// The way in which Redis would keep the value.
    Encoding,
    /// A wrong option of HELLO, which is repeated.
    HelloOption,
    /// A wrong attribute of CLIENT SETINFO, which is repeated.
    ClientAttribute,
    /// The number of accesses, which is unknown.
    Frequency,
    /// The time since the last access, which is unknown.
    IdleTime,
    /// The number of references to the value.
    References,
    /// SCRIPT LOAD; the number is that of the script.
    ScriptSha,
    /// SCRIPT EXISTS; the number is that of its words.
    ScriptExists,
    /// OK.
    Set,
    /// OK, or null if it was not done.
    SetIf,
    /// The old value, or null.
    Old,
    /// 1, or 0 if it was not done.
    Flag,
    /// The number after the change.
    Integer,
    /// The number with a fraction after the change.
    Float,
    /// The length after the change.
    Length,
    /// A key of MGET.
    Mget,
    /// A key of DEL.
    Del,
    /// A key of EXISTS or TOUCH.
    Exists,
    /// A key and a value of MSET.
    Mset,
    /// A part of a flush; the number says which.
    Flush,
    /// The last word of the command.
    Echo,
    /// HELLO.
    Hello,
    /// AUTH.
    Auth,
    /// RESET.
    Reset,
    /// CLIENT SETNAME.
    SetName,
    /// CLIENT GETNAME.
    GetName,
    /// TIME; the number is the time in milliseconds.
    Time,
    /// ACL WHOAMI.
    WhoAmI,
    /// CLIENT ID.
    ClientId,
    /// CLIENT INFO.
    ClientInfo,
    /// CLIENT LIST.
    ClientList,
    /// COMMAND.
    Commands,
    /// COMMAND COUNT.
    CommandCount,
    /// COMMAND DOCS; the number is that of its words.
    CommandDocs,
    /// COMMAND INFO; the number is that of its words.
    CommandInfo,
    /// COMMAND GETKEYS; the number is that of its words.
    GetKeys,
    /// CONFIG GET; the number is that of its words.
    ConfigGet,
    /// HELP; the number is that of the list.
    Help,
    /// INFO; the number is that of its words.
    Info,
    /// DBSIZE, and CLUSTER COUNTKEYSINSLOT.
    KeyCount,
    /// A number; it is that of the tag.
    Number,
    /// CLUSTER; the number is that of the subcommand.
    Cluster,
    /// SCAN.
    Scan,
    /// SCAN for a type that no value has.
    ScanNothing,
    /// KEYS, and CLUSTER GETKEYSINSLOT.
    Keys,
    /// RANDOMKEY.
    RandomKey,
    /// Bytes that are ignored; the number says how many words and bytes are left.
    Skip,
    /// Bytes without a meaning before a command.
    Nothing,
    /// The end of the connection.
    Ending,
}

/// See the head of this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) kind: Kind,
    pub(super) marks: u8,
    /// Less than 2^51.
    pub(super) number: u64,
}

/// Bits of [`Tag::marks`].
pub(super) mod marks {
    /// The decoder was between MULTI and EXEC.
    pub(crate) const QUEUING: u8 = 0x01;
    /// The first request of its command.
    pub(crate) const FIRST: u8 = 0x02;
    /// The last request of its command.
    pub(crate) const LAST: u8 = 0x04;
    /// The key is too long.
    pub(crate) const KEY_TOO_LONG: u8 = 0x08;
    /// There is no key.
    pub(crate) const KEY_EMPTY: u8 = 0x10;
    /// The key has no keyspace.
    pub(crate) const NO_KEYSPACE: u8 = 0x18;
    /// The value is too large.
    pub(crate) const VALUE_TOO_LARGE: u8 = 0x20;
    /// The key has another slot than the first.
    pub(crate) const CROSS_SLOT: u8 = 0x28;
    /// The bits of the last five.
    pub(crate) const WRONG: u8 = 0x38;
    /// A guard gives its key a lifetime, too.
    pub(crate) const FOLDED: u8 = 0x08;
}

/// Bits of the kind.
const KIND_BITS: u32 = 7;
/// Bits of the kind and of the marks.
const BITS: u32 = KIND_BITS + 6;

impl Tag {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, marks: 0, number: 0 }
    }

    pub(super) fn said(said: Said) -> Self {
        Self { number: said as u64, ..Self::new(Kind::Said) }
    }

    pub(super) fn wrong(wrong: Wrong) -> Self {
        let number = u64::from(wrong.byte) << 8 | wrong.said as u64;
        Self { number, ..Self::new(Kind::Wrong) }
    }

    /// What is wrong, by a tag of [`Self::wrong`].
    pub(super) fn what_is_wrong(self) -> Wrong {
        Wrong { said: Said::of(self.number as u8), byte: (self.number >> 8) as u8 }
    }

    pub(super) fn has(self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    /// The kind of the command that a guard is.
    pub(super) fn kind_of_guard(self) -> Kind {
        Kind::ALL[self.number as usize]
    }

    /// The number of words that are left of a command with many keys.
    pub(super) fn left(self) -> u64 {
        self.number & ((1 << LEFT_BITS) - 1)
    }

    /// What is wrong with a key or value of a command with many.
    pub(super) fn wrong_part(self) -> Option<Said> {
        match self.marks & marks::WRONG {
            marks::KEY_TOO_LONG => Some(Said::KeyTooLong),
            marks::KEY_EMPTY => Some(Said::KeyEmpty),
            marks::NO_KEYSPACE => Some(Said::NoKeyspace),
            marks::VALUE_TOO_LARGE => Some(Said::ValueTooLarge),
            marks::CROSS_SLOT => Some(Said::CrossSlot),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn pack(self) -> u64 {
        self.number << BITS | u64::from(self.marks) << KIND_BITS | self.kind as u64
    }

    #[inline]
    pub(super) fn unpack(tag: u64) -> Self {
        let kind = (tag & ((1 << KIND_BITS) - 1)) as usize;
        let marks = (tag >> KIND_BITS & ((1 << (BITS - KIND_BITS)) - 1)) as u8;
        Self { kind: Kind::ALL[kind], marks, number: tag >> BITS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_unpacked_as_it_was_packed() {
        assert!(Kind::ALL.len() <= 1 << KIND_BITS);
        for (number, kind) in (0..).zip(Kind::ALL) {
            assert_eq!(*kind as usize, number);
            let tag = Tag { kind: *kind, marks: 0x3f, number: (1 << 51) - 1 };
            assert_eq!(Tag::unpack(tag.pack()), tag);
        }
    }
}
