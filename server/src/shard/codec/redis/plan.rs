//! What EXEC does first if keys are watched (watch.rs). A transaction that writes nothing, or the only watched key by
//! one command, is guarded by requests that every server understands, whatever the keyspace (guard.rs). For others
//! one server has to look at one key and write another in one step, which it can if all keys are in one partition of
//! a keyspace without a database (transact.rs).

use std::collections::VecDeque;

use super::inline;
use super::queued::commands;
use super::said::Said;
use super::transact;
use super::watch::{Exec, Rest, Seen, Transacted, Watched, guard};
use crate::shard::codec::Surroundings;
use crate::shard::codec::names::Names;

/// The way in which EXEC goes on.
#[derive(Debug)]
pub(super) enum Plan {
    /// Nothing is watched.
    Plain,
    /// The answer is null.
    Changed,
    /// The answer is this error.
    Refused(Said),
    /// The keys have to be as they were seen.
    Guarded(Box<Exec>),
    /// The owner carries it out in one step, by the request of these bytes.
    Transacted(Box<Transacted>, Vec<u8>),
}

/// Plans a transaction of these commands.
pub(super) fn plan(watched: &Watched, queue: &[u8], around: &Surroundings<'_>) -> Plan {
    if watched.is_empty() {
        return Plan::Plain;
    }
    if watched.has_more {
        return Plan::Refused(Said::TooManyWatched);
    }
    if watched.keys.iter().any(|(_, seen)| *seen == Seen::Unknown) {
        // A client that is told that a key has changed tries again, for ever.
        // A value of more bytes is never cached.
        let is_too_large = watched.unknown_bytes > around.limits.value_bytes as usize;
        return if is_too_large { Plan::Refused(Said::WatchedTooLarge) } else { Plan::Changed };
    }
    let effect = match Effect::of(watched, queue, around.names) {
        Ok(effect) => effect,
        Err(said) => {
            return match transact::plan(watched, queue, around) {
                Some(Ok((transacted, bytes))) => Plan::Transacted(transacted, bytes),
                Some(Err(said)) => Plan::Refused(said),
                None => Plan::Refused(said),
            };
        }
    };
    let mut exec = Exec {
        guards: VecDeque::new(),
        seen: Seen::Unknown,
        rest: Rest { queue: queue.to_vec(), ends: effect.ends },
        written: effect.written.map(|(number, _)| number),
        expires: effect.expires.map(|(number, _)| number),
    };
    match effect.written {
        Some((_, write)) => {
            let seen = watched.keys[0].1;
            let expire = effect.expires.map(|(_, expire)| expire);
            exec.guards.push_back((seen, guard(seen, write, expire)));
        }
        None => exec.guards.extend(watched.keys.iter().map(|(name, seen)| {
            let read = inline::join(&[b"GET".to_vec(), name.to_vec()]);
            (*seen, guard(*seen, &read, None))
        })),
    }
    Plan::Guarded(Box::new(exec))
}

/// What a transaction does to the keys that are watched.
#[derive(Debug, Default)]
struct Effect<'a> {
    /// The number and the bytes of the command that writes the watched key.
    written: Option<(usize, &'a [u8])>,
    /// Those of the command that gives it a lifetime then.
    expires: Option<(usize, &'a [u8])>,
    /// Where each command ends.
    ends: Vec<usize>,
}

impl<'a> Effect<'a> {
    /// Fails if guards can't carry the transaction out surely: one looks at one key and writes it, once.
    fn of(watched: &Watched, queue: &'a [u8], names: &Names) -> Result<Self, Said> {
        let (mut effect, mut writes, mut has_read) = (Self::default(), false, false);
        for (number, command) in commands(queue).enumerate() {
            effect.ends.push(effect.ends.last().copied().unwrap_or(0) + command.bytes.len());
            let keys = command.keys();
            let is_watched =
                |key: &&[u8]| watched.keys.iter().any(|(watched, _)| is_same(watched, key, names));
            match (command.writes(), keys.iter().any(is_watched)) {
                (false, true) => has_read = true,
                (false, false) => {}
                // It drops everything.
                (true, _) if keys.is_empty() => return Err(Said::WatchesOne),
                (true, false) => writes = true,
                (true, true) => {
                    let is_one = keys.len() == 1 && watched.keys.len() == 1;
                    let place = (number, command.bytes);
                    if is_one && effect.written.is_none() && !has_read {
                        effect.written = Some(place);
                    } else if is_one && effect.expires.is_none() && !has_read && command.expires() {
                        effect.expires = Some(place);
                    } else {
                        return Err(Said::WatchesOne);
                    }
                }
            }
        }
        match effect.written {
            None if writes => Err(Said::WatchesOne),
            _ => Ok(effect),
        }
    }
}

/// Whether two names are those of one key.
fn is_same(name: &[u8], other: &[u8], names: &Names) -> bool {
    name == other || key(name, names).is_some_and(|one| key(other, names) == Some(one))
}

/// The keyspace of a name, and the key in it.
fn key<'a>(name: &'a [u8], names: &Names) -> Option<(u8, &'a [u8])> {
    let named = names.of(name)?;
    Some((named.keyspace, &name[named.prefix..]))
}

