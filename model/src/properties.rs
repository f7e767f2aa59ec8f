//! The properties that must hold in every state.

use stateright::Property;

use crate::failover::Failover;
use crate::serving::Serving;
use crate::state::State;

/// No server answers with a value that is older than the mode allows.
pub const FRESH: &str = "no read is older than the mode allows";
/// At most one server acts as the owner.
pub const ONE_OWNER: &str = "one owner under a lease";
/// Acknowledged writes are in the origin's history.
pub const DURABLE: &str = "acknowledged writes are in the origin";

/// Once faults end, the key returns to its home.
pub const HEALS: &str = "from every state there is a way home";

pub(crate) fn all(heals: bool) -> Vec<Property<Failover>> {
    let mut all = vec![
        Property::always(FRESH, is_fresh),
        Property::always(ONE_OWNER, has_one_owner),
        Property::always(DURABLE, is_durable),
    ];
    if heals {
        all.push(Property::always(HEALS, heals_everywhere));
    }
    all
}

/// Returns the position in the history that every read must have reached.
fn floor(model: &Failover, state: &State) -> u8 {
    match model.rules.is_available() {
        true => state.acknowledged[model.scope.stale_steps()],
        false => state.acknowledged[0],
    }
}

fn is_fresh(model: &Failover, state: &State) -> bool {
    let floor = floor(model, state);
    model.ids().all(|id| {
        let server = &state.servers[id];
        let is_read = model.answers_from_cache(state, id);
        let is_old = is_read && server.value < floor && !is_excused(model, state, id);
        // The age of values that are kept briefly is bounded whatever this server can know.
        !is_old && server.brief.iter().all(|value| *value >= floor)
    })
}

/// Whether the age of cached values is bounded only by their lifetime, because nobody hears the
/// master as far as this server can know.
fn is_excused(model: &Failover, state: &State, id: usize) -> bool {
    let server = &state.servers[id];
    let mut others = model.others(id).filter(|other| state.servers[*other].is_up);
    model.serving(state, id) == Serving::Orphan
        && server.is_lost
        && server.heard <= server.map
        && !server.is_misled
        && others.all(|other| server.lost_too[other] > 0)
}

fn has_one_owner(model: &Failover, state: &State) -> bool {
    model.ids().filter(|id| model.serving(state, *id) == Serving::Cached).count() <= 1
}

fn heals_everywhere(model: &Failover, state: &State) -> bool {
    model.healer.as_ref().is_none_or(|healer| healer.heals_from(state))
}

fn is_durable(_: &Failover, state: &State) -> bool {
    state.acknowledged.iter().all(|place| *place <= state.commits)
}
