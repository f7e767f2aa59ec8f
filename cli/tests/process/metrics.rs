//! The metrics of all processes of a cluster through a kill and a return: what `promtool` and a real
//! Prometheus make of them, and that the numbers are those of the requests that a client has made.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use standin_client::blocking::Client;
use standin_config::{ClusterConfig, HttpConfig};
use standin_protocol::map::ServerState::{Offline, Online};
use standin_testkit::{Child, Prometheus, Scratch, free_ports, prometheus, skip, wait_until};

use crate::common::cluster::PROGRAM;
use crate::common::metrics::{Metrics, OPENMETRICS, wait_metrics};
use crate::common::{Cluster, KEYSPACE, Load, PAIR, WITHIN};

const MONITORING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/monitoring");

/// Gives the master and each server a port for metrics.
fn with_metrics(config: &mut ClusterConfig) {
    let ports = free_ports(config.servers.len() + 1).into_iter();
    let port = |port| HttpConfig { address: ([127, 0, 0, 1], port).into(), passwords: None };
    let mut ports = ports.map(port);
    config.master.metrics = ports.next();
    config.servers.iter_mut().for_each(|server| server.metrics = ports.next());
}

fn master(cluster: &Cluster) -> SocketAddr {
    cluster.config.master.metrics.as_ref().expect("it has a port").address
}

fn server(cluster: &Cluster, name: &str) -> SocketAddr {
    let id = usize::from(cluster.id(name));
    cluster.config.servers[id].metrics.as_ref().expect("it has a port").address
}

/// A proxy in front of the cluster, with a port for metrics.
struct Proxy {
    metrics: SocketAddr,
    memcached: SocketAddr,
    _process: Child,
    _scratch: Scratch,
}

impl Proxy {
    fn start(cluster: &Cluster) -> Self {
        let scratch = Scratch::new("metrics-proxy");
        let ports = free_ports(2);
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (metrics, memcached) = (address(ports[0]), address(ports[1]));
        let servers: Vec<String> =
            ["a1", "a2"].iter().map(|name| format!("\"{}\"", cluster.address(name))).collect();
        let file = scratch.file("proxy.toml");
        let text = format!(
            "[proxy]\nservers = [{}]\nmemcached = \"{memcached}\"\nmetrics = \"{metrics}\"\n\
             default_keyspace = \"items\"\n[[keyspace]]\nid = {KEYSPACE}\nname = \"items\"\n",
            servers.join(", ")
        );
        std::fs::write(&file, text).expect("the folder is ours");
        let mut command = Command::new(PROGRAM);
        command.arg("proxy").arg("--config").arg(file).env("RUST_LOG", "info");
        let process = Child::spawn("proxy", command, scratch.path());
        process.wait_for_line("is ready", WITHIN);
        Self { metrics, memcached, _process: process, _scratch: scratch }
    }

    /// Asks by memcached's protocol.
    fn ask(&self, request: &str, end: &str) -> String {
        let mut stream = std::net::TcpStream::connect(self.memcached).expect("it listens");
        stream.set_read_timeout(Some(WITHIN)).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("it reads");
        let (mut reply, mut bytes) = (Vec::new(), [0; 4_096]);
        while !reply.ends_with(end.as_bytes()) {
            let count = std::io::Read::read(&mut stream, &mut bytes).expect("it answers");
            assert!(count > 0, "{reply:?}");
            reply.extend_from_slice(&bytes[..count]);
        }
        String::from_utf8(reply).expect("text")
    }
}

/// What a client has done: the number of each operation with each outcome.
#[derive(Default)]
struct Done(BTreeMap<(&'static str, &'static str), u32>);

impl Done {
    fn note(&mut self, operation: &'static str, status: &'static str) {
        *self.0.entry((operation, status)).or_default() += 1;
    }

    /// Writes, reads from the cache and from the database, and deletes some keys.
    fn use_keys(&mut self, client: &mut Client, keys: &[Vec<u8>]) {
        for key in keys {
            client.put(KEYSPACE, key, b"value".to_vec(), 0).expect("a write");
            self.note("put", "ok");
            for _ in 0..3 {
                assert!(client.get(KEYSPACE, key).expect("a read").is_some());
                self.note("get", "ok");
            }
            client.delete(KEYSPACE, key).expect("a write");
            self.note("delete", "ok");
            assert!(client.get(KEYSPACE, key).expect("a read").is_none());
            self.note("get", "not_found");
        }
    }

