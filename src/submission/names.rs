//! Names, types and duplicates of members.

use std::collections::BTreeMap;

use super::archive::Member;
use super::findings::{Finding, Problem};

/// The longest name: a stem and `.png`.
const NAME_LIMIT_BYTES: usize = 255;
/// The bits of a Unix mode that give the file type, and two of the types.
const TYPE_MASK: u32 = 0o170_000;
const TYPE_REGULAR: u32 = 0o100_000;
const TYPE_FOLDER: u32 = 0o040_000;
const TYPE_LINK: u32 = 0o120_000;
/// set-user-id, set-group-id and sticky.
const SPECIAL_BITS: u32 = 0o7_000;

/// What is wrong with a name, if the file could be a member of a flat archive at all.
pub(super) fn check(member: &Member) -> Vec<Problem> {
    let name = member.name();
    let mut problems = Vec::new();
    if name.is_empty() {
        problems.push(Problem::error("it has no name", "make the archive again"));
    }
    if !member.name_is_unambiguous() || name.chars().any(char::is_control) {
        problems.push(Problem::error(
            "its name has characters that readers understand differently",
            "use plain ASCII names",
        ));
    }
    if name.len() > NAME_LIMIT_BYTES {
        let what = format!("its name has {} bytes, the limit is {NAME_LIMIT_BYTES}", name.len());
        problems.push(Problem::error(what, "use the names of the images"));
    }
    if let Some(problem) = place(&name) {
        problems.push(problem);
    }
    if let Some(mode) = member.unix_mode {
        problems.extend(file_type(mode, &name));
    }
    problems
}

/// What is wrong with where the name points to.
fn place(name: &str) -> Option<Problem> {
    let flat = "put all files in the root of the archive";
    let drive = name.as_bytes().get(1) == Some(&b':') && name.starts_with(|c: char| c.is_ascii_alphabetic());
    if name.starts_with("__MACOSX/") || name.ends_with(".DS_Store") {
        let fix = "make the archive on the command line: zip -X submission.zip *.png readme.txt";
        Some(Problem::error("it is litter of macOS", fix))
    } else if name.starts_with(['/', '\\']) || drive {
        Some(Problem::error("its name is an absolute path", flat))
    } else if name.split(['/', '\\']).any(|part| part == "..") {
        Some(Problem::error("its name leads out of the folder it is unpacked in", flat))
    } else if name.contains('\\') {
        Some(Problem::error("its name has a backslash", flat))
    } else if name.ends_with('/') {
        Some(Problem::error("it is a folder", flat))
    } else if name.contains('/') {
        Some(Problem::error("it is in a folder", flat))
    } else {
        None
    }
}

fn file_type(mode: u32, name: &str) -> Option<Problem> {
    let plain = "pack the files themselves";
    match mode & TYPE_MASK {
        0 | TYPE_REGULAR if mode & SPECIAL_BITS != 0 => {
            Some(Problem::warning(format!("it has the unusual permissions {:o}", mode & 0o7_777), plain))
        }
        0 | TYPE_REGULAR => None,
        TYPE_LINK => Some(Problem::error("it is a symbolic link", plain)),
        // A folder by its name was reported by its name.
        TYPE_FOLDER if name.ends_with('/') => None,
        _ => Some(Problem::error(format!("it is not a plain file (mode {mode:o})"), plain)),
    }
}

/// Members that some reader would take for the same file.
pub(super) fn duplicates(members: &[Member]) -> Vec<Finding> {
    let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for member in members {
        by_name.entry(member.name().to_lowercase()).or_default().push(member.name());
    }
    let clash = |names: &Vec<String>| {
        let first = names.first()?;
        let what = if names.iter().all(|name| name == first) {
            format!("it is there {} times", names.len())
        } else {
            format!("it differs from `{}` only in upper and lower case", names.last()?.escape_debug())
        };
        Some(Problem::error(what, "keep one").at(shown(first)))
    };
    by_name.values().filter(|names| names.len() > 1).filter_map(clash).collect()
}

/// A name for people: control characters escaped, and not endless.
pub(super) fn shown(name: &str) -> String {
    let mut text: String = name.chars().take(NAME_LIMIT_BYTES).flat_map(char::escape_debug).collect();
    if text.is_empty() {
        text.push_str("(no name)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_outside_the_root_are_told_apart() {
        for (name, part) in [
            ("/etc/passwd", "absolute"),
            ("\\x", "absolute"),
            ("C:\\x", "absolute"),
            ("c:x", "absolute"),
            ("a/../../x", "leads out"),
            ("..", "leads out"),
            ("..\\x", "leads out"),
            ("a\\b", "backslash"),
            ("a/", "it is a folder"),
            ("a/b.png", "in a folder"),
            ("__MACOSX/._0801.png", "macOS"),
            ("x/.DS_Store", "macOS"),
        ] {
            assert!(place(name).unwrap().what.contains(part), "{name}");
        }
        for name in ["0801.png", "readme.txt", "..a", "a..png"] {
            assert_eq!(place(name), None);
        }
    }

    #[test]
    fn only_plain_files_pass() {
        for mode in [0, 0o644, 0o100_644, 0o100_755] {
            assert_eq!(file_type(mode, "a"), None);
        }
        assert!(file_type(0o120_777, "a").unwrap().what.contains("symbolic"));
        assert!(file_type(0o020_666, "a").unwrap().is_error());
        assert!(!file_type(0o104_755, "a").unwrap().is_error());
        assert!(file_type(0o040_755, "a").unwrap().is_error());
        assert_eq!(file_type(0o040_755, "a/"), None);
    }
}
