//! Formats, what is wrong in them, times, and the division between load threads.

use std::io::{Cursor, Write as _};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::numbering::hash as hash_of;
use super::*;
use crate::request::Access;

/// Far longer than what should happen takes.
const SOON: Duration = Duration::from_secs(20);

const ANY_KEY: KeyRule = KeyRule { bytes_max: usize::MAX, is_word: false, why: "" };
const RULES: Rules =
    Rules { keys: ANY_KEY, is_lossless: false, has_stamps: true, has_times: false };

fn oracle_record(time_s: u32, id: u64, size_bytes: u32) -> Vec<u8> {
    let mut bytes = time_s.to_le_bytes().to_vec();
    bytes.extend(id.to_le_bytes());
    bytes.extend(size_bytes.to_le_bytes());
    bytes.extend((-1i64).to_le_bytes());
    bytes
}

fn read_all(bytes: &[u8], format: TraceFormat) -> Result<Vec<Record>, TraceError> {
    let mut records = Records::of(Cursor::new(bytes.to_vec()), format)?;
    let (mut all, mut record) = (Vec::new(), Record::room());
    while records.read(&mut record)? {
        all.push(record.clone());
    }
    Ok(all)
}

fn file(bytes: &[u8], format: TraceFormat) -> (tempfile::NamedTempFile, TraceFile) {
    let mut scratch = tempfile::NamedTempFile::new().unwrap();
    scratch.write_all(bytes).unwrap();
    let file = TraceFile { path: scratch.path().to_owned(), format };
    (scratch, file)
}

fn feed(file: &TraceFile) -> Feed {
    Feed {
        file: file.clone(),
        mode: Mode::All(None),
        division: Division::InTurn,
        rules: RULES,
        value_bytes: (0, u32::MAX),
        is_judged: false,
        reads_percent: 100.0,
        seed: 1,
        threads: (0, 1),
    }
}

/// A request that a load thread has got: its time, key, index, size and action.
type Got = (Duration, String, u32, u32, Access);

/// What each load thread gets.
fn play(feed: Feed, threads: u32) -> (Vec<Vec<Got>>, Result<Totals, TraceError>) {
    let (feeding, players) = feed.start(threads).unwrap();
    (got_by(players), feeding.finish())
}

