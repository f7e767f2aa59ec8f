//! Agents and coordinators over loopback, with runs that are made up; and parties that misbehave.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender as Queue, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use standin_protocol::time::Micros;
use standin_testkit::{Scratch, wait_until};

use super::*;
use crate::drive::Gate;
use crate::live::Live;
use crate::report::document::Document;

const SOON: Duration = Duration::from_secs(30);

/// An agent in a thread, which ends with the test.
struct Running {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

type Body = Box<dyn Fn(&Work, &Arc<Live>, &Gate) -> Result<Document, String> + Send + Sync>;

impl Running {
    fn start(secret: Secret, body: Body) -> Self {
        let is_insecure = secret.0.is_none();
        let agent = Agent::listen("127.0.0.1:0", secret, is_insecure).unwrap();
        let address = agent.address();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            agent.serve(&|| over.load(Ordering::Relaxed), &|_| {}, &*body);
        });
        Self { address, is_over, thread: Some(thread) }
    }

    fn name(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn none() -> Secret {
    Secret(None)
}

fn some(text: &str) -> Secret {
    Secret(Some(blake3::derive_key("a test's secret", text.as_bytes())))
}

fn work(place: PlaceOfAgent) -> Work {
    Work { arguments: vec!["--rate".to_owned()], scenario: None, workers: 2, place }
}

fn run(agents: &[String], secret: &Secret) -> Result<Vec<Shared>, AgentError> {
    let is_insecure = secret.0.is_none();
    Coordinator::connect(agents, secret, is_insecure)?.run(work, &|| false, &mut |_| {})
}

/// Tells when each part of the run was to start, and by whom.
fn starts(queue: Queue<(u32, Micros)>, parts: usize) -> Body {
    Box::new(move |work, _, gate| {
        for _ in 0..parts {
            let start = gate.wait().map_err(|error| error.to_string())?;
            let _ = queue.send((work.place.number, start));
        }
        Ok(crate::compare::tests::document(&[(
            1,
            u64::from(work.place.number) + 5,
            crate::recorder::OpKind::Read,
        )]))
    })
}

#[test]
fn all_agents_start_each_part_at_the_same_time_and_tell_what_they_measured() {
    let secret = some("s");
    let (queue, started) = channel();
    let agents = [0, 1, 2].map(|_| Running::start(secret.clone(), starts(queue.clone(), 2)));
    let names = agents.each_ref().map(Running::name);
    let shared = run(&names, &secret).unwrap();
    let mut begun: Vec<(u32, Micros)> = started.try_iter().collect();
    assert_eq!(begun.len(), 6);
    begun.sort_by_key(|(number, start)| (*start, *number));
    // One clock, so all should have been told the same time, but for half of the round trips.
    let slack = |share: &Shared| share.clock.round_trip_us / 2 + 1;
    let slack = Duration::from_micros(shared.iter().map(slack).max().unwrap() * 2);
    for part in begun.chunks(3) {
        assert!(part[2].1.since(part[0].1) <= slack, "{begun:?} {slack:?}");
    }
    assert!(begun[3].1 > begun[2].1, "the second part comes later");
    let measured: Vec<u64> =
        shared.iter().map(|share| share.document.total.latency_us.max).collect();
    assert_eq!(measured, [5, 6, 7], "in the order of the agents");
    assert_eq!(shared[1].agent, names[1]);
    for share in &shared {
        let clock = share.clock;
        let known = i64::try_from(clock.round_trip_us / 2 + 1).unwrap();
        assert!(clock.boottime_us.abs() <= known, "it is the same clock: {clock:?}");
    }
    assert_eq!(run(&names, &secret).unwrap().len(), 3, "agents take one run after the other");
}

#[test]
fn who_does_not_know_the_secret_is_refused_on_both_sides() {
    let (queue, _started) = channel();
    let guarded = Running::start(some("right"), starts(queue.clone(), 1));
    let open = Running::start(none(), starts(queue, 1));
    let error = |agent: &Running, secret| run(&[agent.name()], &secret).unwrap_err().to_string();
    for secret in [none(), some("wrong")] {
        let error = error(&guarded, secret);
        assert!(error.contains("secret") && error.contains(&guarded.name()), "{error}");
    }
    let text = error(&open, some("right"));
    assert!(text.contains("secret"), "an agent without one could be anybody: {text}");
    assert_eq!(run(&[guarded.name()], &some("right")).unwrap().len(), 1);
}

#[test]
fn every_address_needs_a_secret_or_the_word_of_the_user() {
    for (secret, is_insecure, is_right) in
        [(none(), false, false), (none(), true, true), (some("s"), false, true)]
    {
        // Other users of the machine reach loopback.
        for address in ["0.0.0.0:0", "127.0.0.1:0", "[::1]:0"] {
            let agent = Agent::listen(address, secret.clone(), is_insecure);
            assert_eq!(agent.is_ok(), is_right, "{address} {secret:?} {is_insecure}");
        }
        for agent in ["198.51.100.7:9", "127.0.0.1:9"] {
            let agent = agent.parse().unwrap();
            assert_eq!(secret.check(agent, is_insecure).is_ok(), is_right, "{agent}");
        }
    }
    let error = Agent::listen("0.0.0.0:0", none(), false).unwrap_err().to_string();
    assert!(error.contains("--agent-secret") && error.contains("--agent-insecure"), "{error}");
}

#[test]
fn a_file_with_a_secret_is_long_enough_and_private() {
    let scratch = Scratch::new("agent-secret");
    let path = scratch.file("secret");
    let load = |text: &str, mode| {
        std::fs::write(&path, text).unwrap();
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&path, permissions).unwrap();
        Secret::load(Some(&path)).map_err(|error| error.to_string())
    };
    assert!(load("0123456789abcdef\n", 0o600).is_ok());
    assert!(load("0123456789abcdef\n", 0o640).is_ok());
    assert!(load("0123456789abcdef\n", 0o644).unwrap_err().contains("chmod 6"));
    assert!(load("0123456789abcdef\nmore\n", 0o600).unwrap_err().contains("several lines"));
    assert!(load("too short\n", 0o600).unwrap_err().contains("openssl rand"));
    assert!(Secret::load(Some(std::path::Path::new("/no/such"))).is_err());
}

