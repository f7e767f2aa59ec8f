//! Client libraries that others have written, pymemcache and redis-py, through a proxy: what frameworks'
//! caches do, and on through the death and the return of servers, without any retries of their own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use standin_protocol::map::ServerState::{Offline, Online};

use super::{Proxy, Wanted, start_cluster};

/// The variable that names a Python that has the libraries.
const PYTHON: &str = "STANDIN_PYTHON";
/// The variable that, set to 1, makes a test without the libraries fail instead of being skipped.
const REQUIRE: &str = "STANDIN_REQUIRE_CLIENTS";
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");

/// The Python with the libraries. Returns `None`, after a message, if there is none.
fn python(test: &str) -> Option<String> {
    let python = std::env::var(PYTHON).unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python).args(["-c", "import pymemcache, redis"]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    standin_testkit::skip(test, REQUIRE, &format!("{python} with pymemcache and redis-py"));
    None
}

#[test]
fn client_libraries_do_through_a_proxy_what_caches_do() {
    let Some(python) = python("client_libraries_do_through_a_proxy") else { return };
    let cluster = start_cluster("proxy_libraries");
    let wanted = Wanted { name: "redis", is_redis_on_tcp: true, ..Wanted::default() };
    let (first, second) =
        (Proxy::start(&cluster, Wanted::default()), Proxy::start(&cluster, wanted));
    for (script, arguments, wanted) in [
        ("memcached", ["operations", &first.memcached, ""], "all operations are right"),
        ("proxy", ["redis", &first.redis, "commands"], "all replies right"),
        ("proxy", ["redis", &second.redis, "commands"], "all replies right"),
    ] {
        let output = Command::new(&python)
            .arg(format!("{FOLDER}/{script}/client.py"))
            .args(arguments.iter().filter(|argument| !argument.is_empty()))
            .output()
            .expect("python runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains(wanted), "{script}: {said}\n{errors}");
    }
}

/// A running `client.py`.
struct Load {
    place: String,
    child: std::process::Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Load {
    fn start(python: &str, protocol: &str, place: &str) -> Self {
        let mut command = Command::new(python);
        command.arg(format!("{FOLDER}/proxy/client.py")).args([protocol, place]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python runs");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { place: format!("{protocol} {place}"), child, input, output }
    }

    /// Returns after a number of further reads.
    fn go_on(&mut self, what: &str) {
        writeln!(self.input, "{what}").expect("the script reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the script goes on");
        assert!(line.contains(what), "{}: {line}", self.place);
    }

    fn finish(self) {
        let Self { place, mut child, input, mut output } = self;
        drop(input);
        let mut said = String::new();
        output.read_to_string(&mut said).expect("what the script says");
        assert!(child.wait().expect("the script ends").success(), "{place}: {said}");
        assert!(said.contains("stale 0, failed 0"), "{place}: {said}");
        println!("{place}: {said}");
    }
}

/// Both protocols, on TCP and on Unix sockets: a request that is under way when a server dies is answered
/// a little later, and no client notices anything else.
#[test]
fn clients_without_retries_go_on_through_the_death_and_the_return_of_servers() {
    let Some(python) = python("clients_without_retries_go_on") else { return };
    let mut cluster = start_cluster("proxy_failover");
    let wanted = Wanted { name: "swapped", is_redis_on_tcp: true, ..Wanted::default() };
    let proxies = [Proxy::start(&cluster, Wanted::default()), Proxy::start(&cluster, wanted)];
    let mut loads: Vec<Load> = proxies
        .iter()
        .flat_map(|proxy| [("memcached", &proxy.memcached), ("redis", &proxy.redis)])
        .map(|(protocol, place)| Load::start(&python, protocol, place))
        .collect();
    let mut all_go_on = |what: &str| loads.iter_mut().for_each(|load| load.go_on(what));
    all_go_on("begun");
    for killed in ["a1", "b2"] {
        cluster.kill(killed);
        all_go_on("killed");
        cluster.wait_states(&[(killed, Offline)]);
        cluster.start_server(killed);
        all_go_on("started");
        cluster.wait_states(&[(killed, Online)]);
        all_go_on("online");
    }
    loads.into_iter().for_each(Load::finish);
}
