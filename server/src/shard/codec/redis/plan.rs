//! What EXEC does first if keys are watched (watch.rs). One server can't look at one key and write another in
//! one step, so that a transaction which writes can watch one key only, and has to write it by one command.

use std::collections::VecDeque;

use super::bulk::{self, Word, Words};
use super::inline;
use super::said::Said;
use super::table::{self, Command, Found};
use super::watch::{Exec, Seen, Watched, guard};
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
}

/// Plans a transaction of these commands. Values of more bytes than these are never cached.
pub(super) fn plan(watched: &Watched, queue: &[u8], names: &Names, value_bytes: u64) -> Plan {
    if watched.is_empty() {
        return Plan::Plain;
    }
    if watched.has_more {
        return Plan::Refused(Said::TooManyWatched);
    }
    if watched.keys.iter().any(|(_, seen)| *seen == Seen::Unknown) {
        // A client that is told that a key has changed tries again, for ever.
        let is_too_large = watched.unknown_bytes as u64 > value_bytes;
        return if is_too_large { Plan::Refused(Said::WatchedTooLarge) } else { Plan::Changed };
    }
    let effect = match Effect::of(watched, queue, names) {
        Ok(effect) => effect,
        Err(said) => return Plan::Refused(said),
    };
    let mut exec = Exec {
        guards: VecDeque::new(),
        seen: Seen::Unknown,
        queue: queue.to_vec(),
        ends: effect.ends,
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
    /// Fails if the transaction can't be carried out surely: two keys can't be looked at and written in
    /// one step, and neither can one be written twice.
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

/// A command that waits for EXEC.
struct Queued<'a> {
    command: &'static Command,
    words: Vec<&'a [u8]>,
    bytes: &'a [u8],
}

impl<'a> Queued<'a> {
    fn writes(&self) -> bool {
        self.command.flags.contains(&"write") || self.is_script()
    }

    fn is_script(&self) -> bool {
        self.command.flags.contains(&"scripting")
    }

    /// Whether it gives a key a lifetime, without a condition.
    fn expires(&self) -> bool {
        const NAMES: [&str; 4] = ["expire", "expireat", "pexpire", "pexpireat"];
        NAMES.contains(&self.command.name) && self.words.len() == 3
    }

    /// Its keys.
    fn keys(&self) -> Vec<&'a [u8]> {
        let (first, last, step) = self.command.keys;
        let (first, step) = (first.unsigned_abs() as usize, step.unsigned_abs() as usize);
        if self.is_script() {
            let count = self.words.get(2).and_then(|word| bulk::number(word)).unwrap_or(0);
            let count = usize::try_from(count).unwrap_or(0);
            return self.words.iter().skip(3).take(count).copied().collect();
        }
        if first == 0 {
            return Vec::new();
        }
        let end = usize::try_from(last).map_or(self.words.len(), |last| last + 1);
        (first..end.min(self.words.len())).step_by(step).map(|at| self.words[at]).collect()
    }
}

/// The commands of a queue.
fn commands(queue: &[u8]) -> impl Iterator<Item = Queued<'_>> {
    let mut rest = queue;
    std::iter::from_fn(move || {
        let (queued, left) = command(rest)?;
        rest = left;
        Some(queued)
    })
}

/// The first command of a queue, and what follows it. A queue has whole commands that are known.
fn command(queue: &[u8]) -> Option<(Queued<'_>, &[u8])> {
    let (count, at) = bulk::count(queue).ok()??;
    let mut rest = Words { bytes: queue, at, left: u32::try_from(count).ok()? };
    let (mut name, mut words) = (rest, Vec::new());
    let Found::Command(index) = table::find(&mut name).ok()? else { return None };
    while rest.left > 0 {
        let Word::Whole(from, to) = rest.next().ok()?? else { return None };
        words.push(&queue[from as usize..to as usize]);
    }
    let (bytes, left) = queue.split_at(rest.at);
    Some((Queued { command: &table::COMMANDS[index], words, bytes }, left))
}

#[cfg(test)]
mod tests {
    use super::super::tests::shown;
    use super::*;