/// An answer to everything.
fn answers(document: u64) -> Body {
    Box::new(move |_, _, _| {
        let read = crate::recorder::OpKind::Read;
        Ok(crate::compare::tests::document(&[(1, document, read)]))
    })
}

#[test]
fn callers_that_prove_nothing_keep_nobody_out() {
    let secret = some("s");
    let (queue, _started) = channel();
    let agent = Running::start(secret.clone(), starts(queue, 1));
    let silent: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(agent.address).unwrap()).collect();
    assert_eq!(run(&[agent.name()], &secret).unwrap().len(), 1);
    drop(silent);
}

#[test]
fn a_handshake_has_one_deadline_however_its_bytes_come() {
    let agent = Running::start(some("s"), answers(1));
    let mut stream = TcpStream::connect(agent.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let begin = Micros::boottime();
    let mut message = [&4_000_u32.to_le_bytes()[..], &[0; 4_000]].concat().into_iter();
    // A byte for each time that nothing comes.
    let ended = loop {
        match stream.read(&mut [0; 1_024]) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let Some(byte) = message.next() else { break false };
                if stream.write_all(&[byte]).is_err() {
                    break true;
                }
            }
            Err(_) => break true,
        }
        if Micros::boottime().since(begin) > SOON {
            break false;
        }
    };
    assert!(ended, "it is still there after {:?}", Micros::boottime().since(begin));
}

