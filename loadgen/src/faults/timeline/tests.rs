//! Commands of faults that are under way when a run ends.

use standin_testkit::{Scratch, is_running, wait_until};

use super::super::script::FaultSpec;
use super::*;

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
