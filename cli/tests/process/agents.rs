//! `standin load --agent` and `--agents` as processes: two agents in networks of their own, one with another clock, are
//! one load; and an agent that is killed ends the run.

use std::collections::HashMap;
use std::ffi::CString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use standin_protocol::time::Micros;
use standin_testkit::{Child, Scratch, network, skip, wait_until};

use crate::common::WITHIN;

/// Requests of both agents together, and the time of a run.
const RATE: u32 = 400;
const SECONDS: u32 = 3;
/// The time by which the second agent's clock is ahead.
const AHEAD: Duration = Duration::from_millis(50);
/// The answers of the fake cache take this long in the first half of a run, and this long in the second.
const DELAYS: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(60)];

/// A memcached that has nothing, and answers with a delay. It notes when requests arrived, and from whom.
struct Slow {
    port: u16,
    arrivals: Arc<Mutex<HashMap<IpAddr, Vec<Micros>>>>,
}

impl Slow {
    fn start() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let arrivals: Arc<Mutex<HashMap<IpAddr, Vec<Micros>>>> = Arc::default();
        let noted = Arc::clone(&arrivals);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let noted = Arc::clone(&noted);
                std::thread::spawn(move || serve(stream, &noted));
            }
        });
        Self { port, arrivals }
    }

    /// Forgets the run before.
    fn take(&self) -> HashMap<IpAddr, Vec<Micros>> {
        std::mem::take(&mut *self.arrivals.lock().expect("no thread panics"))
    }
}

/// The order of answers is that of requests, and a delay never gets shorter within a run.
fn serve(stream: TcpStream, arrivals: &Mutex<HashMap<IpAddr, Vec<Micros>>>) {
    let peer = stream.peer_addr().expect("it is connected").ip();
    let _ = stream.set_nodelay(true);
    let mut output = stream.try_clone().expect("a second handle");
    let (queue, answers) = channel::<Micros>();
    std::thread::spawn(move || {
        for due in answers {
            loop {
                let left = due.since(Micros::boottime());
                if left.is_zero() {
                    break;
                }
                std::thread::park_timeout(left);
            }
            if output.write_all(b"END\r\n").is_err() {
                return;
            }
        }
    });
    let mut first = None;
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let now = Micros::boottime();
        if !line.starts_with("get ") {
            let _ = queue.send(now);
            continue;
        }
        arrivals.lock().expect("no thread panics").entry(peer).or_default().push(now);
        let begin = *first.get_or_insert(now);
        let half = Duration::from_secs(SECONDS.into()) / 2;
        let delay = if now.since(begin) < half { DELAYS[0] } else { DELAYS[1] };
        let _ = queue.send(now + delay);
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("iproute2");
    assert!(
        output.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Has the command run in a time namespace in which `CLOCK_BOOTTIME` is ahead. Since Linux 6.3, a process enters its
/// new namespace when it executes a program.
fn with_boottime_ahead(command: &mut Command, ahead: Duration) {
    let path = CString::new("/proc/self/timens_offsets").expect("no zero byte");
    let text = format!("boottime {} {}\n", ahead.as_secs(), ahead.subsec_nanos());
    let failed = || Err(std::io::Error::last_os_error());
    // SAFETY: between fork and exec only system calls that are async-signal-safe, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            if libc::unshare(libc::CLONE_NEWTIME) != 0 {
                return failed();
            }
            let file = libc::open(path.as_ptr(), libc::O_WRONLY);
            if file < 0 {
                return failed();
            }
            let written = libc::write(file, text.as_ptr().cast(), text.len());
            libc::close(file);
            if usize::try_from(written) == Ok(text.len()) { Ok(()) } else { failed() }
        });
    }
}

/// Whether a process enters a time namespace when it executes a program.
fn has_time_namespaces() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let numbers: Vec<u32> = release.split('.').map_while(|part| part.parse().ok()).collect();
    numbers >= vec![6, 3]
}

fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standin"));
    command.args(["load", "--agent"]).args(arguments);
    command
}

fn load(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standin"));
    command.arg("load").args(arguments).output().expect("the program can be run")
}

