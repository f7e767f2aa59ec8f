//! Nodes of Redis Cluster: what they say is what a redis-server in cluster mode says, and redis-py's
//! cluster client works with them, also while a server is killed and comes back.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

use standin_config::{ClusterConfig, KeyspaceConfig, ServiceConfig, ServiceProtocol};
use standin_protocol::slots::{KeyHash, slot};
use standin_testkit::caches::REQUIRE_REDIS as REQUIRE;
use standin_testkit::{Child, Scratch, free_ports_in_a_row, redis_or_skip, wait_until};

use crate::common::scripts::{Python, Scripts};
use crate::common::{Cluster, KEYSPACE, TWO_PAIRS, WITHIN};
use crate::speaker::Speaker;

const SCRIPT: &str = "redis/cluster.py";
const SHARDS: u16 = 2;

/// Starts a cluster of two groups without a database, whose shards are nodes.
pub(crate) fn start(test: &str) -> Cluster {
    start_with(test, |_| {})
}

/// Starts such a cluster, with these changes.
pub(crate) fn start_with(test: &str, change: impl FnOnce(&mut ClusterConfig)) -> Cluster {
    let mut cluster = Cluster::with(test, TWO_PAIRS, |config| {
        config.origin = None;
        config.hash = KeyHash::Crc16;
        config.keyspaces =
            vec![KeyspaceConfig::cache(KEYSPACE, "cache"), KeyspaceConfig::cache(9, "users")];
        config.naming.default_keyspace = Some(KEYSPACE);
        for server in &mut config.servers {
            server.shards = SHARDS;
            let port = free_ports_in_a_row(1 + SHARDS);
            server.services = vec![ServiceConfig {
                protocol: ServiceProtocol::Redis,
                address: ([127, 0, 0, 1], port).into(),
                passwords: None,
            }];
        }
        change(config);
    });
    cluster.start();
    cluster
}

fn node(cluster: &Cluster, server: u16, shard: u16) -> SocketAddr {
    cluster.config.node_address(server, shard).expect("a node")
}

pub(crate) fn nodes(cluster: &Cluster) -> Vec<SocketAddr> {
    let servers = 0..u16::try_from(cluster.config.servers.len()).expect("a few");
    let shards = servers.flat_map(|server| (0..SHARDS).map(move |shard| (server, shard)));
    shards.map(|(server, shard)| node(cluster, server, shard)).collect()
}

/// The node that has a name of the default keyspace.
pub(crate) fn owner(cluster: &Cluster, name: &[u8]) -> SocketAddr {
    let partition = cluster.topology.partition(KEYSPACE, name);
    let server = cluster.topology.home(partition);
    node(cluster, server, cluster.topology.shard(server, partition))
}

