//! Schedules in which the database stores a different value from the one sent, or nothing. The
//! row's value must be cached.

use super::{Scenario, nothing_else};
use standin_protocol::mutant::Mutant;

use crate::clock::{MS, S};
use crate::plan::{Rule, script};

pub(super) const STORED_OTHERWISE: Scenario = Scenario {
    name: "s22_stored_otherwise",
    plan: || script(2).at(0).put(0, 0).at(100 * MS).get(0, 0).get(1, 0).plan(),
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::KeepSent), "which the origin has never held")],
};

pub(super) const NOT_STORED: Scenario = Scenario {
    name: "s23_not_stored",
    plan: || {
        let mut script = script(2).with(|setup| setup.some_puts_change_nothing = true);
        for round in 0..40 {
            script = script.at(round * 50 * MS).put(0, 0).then(20 * MS).get(1, 0);
        }
        script.at(3 * S).get(0, 0).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::AckNoRow), "the origin has not got it")],
};
