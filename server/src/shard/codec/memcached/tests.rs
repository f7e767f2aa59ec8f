//! What a client sees must not depend on the pieces in which its bytes come, on the order in which
//! its requests are answered, or on pauses of its connection.

use proptest::prelude::*;

use super::*;
use crate::node::{AnswerHead, Status};
use crate::shard::codec::testing::{self, Client};
use crate::shard::listeners::Service;

const SERVICE: Service = Service::Other(standin_config::ServiceProtocol::Memcached);

/// The answer of a server: it depends on the bytes of the request only.
fn answer(request: &Request, bytes: &[u8]) -> (AnswerHead, Vec<u8>) {
    let key = &bytes[request.key()];
    let first = key.first().copied().unwrap_or(b'h');
    let status = match (first, &request.what) {
        (_, What::Said) => Status::Ok,
        (b'm', _) => Status::NotFound,
        (b'o', _) => Status::Overloaded,
        (b'n', What::Modify(..)) => Status::NotStored,
        (b'v', What::Modify(..) | What::Command(_)) => Status::VersionMismatch,
        _ => Status::Ok,
    };
    let value = if status == Status::Ok { key.repeat(2) } else { Vec::new() };
    let head = AnswerHead {
        version: numbers::version(7),
        item_flags: 3,
        ttl_ms: 2_500,
        ..AnswerHead::status(status)
    };
    (head, value)
}

/// The answer to a caller who may flush the second keyspace only, of which a partition is unavailable.
fn answer_to_flush(request: &Request, bytes: &[u8]) -> (AnswerHead, Vec<u8>) {
    let status = match (&request.what, request.spelling) {
        (What::Command(head), Spelling::Partition(_)) if head.keyspace == 1 => Status::NotPermitted,
        (What::Command(_), Spelling::Partition(2)) => Status::Unavailable,
        _ => return answer(request, bytes),
    };
    (AnswerHead::status(status), Vec::new())
}

#[test]
fn a_flush_that_is_forbidden_in_part_says_so_once_and_counts_for_nothing_behind_it() {
    let forbidden = "CLIENT_ERROR permission denied\r\n";
    for (bytes, wanted) in [
        ("flush_all\r\n", forbidden.to_owned()),
        ("flush_all\r\nflush_all\r\nmn\r\n", [forbidden, forbidden, "MN\r\n"].concat()),
        ("flush_all noreply\r\nget h\r\n", "VALUE h 3 2\r\nhh\r\nEND\r\n".to_owned()),
    ] {
        let out = testing::replies(SERVICE, answer_to_flush, bytes.as_bytes()).out;
        assert_eq!(String::from_utf8_lossy(&out), wanted, "{bytes}");
    }
}

fn replies(bytes: &[u8]) -> Vec<u8> {
    testing::replies(SERVICE, answer, bytes).out
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&replies(bytes)).into_owned()
}

