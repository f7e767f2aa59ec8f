//! Client libraries that others have written, pymemcache and redis-py, through a proxy: what frameworks'
//! caches do, and on through the death and the return of servers, without any retries of their own.

use super::common::scripts::{Python, Scripts};
use super::{Proxy, Wanted, start_cluster};

const SCRIPT: &str = "proxy/client.py";
const MODULES: &[&str] = &["pymemcache", "redis"];

#[test]
fn client_libraries_do_through_a_proxy_what_caches_do() {
    let test = "client_libraries_do_through_a_proxy";
    let Some(python) = Python::with(test, MODULES) else { return };
    let cluster = start_cluster("proxy_libraries");
    let wanted = Wanted { name: "redis", is_redis_on_tcp: true, ..Wanted::default() };
    let (first, second) =
        (Proxy::start(&cluster, Wanted::default()), Proxy::start(&cluster, wanted));
    let operations = ["operations", &first.memcached];
    python.check("memcached/client.py", &operations, "all operations are right");
    for proxy in [&first, &second] {
        python.check(SCRIPT, &["redis", &proxy.redis, "commands"], "all replies right");
    }
}

/// Both protocols, on TCP and on Unix sockets: a request that is under way when a server dies is answered
/// a little later, and no client notices anything else.
#[test]
fn clients_without_retries_go_on_through_the_death_and_the_return_of_servers() {
    let Some(python) = Python::with("clients_without_retries_go_on", MODULES) else { return };
    let mut cluster = start_cluster("proxy_failover");
    let wanted = Wanted { name: "swapped", is_redis_on_tcp: true, ..Wanted::default() };
    let proxies = [Proxy::start(&cluster, Wanted::default()), Proxy::start(&cluster, wanted)];
    let places = proxies
        .iter()
        .flat_map(|proxy| [("memcached", &proxy.memcached), ("redis", &proxy.redis)])
        .map(|(protocol, place)| python.start(SCRIPT, &[protocol, place]));
    let mut scripts = Scripts(places.collect());
    scripts.through_kills(&mut cluster, &["a1", "b2"]);
    scripts.finish();
}
