//! redis-py, the usual client of Python, against a cluster: what frameworks' caches do, in both
//! versions of the protocol, and on through the kill and the return of a server.

use crate::common::scripts::{Python, Scripts};
use crate::start;

const SCRIPT: &str = "redis/client.py";

#[test]
fn redis_py_does_what_caches_do() {
    let Some(python) = Python::with("redis_py_does_what_caches_do", &["redis"]) else { return };
    let cluster = start("redis_py");
    let [open, guarded] = ["a1", "b2"].map(|server| cluster.service(server).to_string());
    for version in ["2", "3"] {
        python.check(SCRIPT, &[&open, "commands", version], "all replies right");
        python.check(SCRIPT, &[&guarded, "passwords", version], "only with a password");
    }
}

#[test]
fn redis_py_goes_on_through_the_kill_and_return_of_a_server_without_a_stale_read() {
    let test = "redis_py_goes_on_through_the_kill_and_return_of_a_server";
    let Some(python) = Python::with(test, &["redis"]) else { return };
    let mut cluster = start("redis_py_failover");
    let place = cluster.service("b1").to_string();
    let mut scripts = Scripts(vec![python.start(SCRIPT, &[&place, "failover", "3"])]);
    scripts.through_kills(&mut cluster, &["a1", "a2"]);
    scripts.finish();
}
