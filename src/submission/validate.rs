//! Opens an archive file and audits it.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::archive::Archive;
use super::audit::audit;
use super::{Error, Expectation, Report};
use crate::fsio;

/// Audits the archive at `path` as a server that trusts nothing would.
///
/// Faults of an archive that can be opened are findings of the report, not errors.
///
/// # Errors
/// [`Error::File`] when a file cannot be read, [`Error::NotAnArchive`] when the list of members cannot be found or read,
/// [`Error::Lr`] and [`Error::Expectation`] when the LR folder does not say what to expect.
pub fn validate(path: &Path, expectation: &Expectation) -> Result<Report, Error> {
    let expected = expectation.resolve()?;
    let file = fsio::io_context(File::open(path), "open", path)?;
    if fsio::io_context(file.metadata(), "read", path)?.is_dir() {
        let reason =
            "it is a folder; pack its files with `zip -X submission.zip *.png readme.txt`".to_string();
        return Err(Error::NotAnArchive { path: path.to_path_buf(), reason });
    }
    let not_an_archive = |reason| Error::NotAnArchive { path: path.to_path_buf(), reason };
    let mut archive = Archive::open(BufReader::new(file)).map_err(not_an_archive)?;
    Ok(audit(&mut archive, &expected))
}
