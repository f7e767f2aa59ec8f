//! `standin load` on rows that somebody else owns: they are read and never written, and what is read is judged by what the
//! database has.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use standin_config::{ColumnType, OriginConfig};
use standin_testkit::{
    Child, Postgres, Scratch, free_ports, memcached_or_skip, redis_or_skip, wait_until,
};

use crate::common::{Cluster, PAIR, WITHIN};

const ROWS: u32 = 300;

/// A cluster whose table has rows of a user. No value is one of the load generator's.
fn cluster(test: &str) -> Cluster {
    let cluster = Cluster::new(test, PAIR);
    let database = cluster.database();
    let table =
        "CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID";
    database.execute_batch(table).expect("a table");
    for number in 0..ROWS {
        cluster.set_row(name(number).as_bytes(), format!("customer no. {number}").as_bytes());
    }
    cluster
}

fn name(number: u32) -> String {
    format!("customer:{number}")
}

/// All rows, as they are.
fn rows(cluster: &Cluster) -> Vec<Option<Vec<u8>>> {
    (0..ROWS).map(|number| cluster.row(name(number).as_bytes())).collect()
}

fn command(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standin"));
    command
        .current_dir(folder)
        .args(["load", "--workers", "1", "--json", "result.json"])
        .args(more);
    command
}

fn results(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("result.json")).expect("the results");
    serde_json::from_str(&text).expect("JSON")
}

/// Runs a load that is good.
#[track_caller]
fn load(folder: &Path, more: &[&str]) -> Value {
    let output = command(folder, more).output().expect("the program can be run");
    assert!(output.status.success(), "{more:?}: {output:?}");
    results(folder)
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(text).expect("UTF-8")
}

fn count(result: &Value, name: &str) -> u64 {
    let count = &result["total"]["counts"][name];
    count.as_u64().unwrap_or_else(|| panic!("{name}: {result}"))
}

/// The value that a memcached has.
fn cached(address: &str, key: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).expect("memcached");
    stream.write_all(format!("get {key}\r\n").as_bytes()).expect("a request");
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let head = lines.next().expect("an answer");
    (head != "END").then(|| lines.next().expect("a value"))
}

fn tell(address: &str, command: &str) {
    let mut stream = TcpStream::connect(address).expect("memcached");
    stream.write_all(command.as_bytes()).expect("a request");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    assert!(["STORED\r\n", "DELETED\r\n"].contains(&line.as_str()), "{line}");
}

#[test]
fn rows_behind_a_cluster_are_read_and_none_is_written() {
    let mut cluster = cluster("rows-cluster");
    cluster.start();
    let before = rows(&cluster);
    let folder = cluster.directory().to_owned();
    let run = ["--config", "cluster.toml", "--existing-rows", "--check", "--seconds", "1"];
    let all =
        load(&folder, &[&run[..], &["--popularity", "sequential", "--warm-up", "1"]].concat());
    let reads = count(&all, "reads_answered");
    assert!(reads > 500 && count(&all, "hits") > 0, "{all}");
    assert_eq!((count(&all, "checked"), count(&all, "absent")), (reads, 0), "{all}");
    assert_eq!((count(&all, "rows_read"), count(&all, "rows_changed")), (u64::from(ROWS), 0));
    assert_eq!(all["scenario"]["keys"]["count"], ROWS);
    assert_eq!(count(&all, "writes"), 0);

    // Some of all keys, several at a time, and a key of no row.
    let many = ["--multi-gets", "50", "--multi-get-keys", "5", "--phases", "a=1s@200,b=1s@400"];
    let sampled =
        [&run[..4], &many, &["--keys", "20", "--sample-rows", "--html", "r.html"]].concat();
    let sampled = load(&folder, &sampled);
    assert_eq!(count(&sampled, "rows_read"), 20, "{sampled}");
    assert!(count(&sampled, "multi_keys") > 500 && count(&sampled, "checked") > 700);
    std::fs::write(folder.join("keys.txt"), "customer:7\nnobody\n").expect("a file");
    let listed = load(&folder, &[&run[..2], &["--row-keys", "keys.txt"], &run[3..]].concat());
    let absent = count(&listed, "absent");
    assert!(absent > 100 && absent < count(&listed, "checked"), "{listed}");
    let query = "select id from items where id like 'customer:1%' order by id;";
    let queried = load(&folder, &[&run[..2], &["--row-query", query], &run[3..]].concat());
    assert_eq!(count(&queried, "rows_read"), 111, "{queried}");
    assert_eq!(rows(&cluster), before, "byte by byte");
}

