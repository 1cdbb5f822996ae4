//! `mach_approximate_time` for systems that are not Apple's: mlx-rs seeds its default random state with it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970: different for each call and run, as a seed must be.
#[unsafe(no_mangle)]
extern "C" fn mach_approximate_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().wrapping_mul(1_000_000_000).wrapping_add(since.subsec_nanos().into())
}