/// Starts an agent in a network of its own, which is connected with that of the test.
fn agent_in_network(
    number: u32,
    secret: &str,
    scratch: &Scratch,
    ahead: Option<Duration>,
) -> (Child, SocketAddr) {
    let (here, there) = (format!("here{number}"), format!("there{number}"));
    let (ours, theirs) = (format!("10.99.{number}.1"), format!("10.99.{number}.2"));
    let address: SocketAddr = format!("{theirs}:7300").parse().expect("an address");
    // The shell waits until the test has moved the interface, and then becomes the agent.
    let script = format!(
        "until ip link show {there} >/dev/null 2>&1; do :; done; ip link set lo up; ip addr add {theirs}/24 dev {there}; \
         ip link set {there} up; ip route add default via {ours}; exec \"$@\""
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_standin"), "load"]);
    command.args(["--agent", &address.to_string(), "--agent-secret", secret]);
    if let Some(ahead) = ahead {
        with_boottime_ahead(&mut command, ahead);
    }
    let agent = Child::spawn(&format!("agent{number}"), command, scratch.path());
    wait_for_network(agent.pid());
    ip(&["link", "add", &here, "type", "veth", "peer", "name", &there]);
    ip(&["addr", "add", &format!("{ours}/24"), "dev", &here]);
    ip(&["link", "set", &here, "up"]);
    ip(&["link", "set", &there, "netns", &agent.pid().to_string()]);
    agent.wait_for_line("agent listens", WITHIN);
    (agent, address)
}

/// Waits until a process has entered another network.
fn wait_for_network(pid: u32) {
    let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net"));
    let own = network("self").expect("our network");
    wait_until(WITHIN, "a process in a network of its own", || {
        network(&pid.to_string()).is_ok_and(|other| other != own)
    });
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("the result");
    serde_json::from_str(&text).expect("JSON")
}

/// The start of a schedule of this rate, from the arrivals of its requests: no request arrives before it is due, so the
/// one that was delayed least tells it.
fn start_of(arrivals: &[Micros], per_s: f64) -> Micros {
    let mut sorted = arrivals.to_vec();
    sorted.sort();
    let since = |number: usize| Duration::from_secs_f64(number as f64 / per_s);
    let starts = sorted.iter().enumerate().map(|(number, at)| *at - since(number));
    starts.min().expect("there are requests")
}

#[test]
fn two_agents_in_two_networks_with_clocks_apart_are_one_load() {
    let test = "agents::two_agents_in_two_networks_with_clocks_apart_are_one_load";
    if !has_time_namespaces() {
        return skip(test, network::REQUIRE, "time namespaces at exec: Linux 6.3 or newer");
    }
    if !network::of_its_own(test) {
        return;
    }
    let scratch = Scratch::new("agents");
    ip(&["link", "set", "lo", "up"]);
    ip(&["addr", "add", "10.99.0.1/32", "dev", "lo"]);
    let slow = Slow::start();
    let secret = scratch.file("secret");
    std::fs::write(&secret, "a secret of two agents\n").expect("a file");
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&secret, permissions).expect("its mode");
    let secret = secret.to_str().expect("UTF-8").to_owned();
    let (_first, one) = agent_in_network(1, &secret, &scratch, None);
    let (_second, two) = agent_in_network(2, &secret, &scratch, Some(AHEAD));

    let target = format!("memcached://10.99.0.1:{}", slow.port);
    let (json, alone) = (scratch.file("both.json"), scratch.file("alone.json"));
    let rate = RATE.to_string();
    let seconds = SECONDS.to_string();
    let common = ["--target", &target, "--rate", &rate, "--seconds", &seconds, "--reads", "100"];
    let agents = format!("{one},{two}");
    let shared = ["--workers", "1", "--agents", &agents, "--agent-secret", &secret, "--json"];
    let output = load(&[&common[..], &shared, &[json.to_str().expect("UTF-8")]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let arrivals = slow.take();
    let output = load(
        &[&common[..], &["--workers", "2", "--json", alone.to_str().expect("UTF-8")]].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (both, alone) = (read(&json), read(&alone));

    // Together they send what one machine sends, to the request.
    let requests = |run: &Value| run["total"]["requests"].as_u64().expect("a number");
    assert_eq!(requests(&both), u64::from(RATE * SECONDS));
    assert_eq!(requests(&both), requests(&alone));
    assert_eq!(arrivals.len(), 2, "from both: {:?}", arrivals.keys());
    for from in arrivals.values() {
        assert_eq!(from.len() as u64, requests(&both) / 2, "each sends its half");
    }
    // The clocks are known to half a round trip.
    let clock = |part: usize, name: &str| both["parts"][part]["clock"][name].as_i64().expect(name);
    let apart = clock(1, "boottime_us") - clock(0, "boottime_us");
    let known = (clock(0, "round_trip_us") + clock(1, "round_trip_us")) / 2 + 2;
    assert!(
        (apart - 50_000).abs() <= known,
        "{apart} µs apart, known to {known}: {:#}",
        both["parts"]
    );
    // The schedules begin at the same moment, although the clocks differ by 50 ms.
    let starts: Vec<Micros> =
        arrivals.values().map(|from| start_of(from, f64::from(RATE) / 2.0)).collect();
    let apart = starts[0].max(starts[1]).since(starts[0].min(starts[1]));
    // One begins half a distance after the other.
    assert!(apart < Duration::from_millis(15), "the agents begin {apart:?} apart");
    // The latencies are those of one machine, within what a busy machine adds.
    let percentile = |run: &Value, wanted: f64| {
        let points = run["percentiles"].as_array().expect("a curve");
        let point = points.iter().rfind(|point| point["quantile"].as_f64() <= Some(wanted));
        point.expect("a point")["us"].as_f64().expect("a number")
    };
    for (quantile, delay) in [(0.25, DELAYS[0]), (0.75, DELAYS[1])] {
        let (both, alone) = (percentile(&both, quantile), percentile(&alone, quantile));
        let delay_us = delay.as_secs_f64() * 1e6;
        assert!(both >= delay_us && alone >= delay_us, "{quantile}: {both} {alone}");
        assert!((both / alone - 1.0).abs() < 0.2, "{quantile}: {both} µs, and {alone} µs alone");
    }
}

#[test]
fn an_agent_that_is_killed_ends_the_run_clearly() {
    let scratch = Scratch::new("agents-killed");
    let slow = Slow::start();
    let mut agents: Vec<Child> = (0..2)
        .map(|number| {
            Child::spawn(
                &format!("agent{number}"),
                agent(&["127.0.0.1:0", "--agent-insecure"]),
                scratch.path(),
            )
        })
        .collect();
    let addresses: Vec<String> = agents
        .iter()
        .map(|agent| {
            let line = agent.wait_for_line("agent listens at ", WITHIN);
            line.rsplit(' ').next().expect("an address").to_owned()
        })
        .collect();
    let target = format!("memcached://127.0.0.1:{}", slow.port);
    let names = addresses.join(",");
    let running = std::thread::spawn(move || {
        load(&[
            "--target",
            &target,
            "--rate",
            "100",
            "--seconds",
            "600",
            "--agents",
            &names,
            "--agent-insecure",
        ])
    });
    agents[0].wait_for_line("begins", WITHIN);
    agents[1].wait_for_line("begins", WITHIN);
    agents[1].kill();
    let output = running.join().expect("it ends");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("agent {}", addresses[1])), "{said}");
    agents[0].wait_for_line("has ended", WITHIN);
    let again = format!("memcached://127.0.0.1:{}", slow.port);
    let output = load(&[
        "--target",
        &again,
        "--rate",
        "50",
        "--seconds",
        "1",
        "--reads",
        "100",
        "--agents",
        &addresses[0],
        "--agent-insecure",
    ]);
    assert_eq!(output.status.code(), Some(0), "the other one takes the next run: {output:?}");
}

#[test]
fn an_agent_reads_no_file_outside_its_folder_and_takes_only_so_much() {
    let scratch = Scratch::new("agents-files");
    std::fs::create_dir(scratch.file("files")).expect("a folder");
    let folder = scratch.file("files");
    let arguments = ["127.0.0.1:0", "--agent-insecure", "--agent-files"];
    let mut command = agent(&arguments);
    command.arg(&folder);
    let agent = Child::spawn("agent", command, scratch.path());
    let line = agent.wait_for_line("agent listens at ", WITHIN);
    let address = line.rsplit(' ').next().expect("an address");
    let cache = "memcached://127.0.0.1:1";
    for (arguments, wanted) in [
        (
            &["--target", cache, "--trace", "/etc/hostname", "--format", "twitter"][..],
            "--agent-files",
        ),
        (&["--target", cache, "--closed", "10000x65536"], "requests under way"),
        (&["--target", cache, "--keys", "4000000000"], "100000000 keys"),
    ] {
        let output = load(&[arguments, &["--agents", address, "--agent-insecure"]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(wanted), "{arguments:?}: {said}");
    }
}

#[test]
fn options_that_need_one_machine_or_a_secret_are_refused() {
    for (arguments, wanted) in [
        (&["--agent", "0.0.0.0:0"][..], "--agent-insecure"),
        (&["--agents", "127.0.0.1:1", "--target-pid", "1"], "--target-pid"),
        (&["--agent", "127.0.0.1:0"], "--agent-insecure"),
        (&["--agents", "127.0.0.1:1", "--agent-insecure"], "agent 127.0.0.1:1: "),
        (&["--agents", "127.0.0.1:1"], "--agent-secret"),
        (&["--agents", "198.51.100.7:1"], "--agent-secret"),
    ] {
        let output = load(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(wanted), "{arguments:?}: {said}");
    }
}
