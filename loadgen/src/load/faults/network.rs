//! Faults of the scenario's own network: `what` is cut, lose or duplicate.

use standin_config::{At, Report, Section};

use super::line::{LineKeys, LinkKeys};
use crate::faults::links::{Harm, NetworkFault};
use crate::faults::script::{CLIENT, Deed, Script};

/// The words of `what` for the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NetworkWord {
    Cut,
    Lose,
    Duplicate,
}

/// What happens between `on` and `from`. Not `is_whole`: processes that have mistakes are not in the script.
pub(super) fn deed(
    section: &mut Section<'_>,
    what: At<NetworkWord>,
    (on, from): (Option<At<&str>>, At<Vec<&str>>),
    line: &LineKeys,
    script: &Script,
    is_whole: bool,
    report: &mut Report<'_>,
) -> Option<Deed> {
    let At { value: word, at } = what;
    let allowed: &[&str] = match word {
        NetworkWord::Cut => &["from", "way"],
        NetworkWord::Lose => &["from", "way", "loss", "udp"],
        NetworkWord::Duplicate => &["from", "way", "duplication"],
    };
    line.misplaced(section, allowed, report);
    let LinkKeys { loss, duplication, udp, way } = line.of_network()?;
    let Some(on) = on else {
        let wrong =
            "is for the network between processes; write `on` with one that has a namespace";
        report.mistake(at, &section.key("what"), wrong);
        return None;
    };
    let (harm, needed) = match word {
        NetworkWord::Cut => (Harm::Cut, None),
        NetworkWord::Lose => (Harm::Lose { percent: loss, udp }, (loss == 0).then_some("loss")),
        NetworkWord::Duplicate => {
            let needed = (duplication == 0).then_some("duplication");
            (Harm::Duplicate { percent: duplication }, needed)
        }
    };
    if let Some(needed) = needed {
        section.missing(needed, "5", report);
        return None;
    }
    let mut find = |name: &str, at: usize, key: &str| {
        let found = nodes(name, script);
        if found.is_none() && is_whole {
            let wrong = format!(
                "{name:?} has no namespace of its own: write `namespace = true` at the process, or put a proxy before it \
                 for \"stall\" and \"refuse\""
            );
            report.mistake(at, &section.key(key), wrong);
        }
        found
    };
    let on = find(on.value, on.at, "on")?;
    let mut others = Vec::new();
    for name in &from.value {
        others.extend(find(name, from.at, "from")?);
    }
    if others.is_empty() {
        others = script.nodes();
        others.push(CLIENT.to_owned());
        others.retain(|name| !on.contains(name));
    }
    Some(Deed::Network(NetworkFault { on, from: others, way, harm }))
}

/// The nodes of this name: the client, a process, or all those of a cluster.
fn nodes(name: &str, script: &Script) -> Option<Vec<String>> {
    let all = script.nodes();
    if name == CLIENT {
        return (!all.is_empty()).then(|| vec![name.to_owned()]);
    }
    if all.iter().any(|node| node == name) {
        return Some(vec![name.to_owned()]);
    }
    let of_cluster = script.process(name).filter(|one| one.namespace);
    of_cluster.map(|one| one.members())
}
