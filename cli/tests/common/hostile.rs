//! Callers that every text protocol must survive: they connect without end, do not read, or leave a request
//! unfinished. The words are the protocol's own.

use standin_config::{ClusterConfig, IoKind};
use standin_testkit::wait_until;

use super::{Caller, Cluster, WITHIN, ring};

/// A request that is always answered, and its reply.
pub type Ping = (&'static str, &'static str);

/// Times that a side may take all of what a caller sends that does not read.
const TAKEN_MAX: usize = 10_000;

/// Starts a cluster on each loop, and runs the test on it. `start` applies the change that it is given.
pub fn on_both_loops(
    start: impl Fn(&dyn Fn(&mut ClusterConfig)) -> Cluster,
    change: impl Fn(&mut ClusterConfig),
    body: impl Fn(&mut Cluster),
) {
    for io in [IoKind::Epoll, ring()] {
        let mut cluster = start(&|config| {
            config.servers.iter_mut().for_each(|server| server.io = io);
            change(config);
        });
        body(&mut cluster);
    }
}

/// Sends the beginning of a request on a connection each, which is closed after these words. A connection that
/// is silent between requests is not.
pub fn unfinished_requests_end(
    connect: impl Fn() -> Caller,
    ping: Ping,
    unfinished: &[(&str, &str)],
) {
    let mut silent = connect();
    silent.ask(ping.0, ping.1);
    for (half, wanted) in unfinished {
        let mut caller = connect();
        caller.ask(half, wanted);
        caller.expect_end();
    }
    silent.ask(ping.0, ping.1);
}

/// Sends requests whose replies the caller does not read, until the server has closed the connection. `served`
/// is called meanwhile, to see that others are served, and `dropped` counts the connections that were closed.
pub fn who_does_not_read_is_closed(
    mut slow: Caller,
    requests: &[u8],
    mut served: impl FnMut(),
    dropped: impl Fn() -> u64,
) {
    let before = dropped();
    let mut taken = 0;
    wait_until(WITHIN, "the server to close the connection", || {
        // Sends as long as the server reads, which is soon over.
        taken += slow.send_while_taken(requests, TAKEN_MAX - taken);
        served();
        dropped() > before
    });
}

/// Takes all places for connections.
pub fn take_places(places: usize, connect: impl Fn() -> Caller, ping: Ping) -> Vec<Caller> {
    let mut callers: Vec<Caller> = (0..places).map(|_| connect()).collect();
    callers.iter_mut().for_each(|caller| caller.ask(ping.0, ping.1));
    callers
}

/// Expects that a caller without a place is told so.
#[track_caller]
pub fn expect_no_place(mut caller: Caller, wanted: &str) {
    caller.expect(wanted);
    caller.expect_end();
}

/// Gives one place back, and waits until another caller has it.
pub fn give_place_back(mut places: Vec<Caller>, connect: impl Fn() -> Caller, ping: Ping) {
    places.pop();
    wait_until(WITHIN, "a place to be free", || connect().is_answered(ping.0, ping.1));
}