fn sum(cluster: &Cluster, counter: &str) -> u64 {
    cluster.running_servers().map(|server| cluster.counter(server, counter)).sum()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_node_answers_for_its_slots_and_refers_to_others() {
    let cluster = start("cluster_nodes");
    let mut speakers: Vec<(SocketAddr, Speaker)> =
        nodes(&cluster).into_iter().map(|node| (node, Speaker::connect(node))).collect();
    let names: [&[u8]; 8] =
        [b"alice", b"{alice}.x", b"a{}b", b"{}", b"x{alice}y{z}", b"\x00\xff{\r\n}", b"}{", b"b"];
    for name in names {
        let owner = owner(&cluster, name);
        let moved = format!("-MOVED {} {owner}\r\n", slot(name));
        for (node, speaker) in &mut speakers {
            let set = speaker.ask(&[b"SET", name, b"1"]);
            let keyslot = speaker.ask(&[b"CLUSTER", b"KEYSLOT", name]);
            assert_eq!(text(&keyslot), format!(":{}\r\n", slot(name)));
            if *node == owner {
                assert_eq!(set, b"+OK\r\n");
                assert_eq!(speaker.ask(&[b"GET", name]), b"$1\r\n1\r\n");
                assert_eq!(speaker.ask(&[b"DEL", name, name]), b":1\r\n");
                continue;
            }
            assert_eq!(text(&set), moved, "{}", name.escape_ascii());
            for command in ["GET", "INCR", "MGET", "EXISTS", "DEL", "TTL", "GETDEL"] {
                let reply = speaker.ask(&[command.as_bytes(), name]);
                assert_eq!(text(&reply), moved, "{command}");
            }
            assert_eq!(text(&speaker.ask(&[b"MSET", name, b"1"])), moved);
            // A transaction with a key that is elsewhere is refused as a whole.
            assert_eq!(speaker.ask(&[b"MULTI"]), b"+OK\r\n");
            assert_eq!(text(&speaker.ask(&[b"SET", name, b"1"])), moved);
            assert_eq!(speaker.ask(&[b"PING"]), b"+QUEUED\r\n");
            assert!(speaker.ask(&[b"EXEC"]).starts_with(b"-EXECABORT"));
        }
    }
    // A name with its keyspace is hashed as it is sent.
    let name = b"users:{7}.friends";
    let partition = cluster.topology.partition(9, b"{7}.friends");
    let server = cluster.topology.home(partition);
    let owner = node(&cluster, server, cluster.topology.shard(server, partition));
    assert_eq!(Speaker::connect(owner).ask(&[b"SET", name, b"1"]), b"+OK\r\n");
    assert_eq!(text(&Speaker::connect(owner).ask(&[b"CLUSTER", b"KEYSLOT", name])), {
        format!(":{}\r\n", slot(b"7"))
    });
    // Clients that know no nodes are served at the other port, whatever key they ask for.
    let mut plain = Speaker::connect(cluster.service("b2"));
    for name in names {
        assert_eq!(plain.ask(&[b"SET", name, b"2"]), b"+OK\r\n");
        assert_eq!(plain.ask(&[b"GET", name]), b"$1\r\n2\r\n");
    }
    assert_eq!(plain.ask(&[b"MGET", b"alice", b"b"]), b"*2\r\n$1\r\n2\r\n$1\r\n2\r\n");
    assert!(text(&plain.ask(&[b"INFO", b"cluster"])).contains("cluster_enabled:0"));
}

#[test]
fn a_client_that_never_follows_a_redirection_is_answered_through_the_server_that_it_asks() {
    let cluster = start("cluster_not_followed");
    let of = |server: u16, shard: u16| {
        let mut names = (0..).map(|number: u32| format!("key{number}").into_bytes());
        names.find(|name| owner(&cluster, name) == node(&cluster, server, shard)).expect("many")
    };
    let mut stubborn = Speaker::connect(node(&cluster, 0, 0));
    for (server, shard) in [(1, 0), (0, 1)] {
        let name = of(server, shard);
        let moved = format!("-MOVED {} {}\r\n", slot(&name), node(&cluster, server, shard));
        assert_eq!(text(&stubborn.ask(&[b"SET", &name, b"1"])), moved);
        wait_until(WITHIN, "the command to be carried out", || {
            match text(&stubborn.ask(&[b"SET", &name, b"2"])) {
                reply if reply == moved => false,
                reply => reply == "+OK\r\n",
            }
        });
        // It is the value that all clients see, and the other shards of the server are forwarded to, too.
        let mut follower = Speaker::connect(node(&cluster, server, shard));
        assert_eq!(follower.ask(&[b"GET", &name]), b"$1\r\n2\r\n");
        assert_eq!(stubborn.ask(&[b"MGET", &name]), b"*1\r\n$1\r\n2\r\n");
    }
    assert_eq!(stubborn.ask(&[b"INCR", &of(1, 1)]), b":1\r\n");
    // Other servers, and other connections, are as before.
    let mut other = Speaker::connect(node(&cluster, 0, 0));
    assert!(stubborn.ask(&[b"GET", &of(2, 0)]).starts_with(b"-MOVED"));
    assert!(other.ask(&[b"GET", &of(1, 0)]).starts_with(b"-MOVED"));
}

#[test]
fn keys_of_several_slots_are_refused_before_any_of_them_is_changed() {
    let cluster = start("cluster_crossing");
    let mut speaker = Speaker::connect(owner(&cluster, b"{a}1"));
    let crossing = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";
    assert_eq!(speaker.ask(&[b"MSET", b"{a}1", b"1", b"{a}2", b"2"]), b"+OK\r\n");
    for command in [
        &[&b"DEL"[..], b"{a}1", b"b"][..],
        &[b"MSET", b"{a}1", b"9", b"{b}1", b"9"],
        &[b"MGET", b"{a}1", b"{a}2", b"c"],
        &[b"UNLINK", b"{a}1", b"b"],
        &[b"EXISTS", b"b", b"{a}1"],
    ] {
        assert_eq!(text(&speaker.ask(command)), crossing);
    }
    assert_eq!(speaker.ask(&[b"MGET", b"{a}1", b"{a}2"]), b"*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
    // In a transaction too, if one command has them, or all commands together.
    assert_eq!(speaker.ask(&[b"MULTI"]), b"+OK\r\n");
    assert_eq!(text(&speaker.ask(&[b"DEL", b"{a}1", b"b"])), crossing);
    assert!(speaker.ask(&[b"EXEC"]).starts_with(b"-EXECABORT"));
    assert_eq!(speaker.ask(&[b"MULTI"]), b"+OK\r\n");
    assert_eq!(speaker.ask(&[b"INCR", b"{a}1"]), b"+QUEUED\r\n");
    assert_eq!(speaker.ask(&[b"MGET", b"{a}1", b"{a}2"]), b"+QUEUED\r\n");
    assert_eq!(speaker.ask(&[b"EXEC"]), b"*2\r\n:2\r\n*2\r\n$1\r\n2\r\n$1\r\n2\r\n");
    // A command in pieces is looked at as a whole.
    speaker.send(b"*3\r\n$3\r\nDEL\r\n$4\r\n{a}1\r\n$1");
    speaker.send(b"\r\nb\r\n");
    assert_eq!(text(&speaker.reply()), crossing);
    assert_eq!(speaker.ask(&[b"EXISTS", b"{a}1"]), b":1\r\n");
    // One that is longer than a connection may hold is refused at the first key of another slot.
    let value = vec![b'v'; 120 << 10];
    let names: Vec<Vec<u8>> = (0..12).map(|n| format!("{{a}}{n}").into_bytes()).collect();
    let mut words: Vec<&[u8]> = vec![b"MSET"];
    words.extend(names.iter().flat_map(|name| [&**name, &*value]));
    words.extend([&b"b"[..], b"1"]);
    let long = speaker.ask(&words);
    assert_eq!(text(&long), crossing);
    assert_eq!(speaker.ask(&[b"PING"]), b"+PONG\r\n");
}

/// Replaces what differs from cluster to cluster: numbers, hosts and names of nodes.
fn shape(bytes: &[u8]) -> String {
    let text = text(bytes);
    let words = text.split_inclusive([' ', '\r', '\n', ':', ',', '@', '-']);
    let of_word = |word: &str| {
        let plain = word.trim_end_matches([' ', '\r', '\n', ':', ',', '@', '-']);
        let rest = &word[plain.len()..];
        let is_hexadecimal = plain.len() == 40 && plain.bytes().all(|b| b.is_ascii_hexdigit());
        match plain {
            _ if is_hexadecimal => format!("ID{rest}"),
            "127.0.0.1" => format!("HOST{rest}"),
            _ if !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit()) => {
                format!("N{rest}")
            }
            // The length of a text that has numbers in it.
            _ if plain.starts_with('=') || plain.starts_with('$') && plain != "$40" => {
                format!("LENGTH{rest}")
            }
            _ => word.to_owned(),
        }
    };
    words.map(of_word).collect()
}

/// Starts a redis-server in cluster mode that has all slots. Returns `None`, after a message, if there
/// is none.
fn redis(test: &str, scratch: &Scratch) -> Option<(Child, SocketAddr)> {
    let port = free_ports_in_a_row(2);
    let bus = (port + 1).to_string();
    let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus];
    let more = [&cluster[..], &["--cluster-announce-ip", "127.0.0.1"]].concat();
    let (child, address) = redis_or_skip(test, scratch, port, &more)?;
    let mut speaker = Speaker::connect(address);
    assert_eq!(speaker.ask(&[b"CLUSTER", b"ADDSLOTSRANGE", b"0", b"16383"]), b"+OK\r\n");
    wait_until(WITHIN, "redis-server to have its slots", || {
        text(&speaker.ask(&[b"CLUSTER", b"INFO"])).contains("cluster_state:ok")
    });
    Some((child, address))
}

