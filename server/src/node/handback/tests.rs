//! Tests of telling other servers and being told by them, without a node.

use standin_protocol::handback::{FORGOTTEN, Keys, marks};
use standin_protocol::map::ServerStatus;

use super::*;
use crate::node::tests::{node_config, pair};

const BOOT: u64 = 7;
const NOW: Micros = Micros(1_000);
const ENDED: Micros = Micros(0);

use ServerState::{Offline, Online, Returning};

struct Script {
    handback: Handback,
    topology: Arc<Topology>,
    statuses: Vec<ServerStatus>,
    counter: u32,
}

impl Script {
    /// Creates server 0 of two with two shards each, both online.
    fn new() -> Self {
        let topology = pair(2, 16);
        let hashing = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let config = NodeConfig { log_keys_max: 2, ..node_config(0, BOOT) };
        let handback = Handback::new(&config, Arc::clone(&topology), hashing);
        let since = MapEpoch::default();
        let status = |id| ServerStatus { state: Offline, since, boot_id: BOOT + id };
        let mut script =
            Self { handback, topology, statuses: vec![status(0), status(1)], counter: 0 };
        script.map([Online, Online]);
        script
    }

    fn map(&mut self, states: [ServerState; 2]) -> ClusterMap {
        self.counter += 1;
        let epoch = MapEpoch { term: 1, counter: self.counter };
        for (status, state) in self.statuses.iter_mut().zip(states) {
            if status.state != state {
                (status.state, status.since) = (state, epoch);
            }
        }
        let map = ClusterMap::new(Arc::clone(&self.topology), epoch, self.statuses.clone());
        self.handback.map_arrived(&map);
        self.handback.map_applied(NOW, &map);
        map
    }

    fn write(&mut self, partition: u32, name: &[u8], may_overflow: bool) -> bool {
        let written = Written { partition, name, is_flush: false, open_until: ENDED };
        self.handback.log(1, written, may_overflow).is_some()
    }

    fn returning(&self) -> MapEpoch {
        MapEpoch { term: 1, counter: self.counter }
    }

    /// Returns the keys of the messages, and the HANDBACK if there is one.
    fn begin(&mut self) -> (Vec<Batch>, Option<End>) {
        let (mut batches, mut last) = (Vec::new(), None);
        for message in self.handback.begin_handovers(NOW) {
            match message {
                Message::Keys { batch, .. } => batches.push(batch),
                Message::End(end) => last = Some(end),
            }
        }
        (batches, last)
    }

    /// Returns a partition of this home.
    fn of(&self, home: u16) -> u32 {
        (0..16).find(|partition| self.topology.home(*partition) == home).unwrap()
    }
}

#[test]
fn a_returning_home_is_told_the_keys_and_then_that_these_were_all() {
    let mut s = Script::new();
    let theirs = s.of(1);
    s.map([Online, Offline]);
    assert!(s.write(theirs, b"\x01a", true));
    assert!(s.handback.is_handed_over());
    s.map([Online, Returning]);
    assert!(!s.handback.is_handed_over(), "the writes that began before have to end first");
    let (batches, end) = s.begin();
    assert_eq!((batches.len(), end), (1, None));
    assert_eq!(batches[0].first_key(), (1, &b"a"[..]));
    let shard = s.topology.shard(1, theirs);
    assert_eq!((batches[0].partition(), batches[0].shard()), (theirs, shard));
    let epoch = s.returning();
    let keys = batches.into_iter().next().unwrap().into_keys();
    s.handback.settled(NOW, 1, &keys);
    let Progress::End(end) = s.handback.handover_told(NOW, 1, epoch, true) else { panic!() };
    let complete_since = MapEpoch { term: 1, counter: 1 };
    assert_eq!(end, End { server: 1, epoch, complete_since, overflowed: vec![] });
    assert_eq!(
        s.handback.handover_closed(NOW, 1, epoch, true),
        Progress::None,
        "one of two shards has answered"
    );
    assert_eq!(s.handback.handover_closed(NOW, 1, epoch, true), Progress::Done);
    assert!(s.handback.is_handed_over());
}

#[test]
fn a_handover_that_fails_or_is_for_an_older_return_is_given_up() {
    let mut s = Script::new();
    let theirs = s.of(1);
    s.map([Online, Offline]);
    s.write(theirs, b"\x01a", true);
    s.map([Online, Returning]);
    let epoch = s.returning();
    assert_eq!(s.begin().0.len(), 1);
    let older = MapEpoch { term: 1, counter: 1 };
    assert_eq!(s.handback.handover_told(NOW, 1, older, false), Progress::None);
    assert_eq!(s.handback.handover_told(NOW, 1, epoch, false), Progress::GivenUp);
    assert!(s.handback.is_handed_over(), "no forgotten write may still take effect");
}

