//! Which names of members may become paths.

use super::error::{Danger, Fault};

/// The longest part of a path that common file systems take.
const PART_LIMIT_BYTES: usize = 255;
/// How the records of this program begin; a member of such a name could pretend that a folder is complete.
const RESERVED: &str = ".esr-";

/// The path that a name means: relative, with plain parts between single slashes. A leading `./`, as tar writes it, and the slash at the
/// end of a folder's name are dropped; the folder `./` itself becomes the empty string.
///
/// # Errors
/// [`Fault::Hostile`] when it could lead elsewhere on any system, [`Fault::Limit`] when it is too long.
pub(super) fn plain_path(name: &[u8], limit_bytes: u64) -> Result<String, Fault> {
    let shown = || shown(name);
    if name.len() as u64 > limit_bytes {
        let what = format!("the length of the name `{}` in bytes", shown());
        return Err(Fault::Limit { what, limit: limit_bytes, found: name.len() as u64 });
    }
    let hostile = |danger| Fault::Hostile { member: shown(), danger };
    // Bytes that are not UTF-8 are looked at as well: whether such a member matters is decided later.
    let text = String::from_utf8_lossy(name);
    if text.starts_with('/') {
        return Err(hostile(Danger::Absolute));
    }
    if text.contains(char::is_control) {
        return Err(hostile(Danger::Control));
    }
    if text.contains('\\') {
        return Err(hostile(Danger::Backslash));
    }
    if text.contains(':') {
        return Err(hostile(Danger::Colon));
    }
    let path = text.strip_prefix("./").unwrap_or(&text);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() || path == "." {
        return if name.is_empty() { Err(hostile(Danger::EmptyPart)) } else { Ok(String::new()) };
    }
    for part in path.split('/') {
        match part {
            "" | "." => return Err(hostile(Danger::EmptyPart)),
            ".." => return Err(hostile(Danger::Parent)),
            // File names may ignore case, and so must this.
            _ if part.get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED)) => {
                return Err(hostile(Danger::Reserved));
            }
            _ if part.ends_with(['.', ' ']) => return Err(hostile(Danger::TrailingDot)),
            _ if part.len() > PART_LIMIT_BYTES => {
                let what = format!("the length of a part of the name `{}` in bytes", shown());
                return Err(Fault::Limit { what, limit: PART_LIMIT_BYTES as u64, found: part.len() as u64 });
            }
            _ => {}
        }
    }
    Ok(path.to_owned())
}

/// A name for people: control characters escaped, and not longer than a line.
pub(super) fn shown(name: &[u8]) -> String {
    const SHOWN: usize = 120;
    let text = String::from_utf8_lossy(name);
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().count() > SHOWN {
        shown.push('…');
    }
    shown
}

/// Whether a path is what operating systems leave beside files: resource forks, thumbnails, folder settings.
pub(super) fn is_litter(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.split('/').any(|part| part == "__MACOSX")
        || name.starts_with("._")
        || matches!(name, ".DS_Store" | "Thumbs.db" | "desktop.ini")
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_names_stay_and_their_ends_are_dropped() {
        for (name, path) in [
            ("a.png", "a.png"),
            ("DIV2K/a b.png", "DIV2K/a b.png"),
            ("./a/b/", "a/b"),
            ("./", ""),
            (".", ""),
            ("été.png", "été.png"),
            ("..a", "..a"),
        ] {
            assert_eq!(plain_path(name.as_bytes(), 100).unwrap(), path);
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused_by_reason() {
        for (name, danger) in [
            ("", Danger::EmptyPart),
            ("/etc/passwd", Danger::Absolute),
            ("//a", Danger::Absolute),
            ("../a", Danger::Parent),
            ("a/../b", Danger::Parent),
            ("a/..", Danger::Parent),
            ("./../a", Danger::Parent),
            ("..\\a", Danger::Backslash),
            ("C:/a", Danger::Colon),
            ("a.png:stream", Danger::Colon),
            ("a\0.png", Danger::Control),
            ("a\n", Danger::Control),
            ("a//b", Danger::EmptyPart),
            (".//a", Danger::EmptyPart),
            ("a/./b", Danger::EmptyPart),
            ("a/.esr-complete.json", Danger::Reserved),
            (".ESR-complete.json", Danger::Reserved),
            ("a. /b", Danger::TrailingDot),
            ("a/...", Danger::TrailingDot),
        ] {
            match plain_path(name.as_bytes(), 100) {
                Err(Fault::Hostile { danger: found, .. }) => assert_eq!(found, danger, "{name:?}"),
                other => panic!("{name:?}: {other:?}"),
            }
        }
        assert!(matches!(plain_path(b"abc", 2), Err(Fault::Limit { limit: 2, found: 3, .. })));
        assert!(matches!(plain_path(&[b'a'; 300], 1000), Err(Fault::Limit { limit: 255, .. })));
    }

    #[test]
    fn litter_is_known_by_name() {
        for name in ["__MACOSX/a/._b.png", "a/._b.png", ".DS_Store", "a/Thumbs.db"] {
            assert!(is_litter(name), "{name}");
        }
        for name in ["a/b.png", "MACOSX/b.png", "DS_Store"] {
            assert!(!is_litter(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_relative_and_plain(name in proptest::collection::vec(
            prop_oneof![4 => prop::sample::select(b"./\\:ab\0".to_vec()), 1 => any::<u8>()], 0..20)) {
            if let Ok(path) = plain_path(&name, 100) {
                let parts: Vec<_> = Path::new(&path).components().collect();
                prop_assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))), "{:?}", path);
                prop_assert_eq!(path.split('/').filter(|part| !part.is_empty()).count(), parts.len());
            }
            shown(&name);
        }
    }
}