    /// Whether servers that have published this have answered exactly that.
    fn is_in(&self, published: &[&Metrics]) -> bool {
        let answers = |labels: &[(&str, &str)]| -> f64 {
            published.iter().map(|metrics| metrics.sum("standin_answers_total", labels)).sum()
        };
        let are_counted = self.0.iter().all(|((operation, status), count)| {
            let labels = [("operation", *operation), ("keyspace", "items"), ("status", *status)];
            answers(&labels) == f64::from(*count)
        });
        let all: u32 = self.0.values().sum();
        are_counted && answers(&[("keyspace", "items")]) == f64::from(all)
    }

    fn of(&self, operation: &str) -> f64 {
        let of = self.0.iter().filter(|((other, _), _)| *other == operation);
        of.map(|(_, count)| f64::from(*count)).sum()
    }
}

/// The tools of Prometheus, if the machine has them.
fn has_prometheus(test: &str) -> bool {
    let found = Prometheus::available();
    if let Err(missing) = found {
        skip(test, "STANDIN_REQUIRE_PROMETHEUS", missing);
    }
    found.is_ok()
}

#[track_caller]
fn promtool(arguments: &[&str], directory: &Path, input: &str) {
    if let Err(said) = prometheus::promtool(arguments, directory, input) {
        panic!("{arguments:?}: {said}\n{input}");
    }
}

/// Scrapes a process in both formats. `promtool` finds nothing wrong with the names and texts.
fn check_format(address: SocketAddr, is_checkable: bool) {
    let text = Metrics::scrape(address, "").expect("it answers");
    let openmetrics = Metrics::scrape(address, OPENMETRICS).expect("it answers");
    assert!(openmetrics.text.ends_with("\n# EOF\n"), "{}", openmetrics.text);
    let names = |metrics: &Metrics| -> Vec<String> {
        let lines = metrics.text.lines().filter(|line| line.starts_with("# HELP "));
        let names = lines.map(|line| line.split(' ').nth(2).expect("a name"));
        names.map(|name| name.trim_end_matches("_total").to_owned()).collect()
    };
    assert_eq!(names(&text), names(&openmetrics));
    if is_checkable {
        promtool(&["check", "metrics"], Path::new("."), &text.text);
    }
}