#[test]
fn overflowed_partitions_are_named_and_released_only_after_their_writes_have_taken_effect() {
    let mut s = Script::new();
    let theirs = s.of(1);
    s.map([Online, Offline]);
    let open_until = Micros(9_000);
    for name in [b"\x01a", b"\x01b", b"\x01c"] {
        let written = Written { partition: theirs, name, is_flush: false, open_until };
        s.handback.log(1, written, true);
    }
    s.map([Online, Returning]);
    let (batches, end) = s.begin();
    assert_eq!((batches.len(), end.unwrap().overflowed), (0, vec![theirs]));
    let epoch = s.returning();
    assert_eq!(s.handback.handover_closed(NOW, 1, epoch, false), Progress::GivenUp);
    assert!(!s.handback.is_handed_over());
    assert_eq!(s.handback.next_deadline(), Some(open_until));
    assert!(!s.handback.expire_given_up(Micros(8_999)) && s.handback.expire_given_up(open_until));
    assert!(s.handback.is_handed_over());
}

#[test]
fn an_owner_that_is_online_is_told_until_it_acknowledges() {
    let mut s = Script::new();
    let theirs = s.of(1);
    assert!(s.write(theirs, b"\x01a", false));
    assert_eq!(s.handback.next_deadline(), None);
    s.handback.owe(NOW, 1);
    assert_eq!(s.handback.next_deadline(), Some(NOW));
    let due = s.handback.due(NOW);
    assert_eq!((due.len(), due[0].server, due[0].attempts), (1, 1, 0));
    assert!(s.handback.due(NOW).is_empty(), "the server is being told");
    s.handback.owed_told(NOW, 1, false, true);
    let again = s.handback.next_deadline().unwrap();
    assert!(again > NOW);
    let due = s.handback.due(again).remove(0);
    assert_eq!(due.attempts, 1);
    let keys = due.batches.into_iter().next().unwrap().into_keys();
    s.handback.settled(again, 1, &keys);
    s.handback.owed_told(again, 1, true, true);
    assert_eq!(s.handback.next_deadline(), None);
    assert_eq!(s.handback.sizes().bytes, 0);
}

#[test]
fn a_home_knows_all_keys_if_every_shard_of_every_member_has_said_so_for_this_return() {
    let mut s = Script::new();
    let owned = s.map([Online, Online]);
    let (left, boot_id) = (owned.epoch, owned.statuses()[1].boot_id);
    s.handback.owns_home(Arc::new(owned), true);
    s.map([Offline, Online]);
    let map = s.map([Returning, Online]);
    let told = |epoch: MapEpoch, since: MapEpoch| Told {
        epoch: epoch.to_u64(),
        complete_since: since.to_u64(),
        boot_id,
    };
    let (now, until) = (s.returning(), Micros(5_000));
    assert_eq!(s.handback.returning(), now);
    s.handback.heard(1, 0, told(now, left), vec![3, 1_000], until);
    s.handback.heard(1, 1, told(left, left), vec![], until);
    assert!(!s.handback.is_told_all(&map, false), "one statement is for another return");
    s.handback.heard(1, 1, told(now, now), vec![], until);
    assert!(!s.handback.is_told_all(&map, false), "one began after this server had left");
    s.handback.heard(1, 1, Told { boot_id: boot_id + 1, ..told(now, left) }, vec![], until);
    assert!(
        !s.handback.is_told_all(&map, false),
        "one is another incarnation, whatever its epochs"
    );
    s.handback.heard(1, 1, told(now, left), vec![], until);
    assert!(s.handback.is_told_all(&map, false));
    assert!(!s.handback.is_told_all(&map, true), "this server has given its word since");
    assert!(s.handback.may_keep(true, 4) && !s.handback.may_keep(true, 3));
    assert!(s.handback.is_closed(3, Micros(4_999)) && !s.handback.is_closed(3, until));
    assert_eq!((s.handback.sizes().words, s.handback.sizes().overflowed), (2, 1));
}

#[test]
fn a_member_that_was_offline_all_the_time_need_not_report() {
    let mut s = Script::new();
    let owned = s.map([Online, Offline]);
    s.handback.owns_home(Arc::new(owned), true);
    s.map([Offline, Offline]);
    let map = s.map([Returning, Offline]);
    assert!(s.handback.is_told_all(&map, false));
}

#[test]
fn a_member_that_was_online_meanwhile_is_to_be_heard_even_if_epochs_are_lower_than_before() {
    let mut s = Script::new();
    s.counter = 100;
    let owned = s.map([Online, Offline]);
    s.handback.owns_home(Arc::new(owned), true);
    // A master without its file has begun with a lower term.
    s.counter = 1;
    s.map([Offline, Online]);
    s.map([Offline, Offline]);
    let map = s.map([Returning, Offline]);
    assert!(!s.handback.is_told_all(&map, false));
}

