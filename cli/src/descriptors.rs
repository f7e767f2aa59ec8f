//! The limit on open files and sockets (`ulimit -n`), of which each connection needs one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard limit, for every command. If that fails, the roles use what they
/// have, and say so if it is not enough.
pub(crate) fn raise_limit() {
    let before = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, ..before });
}