#[test]
fn commands_have_the_replies_of_memcached() {
    let long = "k".repeat(251);
    let many = format!("get {}\r\n", "h ".repeat(500));
    let values = "VALUE h 3 2\r\nhh\r\n".repeat(500) + "END\r\n";
    for (bytes, wanted) in [
        ("get h\r\n", "VALUE h 3 2\r\nhh\r\nEND\r\n"),
        ("get h\n", "VALUE h 3 2\r\nhh\r\nEND\r\n"),
        ("gets h\r\n", "VALUE h 3 2 7\r\nhh\r\nEND\r\n"),
        ("get m\r\n", "END\r\n"),
        ("get  h   m  i \r\n", "VALUE h 3 2\r\nhh\r\nVALUE i 3 2\r\nii\r\nEND\r\n"),
        (&many, &values),
        ("get h   \r\nget m   \r\nmn\r\n", "VALUE h 3 2\r\nhh\r\nEND\r\nEND\r\nMN\r\n"),
        (
            "get \r\nget m\r\nget o h\r\nget h\r\n",
            "ERROR\r\nEND\r\nSERVER_ERROR out of memory or overloaded; try \
             again\r\nVALUE h 3 2\r\nhh\r\nEND\r\n",
        ),
        ("get users:h\r\n", "VALUE users:h 3 2\r\nhh\r\nEND\r\n"),
        ("gat 10 h\r\n", "VALUE h 3 2\r\nhh\r\nEND\r\n"),
        ("gats -1 h i\r\n", "VALUE h 3 2 7\r\nhh\r\nVALUE i 3 2 7\r\nii\r\nEND\r\n"),
        ("gat x h\r\n", "CLIENT_ERROR invalid exptime argument\r\n"),
        (
            "gat 10\r\ngat 10 \r\ngat x\r\n",
            "END\r\nEND\r\nCLIENT_ERROR invalid exptime argument\r\n",
        ),
        ("get\r\nget \r\ngat \r\ngats\n\r\n\n", &"ERROR\r\n".repeat(6)),
        ("  get  h\r\n mn\r\n  gats -1 m\r\n", "VALUE h 3 2\r\nhh\r\nEND\r\nMN\r\nEND\r\n"),
        ("mn\nmn x\r\n", "MN\r\nMN\r\n"),
        (
            "get h o i\r\nmn\r\n",
            "VALUE h 3 2\r\nhh\r\nSERVER_ERROR out of memory or overloaded; try again\r\nMN\r\n",
        ),
        (
            &format!("get h {long} i\r\nmn\r\n"),
            "VALUE h 3 2\r\nhh\r\nCLIENT_ERROR bad command line format\r\nMN\r\n",
        ),
        ("set k 0 0 1\r\n1\r\n", "STORED\r\n"),
        ("set k 0 0 1 noreply\r\n1\r\nset n 5 -1 2\r\n12\r\n", "NOT_STORED\r\n"),
        (
            "set k 0 0 0\r\n\r\nset k 0 0 4\r\ninsert\r\nmn\r\n",
            "STORED\r\nCLIENT_ERROR bad data chunk\r\nERROR\r\nMN\r\n",
        ),
        ("set k 0 0 1 noreply\r\nxx\r\nmn\r\n", "ERROR\r\nMN\r\n"),
        ("set k 0 0 x noreply\r\nset k 0 0 noreply\r\nmn\r\n", "MN\r\n"),
        (
            "set k 0 0\r\nset k 0 0 1 noreply x\r\nadd\r\nmn\r\n",
            "ERROR\r\nERROR\r\nERROR\r\nMN\r\n",
        ),
        ("set k x 0 2\r\nab\r\nmn\r\n", "CLIENT_ERROR bad command line format\r\nMN\r\n"),
        ("set k 0 0 -1\r\nmn\r\n", "CLIENT_ERROR bad command line format\r\nMN\r\n"),
        (
            "add n 0 0 1\r\n1\r\nreplace m 0 0 1\r\n1\r\nappend m 0 0 1\r\n1\r\nprepend k 0 0 1\r\n1\r\n",
            "NOT_STORED\r\nNOT_STORED\r\nNOT_STORED\r\nSTORED\r\n",
        ),
        (
            "cas k 0 0 1 9\r\n1\r\ncas v 0 0 1 9\r\n1\r\ncas m 0 0 1 9\r\n1\r\n",
            "STORED\r\nEXISTS\r\nNOT_FOUND\r\n",
        ),
        ("cas k 0 0 1\r\n1\r\nmn\r\n", "ERROR\r\nERROR\r\nMN\r\n"),
        (
            "delete k\r\ndelete m\r\ndelete k noreply\r\ndelete k 0\r\ndelete k 0 noreply\r\ndelete noreply\r\ndelete m 5 noreply\r\ndelete\r\n",
            "DELETED\r\nNOT_FOUND\r\nDELETED\r\nDELETED\r\nERROR\r\n",
        ),
        (
            "delete a b\r\ndelete a noreply 0\r\ndelete a 0 0 noreply\r\n",
            "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\nCLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\nERROR\r\n",
        ),
        (
            "incr h 1\r\ndecr m 1\r\nincr h x\r\nincr h\r\nincr h x noreply\r\nincr h noreply\r\nincr h 1 2 3\r\n",
            "hh\r\nNOT_FOUND\r\nCLIENT_ERROR invalid numeric delta argument\r\nERROR\r\nERROR\r\n",
        ),
        (
            "touch k 0\r\ntouch m 1\r\ntouch k -1\r\ntouch k x\r\n",
            "TOUCHED\r\nNOT_FOUND\r\nTOUCHED\r\nCLIENT_ERROR invalid exptime argument\r\n",
        ),
        (
            "flush_all\r\nflush_all 0\r\nflush_all noreply\r\nflush_all 0 noreply\r\nflush_all x\r\n",
            "OK\r\nOK\r\nCLIENT_ERROR invalid exptime argument\r\n",
        ),
        (
            "verbosity 1\r\nverbosity 1 noreply\r\nverbosity\r\nverbosity noreply\r\nverbosity x\r\n",
            "OK\r\nERROR\r\nCLIENT_ERROR bad command line format\r\n",
        ),
        ("bogus x\r\nbogus noreply\r\n\r\n \n", &"ERROR\r\n".repeat(4)),
        ("GET / HTTP/1.0\r\nget h\r\n", ""),
        ("mn\r\nquit\r\nget h\r\n", "MN\r\n"),
        ("mg h\r\n", "HD\r\n"),
        ("mg h v\r\nmg m v\r\nmg m v q\r\n", "VA 2\r\nhh\r\nEN\r\n"),
        ("mg h s v t f c k Oabc\r\n", "VA 2 s2 t3 f3 c7 kh Oabc\r\nhh\r\n"),
        ("mg h C7 v c\r\nmg h C8 v\r\n", "HD c7\r\nVA 2\r\nhh\r\n"),
        ("mg m Oabc k\r\n", "EN Oabc km\r\n"),
        ("mg aGVsbG8= b k v\r\n", "VA 16 kaGVsbG8= b\r\naGVsbG8=aGVsbG8=\r\n"),
        (
            "mg !! b v\r\nmd !! b\r\nme !! b\r\nmg\r\nms\r\nms k\r\nme\r\n",
            "CLIENT_ERROR error decoding key\r\nCLIENT_ERROR invalid or duplicate flag\r\nCLIENT_ERROR bad command line format\r\nERROR\r\nERROR\r\nCLIENT_ERROR bad command line format\r\nCLIENT_ERROR bad command line format\r\n",
        ),
        (
            "mg h \u{7f} v\r\nma h z q\r\nms k 1 MAA\r\n1\r\nms k 1 F-1\r\n1\r\n",
            "CLIENT_ERROR duplicate flag\r\nCLIENT_ERROR invalid or duplicate flag\r\nCLIENT_ERROR incorrect length for M token\r\nCLIENT_ERROR bad command line format\r\n",
        ),
        (
            "mg h v v\r\nmg h z\r\nmg h h\r\n",
            "CLIENT_ERROR duplicate flag\r\nCLIENT_ERROR invalid flag\r\nCLIENT_ERROR this server does not support the flags E, h and l\r\n",
        ),
        (
            "ms k 2\r\nab\r\nms k 2 q\r\nab\r\nms k S2\r\nmn\r\n",
            "HD\r\nCLIENT_ERROR bad command line format\r\nMN\r\n",
        ),
        ("ms k 2 c k s Oa\r\nab\r\n", "HD c7 kk s2 Oa\r\n"),
        (
            "ms v 2 C1 c\r\nab\r\nms m 2 C1\r\nab\r\nms m 2 MA\r\nab\r\nms n 2 ME q\r\nab\r\n",
            "EX c0\r\nNF\r\nNS\r\nNS\r\n",
        ),
        ("ms k 2 MZ\r\nab\r\nmn\r\n", "CLIENT_ERROR invalid mode for ms M token\r\nMN\r\n"),
        ("md k\r\nmd m\r\nmd v C1\r\nmd k q\r\nmd k I T30 O1\r\n", "HD\r\nNF\r\nEX\r\nHD O1\r\n"),
        (
            "ma h\r\nma h v t c\r\nma m\r\nma h q\r\nma h Mz\r\n",
            "HD\r\nVA 2 t3 c7\r\nhh\r\nNF\r\nCLIENT_ERROR invalid mode for ma M token\r\n",
        ),
        ("me m O1 k\r\nme h z z\r\n", "EN\r\nME h exp=3 cas=7 size=2\r\n"),
        (
            "stats settings\r\n",
            "STAT item_size_max 1000\r\nSTAT client_flags_size 4\r\nSTAT cas_enabled yes\r\nSTAT flush_enabled yes\r\nSTAT dump_enabled no\r\nEND\r\n",
        ),
        ("stats items\r\nstats reset\r\nstats bogus\r\n", "END\r\nRESET\r\nERROR\r\n"),
    ] {
        assert_eq!(shown(bytes.as_bytes()), wanted, "{}", &bytes[..bytes.len().min(200)]);
        for cut in 1..bytes.len().min(100) {
            let mut client = Client::new(SERVICE, answer);
            for piece in [&bytes.as_bytes()[..cut], &bytes.as_bytes()[cut..]] {
                client.input.extend_from_slice(piece);
                let requests = client.requests();
                client.serve(requests, || 0);
            }
            assert_eq!(String::from_utf8_lossy(&client.out), wanted, "cut at {cut}: {bytes}");
        }
    }
}

