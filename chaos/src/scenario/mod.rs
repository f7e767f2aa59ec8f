//! The faults that are scenarios of `standin load`: their files, and what the command line changes in them. Pure.
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

use crate::net::Node;

/// The file on which all others build.
pub(crate) const COMMON: (&str, &str) =
    ("common.toml", include_str!("../../scenarios/common.toml"));
const CUT: &str = include_str!("../../scenarios/cut.toml");
const CUT_FROM_GROUP: &str = include_str!("../../scenarios/cut-from-group.toml");
const ISOLATE: &str = include_str!("../../scenarios/isolate.toml");
const MASTER_RESTART: &str = include_str!("../../scenarios/master-restart.toml");
const MASTER_THEN_SERVER: &str = include_str!("../../scenarios/master-then-server.toml");
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
    /// How many servers the master may mark offline, in any mode.
    offline_max: Option<u8>,
}

impl Scenario {
    /// The scenarios that `cargo xtask chaos` runs, in this order.
    pub(crate) fn defaults() -> Vec<Self> {
        let [a1, a2, b1] = [0, 1, 2].map(Node::Server);
        let master = Node::Master;
        let mut all = vec![
            Self::of("rolling-restart", ROLLING_RESTART, None, None),
            Self::of("master-restart", MASTER_RESTART, lasting(2, 0), Some(0)),
            Self::of("master-then-server", MASTER_THEN_SERVER, lasting(10, 2), Some(1)),
        ];
        let pairs = [(Node::Client, a1), (a2, a1), (b1, a1), (master, a1), (Node::Client, master)];
        for (one, other) in pairs {
            let ways = [(one, other, true), (one, other, false), (other, one, false)];
            all.extend(ways.map(|(from, to, is_two_way)| Self::cut(from, to, is_two_way)));
        }
        all.push(Self::of("cut-client+a2-and-a1", CUT_FROM_GROUP, lasting(8, 0), Some(0)));
        all.push(Self::isolate(a1));
        all
    }

    /// The scenario with this name, including cuts between other pairs than the default ones, and other isolated servers.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        if let Some(found) = Self::defaults().into_iter().find(|one| one.name == name) {
            return Some(found);
        }
        if let Some(name) = name.strip_prefix("isolate-") {
            let node = Node::of_name(name).filter(|node| matches!(node, Node::Server(_)))?;
            return Some(Self::isolate(node));
        }
        let parts: Vec<&str> = name.strip_prefix("cut-")?.split('-').collect();
        let [from, way, to] = parts[..] else { return None };
        let (from, to) = (Node::of_name(from)?, Node::of_name(to)?);
        let is_two_way = match way {
            "and" => true,
            "to" => false,
            _ => return None,
        };
        // The way to the database is that of a proxy.
        let is_link = from != to && from != Node::Origin && to != Node::Origin;
        is_link.then(|| Self::cut(from, to, is_two_way))
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

    /// The text of the file on which it builds.
    pub(crate) fn common(mode: Mode, has_namespaces: bool) -> String {
        let mut text = COMMON.1.to_owned();
        if mode == Mode::Strict {
            text = replaced(&text, "mode = \"available\"", "mode = \"strict\"");
        }
        if !has_namespaces {
            text = text.replace("namespace = true\n", "");
        }
        text
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
            let offline = self.offline_max.map(|most| format!(",offline<={most}"));
            let that = format!("stale_beyond=0,wrong=0{}", offline.unwrap_or_default());
            options.extend(["--expect".to_owned(), that]);
        }
        options
    }

    /// Whether it needs links that can be cut.
    pub(crate) fn needs_namespaces(&self) -> bool {
        self.text.contains("what = \"cut\"")
    }

    fn of(
        name: &str,
        text: &str,
        lasts: Option<(Duration, Duration)>,
        offline_max: Option<u8>,
    ) -> Self {
        Self { name: name.to_owned(), text: text.to_owned(), lasts, offline_max }
    }

    fn isolate(node: Node) -> Self {
        let text = replaced(ISOLATE, "on = \"st-a1\"", &format!("on = \"{}\"", process(node)));
        Self::of(&format!("isolate-{}", node.name()), &text, lasting(8, 0), Some(1))
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
        Self::of(&name, &text, lasting(8, 0), Some(0))
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