fn got_by(players: Vec<Player>) -> Vec<Vec<Got>> {
    let of_player = |mut player: Player| {
        let mut got = Vec::new();
        loop {
            match player.peek() {
                Next::At(due) => {
                    let (request, recorded) = player.take().unwrap();
                    let name = String::from_utf8(recorded.name.to_vec()).unwrap();
                    got.push((due, name, request.key, recorded.value_bytes, request.access));
                }
                Next::NotYet => std::thread::yield_now(),
                Next::Ended => return got,
            }
        }
    };
    // Each in a thread of its own, as load threads are.
    let threads: Vec<_> =
        players.into_iter().map(|player| std::thread::spawn(move || of_player(player))).collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn oracle_general_is_read() {
    let bytes =
        [oracle_record(1, 900, 512), oracle_record(2, u64::MAX, 1 << 20), oracle_record(2, 0, 1)];
    let all = read_all(&bytes.concat(), TraceFormat::Oracle).unwrap();
    let short: Vec<_> = all
        .iter()
        .map(|record| (record.time_us, &*record.key, record.value_bytes, record.operation))
        .collect();
    let expected: [(u64, &[u8], u32, Operation); 3] = [
        (1_000_000, b"900", 512, Operation::Get),
        (2_000_000, b"18446744073709551615", 1 << 20, Operation::Get),
        (2_000_000, b"0", 1, Operation::Get),
    ];
    assert_eq!(short, expected);
    let cut = read_all(&bytes.concat()[..40], TraceFormat::Oracle).unwrap_err();
    assert!(matches!(cut, TraceError::Cut { record: 2, bytes: 16 }), "{cut}");
}

#[test]
fn twitter_s_lines_are_read() {
    let text = "0,q:q:1:8WTfjZU14ee,17,213,4,get,0\n\
                0,yDqF,4,100,1,set,86400\r\n\
                \n\
                3,a,b,3,0,1,delete,0\n\
                3,yDqF,4,99999999999,1,add,5";
    let all = read_all(text.as_bytes(), TraceFormat::Twitter).unwrap();
    assert_eq!(all[0].key, b"q:q:1:8WTfjZU14ee");
    assert_eq!(all[0].value_bytes, 213);
    assert_eq!((all[1].operation, all[1].ttl_s), (Operation::Set, 86_400));
    assert_eq!((&*all[2].key, all[2].position), (&b"a,b"[..], Position::Line(4)));
    assert_eq!((all[3].time_us, all[3].value_bytes), (3_000_000, u32::MAX));
    assert_eq!(all[3].operation, Operation::Add);
}

#[test]
fn csv_has_named_columns_and_quotes() {
    let text = "key,other,time,ttl,operation,size\r\n\
                \"a,\"\"b\",x,1.5,60,set,10\r\n\
                c,y,2, 0 , get , 7\n";
    let records = Records::of(Cursor::new(text), TraceFormat::Csv).unwrap();
    assert_eq!(records.unused_columns(), ["other"]);
    let all = read_all(text.as_bytes(), TraceFormat::Csv).unwrap();
    assert_eq!((&*all[0].key, all[0].value_bytes, all[0].ttl_s), (&b"a,\"b"[..], 10, 60));
    assert_eq!((all[0].time_us, all[0].unit_us), (1_500_000, 100_000));
    assert_eq!((all[1].time_us, all[1].unit_us), (2_000_000, 1_000_000));
    assert_eq!((all[1].operation, all[1].value_bytes), (Operation::Get, 7));
    let millis = read_all(b"time_ms,key\n1234,a\n", TraceFormat::Csv).unwrap();
    assert_eq!((millis[0].time_us, millis[0].unit_us), (1_234_000, 1_000));
    assert_eq!((millis[0].operation, millis[0].value_bytes), (Operation::Get, 0));
    let micros = read_all(b"time_us,key\n1234,a\n", TraceFormat::Csv).unwrap();
    assert_eq!((micros[0].time_us, micros[0].unit_us), (1_234, 1));
}

#[test]
fn each_mistake_has_its_line_and_says_what_to_do() {
    use TraceFormat::{Csv, Twitter};
    let long = format!("1,k,1,1,1,get,0\n{}", "x".repeat(70_000));
    let quoted = format!("time,key\n1,\"{}", "x".repeat(300_000));
    for (format, text, place, what) in [
        (Twitter, "1,k,1,1,1,get,0\n1,k,1,1,get,0", "line 2", "too few fields"),
        (Twitter, "1,k,1,1,1,get,0\n\n-1,k,1,1,1,get,0", "line 3", "the time \"-1\""),
        (Twitter, "99999999999999999999,k,1,1,1,get,0", "line 1", "the time"),
        (Twitter, "1,k,1,y,1,get,0", "line 1", "value_size \"y\""),
        (Twitter, "1,k,1,1,1,get,", "line 1", "ttl \"\""),
        (Twitter, "1,k,1,1,1,sing,0", "line 1", "operation \"sing\" is unknown"),
        (Twitter, "1,,0,1,1,get,0", "line 1", "the key is empty"),
        (Twitter, &long, "line 2", "longer than 65536 bytes"),
        (Csv, "", "header", "no column time"),
        (Csv, "time,keys\n", "header", "no column key"),
        (Csv, "time,key,time_ms\n", "header", "twice"),
        (Csv, "time,key,key\n", "header", "column key"),
        (Csv, "time,key\n1,a\n2,b,c\n", "line 3", "3 fields, but the header has 2"),
        (Csv, "time,key\n1,a\n1.x,b\n", "line 3", "the time \"1.x\""),
        (Csv, "time,key\r\n\r\n1,a\r\n\r\n1.x,b", "line 5", "the time \"1.x\""),
        (Csv, "time,key\r\n\r\n1,a,b\r\n", "line 3", "3 fields"),
        (Csv, "time,key\n1.,b\n", "line 2", "the time"),
        (Csv, "time,key\n.5,b\n", "line 2", "the time"),
        (Csv, "time,key\n1,\n", "line 2", "the key is empty"),
        (Csv, "time,key,size\n1,a,-1\n", "line 2", "size \"-1\""),
        (Csv, "time,key,operation\n1,a,\n", "line 2", "operation \"\""),
        (Csv, &quoted, "line 2", "is a quote open"),
    ] {
        let error = read_all(text.as_bytes(), format).unwrap_err().to_string();
        let shown: String = text.chars().take(60).collect();
        assert!(error.contains(place) && error.contains(what), "{shown:?}: {error}");
        assert!(error.contains("expected"), "{error}");
    }
}

#[test]
fn compressed_files_are_read_as_the_others() {
    let record = oracle_record(7, 8, 9);
    let plain: Vec<u8> = record.iter().copied().cycle().take(24 * 50_000).collect();
    let (head, tail) = plain.split_at(1_000_001);
    // Two frames, and between them one without data.
    let mut bytes = compress_to_vec(head, CompressionLevel::Fastest);
    bytes.extend([0x50, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    bytes.extend(compress_to_vec(tail, CompressionLevel::Fastest));
    let all = read_all(&bytes, TraceFormat::Oracle).unwrap();
    assert_eq!(all.len(), 50_000);
    assert_eq!((all[49_999].time_us, &*all[49_999].key), (7_000_000, &b"8"[..]));
    let cut = read_all(&bytes[..bytes.len() - 3], TraceFormat::Oracle).unwrap_err();
    assert!(matches!(cut, TraceError::Compressed(_)), "{cut}");
    let mut changed = bytes.clone();
    let end = changed.len() - 1;
    changed[end] ^= 1;
    let error = read_all(&changed, TraceFormat::Oracle).unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error}");
    // A frame whose header asks for a window of 2 GiB.
    let window = [0x28, 0xB5, 0x2F, 0xFD, 0, 21 << 3, 1, 0, 0];
    let error = read_all(&window, TraceFormat::Oracle).unwrap_err();
    assert!(matches!(error, TraceError::Window { .. }), "{error}");
}

#[test]
fn requests_of_a_second_are_spread_over_it() {
    let lines = ["10,a,1,1,1,get,0", "10,b,1,1,1,get,0", "10,c,1,1,1,get,0", "10,d,1,1,1,get,0"];
    let text = [&lines[..], &["11,a,1,1,1,get,0", "20,a,1,1,1,get,0", "20,b,1,1,1,get,0"]].concat();
    let (_scratch, file) = file(text.join("\n").as_bytes(), TraceFormat::Twitter);
    for (speed, factor) in [(1.0, 1.0), (10.0, 0.1), (0.5, 2.0)] {
        let feed = Feed { division: Division::ByKey { speed }, ..feed(&file) };
        let (got, totals) = play(feed, 1);
        let dues: Vec<f64> = got[0].iter().map(|got| got.0.as_secs_f64()).collect();
        let expected = [0.0, 0.25, 0.5, 0.75, 1.0, 10.0, 10.5].map(|second| second * factor);
        let are_near = dues.iter().zip(&expected).all(|(one, other)| (one - other).abs() < 2e-6);
        assert!(are_near && dues.len() == expected.len(), "{dues:?} at {speed}");
        assert_eq!(totals.unwrap().requests, 7);
    }
}

#[test]
fn finer_times_are_kept() {
    let text = "time,key\n0,a\n0.5,b\n0.5,c\n0.501,d\n";
    let (_scratch, file) = file(text.as_bytes(), TraceFormat::Csv);
    let (got, _) = play(Feed { division: Division::ByKey { speed: 1.0 }, ..feed(&file) }, 1);
    let dues: Vec<_> = got[0].iter().map(|got| got.0.as_micros()).collect();
    // A tenth of a second would reach beyond the next time.
    assert_eq!(dues, [0, 500_000, 500_500, 501_000]);
}

#[test]
fn times_that_go_backward_are_refused_where_they_are_kept() {
    let text = "1,a,1,1,1,get,0\n".repeat(2_000) + "2,b,1,1,1,get,0\n1,c,1,1,1,get,0\n";
    let (_scratch, file) = file(text.as_bytes(), TraceFormat::Twitter);
    let rules = Rules { has_times: true, ..RULES };
    let kept = || Feed { rules, division: Division::ByKey { speed: 1.0 }, ..feed(&file) };
    let first = || Feed { rules, mode: Mode::First(Numbering::with_room(9)), ..feed(&file) };
    for (feed, sent) in [(kept(), 2_001), (first(), 2)] {
        let (got, totals) = play(feed, 1);
        let error = totals.unwrap_err();
        assert!(
            matches!(error, TraceError::Backward { position: Position::Line(2_002) }),
            "{error}"
        );
        assert_eq!(got[0].len(), sent, "what is before it is sent");
    }
    let (got, totals) = play(feed(&file), 1);
    assert_eq!((got[0].len(), totals.unwrap().requests), (2_002, 2_002));
}

#[test]
fn threads_of_all_processes_share_a_trace() {
    let lines: String = (0..20_000)
        .map(|number| format!("{},key{},1,{},1,set,0\n", number / 100, number % 777, number % 500))
        .collect();
    let (_scratch, file) = file(lines.as_bytes(), TraceFormat::Twitter);
    for division in [Division::InTurn, Division::ByKey { speed: 1.0 }] {
        let mut all = Vec::new();
        for first in [0, 2] {
            let feed = Feed { division, threads: (first, 4), ..feed(&file) };
            all.extend(play(feed, 2).0);
        }
        assert_eq!(all.iter().map(Vec::len).sum::<usize>(), 20_000);
        if division == Division::InTurn {
            assert!(all.iter().all(|got| got.len() == 5_000));
            continue;
        }
        assert!(all.iter().all(|got| got.windows(2).all(|pair| pair[0].0 <= pair[1].0)));
        for key in (0..777).map(|number| format!("key{number}")) {
            let owners = all.iter().filter(|got| got.iter().any(|got| got.1 == key));
            assert_eq!(owners.count(), 1, "{key} has one thread");
        }
    }
}

#[test]
fn the_first_request_of_each_key_is_a_write_of_its_size() {
    let text = "1,a,1,50,1,get,0\n1,b,1,10,1,delete,0\n2,a,1,90,1,set,9\n3,c,1,70000,1,get,0\n";
    let (_scratch, file) = file(text.as_bytes(), TraceFormat::Twitter);
    let mode = Mode::First(Numbering::with_room(3));
    let (got, totals) = play(Feed { mode, value_bytes: (32, 4_096), ..feed(&file) }, 1);
    let short: Vec<_> = got[0].iter().map(|got| (got.1.as_str(), got.2, got.4)).collect();
    let write = |value_bytes| Access::Write { value_bytes, ttl_s: 0 };
    assert_eq!(short, [("a", 0, write(50)), ("b", 1, write(32)), ("c", 2, write(4_096))]);
    let totals = totals.unwrap();
    assert_eq!((totals.requests, totals.enlarged, totals.reduced), (3, 1, 1));
    let numbering = Arc::new(totals.numbering.unwrap());
    let (got, _) = play(Feed { mode: Mode::All(Some(numbering)), ..feed(&file) }, 1);
    assert_eq!(got[0].iter().map(|got| got.2).collect::<Vec<_>>(), [0, 1, 0, 2]);
    let mode = Mode::First(Numbering::with_room(2));
    let error = play(Feed { mode, ..feed(&file) }, 1).1.unwrap_err();
    assert!(matches!(error, TraceError::TooManyKeys { position: Position::Line(4), max: 2 }));
}

#[test]
fn a_share_of_the_reads_becomes_writes() {
    let text = "1,a,1,50,1,get,0\n1,a,1,50,1,delete,0\n".repeat(2_000);
    let (_scratch, file) = file(text.as_bytes(), TraceFormat::Twitter);
    let (got, _) = play(Feed { reads_percent: 80.0, ..feed(&file) }, 1);
    let count = |access| got[0].iter().filter(|got| got.4 == access).count();
    assert_eq!(count(Access::Delete), 2_000);
    let writes = count(Access::Write { value_bytes: 50, ttl_s: 0 });
    assert!((300..500).contains(&writes), "{writes}");
    assert_eq!(count(Access::Read) + writes, 2_000);
}

#[test]
fn what_the_target_does_not_take_is_refused() {
    let keys = KeyRule { bytes_max: 5, is_word: true, why: "which the test does not take" };
    let rules = Rules { keys, is_lossless: true, has_stamps: true, has_times: true };
    for (row, what) in [
        ("1,abcdef,1,1,1,get,0", "line 1 has the key \"abcdef\", which the test"),
        ("1,a b,1,1,1,get,0", "line 1 has the key \"a b\", which the test"),
        ("1,a,1,1,1,set,5", "line 1 gives its value a lifetime"),
        ("2,a,1,1,1,set,0\n1,a,1,1,1,set,0", "line 2 has an earlier time"),
    ] {
        let (_scratch, file) = file(row.as_bytes(), TraceFormat::Twitter);
        let error = Feed { rules, ..feed(&file) }.start(1).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    let (_scratch, file) = file(b"", TraceFormat::Twitter);
    assert!(matches!(feed(&file).start(1), Err(TraceError::Empty)));
}

/// 1.6 million requests, of which nobody takes any: the reader stops, and has read a small part.
#[test]
fn what_is_read_ahead_is_bounded() {
    let record = oracle_record(1, 2, 3);
    let bytes: Vec<u8> = record.iter().copied().cycle().take(24 * 1_600_000).collect();
    let (_scratch, file) = file(&bytes, TraceFormat::Oracle);
    let (feeding, mut players) = feed(&file).start(1).unwrap();
    for _ in 0..1_000 {
        while players[0].take().is_none() {
            std::thread::yield_now();
        }
    }
    drop(players);
    let totals = feeding.finish().unwrap();
    let ahead = (batch::BATCHES_MAX + 4) * batch::REQUESTS_MAX + 1_000;
    assert!(totals.requests <= ahead as u64, "{} of {ahead}", totals.requests);
}

/// 64 GiB of requests for one key at one time, of which only the first is wanted, or none: the reader ends with those that
/// listen, and not with the file.
#[test]
fn nothing_is_read_for_nobody() {
    let (scratch, file) = file(b"", TraceFormat::Oracle);
    scratch.as_file().set_len(64 << 30).unwrap();
    let rules = Rules { has_times: true, ..RULES };
    let key = hash_of(b"0");
    for feed in [
        Feed { mode: Mode::First(Numbering::with_room(9)), ..feed(&file) },
        Feed { rules, division: Division::ByKey { speed: 1.0 }, ..feed(&file) },
        // The key is another agent's.
        Feed {
            division: Division::ByKey { speed: 1.0 },
            threads: (u32::from(key.is_multiple_of(2)), 2),
            ..feed(&file)
        },
    ] {
        let what = format!("{feed:?}");
        let (feeding, players) = feed.start(1).unwrap();
        drop(players);
        let (ended, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || ended.send(feeding.finish()));
        let totals = end.recv_timeout(SOON).expect(&what).expect("no mistake");
        assert!(!totals.is_whole, "{what}");
    }
}

/// It ends where a request ends, as a whole file does.
#[test]
fn a_file_that_is_cut_while_it_is_replayed_is_not_taken_for_whole() {
    for (header, row, format) in [
        (&b""[..], &oracle_record(1, 5, 40)[..], TraceFormat::Oracle),
        (b"", b"1,key,3,40,1,get,0\n", TraceFormat::Twitter),
        (b"time,key\n", b"1,a-key-of-some-length\n", TraceFormat::Csv),
    ] {
        let (scratch, file) = file(&[header, &row.repeat(400_000)].concat(), format);
        let (feeding, mut players) = feed(&file).start(1).unwrap();
        // It was opened.
        while players[0].peek() == Next::NotYet {
            std::thread::yield_now();
        }
        // So far nothing is read before what is here is taken.
        let after = (header.len() + row.len() * 300_000) as u64;
        scratch.as_file().set_len(after).unwrap();
        let got = got_by(players);
        assert_eq!(got[0].len(), 300_000, "what is there is replayed");
        let error = feeding.finish().unwrap_err();
        assert!(matches!(error, TraceError::Shrunk { after: end, .. } if end == after), "{error}");
        assert!(error.to_string().contains("replay a file that nobody writes"), "{error}");
    }
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let scratch = tempfile::TempDir::new().unwrap();
    let path = scratch.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let format = TraceFormat::Csv;
    let (told, error) = std::sync::mpsc::channel();
    let file = TraceFile { path, format };
    std::thread::spawn(move || told.send(try_beginning(&file, None)));
    let error = error.recv_timeout(SOON).expect("an answer").unwrap_err();
    assert!(matches!(error, TraceError::NoFile), "{error}");
    let folder = TraceFile { path: scratch.path().to_owned(), format };
    let error = try_beginning(&folder, None).unwrap_err().to_string();
    assert!(error.contains("is a directory"), "{error}");
}

/// The trace that may lie next to the repository.
#[test]
fn a_real_trace_is_read() {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/traces/cloudphysics.oracleGeneral.bin");
    let Ok(bytes) = std::fs::read(path) else {
        eprintln!("NOT THERE: {path}: no real trace was read");
        return;
    };
    let all = read_all(&bytes, TraceFormat::Oracle).unwrap();
    assert_eq!(all.len(), bytes.len() / 24);
    let compressed = compress_to_vec(&*bytes, CompressionLevel::Fastest);
    assert_eq!(read_all(&compressed, TraceFormat::Oracle).unwrap(), all);
    let (_scratch, file) = file(&compressed, TraceFormat::Oracle);
    let mode = Mode::First(Numbering::with_room(u32::MAX));
    let (got, totals) = play(Feed { mode, ..feed(&file) }, 2);
    let mut keys: Vec<&[u8]> = all.iter().map(|record| &*record.key).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(got.iter().map(Vec::len).sum::<usize>(), keys.len());
    assert_eq!(totals.unwrap().numbering.unwrap().keys() as usize, keys.len());
}

prop_compose! {
    fn row()(time_us in 0u64..1 << 50, key in "[ -~]{1,40}", size: u32, ttl: u32, operation in 0usize..12)
        -> (u64, String, u32, u32, &'static str) {
        let names =
            ["get", "gets", "set", "add", "replace", "cas", "append", "prepend", "delete", "incr", "decr", "touch"];
        (time_us, key, size, ttl, names[operation])
    }
}

fn quoted(key: &str) -> String {
    format!("\"{}\"", key.replace('"', "\"\""))
}

proptest! {
    #[test]
    fn what_is_written_is_read(rows in prop::collection::vec(row(), 0..50)) {
        let mut csv = String::from("time,key,operation,size,ttl\n");
        let mut twitter = String::new();
        let mut oracle = Vec::new();
        for (time_us, key, size, ttl, operation) in &rows {
            let (seconds, micros) = (time_us / 1_000_000, time_us % 1_000_000);
            csv += &format!("{seconds}.{micros:06},{},{operation},{size},{ttl}\n", quoted(key));
            twitter += &format!("{seconds},{key},{},{size},1,{operation},{ttl}\n", key.len());
            oracle.extend(oracle_record(seconds as u32, *time_us, *size));
        }
        for (bytes, format) in [(csv, TraceFormat::Csv), (twitter, TraceFormat::Twitter)] {
            for is_compressed in [false, true] {
                let bytes = match is_compressed {
                    true => compress_to_vec(bytes.as_bytes(), CompressionLevel::Fastest),
                    false => bytes.clone().into_bytes(),
                };
                let all = read_all(&bytes, format).unwrap();
                prop_assert_eq!(all.len(), rows.len());
                for (record, (time_us, key, size, ttl, operation)) in all.iter().zip(&rows) {
                    prop_assert_eq!(record.time_us / record.unit_us, time_us / record.unit_us);
                    prop_assert_eq!(&record.key, key.as_bytes());
                    prop_assert_eq!((record.value_bytes, record.ttl_s), (*size, *ttl));
                    prop_assert_eq!(Some(record.operation), Operation::of(operation.as_bytes()));
                }
            }
        }
        let all = read_all(&oracle, TraceFormat::Oracle).unwrap();
        for (record, (time_us, _, size, ..)) in all.iter().zip(&rows) {
            let key = time_us.to_string().into_bytes();
            prop_assert_eq!(&record.key, &key);
            prop_assert_eq!(record.value_bytes, *size);
        }
    }
}