#[test]
fn a_value_that_is_too_large_is_dropped_and_what_follows_is_understood() {
    let value = "x".repeat(1_001);
    let sent = format!("set k 0 0 1001\r\n{value}\r\nms k 1001 q\r\n{value}\r\nmn\r\n");
    let wanted = "SERVER_ERROR object too large for cache\r\n".repeat(2) + "MN\r\n";
    assert_eq!(shown(sent.as_bytes()), wanted);
    let mut client = Client::new(SERVICE, answer);
    client.input = sent.into_bytes();
    let requests = client.requests();
    let What::Command(head) = requests[0].0.what else { panic!("no command") };
    assert_eq!(
        head.action,
        Action::Invalidate,
        "the client believes that it is not there any more"
    );
}

#[test]
fn what_is_no_text_protocol_is_told_so_and_what_has_no_end_is_not_read() {
    let mut client = Client::new(SERVICE, answer);
    client.input = b"\x80\x00\x00\x01 and more".to_vec();
    let requests = client.requests();
    client.serve(requests, || 0);
    let said = String::from_utf8(client.out).unwrap();
    assert!(said.starts_with("SERVER_ERROR the binary protocol is not supported"), "{said}");
    assert!(client.is_ended);
    for endless in [vec![b' '; 14_000], [&b"incr "[..], &[b' '; 2_048]].concat(), vec![b'x'; 2_048]]
    {
        let mut client = Client::new(SERVICE, answer);
        client.input = endless;
        let requests = client.requests();
        client.serve(requests, || 0);
        assert!(client.is_ended && client.out.is_empty());
    }
    // A line of keys has any length, and none of it is kept.
    let mut client = Client::new(SERVICE, answer);
    for piece in std::iter::once(&b"get "[..]).chain((0..10_000).map(|_| &b"h     "[..])) {
        client.input.extend_from_slice(piece);
        let requests = client.requests();
        client.serve(requests, || 0);
        assert!(client.input.len() < 100);
    }
    client.input.extend_from_slice(&b"x".repeat(300));
    let requests = client.requests();
    client.serve(requests, || 0);
    assert!(
        client.input.is_empty()
            && client.out.ends_with(b"CLIENT_ERROR bad command line format\r\n")
    );
}

