//! Faults of the links between nodes of the scenario's network. Pure.

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
    /// The percentage of packets that is lost; `None`: nothing arrives.
    pub loss_percent: Option<u8>,
}

impl NetworkFault {
    /// The same for each pair of nodes.
    pub(super) fn impairments(&self) -> impl Iterator<Item = Impairment<&str>> {
        let one = |from, to| match self.loss_percent {
            None => Impairment::Cut { from, to },
            Some(percent) => Impairment::Loss { from, to, percent },
        };
        let pairs = self.on.iter().flat_map(|on| self.from.iter().map(move |from| (on, from)));
        let pairs = pairs.filter(|(on, from)| on != from);
        pairs.flat_map(move |(on, from)| {
            let to = (self.way != Way::From).then(|| one(from.as_str(), on.as_str()));
            let back = (self.way != Way::To).then(|| one(on.as_str(), from.as_str()));
            [to, back].into_iter().flatten()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_concerns_each_pair_and_the_ways_that_are_meant() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let fault = |way, loss_percent| NetworkFault {
            on: names(&["a"]),
            from: names(&["b", "a", "client"]),
            way,
            loss_percent,
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
        assert_eq!(all(&fault(Way::To, None)), owned(&to));
        assert_eq!(all(&fault(Way::From, None)), owned(&from));
        assert_eq!(all(&fault(Way::Both, None)), owned(&[to[0], from[0], to[1], from[1]]));
        let lossy = Impairment::Loss { from: "b", to: "a", percent: 5 };
        assert_eq!(all(&fault(Way::To, Some(5)))[0], lossy.map(str::to_owned));
    }
}
