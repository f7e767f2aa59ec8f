//! Replies word for word, and that they depend on the bytes only.

use proptest::prelude::*;
use standin_config::ServiceProtocol;
use standin_protocol::transact::{Condition, Step, StepResult, Transaction};

use super::*;
use crate::node::modify::{Edit, Gives, Modify};
use crate::node::{AnswerHead, CommandHead, Status, answer::marks::ABSENT};
use crate::shard::codec::testing;
use crate::shard::listeners::Service;

const SERVICE: Service = Service::Other(ServiceProtocol::Redis);

/// The answer of a server: it depends on the bytes of the request only.
fn answer(request: &Request, bytes: &[u8]) -> (AnswerHead, Vec<u8>) {
    let key = &bytes[request.key()];
    if let What::Alone(head, None) = &request.what
        && head.action == Action::Transact
    {
        return answer_to_transaction(head, &bytes[request.value()]);
    }
    let first = key.first().copied().unwrap_or(b'h');
    let modify = match &request.what {
        What::Modify(_, modify) | What::Alone(_, Some(modify)) => Some(&**modify),
        _ => None,
    };
    let status = match (first, &request.what) {
        (b'v', _) if modify.is_some_and(|modify| modify.when.version.is_some()) => {
            Status::VersionMismatch
        }
        (_, What::Auth) => Status::NotSupported,
        (_, What::Said | What::Stats | What::Walk(_)) => Status::Ok,
        (b'm', _) if modify.is_some_and(|modify| modify.gives == Gives::New) => Status::Ok,
        (b'm', _) => Status::NotFound,
        // It is there for its owner only.
        (b'w', What::Command(_)) => Status::NotFound,
        (b'o', _) => Status::Overloaded,
        (b'u', _) => Status::OutcomeUnknown,
        (b'n', _) if modify.is_some() => Status::NotStored,
        (b'x', _) if modify.is_some() => Status::NotANumber,
        (b'y', _) if modify.is_some() => Status::OutOfRange,
        _ => Status::Ok,
    };
    let value = match (modify, status) {
        // Two names, and that there are more.
        _ if matches!(request.what, What::Walk(_)) => {
            let names = [&3_u64.to_le_bytes()[..], &2_u64.to_le_bytes(), &[1, 0, 0, 0], b"h"];
            [&names.concat()[..], &[7, 0, 0, 0], b"users:i"].concat()
        }
        (Some(modify), Status::Ok) => match (modify.edit, modify.gives) {
            (Edit::Add(by), _) => by.to_string().into_bytes(),
            (Edit::AddFloat, _) => b"1.5".to_vec(),
            (_, Gives::Length) => b"12".to_vec(),
            (_, Gives::Nothing) => Vec::new(),
            _ => key.to_vec(),
        },
        // What is too large is not cached, and has no version.
        (_, Status::Ok) if key == b"large" => vec![b'l'; testing::VALUE_BYTES as usize + 1],
        (_, Status::Ok) => key.repeat(2),
        _ => Vec::new(),
    };
    let version = if key == b"large" { 0 } else { 7 };
    let marks = if first == b'a' { ABSENT } else { 0 };
    let ttl_ms = if first == b'e' { u64::MAX } else { 2_500 };
    (AnswerHead { version, ttl_ms, marks, ..AnswerHead::status(status) }, value)
}

