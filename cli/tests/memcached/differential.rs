//! Requests to memcached and to Standin: the replies are the same bytes, except where docs/MEMCACHED.md says why not.

use standin_testkit::{Scratch, free_ports, memcached_or_skip, read_some};

use super::cluster;
use super::common::{Caller, PAIR};

/// The requests, which the head of the file describes.
const LINES: &str = include_str!("lines.txt");
/// The title of those with the same replies.
const SAME: &str = "same";
/// The document that gives the reasons of the others.
const DOCUMENT: &str = include_str!("../../../docs/MEMCACHED.md");

/// Ends what is sent, and has a reply that nothing else has.
const END: (&str, &str) = ("mg the-end k\r\n", "EN kthe-end\r\n");
/// The state before each request.
const BEFORE: (&str, &str) = (
    "set k 5 0 3 noreply\r\nold\r\nset n 0 0 2 noreply\r\n10\r\ndelete new noreply\r\n\
     delete noreply noreply\r\nmn\r\n",
    "MN\r\n",
);
/// Shows what a request has done. A number that has become shorter is followed by spaces in memcached.
const AFTER: &str = "mg k v f t s\r\nincr n 0\r\nmg n f t\r\nmg new v f t\r\nmg noreply v f\r\n";

/// The bytes of a line of the file.
fn bytes(line: &str) -> Vec<u8> {
    let line = line.replace("K250", &"K".repeat(250)).replace("K251", &"K".repeat(251));
    let line = line.replace("B2000000", &"B".repeat(2_000_000));
    let (mut bytes, mut rest) = (Vec::new(), line.bytes());
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().expect("an escaped byte") {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b's' => b' ',
            b'0' => 0,
            b'x' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).expect("two digits")
            }
            other => panic!("\\{} means nothing", char::from(other)),
        });
    }
    bytes
}

/// Each command with any number of words, with and without `noreply`.
fn numbers_of_words() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (name, words, block) in [
        ("set", &["k", "0", "0", "1"][..], "1\r\n"),
        ("add", &["new", "0", "0", "1"], "1\r\n"),
        ("replace", &["k", "0", "0", "1"], "1\r\n"),
        ("append", &["k", "0", "0", "1"], "1\r\n"),
        ("prepend", &["k", "0", "0", "1"], "1\r\n"),
        ("cas", &["k", "0", "0", "1", "1"], "1\r\n"),
        ("ms", &["k", "1", "q"], "1\r\n"),
        ("get", &["k"], ""),
        ("gat", &["0", "k"], ""),
        ("delete", &["k"], ""),
        ("incr", &["n", "1"], ""),
        ("decr", &["n", "0"], ""),
        ("touch", &["k", "0"], ""),
        ("flush_all", &["0"], ""),
        ("verbosity", &["0"], ""),
        ("version", &[], ""),
        ("mn", &[], ""),
        ("mg", &["k", "v", "q"], ""),
        ("md", &["k", "q"], ""),
        ("ma", &["n", "v", "q"], ""),
        ("bogus", &["k"], ""),
    ] {
        for count in 0..words.len() + 4 {
            for noreply in [false, true] {
                // The number of the block is there, but not that of the value: lines.txt has this.
                if name == "cas" && count == 4 && noreply {
                    continue;
                }
                for (space, end) in [(" ", "\r\n"), ("  ", "\n"), (" ", " \r\n")] {
                    let words = words.iter().copied().chain(std::iter::repeat("z")).take(count);
                    let words = std::iter::once(name).chain(words);
                    let words: Vec<&str> = words.chain(noreply.then_some("noreply")).collect();
                    all.push(format!("{}{end}{block}", words.join(space)).into_bytes());
                }
            }
        }
    }
    all
}

/// All that is answered to a request, up to the reply to [`END`] or the end of the connection.
fn replies(address: &str, request: &[u8]) -> Vec<u8> {
    let mut caller = Caller::connect(address);
    // A request may close the connection before it has been read.
    let _ = caller.try_send([request, END.0.as_bytes()].concat());
    let (mut said, mut piece) = (Vec::new(), [0; 65_536]);
    while !said.ends_with(END.1.as_bytes()) {
        match read_some(&mut caller, &mut piece) {
            Ok(0) => break,
            Ok(length) => said.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => {
                let (request, said) = (request.escape_ascii(), said.escape_ascii());
                panic!("{error} after {request} and {said}");
            }
        }
    }
    said
}

/// Replies without what differs at any time: unique numbers and lifetimes.
fn without_numbers(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let masked = said.split("\r\n").map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let is_meta = matches!(words[0], "HD" | "VA" | "NS" | "EX" | "NF" | "EN");
        let masked = words.iter().enumerate().map(|(number, word)| {
            let is_number = |text: &str| text.parse::<u64>().is_ok_and(|number| number > 0);
            match word.split_at_checked(1) {
                Some((letter @ ("c" | "t"), digits)) if is_meta && is_number(digits) => {
                    format!("{letter}…")
                }
                _ if number == 4 && words[0] == "VALUE" => "…".to_owned(),
                _ => (*word).to_owned(),
            }
        });
        masked.collect::<Vec<_>>().join(" ")
    });
    masked.collect::<Vec<_>>().join("\r\n")
}

/// What one server answers to a request in a known state, and what state it has then.
fn outcome(address: &str, keeper: &mut Caller, request: &[u8]) -> (String, String) {
    keeper.ask(BEFORE.0, BEFORE.1);
    let said = without_numbers(&replies(address, request));
    keeper.send([AFTER, END.0].concat());
    (said, without_numbers(keeper.until(END.1).as_bytes()))
}

#[test]
fn replies_are_those_of_memcached() {
    let test = "replies_are_those_of_memcached";
    let scratch = Scratch::new(test);
    let memcached = memcached_or_skip(test, &scratch, free_ports(1)[0], &[]);
    let Some((_child, theirs)) = memcached else { return };
    let theirs = theirs.to_string();
    let mut cluster = cluster(test, PAIR, |_| {});
    cluster.start();
    let ours = cluster.service("a1").to_string();
    let mut keepers = [&theirs, &ours].map(|address| Caller::connect(address));
    let (mut title, mut requests) = (SAME, numbers_of_words());
    let mut groups = Vec::new();
    for line in LINES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("== ") {
            Some(next) => {
                groups.push((title, std::mem::take(&mut requests)));
                title = next;
            }
            None => requests.push(bytes(line)),
        }
    }
    groups.push((title, requests));
    let mut wrong = Vec::new();
    for (title, requests) in groups {
        if title != SAME && !DOCUMENT.contains(&format!("| {title} |")) {
            wrong.push(format!("docs/MEMCACHED.md does not say why: {title}"));
        }
        println!("{title}: {} requests", requests.len());
        for request in requests {
            let [keeper, our_keeper] = &mut keepers;
            let wanted = outcome(&theirs, keeper, &request);
            let got = outcome(&ours, our_keeper, &request);
            if (wanted == got) != (title == SAME) {
                let shown = &request[..request.len().min(200)];
                wrong.push(format!(
                    "{title}: {}\n  memcached {wanted:?}\n  Standin   {got:?}",
                    shown.escape_ascii()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} are not as wanted:\n{}", wrong.len(), wrong.join("\n"));
}
