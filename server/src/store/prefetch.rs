//! Prefetching: tells the processor which memory will be read soon.

/// Starts loading the cache line at `address`. This is a hint, and has no effect on the program's
/// state.
#[inline]
pub(super) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch faults on no address, mapped or not; SSE is part of x86_64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast::<i8>()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