#[test]
fn what_nodes_say_has_the_shape_that_redis_gives_it() {
    let scratch = Scratch::new("cluster_shapes");
    let test = "what_nodes_say_has_the_shape_that_redis_gives_it";
    let Some((_child, redis)) = redis(test, &scratch) else { return };
    let cluster = start("cluster_shapes");
    for version in ["2", "3"] {
        let mut theirs = Speaker::connect(redis);
        let mut ours = Speaker::connect(node(&cluster, 0, 1));
        let mut ask = |command: &str| {
            let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
            (theirs.ask(&words), ours.ask(&words))
        };
        let (wanted, got) = ask(&format!("HELLO {version}"));
        assert_eq!(shape(&wanted), shape(&got));
        for command in [
            "CLUSTER KEYSLOT {x}y",
            "CLUSTER KEYSLOT",
            "CLUSTER BOGUS",
            "CLUSTER",
            "CLUSTER SLOTS x",
            "CLUSTER COUNTKEYSINSLOT 16384",
            "CLUSTER COUNTKEYSINSLOT x",
            "CLUSTER COUNTKEYSINSLOT -1",
            "CLUSTER COUNTKEYSINSLOT 7",
            "CLUSTER COUNTKEYSINSLOT",
            "CLUSTER GETKEYSINSLOT 7 10",
            "CLUSTER GETKEYSINSLOT 7 0",
            "CLUSTER GETKEYSINSLOT 16384 1",
            "CLUSTER GETKEYSINSLOT 1 -1",
            "CLUSTER GETKEYSINSLOT x 1",
            "CLUSTER GETKEYSINSLOT 1 x",
            "CLUSTER GETKEYSINSLOT 1",
            "READONLY",
            "READWRITE",
            "ASKING",
            "READONLY x",
            "INFO cluster",
            "MGET a b",
            "DEL a b",
            "MSET a 1 b 2",
            "MULTI",
            "EXISTS a b",
            "EXEC",
        ] {
            let (wanted, got) = ask(command);
            assert_eq!(text(&wanted), text(&got), "{command}");
        }
        let (wanted, got) = ask("CLUSTER MYID");
        assert_eq!(shape(&wanted), shape(&got));
        // A range, a node, a line: as many as there are, each as Redis gives it.
        let (wanted, got) = ask("CLUSTER SLOTS");
        let (wanted, got) = (shape(&wanted), shape(&got));
        let (_, range) = wanted.split_once("\r\n").expect("the number of ranges");
        let (_, ranges) = got.split_once("\r\n").expect("the number of ranges");
        assert_eq!(ranges.replace(range, ""), "", "{wanted} {got}");
        let (wanted, got) = ask("CLUSTER SHARDS");
        let without_slots = |bytes: &[u8]| {
            let text = text(bytes);
            let parts = text.split("$5\r\nslots\r\n").skip(1);
            let nodes =
                parts.map(|part| part[part.find("$5\r\nnodes").expect("nodes")..].to_owned());
            nodes
                .map(|part| shape(part.as_bytes()))
                .map(|part| part.trim_end_matches("%2\r\n").trim_end_matches("*4\r\n").to_owned())
                .collect::<BTreeSet<String>>()
        };
        assert_eq!(without_slots(&wanted), without_slots(&got));
        let (wanted, got) = ask("CLUSTER NODES");
        let lines = |bytes: &[u8]| {
            let text = shape(bytes);
            let lines = text.lines().filter(|line| line.contains("master"));
            let line = |line: &str| {
                // RESP3 says before the first line what kind of text it is.
                let line = line.trim_start_matches("txt:");
                line.split(" N-N").next().unwrap_or_default().trim_end_matches(" N").to_owned()
            };
            lines.map(line).filter(|line| line.contains("myself")).collect::<BTreeSet<String>>()
        };
        assert_eq!(lines(&wanted), lines(&got), "{}", text(&got));
        assert_eq!(text(&got).matches("master").count(), 4 * usize::from(SHARDS));
        let (wanted, got) = ask("CLUSTER INFO");
        let keys = |bytes: &[u8]| -> BTreeSet<String> {
            text(bytes)
                .lines()
                .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
                .collect()
        };
        // Redis counts each kind of message that it has had.
        let missing: Vec<String> = keys(&wanted).difference(&keys(&got)).cloned().collect();
        assert!(missing.iter().all(|key| key.starts_with("cluster_stats_messages")), "{missing:?}");
        let state = text(&got);
        assert!(state.contains("cluster_state:ok\r\ncluster_slots_assigned:16384\r\n"), "{state}");
    }
}

