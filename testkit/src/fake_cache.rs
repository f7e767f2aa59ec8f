//! A cache that speaks the protocols of memcached and Redis, and makes one mistake when it is told to: for tests of
//! what judges caches. Bytes in, bytes out; it has no clock, and its socket is in `fake_server.rs`.

use std::collections::HashMap;

/// The protocol of a [`FakeCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// memcached's classic commands.
    Text,
    /// memcached's meta commands.
    Meta,
    /// Redis' protocol, version 2.
    Resp2,
    /// Redis' protocol, version 3.
    Resp3,
}

impl Speaks {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Text, Self::Meta, Self::Resp2, Self::Resp3];
}

/// The mistake of a [`FakeCache`]. It is made once there is an opportunity after this many requests of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// None.
    Nothing,
    /// A read returns the value before the last one; again after as many reads.
    StaleRead(u64),
    /// A write is acknowledged and not executed.
    LostWrite(u64),
    /// An add overwrites the value that is there.
    AddOver(u64),
    /// A read returns the first half of the value and the second half of the one before.
    TornValue(u64),
    /// A read returns the value of another key.
    WrongKey(u64),
    /// An increment is acknowledged and not made; the counter's last one if there are fewer.
    LostIncrement(u64),
    /// An increment is made twice.
    DoubledIncrement(u64),
    /// A compare-and-swap succeeds although the version is an older one.
    SwapOfOldVersion(u64),
    /// The answers for two keys of one request are exchanged.
    ExchangedKeys(u64),
}

#[derive(Debug, Default)]
struct Versions {
    now: Option<Vec<u8>>,
    before: Option<Vec<u8>>,
    number: u64,
}

/// See the head of the file.
#[derive(Debug)]
pub struct FakeCache {
    speaks: Speaks,
    planted: Planted,
    /// The password that the only connection has not told yet.
    password: Option<Vec<u8>>,
    values: HashMap<Vec<u8>, Versions>,
    reads: u64,
    writes: u64,
    increments: u64,
    swaps: u64,
    multi_gets: u64,
    /// Keys of meta commands whose answers come with the last.
    gathered: Vec<Vec<u8>>,
    made: u64,
}

impl FakeCache {
    /// An empty cache.
    #[must_use]
    pub fn new(speaks: Speaks, planted: Planted) -> Self {
        let values = HashMap::new();
        Self {
            speaks,
            planted,
            password: None,
            values,
            reads: 0,
            writes: 0,
            increments: 0,
            swaps: 0,
            multi_gets: 0,
            gathered: Vec::new(),
            made: 0,
        }
    }

    /// A Redis with this password. It must get a single connection.
    #[must_use]
    pub fn with_password(self, password: &str) -> Self {
        Self { password: Some(password.into()), ..self }
    }

    /// The number of mistakes that it has made.
    #[must_use]
    pub fn mistakes(&self) -> u64 {
        self.made
    }

    /// Answers the whole requests at the beginning of `input`, which are removed from it.
    ///
    /// # Panics
    /// If there is a command that it does not have.
    pub fn answer(&mut self, input: &mut Vec<u8>, output: &mut Vec<u8>) {
        let mut at = 0;
        while at < input.len() {
            let rest = &input[at..];
            let request = match self.speaks {
                Speaks::Text | Speaks::Meta => memcached_request(rest),
                Speaks::Resp2 | Speaks::Resp3 => redis_request(rest),
            };
            // The rest of the request is still to come.
            let Some((length, words)) = request else { break };
            let words: Vec<Vec<u8>> = words.into_iter().map(<[u8]>::to_vec).collect();
            at += length;
            self.execute(&words, output);
        }
        input.drain(..at);
    }