/// The answer of the owner: to each step as to the command by itself.
fn answer_to_transaction(head: &CommandHead, value: &[u8]) -> (AnswerHead, Vec<u8>) {
    let transaction = Transaction::read(value).unwrap();
    let is_changed = |condition: &Condition<'_>| {
        condition.key[0] == if condition.version.is_some() { b'v' } else { b'n' }
    };
    for (first, status) in [(b'o', Status::Overloaded), (b'u', Status::OutcomeUnknown)] {
        if transaction.keys().any(|key| key[0] == first) {
            return (AnswerHead::status(status), Vec::new());
        }
    }
    if transaction.conditions.iter().any(is_changed) {
        return (AnswerHead::status(Status::VersionMismatch), Vec::new());
    }
    let mut results = Vec::new();
    for Step { key, modify, operand, .. } in transaction.steps {
        let is_read = modify == Modify { gives: Gives::Old, ..Modify::new(Edit::Keep) };
        let what = match is_read {
            true => What::Command(CommandHead { action: Action::Get, ..*head }),
            false => What::Modify(*head, Box::new(modify)),
        };
        let (key_end, end) = (position(key.len()), position(key.len() + operand.len()));
        let request = Request {
            key: (0, key_end),
            value: (key_end, end),
            what,
            ..nothing(Tag::new(Kind::Get), 0)
        };
        let (head, value) = answer(&request, &[key, operand].concat());
        let AnswerHead { status, version, ttl_ms, item_flags, marks, .. } = head;
        StepResult { status, version, ttl_ms, item_flags, marks, value: &value }
            .append(&mut results);
    }
    (AnswerHead::status(Status::Ok), results)
}

/// A command as RESP sends it.
fn sent(line: &str) -> Vec<u8> {
    inline::join(&inline::split(line.as_bytes()).unwrap())
}

fn replies(bytes: &[u8]) -> String {
    let client = testing::replies(SERVICE, answer, bytes);
    assert_eq!(client.codec.waiting_bytes(), 0);
    String::from_utf8_lossy(&client.out).into_owned()
}

/// The replies to commands, separated by `|`.
pub(super) fn shown(lines: &str) -> String {
    replies(&lines.split('|').flat_map(sent).collect::<Vec<u8>>())
}

