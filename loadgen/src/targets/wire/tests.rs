//! What the engine does with its connections: when it opens, fills, gives up and leaves out.

use std::time::Duration;

use standin_protocol::time::Micros;

use super::codec::{Login, Protocol};
use super::settings::{Ejection, Server, Settings};
use super::{ConnId, Engine, Input, Output};
use crate::recorder::FailureKind;
use crate::targets::operation::{Action, Found, Question};

const GET: Question<'static> = Question { key: b"k", action: Action::Get };

fn settings(protocol: Protocol, servers: u16) -> Settings {
    let server = |number| Server {
        name: format!("10.0.0.{number}:1"),
        address: ([10, 0, 0, 1], number).into(),
    };
    let timeout = Duration::from_millis(100);
    Settings { timeout, ..Settings::new(protocol, (1..=servers).map(server).collect()) }
}

/// The value that was found, if any, or the kind of failure.
type End = Result<Option<Vec<u8>>, FailureKind>;

/// An engine, its clock, and the ends of its requests.
struct World {
    engine: Engine<u32>,
    now: Micros,
    ended: Vec<(u32, End)>,
}

impl World {
    fn new(settings: Settings) -> Self {
        Self { engine: Engine::new(settings), now: Micros(1_000_000), ended: Vec::new() }
    }

    fn after(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
    }

    fn submit(&mut self, token: u32, question: &Question<'_>) {
        assert!(self.engine.submit(self.now, question, token).is_ok());
    }

