//! The processes and faults of a scenario: the form of `[[processes]]` and `[[faults]]`, and what refers to what.

mod after;
mod fit;
mod line;
mod network;
mod processes;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use standin_config::{At, Report, Section};

use super::objective::expect::is_reserved;
use crate::faults::mistakes;
use crate::faults::script::{Deed, FaultSpec, Kind, PidSource, ProcessSpec, Script, Trouble, What};
use line::{LineKeys, ProxyWord};
use network::NetworkWord;

const TIME_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(7 * 86_400);
const LASTS_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(7 * 86_400);
/// The words of `what`; a command has none.
const WHATS: [(&str, Word); 14] = [
    ("kill", Word::Process(What::Kill)),
    ("terminate", Word::Process(What::Terminate)),
    ("pause", Word::Process(What::Pause)),
    ("resume", Word::Process(What::Resume)),
    ("restart", Word::Process(What::Restart)),
    ("slow", Word::Proxy(ProxyWord::Slow)),
    ("stall", Word::Proxy(ProxyWord::Stall)),
    ("refuse", Word::Proxy(ProxyWord::Refuse)),
    ("reset", Word::Proxy(ProxyWord::Reset)),
    ("lock", Word::Database(Trouble::Lock)),
    ("full", Word::Database(Trouble::Full)),
    ("cut", Word::Network(NetworkWord::Cut)),
    ("lose", Word::Network(NetworkWord::Lose)),
    ("duplicate", Word::Network(NetworkWord::Duplicate)),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Process(What),
    Proxy(ProxyWord),
    Database(Trouble),
    Network(NetworkWord),
}

/// Adds both lists to those of the base, and checks that the faults make sense in their order. Not `is_whole`: the base has
/// mistakes.
pub(super) fn read(
    root: &mut Section<'_>,
    base_dir: &Path,
    (mut script, mut is_whole): (Script, bool),
    report: &mut Report<'_>,
) -> Option<Script> {
    let of_base =
        script.processes.iter().flat_map(|one| one.members().into_iter().chain([one.name.clone()]));
    let mut names: BTreeSet<String> = of_base.collect();
    for mut section in root.sections("processes", report)? {
        match processes::process(&mut section, base_dir, &mut names, &script, report) {
            Some(spec) => script.processes.push(spec),
            None => is_whole = false,
        }
        section.finish(report);
    }
    let mut places = vec![root.at(); script.faults.len()];
    for mut section in root.sections("faults", report)? {
        let at = section.at();
        match fault(&mut section, base_dir, &script, is_whole, report) {
            Some(spec) => {
                script.faults.push(spec);
                places.push(at);
            }
            None => is_whole = false,
        }
        section.finish(report);
    }
    // What is missing could be the reason.
    if is_whole {
        for (fault, why) in mistakes(&script) {
            report.mistake(
                places[fault],
                "faults",
                format!("{}: {why}", script.faults[fault].name),
            );
        }
    }
    is_whole.then_some(script)
}

fn fault(
    section: &mut Section<'_>,
    base_dir: &Path,
    script: &Script,
    is_whole: bool,
    report: &mut Report<'_>,
) -> Option<FaultSpec> {
    let line = report.line(section.at());
    let at = section.duration_or_absent("at", TIME_RANGE, "5s", report).optional();
    let after = after::read(section, script, is_whole, report);
    if matches!((at, &after), (Some(None), Some(None))) {
        section.missing("at", "\"5s\"", report);
    }
    let lasts = section.duration_or_absent("for", LASTS_RANGE, "2s", report).optional();
    let name = section.text("name", "power cut", report).optional();
    let deed = deed(section, base_dir, script, is_whole, report);
    let (at, after, lasts, name, deed) = (at?, after?, lasts?, name?, deed?);
    // After an event, it is at once by default.
    let at = match (at, &after) {
        (Some(at), _) => at.value,
        (None, Some(_)) => Duration::ZERO,
        (None, None) => return None,
    };
    if let Some(lasts) = lasts
        && !deed.can_last()
    {
        let why = "is for what can be undone; remove it, or write `undo`, or another `what`";
        report.mistake(lasts.at, &section.key("for"), why);
        return None;
    }
    if let Some(name) = name.filter(|name| is_reserved(name.value)) {
        let why = "has a meaning of its own in `since` of [[expect]]; use another name";
        report.mistake(name.at, &section.key("name"), why);
        return None;
    }
    let name = name.map_or_else(|| deed.words(), |name| name.value.to_owned());
    Some(FaultSpec { name, line, at, after, lasts: lasts.map(|lasts| lasts.value), deed })
}

