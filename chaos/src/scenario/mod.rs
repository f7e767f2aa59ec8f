//! The faults, which are scenarios of `standin load`: their files, and what the command line changes in them. Pure.
//!
//! ```text
//! ../scenarios/*.toml ─► Scenario ─► text of the file ─► run.rs: `standin load` ─► row.rs: a row of the table
//! ```

pub(crate) mod row;
pub(crate) mod run;
#[cfg(test)]
mod tests;

use std::time::Duration;

use standin_config::Mode;

use crate::node::Node;

/// The files on which all others build.
const COMMON: [(&str, &str); 2] = [
    ("common.toml", include_str!("../../scenarios/common.toml")),
    ("proxied.toml", include_str!("../../scenarios/proxied.toml")),
];
const CUT: &str = include_str!("../../scenarios/cut.toml");
const CUT_FROM_GROUP: &str = include_str!("../../scenarios/cut-from-group.toml");
const DATAGRAM_DUPLICATION: &str = include_str!("../../scenarios/datagram-duplication.toml");
const DATAGRAM_LOSS: &str = include_str!("../../scenarios/datagram-loss.toml");
const ISOLATE: &str = include_str!("../../scenarios/isolate.toml");
const KILL: &str = include_str!("../../scenarios/kill.toml");
const MASTER_RESTART: &str = include_str!("../../scenarios/master-restart.toml");
const MASTER_THEN_SERVER: &str = include_str!("../../scenarios/master-then-server.toml");
const ORIGIN_DOWN: &str = include_str!("../../scenarios/origin-down.toml");
const ORIGIN_SLOW: &str = include_str!("../../scenarios/origin-slow.toml");
const PAUSE: &str = include_str!("../../scenarios/pause.toml");
const RESTART: &str = include_str!("../../scenarios/restart.toml");
const ROLLING_RESTART: &str = include_str!("../../scenarios/rolling-restart.toml");

/// The load before and after a fault whose length was chosen, together.
const AROUND: Duration = Duration::from_secs(17);

/// A fault that is a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scenario {
    /// The name on the command line and in the table.
    pub(crate) name: String,
    /// The text of its file.
    text: String,
    /// The length of the fault, if it can be chosen, and how much longer it is then.
    lasts: Option<(Duration, Duration)>,
    /// What must be kept in any mode, beside the reads.
    always: Option<&'static str>,
}

/// The servers that the master may mark offline, in any mode.
const NONE_OFFLINE: Option<&str> = Some("offline=0");
const ONE_OFFLINE: Option<&str> = Some("offline<=1");

impl Scenario {
    /// The scenarios that `cargo xtask chaos` runs, in this order.
    pub(crate) fn defaults() -> Vec<Self> {
        let [a1, a2, b1] = [0, 1, 2].map(Node::Server);
        let master = Node::Master;
        let pauses = [500, 900, 2_000, 30_000].map(Duration::from_millis);
        let mut all = vec![Self::of("kill", KILL, None, ONE_OFFLINE)];
        all.extend(pauses.map(Self::pause));
        all.extend([
            Self::of("restart", RESTART, None, ONE_OFFLINE),
            Self::of("origin-slow", ORIGIN_SLOW, lasting(8, 0), NONE_OFFLINE),
            Self::of("origin-down", ORIGIN_DOWN, lasting(10, 0), NONE_OFFLINE),
            Self::of("rolling-restart", ROLLING_RESTART, None, None),
            Self::of("master-restart", MASTER_RESTART, lasting(2, 0), NONE_OFFLINE),
            Self::of("master-then-server", MASTER_THEN_SERVER, lasting(10, 2), ONE_OFFLINE),
        ]);
        let pairs = [(Node::Client, a1), (a2, a1), (b1, a1), (master, a1), (Node::Client, master)];
        for (one, other) in pairs {
            let ways = [(one, other, true), (one, other, false), (other, one, false)];
            all.extend(ways.map(|(from, to, is_two_way)| Self::cut(from, to, is_two_way)));
        }
        all.push(Self::of("cut-client+a2-and-a1", CUT_FROM_GROUP, lasting(8, 0), NONE_OFFLINE));
        all.push(Self::isolate(a1));
        all.push(Self::of("datagram-loss", DATAGRAM_LOSS, lasting(30, 0), NONE_OFFLINE));
        let twice = ("datagram-duplication", DATAGRAM_DUPLICATION);
        all.push(Self::of(twice.0, twice.1, lasting(8, 0), NONE_OFFLINE));
        all
    }