    fn execute(&mut self, words: &[Vec<u8>], output: &mut Vec<u8>) {
        if let Some(password) = &self.password {
            let is_right = words[0] == b"AUTH" && words.last() == Some(password);
            // Redis demands it before everything else, also before HELLO.
            if is_right {
                self.password = None;
                output.extend_from_slice(b"+OK\r\n");
            } else {
                output.extend_from_slice(b"-NOAUTH Authentication required.\r\n");
            }
            return;
        }
        match (self.speaks, words[0].as_slice()) {
            (_, b"stats") => {
                output.extend_from_slice(b"STAT version fake\r\nSTAT bytes 7\r\nEND\r\n");
            }
            (_, b"mg") if words[2].starts_with(b"T") => {
                let is_there = self.has(&words[1]);
                output.extend_from_slice(if is_there { b"HD\r\n" } else { b"EN\r\n" });
            }
            (Speaks::Text, b"get") if words.len() > 2 => {
                self.read_many(&words[1..], output);
                output.extend_from_slice(b"END\r\n");
            }
            (_, b"mg") if words.contains(&b"q".to_vec()) => self.gathered.push(words[1].clone()),
            (_, b"mn") => {
                let keys = std::mem::take(&mut self.gathered);
                self.read_many(&keys, output);
                output.extend_from_slice(b"MN\r\n");
            }
            (_, b"MGET") => {
                output.extend_from_slice(format!("*{}\r\n", words.len() - 1).as_bytes());
                self.read_many(&words[1..], output);
            }
            (_, b"gets") => self.read_version(&words[1], output),
            (_, b"mg") if words[2] == b"c" => self.read_version(&words[1], output),
            (_, b"cas") => {
                let version = number(&words[5]) as u64;
                self.swap(&words[1], |v| v.number == version, words[6].clone(), output);
            }
            // The value, which is last, may begin with the letter too.
            (Speaks::Meta, b"ms")
                if words[3..words.len() - 1].iter().any(|word| word.starts_with(b"C")) =>
            {
                let word = words[3..].iter().find(|word| word.starts_with(b"C"));
                let version = number(&word.expect("a version")[1..]) as u64;
                let value = words.last().expect("a value").clone();
                self.swap(&words[1], |v| v.number == version, value, output);
            }
            (_, b"EVAL") => {
                let expected = words[4].clone();
                self.swap(
                    &words[3],
                    |v| v.now.as_ref() == Some(&expected),
                    words[5].clone(),
                    output,
                );
            }
            (_, b"incr" | b"ma" | b"INCRBY") => {
                let by = match self.speaks {
                    Speaks::Meta => &words[2][1..],
                    Speaks::Text | Speaks::Resp2 | Speaks::Resp3 => &words[2],
                };
                self.increment(&words[1], number(by) as u64, output);
            }
            (_, b"get" | b"mg" | b"GET") => {
                let value = self.read(&words[1]);
                self.write_value(&words[1], value.as_deref(), output);
            }
            (_, b"touch" | b"TOUCH" | b"EXPIRE") => {
                let is_there = self.has(&words[1]);
                output.extend_from_slice(match (self.speaks, is_there) {
                    (Speaks::Text, true) => b"TOUCHED\r\n",
                    (Speaks::Text, false) => b"NOT_FOUND\r\n",
                    (_, true) => b":1\r\n",
                    (_, false) => b":0\r\n",
                });
            }
            (_, b"add" | b"ms" | b"SET") if is_add(words) && !self.may_add(&words[1]) => {
                output.extend_from_slice(match self.speaks {
                    Speaks::Text => b"NOT_STORED\r\n",
                    Speaks::Meta => b"NS\r\n",
                    Speaks::Resp2 => b"$-1\r\n",
                    Speaks::Resp3 => b"_\r\n",
                });
            }
            (_, b"set" | b"add" | b"ms" | b"SET") => {
                let value = match self.speaks {
                    Speaks::Text | Speaks::Meta => words.last(),
                    Speaks::Resp2 | Speaks::Resp3 => words.get(2),
                };
                self.store(&words[1], value.expect("a value").clone());
                output.extend_from_slice(match self.speaks {
                    Speaks::Text => b"STORED\r\n",
                    Speaks::Meta => b"HD\r\n",
                    Speaks::Resp2 | Speaks::Resp3 => b"+OK\r\n",
                });
            }
            (_, b"delete" | b"md" | b"DEL") => {
                let was_there = self.values.remove(&words[1]).is_some_and(|v| v.now.is_some());
                output.extend_from_slice(match (self.speaks, was_there) {
                    (Speaks::Text, true) => b"DELETED\r\n",
                    (Speaks::Text, false) => b"NOT_FOUND\r\n",
                    (Speaks::Meta, true) => b"HD\r\n",
                    (Speaks::Meta, false) => b"NF\r\n",
                    (Speaks::Resp2 | Speaks::Resp3, true) => b":1\r\n",
                    (Speaks::Resp2 | Speaks::Resp3, false) => b":0\r\n",
                });
            }
            (Speaks::Resp3, b"HELLO") => output.extend_from_slice(b"%1\r\n+proto\r\n:3\r\n"),
            (_, other) => {
                panic!("a command that the fake cache does not have: {}", other.escape_ascii())
            }
        }
    }