/// Hands over to server 1. Returns the keys that it was told, and since which epoch the log is complete.
fn hand_over(s: &mut Script, is_ok: bool) -> (Vec<Vec<u8>>, u64) {
    let epoch = s.returning();
    let (batches, mut end) = s.begin();
    let keys: Vec<ToldKey> = batches.into_iter().flat_map(Batch::into_keys).collect();
    s.handback.settled(NOW, 1, &keys);
    if end.is_none() {
        let Progress::End(last) = s.handback.handover_told(NOW, 1, epoch, true) else { panic!() };
        end = Some(last);
    }
    let progress = [is_ok, is_ok].map(|is_ok| s.handback.handover_closed(NOW, 1, epoch, is_ok));
    assert_eq!(progress.contains(&Progress::Done), is_ok);
    let names = keys.iter().map(|told| told.name().to_vec()).collect();
    (names, end.unwrap().complete_since.to_u64())
}

#[test]
fn a_log_that_has_forgotten_keys_for_another_incarnation_says_so_until_a_process_has_heard_it() {
    let mut s = Script::new();
    let theirs = s.of(1);
    let since = s.returning().to_u64();
    s.map([Online, Offline]);
    assert!(s.write(theirs, b"\x01a", true));
    // The incarnation from before is named, perhaps by a master that has lost its file, and then the
    // living one.
    s.statuses[1].boot_id = 99;
    s.map([Online, Offline]);
    s.statuses[1].boot_id = BOOT + 1;
    for is_ok in [false, true] {
        s.map([Online, Returning]);
        assert_eq!(hand_over(&mut s, is_ok), (vec![], FORGOTTEN));
        s.map([Online, Online]);
        s.map([Online, Offline]);
    }
    assert!(s.write(theirs, b"\x01b", true));
    s.map([Online, Returning]);
    assert_eq!(hand_over(&mut s, true), (vec![b"\x01b".to_vec()], since));
}

#[test]
fn a_log_that_has_forgotten_keys_says_so_also_if_it_has_others_to_tell() {
    let mut s = Script::new();
    let theirs = s.of(1);
    s.map([Online, Offline]);
    let open_until = Micros(9_000);
    s.handback.log(
        1,
        Written { partition: theirs, name: b"\x01a", is_flush: false, open_until },
        true,
    );
    assert!(s.write(theirs, b"\x01b", true));
    s.statuses[1].boot_id = 99;
    s.map([Online, Returning]);
    assert_eq!(hand_over(&mut s, true), (vec![b"\x01a".to_vec()], FORGOTTEN));
}

#[test]
fn a_new_incarnation_is_sent_nothing_if_nothing_was_written() {
    let mut s = Script::new();
    s.map([Online, Offline]);
    s.statuses[1].boot_id = 99;
    s.map([Online, Returning]);
    assert_eq!(s.begin().1, None);
    assert!(s.handback.is_handed_over());
}

#[test]
fn a_home_keeps_nothing_after_a_member_has_said_that_it_has_forgotten_keys() {
    let mut s = Script::new();
    let owned = Arc::new(s.map([Online, Online]));
    let (since, boot_id) = (owned.epoch.to_u64(), owned.statuses()[1].boot_id);
    s.handback.owns_home(Arc::clone(&owned), true);
    let hear = |s: &mut Script, complete_since| {
        for shard in 0..2 {
            let told = Told { epoch: s.returning().to_u64(), complete_since, boot_id };
            s.handback.heard(1, shard, told, vec![], NOW);
        }
    };
    s.map([Offline, Online]);
    let map = s.map([Returning, Online]);
    hear(&mut s, FORGOTTEN);
    assert!(!s.handback.is_told_all(&map, false));
    // The log is complete since then, and the home has not owned anything meanwhile.
    s.map([Offline, Online]);
    let map = s.map([Returning, Online]);
    hear(&mut s, since);
    s.handback.owns_home(Arc::clone(&owned), false);
    assert!(!s.handback.is_told_all(&map, false));
    s.handback.owns_home(owned, true);
    assert!(s.handback.is_told_all(&map, false), "it has dropped everything, and owns again");
}

