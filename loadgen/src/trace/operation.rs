//! The operations of a trace, and the requests that they become.

use crate::request::Access;

/// An operation as it was recorded, by memcached's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "memcached's names")]
pub enum Operation {
    Get,
    Gets,
    Set,
    Add,
    Replace,
    Cas,
    Append,
    Prepend,
    Delete,
    Incr,
    Decr,
    Touch,
}

/// The number by which counters are incremented: no trace has another one.
const STEP: u32 = 1;

impl Operation {
    /// The operation of this name.
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"get" => Self::Get,
            b"gets" => Self::Gets,
            b"set" => Self::Set,
            b"add" => Self::Add,
            b"replace" => Self::Replace,
            b"cas" => Self::Cas,
            b"append" => Self::Append,
            b"prepend" => Self::Prepend,
            b"delete" => Self::Delete,
            b"incr" => Self::Incr,
            b"decr" => Self::Decr,
            b"touch" => Self::Touch,
            _ => return None,
        })
    }

    /// The request for a value of this size and lifetime. Where reads are judged, each value must be one that the load
    /// generator has written as a whole, so what would change a part of it writes all of it.
    #[must_use]
    pub fn access(self, value_bytes: u32, ttl_s: u32, is_judged: bool) -> Access {
        match self {
            Self::Get | Self::Gets => Access::Read,
            Self::Delete => Access::Delete,
            Self::Touch => Access::Touch { ttl_s },
            Self::Add => Access::Add { value_bytes, ttl_s },
            Self::Cas if !is_judged => Access::Cas { value_bytes, ttl_s },
            Self::Incr | Self::Decr if !is_judged => Access::Increment { by: STEP },
            // A replay begins with another content of the cache than the recording, and replace, append and prepend do
            // nothing where there is no value.
            Self::Set | Self::Replace | Self::Append | Self::Prepend => {
                Access::Write { value_bytes, ttl_s }
            }
            Self::Cas | Self::Incr | Self::Decr => Access::Write { value_bytes, ttl_s },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_becomes_a_request() {
        let access = |name: &str, is_judged| {
            Operation::of(name.as_bytes()).map(|operation| operation.access(40, 9, is_judged))
        };
        let write = Some(Access::Write { value_bytes: 40, ttl_s: 9 });
        for name in ["set", "replace", "append", "prepend"] {
            assert_eq!(access(name, false), write, "{name}");
        }
        assert_eq!(access("get", false), Some(Access::Read));
        assert_eq!(access("gets", false), Some(Access::Read));
        assert_eq!(access("add", true), Some(Access::Add { value_bytes: 40, ttl_s: 9 }));
        assert_eq!(access("cas", false), Some(Access::Cas { value_bytes: 40, ttl_s: 9 }));
        assert_eq!(access("delete", true), Some(Access::Delete));
        assert_eq!(access("touch", true), Some(Access::Touch { ttl_s: 9 }));
        for name in ["incr", "decr"] {
            assert_eq!(access(name, false), Some(Access::Increment { by: 1 }), "{name}");
        }
        for name in ["cas", "incr", "decr"] {
            assert_eq!(access(name, true), write, "{name}, judged");
        }
        for name in ["", "GET", "sing", "get "] {
            assert_eq!(access(name, false), None, "{name:?}");
        }
    }
}
