//! Callers that every text protocol must survive: they connect without end, do not read, or leave a request
//! unfinished. The words are the protocol's own.

use standin_config::{ClusterConfig, IoKind};
use standin_testkit::wait_until;

use super::kernel::raise_descriptor_limit;
use super::{Caller, Cluster, WITHIN, ring};

/// A request that is always answered, and its reply.
pub type Ping = (&'static str, &'static str);

/// The number of callers in a crowd, and the memory that each of them may take.
const CROWD: usize = 2_000;
const CALLER_BYTES: u64 = 16 << 10;
/// Memory that the first crowd may leave behind, such as threads' stacks and the allocator's.
const SLACK_BYTES: u64 = 48 << 20;
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

/// Lets crowds of callers send these beginnings, one after the other. Each caller takes a bounded amount of
/// memory, others are served meanwhile, and no crowd leaves anything behind. `resident` returns the memory of
/// the process, and `connections` the number of its open connections.
pub fn crowds_leave_nothing_behind(
    connect: impl Fn() -> Caller,
    ping: Ping,
    beginnings: &[&[u8]],
    resident: impl Fn() -> u64,
    connections: impl Fn() -> u64,
) {
    raise_descriptor_limit();
    connect().ask(ping.0, ping.1);
    let (idle, mut before) = (connections(), resident());
    for round in 0..3 {
        let one = |number: usize| {
            let mut caller = connect();
            // The other side may close the connection before it has read everything.
            let _ = caller.try_send(beginnings[number % beginnings.len()]);
            caller
        };
        let crowd: Vec<Caller> = (0..CROWD).map(one).collect();
        // A process that stands still for a moment closes all its connections.
        wait_until(WITHIN, "others to be served", || connect().is_answered(ping.0, ping.1));
        let grown = resident().saturating_sub(before);
        let most = CROWD as u64 * CALLER_BYTES + SLACK_BYTES;
        assert!(grown < most, "crowd {round} takes {} MiB", grown >> 20);
        drop(crowd);
        wait_until(WITHIN, "the crowd to be gone", || connections() <= idle);
        let left = resident().saturating_sub(before);
        assert!(left < SLACK_BYTES, "crowd {round} leaves {} MiB", left >> 20);
        // What the process keeps for the next crowd must not grow.
        before = before.max(resident());
    }
}

/// Takes all places for connections. One that the start of the cluster has used may be free only after a moment.
pub fn take_places(places: usize, connect: impl Fn() -> Caller, ping: Ping) -> Vec<Caller> {
    let take = || {
        let mut caller = connect();
        caller.is_answered(ping.0, ping.1).then_some(caller)
    };
    let mut callers = Vec::new();
    wait_until(WITHIN, "all places to be taken", || {
        callers.extend(take());
        callers.len() == places
    });
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
