//! A path through the states, described in words.
//!
//! Epochs are renumbered as maps are forgotten (`normal.rs`), so a schedule describes the content
//! of a map instead of its epoch.

use standin_protocol::map::ServerState;

use crate::action::{Action, name};
use crate::state::{Map, SERVERS_MAX, State};

/// Describes the servers in a map that are not online.
fn states(map: &Map) -> String {
    let out = (0..SERVERS_MAX).filter(|id| map.statuses[*id].state != ServerState::Online);
    let out: Vec<String> = out
        .map(|id| {
            format!("{} {}", name(id), format!("{:?}", map.statuses[id].state).to_lowercase())
        })
        .collect();
    if out.is_empty() { "all online".to_owned() } else { out.join(", ") }
}

/// Describes one step, and the map that it is about.
fn step(action: Action, after: &State) -> String {
    match action {
        Action::Learn(id, _) => {
            let map = after.map_at(id).map(states).unwrap_or_default();
            format!("{} applies a map: {map}", name(id))
        }
        Action::HandBack(id, _) => format!("{} hands its log over to H", name(id)),
        _ if action.publishes() => format!("{action} [{}]", states(after.newest())),
        _ => action.to_string(),
    }
}

/// Describes the steps of a path that the checker has found.
pub(crate) fn tell(path: Vec<(State, Option<Action>)>) -> Vec<String> {
    let after = path.iter().skip(1).map(|(state, _)| *state);
    let actions = path.iter().filter_map(|(_, action)| *action);
    actions.zip(after).map(|(action, state)| step(action, &state)).collect()
}