/// What happens to whom: `what` and one of `on`, `pid`, `pid_file` and `unit`; or `do` and `undo`.
fn deed(
    section: &mut Section<'_>,
    base_dir: &Path,
    script: &Script,
    is_whole: bool,
    report: &mut Report<'_>,
) -> Option<Deed> {
    let begin = section.text_list("do", "[\"systemctl\", \"stop\", \"redis\"]", report);
    let undo = section.text_list("undo", "[\"systemctl\", \"start\", \"redis\"]", report);
    let what = section.choice("what", &WHATS, report).optional();
    let on = section.text("on", "cache", report).optional();
    let pid = section.whole_or_absent("pid", 2..=u64::from(u32::MAX), "4711", report).optional();
    let pid_file = section.text("pid_file", "/run/redis.pid", report).optional();
    let unit = section.text("unit", "redis.service", report).optional();
    let line = LineKeys::read(section, report);
    let from = section.text_list("from", "[\"client\"]", report);
    let (begin, undo, what, on) = (begin?, undo?, what?, on?);
    let (pid, pid_file, unit): (Option<At<u32>>, _, _) = (pid?, pid_file?, unit?);
    let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect::<Vec<_>>();
    if !begin.value.is_empty() {
        if what.is_some() || on.is_some() || pid.is_some() || pid_file.is_some() || unit.is_some() {
            let why = "stands alone, with `undo`; remove it, or `what` and its object";
            report.mistake(begin.at, &section.key("do"), why);
            return None;
        }
        return Some(Deed::Command { begin: owned(begin.value), undo: owned(undo.value) });
    }
    if !undo.value.is_empty() {
        let why = "undoes what `do` has done; write that, too";
        report.mistake(undo.at, &section.key("undo"), why);
        return None;
    }
    let Some(what) = what else {
        section.missing("what", "\"kill\"", report);
        return None;
    };
    let objects = [on.is_some(), pid.is_some(), pid_file.is_some(), unit.is_some()];
    if objects.into_iter().filter(|is_there| *is_there).count() != 1 {
        let wrong =
            "needs one object: `on` with a process of the scenario, `pid`, `pid_file` or `unit`";
        report.mistake(what.at, &section.key("what"), wrong);
        return None;
    }
    let what = match what.value {
        Word::Proxy(word) => {
            let what = At { value: word, at: what.at };
            return line::deed(section, what, on, &line, script, is_whole, report);
        }
        Word::Network(word) => {
            let what = At { value: word, at: what.at };
            return network::deed(section, what, (on, from?), &line, script, is_whole, report);
        }
        Word::Database(trouble) => {
            line.misplaced(section, &[], report);
            if let Some(on) = on.filter(|on| is_postgres(script, on.value)) {
                return Some(Deed::Database { name: on.value.to_owned(), trouble });
            }
            // One that has a mistake is not in the list.
            if is_whole {
                let wrong = "is for the table in a process of kind \"postgres\", named by `on`";
                report.mistake(what.at, &section.key("what"), wrong);
            }
            return None;
        }
        Word::Process(word) => At { value: word, at: what.at },
    };
    line.misplaced(section, &[], report);
    if let Some(on) = on {
        let members: Vec<String> = script.processes.iter().flat_map(ProcessSpec::members).collect();
        if is_postgres(script, on.value) {
            let wrong = "PostgreSQL is several processes; write \"lock\" or \"full\", or put a proxy \
                         before it for \"slow\", \"stall\" and \"refuse\"";
            report.mistake(what.at, &section.key("what"), wrong);
            return None;
        }
        if members.iter().any(|member| member == on.value) {
            return Some(Deed::Process { name: on.value.to_owned(), what: what.value });
        }
        // One that has a mistake is not in the list.
        if is_whole {
            let known = match members.is_empty() {
                true => {
                    "the scenario starts none; use `pid` for one that is not its own".to_owned()
                }
                false => format!("write one of: {}", members.join(", ")),
            };
            let wrong = format!("there is no process {:?}; {known}", on.value);
            report.mistake(on.at, &section.key("on"), wrong);
        }
        return None;
    }
    if let Some(unit) = unit {
        if what.value == What::Resume {
            let why = "a pause of a unit ends after its `for`; write that there";
            report.mistake(what.at, &section.key("what"), why);
            return None;
        }
        return Some(Deed::Unit { unit: unit.value.to_owned(), what: what.value });
    }
    if what.value != What::Pause {
        let wrong = "a process that the run has not started can only be paused, until `for` or the run \
                     ends: it could not be started again; use `unit`, or `do` and `undo`";
        report.mistake(what.at, &section.key("what"), wrong);
        return None;
    }
    Some(Deed::Pid(match (pid, pid_file) {
        (Some(pid), _) => PidSource::Number(pid.value),
        (None, file) => PidSource::File(base_dir.join(file?.value)),
    }))
}

fn is_postgres(script: &Script, name: &str) -> bool {
    script.process(name).is_some_and(|one| one.kind == Kind::Postgres)
}