#[test]
fn without_slots_there_is_no_cluster() {
    let cluster = crate::start("cluster_disabled");
    let mut speaker = Speaker::connect(cluster.service("a1"));
    for command in ["SLOTS", "NODES", "INFO", "SHARDS", "MYID"] {
        let reply = speaker.ask(&[b"CLUSTER", command.as_bytes()]);
        assert_eq!(text(&reply), "-ERR This instance has cluster support disabled\r\n");
    }
    assert_eq!(cluster.config.node_address(0, 0), None);
}

#[test]
fn redis_py_s_cluster_client_does_what_caches_do_without_a_hop() {
    let test = "redis_py_s_cluster_client_does_what_caches_do_without_a_hop";
    let Some(python) = Python::with(test, &["redis"]) else { return };
    let cluster = start("redis_py_cluster");
    for version in ["2", "3"] {
        let place = cluster.service("a1").to_string();
        python.check(SCRIPT, &[&place, "commands", version], "all replies right");
    }
    // Each request went to the core that has the key, and was answered there.
    for counter in ["forwarded", "strayed", "redirected"] {
        assert_eq!(sum(&cluster, counter), 0, "{counter}");
    }
    assert!(sum(&cluster, "data_requests") > 10_000);
}

#[test]
fn redis_cli_follows_redirections() {
    let Ok(_) = Command::new("redis-cli").arg("--version").output() else {
        standin_testkit::skip("redis_cli_follows_redirections", REQUIRE, "redis-cli");
        return;
    };
    let cluster = start("redis_cli");
    let port = node(&cluster, 0, 0).port().to_string();
    for (name, value) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("{}", "5")] {
        for arguments in [&["SET", name, value][..], &["GET", name]] {
            let mut command = Command::new("redis-cli");
            let output = command.args(["-c", "-p", &port]).args(arguments).output();
            let said = text(&output.expect("redis-cli runs").stdout);
            let wanted = if arguments[0] == "SET" { "OK" } else { value };
            assert_eq!(said.trim(), wanted, "{arguments:?}");
        }
    }
    // At the port for clients that know nothing of clusters, it finds the keys of all nodes; at that of a
    // node, its own.
    let scan = |port: String| {
        let output = Command::new("redis-cli").args(["-p", &port, "--scan"]).output();
        let said = text(&output.expect("redis-cli runs").stdout);
        said.lines().map(str::to_owned).collect::<Vec<String>>()
    };
    let all = ["a", "b", "c", "d", "{}"].map(str::to_owned);
    let mut own = Vec::new();
    for server in ["a1", "b2"] {
        let mut found = scan(cluster.service(server).port().to_string());
        found.sort();
        assert_eq!(found, all, "{server}");
    }
    nodes(&cluster).iter().for_each(|node| own.extend(scan(node.port().to_string())));
    own.sort();
    assert_eq!(own, all);
}

