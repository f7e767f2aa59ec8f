//! Control datagrams: layout, round trips, what bad ones get, and the replay window.

#[expect(dead_code, reason = "each test binary uses a part of it")]
mod support;

use std::collections::HashSet;

use proptest::prelude::*;
use standin_protocol::auth::ClusterKey;
use standin_protocol::auth::MAC_BYTES;
use standin_protocol::auth::Purpose;
use standin_protocol::control::{
    DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_SENT_MAX, DATAGRAM_HEADER_BYTES, Datagram, DatagramError,
    DatagramKind, Probed, ReplayWindow, SENDER_CLIENT, SENDER_MASTER,
};
use standin_protocol::map::{MapEpoch, SERVERS_MAX, ServerState, ServerStatus};
use support::{epoch, hex, status};

const SECRET: [u8; 32] = [7; 32];
/// Bytes of one server's state in a body.
const STATUS_BYTES: usize = 17;

fn key() -> ClusterKey {
    ClusterKey::new(SECRET)
}

/// Appends the right code to bytes that `to_bytes` would never produce.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let mac = key().mac(Purpose::Datagram, &[&bytes]);
    bytes.extend_from_slice(&mac);
    bytes
}

/// Bytes of a datagram without its code.
fn unsealed(datagram: &Datagram) -> Vec<u8> {
    let mut bytes = datagram.to_bytes(None);
    bytes.truncate(bytes.len() - MAC_BYTES);
    bytes
}

prop_compose! {
    fn server_status()(
        state in prop::sample::select(ServerState::ALL), since: u64, boot_id: u64
    ) -> ServerStatus {
        ServerStatus { state, since: MapEpoch::from_u64(since), boot_id }
    }
}

prop_compose! {
    fn probed()(boot_id: u64, epoch: u64) -> Probed {
        Probed { boot_id, map_epoch: MapEpoch::from_u64(epoch) }
    }
}

prop_compose! {
    fn datagram()(
        kind in prop::sample::select(DatagramKind::ALL), sender: u16, recipient: u16, subject: u16, topology_id: u64,
        boot_id: u64, sequence: u64, epoch: u64, nonce: u64, arg: u32,
        statuses in prop::collection::vec(server_status(), 0..20), first in 0u16..1_000,
        probed in prop::option::of(probed()),
    ) -> Datagram {
        use DatagramKind::{Announce, Gossip, ProbeResult, Verdict};
        let has_states = matches!(kind, Announce | Verdict | Gossip);
        let has_parts = matches!(kind, Announce | Gossip);
        Datagram {
            first: if has_parts { first } else { 0 },
            kind, sender, recipient, subject, topology_id, boot_id, sequence,
            epoch: MapEpoch::from_u64(epoch), nonce, arg,
            probed: probed.filter(|_| kind == ProbeResult),
            statuses: if has_states { statuses } else { Vec::new() },
        }
    }
}

#[test]
fn every_header_field_lies_where_the_document_says() {
    let datagram = Datagram {
        kind: DatagramKind::Renew,
        sender: 0x0504,
        recipient: 0x3534,
        subject: 0x0706,
        topology_id: 0x0F0E_0D0C_0B0A_0908,
        boot_id: 0x1716_1514_1312_1110,
        sequence: 0x1F1E_1D1C_1B1A_1918,
        epoch: MapEpoch::from_u64(0x2726_2524_2322_2120),
        nonce: 0x2F2E_2D2C_2B2A_2928,
        arg: 0x3332_3130,
        first: 0,
        statuses: Vec::new(),
        probed: None,
    };
    let mut counting: Vec<u8> = (0..56).collect();
    counting[..4].copy_from_slice(&[0x44, 1, 4, 0]);
    counting[54..].copy_from_slice(&[0; 2]);
    let bytes = datagram.to_bytes(Some(&key()));
    assert_eq!(hex(&bytes[..DATAGRAM_HEADER_BYTES]), hex(&counting));
    let part = Datagram { kind: DatagramKind::Gossip, first: 0x0137, ..datagram.clone() };
    assert_eq!(part.to_bytes(None)[54..56], [0x37, 0x01]);
    assert_eq!(bytes.len(), DATAGRAM_HEADER_BYTES + MAC_BYTES);
    assert_eq!(bytes[56..], key().mac(Purpose::Datagram, &[&counting]));
}

#[test]
fn what_a_probe_has_found_is_two_numbers_or_nothing() {
    let mut result = Datagram::new(DatagramKind::ProbeResult, 1, 1, 1);
    assert_eq!(result.to_bytes(None).len(), DATAGRAM_HEADER_BYTES + MAC_BYTES);
    let map_epoch = MapEpoch::from_u64(0x0F0E_0D0C_0B0A_0908);
    result.probed = Some(Probed { boot_id: 0x0706_0504_0302_0100, map_epoch });
    let bytes = result.to_bytes(None);
    let body = &bytes[DATAGRAM_HEADER_BYTES..bytes.len() - MAC_BYTES];
    assert_eq!(body, (0..16).collect::<Vec<u8>>());
    assert_eq!(Datagram::parse(&bytes, None, None), Ok(result));
}

