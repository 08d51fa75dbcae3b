//! The threads that everything computes on.

use super::CliError;

/// How many threads to compute with: those asked for, or one for each core.
pub(super) fn number(asked: Option<usize>) -> Result<usize, CliError> {
    match asked {
        Some(0) => Err(CliError::usage("--threads must be at least 1")),
        Some(threads) => Ok(threads),
        None => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}

/// Starts the process's pool with `threads` threads, each kept on one processor if `pinned`.
pub(super) fn start(threads: usize, pinned: bool) -> Result<(), CliError> {
    let mut pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    if pinned {
        let processors = allowed_processors()?;
        if threads > processors.len() {
            return Err(CliError::usage(format!(
                "--pin-threads gives each thread a processor of its own: there are {} for {threads} threads; use fewer --threads",
                processors.len()
            )));
        }
        pool = pool.start_handler(move |thread| {
            if let Some(&processor) = processors.get(thread)
                && !pin(processor)
            {
                tracing::warn!("thread {thread} could not be kept on processor {processor}");
            }
        });
    }
    // The pool may exist already when a subcommand runs another one's steps; it then has the same size.
    let _ = pool.build_global();
    Ok(())
}

/// The processors that this process may run on.
#[cfg(target_os = "linux")]
fn allowed_processors() -> Result<Vec<usize>, CliError> {
    // SAFETY: a zeroed set is an empty set, and the call fills a set of the size that it is given.
    let (set, failed) = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let failed = libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0;
        (set, failed)
    };
    if failed {
        let cause = std::io::Error::last_os_error();
        return Err(CliError::usage(format!(
            "--pin-threads: the system does not say which processors may be used: {cause}"
        )));
    }
    // SAFETY: every index is inside the set.
    Ok((0..libc::CPU_SETSIZE as usize)
        .filter(|&processor| unsafe { libc::CPU_ISSET(processor, &set) })
        .collect())
}

/// Keeps the calling thread on one processor.
#[cfg(target_os = "linux")]
fn pin(processor: usize) -> bool {
    // SAFETY: the set is made here, and the processor comes from `allowed_processors`.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) == 0
    }
}

#[cfg(not(target_os = "linux"))]
fn allowed_processors() -> Result<Vec<usize>, CliError> {
    Err(CliError::usage("--pin-threads works on Linux only"))
}

#[cfg(not(target_os = "linux"))]
fn pin(_processor: usize) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_run_on_its_processor_only() {
        let pinned = std::thread::spawn(|| {
            let processor = allowed_processors().unwrap()[0];
            assert!(pin(processor));
            (processor, allowed_processors().unwrap())
        });
        let (processor, allowed) = pinned.join().unwrap();
        assert_eq!(allowed, [processor]);
    }

    #[test]
    fn more_pinned_threads_than_processors_is_a_usage_error() {
        let error = start(100_000, true).unwrap_err();
        assert!(error.to_string().contains("fewer --threads"));
    }
}
