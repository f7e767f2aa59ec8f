//! The text of the nftables rules.
//!
//! A cut drops packets where they arrive: the sender must not notice it, as it would if its own system
//! refused to send. Datagrams are repeated at the bridge's ports, where a packet can be copied to
//! another port unchanged.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::{Impairment, NodeNumber};

/// The name of the table, the only one in these namespaces.
const TABLE: &str = "faults";

/// The node's address. The network is connected to nothing else, so any address will do.
#[must_use]
pub fn address(node: NodeNumber) -> Ipv4Addr {
    Ipv4Addr::new(10, 211, 0, node)
}

/// Name of the node's port at the bridge.
pub(super) fn port_name(node: NodeNumber) -> String {
    format!("port{node}")
}

/// The input of `nft -f` in a node's namespace.
pub(super) fn of_node(node: NodeNumber, impairments: &[Impairment<NodeNumber>]) -> String {
    let mut rules = String::new();
    for impairment in impairments {
        match *impairment {
            Impairment::Cut { from, to } if to == node => {
                let _ = writeln!(rules, "    ip saddr {} drop", address(from));
            }
            Impairment::Loss { from, to, percent, is_udp } if to == node => {
                let (from, udp) = (address(from), if is_udp { "meta l4proto udp " } else { "" });
                let _ = writeln!(
                    rules,
                    "    ip saddr {from} {udp}numgen random mod 100 < {percent} drop"
                );
            }
            Impairment::Cut { .. } | Impairment::Loss { .. } | Impairment::Duplication { .. } => {}
        }
    }
    let mut text = anew("inet");
    if !rules.is_empty() {
        let _ = writeln!(
            text,
            "table inet {TABLE} {{\n  chain input {{\n    \
             type filter hook input priority 0; policy accept;\n{rules}  }}\n}}"
        );
    }
    text
}

/// The input of `nft -f` in the bridge's namespace.
pub(super) fn of_bridge(impairments: &[Impairment<NodeNumber>]) -> String {
    let mut by_sender: BTreeMap<NodeNumber, String> = BTreeMap::new();
    for impairment in impairments {
        let Impairment::Duplication { from, to, percent } = *impairment else { continue };
        let _ = writeln!(
            by_sender.entry(from).or_default(),
            "    ip daddr {} meta l4proto udp numgen random mod 100 < {percent} dup to {}",
            address(to),
            port_name(to)
        );
    }
    let mut text = anew("netdev");
    if by_sender.is_empty() {
        return text;
    }
    let _ = writeln!(text, "table netdev {TABLE} {{");
    for (from, rules) in by_sender {
        let port = port_name(from);
        let _ = writeln!(
            text,
            "  chain from_{port} {{\n    \
             type filter hook ingress device \"{port}\" priority 0; policy accept;\n{rules}  }}"
        );
    }
    text.push_str("}\n");
    text
}

/// The commands that remove the old rules in the same transaction in which the new ones are added.
fn anew(family: &str) -> String {
    format!("table {family} {TABLE}\ndelete table {family} {TABLE}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [NodeNumber; 7] = [1, 2, 3, 10, 11, 12, 13];
    const MASTER: NodeNumber = 3;
    const CUT: Impairment<NodeNumber> = Impairment::Cut { from: 10, to: MASTER };

    #[test]
    fn a_cut_is_made_at_the_receiver_only() {
        let expected = "table inet faults\ndelete table inet faults\n\
             table inet faults {\n  chain input {\n    \
             type filter hook input priority 0; policy accept;\n    \
             ip saddr 10.211.0.10 drop\n  }\n}\n";
        assert_eq!(of_node(MASTER, &[CUT]), expected);
        for other in NODES.into_iter().filter(|node| *node != MASTER) {
            assert_eq!(of_node(other, &[CUT]), anew("inet"), "{other:?}");
        }
        assert_eq!(of_bridge(&[CUT]), anew("netdev"));
    }

    #[test]
    fn a_loss_between_two_is_made_at_the_receiver() {
        let loss = Impairment::Loss { from: 10, to: MASTER, percent: 5, is_udp: false };
        let text = of_node(MASTER, &[loss]);
        assert!(
            text.contains("    ip saddr 10.211.0.10 numgen random mod 100 < 5 drop\n"),
            "{text}"
        );
        assert_eq!(of_node(10, &[loss]), anew("inet"));
    }

    #[test]
    fn a_loss_may_concern_datagrams_alone() {
        let text = of_node(
            MASTER,
            &[Impairment::Loss { from: 10, to: MASTER, percent: 10, is_udp: true }],
        );
        let rule = "ip saddr 10.211.0.10 meta l4proto udp numgen random mod 100 < 10 drop";
        assert!(text.contains(rule), "{text}");
    }

    #[test]
    fn datagrams_are_repeated_where_they_come_from() {
        let one = |from, to| Impairment::Duplication { from, to, percent: 10 };
        let text = of_bridge(&[one(10, MASTER), one(11, MASTER), one(10, 11)]);
        assert_eq!(
            (text.matches("table netdev faults {").count(), text.matches("chain ").count()),
            (1, 2)
        );
        let rule = |to: NodeNumber| {
            let udp = "meta l4proto udp numgen random mod 100 < 10";
            format!("    ip daddr 10.211.0.{to} {udp} dup to port{to}\n")
        };
        assert!(text.contains(&format!("policy accept;\n{}{}  }}\n", rule(3), rule(11))), "{text}");
        assert_eq!(text.matches(&rule(3)).count(), 2, "{text}");
        assert_eq!(of_node(MASTER, &[one(10, MASTER)]), anew("inet"));
    }

    #[test]
    fn healing_removes_everything() {
        assert_eq!(of_node(1, &[]), anew("inet"));
        assert_eq!(of_bridge(&[]), anew("netdev"));
    }
}