#[test]
fn commands_have_the_replies_of_redis() {
    let not_integer = "-ERR value is not an integer or out of range\r\n";
    for (lines, wanted) in [
        ("GET h", "$2\r\nhh\r\n"),
        ("get users:h|GET m", "$2\r\nhh\r\n$-1\r\n"),
        ("GET o", "-TRYAGAIN this server is out of memory or overloaded\r\n"),
        ("GET", "-ERR wrong number of arguments for 'get' command\r\n"),
        (
            "GET h|GET h i|GET h",
            "$2\r\nhh\r\n-ERR wrong number of arguments for 'get' command\r\n$2\r\nhh\r\n",
        ),
        ("HSET h a b", "-ERR unknown command 'HSET', with args beginning with: 'h' 'a' 'b' \r\n"),
        ("bogus|PING", "-ERR unknown command 'bogus', with args beginning with: \r\n+PONG\r\n"),
        ("client nothing x", "-ERR unknown subcommand 'nothing'. Try CLIENT HELP.\r\n"),
        ("client setname", "-ERR wrong number of arguments for 'client|setname' command\r\n"),
        ("client", "-ERR wrong number of arguments for 'client' command\r\n"),
        (
            "MULTI|MSET h 1 i|EXEC|MULTI|SET h 1|EXEC x|EXEC|WATCH v|EXEC x y|MULTI|SET v 1|EXEC",
            "+OK\r\n+QUEUED\r\n*1\r\n-ERR wrong number of arguments for 'mset' command\r\n\
             +OK\r\n+QUEUED\r\n-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\r\n-ERR EXEC without MULTI\r\n\
             +OK\r\n-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n",
        ),
        ("TIME", "*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n"),
        (
            "PING|PING x|PING x y|ECHO \"a\\r\\nb\"",
            "+PONG\r\n$1\r\nx\r\n-ERR wrong number of arguments for 'ping' command\r\n$4\r\na\r\nb\r\n",
        ),
        (
            "SET h 1|SET h 1 EX 5|SET h 1 NX|SET n 1 NX|SET m 1 XX",
            "+OK\r\n+OK\r\n+OK\r\n$-1\r\n$-1\r\n",
        ),
        (
            "SET h 1 GET|SET a 1 GET|SET n 1 NX GET|SET h 1 KEEPTTL",
            "$1\r\nh\r\n$-1\r\n$0\r\n\r\n+OK\r\n",
        ),
        (
            "SET h 1 EX 0|SET h 1 EX x|SET h 1 EX|SET h 1 NX XX|SET h 1 EX 1 PX 1",
            "-ERR invalid expire time in 'set' command\r\n-ERR value is not an integer or out of range\r\n-ERR syntax error\r\n-ERR syntax error\r\n-ERR syntax error\r\n",
        ),
        (
            "SETEX h 0 x|PSETEX h 10 x|SETNX h x|SETNX n x",
            "-ERR invalid expire time in 'setex' command\r\n+OK\r\n:1\r\n:0\r\n",
        ),
        ("MGET h m i", "*3\r\n$2\r\nhh\r\n$-1\r\n$2\r\nii\r\n"),
        ("MGET h o i|PING", "-TRYAGAIN this server is out of memory or overloaded\r\n+PONG\r\n"),
        (
            "DEL h m i|EXISTS h h m|TOUCH m|UNLINK h|DEL h u",
            ":2\r\n:2\r\n:0\r\n:1\r\n-ERR OUTCOME_UNKNOWN: it may have been carried out; read before it is sent again\r\n",
        ),
        (
            "MSET h 1 i 2|MSET h 1 i|MSET h 1 o 2",
            "+OK\r\n-ERR wrong number of arguments for 'mset' command\r\n-TRYAGAIN this server is out of memory or overloaded\r\n",
        ),
        (
            "INCR h|DECR h|INCRBY h 10|DECRBY h -3|INCR x|INCR y|INCRBY h x",
            &format!(
                ":1\r\n:-1\r\n:10\r\n:3\r\n{not_integer}-ERR increment or decrement would overflow\r\n{not_integer}"
            ),
        ),
        (
            "DECRBY h -9223372036854775808|INCRBYFLOAT h 1.5|INCRBYFLOAT h x|INCRBYFLOAT x 1",
            "-ERR decrement would overflow\r\n$3\r\n1.5\r\n-ERR value is not a valid float\r\n-ERR value is not a valid float\r\n",
        ),
        (
            "APPEND h x|STRLEN h|STRLEN m|SETRANGE h 5 x|SETRANGE h -1 x|SETRANGE h 536870912 x|SETRANGE m 1 \"\"",
            ":12\r\n:2\r\n:0\r\n:12\r\n-ERR offset is out of range\r\n-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n:0\r\n",
        ),
        (
            "GETRANGE hab 0 2|GETRANGE hab -3 -1|GETRANGE hab 4 2|GETRANGE hab -1 -5|SUBSTR hab 0 100|GETRANGE m 0 1|GETRANGE h x 1",
            &format!(
                "$3\r\nhab\r\n$3\r\nhab\r\n$0\r\n\r\n$0\r\n\r\n$6\r\nhabhab\r\n$0\r\n\r\n{not_integer}"
            ),
        ),
        (
            "EXPIRE h 10|EXPIRE m 10|EXPIRE n 10 NX|EXPIRE h 10 NX XX|EXPIRE h 10 GT LT|EXPIRE h 10 foo|EXPIRE h 9223372036854775807",
            ":1\r\n:0\r\n:0\r\n-ERR NX and XX, GT or LT options at the same time are not compatible\r\n-ERR GT and LT options at the same time are not compatible\r\n-ERR Unsupported option foo\r\n-ERR invalid expire time in 'expire' command\r\n",
        ),
        (
            "TTL h|PTTL h|TTL m|TTL e|PEXPIRETIME h|EXPIRETIME h|PERSIST h|PERSIST n",
            ":3\r\n:2500\r\n:-2\r\n:-1\r\n:1700000002500\r\n:1700000003\r\n:1\r\n:0\r\n",
        ),
        (
            "GETDEL h|GETDEL m|GETEX h|GETEX h EX 5|GETEX h PERSIST|GETEX m PX 1|GETEX h KEEPTTL|GETSET h x|GETSET a x",
            "$1\r\nh\r\n$-1\r\n$2\r\nhh\r\n$1\r\nh\r\n$1\r\nh\r\n$-1\r\n-ERR syntax error\r\n$1\r\nh\r\n$-1\r\n",
        ),
        (
            "TYPE h|TYPE m|OBJECT ENCODING h|OBJECT ENCODING m|OBJECT FREQ m|OBJECT BAD h",
            "+string\r\n+none\r\n$6\r\nembstr\r\n$-1\r\n$-1\r\n-ERR unknown subcommand 'BAD'. Try OBJECT HELP.\r\n",
        ),
        (
            "SCAN 0|SCAN 17 MATCH a* COUNT 100 TYPE String|SCAN 0 TYPE list|KEYS *|RANDOMKEY|DBSIZE",
            "*2\r\n$1\r\n3\r\n*2\r\n$1\r\nh\r\n$7\r\nusers:i\r\n*2\r\n$1\r\n3\r\n*2\r\n$1\r\nh\r\n$7\r\nusers:i\r\n*2\r\n$1\r\n0\r\n*0\r\n*2\r\n$1\r\nh\r\n$7\r\nusers:i\r\n$1\r\nh\r\n:2\r\n",
        ),
        (
            "SCAN x|SCAN 1-|SCAN 0 COUNT 0|SCAN 0 COUNT x|SCAN 0 MATCH|SCAN 0 BAD x|KEYS",
            &format!(
                "-ERR invalid cursor\r\n-ERR invalid cursor\r\n-ERR syntax error\r\n{not_integer}-ERR syntax error\r\n-ERR syntax error\r\n-ERR wrong number of arguments for 'keys' command\r\n"
            ),
        ),
        ("FLUSHALL|FLUSHDB ASYNC|FLUSHALL x", "+OK\r\n+OK\r\n-ERR syntax error\r\n"),
        (
            "SELECT 0|SELECT 1|SELECT x",
            &format!("+OK\r\n-ERR DB index is out of range\r\n{not_integer}"),
        ),
        (
            "CLIENT ID|CLIENT GETNAME|CLIENT SETNAME me|CLIENT GETNAME|CLIENT SETNAME \"a b\"",
            ":1\r\n$-1\r\n+OK\r\n$2\r\nme\r\n-ERR Client names cannot contain spaces, newlines or special characters.\r\n",
        ),
        (
            "HELLO 4|HELLO x|HELLO 2 foo|HELLO 2 AUTH a b",
            "-NOPROTO unsupported protocol version\r\n-ERR Protocol version is not an integer or out of range\r\n-ERR Syntax error in HELLO option 'foo'\r\n-WRONGPASS invalid username-password pair or user is disabled.\r\n",
        ),
        (
            "HELLO 3 SETNAME me|GET m|CLIENT GETNAME|RESET|GET m|CLIENT GETNAME",
            "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n_\r\n$2\r\nme\r\n+RESET\r\n$-1\r\n$-1\r\n",
        ),
        (
            "AUTH x|AUTH a b|AUTH default b|AUTH",
            "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?\r\n-WRONGPASS invalid username-password pair or user is disabled.\r\n+OK\r\n-ERR wrong number of arguments for 'auth' command\r\n",
        ),
        (
            "CONFIG GET save|CONFIG GET MAXclient?|CONFIG GET nothing|CONFIG SET save x|COMMAND GETKEYS MSET a 1 b 2|COMMAND GETKEYS PING x",
            "*2\r\n$4\r\nsave\r\n$0\r\n\r\n*2\r\n$10\r\nmaxclients\r\n$5\r\n10000\r\n*0\r\n-ERR settings are in the cluster file and can't be changed here\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n-ERR The command has no key arguments\r\n",
        ),
        (
            "COMMAND INFO get nothing",
            "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n*0\r\n*0\r\n*0\r\n*0\r\n$-1\r\n",
        ),
        (
            "MULTI|SET h 1|MGET h m|EXEC|PING",
            "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n*2\r\n$2\r\nhh\r\n$-1\r\n+PONG\r\n",
        ),
        (
            "MULTI|EXEC|EXEC|MULTI|GET h|DISCARD|DISCARD|GET h",
            "+OK\r\n*0\r\n-ERR EXEC without MULTI\r\n+OK\r\n+QUEUED\r\n+OK\r\n-ERR DISCARD without MULTI\r\n$2\r\nhh\r\n",
        ),
        (
            "MULTI|MULTI|WATCH h|GET|GET h|EXEC|PING",
            "+OK\r\n-ERR MULTI calls can not be nested\r\n-ERR WATCH inside MULTI is not allowed\r\n-ERR wrong number of arguments for 'get' command\r\n+QUEUED\r\n-EXECABORT Transaction discarded because of previous errors.\r\n+PONG\r\n",
        ),
        (
            "MULTI|INCR x|SET h 1 EX x|EXEC",
            &format!("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n{not_integer}{not_integer}"),
        ),
        ("WATCH h|UNWATCH|WAIT 1 0", "+OK\r\n+OK\r\n:0\r\n"),
        ("QUIT|PING", "+OK\r\n"),
        (
            "EVALSHA abc 0|EVAL \"return 1\" 0|EVAL x 2 a",
            "-NOSCRIPT No matching script. Please use EVAL.\r\n-ERR scripts can't be run here, except for those that docs/REDIS.md names\r\n-ERR Number of keys can't be greater than number of args\r\n",
        ),
    ] {
        assert_eq!(shown(lines), wanted, "{lines}");
    }
}

