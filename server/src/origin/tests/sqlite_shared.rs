//! Several origins on one SQLite file, as with several server processes.

use std::process::Command;

use super::*;
use standin_testkit::{Child, Scratch, wait_until};

#[test]
fn two_origins_write_at_once_and_lose_nothing() {
    const THREADS: u32 = 4;
    const WRITES: u32 = 300;
    let scratch = Scratch::new("origin");
    let config = sqlite_config(&scratch.file("db"), SQLITE_KV);
    let benches = [(); 2].map(|()| Bench::start(&config, &kv()).unwrap());
    std::thread::scope(|scope| {
        for (origin, bench) in benches.iter().enumerate() {
            for thread in 0..THREADS {
                scope.spawn(move || {
                    for write in 0..WRITES {
                        let key = format!("{origin}/{thread}/{write}");
                        assert_eq!(bench.put(&key, &key), ONE_ROW);
                        if write % 10 == 0 {
                            assert_eq!(bench.get(&key), value(&key));
                        }
                    }
                });
            }
        }
    });
    let direct = rusqlite::Connection::open(scratch.file("db")).unwrap();
    let rows: u32 =
        direct.query_row("SELECT count(*) FROM kv WHERE k = v", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 2 * THREADS * WRITES);
    // Each reads what the others have written.
    assert_eq!(benches[0].get("1/0/0"), value("1/0/0"));
    assert_eq!(benches[1].get("0/0/0"), value("0/0/0"));
}

#[test]
fn many_start_at_once_on_a_file_that_is_not_there() {
    let scratch = Scratch::new("origin");
    let init = format!("{SQLITE_KV}; INSERT OR IGNORE INTO kv VALUES ('a', '1');");
    let config = sqlite_config(&scratch.file("db"), &init);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let bench = Bench::start(&config, &kv()).unwrap();
                assert_eq!(bench.get("a"), value("1"));
            });
        }
    });
}

/// Runs this test program a second time as the server, and kills it while it writes.
#[test]
fn acknowledged_writes_survive_a_killed_process() {
    const ROLE: &str = "STANDIN_ORIGIN_WRITER";
    let name = "origin::tests::sqlite_shared::acknowledged_writes_survive_a_killed_process";
    if let Some(file) = std::env::var_os(ROLE) {
        let bench = Bench::start(&sqlite_config(file.as_ref(), SQLITE_KV), &kv()).unwrap();
        let mut tokens: Vec<(u64, u64)> = Vec::new();
        for n in 0.. {
            tokens.push((n, bench.send(KV, n.to_string().as_bytes(), put("v"))));
            if tokens.len() == 16 {
                for (n, token) in tokens.drain(..) {
                    assert_eq!(bench.wait(token), ONE_ROW);
                    println!("acknowledged {n}");
                }
            }
        }
    }
    let scratch = Scratch::new("origin");
    let file = scratch.file("db");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture"]).env(ROLE, &file);
    let mut writer = Child::spawn("writer", command, scratch.path());
    wait_until(SOON, "some writes", || writer.lines().len() > 200);
    writer.kill();
    let acknowledged: Vec<String> = writer
        .lines()
        .iter()
        .filter_map(|line| line.strip_prefix("acknowledged ").map(str::to_owned))
        .collect();
    assert!(acknowledged.len() > 100);
    let bench = Bench::start(&sqlite_config(&file, SQLITE_KV), &kv()).unwrap();
    for key in acknowledged {
        assert_eq!(bench.get(&key), value("v"), "{key}");
    }
}
