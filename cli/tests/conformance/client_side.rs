//! Claims 10 to 14. The real client faces real servers that are killed or stopped, and a recording
//! server that the master can reach and the client can't.

use std::time::Duration;

use standin_client::blocking::Client;
use standin_client::{Action, Answer, ClientEvent, Operation, Outcome};
use standin_protocol::control::DatagramKind;
use standin_protocol::hello::Role;
use standin_protocol::map::ServerState::{self, Offline, Online};
use standin_protocol::time::Micros;
use standin_testkit::wait::poll_for;

use crate::common::fake_server::Frame;
use crate::common::{Cluster, FakeServer, KEYSPACE, PAIR, TWO_PAIRS, WITHIN};

/// The value of a1's keys when a2 is asked.
const BY_WAY_OF_A2: &[u8] = b"by way of a2";

/// A real master and a real a2, with a1 played by the test. a1 answers the master's probes, so the
/// map continues to say that it is online, and every effect is the client's doing.
struct Stage {
    cluster: Cluster,
    a1: FakeServer,
    client: Client,
}

impl Stage {
    fn new(test: &str, attempts: u32) -> Self {
        let mut cluster = Cluster::with(test, PAIR, |config| config.timings.attempts = attempts);
        let a1 = FakeServer::start(&cluster.topology, cluster.id("a1"));
        // a1 answers requests that a2 forwards. Each test decides whether it answers clients.
        a1.behave(|b| b.to_peers = Some(BY_WAY_OF_A2.to_vec()));
        cluster.start_some(&["a2"]);
        // On a busy machine a2 may consider that too slow, and answer from the database.
        for key in cluster.keys_of("a1").take(3) {
            cluster.set_row(&key, BY_WAY_OF_A2);
        }
        let client = cluster.client();
        Self { cluster, a1, client }
    }

    fn get(&mut self) -> Answer {
        let key = self.cluster.key_of("a1");
        get(&mut self.client, &key)
    }

    /// Returns the frames that clients have sent to a1.
    fn sent_to_a1(&self) -> Vec<Frame> {
        self.a1.data(Role::Client)
    }

    /// Reads until the client has reported an event of this kind. Returns all its events and the
    /// answer to the last read. `judge` checks each earlier read.
    fn get_until(
        &mut self,
        is_it: impl Fn(&ClientEvent) -> bool,
        mut judge: impl FnMut(&Self, &Answer),
    ) -> (Vec<(Micros, ClientEvent)>, Answer) {
        let found = poll_for(WITHIN, || {
            let answer = self.get();
            let events = failover_events(&mut self.client);
            if events.iter().any(|(_, event)| is_it(event)) {
                return Some((events, answer));
            }
            assert_eq!(events, [], "nothing else happens meanwhile");
            judge(self, &answer);
            None
        });
        found.expect("it happens in time")
    }

    /// Makes the client enter failover mode for a1; returns the time.
    fn enter_failover(&mut self) -> Micros {
        self.get();
        let events = failover_events(&mut self.client);
        assert!(matches!(events[0].1, ClientEvent::EnteredFailover { .. }), "{events:?}");
        events[0].0
    }
}

fn get(client: &mut Client, key: &[u8]) -> Answer {
    let get = Operation { keyspace: KEYSPACE, key: key.to_vec(), action: Action::Get };
    client.run(get).expect("answered")
}

fn value(answer: &Answer) -> &[u8] {
    match &answer.outcome {
        Outcome::Value(value) => &value.bytes,
        other => panic!("no value: {other:?}"),
    }
}

/// Returns the events, except maps and verdicts.
fn failover_events(client: &mut Client) -> Vec<(Micros, ClientEvent)> {
    let mut events = client.take_events();
    events.retain(|(_, event)| {
        !matches!(event, ClientEvent::MapApplied { .. } | ClientEvent::Verdict { .. })
    });
    events
}

fn kinds(events: &[(Micros, ClientEvent)]) -> Vec<ClientEvent> {
    let without_nonce = |event: &ClientEvent| match event.clone() {
        ClientEvent::Reported { kind, server, .. } => {
            ClientEvent::Reported { kind, server, nonce: 0 }
        }
        event => event,
    };
    events.iter().map(|(_, event)| without_nonce(event)).collect()
}

fn reported(kind: DatagramKind, server: u16) -> ClientEvent {
    ClientEvent::Reported { kind, server, nonce: 0 }
}

