//! Commands that are sent without waiting for replies: each sees those before it, and none behind it.

use crate::speaker::Speaker;
use crate::start_with_rows;

const ROUNDS: u32 = 100;

/// A round: values are written, read, changed and read again, in a pipeline and in a transaction. The
/// database is slower than the connection, so that a read that did not wait would come first.
fn round(key: &str) -> (Vec<u8>, String) {
    let commands = format!(
        "GET {key}\r\nSET {key} 1\r\nGET {key}\r\nINCR {key}\r\nGET {key}\r\n\
         MULTI\r\nSET {key} 7\r\nGET {key}\r\nDEL {key}\r\nGET {key}\r\nEXEC\r\nGET {key}\r\n"
    );
    let replies = "$-1\r\n+OK\r\n$1\r\n1\r\n:2\r\n$1\r\n2\r\n\
                   +OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n\
                   *4\r\n+OK\r\n$1\r\n7\r\n:1\r\n$-1\r\n$-1\r\n";
    (commands.into_bytes(), replies.to_owned())
}

#[test]
fn commands_of_a_pipeline_see_those_before_them() {
    let cluster = start_with_rows("redis_pipelines");
    // At each of them, some keys are its own and others those of other servers and shards.
    for server in ["a1", "b1"] {
        let mut speaker = Speaker::connect(cluster.service(server));
        let rounds: Vec<_> = (0..ROUNDS).map(|n| round(&format!("{server}-{n}"))).collect();
        for (commands, _) in &rounds {
            speaker.send(commands);
        }
        for (_, replies) in &rounds {
            let mut got = String::new();
            while got.len() < replies.len() {
                got.push_str(std::str::from_utf8(&speaker.reply()).expect("text"));
            }
            assert_eq!(got, *replies, "at {server}");
        }
    }
}

/// A command that may have to read the row first, its reply, one behind it that need not, its reply, and the value
/// after both.
const BEHIND_A_READ: [(&str, &str, &str, &str, &str); 8] = [
    ("INCR", ":1", "SET 50", "+OK", "50"),
    ("INCR", ":1", "DEL", ":1", ""),
    ("APPEND y", ":1", "SET z", "+OK", "z"),
    ("SETNX a", ":1", "SET b", "+OK", "b"),
    ("GETDEL", "$-1", "SET b", "+OK", "b"),
    ("GETSET a", "$-1", "SET b", "+OK", "b"),
    ("SETRANGE 0 a", ":1", "DEL", ":1", ""),
    ("EXPIRE 100", ":0", "SET b", "+OK", "b"),
];

#[test]
fn writes_of_a_key_are_carried_out_in_their_order_also_if_one_has_to_read_first() {
    let cluster = start_with_rows("redis_pipelined_changes");
    for server in ["a1", "b1"] {
        let mut speaker = Speaker::connect(cluster.service(server));
        let of = |command: &str, key: &str| {
            let (name, rest) = command.split_once(' ').unwrap_or((command, ""));
            format!("{name} {key} {rest}\r\n")
        };
        let key = |n: usize, row: usize| format!("{server}-{n}-{row}");
        for n in 0..10 {
            for (row, (change, _, behind, ..)) in BEHIND_A_READ.iter().enumerate() {
                let key = key(n, row);
                let commands = of(change, &key) + &of(behind, &key) + &of("GET", &key);
                speaker.send(commands.as_bytes());
            }
        }
        for n in 0..10 {
            for (row, (change, changed, behind, written, value)) in BEHIND_A_READ.iter().enumerate()
            {
                let (row, value) = (key(n, row), *value);
                let got = match value {
                    "" => "$-1\r\n".to_owned(),
                    value => format!("${}\r\n{value}\r\n", value.len()),
                };
                for wanted in [format!("{changed}\r\n"), format!("{written}\r\n"), got] {
                    let reply = speaker.reply();
                    let reply = String::from_utf8_lossy(&reply);
                    assert_eq!(reply, wanted, "{change}, {behind} of {row}");
                }
            }
        }
    }
}

#[test]
fn a_read_sees_the_last_of_many_writes_before_it() {
    let cluster = start_with_rows("redis_pipelined_writes");
    let mut speaker = Speaker::connect(cluster.service("a2"));
    for key in ["x", "y", "z"] {
        for value in 0..200 {
            speaker.send(format!("SET {key} {value}\r\nGET {key}\r\n").as_bytes());
        }
        for value in 0..200 {
            assert_eq!(speaker.reply(), b"+OK\r\n");
            let value = value.to_string();
            let wanted = format!("${}\r\n{value}\r\n", value.len());
            assert_eq!(String::from_utf8_lossy(&speaker.reply()), wanted);
        }
    }
}
