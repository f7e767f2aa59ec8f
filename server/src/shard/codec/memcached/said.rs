//! The replies that a codec gives by itself, word for word as memcached does where memcached has
//! them.

/// The version of memcached whose commands are understood. Clients decide by it what they may send.
pub(super) const VERSION: &str = "1.6.18";
const VERSION_LINE: &str = "VERSION 1.6.18";

/// A reply that depends on nothing but the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Said {
    Error,
    BadFormat,
    BadChunk,
    TooLarge,
    InvalidExptime,
    InvalidDelta,
    NoKeyspace,
    BadToken,
    InvalidFlag,
    DuplicateFlag,
    BadKey,
    BadMode,
    BadArithmeticMode,
    OpaqueTooLong,
    BadInitial,
    BadDelta,
    TooManyFlags,
    TooManyFlagsToRead,
    BadFlags,
    BadModeLength,
    DeleteUsage,
    UnsupportedFlag,
    NoShutdown,
    StatsDetail,
    NoDump,
    NoDelay,
    Binary,
    Ok,
    Reset,
    Version,
    Nop,
    Verbosity,
    End,
}

impl Said {
    const ALL: [Self; 33] = [
        Self::Error,
        Self::BadFormat,
        Self::BadChunk,
        Self::TooLarge,
        Self::InvalidExptime,
        Self::InvalidDelta,
        Self::NoKeyspace,
        Self::BadToken,
        Self::InvalidFlag,
        Self::DuplicateFlag,
        Self::BadKey,
        Self::BadMode,
        Self::BadArithmeticMode,
        Self::OpaqueTooLong,
        Self::BadInitial,
        Self::BadDelta,
        Self::TooManyFlags,
        Self::TooManyFlagsToRead,
        Self::BadFlags,
        Self::BadModeLength,
        Self::DeleteUsage,
        Self::UnsupportedFlag,
        Self::NoShutdown,
        Self::StatsDetail,
        Self::NoDump,
        Self::NoDelay,
        Self::Binary,
        Self::Ok,
        Self::Reset,
        Self::Version,
        Self::Nop,
        Self::Verbosity,
        Self::End,
    ];

    /// The reply of this number.
    pub(super) fn of(number: u32) -> Self {
        let said = usize::try_from(number).ok().and_then(|number| Self::ALL.get(number));
        *said.expect("a number that this codec has given")
    }

    /// The reply, without the end of its line.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::BadFormat => "CLIENT_ERROR bad command line format",
            Self::BadChunk => "CLIENT_ERROR bad data chunk",
            Self::TooLarge => "SERVER_ERROR object too large for cache",
            Self::InvalidExptime => "CLIENT_ERROR invalid exptime argument",
            Self::InvalidDelta => "CLIENT_ERROR invalid numeric delta argument",
            Self::NoKeyspace => {
                "CLIENT_ERROR the key names no keyspace, and the cluster file has no \
                 default_keyspace"
            }
            Self::BadToken => "CLIENT_ERROR bad token in command line format",
            Self::InvalidFlag => "CLIENT_ERROR invalid flag",
            Self::DuplicateFlag => "CLIENT_ERROR duplicate flag",
            Self::BadKey => "CLIENT_ERROR error decoding key",
            Self::BadMode => "CLIENT_ERROR invalid mode for ms M token",
            Self::BadArithmeticMode => "CLIENT_ERROR invalid mode for ma M token",
            Self::OpaqueTooLong => "CLIENT_ERROR opaque token too long",
            Self::BadInitial => "CLIENT_ERROR invalid numeric initial value",
            Self::BadDelta => "CLIENT_ERROR invalid numeric delta value",
            Self::TooManyFlags => "CLIENT_ERROR options flags too long",
            Self::TooManyFlagsToRead => "CLIENT_ERROR options flags are too long",
            Self::BadFlags => "CLIENT_ERROR invalid or duplicate flag",
            Self::BadModeLength => "CLIENT_ERROR incorrect length for M token",
            Self::DeleteUsage => {
                "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]"
            }
            Self::UnsupportedFlag => {
                "CLIENT_ERROR this server does not support the flags E, h and l"
            }
            Self::NoShutdown => "ERROR: shutdown not enabled",
            Self::StatsDetail => "CLIENT_ERROR stats detail not allowed",
            Self::NoDump => "CLIENT_ERROR stats cachedump not allowed",
            Self::NoDelay => "CLIENT_ERROR flush_all with a delay is not supported",
            Self::Binary => {
                "SERVER_ERROR the binary protocol is not supported; configure the client for the \
                 text or meta protocol"
            }
            Self::Ok | Self::Verbosity => "OK",
            Self::Reset => "RESET",
            Self::Version => VERSION_LINE,
            Self::Nop => "MN",
            Self::End => "END",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reply_has_its_number_and_is_one_line() {
        for (number, said) in (0..).zip(Said::ALL) {
            assert_eq!((Said::of(number), said as u32), (said, number));
            assert!(!said.text().contains(['\r', '\n']), "{said:?}");
        }
    }

    /// Clients of memcached read a version of three numbers.
    #[test]
    fn the_version_is_three_numbers() {
        let version = Said::Version.text().strip_prefix("VERSION ").unwrap();
        assert_eq!(version, VERSION);
        let numbers: Vec<u32> = version.split('.').map(|part| part.parse().unwrap()).collect();
        assert_eq!(numbers.len(), 3);
    }
}
