//! Reads that are held back by the limit of the whole cluster: they begin at its rate, are refused
//! with a hint when their clients would give up first, and go elsewhere when their partition does.

use super::*;

/// The whole cluster may ask the database for this many rows a second.
fn script(reads_per_second: u64) -> Script {
    Script::with(|config| config.reads_per_second = reads_per_second)
}

fn forwards(script: &Script) -> usize {
    script.outputs.iter().filter(|output| matches!(output, Output::Forward { .. })).count()
}

/// Lets a second pass in small steps while the database answers at once; returns how often it was
/// asked.
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
fn they_begin_at_the_rate_and_those_that_would_be_too_late_are_refused() {
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

/// Half of the requests that may be in flight may wait for reads.
#[test]
fn those_that_wait_leave_room_for_writes() {
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
fn they_are_sent_on_when_their_partition_is_another_servers_again() {
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
