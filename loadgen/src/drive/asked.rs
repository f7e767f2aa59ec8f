//! What a target is asked for, with the values that it is to have.

use crate::targets::operation::Action;

/// The action that the target is asked for.
pub(super) enum Asked {
    Read,
    /// Read these keys too.
    ReadMany {
        others: Vec<u32>,
    },
    Write {
        value: Vec<u8>,
        ttl_s: u32,
    },
    Add {
        value: Vec<u8>,
        ttl_s: u32,
    },
    Touch {
        ttl_s: u32,
    },
    Delete,
    Increment {
        by: u32,
    },
    /// Read a value to replace it by one of this size.
    ReadVersion {
        value_bytes: u32,
        ttl_s: u32,
    },
    Swap {
        version: u64,
        expected: Vec<u8>,
        value: Vec<u8>,
        ttl_s: u32,
    },
}

impl Asked {
    /// As a target of one key takes it.
    pub(super) fn action(&self) -> Action<'_> {
        match self {
            // Its parts are asked for one by one.
            Self::Read | Self::ReadMany { .. } => Action::Get,
            Self::Write { value, ttl_s } => Action::Put { value, ttl_s: *ttl_s },
            Self::Add { value, ttl_s } => Action::Add { value, ttl_s: *ttl_s },
            Self::Touch { ttl_s } => Action::Touch { ttl_s: *ttl_s },
            Self::Delete => Action::Delete,
            Self::Increment { by } => Action::Increment { by: *by },
            Self::ReadVersion { .. } => Action::Gets,
            Self::Swap { version, expected, value, ttl_s } => {
                Action::Cas { version: *version, expected, value, ttl_s: *ttl_s }
            }
        }
    }
}