    fn handle(&mut self, input: Input<'_>) {
        let ended = &mut self.ended;
        self.engine.handle(self.now, input, &mut |token, ending| {
            let result = ending.map_err(|failure| failure.kind).map(|answer| match answer.found {
                Found::Value(value) => Some(value.to_vec()),
                _ => None,
            });
            ended.push((token, result));
        });
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.engine.poll()).collect()
    }

    /// The only output, which opens a connection.
    #[track_caller]
    fn connects(&mut self) -> ConnId {
        match &self.outputs()[..] {
            [Output::Connect(conn, _)] => *conn,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn sends(&mut self) -> String {
        match &self.outputs()[..] {
            [Output::Send(_, bytes)] => bytes.escape_ascii().to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn open(&mut self) -> ConnId {
        self.engine.connect_all(self.now);
        let conn = self.connects();
        self.handle(Input::Connected(conn));
        conn
    }
}

#[test]
fn what_is_no_reply_ends_the_connection() {
    for (protocol, bytes) in [
        (Protocol::MemcachedText, &b"VALUE k 0 x\r\n"[..]),
        (Protocol::MemcachedText, b"VALUE k 0 3\r\nabcd\r\nEND\r\n"),
        (Protocol::MemcachedText, b"STORED\r\n"),
        (Protocol::MemcachedMeta, b"VA 99999999999\r\n"),
        (Protocol::MemcachedMeta, b"+OK\r\n"),
        (Protocol::Resp2, b"hello\r\n"),
        (Protocol::Resp2, b"$2\r\nabc\r\n"),
        (Protocol::Resp2, b"+OK\r\n"),
        (Protocol::Resp2, b":1\r\n"),
        (Protocol::Resp3, b"*1\r\n$1\r\na\r\n"),
        (Protocol::Resp3, b">1\r\n>1\r\n>1\r\n>1\r\n>1\r\n>1\r\n>1\r\n>1\r\n>1\r\n>1\r\n"),
    ] {
        let mut world = World::new(settings(protocol, 1));
        let conn = world.open();
        if protocol == Protocol::Resp3 {
            world.handle(Input::Received(conn, b"+OK\r\n"));
        }
        world.submit(1, &GET);
        world.handle(Input::Received(conn, bytes));
        assert_eq!(world.ended, [(1, Err(FailureKind::Protocol))], "{protocol:?}");
        assert!(world.outputs().contains(&Output::Close(conn)));
    }
}

#[test]
fn requests_wait_for_the_next_attempt_and_fail_with_it() {
    let mut world = World::new(settings(Protocol::MemcachedText, 1));
    world.submit(1, &GET);
    let first = world.connects();
    world.handle(Input::ConnectFailed(first, "refused"));
    assert_eq!(world.ended, [(1, Err(FailureKind::ConnectFailed))]);
    world.submit(2, &GET);
    assert!(world.outputs().is_empty(), "not at once again");
    assert_eq!(world.engine.next_deadline(), Some(world.now + Duration::from_millis(10)));
    world.after(10);
    world.handle(Input::Tick);
    let second = world.connects();
    world.handle(Input::ConnectFailed(first, "an old event"));
    assert_eq!(world.ended.len(), 1);
    world.handle(Input::Connected(second));
    assert_eq!(world.sends(), r"get k\r\n");
    world.handle(Input::Received(second, b"END\r\n"));
    assert_eq!(world.ended[1], (2, Ok(None)));
}

#[test]
fn a_lost_connection_fails_what_was_sent_and_keeps_what_was_not() {
    let usual = settings(Protocol::MemcachedText, 1);
    let mut world = World::new(Settings { pipeline: Some(1), ..usual });
    let conn = world.open();
    world.submit(1, &GET);
    world.submit(2, &GET);
    assert_eq!(world.sends(), r"get k\r\n", "one at a time");
    world.handle(Input::Closed(conn));
    assert_eq!(world.ended, [(1, Err(FailureKind::ConnectionLost))]);
    world.after(10);
    world.handle(Input::Tick);
    let conn = world.connects();
    world.handle(Input::Connected(conn));
    world.submit(3, &GET);
    assert_eq!(world.sends(), r"get k\r\n");
    world.handle(Input::Received(conn, b"VALUE k 0 1\r\na\r\nEND\r\n"));
    assert_eq!(world.ended[1], (2, Ok(Some(b"a".to_vec()))));
    assert_eq!(world.sends(), r"get k\r\n");
}

#[test]
fn late_replies_are_not_those_of_later_requests() {
    let mut world = World::new(settings(Protocol::MemcachedText, 1));
    let conn = world.open();
    world.submit(1, &GET);
    world.after(60);
    world.submit(2, &GET);
    world.submit(3, &GET);
    world.handle(Input::Received(conn, b"VAL"));
    world.after(40);
    world.handle(Input::Tick);
    assert_eq!(world.ended, [(1, Err(FailureKind::DeadlineExceeded))]);
    let replies = b"UE k 0 1\r\na\r\nEND\r\nVALUE k 0 1\r\nb\r\nEND\r\nEND\r\n";
    world.handle(Input::Received(conn, replies));
    assert_eq!(world.ended[1..], [(2, Ok(Some(b"b".to_vec()))), (3, Ok(None))]);
    assert_eq!(world.engine.open(), 0);
}

#[test]
fn a_silent_connection_is_closed_and_what_has_timed_out_is_not_sent_later() {
    let usual = settings(Protocol::MemcachedText, 1);
    let mut world = World::new(Settings { pipeline: Some(1), ..usual });
    let conn = world.open();
    world.after(50);
    world.submit(1, &GET);
    world.submit(2, &GET);
    assert_eq!(world.sends(), r"get k\r\n");
    world.after(60);
    world.submit(3, &Question { key: b"third", action: Action::Get });
    world.after(40);
    world.handle(Input::Tick);
    let late: End = Err(FailureKind::DeadlineExceeded);
    assert_eq!(world.ended, [(1, late.clone()), (2, late)]);
    assert_eq!(world.outputs(), [Output::Close(conn)]);
    world.after(10);
    world.handle(Input::Tick);
    let conn = world.connects();
    world.handle(Input::Connected(conn));
    assert_eq!(world.sends(), r"get third\r\n");
}

#[test]
fn a_connection_whose_answers_fall_ever_further_behind_is_closed() {
    let mut world = World::new(settings(Protocol::MemcachedText, 1));
    let conn = world.open();
    let mut token = 0;
    // Ten requests are sent for each answer, so something arrives all the time.
    let closed = loop {
        for _ in 0..10 {
            token += 1;
            world.submit(token, &GET);
        }
        world.after(10);
        world.handle(Input::Tick);
        if world.outputs().contains(&Output::Close(conn)) {
            break world.now;
        }
        assert!(token < 1_000, "requests of ten timeouts have piled up");
        world.handle(Input::Received(conn, b"END\r\n"));
    };
    assert!(closed.since(Micros(1_000_000)) >= Duration::from_millis(200));
    assert_eq!(world.engine.open(), 0);
    let lost = world.ended.iter().filter(|(_, end)| *end == Err(FailureKind::ConnectionLost));
    assert!(lost.count() > 0);
}

#[test]
fn a_server_that_accepts_and_does_not_greet_is_given_up_and_left_out() {
    let retry = Duration::from_secs(1);
    let login = Login { user: None, password: Some("pw".into()), database: 0 };
    let usual = settings(Protocol::Resp2, 2);
    let ejection = Some(Ejection { failures: 1, retry });
    let mut world = World::new(Settings { ejection, login, ..usual });
    world.submit(1, &GET);
    let home = world.connects();
    world.handle(Input::Connected(home));
    world.after(100);
    world.handle(Input::Tick);
    assert_eq!(world.ended, [(1, Err(FailureKind::DeadlineExceeded))]);
    assert!(world.outputs().contains(&Output::Close(home)));
    world.submit(2, &GET);
    assert_ne!(world.connects().server, home.server, "its failure counts");
}

#[test]
fn a_server_that_fails_is_left_out_for_a_while() {
    let retry = Duration::from_millis(500);
    let usual = settings(Protocol::MemcachedText, 2);
    let ejection = Some(Ejection { failures: 2, retry });
    let mut world = World::new(Settings { ejection, ..usual });
    world.submit(1, &GET);
    let home = world.connects();
    world.handle(Input::ConnectFailed(home, "refused"));
    world.submit(2, &GET);
    world.after(10);
    world.handle(Input::Tick);
    let again = world.connects();
    assert_eq!(again.server, home.server, "one failure is not enough");
    world.handle(Input::ConnectFailed(again, "refused"));
    world.submit(3, &GET);
    let other = world.connects();
    assert_ne!(other.server, home.server);
    world.handle(Input::Connected(other));
    world.handle(Input::Received(other, b"END\r\n"));
    assert_eq!(world.ended.last(), Some(&(3, Ok(None))));
    world.after(500);
    world.handle(Input::Tick);
    world.submit(4, &GET);
    let outputs = world.outputs();
    let is_home =
        |output: &Output| matches!(output, Output::Connect(conn, _) if conn.server == home.server);
    assert!(outputs.iter().any(is_home), "{outputs:?}");
}

#[test]
fn a_connection_begins_with_its_password_and_requests_wait_for_it() {
    let usual = settings(Protocol::Resp3, 1);
    let login = Login { user: None, password: Some("pw".into()), database: 2 };
    let mut world = World::new(Settings { login, ..usual });
    let conn = world.open();
    world.submit(1, &GET);
    assert_eq!(
        world.sends(),
        r"*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n"
    );
    world.handle(Input::Received(conn, b"+OK\r\n%1\r\n+proto\r\n:3\r\n"));
    assert!(world.outputs().is_empty());
    world.handle(Input::Received(conn, b"+OK\r\n"));
    assert_eq!(world.sends(), r"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    world.handle(Input::Received(conn, b"_\r\n"));
    assert_eq!(world.ended, [(1, Ok(None))]);

    let refused = Login { user: None, password: Some("no".into()), database: 0 };
    let mut world = World::new(Settings { login: refused, ..settings(Protocol::Resp2, 1) });
    let conn = world.open();
    world.submit(1, &GET);
    world.handle(Input::Received(conn, b"-WRONGPASS x\r\n"));
    assert_eq!(world.ended, [(1, Err(FailureKind::ServerError))]);
}

/// The answer of a node to `CLUSTER SLOTS`.
const SLOTS: &[u8] = b"*2\r\n\
    *4\r\n:0\r\n:8191\r\n*3\r\n$8\r\n10.0.0.1\r\n:1\r\n$2\r\nid\r\n*2\r\n$8\r\n10.0.0.9\r\n:1\r\n\
    *3\r\n:8192\r\n:16383\r\n*2\r\n$8\r\n10.0.0.2\r\n:1\r\n";
const ASK_SLOTS: &str = r"*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n";
/// Its slot is 12182.
const FOO: Question<'static> = Question { key: b"foo", action: Action::Get };
const GET_FOO: &str = r"*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n";

/// A client that knows a cluster of two nodes.
fn cluster() -> (World, ConnId, ConnId) {
    let usual = settings(Protocol::Resp2, 1);
    let mut world = World::new(Settings { is_cluster: true, ..usual });
    let first = world.open();
    assert!(!world.engine.is_settled());
    assert_eq!(world.sends(), ASK_SLOTS);
    world.handle(Input::Received(first, SLOTS));
    let second = world.connects();
    assert_ne!(second.server, first.server);
    world.handle(Input::Connected(second));
    assert!(world.engine.is_settled());
    (world, first, second)
}

#[test]
fn a_cluster_says_where_its_keys_are() {
    let (mut world, first, second) = cluster();
    world.submit(1, &FOO);
    assert_eq!(world.sends(), GET_FOO);
    world.handle(Input::Received(second, b"$1\r\na\r\n"));
    assert_eq!(world.ended, [(1, Ok(Some(b"a".to_vec())))]);
    // "bar" has slot 5061.
    world.submit(2, &Question { key: b"bar", action: Action::Get });
    world.handle(Input::Received(first, b"$-1\r\n"));
    assert_eq!(world.ended[1], (2, Ok(None)));
}

#[test]
fn a_target_that_knows_of_no_cluster_is_reported_and_not_waited_for() {
    let cluster = || World::new(Settings { is_cluster: true, ..settings(Protocol::Resp2, 1) });
    let by_name = b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$6\r\nnode-1\r\n:1\r\n";
    for (answer, says) in [
        (&b"-ERR This instance has cluster support disabled\r\n"[..], "support disabled"),
        (b"-NOAUTH Authentication required.\r\n", "NOAUTH"),
        (b"*0\r\n", "announces"),
        (by_name, "announces"),
    ] {
        let mut world = cluster();
        let conn = world.open();
        assert!(!world.engine.is_settled());
        world.handle(Input::Received(conn, answer));
        assert!(world.engine.is_settled());
        let problem = world.engine.slots_problem().unwrap_or_default();
        assert!(problem.contains(says), "{problem}");
    }
    let mut silent = cluster();
    silent.open();
    silent.after(100);
    silent.handle(Input::Tick);
    assert!(silent.engine.is_settled() && silent.engine.slots_problem().is_none());
}

#[test]
fn a_node_with_a_failed_connection_is_asked_for_the_slots_if_there_is_no_other() {
    let usual = settings(Protocol::Resp2, 1);
    let mut world = World::new(Settings { is_cluster: true, connections: 2, ..usual });
    world.engine.connect_all(world.now);
    let outputs = world.outputs();
    let [Output::Connect(one, _), Output::Connect(other, _)] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    world.handle(Input::ConnectFailed(*one, "refused"));
    world.handle(Input::Connected(*other));
    assert_eq!(world.sends(), ASK_SLOTS);
}

#[test]
fn redirects_are_followed_and_the_slots_asked_for_again() {
    let (mut world, first, second) = cluster();
    world.submit(1, &FOO);
    assert_eq!(world.sends(), GET_FOO);
    world.handle(Input::Received(second, b"-MOVED 12182 10.0.0.1:1\r\n"));
    assert_eq!(world.sends(), GET_FOO, "no question for the slots: the last one was just now");
    world.handle(Input::Received(first, b"-ASK 12182 10.0.0.2:1\r\n"));
    assert_eq!(world.sends(), format!(r"*1\r\n$6\r\nASKING\r\n{GET_FOO}"));
    world.handle(Input::Received(second, b"+OK\r\n$1\r\na\r\n"));
    assert_eq!(world.ended, [(1, Ok(Some(b"a".to_vec())))]);
    world.submit(2, &FOO);
    assert_eq!(world.sends(), GET_FOO);
    world.handle(Input::Received(first, b"$1\r\nb\r\n"));
    assert_eq!(world.ended[1], (2, Ok(Some(b"b".to_vec()))), "the slot has moved for good");
    world.after(100);
    world.submit(3, &FOO);
    world.handle(Input::Tick);
    assert_eq!(world.sends(), format!("{GET_FOO}{ASK_SLOTS}"));
}

#[test]
fn endless_redirects_end() {
    let (mut world, first, second) = cluster();
    world.submit(1, &FOO);
    for _ in 0..20 {
        world.handle(Input::Received(second, b"-MOVED 12182 10.0.0.1:1\r\n"));
        if !world.ended.is_empty() {
            break;
        }
        world.handle(Input::Received(first, b"-MOVED 12182 10.0.0.2:1\r\n"));
    }
    assert_eq!(world.ended, [(1, Err(FailureKind::ServerError))]);
    assert_eq!(world.engine.open(), 0);
}

#[test]
fn redirects_name_a_bounded_number_of_nodes() {
    let (mut world, _, second) = cluster();
    for port in 1_000..3_000 {
        world.submit(port, &FOO);
        let moved = format!("-MOVED 5061 10.0.0.7:{port}\r\n");
        world.handle(Input::Received(second, moved.as_bytes()));
    }
    assert!(world.engine.settings().servers.len() <= 1_000);
    assert!(world.ended.contains(&(2_999, Err(FailureKind::ServerError))));
}

#[test]
fn when_a_node_is_lost_another_one_is_asked_for_the_slots() {
    let (mut world, first, second) = cluster();
    world.after(200);
    world.submit(1, &FOO);
    assert_eq!(world.sends(), GET_FOO);
    world.handle(Input::Closed(second));
    assert_eq!(world.ended, [(1, Err(FailureKind::ConnectionLost))]);
    world.submit(2, &FOO);
    world.handle(Input::Tick);
    assert!(
        matches!(&world.outputs()[..], [Output::Send(conn, _)] if *conn == first),
        "the first node is asked"
    );
    let all_first = b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$8\r\n10.0.0.1\r\n:1\r\n";
    world.handle(Input::Received(first, all_first));
    world.submit(3, &FOO);
    assert_eq!(world.sends(), GET_FOO);
    world.handle(Input::Received(first, b"$1\r\nc\r\n"));
    assert_eq!(world.ended[1], (3, Ok(Some(b"c".to_vec()))));
}