#[test]
fn a_log_has_forgotten_only_what_no_process_of_the_server_was_told() {
    let open = Micros(2_000);
    let mut log = log_of(2, 1_000);
    log.insert(1, 7, b"\x01a", open, true).unwrap();
    assert!(!log.restarted(1, NOW), "the write may still take effect, and is told again");
    let keys = log.batches(1, NOW, |_| 0).remove(0).into_keys();
    log.settled(1, &keys[0], NOW);
    assert!(!log.restarted(1, open), "it was told");

    let mut log = log_of(2, 1_000);
    log.insert(1, 7, b"\x01b", ENDED, true).unwrap();
    log.insert(2, 7, b"\x01c", ENDED, true).unwrap();
    assert!(log.restarted(1, NOW) && !log.restarted(1, NOW));
    assert_eq!((log.is_owed(1), log.is_owed(2)), (false, true));

    for (open_until, has_forgotten) in [(open, false), (ENDED, true)] {
        let mut log = log_of(1, 1_000);
        for name in [b"\x01a", b"\x01b"] {
            log.insert(1, 7, name, open_until, true);
        }
        assert_eq!(log.overflowed(1), [7]);
        assert_eq!(
            log.restarted(1, NOW),
            has_forgotten,
            "an overflow that is named is not forgotten"
        );
    }
}

#[test]
fn a_restarted_server_is_told_only_of_writes_that_may_still_take_effect() {
    let mut log = log_of(100, 10_000);
    log.insert(1, 7, b"\x01a", ENDED, true);
    log.insert(1, 7, b"\x01b", Micros(2_000), true);
    log.insert(2, 7, b"\x01c", ENDED, true);
    assert!(log.restarted(1, NOW));
    for (server, name) in [(1, b"\x01b"), (2, b"\x01c")] {
        let keys = log.batches(server, NOW, |_| 0).remove(0).into_keys();
        assert_eq!((keys.len(), keys[0].name()), (1, &name[..]));
    }
}

fn log_of(keys_max: usize, batch_bytes_max: usize) -> Log {
    let hashing = ahash::RandomState::with_seeds(1, 2, 3, 4);
    Log::new(keys_max, 10_000, batch_bytes_max, hashing)
}

#[test]
fn the_keys_of_a_message_are_bounded_in_bytes() {
    // A key of one byte takes 18 bytes of a message.
    let mut log = log_of(100, 3 * 18);
    for key in 0..7 {
        log.insert(1, 7, &[1, key], ENDED, true).unwrap();
    }
    let batches = log.batches(1, NOW, |_| 0).into_iter();
    let lengths: Vec<usize> = batches.map(|batch| batch.into_keys().len()).collect();
    assert_eq!(lengths, [3, 3, 1]);
}

#[test]
fn keys_that_are_given_up_or_forgotten_take_no_memory() {
    let one = {
        let mut log = log_of(2, 1_000);
        log.insert(1, 7, b"\x01a", ENDED, true).unwrap();
        log.sizes().1
    };
    let mut log = log_of(2, 1_000);
    for name in [b"\x01a", b"\x01b", b"\x01c"] {
        log.insert(1, 7, name, ENDED, true);
    }
    assert_eq!((log.overflowed(1), log.sizes()), (vec![7], (0, 0)));

    let mut log = log_of(2, 1_000);
    log.insert(1, 7, b"\x01a", Micros(2_000), true).unwrap();
    log.insert(1, 7, b"\x01b", Micros(2_000), true).unwrap();
    let keys = log.batches(1, NOW, |_| 0).remove(0).into_keys();
    let told = keys.iter().find(|told| told.name() == b"\x01a").unwrap();
    log.settled(1, told, NOW);
    assert_eq!(log.sizes(), (2, 2 * one), "the write may still take effect");
    log.insert(1, 7, b"\x01c", ENDED, true).unwrap();
    assert_eq!((log.overflowed(1), log.sizes()), (vec![], (2, 2 * one)));
}

#[test]
fn a_write_may_take_effect_until_its_time_and_no_later() {
    for (open_until, is_open) in [(NOW, false), (Micros(NOW.0 + 1), true)] {
        let mut log = log_of(1, 1_000);
        log.insert(1, 7, b"\x01a", open_until, true).unwrap();
        let keys = Keys::from_bytes(&log.batches(1, NOW, |_| 0)[0].value(None)).unwrap().keys;
        assert_eq!(keys[0].marks, if is_open { marks::OPEN } else { 0 });
        log.restarted(1, NOW);
        assert_eq!(
            log.is_owed(1),
            is_open,
            "a new incarnation is told of writes that may still take effect"
        );
    }
}

#[test]
fn a_forgotten_write_may_take_effect_until_the_latest_time_in_its_partition() {
    let mut log = log_of(1, 1_000);
    log.insert(1, 7, b"\x01a", Micros(3_000), true).unwrap();
    log.insert(1, 8, b"\x01a", Micros(9_000), true).unwrap();
    assert_eq!(log.forgotten_open_until(1), ENDED, "none was forgotten");
    assert_eq!(log.insert(1, 7, b"\x01b", Micros(2_000), true), None);
    assert_eq!((log.forgotten_open_until(1), log.forgotten_open_until(2)), (Micros(3_000), ENDED));
}
