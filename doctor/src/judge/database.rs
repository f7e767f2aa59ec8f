//! The way to the database.

use std::time::Duration;

use super::Host;
use crate::facts::WayAnswer;
use crate::report::{Area, Finding, Guide, Verdict};

const WAY: Guide = Guide {
    area: Area::Database,
    setting: "way to the database",
    why: "without it a server has only what is cached: misses and writes are answered UNAVAILABLE",
    risk: "none",
};

/// A set-up that takes longer than this is worth a remark: each miss waits for at least half of it.
const SLOW: Duration = Duration::from_millis(10);

pub(super) fn judge(host: &Host<'_>, findings: &mut Vec<Finding>) {
    let ways = &host.facts.ways;
    let is_any_open = ways.iter().any(|way| way.answered.is_ok());
    for way in ways {
        let finding = match &way.answered {
            Ok(WayAnswer::Writable) => WAY.good("this user may write it", "open"),
            Ok(WayAnswer::OnNetwork(kind)) => WAY.found(
                Verdict::Serious,
                format!("on {kind}"),
                "a local disk",
                "SQLite's write-ahead log needs memory that processes share: use a local disk, or PostgreSQL",
            ),
            Ok(WayAnswer::Postgres(took)) if *took <= SLOW => {
                WAY.good(format!("PostgreSQL answers after {}", shown(*took)), "open")
            }
            Ok(WayAnswer::Postgres(took)) => WAY.found(
                Verdict::Advice,
                format!("PostgreSQL answers after {}", shown(*took)),
                format!("within {}", shown(SLOW)),
                "put the servers nearer to the database, or expect each miss to take that long",
            ),
            // Of several hosts one is enough.
            Err(why) => WAY.found(
                if is_any_open { Verdict::Warning } else { Verdict::Serious },
                why.clone(),
                "open",
                "check the name, the port, listen_addresses and firewalls; for a file, the folder's owner",
            ),
        };
        findings.push(finding.about(&way.place));
    }
}

fn shown(took: Duration) -> String {
    match took.as_micros() {
        micros @ 0..1_000 => format!("{micros} µs"),
        micros => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
    }
}
