//! The console of a test program that may have run several times: the result of each test, if every run has come to its
//! end. A program that dies in the middle leaves good results behind, and no line that says how many there should be.

/// A test's result.
pub(super) struct Tested {
    pub(super) name: String,
    pub(super) is_good: bool,
    pub(super) is_repeated: bool,
}

/// Returns the result of each test: that of its last run.
///
/// # Errors
/// Not all tests of a run have a result, as the program's own counts have it.
pub(super) fn results(output: &str) -> Result<Vec<Tested>, String> {
    let mut results: Vec<Tested> = Vec::new();
    // What the present run has announced, and the results that it has had.
    let mut run: Option<(usize, usize)> = None;
    let mut runs = 0;
    for line in output.lines().map(str::trim) {
        if let Some(announced) = announced(line) {
            whole(run)?;
            (run, runs) = (Some((announced, 0)), runs + 1);
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            let wanted = run.take().ok_or("counts without a run")?;
            ended(wanted, counts)?;
        } else if let Some((name, result)) =
            line.strip_prefix("test ").and_then(|line| line.split_once(" ... "))
        {
            let (_, had) = run.as_mut().ok_or("a result without a run")?;
            *had += 1;
            let is_good = result == "ok";
            match results.iter_mut().find(|test| test.name == name) {
                Some(test) => (test.is_good, test.is_repeated) = (is_good, true),
                None => results.push(Tested { name: name.to_owned(), is_good, is_repeated: false }),
            }
        }
    }
    whole(run)?;
    if runs == 0 { Err("no test has run".to_owned()) } else { Ok(results) }
}

/// The number of tests that a run says it has.
fn announced(line: &str) -> Option<usize> {
    let mut words = line.strip_prefix("running ")?.split(' ');
    let number = words.next()?.parse().ok()?;
    matches!(words.next(), Some("test" | "tests")).then_some(number)
}

/// A run that has not told its counts was cut short.
fn whole(run: Option<(usize, usize)>) -> Result<(), String> {
    match run {
        None => Ok(()),
        Some((announced, had)) => {
            Err(format!("a run of {announced} tests has ended without a word after {had} results"))
        }
    }
}

/// Compares the results of a run with what it has announced and with its counts.
fn ended((announced, had): (usize, usize), counts: &str) -> Result<(), String> {
    let count = |what: &str| {
        let part = counts.split([';', '.']).find_map(|part| part.trim().strip_suffix(what));
        part.and_then(|number| number.trim().parse::<usize>().ok())
    };
    let counted = count(" passed").zip(count(" failed")).map(|(passed, failed)| passed + failed);
    match counted == Some(had) && announced == had {
        true => Ok(()),
        false => {
            Err(format!("{had} results of {announced} tests, which were counted as: {counts}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "Linux 6.12.1\r\n\r\nrunning 3 tests\r\ntest tls::a ... ok\r\ntest tls::c ... FAILED\r\n\
                         test tls::d ... FAILED\r\n\r\nfailures:\r\n    tls::c\r\n\r\n";
    const ITS_END: &str =
        "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 9 filtered out\r\n";
    const SECOND: &str = "running 1 test\r\ntest tls::c ... ok\r\n\r\n\
                          test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out\r\n";

    fn judged(parts: &[&str]) -> Result<Vec<(String, bool, bool)>, String> {
        let of = |test: Tested| (test.name, test.is_good, test.is_repeated);
        Ok(results(&parts.concat())?.into_iter().map(of).collect())
    }

    #[test]
    fn the_last_run_of_a_test_counts() {
        let of = |name: &str, is_good, is_repeated| (name.to_owned(), is_good, is_repeated);
        let first =
            [of("tls::a", true, false), of("tls::c", false, false), of("tls::d", false, false)];
        assert_eq!(judged(&[FIRST, ITS_END]).expect("it is whole"), first);
        let both =
            [of("tls::a", true, false), of("tls::c", true, true), of("tls::d", false, false)];
        assert_eq!(judged(&[FIRST, ITS_END, SECOND]).expect("it is whole"), both);
    }

    #[test]
    fn a_run_that_was_cut_short_is_none() {
        let cut = judged(&[FIRST, "Segmentation fault\r\n"]).expect_err("it has no end");
        assert!(cut.contains("without a word after 3 results"), "{cut}");
        assert!(judged(&[FIRST, SECOND]).is_err(), "the next run is not its end");
        assert!(judged(&[FIRST, ITS_END, "running 1 test\r\n"]).is_err(), "a repeated one");
        assert!(judged(&["Linux 6.12.1\r\n"]).is_err(), "none has begun");
        // The line of a test that was running when the program died has no result.
        let within = FIRST.replace("tls::d ... FAILED", "tls::d ... ");
        assert!(judged(&[&within]).is_err());
        let lost = FIRST.replace("test tls::d ... FAILED", "");
        let lost = judged(&[&lost, ITS_END]).expect_err("a result is missing");
        assert!(lost.starts_with("2 results of 3 tests"), "{lost}");
        let ignored = "running 2 tests\r\ntest a ... ok\r\ntest b ... ignored\r\n\
                       test result: ok. 1 passed; 0 failed; 1 ignored\r\n";
        assert!(judged(&[ignored]).is_err(), "all have to run");
    }
}
