//! Control datagrams, as they come and as a member that knows the secret could make them.

use standin_protocol::auth::{ClusterKey, Purpose};
use standin_protocol::control::{DATAGRAM_HEADER_BYTES, Datagram, DatagramError, ReplayWindow};
use standin_protocol::map::SERVERS_MAX;

/// Nothing gets through without the code; what gets through with it can be sent again.
pub fn datagram(data: &[u8]) {
    let key = ClusterKey::new([7; 32]);
    if let Ok(parsed) = Datagram::parse(data, None, None) {
        readable(&parsed, data, None);
        assert_eq!(Datagram::parse(data, Some(&key), None), Err(DatagramError::Code));
        let other = Datagram::parse(data, None, Some(!parsed.topology_id));
        assert_eq!(other, Err(DatagramError::Topology));
    }
    // Seeds and mutations have stale codes: seal the rest again, so that bodies are reached.
    for signed in [data, data.get(..data.len().saturating_sub(16)).unwrap_or_default()] {
        // The code of what clients send or get is made with their key, that of others with the secret.
        let mut refused = 0;
        for sealer in [&key, &key.for_clients()] {
            let mut sealed = signed.to_vec();
            sealed.extend_from_slice(&sealer.mac(Purpose::Datagram, &[signed]));
            match Datagram::parse(&sealed, Some(&key), None) {
                Ok(parsed) => readable(&parsed, &sealed, Some(&key)),
                Err(DatagramError::Code) => refused += 1,
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        assert!(refused <= 1, "one of the two is right");
    }
    replay(data);
}

fn readable(parsed: &Datagram, bytes: &[u8], key: Option<&ClusterKey>) {
    assert!(parsed.statuses.len() <= SERVERS_MAX);
    let again = parsed.to_bytes(key);
    assert_eq!(again[..DATAGRAM_HEADER_BYTES], bytes[..DATAGRAM_HEADER_BYTES]);
    if parsed.statuses.is_empty() && bytes.len() == DATAGRAM_HEADER_BYTES + 16 {
        assert_eq!(again, bytes, "written again, a datagram without a body is the same bytes");
    }
    assert_eq!(Datagram::parse(&again, key, Some(parsed.topology_id)).as_ref(), Ok(parsed));
}

/// No sequence number is accepted twice in a row, and none far behind the highest.
fn replay(data: &[u8]) {
    let mut window = ReplayWindow::default();
    let mut sequence = 0u64;
    let mut highest = 0;
    for &byte in data {
        sequence = sequence.wrapping_add_signed(i64::from(byte.cast_signed()));
        let accepted = window.accept(sequence);
        assert!(accepted || sequence <= highest, "higher than all before is new");
        assert!(!accepted || highest.saturating_sub(sequence) < 64);
        assert!(!window.accept(sequence), "twice");
        highest = highest.max(sequence);
    }
}
