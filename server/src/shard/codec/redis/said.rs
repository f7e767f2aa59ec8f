//! Replies that depend on nothing but the request, word for word as Redis gives them where it does.

macro_rules! said {
    ($($name:ident = $text:expr;)+) => {
        /// A fixed reply.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Said { $($name),+ }

        impl Said {
            const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The reply without the end of its line.
            pub(super) fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

said! {
    Ok = "+OK";
    Pong = "+PONG";
    Zero = ":0";
    Empty = "*0";
    CountTooLong = "-ERR Protocol error: too big mbulk count string";
    BadCount = "-ERR Protocol error: invalid multibulk length";
    NoDollar = "-ERR Protocol error: expected '$', got '%'";
    LengthTooLong = "-ERR Protocol error: too big bulk count string";
    BadLength = "-ERR Protocol error: invalid bulk length";
    InlineTooLong = "-ERR Protocol error: too big inline request";
    BadQuotes = "-ERR Protocol error: unbalanced quotes in request";
    EarlyCount = "-ERR Protocol error: unauthenticated multibulk length";
    EarlyLength = "-ERR Protocol error: unauthenticated bulk length";
    Syntax = "-ERR syntax error";
    NotInteger = "-ERR value is not an integer or out of range";
    NotFloat = "-ERR value is not a valid float";
    NotPositive = "-ERR value is out of range, must be positive";
    WouldOverflow = "-ERR increment or decrement would overflow";
    DecrementOverflows = "-ERR decrement would overflow";
    NotFinite = "-ERR increment would produce NaN or Infinity";
    BadOffset = "-ERR offset is out of range";
    StringTooLong = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    ValueTooLarge = "-ERR the value or command is larger than this server allows (limits.value_bytes)";
    TooManyWords = "-ERR the command has too many arguments";
    KeyTooLong = "-ERR the key is longer than this server allows (limits.key_bytes)";
    KeyEmpty = "-ERR keys can't be empty here";
    NoKeyspace = "-ERR the key names no keyspace, and there is no default_keyspace";
    OptionsNx = "-ERR NX and XX, GT or LT options at the same time are not compatible";
    OptionsGtLt = "-ERR GT and LT options at the same time are not compatible";
    DbIndex = "-ERR DB index is out of range";
    NotProtocol = "-ERR Protocol version is not an integer or out of range";
    NoProtocol = "-NOPROTO unsupported protocol version";
    ClientName = "-ERR Client names cannot contain spaces, newlines or special characters.";
    ClientNameTooLong = "-ERR Client names can have at most 1024 bytes here.";
    NoMulti = "-ERR EXEC without MULTI";
    NoMultiDiscard = "-ERR DISCARD without MULTI";
    Nested = "-ERR MULTI calls can not be nested";
    WatchInside = "-ERR WATCH inside MULTI is not allowed";
    WatchesOne = "-ERR EXEC was not carried out: with WATCH, a transaction that writes needs all its \
                  keys in one slot or partition of a keyspace without a database, and as many bytes as one value; \
                  otherwise it can have one watched key only, which one of its commands writes before others use it";
    TransactionTooLarge = "-ERR EXEC was not carried out: with WATCH, the values that a transaction \
                           reads and leaves, or its replies, can have limits.value_bytes together";
    WatchedTooLarge = "-ERR EXEC was not carried out: the value of a watched key is larger than \
                       limits.value_bytes, so it is not cached, and changes of it can't be noticed";
    TooManyWatched = "-ERR EXEC was not carried out: the connection watches too many keys";
    ExecAbort = "-EXECABORT Transaction discarded because of previous errors.";
    QueueTooLarge = "-ERR the transaction is larger than 4 MiB, the most that is kept until EXEC: send it in parts";
    Queued = "+QUEUED";
    Reset = "+RESET";
    CrossSlot = "-CROSSSLOT Keys in request don't hash to the same slot";
    BadSlot = "-ERR Invalid slot";
    BadSlotOrCount = "-ERR Invalid slot or number of keys";
    NotAllAnswer = "-CLUSTERDOWN a server that may have keys does not answer";
    NoCluster = "-ERR This instance has cluster support disabled";
    BadCursor = "-ERR invalid cursor";
    PatternTooLong = "-ERR the pattern is longer than this server allows";
    NoConfigSet = "-ERR settings are in the cluster file and can't be changed here";
    ScriptExpire = "-ERR invalid expire time in 'setex' command";
    NoScript = "-NOSCRIPT No matching script. Please use EVAL.";
    OtherScript = "-ERR scripts can't be run here, except for those that docs/REDIS.md names";
    TooFewKeys = "-ERR Number of keys can't be greater than number of args";
    NegativeKeys = "-ERR Number of keys can't be negative";
    NoFrequency = "-ERR An LFU maxmemory policy is not selected, access frequency not tracked. \
                   Please note that when switching between policies at runtime LRU and LFU data \
                   will take some time to adjust.";
    NoIdleTime = "-ERR the times of accesses are not tracked here";
    FlushMode = "-ERR SCRIPT FLUSH only support SYNC|ASYNC option";
    SeveralSet = "-ERR MSETNX can set one key here: several can't be set in one step";
    NegativeTimeout = "-ERR timeout is negative";
    BadTimeout = "-ERR timeout is not an integer or out of range";
    ClientInfo = "-ERR lib-name and lib-ver cannot contain spaces, newlines or special characters.";
    NoKeys = "-ERR The command has no key arguments";
    BadCommand = "-ERR Invalid command specified";
    BadWords = "-ERR Invalid number of arguments specified for command";
    WrongPassword = "-WRONGPASS invalid username-password pair or user is disabled.";
    NoPassword = "-ERR AUTH <password> called without any password configured for the default user. \
                  Are you sure your configuration is correct?";
    NoAuth = "-NOAUTH Authentication required.";
    NoAuthHello = "-NOAUTH HELLO must be called with the client already authenticated, otherwise the \
                   HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client \
                   and select the RESP protocol version at the same time";
}

impl Said {
    /// The reply with this number.
    pub(super) fn of(number: u8) -> Self {
        Self::ALL[usize::from(number)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reply_has_its_number_and_is_one_line() {
        for (number, said) in (0..).zip(Said::ALL) {
            assert_eq!((Said::of(number), *said as u8), (*said, number));
            assert!(!said.text().contains(['\r', '\n']), "{said:?}");
            assert!(said.text().starts_with(['+', '-', ':', '*']), "{said:?}");
        }
    }
}