/// Claim 10: a client that is not in failover mode sends the request to the data server. If sending
/// fails, it enters failover mode, notifies the master, and sends the request to the failover
/// server.
#[test]
fn c10_an_unsuccessful_send_enters_failover_mode_notifies_the_master_and_goes_to_the_stand_in() {
    let mut stage = Stage::new("c10", 2);
    let (a1, a2) = (stage.cluster.id("a1"), stage.cluster.id("a2"));
    stage.a1.behave(|b| b.to_clients = Some(b"from a1".to_vec()));
    let answer = stage.get();
    assert_eq!((value(&answer), answer.served_by, answer.sends), (&b"from a1"[..], a1, 1));
    assert_eq!(stage.sent_to_a1().len(), 1, "not in failover mode: to the data server");
    assert_eq!(failover_events(&mut stage.client), []);

    let (events, mark) = (stage.cluster.events(), stage.cluster.events().mark());
    stage.a1.behave(|b| b.to_clients = None);
    let answer = stage.get();
    assert_eq!((value(&answer), answer.served_by), (BY_WAY_OF_A2, a2));
    assert_eq!(stage.sent_to_a1().len(), 1 + 2, "tried at the data server first");
    assert_eq!(
        kinds(&failover_events(&mut stage.client)),
        [
            ClientEvent::EnteredFailover { server: a1, attempts: 2 },
            reported(DatagramKind::ReportFailed, a1)
        ]
    );
    let seen = events.wait_in_order(mark, &[("reported", "a1"), ("probing", "a1")]);
    assert!(seen[0].text.starts_with("client "), "the master was notified: {seen:?}");
}

/// Claim 10 again, with servers that are really killed or stopped. The client's notification leads
/// to the master's verdict.
#[test]
fn c10_a_server_that_is_killed_or_stopped_is_left_for_its_stand_in() {
    for is_killed in [true, false] {
        let mut cluster = Cluster::new("c10-signals", PAIR);
        cluster.start();
        let (a1, a2, key) = (cluster.id("a1"), cluster.id("a2"), cluster.key_of("a1"));
        cluster.set_row(&key, b"v");
        let mut client = cluster.client();
        assert_eq!(get(&mut client, &key).served_by, a1);
        let (events, mark) = (cluster.events(), cluster.events().mark());
        if is_killed {
            cluster.kill("a1");
        } else {
            cluster.freeze("a1");
        }
        let answer = get(&mut client, &key);
        assert_eq!((value(&answer), answer.served_by), (&b"v"[..], a2));
        assert!(answer.is_stand_in());
        let happened = kinds(&failover_events(&mut client));
        assert_eq!(
            happened[..2],
            [
                ClientEvent::EnteredFailover { server: a1, attempts: 2 },
                reported(DatagramKind::ReportFailed, a1)
            ]
        );
        let verified = ["reported", "probing", "probe_failed", "offline", "announced"];
        events.wait_in_order(mark, &verified.map(|kind| (kind, "a1")));
        let by_client = |e: &crate::common::events::Event| e.text.starts_with("client ");
        assert!(events.of(mark, "reported", "a1").iter().any(by_client));
        cluster.wait_states(&[("a1", Offline), ("a2", Online)]);
    }
}

/// Claim 11: the client first determines the data server among several data servers.
#[test]
fn c11_the_data_server_is_determined_first() {
    let mut cluster = Cluster::new("c11", TWO_PAIRS);
    cluster.start();
    let mut client = cluster.client();
    for (count, server) in [(2, "a1"), (3, "a2"), (4, "b1"), (5, "b2")] {
        let keys: Vec<Vec<u8>> = cluster.keys_of(server).take(count).collect();
        for key in &keys {
            client.put(KEYSPACE, key, key.clone(), 0).expect("written");
            let answer = get(&mut client, key);
            assert_eq!((answer.served_by, answer.sends), (cluster.id(server), 1));
        }
        // A PUT and a GET each were sent there, and nowhere else.
        cluster.wait_counter(server, "hits", count as u64);
        cluster.wait_counter(server, "origin_writes", count as u64);
    }
    for server in ["a1", "a2", "b1", "b2"] {
        cluster.wait_counter(server, "forwarded", 0);
    }
}

/// Claim 12: an unsuccessful send is repeated a predetermined number of times before failover mode
/// is entered.
#[test]
fn c12_a_send_is_repeated_a_predetermined_number_of_times_before_failover_mode() {
    let mut stage = Stage::new("c12", 3);
    let a1 = stage.cluster.id("a1");
    stage.a1.behave(|b| {
        b.unanswered_first = 2;
        b.to_clients = Some(b"from a1".to_vec());
    });
    let answer = stage.get();
    assert_eq!((value(&answer), answer.served_by, answer.sends), (&b"from a1"[..], a1, 3));
    assert_eq!(failover_events(&mut stage.client), [], "the last of three succeeded");
    let assert_one_request = |frames: &[Frame]| {
        assert_eq!(frames.len(), 3);
        assert!(frames.iter().all(|f| f.header.request_id == frames[0].header.request_id));
        let retries: Vec<bool> = frames.iter().map(Frame::is_retry).collect();
        assert_eq!(retries, [false, true, true], "the same request, and it says so");
    };
    assert_one_request(&stage.sent_to_a1());

    stage.a1.behave(|b| b.to_clients = None);
    let answer = stage.get();
    assert_eq!(answer.served_by, stage.cluster.id("a2"));
    assert_eq!(answer.sends, 3 + 1, "three times to a1, once to its stand-in");
    assert_one_request(&stage.sent_to_a1()[3..]);
    let entered = &kinds(&failover_events(&mut stage.client))[0];
    assert_eq!(*entered, ClientEvent::EnteredFailover { server: a1, attempts: 3 });
}

