//! Named points at which tests kill the program.
//!
//! `ESR_FAULT_POINT=name` or `name:n` makes the process die, as by `kill -9`, the first or n-th time it passes the point of
//! that name. Release builds contain no fault points.

/// Dies here if the environment asks for it. See the module's documentation.
#[cfg(debug_assertions)]
pub fn point(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let Ok(wanted) = std::env::var("ESR_FAULT_POINT") else {
        return;
    };
    let (wanted, count) = match wanted.split_once(':') {
        Some((wanted, count)) => (wanted, count.parse().unwrap_or(1)),
        None => (wanted.as_str(), 1u64),
    };
    if wanted == name && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == count {
        // SIGKILL runs no destructors and flushes nothing, which is the point.
        // SAFETY: `kill` and `getpid` have no memory preconditions.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}

/// Release builds contain no fault points.
#[cfg(not(debug_assertions))]
pub fn point(_name: &str) {}