    /// The scenario with this name, including cuts between other pairs than the default ones, other isolated servers, and
    /// pauses of other lengths.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        if let Some(found) = Self::defaults().into_iter().find(|one| one.name == name) {
            return Some(found);
        }
        if let Some(name) = name.strip_prefix("isolate-") {
            let node = Node::of_name(name).filter(|node| matches!(node, Node::Server(_)))?;
            return Some(Self::isolate(node));
        }
        if let Some(seconds) = name.strip_prefix("pause-") {
            let length = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
            let can_last = Duration::from_millis(1)..=Duration::from_secs(86_400);
            return can_last.contains(&length).then(|| Self::pause(length));
        }
        let parts: Vec<&str> = name.strip_prefix("cut-")?.split('-').collect();
        let [from, way, to] = parts[..] else { return None };
        let (from, to) = (Node::of_name(from)?, Node::of_name(to)?);
        let is_two_way = match way {
            "and" => true,
            "to" => false,
            _ => return None,
        };
        (from != to).then(|| Self::cut(from, to, is_two_way))
    }

    /// The text of its file. `lasts` is the length of faults that have none of their own.
    pub(crate) fn text(&self, lasts: Option<Duration>) -> String {
        match (self.lasts, lasts) {
            (Some((usual, more)), Some(lasts)) => {
                let asked = (lasts + more).as_secs();
                replaced(
                    &self.text,
                    &format!("for = \"{}s\"", usual.as_secs()),
                    &format!("for = \"{asked}s\""),
                )
            }
            _ => self.text.clone(),
        }
    }

    /// The files on which all build: their names and texts.
    pub(crate) fn bases(
        mode: Mode,
        surge_reads: Option<u32>,
        has_namespaces: bool,
    ) -> impl Iterator<Item = (&'static str, String)> {
        COMMON.into_iter().map(move |(name, text)| {
            let mut text = text.to_owned();
            let available = "mode = \"available\"";
            if mode == Mode::Strict {
                text = replaced(&text, available, "mode = \"strict\"");
            }
            if let Some(reads) = surge_reads {
                let usual = text.lines().find(|line| line.starts_with("surge_reads = "));
                let usual = usual.expect("each has a limit").to_owned();
                text = replaced(&text, &usual, &format!("surge_reads = {reads}"));
            }
            if !has_namespaces {
                text = text.replace("namespace = true\n", "");
            }
            (name, text)
        })
    }

    /// The options of `standin load` beside the file.
    pub(crate) fn options(&self, lasts: Option<Duration>, mode: Mode) -> Vec<String> {
        let mut options = Vec::new();
        if let (Some((_, more)), Some(lasts)) = (self.lasts, lasts) {
            let seconds = (lasts + more + AROUND).as_secs();
            options.extend(["--seconds".to_owned(), seconds.to_string()]);
        }
        // No server answers for an owner that may still have a lease. Failures are reported, and reads are judged.
        if mode == Mode::Strict {
            let always = self.always.map(|always| format!(",{always}"));
            let that = format!("stale_beyond=0,wrong=0{}", always.unwrap_or_default());
            options.extend(["--expect".to_owned(), that]);
        }
        options
    }

    /// Whether it needs links that can be cut.
    pub(crate) fn needs_namespaces(&self) -> bool {
        let of_network = ["cut", "lose", "duplicate"].map(|what| format!("what = \"{what}\""));
        of_network.iter().any(|line| self.text.contains(line))
    }

    fn of(
        name: &str,
        text: &str,
        lasts: Option<(Duration, Duration)>,
        always: Option<&'static str>,
    ) -> Self {
        Self { name: name.to_owned(), text: text.to_owned(), lasts, always }
    }

    /// A pause of this length.
    fn pause(length: Duration) -> Self {
        let ms = length.as_millis();
        let mut text = replaced(PAUSE, "for = \"2s\"", &format!("for = \"{ms}ms\""));
        let seconds = 35 + length.as_secs_f64().ceil() as u64;
        text = replaced(&text, "seconds = 37", &format!("seconds = {seconds}"));
        // A server that was only stopped has nothing to drop.
        let always = Some("offline<=1,server:partitions_dropped@a1=0");
        Self::of(&format!("pause-{}", length.as_secs_f64()), &text, None, always)
    }

    fn isolate(node: Node) -> Self {
        let text = replaced(ISOLATE, "on = \"st-a1\"", &format!("on = \"{}\"", process(node)));
        Self::of(&format!("isolate-{}", node.name()), &text, lasting(8, 0), ONE_OFFLINE)
    }

    fn cut(from: Node, to: Node, is_two_way: bool) -> Self {
        let and = if is_two_way { "and" } else { "to" };
        let name = format!("cut-{}-{and}-{}", from.name(), to.name());
        // The clients are no process of the scenario.
        let (on, other, way) = match to {
            Node::Client => (from, to, "from"),
            _ => (to, from, "to"),
        };
        let way = if is_two_way { "both" } else { way };
        let mut text = replaced(CUT, "on = \"st-a1\"", &format!("on = \"{}\"", process(on)));
        text = replaced(&text, "from = [\"client\"]", &format!("from = [\"{}\"]", process(other)));
        text = replaced(&text, "way = \"both\"", &format!("way = \"{way}\""));
        Self::of(&name, &text, lasting(8, 0), NONE_OFFLINE)
    }
}

fn lasting(seconds: u64, more: u64) -> Option<(Duration, Duration)> {
    Some((Duration::from_secs(seconds), Duration::from_secs(more)))
}

/// The name in the scenarios.
fn process(node: Node) -> String {
    match node {
        Node::Client => "client".to_owned(),
        _ => format!("st-{}", node.name()),
    }
}

/// The text with another line, which must be there once.
fn replaced(text: &str, line: &str, with: &str) -> String {
    let count = text.lines().filter(|one| *one == line).count();
    assert_eq!(count, 1, "{line:?} is once in the scenario:\n{text}");
    let lines = text.lines().map(|one| if one == line { with } else { one });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}