#[test]
fn a_cache_with_another_value_than_the_database_is_found() {
    let cluster = cluster("rows-stale");
    let folder = cluster.directory();
    let scratch = Scratch::new("rows-memcached");
    let cache = memcached_or_skip("rows behind memcached", &scratch, free_ports(1)[0], &[]);
    let Some((_memcached, address)) = cache else { return };
    let address = address.to_string();
    let target = format!("memcached://{address}");
    tell(&address, "set customer:5 0 0 5\r\nolder\r\n");
    let run = ["--target", &target, "--database", "cluster.toml", "--ttl", "60"];
    let run = [&run[..], &["--existing-rows", "--check"]].concat();
    let run = [&run[..], &["--popularity", "uniform", "--rate", "2000", "--seconds", "1"]].concat();
    let output = command(folder, &run).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let result = results(folder);
    let stale = count(&result, "stale");
    // One read of 300, of 2000, with a standard deviation of 2.6.
    assert!((1..=20).contains(&stale), "{result}");
    assert_eq!((count(&result, "wrong"), count(&result, "changed")), (0, 0));
    let points = result["timeline"].as_array().expect("a timeline");
    let on_timeline: u64 = points.iter().filter_map(|point| point["stale"].as_u64()).sum();
    assert_eq!(on_timeline, stale, "they are where they were due");
    let quote = result["quotes"][0].as_str().expect("a quote");
    assert!(quote.contains("the database had another value since"), "{quote}");
    assert_eq!(cached(&address, "customer:5").as_deref(), Some("older"), "nothing was mended");
    // A warm-up that sees it is no reason to know nothing.
    let warm = [&run[..], &["--warm-up", "1"]].concat();
    let output = command(folder, &warm).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("warm-up: ") && said(&output).contains("another value since"));
    assert!(count(&results(folder), "stale") > 0);
    // The conditions of a search are about them, too.
    let one = ["--check", "--row-query", "select 'customer:5'"];
    let find = ["--find", "stale=0", "--rate", "500", "--seconds", "1"];
    let find = [&run[..6], &one, &find].concat();
    let output = command(folder, &find).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    tell(&address, "delete customer:5\r\n");
    let good = load(folder, &run);
    assert_eq!(count(&good, "stale"), 0);
}

#[test]
fn rows_that_others_change_meanwhile_are_no_fault() {
    let cluster = cluster("rows-changed");
    let folder = cluster.directory();
    let scratch = Scratch::new("rows-memcached");
    let cache = memcached_or_skip("rows behind memcached", &scratch, free_ports(1)[0], &[]);
    let Some((_memcached, address)) = cache else { return };
    let address = address.to_string();
    let target = format!("memcached://{address}");
    let run = ["--target", &target, "--database", "cluster.toml", "--ttl", "60"];
    let run = [&run[..], &["--existing-rows", "--check"]].concat();
    let run = [&run[..], &["--popularity", "uniform", "--rate", "2000", "--seconds", "3"]].concat();
    let mut running = Child::spawn("load", command(folder, &run), folder);
    // The run has begun when it has filled the cache with this.
    wait_until(WITHIN, "a cached row", || cached(&address, "customer:9").is_some());
    cluster.set_row(b"customer:9", b"another customer");
    tell(&address, "delete customer:9\r\n");
    wait_until(WITHIN, "the new value in the cache", || {
        cached(&address, "customer:9").as_deref() == Some("another customer")
    });
    assert!(running.exit_status(Duration::from_secs(30)).success());
    let result = results(folder);
    assert!(count(&result, "changed") > 0, "{result}");
    assert_eq!((count(&result, "rows_changed"), count(&result, "stale")), (1, 0), "{result}");
}

#[test]
fn what_can_not_be_read_is_refused_with_what_to_do() {
    let cluster = cluster("rows-refused");
    let folder = cluster.directory();
    let file = |text: &str| std::fs::write(folder.join("keys.txt"), text).expect("a file");
    let refused = |more: &[&str], part: &str| {
        let run = ["--database", "cluster.toml", "--check", "--seconds", "1"];
        let output = command(folder, &[&run[..], more].concat()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{more:?}: {}", said(&output));
        assert!(said(&output).contains(part), "{more:?}: {}", said(&output));
    };
    refused(&["--row-query", "select id, value from items"], "returns 2 columns");
    refused(&["--row-query", "select id from itms"], "no such table: itms");
    refused(&["--row-query", "select id from items where id = ''"], "--row-query has no rows");
    refused(&["--row-query", "delete from items returning id"], "statement for keys");
    refused(&["--row-query", "select 'a' union all select 'a'"], "SELECT DISTINCT");
    refused(&["--row-query", "select 1.5"], "CAST(… AS text)");
    refused(&["--row-keys", "none.txt"], "none.txt");
    file("a\nb\na\n");
    refused(
        &["--row-keys", "keys.txt"],
        "line 3 of keys.txt has the key a, which was there before",
    );
    file(&format!("a\n{}\n", "k".repeat(2_000)));
    refused(&["--row-keys", "keys.txt"], "limits.key_bytes");
    file("a b\n");
    let target = ["--target", "memcached://127.0.0.1:1"];
    let lasting = [&target[..], &["--row-keys", "keys.txt"]].concat();
    refused(&lasting, "add --ttl");
    refused(&[&lasting[..], &["--ttl", "60"]].concat(), "no spaces");
    refused(&["--existing-rows", "--fill"], "--warm-up");
    assert_eq!(rows(&cluster).iter().flatten().count(), ROWS as usize, "all are there");
}

/// Runs statements, and returns the first column of the last one's rows as text.
fn query(url: &str, statements: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let connected = tokio_postgres::connect(url, tokio_postgres::NoTls).await;
        let (client, connection) = connected.expect("PostgreSQL");
        let moving = tokio::spawn(connection);
        let messages = client.simple_query(statements).await.expect("right statements");
        drop(client);
        let _ = moving.await;
        let rows = messages.iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        rows.collect()
    })
}

