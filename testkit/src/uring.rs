//! Tests on io_uring, which a kernel may lack or forbid.

/// With this variable set to 1 a test that needs io_uring fails where it can't have it.
pub const REQUIRE: &str = "STANDIN_REQUIRE_URING";

/// Whether a test goes on with io_uring; says why not.
///
/// # Panics
/// If there is none although [`REQUIRE`] is 1.
#[must_use]
pub fn may_go_on(missing: Option<&str>) -> bool {
    let Some(missing) = missing else { return true };
    let is_required = std::env::var(REQUIRE).is_ok_and(|value| value == "1");
    assert!(
        !is_required,
        "io_uring is unavailable ({missing}), and {REQUIRE}=1: allow it (sysctl \
         kernel.io_uring_disabled=0, and the container's seccomp profile)"
    );
    eprintln!("SKIPPED: io_uring is unavailable ({missing})");
    false
}
