//! io_uring as a shard uses it, tried in this process.

use standin_server::check;

use crate::facts::Uring;

pub(super) fn read() -> Uring {
    let operations = check::uring_operations();
    let missing = operations.iter().filter(|(_, is_there)| *is_there == Some(false));
    Uring {
        hindrance: check::uring().err().map(|error| error.to_string()),
        missing: missing.map(|(name, _)| *name).collect(),
        used: operations.len(),
    }
}