#[test]
fn keys_of_any_type_are_read_from_postgresql_behind_redis() {
    let Some(postgres) = Postgres::start_or_skip("rows-postgres") else { return };
    let scratch = Scratch::new("rows-redis");
    let cache = redis_or_skip("rows behind Redis", &scratch, free_ports(1)[0], &[]);
    let Some((_redis, address)) = cache else { return };
    let url = postgres.url();
    query(
        &url,
        "CREATE SEQUENCE ids; CREATE TABLE users (id uuid PRIMARY KEY, name text); \
         INSERT INTO users SELECT gen_random_uuid(), 'user ' || n FROM generate_series(1, 200) AS n; \
         CREATE TABLE numbers (n int PRIMARY KEY, v bigint); \
         INSERT INTO numbers SELECT n, n * n FROM generate_series(-100, 100) AS n; \
         CREATE TABLE blobs (k bytea PRIMARY KEY, v bytea); \
         INSERT INTO blobs SELECT decode(md5(n::text), 'hex'), decode(md5(n::text), 'hex') \
         FROM generate_series(1, 200) AS n",
    );
    let tables = [
        ("users", "SELECT name FROM users WHERE id = :key", ColumnType::Uuid, 200),
        ("numbers", "SELECT v FROM numbers WHERE n = :key", ColumnType::Integer, 201),
        ("blobs", "SELECT v FROM blobs WHERE k = :key LIMIT 1", ColumnType::Bytes, 200),
    ];
    let cluster = Cluster::with("rows-postgres", PAIR, |config| {
        config.origin = Some(OriginConfig::postgres(&url));
        let keyspaces = (1..).zip(tables).map(|(id, (name, get, key_type, _))| {
            let mut keyspace = standin_config::KeyspaceConfig::new(id, name, get);
            keyspace.key_type = key_type;
            keyspace
        });
        config.keyspaces = keyspaces.collect();
    });
    let changes = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables";
    wait_until(WITHIN, "the statistics of what was inserted", || query(&url, changes) == ["601"]);
    let target = format!("redis://{address}");
    for (name, _, _, rows) in tables {
        let run = ["--target", &target, "--database", "cluster.toml", "--keyspace", name];
        let more = ["--existing-rows", "--check", "--seconds", "1", "--popularity", "uniform"];
        let result = load(cluster.directory(), &[&run[..], &more, &["--ttl", "60"]].concat());
        assert_eq!(count(&result, "rows_read"), rows, "{name}: {result}");
        let checked = count(&result, "checked");
        assert!(checked > 500 && count(&result, "hits") > checked / 2, "{name}: {result}");
        assert_eq!(count(&result, "absent"), 0, "{name}: {result}");
    }
    // A query that would write, and one whose keys are of another type.
    let refused = |keyspace: &str, sql: &str, part: &str| {
        let run = ["--database", "cluster.toml", "--keyspace", keyspace, "--row-query", sql];
        let output = self::command(cluster.directory(), &run).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(part), "{sql}: {}", said(&output));
    };
    refused("users", "select nextval('ids')::text", "read-only transaction");
    refused("users", "select id from user", "PostgreSQL: ");
    refused("users", "select 'x'", "has the key x, which is not a UUID");
    refused("numbers", "select now()", "timestamptz");
    assert_eq!(query(&url, changes), ["601"], "nothing was written");
}

#[test]
fn agents_read_the_keys_of_their_own_files() {
    let cluster = cluster("rows-agents");
    let folder = cluster.directory();
    std::fs::write(folder.join("keys.txt"), "customer:1\ncustomer:2\ncustomer:3\n")
        .expect("a file");
    let agents: Vec<Child> = (0..2)
        .map(|number| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_standin"));
            command.args([
                "load",
                "--agent",
                "127.0.0.1:0",
                "--agent-insecure",
                "--agent-files",
                ".",
            ]);
            command.current_dir(folder);
            Child::spawn(&format!("agent{number}"), command, folder)
        })
        .collect();
    let address = |agent: &Child| {
        let line = agent.wait_for_line("agent listens at ", WITHIN);
        line.rsplit(' ').next().expect("an address").to_owned()
    };
    let addresses = agents.iter().map(address).collect::<Vec<_>>().join(",");
    let run = ["--agents", &addresses, "--agent-insecure", "--database", "cluster.toml"];
    let more = ["--row-keys", "keys.txt", "--check", "--seconds", "1", "--rate", "500"];
    let result = load(folder, &[&run[..], &more].concat());
    // Each agent judges all keys.
    assert_eq!((count(&result, "rows_read"), count(&result, "reads")), (6, 500), "{result}");
    assert_eq!(count(&result, "checked"), 500, "{result}");
}