#[test]
fn a_coordinator_that_does_not_close_is_closed_and_one_that_takes_its_time_is_heard() {
    let agent = Running::start(none(), answers(1));
    let stream = TcpStream::connect(agent.address).unwrap();
    let (mut sender, mut receiver) = channel::connect(stream, &none()).unwrap();
    receiver.patience(Some(SOON)).unwrap();
    // As long as it takes to connect to many others.
    let begin = Micros::boottime();
    wait_until(SOON, "more than a handshake may take", || {
        Micros::boottime().since(begin) > channel::HANDSHAKE_WITHIN
    });
    let place = PlaceOfAgent { number: 0, of: 1 };
    sender.send(&message::ToAgent::Prepare(Box::new(work(place)))).unwrap();
    let mut is_done = false;
    let ended = loop {
        match receiver.receive::<message::ToCoordinator>() {
            Ok(message::ToCoordinator::Done { .. }) => is_done = true,
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(is_done && matches!(ended, channel::ChannelError::Ended), "{ended}");
}

#[test]
fn agents_are_connected_at_the_same_time() {
    let all_are_there = Arc::new(std::sync::Barrier::new(6));
    let (names, threads): (Vec<String>, Vec<JoinHandle<()>>) = (0..6)
        .map(|_| {
            let all_are_there = Arc::clone(&all_are_there);
            fake(move |stream| {
                all_are_there.wait();
                let (_sender, mut receiver) = channel::accept(stream, &none()).unwrap();
                let _ = receiver.receive::<message::ToAgent>();
            })
        })
        .unzip();
    let connected = Coordinator::connect(&names, &none(), true).unwrap();
    assert_eq!(connected.agents(), 6);
    drop(connected);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// A party that accepts one connection, and does this with it.
fn fake(body: impl FnOnce(TcpStream) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = listener.local_addr().unwrap().to_string();
    (name, std::thread::spawn(move || body(listener.accept().unwrap().0)))
}

/// A frame as it is before the secret is proven: the first message of a direction.
fn frame(direction: u8, body: &[u8]) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_keyed(&[0; 32]);
    hasher.update(&[direction]).update(&0u64.to_le_bytes()).update(body);
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&length[..], hasher.finalize().as_bytes(), body].concat()
}

#[test]
fn an_agent_that_misbehaves_ends_the_run_clearly() {
    let hello = |standin: &str| {
        let nonce = "0".repeat(64);
        format!(
            "{{\"kind\":\"hello\",\"version\":2,\"standin\":\"{standin}\",\"nonce\":\"{nonce}\"}}"
        )
    };
    let own = env!("CARGO_PKG_VERSION");
    let cases: [(Vec<u8>, &str); 6] = [
        (frame(2, hello("0.0.9").as_bytes()), "it runs Standin 0.0.9"),
        (Vec::new(), "the connection has ended"),
        (frame(2, b"{\"kind\":\"nonsense\"}"), "not understood"),
        (frame(1, hello(own).as_bytes()), "damaged"),
        ([&u32::MAX.to_le_bytes()[..], &[0; 32]].concat(), "too long"),
        (frame(2, hello(own).as_bytes()), "the connection has ended"),
    ];
    for (bytes, wanted) in cases {
        let (name, thread) = fake(move |mut stream| {
            stream.write_all(&bytes).unwrap();
            let _ = stream.shutdown(std::net::Shutdown::Write);
            // Until the coordinator gives up.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let error = run(std::slice::from_ref(&name), &none()).unwrap_err().to_string();
        assert!(error.contains(wanted) && error.contains(&name), "{wanted}: {error}");
        thread.join().unwrap();
    }
    let error = run(&["127.0.0.1:1".to_owned()], &none()).unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1") && error.contains("refused"), "{error}");
}

#[test]
fn the_failure_of_one_agent_ends_the_others_too() {
    let (queue, stopped) = channel();
    let patient = Running::start(
        none(),
        Box::new(move |_, live, _| {
            wait_until(SOON, "the stop", || live.is_stopped());
            let _ = queue.send(());
            Err("stopped".to_owned())
        }),
    );
    let failing = Running::start(none(), Box::new(|_, _, _| Err("no such target".to_owned())));
    let error = run(&[patient.name(), failing.name()], &none()).unwrap_err().to_string();
    assert!(error.contains("no such target") && error.contains(&failing.name()), "{error}");
    stopped.recv_timeout(SOON).expect("the other one ends");
}

#[test]
fn an_agent_has_one_run_at_a_time() {
    let (queue, begun) = channel();
    let agent = Running::start(
        none(),
        Box::new(move |_, live, _| {
            let _ = queue.send(());
            wait_until(SOON, "the stop", || live.is_stopped());
            Err("stopped".to_owned())
        }),
    );
    let names = [agent.name()];
    let first = Coordinator::connect(&names, &none(), true).unwrap();
    let is_interrupted = Arc::new(AtomicBool::new(false));
    let interrupted = Arc::clone(&is_interrupted);
    let running = std::thread::spawn(move || {
        first.run(work, &|| interrupted.load(Ordering::Relaxed), &mut |_| {})
    });
    begun.recv_timeout(SOON).expect("the first run");
    let error = run(&names, &none()).unwrap_err().to_string();
    assert!(error.contains("busy"), "{error}");
    is_interrupted.store(true, Ordering::Relaxed);
    assert!(running.join().unwrap().unwrap_err().to_string().contains("stopped"));
}

#[test]
fn a_coordinator_that_is_gone_ends_the_run() {
    let (queue, told) = channel();
    let agent = Running::start(
        none(),
        Box::new(move |_, live, _| {
            let _ = queue.send("begun");
            wait_until(SOON, "the stop", || live.is_stopped());
            let _ = queue.send("stopped");
            Err("stopped".to_owned())
        }),
    );
    let names = [agent.name()];
    let coordinator = Coordinator::connect(&names, &none(), true).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let thread = std::thread::spawn(move || {
        // It panics where it would ask whether it was interrupted, as a process that is killed would end.
        let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let ask = || assert!(!is_over.load(Ordering::Relaxed), "gone");
            let _ = coordinator.run(
                work,
                &|| {
                    ask();
                    false
                },
                &mut |_| ask(),
            );
        }));
        assert!(gone.is_err());
    });
    assert_eq!(told.recv_timeout(SOON), Ok("begun"));
    over.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    assert_eq!(told.recv_timeout(SOON), Ok("stopped"));
}