    #[test]
    fn a_transaction_is_carried_out_if_what_it_watches_has_not_changed() {
        let refused = format!("{}\r\n", Said::WatchesOne.text());
        let (busy, gone) =
            ("-TRYAGAIN this server is out of memory or overloaded\r\n", "*-1\r\n".to_owned());
        // What EXEC answers, behind the replies to WATCH and MULTI and to what waits.
        let not_integer = "-ERR value is not an integer or out of range\r\n";
        for (watch, lines, wanted) in [
            ("h", "SET h 1|GET h", "*2\r\n+OK\r\n$2\r\nhh\r\n".to_owned()),
            (
                "h",
                "SET i 1|MGET i m|INCR h|EXPIRE h 10|TTL h",
                "*5\r\n+OK\r\n*2\r\n$2\r\nii\r\n$-1\r\n:1\r\n:1\r\n:3\r\n".to_owned(),
            ),
            ("h", "PING|DEL i j|DEL h", "*3\r\n+PONG\r\n:2\r\n:1\r\n".to_owned()),
            ("h", "INCR h", "*1\r\n:1\r\n".to_owned()),
            ("rest:h", "ECHO x|SET h 1", "*2\r\n$1\r\nx\r\n+OK\r\n".to_owned()),
            // The condition of the command itself, and what is no number.
            ("n", "SETNX n 1", "*1\r\n:0\r\n".to_owned()),
            ("x", "INCR x|EXPIRE x 1|PING", format!("*3\r\n{not_integer}{not_integer}+PONG\r\n")),
            // There is none, and there was none.
            ("m", "DEL m", "*1\r\n:0\r\n".to_owned()),
            ("m", "INCR m|PING", "*2\r\n:1\r\n+PONG\r\n".to_owned()),
            ("m", "SET m 1 XX", "*1\r\n$-1\r\n".to_owned()),
            // Changed, or it can't be told.
            ("v", "SET v 1|PING", gone.clone()),
            ("v", "GET v|PING", gone.clone()),
            ("h v", "PING", gone.clone()),
            (
                "h|GET h|STRLEN i|MGET i h|GETRANGE h 0 -1|EXISTS h|TTL h",
                "SET h 1",
                "*1\r\n+OK\r\n".to_owned(),
            ),
            ("w|GET w", "SET w 1", gone.clone()),
            ("w|MGET h w", "SET w 1", gone.clone()),
            ("w|GETRANGE w 0 1", "SET w 1", gone.clone()),
            ("w|EXISTS w", "SET w 1", gone.clone()),
            ("w|TTL w", "GET w", gone.clone()),
            ("w", "SET w 1", "*1\r\n+OK\r\n".to_owned()),
            ("h i", "GET h|PING", "*2\r\n$2\r\nhh\r\n+PONG\r\n".to_owned()),
            ("h i h h", "", "*0\r\n".to_owned()),
            // What can't be carried out surely.
            ("h", "SET i 1", refused.clone()),
            ("h i", "SET h 1", refused.clone()),
            ("h", "SET h 1|SET h 2", refused.clone()),
            ("h", "GET h|SET h 2", refused.clone()),
            ("h", "MSET h 1 i 2", refused.clone()),
            ("h", "SET h 1|SET rest:h 2", refused.clone()),
            ("h", "FLUSHALL|SET h 1", refused.clone()),
            (
                "h",
                "INCRBY h x",
                "-EXECABORT Transaction discarded because of previous errors.\r\n".to_owned(),
            ),
        ] {
            let lines: Vec<&str> = lines.split('|').filter(|line| !line.is_empty()).collect();
            let watch_line = format!("WATCH {watch}");
            let begin = [&*watch_line, "MULTI"];
            let said =
                shown(&[&begin[..], &lines[..], &["EXEC", "ECHO end"][..]].concat().join("|"));
            let before = ["+OK\r\n", &"+QUEUED\r\n".repeat(lines.len())].concat();
            assert!(said.starts_with("+OK\r\n"), "{said}");
            let said = &said[said.rfind(&before).expect("what waits") + before.len()..];
            assert_eq!(said, format!("{wanted}$3\r\nend\r\n"), "{watch}: {lines:?}");
        }
        let too_large = format!("{}\r\n", Said::WatchedTooLarge.text());
        for watch in ["large", "h large", "large|GET large"] {
            let said =
                shown(&format!("WATCH {watch}|MULTI|SET large 1|EXEC|MULTI|SET large 1|EXEC"));
            let done = "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n";
            assert!(said.ends_with(&format!("+QUEUED\r\n{too_large}{done}")), "{watch}: {said}");
        }
        assert_eq!(shown("WATCH o|MULTI|SET o 1|EXEC"), format!("{busy}+OK\r\n+QUEUED\r\n{gone}"));
        assert_eq!(shown("HELLO 3|WATCH v|MULTI|SET v 1|EXEC").lines().last(), Some("_"));
        for ends in ["UNWATCH", "MULTI|DISCARD", "RESET", "MULTI|GET|EXEC", "MULTI|EXEC"] {
            let said = shown(&format!("WATCH v|{ends}|MULTI|SET v 1|EXEC"));
            assert!(said.ends_with("+QUEUED\r\n*1\r\n+OK\r\n"), "{ends}: {said}");
        }
    }
}