/// Claim 13: in failover mode, for no longer than a predetermined time, requests are sent to the
/// failover server.
#[test]
fn c13_until_a_predetermined_time_has_passed_requests_go_to_the_failover_server() {
    let mut stage = Stage::new("c13", 2);
    let (a2, hold) = (stage.cluster.id("a2"), stage.cluster.config.timings.failover_hold);
    let entered_at = stage.enter_failover();
    let mut answered = 0;
    let is_trial = |event: &ClientEvent| matches!(event, ClientEvent::Trial { .. });
    let (events, _) = stage.get_until(is_trial, |stage, answer| {
        assert_eq!(answer.served_by, a2);
        assert_eq!(stage.sent_to_a1().len(), 2, "nothing is sent to a1");
        answered += 1;
    });
    assert!(answered > 0, "requests were answered meanwhile");
    // Each client has its own hold time, within a quarter of the configured one.
    let stayed = events[0].0.since(entered_at);
    assert!(stayed >= hold * 3 / 4, "longer than {:?}: {stayed:?}", hold * 3 / 4);
}

/// Claim 14: after that time the request is sent to the data server. If that fails, it is sent to
/// the failover server. If it succeeds, failover mode is left and the master is notified.
#[test]
fn c14_after_that_time_one_request_tries_the_server_and_decides() {
    let mut stage = Stage::new("c14", 2);
    let (a1, a2) = (stage.cluster.id("a1"), stage.cluster.id("a2"));
    stage.enter_failover();
    let is_trial = |event: &ClientEvent| matches!(event, ClientEvent::Trial { .. });
    let (events, answer) = stage.get_until(is_trial, |_, _| ());
    let trial = ClientEvent::Trial { server: a1 };
    assert_eq!(kinds(&events), [trial.clone(), ClientEvent::TrialFailed { server: a1 }]);
    assert_eq!(answer.served_by, a2, "it failed: to the failover server");
    assert_eq!(stage.sent_to_a1().len(), 2 + 1, "tried once");
    let answer = stage.get();
    assert_eq!((answer.served_by, stage.sent_to_a1().len()), (a2, 3), "failover mode goes on");

    let (log, mark) = (stage.cluster.events(), stage.cluster.events().mark());
    stage.a1.behave(|b| b.to_clients = Some(b"from a1".to_vec()));
    let keys: Vec<Vec<u8>> = stage.cluster.keys_of("a1").take(3).collect();
    let events = poll_for(WITHIN, || {
        let before = stage.sent_to_a1().len();
        for found in stage.client.get_many(KEYSPACE, &keys) {
            assert!(found.expect("answered").is_some());
        }
        let events = failover_events(&mut stage.client);
        let sent = stage.sent_to_a1().len() - before;
        assert_eq!(sent, usize::from(!events.is_empty()), "one of three tries, once it is time");
        (!events.is_empty()).then_some(events)
    });
    assert_eq!(
        kinds(&events.expect("a trial in time")),
        [
            trial,
            ClientEvent::LeftFailover { server: a1, by_map: false },
            reported(DatagramKind::ReportOk, a1)
        ]
    );
    let answer = stage.get();
    assert_eq!((answer.served_by, answer.sends), (a1, 1), "failover mode is left");
    let seen = log.wait_in_order(mark, &[("reported_ok", "a1")]);
    assert!(seen[0].text.starts_with("client "), "{seen:?}");
}

/// Claim 14 again, with a real server that is stopped and resumes, while there is no master whose
/// announcement could decide instead.
#[test]
fn c14_a_stopped_server_that_goes_on_is_found_by_a_trial() {
    let mut cluster = Cluster::new("c14-signals", PAIR);
    cluster.start();
    let (a1, key) = (cluster.id("a1"), cluster.key_of("a1"));
    cluster.set_row(&key, b"v");
    let mut client = cluster.client();
    assert_eq!(get(&mut client, &key).served_by, a1);
    cluster.kill("master");
    cluster.freeze("a1");
    assert_eq!(get(&mut client, &key).served_by, cluster.id("a2"));
    assert_eq!(state_in_client(&client, a1), Some(Online), "nobody has announced anything");
    cluster.thaw("a1");
    let left = ClientEvent::LeftFailover { server: a1, by_map: false };
    let answer = poll_for(Duration::from_secs(20), || {
        let answer = get(&mut client, &key);
        let events = kinds(&failover_events(&mut client));
        events.contains(&left).then_some(answer)
    });
    assert_eq!(answer.expect("a trial succeeds").served_by, a1);
}

fn state_in_client(client: &Client, server: u16) -> Option<ServerState> {
    Some(client.map_in_force()?.state(server))
}