#[test]
fn the_scripts_of_locks_are_known() {
    let release = "if redis.call(\"get\",KEYS[1]) == ARGV[1] then\n return redis.call(\"del\",KEYS[1])\nelse\n return 0\nend";
    let add =
        "return redis.call('exists',KEYS[1])<1 and redis.call('setex',KEYS[1],ARGV[2],ARGV[1])";
    let eval = |script: &str, rest: &[&str]| {
        let words = ["EVAL", script, "1"]
            .into_iter()
            .chain(rest.iter().copied())
            .map(|word| word.as_bytes().to_vec());
        replies(&inline::join(&words.collect::<Vec<_>>()))
    };
    assert_eq!(eval(release, &["h", "owner"]), ":1\r\n");
    assert_eq!(eval(release, &["n", "owner"]), ":0\r\n");
    assert_eq!(eval(add, &["h", "owner", "10"]), "+OK\r\n");
    assert_eq!(eval(add, &["n", "owner", "10"]), "$-1\r\n");
}

#[test]
fn what_is_no_command_ends_the_connection_and_what_is_announced_takes_no_memory() {
    for (bytes, wanted) in [
        (&b"*1048577\r\n"[..], "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\nPING\r\n*1\r\n$4\r\nPING\r\n", "-ERR Protocol error: expected '$', got 'P'\r\n"),
        (b"*2\r\n$3\r\nGET\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*2\r\n$3\r\nGET\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"get \"x\r\nPING\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
        (b"*3\r\n$3\r\nDEL\r\n$1\r\nh\r\nx\r\n", "-ERR Protocol error: expected '$', got 'x'\r\n"),
        // What a web page can have a browser send.
        (b"POST / HTTP/1.1\r\nPING\r\n", ""),
        (b"PING\r\nHost: localhost\r\nPING\r\n", "+PONG\r\n"),
        (b"MULTI\r\n\"post\" x\r\nEXEC\r\n", "+OK\r\n"),
        (b"*2\r\n$5\r\nhOST:\r\n$1\r\nh\r\n*1\r\n$4\r\nPING\r\n", ""),
    ] {
        let client = testing::replies(SERVICE, answer, bytes);
        assert_eq!(String::from_utf8_lossy(&client.out), wanted);
        assert!(client.is_ended);
    }
    assert_eq!(replies(b"*-1\r\n*0\r\n\r\nPING\r\n"), "+PONG\r\n");
    // Values, keys and commands that are too large are ignored as they come.
    for (start, announced, wanted) in [
        ("*3\r\n$3\r\nSET\r\n$1\r\nh\r\n", 536_870_912, "(limits.value_bytes)\r\n"),
        ("*2\r\n$3\r\nGET\r\n", 70_000, "(limits.value_bytes)\r\n"),
        ("*3\r\n$4\r\nMGET\r\n", 70_000, "(limits.key_bytes)\r\n"),
        ("*2\r\n", 100_000, "xxx', with args beginning with: \r\n"),
    ] {
        let mut client = testing::Client::new(SERVICE, answer);
        client.input = format!("{start}${announced}\r\n").into_bytes();
        client.serve_here(|| 0);
        let mut left = announced;
        while left > 400_000_000 || left > 0 && announced < 400_000_000 {
            let piece = left.min(65_536);
            left -= piece;
            client.input.extend(std::iter::repeat_n(b'x', piece));
            client.serve_here(|| 0);
            assert!(client.input.len() < 70_000, "{}", client.input.len());
        }
        if left == 0 {
            client.input.extend_from_slice(b"\r\n$1\r\nh\r\n*1\r\n$4\r\nPING\r\n");
            client.serve_here(|| 0);
            let said = String::from_utf8_lossy(&client.out).into_owned();
            assert!(said.contains(wanted), "{said}");
            assert!(said.ends_with("+PONG\r\n") || said.contains("expected '$'"), "{start} {said}");
        }
    }
}

#[test]
fn the_name_of_a_connection_is_bounded() {
    for command in ["CLIENT SETNAME", "HELLO 3 SETNAME"] {
        let named = |bytes| replies(&sent(&format!("{command} {}", "n".repeat(bytes))));
        assert!(!named(1_024).starts_with('-'), "{command}");
        let refused = "-ERR Client names can have at most 1024 bytes here.\r\n";
        assert_eq!(named(1_025), refused, "{command}");
    }
}

#[test]
fn a_transaction_is_bounded() {
    let value = "x".repeat(900);
    let mut bytes = sent("MULTI");
    for _ in 0..4_700 {
        bytes.extend(sent(&format!("SET h {value}")));
    }
    bytes.extend(sent("EXEC"));
    let said = replies(&bytes);
    assert!(said.contains("-ERR the transaction is larger than 4 MiB"));
    assert!(said.ends_with("-EXECABORT Transaction discarded because of previous errors.\r\n"));
}

#[test]
fn a_long_mget_is_written_as_it_is_answered() {
    let keys = vec!["habcdefghijklmnop"; 1_000].join(" ");
    let said = shown(&format!("MGET {keys} o h"));
    assert!(said.starts_with("*1002\r\n$34\r\n"));
    assert!(said.ends_with("-TRYAGAIN this server is out of memory or overloaded\r\n$2\r\nhh\r\n"));
}

fn command() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof!["[hmnouvwxyae][a-c]{0,3}", "users:[hmo][a-c]{0,2}", "[hk]{1020,1030}"];
    let keys = prop::collection::vec(key.clone(), 0..6);
    let line = |line: String| sent(&line);
    let watching = (key.clone(), "GET|SET|INCR|DEL|APPEND|SETNX|MGET i|SET i", 0usize..3);
    prop_oneof![
        watching.prop_map(|(key, name, more)| {
            let value = if name.contains("SET") || name == "APPEND" { "1" } else { "" };
            let more = ["", "EXPIRE h 9", "GET h"][more];
            let lines = [&*format!("WATCH {key}"), "MULTI", &format!("{name} {key} {value}"), more, "EXEC"];
            lines.iter().filter(|line| !line.is_empty()).flat_map(|line| sent(line)).collect()
        }),
        (keys.clone(), "MGET|DEL|EXISTS|TOUCH|UNLINK|MSET|WATCH|COMMAND GETKEYS")
            .prop_map(move |(keys, name)| line(format!("{name} {}", keys.join(" ")))),
        (key.clone(), "GET|TTL|STRLEN|INCR|GETDEL|GETEX|TYPE|PERSIST|OBJECT ENCODING|EXPIRETIME")
            .prop_map(move |(key, name)| line(format!("{name} {key}"))),
        (key.clone(), 0usize..1_010, "|EX 10|NX|XX GET|KEEPTTL|EX x|NX XX").prop_map(
            move |(key, length, options)| line(format!("SET {key} {} {options}", "v".repeat(length.max(1))))
        ),
        (key.clone(), "EXPIRE|INCRBY|INCRBYFLOAT|APPEND|SETNX|GETSET", "[0-9x]{1,3}")
            .prop_map(move |(key, name, word)| line(format!("{name} {key} {word}"))),
        (key, "[0-9-]{1,2}").prop_map(move |(key, at)| line(format!("GETRANGE {key} {at} -1"))),
        "MULTI|EXEC|DISCARD|PING|ECHO x|FLUSHALL|HELLO 3|HELLO 2|RESET|QUIT|SCAN 0|KEYS h[*]|RANDOMKEY|CLIENT GETNAME|CLIENT SETNAME a|SELECT 0|CONFIG GET [*]|COMMAND COUNT|HSET a b c|CLIENT x"
            .prop_map(line),
        "(GET h|PING|SET h \"a b\"|MGET h m|MULTI|EXEC|)\r?\n".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #[test]
    fn replies_depend_on_the_bytes_only(
        commands in prop::collection::vec(command(), 1..12),
        cuts in prop::collection::vec(1usize..400, 1..20),
        choices in prop::collection::vec(0u8..3, 1..50),
        picks in prop::collection::vec(any::<usize>(), 1..50),
    ) {
        let bytes = commands.concat();
        let wanted = replies(&bytes);
        let client = testing::replies_in_pieces(SERVICE, answer, &bytes, cuts, choices, picks);
        prop_assert_eq!(String::from_utf8_lossy(&client.out), wanted);
        prop_assert_eq!(client.codec.waiting_bytes(), 0);
    }

    #[test]
    fn any_bytes_are_understood_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = bytes;
        replies(&bytes);
        bytes.splice(0..0, b"*3\r\n$3\r\nSET\r\n".iter().copied());
        replies(&bytes);
    }
}