#[test]
fn the_metrics_of_all_processes_are_what_a_client_has_done_through_a_kill_and_a_return() {
    let is_checkable = has_prometheus("metrics of all processes");
    let mut cluster = Cluster::with("metrics", PAIR, with_metrics);
    cluster.start();
    let proxy = Proxy::start(&cluster);
    let (master, a1, a2) = (master(&cluster), server(&cluster, "a1"), server(&cluster, "a2"));
    let keys: Vec<Vec<u8>> =
        cluster.keys_of("a1").take(5).chain(cluster.keys_of("a2").take(5)).collect();
    let mut client = cluster.client();
    let mut done = Done::default();

    done.use_keys(&mut client, &keys);
    // A client that routes by itself: nothing is forwarded.
    let mut of_a1 = Metrics::default();
    wait_metrics(a2, "the counts of the client", |of_a2| {
        of_a1 = Metrics::scrape(a1, "").expect("it answers");
        done.is_in(&[&of_a1, of_a2])
    });
    let of_a2 = Metrics::scrape(a2, "").expect("it answers");
    for (operation, kind) in [("put", "write"), ("delete", "write")] {
        let labels = [("operation", operation), ("kind", kind)];
        let sum =
            |metrics: &Metrics| metrics.sum("standin_request_duration_seconds_count", &labels);
        assert_eq!(sum(&of_a1) + sum(&of_a2), done.of(operation));
    }
    let of_reads = [("operation", "get")];
    let reads =
        |metrics: &Metrics| metrics.sum("standin_request_duration_seconds_count", &of_reads);
    assert_eq!(reads(&of_a1) + reads(&of_a2), done.of("get"));
    let hits = |metrics: &Metrics| metrics.sum("standin_keyspace_hits_total", &[]);
    let misses = [("operation", "get"), ("kind", "miss")];
    let missed = |metrics: &Metrics| metrics.sum("standin_request_duration_seconds_count", &misses);
    let total = hits(&of_a1) + hits(&of_a2) + missed(&of_a1) + missed(&of_a2);
    assert_eq!(total, done.of("get"), "each read is a hit or not");
    assert!(hits(&of_a1) >= 10.0 && missed(&of_a1) >= 5.0, "{}", of_a1.text);
    assert_eq!(of_a1.sum("standin_origin_up", &[]), 1.0);
    assert_eq!(of_a1.sum("standin_is_leased", &[]), 1.0);
    let of_cluster = ("cluster", "metrics");
    assert_eq!(of_a1.sum("standin_server_info", &[("server", "a1"), of_cluster]), 1.0);
    let calls = of_a1.sum("standin_origin_call_duration_seconds_count", &[("calls", "write")]);
    assert_eq!(calls, of_a1.sum("standin_origin_writes_total", &[]));
    for name in ["a1", "a2"] {
        let labels = [("server", name), ("state", "online")];
        let of_master = Metrics::scrape(master, "").expect("it answers");
        assert_eq!(of_master.sum("standin_master_server_state", &labels), 1.0, "{name}");
        assert_eq!(of_master.sum("standin_master_info", &[of_cluster]), 1.0);
    }

    // The proxy counts what comes to it, and the servers what comes from it.
    assert_eq!(proxy.ask("set proxied 0 0 1\r\nx\r\n", "STORED\r\n"), "STORED\r\n");
    for _ in 0..2 {
        let reply = proxy.ask("get proxied\r\n", "END\r\n");
        assert_eq!(reply, "VALUE proxied 0 1\r\nx\r\nEND\r\n");
    }
    wait_metrics(proxy.metrics, "the proxy's counts", |metrics| {
        let answers = |operation| {
            let labels = [("operation", operation), ("keyspace", "items"), ("status", "ok")];
            metrics.sum("standin_proxy_answers_total", &labels)
        };
        answers("get") == 2.0 && answers("put") + answers("modify") == 1.0
    });
    let of_proxy = Metrics::scrape(proxy.metrics, "").expect("it answers");
    assert_eq!(of_proxy.sum("standin_proxy_info", &[of_cluster]), 1.0);
    for (operation, count) in [("put", 1), ("get", 2)] {
        (0..count).for_each(|_| done.note(operation, "ok"));
    }
    for address in [master, a1, a2, proxy.metrics] {
        check_format(address, is_checkable);
    }

    let before = wait_metrics(a1, "the last counts of a1", |metrics| {
        of_a1 = metrics.clone();
        let of_a2 = Metrics::scrape(a2, "").expect("it answers");
        done.is_in(&[metrics, &of_a2])
    });
    cluster.kill("a1");
    cluster.wait_states(&[("a1", Offline), ("a2", Online)]);
    assert!(Metrics::scrape(a1, "").is_none());
    done.use_keys(&mut client, &keys);
    let of_stand_in =
        wait_metrics(a2, "the counts of the stand-in", |metrics| done.is_in(&[&before, metrics]));
    assert!(of_stand_in.sum("standin_stand_in_requests_total", &[]) > 0.0, "{}", of_stand_in.text);
    let of_master = Metrics::scrape(master, "").expect("it answers");
    let labels = [("server", "a1"), ("state", "offline")];
    assert_eq!(of_master.sum("standin_master_server_state", &labels), 1.0);
    assert_eq!(of_master.sum("standin_master_verdicts_offline_total", &[]), 1.0);
    assert_eq!(of_master.sum("standin_master_servers_out", &[]), 1.0);
    assert!(of_master.sum("standin_master_probes_failed_total", &[]) > 0.0);
    for address in [master, a2, proxy.metrics] {
        check_format(address, is_checkable);
    }

    cluster.start_server("a1");
    cluster.wait_all(Online);
    // A new process counts from zero, and so does its age.
    let returned = Metrics::scrape(a1, "").expect("it answers");
    assert_eq!(returned.sum("standin_answers_total", &[("keyspace", "items")]), 0.0);
    let start = |metrics: &Metrics| metrics.sum("process_start_time_seconds", &[]);
    assert!(start(&returned) > start(&before));
    let mut client = cluster.client();
    done.use_keys(&mut client, &keys);
    wait_metrics(a1, "the counts after the return", |metrics| {
        let of_a2 = Metrics::scrape(a2, "").expect("it answers");
        done.is_in(&[&before, metrics, &of_a2])
    });
    let of_master = Metrics::scrape(master, "").expect("it answers");
    assert_eq!(of_master.sum("standin_master_returns_total", &[]), 1.0);
    for address in [master, a1, a2, proxy.metrics] {
        check_format(address, is_checkable);
    }
}

