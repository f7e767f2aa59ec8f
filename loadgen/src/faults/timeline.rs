//! Carries a script out: starts the processes, lets each fault begin and end at its time, notes when that was done,
//! and undoes everything at the end, however the run ends.
//!
//! Everything is done on the thread of its owner, because the processes die with the thread that has started them.
//! Commands run beside it.

use std::path::Path;
use std::time::Duration;

use standin_protocol::time::Micros;

use super::holds::{Act, Holds, Order, moments};
use super::process::Process;
use super::resolve::resolve;
use super::script::{Script, Step};
use super::setting::{Places, Setting, SettingError};
use crate::interrupt::Interrupt;

/// The longest wait for the commands that undo something, at the end of a run.
const UNDO_WITHIN: Duration = Duration::from_secs(30);
/// The time that a command has to end when it is undone while it is under way; then it is killed.
const COMMAND_ENDS_WITHIN: Duration = Duration::from_secs(1);
/// The time between two checks whether a command has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// The beginning or the end of a fault, as it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Name of the fault.
    pub fault: String,
    /// Whether it ended; otherwise it began.
    pub is_undo: bool,
    /// When it was to happen, from the first request of the run.
    pub asked: Duration,
    /// When it was done; `None`: it has failed, or was under way when the run ended.
    pub done: Option<Duration>,
    /// How it failed.
    pub error: Option<String>,
}

/// A command under way.
#[derive(Debug)]
struct Errand {
    process: Process,
    /// Index of the mark that it completes.
    mark: usize,
    fault: usize,
}

impl Errand {
    /// Ends it, and what it has started.
    fn end(mut self) {
        self.process.end_all(COMMAND_ENDS_WITHIN);
    }
}

/// Everything that a scenario has started, and the timeline of its faults. Dropping it undoes all faults, and ends all
/// processes.
#[derive(Debug)]
pub struct Stage {
    script: Script,
    steps: Vec<Step>,
    /// The first step that is not done.
    next: usize,
    holds: Holds,
    errands: Vec<Errand>,
    errands_started: u32,
    marks: Vec<Mark>,
    /// The time of the first request.
    start: Option<Micros>,
    /// Whether the run is over: what ends with it is not started again.
    is_over: bool,
    /// Processes that had ended when the run was over, although no fault had ended them.
    ended: Vec<String>,
    /// What had not been done then.
    missed: Vec<Step>,
    setting: Setting,
}

impl Stage {
    /// Starts the processes, on this thread, with which they die.
    ///
    /// # Errors
    /// [`SettingError`].
    pub fn prepare(
        script: &Script,
        folder: &Path,
        seed: u64,
        interrupt: Option<&Interrupt>,
    ) -> Result<Self, SettingError> {
        let script = resolve(script, interrupt)?;
        let setting = Setting::start(&script, folder, seed, interrupt)?;
        Ok(Self {
            steps: moments(&script),
            script,
            next: 0,
            holds: Holds::default(),
            errands: Vec::new(),
            errands_started: 0,
            marks: Vec::new(),
            start: None,
            is_over: false,
            ended: Vec::new(),
            missed: Vec::new(),
            setting,
        })
    }

