//! Where the reference data is: shared by the library's own tests and the tests from outside.

use std::path::PathBuf;

/// Test runners hide what passing tests say, so `make test` collects the skips in the file that `ESR_SKIP_LOG` names and shows them at its end.
fn log_skipped(relative: &str) {
    use std::io::Write;
    let thread = std::thread::current();
    let line = format!("  {} (needs {relative})\n", thread.name().unwrap_or("a test"));
    if let Some(path) = std::env::var_os("ESR_SKIP_LOG") {
        let log = std::fs::OpenOptions::new().append(true).create(true).open(path);
        log.and_then(|mut log| log.write_all(line.as_bytes()))
            .expect("the log of skipped tests cannot be written");
    }
}

/// A file or folder of the reference data named by `ESR_REFERENCE`, or `None` (said on standard error) when it is not set.
///
/// The reference data (released weights, benchmark images, golden vectors made with PyTorch) may not be redistributed with the project, so tests
/// that need it are skipped where it is absent.
pub(crate) fn reference(relative: &str) -> Option<PathBuf> {
    match std::env::var_os("ESR_REFERENCE") {
        Some(root) if !root.is_empty() => {
            let path = PathBuf::from(root).join(relative);
            assert!(path.exists(), "ESR_REFERENCE is set, but `{}` is not there", path.display());
            Some(path)
        }
        _ => {
            eprintln!("skipped: needs `{relative}` of the reference data (set ESR_REFERENCE)");
            log_skipped(relative);
            None
        }
    }
}
