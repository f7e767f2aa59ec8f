//! The targets on a stable toolchain: every seed, mutated seeds, and random bytes. The
//! random numbers are the same in every run.

use std::path::Path;

const MUTATIONS_PER_SEED: u32 = 300;
const RANDOM_INPUTS: u32 = 2_000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    /// One to four changes: a bit, a byte, a cut, a repeated or a removed piece.
    fn mutate(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = self.byte(),
                2 => bytes.truncate(at),
                3 => {
                    let piece =
                        bytes[at..].iter().take(self.below(40)).copied().collect::<Vec<_>>();
                    bytes.splice(at..at, piece);
                }
                _ => {
                    let end = (at + self.below(10)).min(bytes.len());
                    bytes.drain(at..end);
                }
            }
        }
        bytes
    }
}

fn try_one(target: fn(&[u8]), input: &[u8], what: &str) {
    if std::panic::catch_unwind(|| target(input)).is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("broken by {what}: {hex}");
    }
}

fn run(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder of the seeds")
        .map(|entry| entry.expect("a seed").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no seeds for {name}");
    let mut random = Random(0x5EED);
    for file in files {
        let seed = std::fs::read(&file).expect("a seed is read");
        let shown = file.display().to_string();
        try_one(target, &seed, &shown);
        for _ in 0..MUTATIONS_PER_SEED {
            let input = random.mutate(&seed);
            try_one(target, &input, &shown);
        }
    }
    for _ in 0..RANDOM_INPUTS {
        let len = random.below(400);
        let input: Vec<u8> = (0..len).map(|_| random.byte()).collect();
        try_one(target, &input, "random bytes");
    }
}

#[test]
fn request_frame() {
    run("request_frame", standin_fuzz::request_frame);
}

#[test]
fn response_frame() {
    run("response_frame", standin_fuzz::response_frame);
}

#[test]
fn datagram() {
    run("datagram", standin_fuzz::datagram);
}

#[test]
fn map() {
    run("map", standin_fuzz::map);
}

#[test]
fn config() {
    run("config", standin_fuzz::config);
}

#[test]
fn trace() {
    run("trace", standin_fuzz::trace);
}

#[test]
fn value_template() {
    run("value_template", standin_fuzz::value_template);
}

#[test]
fn redis() {
    run("redis", standin_fuzz::redis);
}

#[test]
fn memcached() {
    run("memcached", standin_fuzz::memcached);
}

/// Seeds that the parsers refuse at once would test nothing.
#[test]
fn seeds_are_good_ones() {
    use standin_config::ClusterConfig;
    use standin_protocol::control::Datagram;
    use standin_protocol::frame::{FrameLimits, Request, Response};
    use standin_protocol::map::ClusterMap;

    let seed = |name: &str| {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name)).unwrap()
    };
    let request = seed("request_frame/pipeline");
    assert!(matches!(Request::parse(&request, FrameLimits::default()), Ok(Some(_))));
    assert!(matches!(Response::parse(&seed("response_frame/stats")), Ok(Some(_))));
    assert!(Datagram::parse(&seed("datagram/announce"), None, None).is_ok());
    for name in ["map/archive_0", "map/archive_1", "map/archive_2"] {
        assert!(ClusterMap::from_bytes(&seed(name)).is_ok(), "{name}");
    }
    for name in ["json", "filled", "page"] {
        let text = String::from_utf8(seed(&format!("value_template/{name}"))).unwrap();
        let (template, _) = text.split_once('\0').unwrap();
        let template: standin_loadgen::value_template::ValueTemplate = template.parse().unwrap();
        assert!(template.has_stamp(), "{name}");
    }
    for name in ["config/small.toml", "config/example.toml"] {
        let text = String::from_utf8(seed(name)).unwrap();
        let parsed = ClusterConfig::parse(&text, name, Path::new("/nowhere"));
        assert!(parsed.is_ok(), "{}", parsed.unwrap_err());
    }
}

#[test]
fn upstream() {
    run("upstream", standin_fuzz::upstream);
}