/// The answers of a node that has no key that begins with `z`, and of one that has a map.
fn answer_of_node(request: &Request, bytes: &[u8]) -> (AnswerHead, Vec<u8>) {
    use crate::node::routes::{Redirect, Routes};
    let key = &bytes[request.key()];
    match &request.what {
        What::Command(_) | What::Modify(..) | What::Held(_) if key.starts_with(b"z") => {
            let redirect = Redirect { slot: 7, server: 1, shard: 0 };
            (AnswerHead::status(Status::NotOwner), redirect.to_bytes().to_vec())
        }
        What::Held(_) => (AnswerHead::status(Status::Ok), Vec::new()),
        What::Routes => {
            let servers = vec![crate::node::routes::Health::Ok; 2];
            let routes = Routes { epoch: 3, servers, partitions: vec![0, 1, 1] };
            (AnswerHead::status(Status::Ok), routes.to_bytes())
        }
        _ => answer(request, bytes),
    }
}

#[test]
fn a_node_refers_clients_to_others_and_takes_keys_of_one_slot_only() {
    const CROSSING: &str = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";
    for (lines, wanted) in [
        ("GET h|GET z|INCR z|SET z 1", "$2\r\nhh\r\n-MOVED 7 127.0.0.1:7003\r\n-MOVED 7 127.0.0.1:7003\r\n-MOVED 7 127.0.0.1:7003\r\n".to_owned()),
        ("MGET z{h} z{h}|DEL z|EXISTS h{h} h", "-MOVED 7 127.0.0.1:7003\r\n-MOVED 7 127.0.0.1:7003\r\n:2\r\n".to_owned()),
        ("MGET h i|MSET h 1 i 2|DEL h h i|PING", [CROSSING, CROSSING, CROSSING, "+PONG\r\n"].concat()),
        ("MULTI|GET h|GET z|EXEC", "+OK\r\n+QUEUED\r\n-MOVED 7 127.0.0.1:7003\r\n-EXECABORT Transaction discarded because of previous errors.\r\n".to_owned()),
        ("MULTI|GET h|OBJECT ENCODING i|EXEC|GET h", ["+OK\r\n+QUEUED\r\n+QUEUED\r\n", CROSSING, "$2\r\nhh\r\n"].concat()),
        ("MULTI|DEL h i|EXEC", ["+OK\r\n", CROSSING, "-EXECABORT Transaction discarded because of previous errors.\r\n"].concat()),
        ("MULTI|GET h|PING|STRLEN h{h}|EXEC", "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$2\r\nhh\r\n+PONG\r\n:8\r\n".to_owned()),
        ("CLUSTER KEYSLOT {123456789}x|CLUSTER KEYSLOT|READONLY|READWRITE|ASKING|DBSIZE|CLUSTER COUNTKEYSINSLOT 7|CLUSTER GETKEYSINSLOT 7 5|CLUSTER GETKEYSINSLOT 16384 1|CLUSTER GETKEYSINSLOT 1 -1|CLUSTER REPLICAS x|CLUSTER SLAVES x", ":12739\r\n-ERR wrong number of arguments for 'cluster|keyslot' command\r\n+OK\r\n+OK\r\n+OK\r\n:2\r\n:2\r\n*2\r\n$1\r\nh\r\n$7\r\nusers:i\r\n-ERR Invalid slot or number of keys\r\n-ERR Invalid slot or number of keys\r\n*0\r\n*0\r\n".to_owned()),
    ] {
        let bytes = lines.split('|').flat_map(sent).collect::<Vec<u8>>();
        let client = testing::replies(Service::Node, answer_of_node, &bytes);
        assert_eq!(String::from_utf8_lossy(&client.out), wanted, "{lines}");
    }
}