#[test]
fn the_alerts_are_rules_that_fire_for_what_they_are_for() {
    if !has_prometheus("alerts") {
        return;
    }
    promtool(&["check", "rules", "alerts.yml"], Path::new(MONITORING), "");
    promtool(&["test", "rules", "alerts_test.yml"], Path::new(MONITORING), "");
}

/// The queries of all panels of the dashboard for Grafana, with its variables as they are chosen first.
fn queries_of_the_dashboard() -> Vec<String> {
    let dashboard =
        std::fs::read_to_string(format!("{MONITORING}/dashboard.json")).expect("it is there");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries = targets.map(|target| target["expr"].as_str().expect("a query"));
    queries.map(|query| query.replace("$job", "standin").replace("$instance", ".*")).collect()
}

#[test]
fn the_queries_of_the_dashboard_are_queries() {
    if !has_prometheus("dashboard") {
        return;
    }
    let rule = |(number, query): (usize, String)| {
        format!("    - {{record: 'q{number}', expr: '{}'}}\n", query.replace('\'', "''"))
    };
    let rules: Vec<String> = queries_of_the_dashboard().into_iter().enumerate().map(rule).collect();
    assert!(rules.len() > 30, "{rules:?}");
    let scratch = Scratch::new("dashboard");
    let text = format!("groups:\n- name: dashboard\n  rules:\n{}", rules.concat());
    std::fs::write(scratch.file("rules.yml"), text).expect("the folder is ours");
    promtool(&["check", "rules", "rules.yml"], scratch.path(), "");
}

#[test]
fn a_real_prometheus_reads_all_processes_draws_all_panels_and_reports_a_killed_server() {
    if !has_prometheus("a real Prometheus") {
        return;
    }
    let mut cluster = Cluster::with("prometheus", PAIR, with_metrics);
    cluster.start();
    let (master, a1, a2) = (master(&cluster), server(&cluster, "a1"), server(&cluster, "a2"));
    let rules = Path::new(MONITORING).join("alerts.yml");
    let proxy = Proxy::start(&cluster);
    let prometheus = Prometheus::start(&[master, a1, a2, proxy.metrics], &rules);
    // It asks for OpenMetrics, and takes nothing of what it can't read.
    wait_until(WITHIN, "all targets to be up", || prometheus.reads_all(4));
    let leased = || prometheus.query("standin_is_leased == 1").map(|series| series.len());
    wait_until(WITHIN, "the figures of both servers", || leased() == Some(2));
    let load = Load::start(&cluster, 1);
    let mut absent = 0..;
    for query in queries_of_the_dashboard() {
        // One panel shows servers only while they have not acknowledged a map.
        let query = query.trim_end_matches(" > 0");
        let draws = |series: &Value| series["value"][1].as_str().is_some_and(|it| it != "NaN");
        let has_data = || {
            proxy.ask("set proxied 0 0 1\r\nx\r\n", "STORED\r\n");
            proxy.ask("add proxied 0 0 1\r\nx\r\n", "NOT_STORED\r\n");
            let absent = absent.next().unwrap_or(0);
            proxy.ask(&format!("get absent-{absent}\r\n"), "END\r\n");
            let found = prometheus.query(query).unwrap_or_default();
            found.iter().any(draws)
        };
        wait_until(WITHIN, &format!("data for {query}"), has_data);
    }
    assert_eq!(load.finish().failures, Vec::<String>::new());
    cluster.kill("a1");
    for name in ["StandinServerOut", "StandinProcessDown"] {
        wait_until(WITHIN, name, || {
            let firing = prometheus.firing().unwrap_or_default();
            firing.iter().any(|alert| alert["labels"]["alertname"] == name)
        });
    }
}
