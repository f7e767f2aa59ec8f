//! The limit of open files and sockets (`ulimit -n`): each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Asks for as many as the hard limit allows, for every role. If that is refused, the roles do
/// with what there is, and say so if it is too little.
pub(crate) fn raise_limit() {
    let before = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, ..before });
}
