//! Tests of what is said about requests that took long. All requests of a script were asked at time 0, a
//! second before it begins.

use super::*;
use crate::node::slow::{Slow, Wait};

const MS: Duration = Duration::from_millis(1);

fn script() -> Script {
    Script::with(|config| config.keyspaces[0].log_slower_than = Some(1_050 * MS))
}

impl Script {
    fn slow(&mut self) -> Vec<Slow> {
        let outputs = std::mem::take(&mut self.outputs);
        let (slow, rest) = outputs.into_iter().partition(|o| matches!(o, Output::Slow(_)));
        self.outputs = rest;
        let into_slow = |output| match output {
            Output::Slow(slow) => *slow,
            _ => unreachable!(),
        };
        VecDeque::into_iter(slow).map(into_slow).collect()
    }

    /// The only one, with its times in milliseconds.
    fn slow_one(&mut self) -> (Slow, Vec<(Wait, u128)>) {
        let mut slow = self.slow();
        assert_eq!(slow.len(), 1, "{slow:?}");
        let slow = slow.remove(0);
        let of = |wait| (wait, slow.times.of(wait).as_millis());
        let times = Wait::ALL.into_iter().map(of).filter(|(_, ms)| *ms > 0).collect();
        (slow, times)
    }
}

#[test]
fn a_slow_read_says_how_long_its_statement_waited_and_ran() {
    let mut s = script();
    let key = s.key_of(OWN);
    s.get(&key);
    let call = s.call();
    s.advance(20 * MS);
    s.node.origin_sent(call.token, s.now.mono);
    s.advance(40 * MS);
    s.found(&call, b"v");
    let (slow, times) = s.slow_one();
    assert_eq!((&*slow.key, slow.keyspace, slow.action), (&key[..], 1, Action::Get));
    assert_eq!((slow.status, slow.is_peer, slow.peer), (Status::Ok, false, None));
    assert_eq!(slow.took, 1_060 * MS);
    assert_eq!(times, [(Wait::Connection, 20), (Wait::Database, 40)]);
    assert_eq!(s.node.counters.slow_requests, 1);
}

#[test]
fn a_request_within_the_time_of_its_keyspace_is_not_spoken_of_and_neither_is_a_hit() {
    let mut s = script();
    let key = s.key_of(OWN);
    s.get(&key);
    let call = s.call();
    s.advance(49 * MS);
    s.found(&call, b"v");
    s.advance(Duration::from_secs(5));
    assert_eq!(s.get(&key).unwrap().value, b"v");
    assert_eq!((s.slow(), s.node.counters.slow_requests), (Vec::new(), 0));

    let mut s = Script::new();
    s.get(&key);
    let call = s.call();
    s.advance(Duration::from_secs(100));
    s.found(&call, b"v");
    assert_eq!(s.slow(), [], "a keyspace without a limit");
}

#[test]
fn a_write_that_waits_for_an_earlier_one_and_a_read_that_waits_for_a_fetch_say_so() {
    let mut s = script();
    let key = s.key_of(OWN);
    s.put(&key, b"v1");
    let first = s.call();
    s.put(&key, b"v2");
    s.advance(40 * MS);
    s.written(&first);
    assert_eq!(s.slow(), [], "the first took 40 ms");
    let second = s.call();
    s.advance(30 * MS);
    s.answer(&second, Outcome::Failed(Failure::Unavailable));
    let (slow, times) = s.slow_one();
    assert_eq!((slow.action, slow.status), (Action::Put, Status::OriginUnavailable));
    assert_eq!(times, [(Wait::Turn, 40), (Wait::Connection, 30)], "it was never sent");

    let mut s = script();
    s.get(&key);
    let fetch = s.call();
    s.get(&key);
    s.advance(60 * MS);
    s.node.origin_sent(fetch.token, s.now.mono);
    s.found(&fetch, b"v");
    let waited: Vec<_> = s
        .slow()
        .iter()
        .map(|slow| (slow.times.of(Wait::Connection), slow.times.of(Wait::Fetch)))
        .collect();
    assert_eq!(waited, [(60 * MS, Duration::ZERO), (Duration::ZERO, 60 * MS)]);
}

#[test]
fn a_forwarded_request_names_the_server_and_a_write_without_an_owner_says_that_it_waited_for_one() {
    let mut s = script();
    let key = s.key_of(PEER);
    s.get(&key);
    let forward = s.forward();
    s.advance(70 * MS);
    s.forward_answered(forward, Status::Ok);
    let (slow, times) = s.slow_one();
    assert_eq!((slow.peer, times), (Some(PEER), vec![(Wait::Peer, 70)]));

    s.put(&key, b"v");
    let (_, token, _) = s.forward();
    s.advance(10 * MS);
    s.forward_fails(token, ForwardFailure::Unreachable);
    s.advance(45 * MS);
    s.announce([ServerState::Online, ServerState::Offline]);
    let call = s.call();
    s.advance(5 * MS);
    s.written(&call);
    let (slow, times) = s.slow_one();
    assert_eq!(slow.peer, Some(PEER));
    assert_eq!(times, [(Wait::Connection, 5), (Wait::Peer, 10), (Wait::Owner, 45)]);
}