#[test]
fn clients_are_told_the_slots_of_nodes() {
    let bytes: Vec<u8> =
        ["CLUSTER SLOTS", "CLUSTER INFO", "CLUSTER NODES"].into_iter().flat_map(sent).collect();
    let client = testing::replies(Service::Node, answer_of_node, &bytes);
    let out = String::from_utf8_lossy(&client.out).into_owned();
    let range = |from: u16, to: u16, port: u16| {
        format!("*3\r\n:{from}\r\n:{to}\r\n*4\r\n$9\r\n127.0.0.1\r\n:{port}\r\n$40\r\n")
    };
    assert!(out.starts_with(&format!("*2\r\n{}", range(0, 5_461, 7_001))), "{out}");
    assert!(out.contains(&range(5_462, 16_383, 7_003)), "{out}");
    assert!(out.contains("cluster_state:ok\r\ncluster_slots_assigned:16384\r\n"), "{out}");
    assert!(out.contains(" 127.0.0.1:7001@2 myself,master - 0 0 1 connected 0-5461\n"), "{out}");
}

proptest! {
    #[test]
    fn what_a_node_replies_depends_on_the_bytes_only(
        commands in prop::collection::vec(command(), 1..12),
        cuts in prop::collection::vec(1..40_usize, 1..20),
        choices in prop::collection::vec(0..3_u8, 1..20),
        picks in prop::collection::vec(any::<usize>(), 1..20),
    ) {
        let bytes = commands.concat();
        let whole = testing::replies(Service::Node, answer_of_node, &bytes);
        let pieces =
            testing::replies_in_pieces(Service::Node, answer_of_node, &bytes, cuts, choices, picks);
        prop_assert_eq!(
            String::from_utf8_lossy(&pieces.out),
            String::from_utf8_lossy(&whole.out)
        );
    }
}
