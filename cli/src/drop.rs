//! `standin invalidate` and `standin flush`: drop cached values and leave the database alone.
//! Exit code 0: done; 2: some keys or partitions were not dropped.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::BufRead;
use std::process::ExitCode;

use clap::Args;
use standin_client::blocking::Client;
use standin_client::{ClientError, Flushed};

use crate::data::KeyspaceArgs;
use crate::{Ended, diagnostics, out};

/// The number of keys from standard input that are under way together.
const BATCH: usize = 4_096;

/// `standin invalidate`.
#[derive(Debug, Args)]
pub(crate) struct InvalidateArgs {
    #[command(flatten)]
    of: KeyspaceArgs,
    /// Keys; if none are given, they are read from standard input, one per line.
    #[arg(allow_negative_numbers = true)]
    keys: Vec<String>,
    /// Keys on standard input end with a NUL instead of a line break.
    #[arg(long, short = '0', conflicts_with = "keys")]
    null: bool,
}

/// `standin flush`.
#[derive(Debug, Args)]
pub(crate) struct FlushArgs {
    #[command(flatten)]
    of: KeyspaceArgs,
}

/// The results of many invalidations.
#[derive(Debug, Default)]
struct Tally {
    done: u64,
    failed: u64,
    /// For each reason, the number of keys that failed, and one of them.
    reasons: BTreeMap<String, (u64, Vec<u8>)>,
}

impl Tally {
    fn count(&mut self, key: &[u8], ended: Result<(), ClientError>) {
        match ended {
            Ok(()) => self.done += 1,
            Err(error) => {
                self.failed += 1;
                let reason = self.reasons.entry(error.to_string());
                reason.or_insert_with(|| (0, key.to_vec())).0 += 1;
            }
        }
    }
}

pub(crate) fn invalidate(args: &InvalidateArgs) -> Ended {
    let (mut client, keyspace) = args.of.open()?;
    let mut tally = Tally::default();
    if args.keys.is_empty() {
        let end = if args.null { 0 } else { b'\n' };
        let mut input = std::io::stdin().lock();
        loop {
            let keys = read_keys(&mut input, end)?;
            if keys.is_empty() {
                break;
            }
            invalidate_all(&mut client, keyspace, &keys, &mut tally);
            args.of.warn(&mut client);
        }
    } else {
        let keys: Vec<Vec<u8>> = args.keys.iter().map(|key| key.clone().into_bytes()).collect();
        invalidate_all(&mut client, keyspace, &keys, &mut tally);
        args.of.warn(&mut client);
    }
    for (reason, (count, key)) in &tally.reasons {
        let key = String::from_utf8_lossy(key);
        diagnostics::remark(&format!("standin: {count} keys, such as {key:?}: {reason}"));
    }
    if tally.failed > 0 {
        return Err(format!(
            "{} of {} keys were not invalidated; run the command again for them. Invalidating a \
             key twice only costs one more read",
            tally.failed,
            tally.failed + tally.done
        )
        .into());
    }
    Ok(ExitCode::SUCCESS)
}

fn invalidate_all(client: &mut Client, keyspace: u8, keys: &[Vec<u8>], tally: &mut Tally) {
    let ended = client.invalidate_many(keyspace, keys);
    for (key, ended) in keys.iter().zip(ended) {
        tally.count(key, ended);
    }
}

/// Reads the next keys of the input; none at its end. Empty lines are skipped.
fn read_keys(input: &mut impl BufRead, end: u8) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let mut keys = Vec::new();
    while keys.len() < BATCH {
        let mut key = Vec::new();
        if input.read_until(end, &mut key)? == 0 {
            break;
        }
        if key.last() == Some(&end) {
            key.pop();
        }
        if end == b'\n' && key.last() == Some(&b'\r') {
            key.pop();
        }
        if !key.is_empty() {
            keys.push(key);
        }
    }
    Ok(keys)
}

pub(crate) fn flush(args: &FlushArgs) -> Ended {
    let (mut client, keyspace) = args.of.open()?;
    let flushed = client.flush(keyspace);
    args.of.warn(&mut client);
    let flushed = flushed?;
    let Flushed { partitions, failed } = &flushed;
    if flushed.is_complete() {
        out::line(&format!("{}: flushed in {partitions} partitions", args.of.keyspace))?;
        return Ok(ExitCode::SUCCESS);
    }
    let map = client.map_in_force();
    let mut reasons: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (partition, error) in failed {
        let home = map.as_ref().map(|map| map.topology.home(*partition));
        let info = map.as_ref().zip(home);
        let info = info.and_then(|(map, home)| map.topology.servers.get(usize::from(home)));
        let name = info.map_or_else(|| "?".to_owned(), |info| info.name.clone());
        *reasons.entry((name, error.to_string())).or_default() += 1;
    }
    for ((home, reason), count) in reasons {
        diagnostics::remark(&format!("standin: {count} partitions whose home is {home}: {reason}"));
    }
    Err(format!(
        "{} of {partitions} partitions of {} were not flushed; the others were. Run the command \
         again when their servers, or stand-ins for these, are reachable; flushing twice is \
         harmless",
        failed.len(),
        args.of.keyspace
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_lines_or_end_with_a_nul() {
        let mut lines = &b"one\n\ntwo words\r\nlast"[..];
        let keys = read_keys(&mut lines, b'\n').unwrap();
        assert_eq!(keys, [&b"one"[..], b"two words", b"last"]);
        assert!(read_keys(&mut lines, b'\n').unwrap().is_empty());
        let mut nuls = &b"a\nb\r\0c"[..];
        assert_eq!(read_keys(&mut nuls, 0).unwrap(), [&b"a\nb\r"[..], b"c"]);
    }

    #[test]
    fn the_input_is_read_in_batches() {
        let input = "k\n".repeat(BATCH + 1);
        let mut input = input.as_bytes();
        assert_eq!(read_keys(&mut input, b'\n').unwrap().len(), BATCH);
        assert_eq!(read_keys(&mut input, b'\n').unwrap().len(), 1);
    }
}
