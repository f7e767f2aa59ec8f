//! Clients in threads. Each client has keys of its own, so it knows what it has written last and
//! can check every answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use standin_client::blocking::Client;
use standin_client::{Action, Answer, ClientError, Operation, Outcome};
use standin_protocol::map::ServerState::{Offline, Online};
use standin_protocol::time::Micros;
use standin_testkit::wait_until;

use super::{Cluster, KEYSPACE, WITHIN};

/// The number of keys of one client.
const KEYS: usize = 24;

/// Load that runs until [`Load::finish`].
pub struct Load {
    is_over: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Report>>,
}

/// The result of the load.
#[derive(Debug, Default)]
pub struct Report {
    pub requests: u64,
    pub failures: Vec<String>,
    pub stale: Vec<Stale>,
    /// The longest time that a request took, and a description of the request.
    pub slowest: (Duration, String),
}

/// A read that did not return the value written last.
#[derive(Debug)]
pub struct Stale {
    /// The age of the value.
    pub age: Duration,
    /// A description of the values read and written, with the clients.
    pub what: String,
}

impl Load {
    /// Starts this many clients, each with one request under way at a time.
    pub fn start(cluster: &Cluster, clients: usize) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(AtomicU64::new(0));
        let threads = (0..clients).map(|number| {
            let client = cluster.client();
            let (is_over, requests) = (Arc::clone(&is_over), Arc::clone(&requests));
            std::thread::spawn(move || run(number, client, &is_over, &requests))
        });
        Self { threads: threads.collect(), is_over, requests }
    }

    /// Waits until this many more requests have been answered.
    #[track_caller]
    pub fn wait_for(&self, more: u64) {
        let target = self.requests.load(Ordering::Relaxed) + more;
        wait_until(WITHIN, &format!("{more} more requests"), || {
            self.requests.load(Ordering::Relaxed) >= target
        });
    }

    /// Kills a server and starts it again, with this many requests before, between and after.
    #[track_caller]
    pub fn through_kill_and_return(&self, cluster: &mut Cluster, server: &str, requests: u64) {
        self.wait_for(requests);
        cluster.kill(server);
        cluster.wait_states(&[(server, Offline)]);
        self.wait_for(requests);
        cluster.start_server(server);
        cluster.wait_all(Online);
        self.wait_for(requests);
    }

    /// Ends the load, and returns its result.
    pub fn finish(self) -> Report {
        self.is_over.store(true, Ordering::Relaxed);
        let mut sum = Report::default();
        for thread in self.threads {
            let report = thread.join().expect("a client must not panic");
            sum.requests += report.requests;
            sum.failures.extend(report.failures);
            sum.stale.extend(report.stale);
            sum.slowest = sum.slowest.max(report.slowest);
        }
        sum
    }
}

impl Report {
    /// Asserts that no request failed and no read was stale.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.requests > 0, "no request was sent");
        assert!(self.failures.is_empty(), "failed: {:?}", self.failures);
        assert!(self.stale.is_empty(), "stale: {:#?}", self.stale);
    }

    /// Asserts that no request failed, and that no read returned a value that had been out of date
    /// for longer than the lease. Mode `available` guarantees this while servers have different
    /// maps.
    #[track_caller]
    pub fn assert_within(&self, lease: Duration) {
        assert!(self.requests > 0, "no request was sent");
        assert!(self.failures.is_empty(), "failed: {:?}", self.failures);
        assert!(self.stale.iter().all(|s| s.age <= lease), "stale: {:#?}", self.stale);
    }
}

/// What a client knows about a key.
#[derive(Debug, Clone, Default)]
struct Known {
    /// The value and time of the last write, if it is known to have been executed.
    last: Option<(Vec<u8>, Micros)>,
    /// How each value was written.
    how: HashMap<Vec<u8>, String>,
}

fn run(number: usize, mut client: Client, is_over: &AtomicBool, requests: &AtomicU64) -> Report {
    let mut report = Report::default();
    let keys = keys(number);
    let mut known = vec![Known::default(); KEYS];
    while !is_over.load(Ordering::Relaxed) {
        let turn = usize::try_from(report.requests).unwrap_or(0);
        let (key, known) = (&keys[turn % KEYS], &mut known[turn % KEYS]);
        let begin = Micros::boottime();
        // There are three rounds of reads for each round of writes.
        if (turn / KEYS).is_multiple_of(4) {
            let value = format!("{} at {turn}", text(key)).into_bytes();
            let action = Action::Put { value: value.clone(), ttl_s: 0 };
            match run_one(&mut client, key, action) {
                Ok(answer) => {
                    known.how.insert(value.clone(), provenance(&answer));
                    known.last = Some((value, Micros::boottime()));
                }
                Err(error) => {
                    report.failures.push(format!("PUT {}: {error}", text(key)));
                    // It is unknown whether the value was written, so nothing is claimed about this
                    // key.
                    known.last = None;
                }
            }
        } else {
            match run_one(&mut client, key, Action::Get) {
                Ok(answer) => report.stale.extend(judge(&answer, known)),
                Err(error) => report.failures.push(format!("GET {}: {error}", text(key))),
            }
        }
        let took = Micros::boottime().since(begin);
        if took > report.slowest.0 {
            report.slowest = (took, format!("{} in turn {turn}", text(key)));
        }
        report.requests += 1;
        requests.fetch_add(1, Ordering::Relaxed);
    }
    report
}

/// Returns the keys of one client.
pub fn keys(number: usize) -> Vec<Vec<u8>> {
    (0..KEYS).map(|key| format!("load-{number}-{key}").into_bytes()).collect()
}

fn run_one(client: &mut Client, key: &[u8], action: Action) -> Result<Answer, ClientError> {
    client.run(Operation { keyspace: KEYSPACE, key: key.to_vec(), action })
}

/// Returns what is wrong with an answer to a read, if anything.
fn judge(answer: &Answer, known: &Known) -> Option<Stale> {
    let (wanted, at) = known.last.as_ref()?;
    let found = match &answer.outcome {
        Outcome::Value(found) if found.bytes == *wanted => return None,
        Outcome::Value(found) => &found.bytes[..],
        _ => b"no such row",
    };
    let how = |value: &[u8]| known.how.get(value).map_or("?", String::as_str);
    let what = format!(
        "read {} {}, written {}; but {} was written {}",
        text(found),
        provenance(answer),
        how(found),
        text(wanted),
        how(wanted),
    );
    Some(Stale { age: Micros::boottime().since(*at), what })
}

/// Returns the server that answered, and the flags.
fn provenance(answer: &Answer) -> String {
    let Answer { served_by, flags, sends, .. } = answer;
    let at_ms = Micros::boottime().as_millis();
    format!("(by server {served_by}, flags {flags:#04x}, {sends} sends, at {at_ms} ms)")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
