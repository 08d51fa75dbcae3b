//! The report's files in a run directory.
//!
//! `report.json` is the source; `report.md` and `training.svg` hold nothing that does not follow from it and are made again from it
//! at will. The JSON is written first, so a report.md is never newer than its source.

use std::path::Path;

use super::{Report, render_markdown, render_svg_curve};
use crate::fsio;

/// The document, in the run directory.
pub const JSON: &str = "report.json";
/// The document for people.
pub const MARKDOWN: &str = "report.md";
/// The training curve that the document for people shows.
pub const CURVE: &str = "training.svg";

/// The most bytes that a rendered file may have to be compared with a new rendering; a larger one is replaced.
const RENDERED_LIMIT_BYTES: u64 = 64 << 20;

/// Writes `report.json` and what is rendered from it into a run directory.
///
/// # Errors
/// [`fsio::Error`] naming the file that could not be written.
pub fn write(run: &Path, report: &Report) -> Result<(), fsio::Error> {
    fsio::write_json(&run.join(JSON), report)?;
    render(run, report).map(drop)
}

/// Reads `report.json` of a run directory.
///
/// # Errors
/// [`fsio::Error`] if it is not there, not a report, or from a newer version of the program.
pub fn read(run: &Path) -> Result<Report, fsio::Error> {
    fsio::read_json(&run.join(JSON))
}

/// Brings `report.md` and `training.svg` up to date with the report and names those that changed. A file that is up to date already is
/// not touched, so its time stays that of its content.
///
/// # Errors
/// [`fsio::Error`] naming the file that could not be written.
pub fn render(run: &Path, report: &Report) -> Result<Vec<&'static str>, fsio::Error> {
    let curve = report.training.as_ref().map(|training| render_svg_curve(&training.curve));
    let rendered = [(CURVE, curve), (MARKDOWN, Some(render_markdown(report)))];
    let mut changed = Vec::new();
    for (name, text) in rendered {
        let path = run.join(name);
        let Some(text) = text else { continue };
        let current = fsio::read_limited(&path, RENDERED_LIMIT_BYTES).ok();
        if current.as_deref() != Some(text.as_bytes()) {
            fsio::write(&path, text.as_bytes())?;
            changed.push(name);
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    #[test]
    fn only_what_differs_is_rendered_again() {
        let folder = tempfile::tempdir().unwrap();
        let report = fixtures::report();
        write(folder.path(), &report).unwrap();
        assert_eq!(render(folder.path(), &report).unwrap(), Vec::<&str>::new());
        std::fs::write(folder.path().join(MARKDOWN), "edited").unwrap();
        std::fs::remove_file(folder.path().join(CURVE)).unwrap();
        assert_eq!(render(folder.path(), &report).unwrap(), [CURVE, MARKDOWN]);
        let text = std::fs::read_to_string(folder.path().join(MARKDOWN)).unwrap();
        assert_eq!(text, render_markdown(&report));
        assert!(text.contains(&format!("]({CURVE})")));
    }

    #[test]
    fn without_a_training_there_is_no_curve() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &fixtures::empty_report()).unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [JSON, MARKDOWN]);
    }
}
