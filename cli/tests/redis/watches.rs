//! WATCH of rows of a database.

use crate::speaker::Speaker;
use crate::start_speaking;

const VALUE_BYTES: u32 = 4_096;

/// A client that is told that a key has changed tries again. Nothing would ever tell it that it can't succeed.
#[test]
fn a_row_that_is_too_large_to_be_cached_can_not_be_watched_and_the_client_is_told_so() {
    let cluster =
        start_speaking("redis_large_rows", |config| config.limits.value_bytes = VALUE_BYTES);
    let large = vec![b'x'; VALUE_BYTES as usize + 1_024];
    cluster.set_row(b"large", &large);
    cluster.set_row(b"small", &large[..VALUE_BYTES as usize]);
    for server in ["a1", "b1"] {
        let mut speaker = Speaker::connect(cluster.service(server));
        let mut change = |watched: &[&str], written: &str| {
            let words: Vec<&[u8]> = std::iter::once("WATCH")
                .chain(watched.iter().copied())
                .map(str::as_bytes)
                .collect();
            assert_eq!(speaker.ask(&words), b"+OK\r\n");
            assert_eq!(speaker.ask(&[b"MULTI"]), b"+OK\r\n");
            assert_eq!(speaker.ask(&[b"SET", written.as_bytes(), b"1"]), b"+QUEUED\r\n");
            String::from_utf8(speaker.ask(&[b"EXEC"])).expect("text")
        };
        for _ in 0..2 {
            for watched in [&["large"][..], &["missing", "large"]] {
                let said = change(watched, "large");
                assert!(said.starts_with("-ERR EXEC was not carried out: the value"), "{said}");
            }
            assert_eq!(cluster.row(b"large").as_deref(), Some(&large[..]));
        }
        // One that is not watched is written, and one that fits is watched.
        assert_eq!(change(&["small"], "small"), "*1\r\n+OK\r\n");
        cluster.set_row(b"small", &large[..VALUE_BYTES as usize]);
        assert_eq!(speaker.ask(&[b"FLUSHALL"]), b"+OK\r\n");
    }
}
