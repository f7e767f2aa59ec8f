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
