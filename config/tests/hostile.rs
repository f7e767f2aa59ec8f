//! No text makes the reader panic, and every text it refuses is told why, in order.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use standin_config::{ClusterConfig, ConfigErrors, ProxyConfig};

/// The example of a proxy's file, or of the cluster's.
fn example(is_proxy: bool) -> String {
    let name = if is_proxy { "../proxy.example.toml" } else { "../cluster.example.toml" };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(path).expect("the example is beside the workspace's manifest")
}

#[test]
fn a_file_without_an_end_is_refused_and_not_kept_in_memory() {
    for error in [
        ClusterConfig::load(Path::new("/dev/zero")).unwrap_err(),
        ProxyConfig::check_file(Path::new("/dev/zero")).config.unwrap_err(),
    ] {
        assert!(error.to_string().contains("more than 16 MiB"), "{error}");
    }
}

#[test]
fn permissions_are_those_of_the_file_that_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster.toml");
    for (mode, is_too_open) in [(0o600, false), (0o644, true)] {
        std::fs::write(&path, example(false)).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let checked = ClusterConfig::check_file(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(checked.too_open.is_some(), is_too_open, "{mode:o}");
    }
}

/// Bits of the file's language, to be put where they do not belong.
const BITS: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "[[group]]",
    "[group]",
    "[[group.server]]",
    "[group.server]",
    "[origin]",
    "[[keyspace]]",
    "[timings.x]",
    "=",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "\n",
    "\r\n",
    "\0",
    "#",
    ".",
    ",",
    "{",
    "}",
    "-1",
    "1e400",
    "nan",
    "18446744073709551615d",
    "9223372036854775807",
    "99999999999999999999",
    "1979-05-27T07:32:00Z",
    "true",
    "ü",
    "\u{feff}",
    "\\u0000",
    "group.server = 5",
    "name.x = 1",
    "a = { b = [1, { c = 2 }] }",
    ":value",
    ":key",
    "$$",
    "/*",
    "[::]:1",
    "0.0.0.0:7100",
    "\"0s\"",
    "\"0B\"",
    "secret_file = \"/dev/zero\"",
    "kind = \"postgres\"",
];

/// Reads the text as the file of a cluster, and as that of a proxy.
fn check(text: &str) -> Result<(), TestCaseError> {
    let folder = Path::new("/nonexistent");
    look_at(text, ClusterConfig::check(text, "f", folder).config.err())?;
    look_at(text, ProxyConfig::check(text, "f", folder).config.err())
}

fn look_at(text: &str, errors: Option<ConfigErrors>) -> Result<(), TestCaseError> {
    if let Some(errors) = errors {
        prop_assert!(!errors.mistakes.is_empty());
        prop_assert!(errors.mistakes.is_sorted_by_key(|mistake| mistake.place));
        for mistake in &errors.mistakes {
            prop_assert!(
                mistake.place.is_some_and(|place| place.line <= text.lines().count().max(1) + 1)
            );
            prop_assert!(mistake.text.contains("; "), "says what to write instead: {}", mistake);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text(text in "\\PC*|(?s).{0,200}|([a-z]{1,8}( = [0-9\"'.a-z\\[\\]{}]{0,8})?\n|\\[{1,2}[a-z.]{1,9}\\]{1,2}\n){0,20}") {
        check(&text)?;
    }

    /// Lines of the example removed, doubled and moved, and bits put into it.
    #[test]
    fn the_example_with_changes(
        moves in proptest::collection::vec((any::<Index>(), any::<Index>(), 0u8..3), 0..6),
        bits in proptest::collection::vec((any::<Index>(), any::<Index>()), 0..6),
        cut in proptest::option::of(any::<Index>()),
        uncomment: bool,
        is_proxy: bool,
    ) {
        let example = example(is_proxy);
        let mut lines: Vec<&str> = example.lines().collect();
        if uncomment {
            lines = lines.iter().map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)).collect();
        }
        for (from, to, how) in moves {
            let (from, to) = (from.index(lines.len()), to.index(lines.len()));
            match how {
                0 => { lines.remove(from); }
                1 => lines.insert(to, lines[from]),
                _ => lines.swap(from, to),
            }
        }
        let mut text = lines.join("\n");
        for (at, bit) in bits {
            let at = text.floor_char_boundary(at.index(text.len() + 1));
            text.insert_str(at, BITS[bit.index(BITS.len())]);
        }
        if let Some(cut) = cut {
            text.truncate(text.floor_char_boundary(cut.index(text.len() + 1)));
        }
        check(&text)?;
    }

    /// Any value in any place: what has the wrong type is told, and nothing else breaks.
    #[test]
    fn any_value_at_any_key(is_proxy: bool, line: Index, value in proptest::sample::select(&[
        "0", "-1", "9223372036854775807", "1.5", "true", "\"\"", "\"x\"", "[]", "[1, \"a\"]", "{}", "{ a = 1 }",
        "[{ name = 1 }]", "1979-05-27", "\"0s\"", "\"999999999d\"", "\"9999999TiB\"",
    ][..])) {
        let example = example(is_proxy);
        let keyed: Vec<&str> = example.lines().filter(|line| line.contains(" = ") && !line.starts_with("# ")).collect();
        let line = keyed[line.index(keyed.len())];
        let key = line.trim_start_matches('#').split(" = ").next().unwrap_or_default();
        check(&example.replacen(line, &format!("{key} = {value}"), 1))?;
    }
}
