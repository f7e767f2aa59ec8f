//! Carries a script out: starts the processes, lets each fault begin and end at its time, notes when that was done,
//! and undoes everything at the end, however the run ends.
//!
//! Everything is done on the thread of its owner, because the processes die with the thread that has started them.
//! Commands run beside it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use standin_protocol::map::ServerState;
use standin_protocol::time::Micros;

use super::holds::{Act, Holds, Order, moments};
use super::process::Process;
use super::resolve::resolve;
use super::script::{Awaited, Script};
use super::setting::{Places, Setting, SettingError};
use super::times::Step;
use crate::interrupt::Interrupt;
use crate::origin::RunOrigin;
use crate::recorder::Moments;

/// The longest wait for the commands that undo something, at the end of a run.
const UNDO_WITHIN: Duration = Duration::from_secs(30);
/// The time that a command has to end when it is undone while it is under way; then it is killed.
const COMMAND_ENDS_WITHIN: Duration = Duration::from_secs(1);
/// The time that an announcement of the last moment may take until it is read.
const READ_WITHIN: Duration = Duration::from_millis(250);
/// The time between two checks whether a command has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// The beginning or the end of a fault, as it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Name of the fault.
    pub fault: String,
    /// Whether it ended; otherwise it began.
    pub is_undo: bool,
    /// The server of a Standin cluster that is concerned, if it is one.
    pub server: Option<String>,
    /// The index of its moment in [`Stage::moments`]; `None`: it was undone because the run was over.
    pub moment: Option<usize>,
    /// When it was to happen, from the first request of the run.
    pub asked: Duration,
    /// When it was done, or the signal sent to a process; `None`: it has failed, or was under way when the run ended.
    pub done: Option<Duration>,
    /// How it failed.
    pub error: Option<String>,
}

/// The announcement of a server's state by the master of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// When, from the first request of the run.
    pub at: Duration,
    /// The server, by its name in the scenario.
    pub server: String,
    /// Its state from then on.
    pub state: ServerState,
}

