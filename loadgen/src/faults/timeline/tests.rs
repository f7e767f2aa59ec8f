//! Commands of faults that are under way when a run ends, faults that do not happen, and those that wait.

use standin_testkit::{Scratch, is_running, wait_until};

use super::super::script::FaultSpec;
use super::*;
use crate::faults::script::Deed;

const SOON: Duration = Duration::from_secs(20);

fn shell(script: String) -> Vec<String> {
    vec!["/bin/sh".to_owned(), "-c".to_owned(), script]
}

#[test]
fn an_undo_that_is_under_way_at_the_end_is_waited_for() {
    let scratch = Scratch::new("faults-undoing");
    let log = scratch.file("log");
    let undo =
        format!("echo undoing >> {log}; sleep 0.5; echo undone >> {log}", log = log.display());
    let fault = FaultSpec {
        name: "command".to_owned(),
        line: 1,
        at: Duration::ZERO,
        after: None,
        lasts: Some(Duration::from_millis(1)),
        deed: Deed::Command { begin: vec!["true".to_owned()], undo: shell(undo) },
    };
    let script = Script { processes: Vec::new(), faults: vec![fault] };
    let mut stage = Stage::prepare(&script, scratch.path(), 1, None).unwrap();
    stage.begin(Micros::boottime());
    wait_until(SOON, "the undo", || {
        stage.act(Micros::boottime());
        log.exists()
    });
    stage.undo();
    assert_eq!(std::fs::read_to_string(log).unwrap(), "undoing\nundone\n");
    let undone = stage.marks().iter().filter(|mark| mark.is_undo);
    assert!(undone.map(|mark| (mark.done.is_some(), &mark.error)).eq([(true, &None)]));
}

#[test]
fn a_command_that_is_under_way_ends_before_it_is_undone() {
    let scratch = Scratch::new("faults-under-way");
    let (log, pid) = (scratch.file("log"), scratch.file("pid"));
    let begin = shell(format!(
        "trap 'echo ended >> {log}; exit' TERM; sleep 600 & echo $! > {pid}; wait",
        log = log.display(),
        pid = pid.display()
    ));
    let undo = shell(format!("echo undone >> {}", log.display()));
    let fault = FaultSpec {
        name: "command".to_owned(),
        line: 1,
        at: Duration::ZERO,
        after: None,
        lasts: None,
        deed: Deed::Command { begin, undo },
    };
    let script = Script { processes: Vec::new(), faults: vec![fault] };
    let mut stage = Stage::prepare(&script, scratch.path(), 1, None).unwrap();
    stage.begin(Micros::boottime());
    stage.act(Micros::boottime());
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    wait_until(SOON, "the command", || read(&pid).ends_with('\n'));
    stage.undo();
    assert_eq!(read(&log), "ended\nundone\n");
    let started = read(&pid).trim().parse().expect("a process id");
    wait_until(SOON, "the end of what it has started", || !is_running(started));
}

/// A fault that changes nothing, at its time or after an event.
fn harmless(name: &str, at: Duration, within: Option<Duration>) -> FaultSpec {
    let awaited = within.map(|within| Awaited {
        server: "st-a1".to_owned(),
        state: ServerState::Online,
        within,
    });
    FaultSpec {
        name: name.to_owned(),
        line: 1,
        at,
        after: awaited,
        lasts: None,
        deed: Deed::Command { begin: vec!["true".to_owned()], undo: Vec::new() },
    }
}

#[test]
fn a_fault_that_an_interrupted_run_has_not_reached_is_a_problem() {
    let scratch = Scratch::new("faults-interrupted");
    let faults = vec![harmless("late", Duration::from_secs(60), None)];
    let script = Script { processes: Vec::new(), faults };
    let mut stage = Stage::prepare(&script, scratch.path(), 1, None).unwrap();
    stage.begin(Micros::boottime());
    stage.act(Micros::boottime());
    stage.undo();
    let said = stage.problems(true);
    assert_eq!(said, ["late has not happened: the run was interrupted before 60s"]);
}

#[test]
fn an_event_that_comes_later_than_within_is_none() {
    let second = Duration::from_secs;
    for (comes_s, happens) in [(1, true), (3, false)] {
        let scratch = Scratch::new("faults-within");
        let waits = harmless("waits", second(30), Some(second(2)));
        let script = Script { processes: Vec::new(), faults: vec![waits] };
        let mut stage = Stage::prepare(&script, scratch.path(), 1, None).unwrap();
        let start = Micros::boottime();
        stage.begin(start);
        stage.act(start + second(1));
        assert_eq!(stage.marks(), [], "its time is not over");
        stage.announcements.push(Announcement {
            at: second(comes_s),
            server: "st-a1".to_owned(),
            state: ServerState::Online,
        });
        stage.act(start + second(4));
        let errors: Vec<_> = stage.marks().iter().filter_map(|mark| mark.error.as_ref()).collect();
        assert_eq!(errors.is_empty(), happens, "{errors:?}");
        assert_eq!(stage.moments().at(1), happens.then_some(second(31)), "{comes_s} s");
        assert!(errors.iter().all(|error| error.contains("within 2s")), "{errors:?}");
    }
}

#[test]
fn a_mark_is_a_moment_at_which_nothing_happens() {
    let scratch = Scratch::new("faults-mark");
    let mark = FaultSpec {
        name: "mark".to_owned(),
        line: 1,
        at: Duration::from_millis(1),
        after: None,
        lasts: None,
        deed: Deed::Mark,
    };
    let script = Script { processes: Vec::new(), faults: vec![mark] };
    let mut stage = Stage::prepare(&script, scratch.path(), 1, None).unwrap();
    stage.begin(Micros::boottime());
    wait_until(SOON, "the mark", || {
        stage.act(Micros::boottime());
        stage.marks().first().is_some_and(|mark| mark.done.is_some() && mark.moment == Some(1))
    });
    stage.undo();
    assert_eq!((stage.marks().len(), stage.problems(false)), (1, Vec::new()));
}
