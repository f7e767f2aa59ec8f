//! Tests of the state file: round trips, damage, arbitrary bytes.

use proptest::prelude::*;

use super::*;

fn state() -> State {
    let epoch = |counter| MapEpoch { term: 3, counter };
    let server = |name: &str, state, counter, boot_id, by_verdict| SavedServer {
        name: name.to_owned(),
        status: ServerStatus { state, since: epoch(counter), boot_id },
        by_verdict,
    };
    State {
        cluster: "shop eu".to_owned(),
        epoch: epoch(17),
        known: epoch(17),
        servers: vec![
            server("a1", ServerState::Online, 2, 0x0123_4567_89ab_cdef, false),
            server("a 2", ServerState::Offline, 17, u64::MAX, true),
            server("b1", ServerState::Returning, 9, 0, false),
        ],
    }
}

#[test]
fn the_text_has_the_documented_form() {
    let text = state().to_text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "standin master state 1");
    assert_eq!(lines[1], "cluster shop eu");
    assert_eq!(lines[2], "epoch 3.17");
    assert_eq!(lines[4], "server online 3.2 0123456789abcdef - a1");
    assert_eq!(lines[5], "server offline 3.17 ffffffffffffffff verdict a 2");
}

#[test]
fn a_written_state_is_read_back() {
    assert_eq!(State::from_bytes(state().to_text().as_bytes()), Ok(state()));
}

#[test]
fn a_truncated_or_edited_state_is_refused() {
    let text = state().to_text();
    assert_eq!(State::from_bytes(b""), Err(StateError::NotOurs));
    for len in 0..text.len() {
        assert!(State::from_bytes(&text.as_bytes()[..len]).is_err(), "first {len} bytes");
    }
    assert_eq!(
        State::from_bytes(text.replace("offline", "online").as_bytes()),
        Err(StateError::Checksum)
    );
}

#[test]
fn an_unknown_line_with_a_valid_checksum_is_named() {
    let text = state().to_text().replace("offline", "sleeping");
    let body_len = text.rfind("checksum").expect("there");
    let body = &text[..body_len];
    let text = format!("{body}checksum {:016x}\n", key_hash(0, body.as_bytes()));
    assert_eq!(State::from_bytes(text.as_bytes()), Err(StateError::Line(6)));
}

proptest! {
    #[test]
    fn random_bytes_are_a_typed_error(bytes: Vec<u8>) {
        prop_assert!(State::from_bytes(&bytes).is_err());
    }

    #[test]
    fn random_bodies_with_a_valid_checksum_do_not_panic(body in "[a-z0-9 .\n-]*") {
        let body = format!("{FIRST_LINE}\n{body}\n");
        let text = format!("{body}checksum {:016x}\n", key_hash(0, body.as_bytes()));
        let _ = State::from_bytes(text.as_bytes());
    }

    #[test]
    fn a_changed_byte_is_noticed(position: prop::sample::Index, byte: u8) {
        let mut bytes = state().to_text().into_bytes();
        let at = position.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        prop_assert!(State::from_bytes(&bytes).is_err());
    }
}
