//! Tests of reads that are held back by the limit of the whole cluster. They begin at its rate, are
//! refused with a hint when their clients would give up first, and follow their partition to
//! another server.

use super::*;

/// Creates a shard of a cluster that may ask the database for this many rows per second.
fn script(reads_per_second: u64) -> Script {
    Script::with(|config| config.reads_per_second = reads_per_second)
}

fn forwards(script: &Script) -> usize {
    script.outputs.iter().filter(|output| matches!(output, Output::Forward { .. })).count()
}

/// Lets a second pass in small steps while the database answers at once. Returns the number of
/// calls to it.
fn second(script: &mut Script) -> usize {
    let mut asked = 0;
    for _ in 0..20 {
        script.advance(Duration::from_millis(50));
        script.collect();
        for call in script.calls() {
            asked += 1;
            script.found(&call, b"v");
        }
    }
    asked
}

#[test]
fn reads_begin_at_the_rate_and_late_ones_are_refused() {
    let mut script = script(20);
    let keys = script.keys_of(OWN, 45);
    for key in &keys {
        script.get(key);
    }
    let mut begun = script.calls().len();
    assert!(begun < 20 && script.node.counters.rate_held > 5);
    let mut refused = 0;
    for _ in 0..6 {
        for reply in script.replies() {
            assert!(matches!(reply.status, Status::Ok | Status::Overloaded), "{reply:?}");
            refused += usize::from(reply.status == Status::Overloaded);
        }
        let asked = second(&mut script);
        assert!(asked <= 20, "{asked} in a second");
        begun += asked;
    }
    assert_eq!(begun + refused, 45, "{refused} were refused");
    assert_eq!(script.node.counters.rate_refused, refused as u64);
    assert!(begun > 10 && refused > 0, "{begun} begun, {refused} refused");
    assert_eq!(script.node.in_flight(), 0);
}

/// The reads that wait may take half of the requests that may be in flight.
#[test]
fn waiting_reads_leave_room_for_writes() {
    let mut script = script(200);
    let keys = script.keys_of(OWN, 70);
    for key in &keys {
        script.get(key);
    }
    let refused = script.replies();
    assert!(refused.iter().all(|got| got.status == Status::Overloaded));
    assert!((15..30).contains(&refused.len()), "{} refused", refused.len());
    assert_eq!(script.put(&keys[0], b"v"), None);
    let calls = script.calls();
    assert!(calls.iter().any(|call| matches!(call.operation, Operation::Put { .. })));
}

#[test]
fn reads_are_forwarded_when_another_server_owns_their_partition_again() {
    let mut script = script(20);
    script.announce([ServerState::Online, ServerState::Offline]);
    let keys = script.keys_of(PEER, 40);
    for key in &keys {
        script.get(key);
    }
    let begun = script.calls().len();
    assert!(begun < 30, "{begun} begun");
    assert_eq!(forwards(&script), 0);
    script.announce([ServerState::Online, ServerState::Returning]);
    script.announce([ServerState::Online, ServerState::Online]);
    let gets = script.outputs.iter().filter(|output| match output {
        Output::Forward { command, .. } => command.head.action == Action::Get,
        _ => false,
    });
    let gets = gets.count();
    assert!(gets > 0 && gets <= 40 - begun, "{gets} of {}", 40 - begun);
    second(&mut script);
    assert!(script.calls().is_empty());
}
