//! The event that a fault waits for: `after` and `within`.

use std::ops::RangeInclusive;
use std::time::Duration;

use standin_config::{Report, Section};
use standin_protocol::map::ServerState;

use crate::faults::script::{Awaited, Script};

const WITHIN: Duration = Duration::from_secs(10);
const WITHIN_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(7 * 86_400);

/// Reads both keys. `Some(None)`: there is no such event. Not `is_whole`: processes that have mistakes are not in the script.
pub(super) fn read(
    section: &mut Section<'_>,
    script: &Script,
    is_whole: bool,
    report: &mut Report<'_>,
) -> Option<Option<Awaited>> {
    let after = section.text("after", "cluster-a1 online", report).optional();
    let within = section.duration_or_absent("within", WITHIN_RANGE, "10s", report).optional();
    let (after, within) = (after?, within?);
    let Some(after) = after else {
        let Some(within) = within else { return Some(None) };
        let wrong = "is the longest wait of `after`; remove it, or add that";
        report.mistake(within.at, &section.key("within"), wrong);
        return None;
    };
    let within = within.map_or(WITHIN, |within| within.value);
    let words: Vec<&str> = after.value.split_whitespace().collect();
    let [server, word] = words[..] else {
        let wrong =
            format!("{:?}: write a server and a state, such as \"cluster-a1 online\"", after.value);
        report.mistake(after.at, &section.key("after"), wrong);
        return None;
    };
    let Some(state) = ServerState::of_name(word) else {
        let known: Vec<&str> = ServerState::ALL.iter().map(|state| state.name()).collect();
        let wrong = format!("there is no state {word:?}; write one of: {}", known.join(", "));
        report.mistake(after.at, &section.key("after"), wrong);
        return None;
    };
    let servers = script.servers();
    if servers.iter().any(|one| one == server) {
        return Some(Some(Awaited { server: server.to_owned(), state, within }));
    }
    // One that has a mistake is not in the list.
    if is_whole {
        let known = match servers.is_empty() {
            true => "the scenario starts none".to_owned(),
            false => format!("write one of: {}", servers.join(", ")),
        };
        let wrong = format!("there is no server {server:?} of a Standin cluster; {known}");
        report.mistake(after.at, &section.key("after"), wrong);
    }
    None
}
