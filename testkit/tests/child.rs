//! A child's output, signals and end; above all that it does not outlive its parent.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use standin_testkit::{Child, Scratch, is_running, wait_until};

const SOON: Duration = Duration::from_secs(10);

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn lines_of_both_streams_are_kept_in_memory_and_in_the_file() {
    let scratch = Scratch::new("child");
    let mut child = Child::spawn("talker", shell("echo one; echo two >&2; exit 3"), scratch.path());
    assert_eq!(child.wait_for_line("one", SOON), "one");
    assert_eq!(child.wait_for_line("two", SOON), "two");
    assert_eq!(child.exit_status(SOON).code(), Some(3));
    let file = std::fs::read_to_string(child.output_file()).unwrap();
    assert!(file.contains("one\n") && file.contains("two\n"), "{file:?}");
}

#[test]
#[should_panic(expected = "no line with \"never\"")]
fn a_line_that_does_not_come_is_a_panic_with_the_output() {
    let scratch = Scratch::new("child");
    let child = Child::spawn("silent", shell("echo something; sleep 60"), scratch.path());
    let _ = child.wait_for_line("never", Duration::from_millis(50));
}

#[test]
fn a_line_after_a_mark_is_a_new_line() {
    let scratch = Scratch::new("child");
    let script = "trap 'echo tick' USR1; echo tick; while :; do sleep 0.01; done";
    let mut child = Child::spawn("ticker", shell(script), scratch.path());
    let _ = child.wait_for_line("tick", SOON);
    let mark = child.lines().len();
    child.signal(libc::SIGUSR1);
    let _ = child.wait_for_line_after(mark, "tick", SOON);
}

#[test]
fn signals_and_kill_reach_the_process() {
    let scratch = Scratch::new("child");
    let mut child = Child::spawn("sleeper", shell("echo up; exec sleep 60"), scratch.path());
    let _ = child.wait_for_line("up", SOON);
    child.signal(libc::SIGTERM);
    assert_eq!(child.exit_status(SOON).signal(), Some(libc::SIGTERM));

    let mut child = Child::spawn("sleeper", shell("exec sleep 60"), scratch.path());
    assert!(child.try_exit_status().is_none());
    child.kill();
    assert_eq!(child.exit_status(SOON).signal(), Some(libc::SIGKILL));
}

#[test]
fn dropping_a_child_ends_it() {
    let scratch = Scratch::new("child");
    let child = Child::spawn("dropped", shell("exec sleep 60"), scratch.path());
    let pid = child.pid();
    drop(child);
    assert!(!is_running(pid));
}

#[test]
fn a_child_outlives_the_thread_that_started_it() {
    let scratch = Scratch::new("child");
    let path = scratch.path().to_owned();
    let script = "trap 'echo alive' USR1; echo up; while :; do sleep 0.01; done";
    let (thread, mut child) = std::thread::spawn(move || {
        // SAFETY: gettid takes nothing and cannot fail.
        let thread = unsafe { libc::gettid() };
        (thread, Child::spawn("shared", shell(script), &path))
    })
    .join()
    .unwrap();
    let task = format!("/proc/self/task/{thread}");
    wait_until(SOON, "the kernel to be done with the thread", || {
        !std::path::Path::new(&task).exists()
    });
    let _ = child.wait_for_line("up", SOON);
    child.signal(libc::SIGUSR1);
    let _ = child.wait_for_line("alive", SOON);
}

/// Runs this test program a second time as the parent, and kills that.
#[test]
fn a_child_dies_with_a_killed_parent() {
    const ROLE: &str = "STANDIN_TESTKIT_PARENT";
    let name = "a_child_dies_with_a_killed_parent";
    if let Some(directory) = std::env::var_os(ROLE) {
        let child = Child::spawn("grandchild", shell("exec sleep 60"), directory.as_ref());
        println!("grandchild is {}", child.pid());
        loop {
            std::thread::park();
        }
    }
    let scratch = Scratch::new("child");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture"]).env(ROLE, scratch.path());
    let mut parent = Child::spawn("parent", command, scratch.path());
    let line = parent.wait_for_line("grandchild is", SOON);
    let pid: u32 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(is_running(pid));
    parent.kill();
    wait_until(SOON, "the grandchild's death", || !is_running(pid));
}
