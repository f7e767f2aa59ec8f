//! Walks through the keys that the cluster has cached, at a proxy.

use standin_protocol::map::ServerState;
use standin_testkit::wait_until;

use super::common::{Caller, WITHIN};
use super::{Proxy, Wanted, start_cluster};

fn names(prefix: &str) -> Vec<String> {
    (0..1_000).map(|number| format!("{prefix}{number}")).collect()
}

fn keys(redis: &mut Caller, pattern: &str) -> Vec<String> {
    redis.send(format!("KEYS {pattern}\r\nPING\r\n"));
    let said = redis.until("+PONG\r\n");
    assert!(said.starts_with('*'), "{said}");
    let mut names: Vec<String> = said.split("\r\n").skip(2).step_by(2).map(str::to_owned).collect();
    names.retain(|name| !name.is_empty());
    names.sort();
    names
}

fn scan(redis: &mut Caller) -> Vec<String> {
    let (mut cursor, mut names) = ("0".to_owned(), Vec::new());
    loop {
        redis.send(format!("SCAN {cursor} COUNT 100\r\nPING\r\n"));
        let said = redis.until("+PONG\r\n");
        let mut lines = said.split("\r\n").skip(2);
        cursor = lines.next().expect("a cursor").to_owned();
        names.extend(lines.skip(2).step_by(2).map(str::to_owned).filter(|name| !name.is_empty()));
        if cursor == "0" {
            names.sort();
            return names;
        }
    }
}

#[test]
fn a_proxy_finds_the_keys_of_the_whole_cluster() {
    let mut cluster = start_cluster("proxy_walks");
    let proxy = Proxy::start(&cluster, Wanted { is_redis_on_tcp: true, ..Wanted::default() });
    let mut redis = proxy.redis();
    redis.ask("DBSIZE\r\nRANDOMKEY\r\nKEYS *\r\n", ":0\r\n$-1\r\n*0\r\n");
    let mut all: Vec<String> = [names("k"), names("items:i")].concat();
    for name in &all {
        redis.ask(&format!("SET {name} 1\r\n"), "+OK\r\n");
    }
    all.sort();
    for mut redis in [proxy.redis(), proxy.redis()] {
        redis.ask("DBSIZE\r\n", ":2000\r\n");
        assert_eq!(keys(&mut redis, "*"), all);
        assert_eq!(scan(&mut redis), all);
        // The servers know the keys without a keyspace by other names: they have no default one.
        for begin in ["items:i9", "k9"] {
            let begins = |name: &&String| name.starts_with(begin);
            let wanted: Vec<String> = all.iter().filter(begins).cloned().collect();
            assert_eq!(keys(&mut redis, &format!("{begin}*")), wanted);
        }
        redis.send("RANDOMKEY\r\nPING\r\n");
        let said = redis.until("+PONG\r\n");
        assert!(all.iter().any(|name| said.contains(&format!("\r\n{name}\r\n"))), "{said}");
        redis.ask("SCAN x\r\n", "-ERR invalid cursor\r\n");
        redis.ask("CLUSTER SLOTS\r\n", "-ERR This instance has cluster support disabled\r\n");
        redis.ask(
            "CLUSTER COUNTKEYSINSLOT 1\r\n",
            "-ERR This instance has cluster support disabled\r\n",
        );
    }
    // A proxy that nobody has asked for anything since learns by a walk that a server is offline.
    cluster.kill("b1");
    cluster.wait_states(&[("b1", ServerState::Offline)]);
    let rest: Vec<String> = all
        .iter()
        .filter(|name| {
            let (keyspace, key) = match name.strip_prefix("items:") {
                Some(key) => (super::KEYSPACE, key),
                None => (super::CACHE, name.as_str()),
            };
            let partition = cluster.topology.partition(keyspace, key.as_bytes());
            cluster.topology.home(partition) != cluster.id("b1")
        })
        .cloned()
        .collect();
    assert!(rest.len() < 1_900);
    let mut answers = 0;
    wait_until(WITHIN, "the keys of the servers that are left", || {
        redis.send("DBSIZE\r\nPING\r\n");
        let said = redis.until("+PONG\r\n");
        let is_error = said.starts_with("-CLUSTERDOWN a server that may have keys does not answer");
        assert!(is_error || said.starts_with(&format!(":{}\r\n", rest.len())), "{said}");
        answers += u32::from(!is_error);
        answers > 0
    });
    assert_eq!(keys(&mut redis, "*"), rest);
    assert_eq!(scan(&mut redis), rest);
}
