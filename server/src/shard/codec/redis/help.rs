//! HELP: the subcommands that there are, in the shape of Redis' own lists.

use super::call::{Call, Made};
use super::resp;
use super::said::Said;
use super::tag::{Kind, Tag};

/// The subcommands of a command: the name and arguments of each, and the lines that describe it.
type Subcommands = &'static [(&'static str, &'static [&'static str])];

/// The commands that have subcommands.
const HELP: [(&str, Subcommands); 7] = [
    ("acl", &[("WHOAMI", &["Return the user of the current connection."])]),
    (
        "client",
        &[
            ("GETNAME", &["Return the name of the current connection."]),
            ("ID", &["Return the ID of the current connection."]),
            ("INFO", &["Return information about the current connection."]),
            ("LIST [options ...]", &["Return the same as INFO: one line, whatever the options."]),
            ("NO-EVICT (ON|OFF)", &["Change nothing: no connection is closed for lack of memory."]),
            ("NO-TOUCH (ON|OFF)", &["Change nothing."]),
            ("SETINFO (LIB-NAME|LIB-VER) <value>", &["Change nothing."]),
            ("SETNAME <name>", &["Give the current connection a name."]),
        ],
    ),
    (
        "cluster",
        &[
            ("COUNTKEYSINSLOT <slot>", &["Return the number of cached keys in a slot."]),
            ("GETKEYSINSLOT <slot> <count>", &["Return names of cached keys in a slot."]),
            ("INFO", &["Return information about the cluster."]),
            ("KEYSLOT <key>", &["Return the slot of a key."]),
            ("MYID", &["Return the ID of this node."]),
            (
                "NODES",
                &[
                    "Return the nodes and their slots. Output format:",
                    "<id> <ip:port> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
                ],
            ),
            ("REPLICAS <node-id>", &["Return an empty list: nodes have no replicas."]),
            ("SHARDS", &["Return the ranges of slots and the node of each, with its state."]),
            ("SLAVES <node-id>", &["Return an empty list: nodes have no replicas."]),
            ("SLOTS", &["Return the ranges of slots and the address of the node of each."]),
        ],
    ),
    (
        "command",
        &[
            ("(no subcommand)", &["Return details about all commands."]),
            ("COUNT", &["Return the number of commands."]),
            ("DOCS [<command-name> ...]", &["Return the groups of these commands, or of all."]),
            ("GETKEYS <full-command>", &["Return the keys of a command."]),
            ("INFO [<command-name> ...]", &["Return details about these commands, or about all."]),
        ],
    ),
    (
        "config",
        &[
            ("GET <pattern> [<pattern> ...]", &["Return the settings whose names match."]),
            ("SET <directive> <value>", &["Return an error: settings are in the cluster file."]),
        ],
    ),
    (
        // Word for word as Redis.
        "object",
        &[
            (
                "ENCODING <key>",
                &[
                    "Return the kind of internal representation used in order to store the value",
                    "associated with a <key>.",
                ],
            ),
            (
                "FREQ <key>",
                &[
                    "Return the access frequency index of the <key>. The returned integer is",
                    "proportional to the logarithm of the recent access frequency of the key.",
                ],
            ),
            (
                "IDLETIME <key>",
                &[
                    "Return the idle time of the <key>, that is the approximated number of",
                    "seconds elapsed since the last access to the key.",
                ],
            ),
            (
                "REFCOUNT <key>",
                &[
                    "Return the number of references of the value associated with the specified",
                    "<key>.",
                ],
            ),
        ],
    ),
    (
        "script",
        &[
            ("EXISTS <sha1> [<sha1> ...]", &["Return which scripts are known."]),
            ("FLUSH [ASYNC|SYNC]", &["Change nothing: the scripts that are known stay known."]),
            ("LOAD <script>", &["Return the hash of a script, if it is known."]),
        ],
    ),
];

pub(super) fn help(call: &Call<'_>) -> Made {
    let number = HELP.iter().position(|(command, _)| call.is(0, command));
    let number = number.expect("each command with HELP has a list") as u64;
    call.tagged(Tag { number, ..Tag::new(Kind::Help) })
}

/// CLUSTER HELP, which is an error where Redis has no cluster support.
pub(super) fn cluster_help(call: &Call<'_>) -> Made {
    if call.around.names.is_slotted() { help(call) } else { Said::NoCluster.into() }
}

/// The subcommands that HELP of a command lists, in capitals.
#[cfg(test)]
pub(super) fn listed(command: &str) -> impl Iterator<Item = &'static str> {
    let of = HELP.iter().filter(move |(name, _)| *name == command).flat_map(|(_, of)| *of);
    of.filter_map(|(name, _)| name.split(' ').next()).filter(|name| *name != "(no")
}

/// Appends a list; the number is that of the tag.
pub(super) fn write(number: u64, out: &mut Vec<u8>) {
    let (command, of) = HELP[number as usize];
    let lines: usize = of.iter().map(|(_, about)| 1 + about.len()).sum();
    resp::array(1 + lines as u64 + 2, out);
    let head = "<subcommand> [<arg> [value] [opt] ...]. Subcommands are:";
    resp::line(&format!("+{} {head}", command.to_uppercase()), out);
    for (name, about) in of.iter().chain(&[("HELP", &["Prints this help."][..])]) {
        resp::line(&format!("+{name}"), out);
        about.iter().for_each(|line| resp::line(&format!("+    {line}"), out));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::shown;

    #[test]
    fn a_list_has_the_shape_of_redis() {
        assert_eq!(
            shown("acl help|PING"),
            "*5\r\n+ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n+WHOAMI\r\n\
             +    Return the user of the current connection.\r\n+HELP\r\n+    Prints this help.\r\n\
             +PONG\r\n"
        );
        for (command, lines) in [("CLIENT", 19), ("CLUSTER", 24), ("COMMAND", 13), ("SCRIPT", 9)] {
            let said = shown(&format!("{command} HELP"));
            assert!(said.starts_with(&format!("*{lines}\r\n+{command} <subcommand>")), "{said}");
            assert_eq!(said.lines().count(), lines + 1, "{said}");
        }
        let arity = "-ERR wrong number of arguments for 'config|help' command\r\n";
        assert_eq!(shown("CONFIG HELP x"), arity);
    }
}
