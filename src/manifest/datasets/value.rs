//! What single values of the list may be. Each check returns what would have been right.

/// Digits of a SHA-256 in hexadecimal.
pub(super) const SHA256_DIGITS: usize = 64;
/// Digits of an MD5 in hexadecimal.
pub(super) const MD5_DIGITS: usize = 32;
/// The word for a figure that nobody published.
pub(super) const UNKNOWN: &str = "unknown";
/// Longest name of a file or folder that every common file system takes, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// A hash of so many lower-case hexadecimal digits, or nothing for the word "unknown".
pub(super) fn hash(text: &str, digits: usize) -> Result<Option<String>, String> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text == UNKNOWN {
        Ok(None)
    } else if text.len() == digits && text.bytes().all(is_digit) {
        Ok(Some(text.to_owned()))
    } else {
        Err(format!("{digits} lower-case hexadecimal digits or \"{UNKNOWN}\""))
    }
}

/// A name that people type: lower-case letters, digits and hyphens.
pub(super) fn identifier(text: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let inside = text.starts_with(|first: char| first.is_ascii_lowercase()) && text.bytes().all(fits);
    if inside && text.len() <= 64 {
        Ok(())
    } else {
        Err("a lower-case letter followed by at most 63 lower-case letters, digits and hyphens".into())
    }
}

/// The plain name of one file: it cannot lead out of its folder, be hidden, or mean something else on another system.
pub(super) fn file_name(text: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+ ".contains(&byte);
    let edges = text.starts_with(['.', ' ', '-']) || text.ends_with(['.', ' ']);
    if text.is_empty() || text.len() > MAX_NAME_BYTES || edges || !text.bytes().all(fits) {
        return Err("a plain file name of ASCII letters, digits and any of `._-+`".into());
    }
    Ok(())
}

/// A folder below another one, with `/` between its parts.
pub(super) fn relative_folder(text: &str) -> Result<(), String> {
    if text.split('/').all(|part| file_name(part).is_ok()) {
        Ok(())
    } else {
        Err("a relative path of plain names with `/` between them, without `..`".into())
    }
}

/// A web address. Plain `http` is for this machine only, where nobody sits in between; tests and mirrors on localhost need it.
pub(super) fn url(text: &str) -> Result<(), String> {
    let expected = "an https address without user, blanks or fragment (http only for this machine itself)";
    let rest = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => rest,
        (None, Some(rest)) if is_loopback(authority(rest)) => rest,
        _ => return Err(expected.into()),
    };
    let host = authority(rest);
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>^`{|}#".contains(&byte);
    if host.is_empty() || host.contains('@') || host.starts_with([':', '.']) || !rest.bytes().all(fits) {
        return Err(expected.into());
    }
    if rest.len() <= host.len() + 1 {
        return Err(format!("{expected}, with a path"));
    }
    Ok(())
}

fn authority(rest: &str) -> &str {
    rest.split(['/', '?']).next().unwrap_or_default()
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    ["127.0.0.1", "localhost", "[::1]"].contains(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_complete_or_honestly_unknown() {
        let sha256 = "0123456789abcdef".repeat(4);
        assert_eq!(hash(&sha256, SHA256_DIGITS), Ok(Some(sha256.clone())));
        assert_eq!(hash("unknown", SHA256_DIGITS), Ok(None));
        for wrong in ["", "Unknown", &sha256[1..], &sha256.to_uppercase(), &"ä".repeat(32)] {
            assert!(hash(wrong, SHA256_DIGITS).is_err(), "{wrong}");
        }
        assert!(hash(&sha256, MD5_DIGITS).unwrap_err().starts_with("32 lower-case"));
    }

    #[test]
    fn names_and_folders_stay_where_they_are() {
        for good in ["0001.png", "DIV2K_train_HR", "a b.png", "+.pth"] {
            assert_eq!(file_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "a\\b", "a\0", "C:", "a.", "a ", "-rf", "ü.png", "a\nb"]
        {
            assert!(file_name(bad).is_err(), "{bad:?}");
        }
        assert_eq!(relative_folder("Flickr2K/Flickr2K_LR_bicubic/X4"), Ok(()));
        for bad in ["", "/", "/a", "a/", "a//b", "a/../b", "..", "./a", "a/.", "~/a/\u{202e}"] {
            assert!(relative_folder(bad).is_err(), "{bad:?}");
        }
        assert_eq!(identifier("div2k-train-hr"), Ok(()));
        for bad in ["", "2k", "Div2k", "a_b", "a b", "-a"] {
            assert!(identifier(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_are_https_or_this_machine() {
        for good in
            ["https://a.b/c.zip", "https://a.b:8443/c?d=e%20f", "http://127.0.0.1:8080/x", "http://[::1]:1/x"]
        {
            assert_eq!(url(good), Ok(()), "{good}");
        }
        for bad in [
            "http://a.b/c",
            "ftp://a.b/c",
            "https://",
            "https:///c",
            "https://a.b",
            "https://a.b/",
            "https://user@a.b/c",
            "https://a.b/c d",
            "https://a.b/c#d",
            "https://a.b/{:04}",
            "http://127.0.0.1.evil.org/c",
            "http://localhost@evil.org/c",
            "HTTPS://a.b/c",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
