//! Which server holds a key: the ways in which clients of several caches agree on it.
//!
//! | name | as in | server |
//! |---|---|---|
//! | `ketama` | libmemcached's `KETAMA_WEIGHTED`, twemproxy (with `hash=fnv1a_64`) | the next of 160 points of each server (156 for some numbers of servers) on a circle, which are MD5s of `host:port-n` |
//! | `modula` | libmemcached's default | the hash modulo the number of servers |
//! | `jump` | memcached's built-in proxy | Lamping's and Veach's jump consistent hash of an XXH3 |
//!
//! The names of servers are part of ketama's circle: all clients must write them alike. As in libmemcached,
//! the port is left out if it is 11211.

use md5::{Digest as _, Md5};

/// Points of each server on the circle.
const POINTS: usize = 160;
/// An MD5 gives this many of them.
const POINTS_OF_HASH: usize = 4;
/// The port that is left out of names.
const PORT_LEFT_OUT: &str = ":11211";

/// The way in which keys are spread over servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Distribution {
    /// Points on a circle.
    #[default]
    Ketama,
    /// Modulo the number of servers.
    Modula,
    /// Jump consistent hash.
    Jump,
}

/// The hash of a key, for ketama and modula.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHash {
    /// The first four bytes of the MD5, little-endian.
    Md5,
    /// The lower half of FNV-1a with 64-bit constants, as libmemcached and twemproxy compute it.
    Fnv1a64,
    /// Jenkins' one-at-a-time.
    OneAtATime,
}

impl Distribution {
    /// The hash that the usual clients use with it.
    #[must_use]
    pub fn default_hash(self) -> KeyHash {
        match self {
            Self::Ketama | Self::Jump => KeyHash::Md5,
            Self::Modula => KeyHash::OneAtATime,
        }
    }
}

impl KeyHash {
    fn of(self, key: &[u8]) -> u32 {
        match self {
            Self::Md5 => md5_points(key)[0],
            Self::Fnv1a64 => key
                .iter()
                .fold(0x8422_2325, |hash: u32, byte| (hash ^ extended(*byte)).wrapping_mul(0x1B3)),
            Self::OneAtATime => {
                let hash = key.iter().fold(0u32, |hash, byte| {
                    let hash = hash.wrapping_add(extended(*byte));
                    let hash = hash.wrapping_add(hash << 10);
                    hash ^ hash >> 6
                });
                let hash = hash.wrapping_add(hash << 3);
                let hash = hash ^ hash >> 11;
                hash.wrapping_add(hash << 15)
            }
        }
    }
}

/// A byte as libmemcached's and twemproxy's hashes take it: as C's `char`, which has a sign on most machines.
fn extended(byte: u8) -> u32 {
    i32::from(byte.cast_signed()).cast_unsigned()
}

/// Where each key is, among the servers that are in use.
#[derive(Debug)]
pub struct Placement {
    distribution: Distribution,
    hash: KeyHash,
    names: Vec<String>,
    /// The servers in use, in order.
    used: Vec<u16>,
    /// Points and their servers, for ketama.
    circle: Vec<(u32, u16)>,
}

impl Placement {
    /// All of these servers, named `host:port`.
    #[must_use]
    pub fn new(distribution: Distribution, hash: KeyHash, names: Vec<String>) -> Self {
        let mut placement =
            Self { distribution, hash, names, used: Vec::new(), circle: Vec::new() };
        placement.set_used(|_| true);
        placement
    }

    /// Leaves out the servers of which this is false. If it is false of all, all are used.
    pub fn set_used(&mut self, is_used: impl Fn(u16) -> bool) {
        let all = 0..u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        self.used = all.clone().filter(|server| is_used(*server)).collect();
        if self.used.is_empty() {
            self.used = all.collect();
        }
        self.circle.clear();
        if self.distribution == Distribution::Ketama {
            for server in &self.used {
                let name = &self.names[usize::from(*server)];
                let name = name.strip_suffix(PORT_LEFT_OUT).unwrap_or(name);
                for number in 0..hashes(self.used.len()) {
                    let points = md5_points(format!("{name}-{number}").as_bytes());
                    self.circle.extend(points.map(|point| (point, *server)));
                }
            }
            // Points that are equal are in the order of the servers.
            self.circle.sort();
        }
    }

    /// The server of a key.
    #[must_use]
    pub fn server(&self, key: &[u8]) -> u16 {
        if let [only] = self.used[..] {
            return only;
        }
        match self.distribution {
            Distribution::Ketama => {
                let hash = self.hash.of(key);
                let next = self.circle.partition_point(|(point, _)| *point < hash);
                self.circle.get(next).unwrap_or(&self.circle[0]).1
            }
            Distribution::Modula => self.used[self.hash.of(key) as usize % self.used.len()],
            Distribution::Jump => {
                let hash = xxhash_rust::xxh3::xxh3_64(key);
                self.used[jump(hash, self.used.len())]
            }
        }
    }
}

