//! Each call has exactly one answer, no matter which party gives it.

use super::*;
use crate::origin::pause::Heartbeat;
use crate::origin::ticket::Ticket;
use standin_testkit::Scratch;

fn ticket(mailbox: &Arc<Mailbox>, operation: Operation) -> Ticket {
    let completions: Arc<dyn Completions> = Arc::<Mailbox>::clone(mailbox);
    let call = Call {
        shard: SHARD,
        token: 7,
        keyspace: KV,
        operation,
        key: Box::default(),
        made: Micros::boottime(),
        deadline: Micros::NEVER,
    };
    Ticket::new(&call, Micros::NEVER, &completions, &Arc::new(Heartbeat::new(PAUSE_MAX)))
}

fn answer_of(operation: Operation, started: bool, end: impl FnOnce(Ticket)) -> Option<Outcome> {
    let mailbox = Arc::new(Mailbox::default());
    let ticket = ticket(&mailbox, operation);
    if started {
        assert!(ticket.start());
    }
    end(ticket);
    mailbox.answers.lock().unwrap().remove(&7)
}

#[test]
fn what_is_answered_for_the_driver_depends_on_what_it_had_begun() {
    use Failure::{OutcomeUnknown, Timeout, Unavailable};
    let cases: [(Operation, bool, Failure, Failure); 4] = [
        (Operation::Get, false, Timeout, Unavailable),
        (Operation::Get, true, Timeout, Unavailable),
        (Operation::Delete, false, Unavailable, Unavailable),
        (Operation::Delete, true, OutcomeUnknown, OutcomeUnknown),
    ];
    for (operation, started, expired, dropped) in cases {
        let failed = |failure| Some(Outcome::Failed(failure));
        assert_eq!(answer_of(operation.clone(), started, Ticket::expire), failed(expired));
        assert_eq!(answer_of(operation, started, drop), failed(dropped));
    }
}

#[test]
fn a_withdrawn_ticket_has_no_answer() {
    assert_eq!(answer_of(Operation::Get, false, Ticket::withdraw), None);
}

#[test]
fn an_answered_call_cannot_be_started_or_answered_again() {
    let mailbox = Arc::new(Mailbox::default());
    let ticket = ticket(&mailbox, put("x"));
    ticket.watch().expire();
    assert!(!ticket.start());
    // A second delivery would abort.
    ticket.finish(ONE_ROW);
    assert_eq!(mailbox.answers.lock().unwrap()[&7], UNAVAILABLE);
}

#[test]
fn a_driver_that_panics_answers_what_it_held_and_goes_on() {
    let (sender, tickets) = crossbeam::channel::unbounded::<Ticket>();
    let mut threads = crate::origin::threads::Threads::default();
    let mut runs = 0;
    let body = move || {
        runs += 1;
        for ticket in &tickets {
            assert!(ticket.start());
            assert!(runs > 1, "a bug in a driver");
            ticket.finish(NOTHING);
        }
    };
    threads.spawn("driver", body).unwrap();
    let (first, second) = (Arc::new(Mailbox::default()), Arc::new(Mailbox::default()));
    sender.send(ticket(&first, Operation::Delete)).unwrap();
    sender.send(ticket(&second, Operation::Get)).unwrap();
    drop(sender);
    assert!(threads.join(SOON));
    assert_eq!(first.answers.lock().unwrap()[&7], Outcome::Failed(Failure::OutcomeUnknown));
    assert_eq!(second.answers.lock().unwrap()[&7], NOTHING);
}

/// A mailbox that panics loses only its own answer.
#[test]
fn a_mailbox_that_panics_does_not_stop_the_drivers() {
    struct Picky(Mailbox);
    impl Completions for Picky {
        fn deliver(&self, shard: u16, done: Done) {
            assert_ne!(done.token, 13, "the shard has a bug");
            self.0.deliver(shard, done);
        }
    }
    let scratch = Scratch::new("origin");
    let config = sqlite_config(&scratch.file("db"), SQLITE_KV);
    let picky = Arc::new(Picky(Mailbox::default()));
    let completions: Arc<dyn Completions> = Arc::<Picky>::clone(&picky);
    let origin = Origin::start(Some(&config), &kv(), completions, PAUSE_MAX).unwrap();
    for token in 10..20 {
        let operation = if token % 2 == 0 { Operation::Get } else { put("x") };
        let call = Call {
            shard: SHARD,
            token,
            keyspace: KV,
            operation,
            key: Box::from(*b"k"),
            made: Micros::boottime(),
            deadline: Micros::NEVER,
        };
        assert!(origin.submit(call).is_ok());
    }
    origin.shutdown();
    assert_eq!(picky.0.answers.lock().unwrap().len(), 9);
}

#[test]
fn a_deadline_that_has_passed_is_answered_at_once() {
    let scratch = Scratch::new("origin");
    let bench = Bench::start(&sqlite_config(&scratch.file("db"), SQLITE_KV), &kv()).unwrap();
    let past = Micros::boottime();
    let read = bench.send_by(KV, b"k", Operation::Get, past).unwrap();
    let write = bench.send_by(KV, b"k", put("v"), past).unwrap();
    assert_eq!(bench.stray_answers(), 2);
    assert_eq!(bench.wait(read), Outcome::Failed(Failure::Timeout));
    assert_eq!(bench.wait(write), UNAVAILABLE);
    assert_eq!(bench.get("k"), NOTHING);
}

#[test]
fn a_shutdown_finishes_what_waits_and_refuses_the_rest() {
    let scratch = Scratch::new("origin");
    let bench = Bench::start(&sqlite_config(&scratch.file("db"), SQLITE_KV), &kv()).unwrap();
    let tokens: Vec<u64> =
        (0..500).map(|n| bench.send(KV, format!("k{n}").as_bytes(), put("v"))).collect();
    bench.origin.clone().shutdown();
    assert_eq!(bench.stray_answers(), 500);
    for token in tokens {
        assert_eq!(bench.wait(token), ONE_ROW);
    }
    assert_eq!(bench.get("k1"), UNAVAILABLE);
    // A second shutdown, and the drop of the last handle, find nothing to do.
    bench.origin.clone().shutdown();
}