#[test]
fn a_body_is_the_states_then_a_relative_pointer_and_a_count() {
    let mut datagram = Datagram::new(DatagramKind::Announce, 0xFFFE, 1, 1);
    datagram.statuses = vec![
        status(
            ServerState::Returning,
            MapEpoch::from_u64(0x0706_0504_0302_0100),
            0x0F0E_0D0C_0B0A_0908,
        ),
        status(ServerState::Online, MapEpoch::default(), 0),
    ];
    let bytes = datagram.to_bytes(None);
    let body = &bytes[DATAGRAM_HEADER_BYTES..bytes.len() - MAC_BYTES];
    let mut expected: Vec<u8> = (0..16).collect();
    expected.push(2);
    expected.extend_from_slice(&[0; STATUS_BYTES]);
    expected.extend_from_slice(&(-34i32).to_le_bytes());
    expected.extend_from_slice(&2u32.to_le_bytes());
    assert_eq!(hex(body), hex(&expected));
}

#[test]
fn no_datagram_that_is_sent_is_larger_than_any_network_carries() {
    let mut datagram = Datagram::new(DatagramKind::Announce, 0xFFFE, 1, 1);
    datagram.statuses = vec![ServerStatus::default(); SERVERS_MAX];
    let parts = datagram.clone().parts();
    let mut statuses = Vec::new();
    for part in &parts {
        let bytes = part.to_bytes(None);
        assert!(bytes.len() <= DATAGRAM_BYTES_SENT_MAX, "{} bytes", bytes.len());
        assert_eq!(Datagram::parse(&bytes, None, Some(1)).as_ref(), Ok(part));
        assert_eq!(usize::from(part.first), statuses.len());
        statuses.extend_from_slice(&part.statuses);
    }
    assert_eq!(statuses, datagram.statuses);
    // One state more in each would be too many.
    let one = Datagram { statuses: vec![ServerStatus::default(); 26], ..datagram.clone() };
    assert!(one.to_bytes(None).len() > DATAGRAM_BYTES_SENT_MAX);
    // Datagrams of an older member are read as well.
    let bytes = datagram.to_bytes(None);
    assert!(bytes.len() <= DATAGRAM_BYTES_MAX, "{} bytes", bytes.len());
    assert_eq!(Datagram::parse(&bytes, None, Some(1)), Ok(datagram));
}

#[test]
fn bad_datagrams_get_the_error_they_deserve() {
    use DatagramError::{Body, Code, NotOurs, Topology, Version};
    let plain = unsealed(&Datagram::new(DatagramKind::Renew, 1, 77, 5));
    let mut announce = Datagram::new(DatagramKind::Announce, 0xFFFE, 77, 5);
    announce.statuses = vec![status(ServerState::Offline, epoch(1, 1), 9)];
    let announce = unsealed(&announce);
    let changed = |bytes: &[u8], offset: usize, byte: u8| {
        let mut bytes = bytes.to_vec();
        bytes[offset] = byte;
        sealed(bytes)
    };
    let with = |bytes: &[u8], more: &[u8]| sealed([bytes, more].concat());
    let unknown_state = changed(&announce, DATAGRAM_HEADER_BYTES + 16, 5);
    let too_many = {
        let mut body = vec![0; (SERVERS_MAX + 1) * STATUS_BYTES];
        let offset = -i32::try_from(body.len()).expect("small");
        body.extend_from_slice(&offset.to_le_bytes());
        body.extend_from_slice(&1_025u32.to_le_bytes());
        with(&announce[..DATAGRAM_HEADER_BYTES], &body)
    };
    let mut flipped = sealed(plain.clone());
    flipped[40] ^= 1;
    let table = [
        ("empty", Vec::new(), NotOurs),
        ("one byte short", sealed(plain.clone())[..71].to_vec(), NotOurs),
        ("too long", sealed(vec![0x44; DATAGRAM_BYTES_MAX]), NotOurs),
        ("other magic", changed(&plain, 0, b'S'), NotOurs),
        ("version 0", changed(&plain, 1, 0), Version(0)),
        ("version 2", changed(&plain, 1, 2), Version(2)),
        ("kind 0", changed(&plain, 2, 0), Body(0)),
        ("kind 12", changed(&plain, 2, 12), Body(12)),
        ("reserved", changed(&plain, 3, 1), NotOurs),
        ("a part of what has none", changed(&plain, 54, 1), NotOurs),
        ("states of servers that can't be", changed(&announce, 55, 4), Body(6)),
        ("other cluster", changed(&plain, 8, 78), Topology),
        ("a body where none belongs", with(&plain, &[0; 8]), Body(4)),
        ("no body where one belongs", sealed(announce[..56].to_vec()), Body(6)),
        ("body cut", sealed(announce[..announce.len() - 1].to_vec()), Body(6)),
        ("count too high", changed(&announce, announce.len() - 4, 2), Body(6)),
        ("pointer out of the body", changed(&announce, announce.len() - 8, 0), Body(6)),
        ("unknown state", unknown_state, Body(6)),
        ("too many states", too_many, Body(6)),
        ("a flipped bit", flipped, Code),
        (
            "another secret",
            Datagram::new(DatagramKind::Renew, 1, 77, 5).to_bytes(Some(&ClusterKey::new([8; 32]))),
            Code,
        ),
        ("no secret", Datagram::new(DatagramKind::Renew, 1, 77, 5).to_bytes(None), Code),
    ];
    for (what, bytes, expected) in table {
        assert_eq!(Datagram::parse(&bytes, Some(&key()), Some(77)), Err(expected), "{what}");
    }
}