    /// Where the processes are.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.setting.places
    }

    /// The times at which faults begin and end by the script, from the first request on.
    #[must_use]
    pub fn times(&self) -> Vec<Duration> {
        let mut times: Vec<Duration> = self.steps.iter().map(|step| step.at).collect();
        times.dedup();
        times
    }

    /// Sets the time from which the faults are counted.
    pub fn begin(&mut self, start: Micros) {
        self.start = Some(start);
    }

    /// Carries out what is due, and returns when the next step is.
    pub fn act(&mut self, now: Micros) -> Option<Micros> {
        let start = self.start?;
        while let Some(step) = self.steps.get(self.next).copied() {
            if start + step.at > now {
                break;
            }
            self.next += 1;
            self.carry_out(step.fault, step.is_undo, step.at);
        }
        self.look_after_errands();
        self.steps.get(self.next).map(|step| start + step.at)
    }

    /// What was done so far, in the order of its beginning.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// What did not go as the script says, after [`Self::undo`]. `is_interrupted`: the run has ended before its time.
    #[must_use]
    pub fn problems(&self, is_interrupted: bool) -> Vec<String> {
        let begins = self.missed.iter().filter(|step| !step.is_undo && !is_interrupted);
        let missed = begins.map(|step| {
            let name = &self.script.faults[step.fault].name;
            format!("{name} has not happened: the run ended before {:?}", step.at)
        });
        self.ended.iter().cloned().chain(missed).collect()
    }

    fn unexpected_ends(&mut self) -> Vec<String> {
        let ended = self.setting.ended().into_iter();
        ended
            .filter(|(name, _)| !self.holds.is_down(name))
            .map(|(name, output)| {
                format!("{name} ended although no fault did that; its last output was:\n{output}")
            })
            .collect()
    }

    /// Undoes all faults, the latest first, and waits until that is done. Later steps are not carried out.
    pub fn undo(&mut self) {
        if !self.is_over {
            // What faults have ended is known until they are undone.
            self.ended = self.unexpected_ends();
            self.missed = self.steps.split_off(self.next.min(self.steps.len()));
        }
        self.next = self.steps.len();
        self.is_over = true;
        let Some(start) = self.start else { return };
        // Commands that have not ended by themselves would go on with what is undone now.
        self.errands.iter_mut().for_each(|errand| errand.process.ask_to_end());
        self.errands.drain(..).for_each(Errand::end);
        for fault in self.holds.open() {
            self.carry_out(fault, true, Micros::boottime().since(start));
        }
        let deadline = Micros::boottime() + UNDO_WITHIN;
        while !self.errands.is_empty() {
            self.look_after_errands();
            if Micros::boottime() >= deadline {
                for errand in self.errands.drain(..) {
                    let text = format!("its command did not end within {UNDO_WITHIN:?}");
                    self.marks[errand.mark].error = Some(text);
                }
            }
            std::thread::park_timeout(PAUSE);
        }
    }

    fn carry_out(&mut self, fault: usize, is_undo: bool, asked: Duration) {
        let spec = &self.script.faults[fault];
        let order = self.holds.apply(spec, fault, is_undo);
        let mut mark = Mark { fault: spec.name.clone(), is_undo, asked, done: None, error: None };
        let number = self.marks.len();
        let done = match order {
            Ok(Order::Nothing) => return,
            // It ends with the run.
            Ok(Order::Process(_, Act::Start)) if self.is_over => return,
            Ok(Order::Process(name, act)) => self.setting.act(name, act),
            Ok(Order::Pid(source, is_pause)) => self.setting.pause(source, is_pause),
            Ok(Order::Proxy(name, conduct)) => {
                self.setting.proxy(name).set(conduct);
                Ok(())
            }
            Ok(Order::Network(network, is_begin)) => {
                self.setting.impair(fault, is_begin.then_some(network))
            }
            Ok(Order::Trouble(name, trouble, is_begin)) => {
                self.setting.trouble(name, trouble, is_begin)
            }
            Ok(Order::Reset(name)) => {
                self.setting.proxy(name).reset();
                Ok(())
            }
            Ok(Order::Run(command)) => {
                // What undoes it does so whether or not it has ended.
                self.errands.extract_if(.., |errand| errand.fault == fault).for_each(Errand::end);
                self.errands_started += 1;
                let name = format!("command-{}", self.errands_started);
                let (program, arguments) =
                    command.split_first().expect("scenarios are checked for empty commands");
                let arguments = arguments.iter().map(Into::into).collect();
                let started =
                    Process::command(&name, Path::new(program), arguments, &self.setting.folder);
                match started {
                    Ok(process) => {
                        self.errands.push(Errand { process, mark: number, fault });
                        self.marks.push(mark);
                        return;
                    }
                    Err(error) => Err(error.to_string()),
                }
            }
            Err(why) => Err(why),
        };
        match done {
            Ok(()) => mark.done = self.now(),
            Err(error) => mark.error = Some(error),
        }
        self.marks.push(mark);
    }

    /// Notes which commands have ended.
    fn look_after_errands(&mut self) {
        let now = self.now();
        let marks = &mut self.marks;
        self.errands.retain_mut(|errand| {
            let Some(status) = errand.process.exit_status() else { return true };
            let mark = &mut marks[errand.mark];
            if status.success() {
                mark.done = now;
            } else {
                let said = errand.process.last_output();
                mark.error = Some(format!("its command ended with {status}: {said}"));
            }
            false
        });
    }

    fn now(&self) -> Option<Duration> {
        self.start.map(|start| Micros::boottime().since(start))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.undo();
    }
}

#[cfg(test)]
mod tests {
    use standin_testkit::{Scratch, wait_until};

    use super::super::script::{Deed, FaultSpec};
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_command_that_is_under_way_ends_before_it_is_undone() {
        let scratch = Scratch::new("faults-under-way");
        let (log, pid) = (scratch.file("log"), scratch.file("pid"));
        let shell = |script: String| vec!["/bin/sh".to_owned(), "-c".to_owned(), script];
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
        let stat = format!("/proc/{}/stat", read(&pid).trim());
        wait_until(SOON, "the end of what it has started", || {
            std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
        });
    }
}
