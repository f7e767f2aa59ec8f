//! Faults of the links between nodes of the scenario's network. Pure.

use std::collections::BTreeSet;

use serde::Serialize;

use super::proxy::Way;
use crate::net::Impairment;

/// A fault between nodes of the scenario's network, each by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkFault {
    /// Those that are concerned.
    pub on: Vec<String>,
    /// Those from which they are cut off.
    pub from: Vec<String>,
    /// Which way is concerned: what goes to the first ones, what comes from them, or both.
    pub way: Way,
    /// What happens to it.
    pub harm: Harm,
}

/// What happens to packets between two nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Harm {
    /// Nothing arrives.
    Cut,
    /// Some are lost.
    Lose {
        /// How many of a hundred.
        percent: u8,
        /// Whether only datagrams (UDP) are.
        udp: bool,
    },
    /// Some datagrams (UDP) arrive twice.
    Duplicate {
        /// How many of a hundred.
        percent: u8,
    },
}

impl Harm {
    /// As scenarios have it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Lose { .. } => "lose",
            Self::Duplicate { .. } => "duplicate",
        }
    }
}

impl NetworkFault {
    /// The same for each pair of nodes, and for each way once.
    pub(super) fn impairments(&self) -> impl Iterator<Item = Impairment<&str>> {
        let pairs = self.on.iter().flat_map(|on| self.from.iter().map(move |from| (on, from)));
        let pairs = pairs.filter(|(on, from)| on != from);
        let ways = pairs.flat_map(|(on, from)| {
            let to = (self.way != Way::From).then_some((from.as_str(), on.as_str()));
            let back = (self.way != Way::To).then_some((on.as_str(), from.as_str()));
            [to, back].into_iter().flatten()
        });
        // Two rules for one way would lose, or repeat, more than was asked for.
        let ways: BTreeSet<(&str, &str)> = ways.collect();
        ways.into_iter().map(|(from, to)| match self.harm {
            Harm::Cut => Impairment::Cut { from, to },
            Harm::Lose { percent, udp } => Impairment::Loss { from, to, percent, is_udp: udp },
            Harm::Duplicate { percent } => Impairment::Duplication { from, to, percent },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_concerns_each_pair_and_the_ways_that_are_meant() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let fault = |way, harm| NetworkFault {
            on: names(&["a"]),
            from: names(&["b", "a", "client"]),
            way,
            harm,
        };
        let cut = |from, to| Impairment::Cut { from, to };
        let all = |fault: &NetworkFault| {
            let owned = |one: Impairment<&str>| one.map(str::to_owned);
            fault.impairments().map(owned).collect::<Vec<_>>()
        };
        let owned = |cuts: &[Impairment<&str>]| {
            cuts.iter().map(|one| one.map(str::to_owned)).collect::<Vec<_>>()
        };
        let to = [cut("b", "a"), cut("client", "a")];
        let from = [cut("a", "b"), cut("a", "client")];
        assert_eq!(all(&fault(Way::To, Harm::Cut)), owned(&to));
        assert_eq!(all(&fault(Way::From, Harm::Cut)), owned(&from));
        assert_eq!(all(&fault(Way::Both, Harm::Cut)), owned(&[from[0], from[1], to[0], to[1]]));
        let lossy = Impairment::Loss { from: "b", to: "a", percent: 5, is_udp: true };
        let lose = Harm::Lose { percent: 5, udp: true };
        assert_eq!(all(&fault(Way::To, lose))[0], lossy.map(str::to_owned));
        let twice = Impairment::Duplication { from: "a", to: "b", percent: 7 };
        let duplicate = Harm::Duplicate { percent: 7 };
        assert_eq!(all(&fault(Way::From, duplicate))[0], twice.map(str::to_owned));
    }

    #[test]
    fn among_themselves_each_way_is_concerned_once() {
        let all: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let harm = Harm::Lose { percent: 10, udp: true };
        let fault = NetworkFault { on: all.clone(), from: all, way: Way::Both, harm };
        assert_eq!(fault.impairments().count(), 6);
    }
}