    fn read(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.reads += 1;
        let versions = self.values.get(key)?;
        let now = versions.now.clone()?;
        let before = versions.before.as_ref();
        let is_due = |after: u64| self.reads > after * (self.made + 1);
        let wrong = match self.planted {
            Planted::StaleRead(after) if is_due(after) => before.cloned(),
            Planted::TornValue(after) if self.made == 0 && is_due(after) => before.map(|before| {
                let half = now.len() / 2;
                [&now[..half], &before[half.min(before.len())..]].concat()
            }),
            Planted::WrongKey(after) if self.made == 0 && is_due(after) => {
                let mut others = self.values.iter().filter(|(other, _)| *other != key);
                others.find_map(|(_, versions)| versions.now.clone())
            }
            _ => None,
        };
        self.made += u64::from(wrong.is_some());
        Some(wrong.unwrap_or(now))
    }

    fn read_many(&mut self, keys: &[Vec<u8>], output: &mut Vec<u8>) {
        self.multi_gets += 1;
        let mut keys_read: Vec<&Vec<u8>> = keys.iter().collect();
        let is_due = matches!(self.planted, Planted::ExchangedKeys(n) if self.multi_gets > n);
        let are_there = keys.len() > 1 && self.has(&keys[0]) && self.has(&keys[1]);
        if is_due && are_there && self.made == 0 {
            self.made = 1;
            keys_read.swap(0, 1);
        }
        for (key, key_read) in keys.iter().zip(keys_read) {
            let Some(value) = self.read(key_read) else {
                match self.speaks {
                    Speaks::Text | Speaks::Meta => continue,
                    Speaks::Resp2 => output.extend_from_slice(b"$-1\r\n"),
                    Speaks::Resp3 => output.extend_from_slice(b"_\r\n"),
                }
                continue;
            };
            let name = key.escape_ascii();
            let head = match self.speaks {
                Speaks::Text => format!("VALUE {name} 0 {}\r\n", value.len()),
                Speaks::Meta => format!("VA {} k{name}\r\n", value.len()),
                Speaks::Resp2 | Speaks::Resp3 => format!("${}\r\n", value.len()),
            };
            output.extend_from_slice(head.as_bytes());
            output.extend_from_slice(&value);
            output.extend_from_slice(b"\r\n");
        }
    }

    fn read_version(&mut self, key: &[u8], output: &mut Vec<u8>) {
        let number = self.values.get(key).map_or(0, |versions| versions.number);
        let value = self.read(key);
        let Some(value) = value else { return self.write_value(key, None, output) };
        let (name, bytes) = (key.escape_ascii(), value.len());
        let head = match self.speaks {
            Speaks::Text => format!("VALUE {name} 0 {bytes} {number}\r\n"),
            Speaks::Meta => format!("VA {bytes} c{number}\r\n"),
            Speaks::Resp2 | Speaks::Resp3 => unreachable!("Redis has no versions"),
        };
        output.extend_from_slice(head.as_bytes());
        output.extend_from_slice(&value);
        let end: &[u8] = if self.speaks == Speaks::Text { b"\r\nEND\r\n" } else { b"\r\n" };
        output.extend_from_slice(end);
    }

    fn swap(
        &mut self,
        key: &[u8],
        is_current: impl Fn(&Versions) -> bool,
        value: Vec<u8>,
        output: &mut Vec<u8>,
    ) {
        self.swaps += 1;
        let versions = self.values.get(key).filter(|versions| versions.now.is_some());
        let is_current = versions.map(is_current);
        let is_due = matches!(self.planted, Planted::SwapOfOldVersion(n) if self.swaps > n);
        let is_mistake = is_due && self.made == 0 && is_current == Some(false);
        self.made += u64::from(is_mistake);
        let is_made = is_current.map(|is_current| is_current || is_mistake);
        if is_made == Some(true) {
            self.store(key, value);
        }
        output.extend_from_slice(match (self.speaks, is_made) {
            (Speaks::Text, Some(true)) => b"STORED\r\n",
            (Speaks::Text, Some(false)) => b"EXISTS\r\n",
            (Speaks::Text, None) => b"NOT_FOUND\r\n",
            (Speaks::Meta, Some(true)) => b"HD\r\n",
            (Speaks::Meta, Some(false)) => b"EX\r\n",
            (Speaks::Meta, None) => b"NF\r\n",
            (_, Some(true)) => b":1\r\n",
            (_, Some(false)) => b":0\r\n",
            (Speaks::Resp2, None) => b"$-1\r\n",
            (Speaks::Resp3, None) => b"_\r\n",
        });
    }