#[test]
fn with_the_clients_key_only_datagrams_of_clients_can_be_made() {
    let (members, clients) = (key(), key().for_clients());
    let report = Datagram::new(DatagramKind::ReportFailed, SENDER_CLIENT, 77, 5);
    let verdict = Datagram {
        recipient: SENDER_CLIENT,
        ..Datagram::new(DatagramKind::Verdict, SENDER_MASTER, 77, 5)
    };
    for datagram in [&report, &verdict] {
        for (by, of) in [(&members, &clients), (&clients, &members)] {
            let read = Datagram::parse(&datagram.to_bytes(Some(by)), Some(of), Some(77));
            assert_eq!(read.as_ref(), Ok(datagram));
        }
    }
    for (kind, sender, recipient) in [
        (DatagramKind::Renew, 1, SENDER_MASTER),
        (DatagramKind::Leaving, 1, SENDER_MASTER),
        (DatagramKind::ReportFailed, 2, SENDER_MASTER),
        (DatagramKind::Announce, SENDER_MASTER, 1),
        (DatagramKind::Gossip, 1, 2),
    ] {
        let forged = Datagram { recipient, ..Datagram::new(kind, sender, 77, 5) };
        let read = Datagram::parse(&forged.to_bytes(Some(&clients)), Some(&members), Some(77));
        assert_eq!(read, Err(DatagramError::Code), "{kind:?}");
    }
}

proptest! {
    #[test]
    fn datagrams_come_back(datagram in datagram(), with_secret: bool) {
        let key = with_secret.then(key);
        let bytes = datagram.to_bytes(key.as_ref());
        prop_assert_eq!(Datagram::parse(&bytes, key.as_ref(), None), Ok(datagram.clone()));
        let own = datagram.topology_id;
        let parsed = Datagram::parse(&bytes, key.as_ref(), Some(own)).unwrap();
        // A member that passes it on writes it anew: the code of its sender must still fit.
        prop_assert_eq!(parsed.to_bytes(key.as_ref()), bytes.clone());
        prop_assert_eq!(parsed, datagram);
        let other = Datagram::parse(&bytes, key.as_ref(), Some(own ^ 1));
        prop_assert_eq!(other, Err(DatagramError::Topology));
    }

    /// No bit of a datagram can change unnoticed.
    #[test]
    fn damage_is_noticed(datagram in datagram(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = datagram.to_bytes(Some(&key()));
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Datagram::parse(&bytes, Some(&key()), None).is_err());
    }

    #[test]
    fn truncation_is_noticed(datagram in datagram(), at in any::<prop::sample::Index>()) {
        let bytes = datagram.to_bytes(Some(&key()));
        let at = at.index(bytes.len());
        prop_assert!(Datagram::parse(&bytes[..at], Some(&key()), None).is_err());
    }

    /// Behind a right code (a member gone mad) bodies still can't do harm.
    #[test]
    fn sealed_rubbish_never_panics(
        datagram in datagram(), body in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let header = &unsealed(&datagram)[..DATAGRAM_HEADER_BYTES];
        if let Ok(parsed) = Datagram::parse(&sealed([header, &body].concat()), Some(&key()), None) {
            prop_assert_eq!(Datagram::parse(&parsed.to_bytes(None), None, None), Ok(parsed));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Datagram::parse(&bytes, None, None).is_err());
    }

    /// The window accepts what a set of everything seen would, cut off 64 behind the highest.
    #[test]
    fn the_replay_window_is_a_set_with_a_horizon(
        start in prop_oneof![Just(0u64), Just(u64::MAX - 300), any::<u64>()],
        steps in prop::collection::vec(prop_oneof![0u64..4, 0u64..70, 0u64..300], 1..200),
    ) {
        let mut window = ReplayWindow::default();
        let (mut seen, mut highest) = (HashSet::new(), 0);
        for step in steps {
            let sequence = start.saturating_add(step);
            let is_new = sequence > highest
                || (sequence > 0 && highest - sequence < 64 && !seen.contains(&sequence));
            prop_assert_eq!(window.accept(sequence), is_new, "sequence {}", sequence);
            seen.insert(sequence);
            highest = highest.max(sequence);
        }
    }
}
