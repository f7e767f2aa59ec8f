//! Judging: from facts and needs to findings. Pure.
//!
//! Each file has a list of judgements about one part of a host. A judgement returns what it found in any
//! case: good, bad, absent or unread.

mod cores;
mod database;
mod kernel;
mod memory;
mod network;
#[cfg(test)]
mod tests;

use crate::cgroups::{Groups, Limit, MOUNTS, NotSeen};
use crate::facts::{Facts, Reading, Unread, odd};
use crate::parse;
use crate::report::{Finding, Guide, Report, Verdict};
use crate::wanted::Wanted;

/// Judges a host for some servers.
#[must_use]
pub fn judge(facts: &Facts, wanted: &Wanted) -> Report {
    let host = Host { facts, wanted };
    let mut findings = Vec::new();
    kernel::judge(&host, &mut findings);
    memory::judge(&host, &mut findings);
    cores::judge(&host, &mut findings);
    network::judge(&host, &mut findings);
    database::judge(&host, &mut findings);
    Report::new(described(&host), wanted.whom.clone(), findings)
}

/// A host and the needs of its servers.
struct Host<'h> {
    facts: &'h Facts,
    wanted: &'h Wanted,
}

impl Host<'_> {
    fn text(&self, path: &str) -> Reading<&str> {
        self.facts.files.text(path)
    }

    fn number(&self, path: &str) -> Reading<u64> {
        self.facts.files.number(path)
    }

    /// A file that `parse` understands.
    fn parsed<'h, T>(&'h self, path: &str, parse: impl Fn(&'h str) -> Option<T>) -> Reading<T> {
        let text = self.facts.files.text(path)?;
        parse(text).ok_or_else(|| odd(text))
    }

    fn online(&self) -> Reading<std::collections::BTreeSet<usize>> {
        needed(self.parsed("/sys/devices/system/cpu/online", parse::cores))
    }

    fn meminfo(&self, name: &str) -> Reading<u64> {
        needed(self.parsed("/proc/meminfo", |text| parse::meminfo(text, name)))
    }

    /// The smallest of a limit in the process's control group and in all above it, with the group.
    fn cgroup_limit(&self, limit: Limit) -> Reading<Option<(u64, String)>> {
        let Some(Groups { version, folders }) = self.cgroups(limit)? else { return Ok(None) };
        let mut least: Option<(u64, String)> = None;
        for group in folders {
            let texts =
                limit.files(version).iter().map(|name| self.text(&format!("{group}/{name}")));
            let texts: Vec<&str> = match texts.collect() {
                Ok(texts) => texts,
                // The group at the top has no limits, and others have those of enabled controllers only.
                Err(Unread::Absent) => continue,
                Err(unread) => return Err(unread),
            };
            let found = limit.read(version, &texts).ok_or_else(|| odd(&texts.join(" ")))?;
            if least.as_ref().is_none_or(|(least, _)| found < *least) {
                least = Some((found, group));
            }
        }
        Ok(least)
    }

    /// The process's control group and those above it, where a limit is set.
    fn cgroups(&self, limit: Limit) -> Reading<Option<Groups>> {
        let process = &self.facts.process;
        let own = self.text(&format!("/proc/{process}/cgroup"))?;
        limit.groups(own, self.text(MOUNTS)?).map_err(|NotSeen| {
            Unread::Failed("its control group is not mounted here; run this on the host".into())
        })
    }
}

/// A reading of something that every host has: without it, too little is mounted here.
fn needed<T>(reading: Reading<T>) -> Reading<T> {
    reading.map_err(|unread| match unread {
        Unread::Absent => {
            Unread::Failed("there is no such file; are /proc and /sys mounted?".into())
        }
        other => other,
    })
}

/// A number of at least this much, which `--apply` can raise.
fn at_least(host: &Host<'_>, guide: &Guide, path: &str, least: u64) -> Finding {
    let wanted = format!("at least {least}");
    match host.number(path) {
        Err(unread) => guide.unread(&unread, wanted),
        Ok(found) if found >= least => guide.good(found.to_string(), wanted),
        Ok(found) => guide
            .found(Verdict::Warning, found.to_string(), wanted, sysctl(guide, least))
            .writes(path, least.to_string()),
    }
}

/// The command that sets a sysctl.
fn sysctl(guide: &Guide, value: impl std::fmt::Display) -> String {
    format!("sysctl -w {}={value}", guide.setting)
}

fn described(host: &Host<'_>) -> String {
    let unknown = |_| "?".to_owned();
    let name = host.text("/proc/sys/kernel/hostname").map_or_else(unknown, str::to_owned);
    let release = host.text("/proc/sys/kernel/osrelease").map_or_else(unknown, str::to_owned);
    let cores = host.online().map_or_else(unknown, |cores| cores.len().to_string());
    let memory = host.meminfo("MemTotal").map_or_else(unknown, size);
    format!("{name}, Linux {release}, {cores} cores, {memory}")
}

/// Bytes for reading.
fn size(bytes: u64) -> String {
    match bytes {
        u64::MAX => "unlimited".to_owned(),
        _ if bytes >= 10 << 30 => format!("{} GiB", bytes >> 30),
        _ if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        _ => format!("{} KiB", bytes >> 10),
    }
}

/// A count for reading.
fn count(number: u64) -> String {
    if number == u64::MAX { "unlimited".to_owned() } else { number.to_string() }
}
