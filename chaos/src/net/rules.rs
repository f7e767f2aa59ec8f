//! The text of the nftables rules.
//!
//! A cut drops packets where they arrive: the sender must not notice it, as it would if its own system
//! refused to send. Datagrams are repeated at the bridge's ports, where a packet can be copied to
//! another port unchanged.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::{Impairment, Node};

/// The port of all nodes: each has an address of its own.
pub(super) const PORT: u16 = 7_100;
/// The name of the table, the only one in these namespaces.
const TABLE: &str = "chaos";

/// The node's address. The network is connected to nothing else, so any address will do.
pub(super) fn address(node: Node) -> Ipv4Addr {
    Ipv4Addr::new(10, 211, 0, number(node))
}

/// The number in the node's address and in the name of its port at the bridge.
pub(super) fn number(node: Node) -> u8 {
    match node {
        Node::Client => 1,
        Node::Origin => 2,
        Node::Master => 3,
        Node::Server(id) => 10 + u8::try_from(id).unwrap_or(0),
    }
}

/// Name of the node's port at the bridge.
pub(super) fn port_name(node: Node) -> String {
    format!("port{}", number(node))
}

/// The input of `nft -f` in a node's namespace.
pub(super) fn of_node(node: Node, impairments: &[Impairment]) -> String {
    let mut rules = String::new();
    for impairment in impairments {
        match *impairment {
            Impairment::Cut { from, to } if to == node => {
                let _ = writeln!(rules, "    ip saddr {} drop", address(from));
            }
            Impairment::Loss(percent) => {
                let _ =
                    writeln!(rules, "    meta l4proto udp numgen random mod 100 < {percent} drop");
            }
            Impairment::Cut { .. } | Impairment::Duplication(_) => {}
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
pub(super) fn of_bridge(impairments: &[Impairment]) -> String {
    let mut text = anew("netdev");
    for impairment in impairments {
        let Impairment::Duplication(percent) = *impairment else { continue };
        let _ = writeln!(text, "table netdev {TABLE} {{");
        for from in Node::all() {
            let port = port_name(from);
            let _ = writeln!(
                text,
                "  chain from_{port} {{\n    \
                 type filter hook ingress device \"{port}\" priority 0; policy accept;"
            );
            for to in Node::all().filter(|to| *to != from) {
                let _ = writeln!(
                    text,
                    "    ip daddr {} meta l4proto udp numgen random mod 100 < {percent} dup to {}",
                    address(to),
                    port_name(to)
                );
            }
            text.push_str("  }\n");
        }
        text.push_str("}\n");
    }
    text
}

/// The commands that remove the old rules in the same transaction in which the new ones are added.
fn anew(family: &str) -> String {
    format!("table {family} {TABLE}\ndelete table {family} {TABLE}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Impairment = Impairment::Cut { from: Node::Server(0), to: Node::Master };

    #[test]
    fn a_cut_is_made_at_the_receiver_only() {
        let expected = "table inet chaos\ndelete table inet chaos\n\
             table inet chaos {\n  chain input {\n    \
             type filter hook input priority 0; policy accept;\n    \
             ip saddr 10.211.0.10 drop\n  }\n}\n";
        assert_eq!(of_node(Node::Master, &[CUT]), expected);
        for other in Node::all().filter(|node| *node != Node::Master) {
            assert_eq!(of_node(other, &[CUT]), anew("inet"), "{other:?}");
        }
        assert_eq!(of_bridge(&[CUT]), anew("netdev"));
    }

    #[test]
    fn loss_is_everywhere_and_of_datagrams_only() {
        for node in Node::all() {
            let text = of_node(node, &[Impairment::Loss(10)]);
            assert!(text.contains("meta l4proto udp numgen random mod 100 < 10 drop"), "{text}");
        }
    }

    #[test]
    fn datagrams_are_repeated_between_all_pairs() {
        let text = of_bridge(&[Impairment::Duplication(10)]);
        assert_eq!(text.matches("chain ").count(), 7);
        assert_eq!(text.matches("dup to ").count(), 7 * 6);
        assert!(text.contains(
            "ip daddr 10.211.0.3 meta l4proto udp numgen random mod 100 < 10 dup to port3\n"
        ));
    }

    #[test]
    fn healing_removes_everything() {
        assert_eq!(of_node(Node::Client, &[]), anew("inet"));
        assert_eq!(of_bridge(&[]), anew("netdev"));
    }
}
