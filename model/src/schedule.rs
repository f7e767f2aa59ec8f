//! A path through the states, told in words.
//!
//! Epochs are renumbered as maps are forgotten (`normal.rs`), so a schedule says what is in a
//! map rather than which one it is.

use standin_protocol::map::ServerState;

use crate::action::{Action, name};
use crate::state::{Map, SERVERS_MAX, State};

/// What a map says of those that are not simply online.
fn states(map: &Map) -> String {
    let out = (0..SERVERS_MAX).filter(|id| map.statuses[*id].state != ServerState::Online);
    let out: Vec<String> = out
        .map(|id| {
            format!("{} {}", name(id), format!("{:?}", map.statuses[id].state).to_lowercase())
        })
        .collect();
    if out.is_empty() { "all online".to_owned() } else { out.join(", ") }
}

/// One step: what happens, and what is said by the map that this is about.
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

/// The steps of a path that the checker has found.
pub(crate) fn tell(path: Vec<(State, Option<Action>)>) -> Vec<String> {
    let after = path.iter().skip(1).map(|(state, _)| *state);
    let actions = path.iter().filter_map(|(_, action)| *action);
    actions.zip(after).map(|(action, state)| step(action, &state)).collect()
}
