//! The outcome of judging a host: findings, and how bad they are together.

use serde::Serialize;

use crate::facts::Unread;

/// The part of a host that a finding is about; tuning/ has a guide for most of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// The kernel, and the limits of the process.
    Kernel,
    /// Memory.
    Memory,
    /// Cores.
    Cores,
    /// The network, and its card.
    Network,
    /// The way to the database.
    Database,
}

/// How a setting is. In the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// A server can't start, or can't do what the cluster file says.
    Serious,
    /// It costs requests, or latency, under load or in a failover.
    Warning,
    /// It may help some loads. It is not counted against the host.
    Advice,
    /// It could not be read, and may be anything.
    Unread,
    /// This host has no such setting.
    Absent,
    /// It is as wanted.
    Good,
}

impl Verdict {
    /// All verdicts, in their order.
    pub const ALL: [Self; 6] =
        [Self::Serious, Self::Warning, Self::Advice, Self::Unread, Self::Absent, Self::Good];

    /// The word in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Serious => "SERIOUS",
            Self::Warning => "WARNING",
            Self::Advice => "advice",
            Self::Unread => "unread",
            Self::Absent => "absent",
            Self::Good => "good",
        }
    }
}

/// What a setting is for: the part of a finding that does not depend on the host.
#[derive(Debug)]
pub(crate) struct Guide {
    pub(crate) area: Area,
    /// The name, which stays the same in all versions.
    pub(crate) setting: &'static str,
    pub(crate) why: &'static str,
    pub(crate) risk: &'static str,
}

/// A setting, and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The part of the host.
    pub area: Area,
    /// The name of the setting.
    pub setting: &'static str,
    /// The card, the server or the place that it belongs to; empty if it is the host's.
    pub about: String,
    /// How it is.
    pub verdict: Verdict,
    /// The value, or why there is none.
    pub found: String,
    /// The value that this cluster needs.
    pub wanted: String,
    /// What depends on it.
    pub why: &'static str,
    /// What to do about it; empty if there is nothing to do.
    pub how: String,
    /// What the change may cost.
    pub risk: &'static str,
    /// What `--apply` would write; empty if it leaves the setting alone.
    pub changes: Vec<Change>,
}

/// A file of `/proc` or `/sys`, and the value to write into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The path on the host.
    pub path: String,
    /// The value.
    pub value: String,
}

impl Guide {
    /// A finding about the host.
    pub(crate) fn found(
        &self,
        verdict: Verdict,
        found: impl Into<String>,
        wanted: impl Into<String>,
        how: impl Into<String>,
    ) -> Finding {
        Finding {
            area: self.area,
            setting: self.setting,
            about: String::new(),
            verdict,
            found: found.into(),
            wanted: wanted.into(),
            why: self.why,
            how: how.into(),
            risk: self.risk,
            changes: Vec::new(),
        }
    }

    /// A setting that is as wanted.
    pub(crate) fn good(&self, found: impl Into<String>, wanted: impl Into<String>) -> Finding {
        self.found(Verdict::Good, found, wanted, "")
    }

    /// A setting that could not be read, or does not exist.
    pub(crate) fn unread(&self, unread: &Unread, wanted: impl Into<String>) -> Finding {
        let verdict = match unread {
            Unread::Absent => Verdict::Absent,
            Unread::Denied | Unread::Failed(_) | Unread::NotAsked(_) => Verdict::Unread,
        };
        let how = match unread {
            Unread::Denied => "run it as root",
            _ => "",
        };
        self.found(verdict, unread.to_string(), wanted, how)
    }
}

impl Finding {
    pub(crate) fn about(mut self, about: &str) -> Self {
        about.clone_into(&mut self.about);
        self
    }

    /// Adds what `--apply` writes.
    pub(crate) fn writes(mut self, path: &str, value: impl Into<String>) -> Self {
        self.changes.push(Change { path: path.to_owned(), value: value.into() });
        self
    }

    /// The name in the table: `eth0: RPS`.
    #[must_use]
    pub fn title(&self) -> String {
        if self.about.is_empty() {
            self.setting.to_owned()
        } else {
            format!("{}: {}", self.about, self.setting)
        }
    }
}

/// A judged host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The host: its name, kernel, cores and memory.
    pub host: String,
    /// The servers that it was judged for.
    pub judged_for: String,
    /// All findings: the worst first, and in each verdict by area.
    pub findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn new(host: String, judged_for: String, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| (finding.verdict, finding.area));
        Self { host, judged_for, findings }
    }

    /// The number of findings with this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// The exit code: 0 if nothing is to be changed, 1 if something is or could not be read, 3 if it is
    /// serious. 2 is for a wrong call or a wrong cluster file.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match () {
            () if self.count(Verdict::Serious) > 0 => 3,
            () if self.count(Verdict::Warning) + self.count(Verdict::Unread) > 0 => 1,
            () => 0,
        }
    }

    /// What `--apply` would write: the changes of all findings that are serious or warnings.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        let bad = self.findings.iter().filter(|finding| finding.verdict <= Verdict::Warning);
        bad.flat_map(|finding| finding.changes.iter().cloned()).collect()
    }
}