fn command() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof!["[hmnov][a-c]{0,3}", "users:[hmo][a-c]{0,2}", "[hk]{240,260}"];
    let text = |text: String| text.into_bytes();
    prop_oneof![
        (
            prop::collection::vec(key.clone(), 0..6),
            "get|gets|gat 10|gats -1|gat x",
            " {1,3}",
            "\r?\n"
        )
            .prop_map(move |(keys, name, gap, end)| {
                text(format!("{name}{gap}{}{end}", keys.join(&*gap)))
            }),
        (
            key.clone(),
            "set|add|replace|append|prepend|cas",
            "[0-9x]{1,3}",
            0usize..1_010,
            "( noreply)?",
            prop::bool::weighted(0.9)
        )
            .prop_map(|(key, name, flags, length, noreply, is_right)| {
                let version = if name == "cas" { " 9" } else { "" };
                let mut bytes =
                    format!("{name} {key} {flags} 0 {length}{version}{noreply}\r\n").into_bytes();
                bytes.extend((0..length).map(|at| b"\r\nab 0"[at % 6]));
                bytes.extend_from_slice(if is_right { b"\r\n" } else { b"xx" });
                bytes
            }),
        (
            key.clone(),
            "mg|md|ma|me",
            prop::collection::vec("[bcCfFhkIlMNOqRsStTvDJx][0-9a]{0,2}", 0..4)
        )
            .prop_map(move |(key, name, flags)| text(format!(
                "{name} {key} {}\r\n",
                flags.join(" ")
            ))),
        (key.clone(), prop::collection::vec("[bcCFkIMOqsTN][0-9AE]{0,2}", 0..3), 0usize..1_010)
            .prop_map(|(key, flags, length)| {
                let mut bytes = format!("ms {key} {length} {}\r\n", flags.join(" ")).into_bytes();
                bytes.extend(vec![b'y'; length]);
                bytes.extend_from_slice(b"\r\n");
                bytes
            }),
        (key, "delete|incr|touch|decr", "( [0-9a-]{1,2})?", "( noreply)?").prop_map(
            move |(key, name, number, noreply)| text(format!("{name} {key}{number}{noreply}\r\n"))
        ),
        "flush_all( 0)?( noreply)?\r\n|mn\r\n|version\r\n|verbosity 1\r\n|stats( settings)?\r\n"
            .prop_map(text),
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
        prop_assert_eq!(String::from_utf8_lossy(&client.out), String::from_utf8_lossy(&wanted));
        prop_assert_eq!(client.codec.waiting_bytes(), 0);
    }
}