/// A step that is still to come.
#[derive(Debug, Clone, Copy)]
struct Pending {
    step: Step,
    /// Index of its moment.
    moment: usize,
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
    /// In the order of their times.
    pending: Vec<Pending>,
    moments: Arc<Moments>,
    /// The process that is concerned behind each moment.
    concerned: Vec<Option<String>>,
    /// When the events came that faults have waited for, by the faults' indices.
    known: BTreeMap<usize, Duration>,
    /// When each fault has begun.
    begun: BTreeMap<usize, Duration>,
    announcements: Vec<Announcement>,
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
        let steps = moments(&script);
        // The first moment is the beginning of the run, if anything happens in it.
        let times = steps.iter().map(|step| step.is_sure(&script).then_some(step.at));
        let begin = (!steps.is_empty()).then_some(Some(Duration::ZERO));
        let moments = Arc::new(Moments::new(begin.into_iter().chain(times)));
        for (step, moment) in steps.iter().zip(1..) {
            let spec = &script.faults[step.fault];
            if spec.after.is_none() && spec.deed.is_of_network() {
                moments.expect(moment, step.at);
            }
        }
        let servers = steps.iter().map(|step| script.faults[step.fault].deed.server());
        let concerned =
            begin.map(|_| None).into_iter().chain(servers.map(|one| one.map(str::to_owned)));
        let concerned = concerned.collect();
        let pending = steps.into_iter().zip(1..).map(|(step, moment)| Pending { step, moment });
        Ok(Self {
            pending: pending.collect(),
            moments,
            concerned,
            known: BTreeMap::new(),
            begun: BTreeMap::new(),
            announcements: Vec::new(),
            script,
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

    /// The moments at which faults begin and end; the first is the beginning of the run. Those of faults that wait for an
    /// event become known with it.
    #[must_use]
    pub fn moments(&self) -> Arc<Moments> {
        Arc::clone(&self.moments)
    }

    /// The process that is concerned behind each of these moments, if it is one.
    #[must_use]
    pub fn concerned(&self) -> &[Option<String>] {
        &self.concerned
    }

    /// The table that a Standin cluster of this name has, if it has one.
    #[must_use]
    pub fn table(&self, cluster: &str) -> Option<&RunOrigin> {
        self.setting.table(cluster)
    }

    /// Counts the reads of PostgreSQL that pass through this proxy.
    #[must_use]
    pub fn reads_through(&self, proxy: &str) -> Option<impl Fn() -> u64 + Send + 'static> {
        self.setting.reads_through(proxy)
    }

    /// The number of the process of this name, or of the last one that it was.
    #[must_use]
    pub fn pid(&self, process: &str) -> Option<u32> {
        self.setting.pid(process)
    }

    /// Sets the time from which the faults are counted.
    pub fn begin(&mut self, start: Micros) {
        self.start = Some(start);
    }

    /// Carries out what is due, and returns when the next step is.
    pub fn act(&mut self, now: Micros) -> Option<Micros> {
        let start = self.start?;
        self.listen(start);
        self.give_up_waiting(now.since(start));
        while let Some(Pending { step, moment }) = self.pending.first().copied() {
            if start + step.at > now {
                break;
            }
            self.pending.remove(0);
            match self.awaited(step.fault) {
                Some(awaited) => self.give_up(step, &awaited),
                None => self.carry_out(step.fault, step.is_undo, step.at, Some(moment)),
            }
        }
        self.look_after_errands();
        self.pending.first().map(|pending| start + pending.step.at)
    }

    /// The event that a fault still waits for.
    fn awaited(&self, fault: usize) -> Option<Awaited> {
        let after = self.script.faults[fault].after.clone();
        after.filter(|_| !self.known.contains_key(&fault) && !self.begun.contains_key(&fault))
    }

    /// When the wait of a fault begins: with the fault before it; `None`: that has not begun.
    fn waits_from(&self, fault: usize) -> Option<Duration> {
        fault.checked_sub(1).map_or(Some(Duration::ZERO), |before| self.begun.get(&before).copied())
    }

    /// Gives up the faults whose event has not come within its time.
    fn give_up_waiting(&mut self, now: Duration) {
        for fault in 0..self.script.faults.len() {
            let Some((awaited, from)) = self.awaited(fault).zip(self.waits_from(fault)) else {
                continue;
            };
            if now <= from + awaited.within + READ_WITHIN {
                continue;
            }
            let steps = self.pending.iter().map(|pending| pending.step);
            let begin = steps.into_iter().find(|step| step.fault == fault && !step.is_undo);
            if let Some(step) = begin {
                self.give_up(step, &awaited);
            }
        }
    }

    /// Takes in what masters have announced, and sets the times of what has waited for that.
    fn listen(&mut self, start: Micros) {
        let news = self.setting.announcements().into_iter().filter(|(at, ..)| *at >= start);
        let news =
            news.map(|(at, server, state)| Announcement { at: at.since(start), server, state });
        self.announcements.extend(news);
        let mut has_news = false;
        for fault in 0..self.script.faults.len() {
            let Some((awaited, from)) = self.awaited(fault).zip(self.waits_from(fault)) else {
                continue;
            };
            let in_time = from..=from + awaited.within;
            let is_it = |one: &&Announcement| {
                in_time.contains(&one.at)
                    && one.server == awaited.server
                    && one.state == awaited.state
            };
            if let Some(event) = self.announcements.iter().find(is_it) {
                self.known.insert(fault, event.at);
                has_news = true;
            }
        }
        if has_news {
            self.time_again(Micros::boottime().since(start));
        }
    }

    /// Sets the times of all steps by what is known now. None is before `now`.
    fn time_again(&mut self, now: Duration) {
        let begins = self.script.begins(&self.known);
        for Pending { step, moment } in &mut self.pending {
            let spec = &self.script.faults[step.fault];
            if spec.after.is_none() {
                continue;
            }
            let begin = self.begun.get(&step.fault).copied().unwrap_or(begins[step.fault].max(now));
            step.at = if step.is_undo { begin + spec.lasts.unwrap_or_default() } else { begin };
            // Whether its end is one is known then.
            let is_known = self.known.contains_key(&step.fault) && !step.is_undo;
            if is_known && !spec.deed.is_of_network() {
                self.moments.set(*moment, step.at, step.at);
            }
        }
        self.pending.sort_by_key(|pending| (pending.step.at, !pending.step.is_undo));
    }

    /// A fault does not happen, because what it waits for has not.
    fn give_up(&mut self, step: Step, awaited: &Awaited) {
        let Awaited { server, state, within } = awaited;
        let spec = &self.script.faults[step.fault];
        let error = format!(
            "it has not happened, because the master had not announced {server} as {} within {within:?}",
            state.name()
        );
        self.marks.push(Mark {
            fault: spec.name.clone(),
            is_undo: false,
            server: None,
            moment: None,
            asked: step.at,
            done: None,
            error: Some(error),
        });
        self.pending.retain(|pending| pending.step.fault != step.fault);
        // Others may wait behind it.
        self.begun.insert(step.fault, step.at);
    }

    /// What masters have announced so far.
    #[must_use]
    pub fn announcements(&self) -> &[Announcement] {
        &self.announcements
    }

    /// What was done so far, in the order of its beginning.
    #[must_use]
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// What did not go as the script says, after [`Self::undo`]. `is_interrupted`: the run has ended before its time.
    #[must_use]
    pub fn problems(&self, is_interrupted: bool) -> Vec<String> {
        let how = if is_interrupted { "was interrupted" } else { "ended" };
        let begins = self.missed.iter().filter(|step| !step.is_undo);
        let missed = begins.map(|step| {
            let name = &self.script.faults[step.fault].name;
            format!("{name} has not happened: the run {how} before {:?}", step.at)
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
            self.missed = self.pending.drain(..).map(|pending| pending.step).collect();
            self.start.into_iter().for_each(|start| self.listen(start));
        }
        self.is_over = true;
        let Some(start) = self.start else { return };
        // Commands that have not ended by themselves would go on with what is undone now; those that undo are waited for.
        let is_undo = |errand: &Errand| self.marks[errand.mark].is_undo;
        let (undoing, mut under_way): (Vec<_>, Vec<_>) = self.errands.drain(..).partition(is_undo);
        under_way.iter_mut().for_each(|errand| errand.process.ask_to_end());
        under_way.into_iter().for_each(Errand::end);
        self.errands = undoing;
        for fault in self.holds.open() {
            self.carry_out(fault, true, Micros::boottime().since(start), None);
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

    fn carry_out(&mut self, fault: usize, is_undo: bool, asked: Duration, moment: Option<usize>) {
        if !is_undo {
            self.begun.insert(fault, asked);
        }
        let spec = &self.script.faults[fault];
        let order = self.holds.apply(spec, fault, is_undo);
        let mut mark = Mark {
            fault: spec.name.clone(),
            is_undo,
            server: spec.deed.server().map(str::to_owned),
            moment,
            asked,
            done: None,
            error: None,
        };
        let number = self.marks.len();
        let is_of_network = spec.deed.is_of_network();
        let has_own_time =
            is_of_network || Step { at: asked, fault, is_undo }.is_sure(&self.script);
        if let (Some(moment), Ok(order)) = (moment, &order)
            && !has_own_time
            && *order != Order::Nothing
        {
            self.moments.set(moment, asked, asked);
        }
        // It was killed before it has ended.
        let signalled = self.now().filter(|_| matches!(order, Ok(Order::Process(..))));
        let done = match order {
            // Requests that were due since then are those behind the moment before it.
            Ok(Order::Nothing) => return,
            // It ends with the run.
            Ok(Order::Process(_, Act::Start)) if self.is_over => return,
            Ok(Order::Mark) => Ok(()),
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
            Ok(()) => mark.done = signalled.or_else(|| self.now()),
            Err(error) => mark.error = Some(error),
        }
        if let (Some(moment), Some(done), true) = (moment, mark.done, is_of_network) {
            self.moments.set(moment, done, asked);
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
mod tests;
