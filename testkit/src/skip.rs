//! Tests that need what a machine may lack: they are skipped, or fail where they must not be.

/// Prints that a test is skipped.
///
/// # Panics
/// If the variable `require` is 1: `cargo xtask test` sets it.
pub fn skip(test: &str, require: &str, missing: &str) {
    let is_required = std::env::var(require).is_ok_and(|value| value == "1");
    assert!(!is_required, "{test} must not be skipped ({require}=1): {missing}");
    eprintln!("SKIPPED {test}: {missing}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_required_is_not_skipped() {
        skip("this", "STANDIN_REQUIRE_NOTHING", "it is missing");
        // The one variable that is there, and is 1, in whatever way the test is run.
        // SAFETY: no other thread of this test program reads or writes this variable.
        unsafe { std::env::set_var("STANDIN_REQUIRE_SOMETHING", "1") };
        let skipped = || skip("this", "STANDIN_REQUIRE_SOMETHING", "it is missing");
        assert!(std::panic::catch_unwind(skipped).is_err());
    }
}