    fn increment(&mut self, key: &[u8], by: u64, output: &mut Vec<u8>) {
        self.increments += u64::from(by > 0);
        let now = self.values.get(key).and_then(|versions| versions.now.clone());
        let Some(now) = now else {
            return output.extend_from_slice(match self.speaks {
                Speaks::Text => b"NOT_FOUND\r\n",
                Speaks::Meta => b"NF\r\n",
                Speaks::Resp2 | Speaks::Resp3 => b":0\r\n",
            });
        };
        let mut sum = number(&now) as u64 + by;
        let is_first = self.made == 0 && by > 0;
        match self.planted {
            Planted::LostIncrement(after) if is_first && self.increments > after => self.made = 1,
            Planted::DoubledIncrement(after) if is_first && self.increments > after => {
                self.made = 1;
                sum += by;
                self.store(key, sum.to_string().into_bytes());
            }
            _ if by > 0 => self.store(key, sum.to_string().into_bytes()),
            _ => {}
        }
        let digits = sum.to_string();
        let reply = match self.speaks {
            Speaks::Text => format!("{digits}\r\n"),
            Speaks::Meta => format!("VA {}\r\n{digits}\r\n", digits.len()),
            Speaks::Resp2 | Speaks::Resp3 => format!(":{digits}\r\n"),
        };
        output.extend_from_slice(reply.as_bytes());
    }

    fn has(&self, key: &[u8]) -> bool {
        self.values.get(key).is_some_and(|versions| versions.now.is_some())
    }

    fn may_add(&mut self, key: &[u8]) -> bool {
        let wrong = matches!(self.planted, Planted::AddOver(after) if self.writes > after);
        let is_mistake = wrong && self.made == 0 && self.has(key);
        self.made += u64::from(is_mistake);
        is_mistake || !self.has(key)
    }

    fn store(&mut self, key: &[u8], value: Vec<u8>) {
        self.writes += 1;
        let versions = self.values.entry(key.to_vec()).or_default();
        if let Planted::LostWrite(after) = self.planted
            && self.made == 0
            && self.writes > after
            && versions.now.is_some()
        {
            self.made = 1;
            return;
        }
        versions.number += 1;
        versions.before = versions.now.replace(value);
    }

    fn write_value(&self, key: &[u8], value: Option<&[u8]>, output: &mut Vec<u8>) {
        let Some(value) = value else {
            return output.extend_from_slice(match self.speaks {
                Speaks::Text => b"END\r\n",
                Speaks::Meta => b"EN\r\n",
                Speaks::Resp2 => b"$-1\r\n",
                Speaks::Resp3 => b"_\r\n",
            });
        };
        let head = match self.speaks {
            Speaks::Text => format!("VALUE {} 0 {}\r\n", key.escape_ascii(), value.len()),
            Speaks::Meta => format!("VA {}\r\n", value.len()),
            Speaks::Resp2 | Speaks::Resp3 => format!("${}\r\n", value.len()),
        };
        output.extend_from_slice(head.as_bytes());
        output.extend_from_slice(value);
        output.extend_from_slice(if self.speaks == Speaks::Text {
            b"\r\nEND\r\n"
        } else {
            b"\r\n"
        });
    }
}

fn is_add(words: &[Vec<u8>]) -> bool {
    words[0] == b"add" || words.iter().skip(3).any(|word| word == b"ME" || word == b"NX")
}

/// The length of a request and its words; a value is the last of them.
fn memcached_request(input: &[u8]) -> Option<(usize, Vec<&[u8]>)> {
    let (line, at) = line(input)?;
    let mut words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let length = match words[0] {
        b"set" | b"add" | b"cas" => words[4],
        b"ms" => words[2],
        _ => return Some((at, words)),
    };
    let value = input.get(at..at + number(length) + 2)?;
    words.push(&value[..value.len() - 2]);
    Some((at + value.len(), words))
}

fn redis_request(input: &[u8]) -> Option<(usize, Vec<&[u8]>)> {
    let (head, mut at) = line(input)?;
    let mut words = Vec::new();
    for _ in 0..number(&head[1..]) {
        let (head, length) = line(&input[at..])?;
        at += length;
        let word = input.get(at..at + number(&head[1..]) + 2)?;
        at += word.len();
        words.push(&word[..word.len() - 2]);
    }
    Some((at, words))
}

fn line(input: &[u8]) -> Option<(&[u8], usize)> {
    let end = input.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&input[..end], end + 2))
}

fn number(digits: &[u8]) -> usize {
    String::from_utf8_lossy(digits).parse().expect("a number")
}