/// At the port for other clients, the keys of a slot are found wherever they are; at that of a node, those
/// that it has.
#[test]
fn the_keys_of_a_slot_are_counted_and_named() {
    let mut cluster = start("cluster_keys_of_slots");
    let mut plain = Speaker::connect(cluster.service("b2"));
    for number in 0..50 {
        let name = format!("{{tag}}{number}");
        assert_eq!(plain.ask(&[b"SET", name.as_bytes(), b"1"]), b"+OK\r\n");
        assert_eq!(plain.ask(&[b"SET", format!("x{number}").as_bytes(), b"1"]), b"+OK\r\n");
    }
    let own = slot(b"tag").to_string();
    let count = |speaker: &mut Speaker| {
        text(&speaker.ask(&[b"CLUSTER", b"COUNTKEYSINSLOT", own.as_bytes()]))
    };
    let names = |speaker: &mut Speaker, most: &str| {
        let reply = speaker.ask(&[b"CLUSTER", b"GETKEYSINSLOT", own.as_bytes(), most.as_bytes()]);
        let text = text(&reply);
        let names = text.lines().filter(|line| line.starts_with("{tag}"));
        let names: BTreeSet<String> = names.map(str::to_owned).collect();
        assert!(text.starts_with(&format!("*{}\r\n", names.len())), "{text}");
        names.len()
    };
    let home = owner(&cluster, b"{tag}");
    for place in nodes(&cluster).into_iter().chain([cluster.service("a1"), cluster.service("b2")]) {
        let mut speaker = Speaker::connect(place);
        let is_node = nodes(&cluster).contains(&place);
        let wanted = if is_node && place != home { 0 } else { 50 };
        assert_eq!(count(&mut speaker), format!(":{wanted}\r\n"));
        for (most, found) in [("0", 0), ("7", 7), ("50", 50), ("9223372036854775807", 50)] {
            assert_eq!(names(&mut speaker, most), wanted.min(found));
        }
    }
    // The slot has another node after the death of its server, which has what is set then.
    let server = cluster.home(b"{tag}").to_owned();
    let asked = if server == "a1" { "a2" } else { "a1" };
    cluster.kill(&server);
    cluster.wait_states(&[(&server, standin_protocol::map::ServerState::Offline)]);
    let mut plain = Speaker::connect(cluster.service(asked));
    assert_eq!(count(&mut plain), ":0\r\n");
    // It is kept once the server's lease has run out.
    wait_until(WITHIN, "the key to be kept", || {
        assert_eq!(plain.ask(&[b"SET", b"{tag}1", b"1"]), b"+OK\r\n");
        count(&mut plain) == ":1\r\n"
    });
    assert_eq!(names(&mut plain, "9"), 1);
}

#[test]
fn redis_py_s_cluster_client_goes_on_through_the_kill_and_return_of_servers() {
    let test = "redis_py_s_cluster_client_goes_on_through_the_kill_and_return_of_servers";
    let Some(python) = Python::with(test, &["redis"]) else { return };
    let mut cluster = start("redis_py_cluster_failover");
    let place = cluster.service("b1").to_string();
    let mut scripts = Scripts(vec![python.start(SCRIPT, &[&place, "failover", "3"])]);
    scripts.through_kills(&mut cluster, &["a1", "b2", "a2"]);
    // Once all clients have found the way back, nobody takes a detour.
    wait_until(WITHIN, "no request to take a detour", || {
        let detours = |cluster: &Cluster| {
            ["forwarded", "strayed", "redirected"].map(|counter| sum(cluster, counter))
        };
        let (before, requests) = (detours(&cluster), sum(&cluster, "data_requests"));
        wait_until(WITHIN, "further requests", || {
            sum(&cluster, "data_requests") > requests + 1_000
        });
        detours(&cluster) == before
    });
    scripts.finish();
}