#[cfg(test)]
mod tests {
    use super::super::tests::shown;
    use super::*;

    const BUSY: &str = "-TRYAGAIN this server is out of memory or overloaded\r\n";
    const GONE: &str = "*-1\r\n";
    const NOT_INTEGER: &str = "-ERR value is not an integer or out of range\r\n";
    const ABORTED: &str = "-EXECABORT Transaction discarded because of previous errors.\r\n";

    /// Asserts what EXEC answers, behind the replies to WATCH and MULTI and to what waits.
    fn assert_exec(watch: &str, lines: &str, wanted: &str) {
        let lines: Vec<&str> = lines.split('|').filter(|line| !line.is_empty()).collect();
        let watch_line = format!("WATCH {watch}");
        let begin = [&*watch_line, "MULTI"];
        let said = shown(&[&begin[..], &lines[..], &["EXEC", "ECHO end"][..]].concat().join("|"));
        let before = ["+OK\r\n", &"+QUEUED\r\n".repeat(lines.len())].concat();
        assert!(said.starts_with("+OK\r\n"), "{said}");
        let said = &said[said.rfind(&before).expect("what waits") + before.len()..];
        assert_eq!(said, format!("{wanted}$3\r\nend\r\n"), "{watch}: {lines:?}");
    }

    /// Names keys, which are single letters, in this keyspace.
    fn named(line: &str, keyspace: &str) -> String {
        let is_key = |word: &str| word.len() == 1 && word.bytes().all(|b| b.is_ascii_lowercase());
        let name = |word: &str| match is_key(word) {
            true => format!("{keyspace}{word}"),
            false => word.to_owned(),
        };
        let words = |line: &str| line.split(' ').map(name).collect::<Vec<_>>().join(" ");
        line.split('|').map(words).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn a_transaction_is_carried_out_if_what_it_watches_has_not_changed() {
        for (watch, lines, wanted) in [
            ("h", "SET h 1|GET h", "*2\r\n+OK\r\n$2\r\nhh\r\n"),
            (
                "h",
                "SET i 1|MGET i m|INCR h|EXPIRE h 10|TTL h",
                "*5\r\n+OK\r\n*2\r\n$2\r\nii\r\n$-1\r\n:1\r\n:1\r\n:3\r\n",
            ),
            ("h", "PING|DEL i j|DEL h", "*3\r\n+PONG\r\n:2\r\n:1\r\n"),
            ("h", "INCR h", "*1\r\n:1\r\n"),
            // The condition of the command itself, and what is no number.
            ("n", "SETNX n 1", "*1\r\n:0\r\n"),
            ("x", "INCR x|EXPIRE x 1|PING", &format!("*3\r\n{NOT_INTEGER}{NOT_INTEGER}+PONG\r\n")),
            // There is none, and there was none.
            ("m", "DEL m", "*1\r\n:0\r\n"),
            ("m", "INCR m|PING", "*2\r\n:1\r\n+PONG\r\n"),
            ("m", "SET m 1 XX", "*1\r\n$-1\r\n"),
            // Changed, or it can't be told.
            ("v", "SET v 1|PING", GONE),
            ("v", "GET v|PING", GONE),
            ("h v", "PING", GONE),
            (
                "h|GET h|STRLEN i|MGET i h|GETRANGE h 0 -1|EXISTS h|TTL h",
                "SET h 1",
                "*1\r\n+OK\r\n",
            ),
            ("w|GET w", "SET w 1", GONE),
            ("w|MGET h w", "SET w 1", GONE),
            ("w|GETRANGE w 0 1", "SET w 1", GONE),
            ("w|EXISTS w", "SET w 1", GONE),
            ("w|TTL w", "GET w", GONE),
            ("w", "SET w 1", "*1\r\n+OK\r\n"),
            ("h i", "GET h|PING", "*2\r\n$2\r\nhh\r\n+PONG\r\n"),
            ("h i h h", "", "*0\r\n"),
        ] {
            for keyspace in ["", "rows:"] {
                assert_exec(&named(watch, keyspace), &named(lines, keyspace), wanted);
            }
        }
        let too_large = format!("{}\r\n", Said::WatchedTooLarge.text());
        for watch in ["large", "h large", "large|GET large"] {
            let said =
                shown(&format!("WATCH {watch}|MULTI|SET large 1|EXEC|MULTI|SET large 1|EXEC"));
            let done = "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n";
            assert!(said.ends_with(&format!("+QUEUED\r\n{too_large}{done}")), "{watch}: {said}");
        }
        assert_eq!(shown("WATCH o|MULTI|SET o 1|EXEC"), format!("{BUSY}+OK\r\n+QUEUED\r\n{GONE}"));
        assert_eq!(shown("HELLO 3|WATCH v|MULTI|SET v 1|EXEC").lines().last(), Some("_"));
        for ends in ["UNWATCH", "MULTI|DISCARD", "RESET", "MULTI|GET|EXEC", "MULTI|EXEC"] {
            let said = shown(&format!("WATCH v|{ends}|MULTI|SET v 1|EXEC"));
            assert!(said.ends_with("+QUEUED\r\n*1\r\n+OK\r\n"), "{ends}: {said}");
        }
    }

    #[test]
    fn what_the_owner_can_not_do_in_one_step_is_refused() {
        let refused = format!("{}\r\n", Said::WatchesOne.text());
        for (watch, lines) in [
            ("h", "SET i 1"),
            ("h i", "SET h 1"),
            ("h", "SET h 1|SET h 2"),
            ("h", "GET h|SET h 2"),
            ("h", "MSET h 1 i 2"),
            ("h", "FLUSHALL|SET h 1"),
        ] {
            assert_exec(&named(watch, "rows:"), &named(lines, "rows:"), &refused);
        }
        for (watch, lines) in [
            ("h{1}", "SET i{3} 1"),
            ("h{1} h{3}", "SET h{1} 1"),
            ("h{1} users:h{1}", "SET h{1} 1"),
            ("h{1} rows:h{1}", "SET h{1} 1"),
            ("h{1}", "MSET h{1} 1 h{3} 2"),
            ("h{1} i{1}", "SET h{1} 1|FLUSHALL"),
        ] {
            assert_exec(watch, lines, &refused);
        }
        assert_exec("rows:h", "INCRBY rows:h x", ABORTED);
        // With the heads of the request it is longer than a value may be.
        let long = format!("SET h{{1}} {}|SET h{{1}} 1", "x".repeat(950));
        assert_exec("h{1}", &long, &refused);
    }

    #[test]
    fn the_owner_carries_out_a_transaction_of_one_partition_in_one_step() {
        for (watch, lines, wanted) in [
            ("h{1}", "SET i{1} 1", "*1\r\n+OK\r\n"),
            ("h{1} i{1}", "SET h{1} 1", "*1\r\n+OK\r\n"),
            ("h{1} i{1} m{1}", "MSET h{1} 1 m{1} 2|DEL h{1} m{1} i{1}", "*2\r\n+OK\r\n:2\r\n"),
            ("h{1}", "SET h{1} 1|SET h{1} 2", "*2\r\n+OK\r\n+OK\r\n"),
            ("h{1}", "GET h{1}|PING|SET rest:h{1} 2", "*3\r\n$8\r\nh{1}h{1}\r\n+PONG\r\n+OK\r\n"),
            (
                "h{1} i{1}",
                "ECHO 1|GETRANGE h{1} 0 3|TIME|MGET m{1} h{1}|EXISTS m{1} h{1} h{1}|STRLEN h{1}|TTL h{1}",
                "*7\r\n$1\r\n1\r\n$4\r\nh{1}\r\n*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n\
                 *2\r\n$-1\r\n$8\r\nh{1}h{1}\r\n:2\r\n:8\r\n:3\r\n",
            ),
            ("users:h{1} users:i{1}", "INCR users:j{1}", "*1\r\n:1\r\n"),
            ("v{1} h{1}", "SET h{1} 1", GONE),
            ("h{1} v{1}", "SET h{1} 1|PING", GONE),
            ("h{1}", "SET o{1} 1|PING", BUSY),
            (
                "h{1}",
                "SET u{1} 1",
                "-ERR OUTCOME_UNKNOWN: it may have been carried out; read before it is sent again\r\n",
            ),
            // A wrong word is answered in its place, and the others are carried out, as by Redis.
            ("h{1} i{1}", "INCRBY h{1} x|SET i{1} 1", &format!("*2\r\n{NOT_INTEGER}+OK\r\n")),
            ("h{1} i{1}", "MSET h{1} 1 \"\" 2", ABORTED),
            ("h{1} i{1}", "", "*0\r\n"),
        ] {
            assert_exec(watch, lines, wanted);
        }
        let most = ["SET h{1} 1"; 8].join("|");
        assert_exec("h{1} i{1}", &most, &format!("*8\r\n{}", "+OK\r\n".repeat(8)));
    }
}
