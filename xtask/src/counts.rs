//! Parses the output of Rust's test runner: the numbers of tests that passed and failed, and the result
//! of each named test.

use std::ops::AddAssign;

/// Tests that ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Sums the `test result:` lines of every test binary and of the documentation tests.
pub(crate) fn sum(output: &str) -> Counts {
    let mut counts = Counts::default();
    for line in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        for part in line.split([';', '.']) {
            let mut words = part.split_whitespace();
            let Some(Ok(number)) = words.next().map(str::parse::<u32>) else { continue };
            match words.next() {
                Some("passed") => counts.passed += number,
                Some("failed") => counts.failed += number,
                _ => {}
            }
        }
    }
    counts
}

/// Full path of each test and whether it passed.
pub(crate) fn tests(output: &str) -> Vec<(&str, bool)> {
    output
        .lines()
        .filter_map(|line| {
            let (path, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
            // `path - should panic` is how such a test is shown.
            let path = path.split(" - ").next().unwrap_or(path);
            match outcome {
                "ok" => Some((path, true)),
                _ if outcome.starts_with("FAILED") => Some((path, false)),
                _ => None,
            }
        })
        .collect()
}

/// The output without the lines of tests that passed and of crates that compiled.
pub(crate) fn without_the_good(output: &str) -> String {
    let good = |line: &&str| {
        let compiled = ["Compiling ", "Downloaded ", "Checking ", "Documenting "];
        (line.starts_with("test ") && line.ends_with(" ... ok"))
            || compiled.iter().any(|word| line.trim_start().starts_with(word))
    };
    output.lines().filter(|line| !good(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
   Compiling standin v0.1.0
     Running unittests src/lib.rs (target/debug/deps/x-1)

running 3 tests
test a::b ... ok
test a::refuses - should panic ... ok
test conformance::c01_partitions ... FAILED

failures:
test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.05s

   Doc-tests x
test x/src/lib.rs - f (line 3) ... ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn sums_over_all_binaries() {
        assert_eq!(sum(OUTPUT), Counts { passed: 3, failed: 1 });
        assert_eq!(sum("nothing ran"), Counts::default());
    }

    #[test]
    fn lists_every_test_with_its_end() {
        let expected = [
            ("a::b", true),
            ("a::refuses", true),
            ("conformance::c01_partitions", false),
            ("x/src/lib.rs", true),
        ];
        assert_eq!(tests(OUTPUT), expected);
    }

    #[test]
    fn leaves_out_what_went_well() {
        let rest = without_the_good(OUTPUT);
        assert!(!rest.contains("... ok") && !rest.contains("Compiling"));
        assert!(rest.contains("c01_partitions ... FAILED"));
    }
}