/// The hashes of each server for ketama, if there are this many servers. libmemcached and twemproxy multiply a server's
/// share with the number of servers in single precision, and round down: of 25 servers each has one hash less.
fn hashes(servers: usize) -> usize {
    let share = 1.0 / servers as f32;
    let hashes = share * POINTS as f32 / POINTS_OF_HASH as f32 * servers as f32 + 1e-10;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "libmemcached's formula: positive, and rounded down"
    )]
    let rounded = hashes as usize;
    rounded
}

/// Lamping, Veach: A Fast, Minimal Memory, Consistent Hash Algorithm (2014).
fn jump(mut key: u64, buckets: usize) -> usize {
    let (mut bucket, mut next) = (0, 0);
    while next < buckets {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let scale = f64::from(1u32 << 31) / ((key >> 33) + 1) as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the paper's formula: positive, and cut off"
        )]
        let jumped = ((bucket + 1) as f64 * scale) as usize;
        next = jumped;
    }
    bucket
}

fn md5_points(bytes: &[u8]) -> [u32; POINTS_OF_HASH] {
    let digest = Md5::digest(bytes);
    let (words, _) = digest.as_chunks::<4>();
    std::array::from_fn(|at| u32::from_le_bytes(words[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["10.0.1.1:11211", "10.0.1.2:11212", "10.0.1.3:11213"];

    fn placed(distribution: Distribution, hash: KeyHash) -> Vec<u16> {
        let placement = Placement::new(distribution, hash, NAMES.map(str::to_owned).to_vec());
        (0..1_000).map(|key| placement.server(format!("key-{key:08}").as_bytes())).collect()
    }

    /// Compares with what libmemcached 1.0.16 says, through pylibmc 1.6.3:
    /// `Client(NAMES, behaviors=…).hash(key)` for `key-00000000` to `key-00000999`.
    #[track_caller]
    fn assert_libmemcached(placed: &[u16], first: &str, counts: [usize; 3]) {
        let text: String = placed.iter().take(60).map(u16::to_string).collect();
        assert_eq!(text, first);
        let count = |server| placed.iter().filter(|placed| **placed == server).count();
        assert_eq!([count(0), count(1), count(2)], counts);
    }

    #[test]
    fn ketama_is_libmemcacheds() {
        assert_libmemcached(
            &placed(Distribution::Ketama, KeyHash::Md5),
            "110220020020222022111100112121121211202011220020110222212000",
            [368, 322, 310],
        );
    }

    #[test]
    fn modula_and_its_hashes_are_libmemcacheds() {
        assert_libmemcached(
            &placed(Distribution::Modula, KeyHash::OneAtATime),
            "122221111210111100000011221211110022222222112100001001100000",
            [360, 331, 309],
        );
        assert_libmemcached(
            &placed(Distribution::Modula, KeyHash::Md5),
            "100110222101012211120001101210001022211012111210201222202112",
            [326, 318, 356],
        );
        // That it spreads such keys badly is libmemcached's own experience.
        assert_libmemcached(
            &placed(Distribution::Modula, KeyHash::Fnv1a64),
            "111111111111111111111111111111111111111111111111111111111111",
            [0, 800, 200],
        );
    }

    #[test]
    fn the_share_of_a_server_is_rounded_as_in_libmemcached() {
        let fewer: Vec<usize> = (1..=100).filter(|servers| hashes(*servers) != 40).collect();
        assert_eq!(fewer, [25, 47, 50, 55, 61, 71, 94, 100]);
        assert_eq!(hashes(25), 39);
    }

    #[test]
    fn bytes_have_signs_in_the_hashes() {
        let hash = 0x8422_2325 ^ 0xFFFF_FFE9_u32;
        assert_eq!(KeyHash::Fnv1a64.of(b"\xE9"), hash.wrapping_mul(0x1B3));
        assert_eq!(extended(b'a'), 0x61);
    }

    #[test]
    fn jump_is_the_papers() {
        // From the tests of Guava's and Go's implementations.
        for (key, buckets, bucket) in [
            (1, 1, 0),
            (42, 57, 43),
            (0xDEAD_10CC, 1, 0),
            (0xDEAD_10CC, 666, 361),
            (256, 1_024, 520),
        ] {
            assert_eq!(jump(key, buckets), bucket, "{key} {buckets}");
        }
        let placed = placed(Distribution::Jump, KeyHash::Md5);
        let count = |server| placed.iter().filter(|placed| **placed == server).count();
        assert!((0..3).all(|server| (280..390).contains(&count(server))));
    }

    #[test]
    fn only_the_keys_of_a_server_that_is_left_out_move() {
        let names = || NAMES.map(str::to_owned).to_vec();
        let mut placement = Placement::new(Distribution::Ketama, KeyHash::Md5, names());
        let keys: Vec<String> = (0..1_000).map(|key| format!("key-{key:08}")).collect();
        let placed = |placement: &Placement| -> Vec<u16> {
            keys.iter().map(|key| placement.server(key.as_bytes())).collect()
        };
        let before = placed(&placement);
        placement.set_used(|server| server != 1);
        let without = placed(&placement);
        for (before, after) in before.iter().zip(&without) {
            assert_ne!(*after, 1);
            assert!(*before == 1 || before == after);
        }
        placement.set_used(|_| false);
        assert_eq!(placed(&placement), before, "without any server all are tried");
    }
}
