//! Help for tests: where the reference data is.

use std::path::PathBuf;

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
            None
        }
    }
}
