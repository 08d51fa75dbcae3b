//! How the files of a dataset are named.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::value;

/// The most files a dataset may have: LSDIR, the largest of the field, has 84,991.
pub const MAX_FILES: usize = 1_000_000;

/// The names of a dataset's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// Numbered without gaps, e.g. 0001.png to 0800.png.
    Numbered {
        /// The name with the number's place.
        pattern: Pattern,
        /// The first number.
        first: u32,
        /// The last number.
        last: u32,
    },
    /// Names that are not published: so many files that match.
    Matching {
        /// What they match.
        glob: Glob,
        /// How many there are.
        count: usize,
    },
    /// Exactly these, in this order.
    Listed {
        /// The names.
        names: Vec<String>,
    },
}

/// A text with one number in it, such as `{:04}x4.png`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    before: String,
    digits: usize,
    after: String,
}

/// A file name with one `*` for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    before: String,
    after: String,
}

/// As the manifest writes it.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum RawMembers {
    Numbered { pattern: String, first: u32, last: u32 },
    Matching { glob: String, count: usize },
    Listed { names: Vec<String> },
}

impl Pattern {
    /// Reads `before{:0N}after` with N from 1 to 9.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let expected = || "a text with one number like `{:04}` in it".to_owned();
        let (before, rest) = text.split_once("{:0").ok_or_else(expected)?;
        let (digits, after) = rest.split_once('}').ok_or_else(expected)?;
        let digits = match digits.as_bytes() {
            [digit @ b'1'..=b'9'] => usize::from(digit - b'0'),
            _ => return Err(expected()),
        };
        if [before, after].iter().any(|part| part.contains(['{', '}'])) {
            return Err(expected());
        }
        Ok(Self { before: before.to_owned(), digits, after: after.to_owned() })
    }

    /// The text with this number.
    pub fn with(&self, number: u32) -> String {
        format!("{}{number:0digits$}{}", self.before, self.after, digits = self.digits)
    }

    /// The number in a text that this pattern makes.
    pub fn number_in(&self, text: &str) -> Option<u32> {
        let digits = text.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?;
        let plain = digits.len() == self.digits && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    }

    fn holds(&self, number: u32) -> bool {
        number.to_string().len() <= self.digits
    }
}

impl Glob {
    fn parse(text: &str) -> Result<Self, String> {
        let expected = || "a plain file name with one `*` in it".to_owned();
        let (before, after) = text.split_once('*').ok_or_else(expected)?;
        // With a letter for the star it has to be a file name; a second star is not one.
        value::file_name(&format!("{before}a{after}")).map_err(|_| expected())?;
        Ok(Self { before: before.to_owned(), after: after.to_owned() })
    }

    /// Whether the name of a file matches, with at least one character for the star.
    pub fn matches(&self, name: &str) -> bool {
        let middle =
            name.strip_prefix(self.before.as_str()).and_then(|rest| rest.strip_suffix(self.after.as_str()));
        middle.is_some_and(|middle| !middle.is_empty()) && value::file_name(name).is_ok()
    }
}

impl Members {
    /// What the manifest writes, checked: (key, found, expected) of the first thing that is wrong.
    pub(super) fn from_raw(raw: RawMembers) -> Result<Self, (&'static str, String, String)> {
        let members = match raw {
            RawMembers::Numbered { pattern: text, first, last } => {
                let wrong = |expected| ("files.pattern", text.clone(), expected);
                let pattern = Pattern::parse(&text).map_err(wrong)?;
                value::file_name(&pattern.with(first)).map_err(wrong)?;
                if last < first || !pattern.holds(last) {
                    let expected = format!("at least {first}, with at most {} digits", pattern.digits);
                    return Err(("files.last", last.to_string(), expected));
                }
                Self::Numbered { pattern, first, last }
            }
            RawMembers::Matching { glob: text, count } => {
                let glob = Glob::parse(&text).map_err(|expected| ("files.glob", text, expected))?;
                Self::Matching { glob, count }
            }
            RawMembers::Listed { names } => {
                let mut seen = BTreeSet::new();
                for name in &names {
                    value::file_name(name).map_err(|expected| ("files.names", name.clone(), expected))?;
                    if !seen.insert(name) {
                        return Err(("files.names", format!("`{name}` twice"), "each name once".into()));
                    }
                }
                Self::Listed { names }
            }
        };
        match members.count() {
            1..=MAX_FILES => Ok(members),
            count => Err(("files", format!("{count} files"), format!("1 to {MAX_FILES} files"))),
        }
    }

    /// How many files there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Numbered { first, last, .. } => {
                usize::try_from(u64::from(*last) + 1 - u64::from(*first)).unwrap_or(usize::MAX)
            }
            Self::Matching { count, .. } => *count,
            Self::Listed { names } => names.len(),
        }
    }

    /// All names in order, unless they are not published.
    pub fn names(&self) -> Option<Vec<String>> {
        match self {
            Self::Numbered { pattern, first, last } => {
                Some((*first..=*last).map(|n| pattern.with(n)).collect())
            }
            Self::Matching { .. } => None,
            Self::Listed { names } => Some(names.clone()),
        }
    }

    /// Whether a file of this name belongs to the dataset.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::Numbered { pattern, first, last } => {
                pattern.number_in(name).is_some_and(|number| (*first..=*last).contains(&number))
            }
            Self::Matching { glob, .. } => glob.matches(name),
            Self::Listed { names } => names.iter().any(|known| known == name),
        }
    }

    /// How people would write it, e.g. "0001.png to 0800.png".
    pub fn describe(&self) -> String {
        match self {
            Self::Numbered { pattern, first, last } if first != last => {
                format!("{} to {}", pattern.with(*first), pattern.with(*last))
            }
            Self::Numbered { pattern, first, .. } => pattern.with(*first),
            Self::Matching { glob, count } => format!("{count} files like {}*{}", glob.before, glob.after),
            Self::Listed { names } => names.join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbered(pattern: &str, first: u32, last: u32) -> Result<Members, (&'static str, String, String)> {
        Members::from_raw(RawMembers::Numbered { pattern: pattern.into(), first, last })
    }

    #[test]
    fn numbered_names_are_those_of_the_datasets() {
        let members = numbered("{:04}x4.png", 901, 1000).unwrap();
        let names = members.names().unwrap();
        assert_eq!((names.len(), members.count()), (100, 100));
        assert_eq!((names[0].as_str(), names[99].as_str()), ("0901x4.png", "1000x4.png"));
        assert!(names.iter().all(|name| members.contains(name)));
        for other in ["0900x4.png", "1001x4.png", "901x4.png", "+901x4.png", "0901x2.png", "0901.png", ""] {
            assert!(!members.contains(other), "{other}");
        }
        assert_eq!(members.describe(), "0901x4.png to 1000x4.png");
    }

    #[test]
    fn a_pattern_has_one_number_that_fits() {
        for bad in ["", "a", "{}", "{:04", "{:4}", "{:00}", "{:010}", "{:04}{:04}", "{{:04}}", "{:04}/a"] {
            assert!(numbered(bad, 1, 2).is_err(), "{bad}");
        }
        assert_eq!(numbered("{:02}", 1, 100).unwrap_err().0, "files.last");
        assert_eq!(numbered("{:04}", 2, 1).unwrap_err().0, "files.last");
        assert_eq!(numbered("{:09}", 0, 999_999_999).unwrap_err().0, "files");
        assert_eq!(numbered("{:01}", 7, 7).unwrap().names().unwrap(), ["7"]);
    }

    #[test]
    fn matching_and_listed_names() {
        let glob = |glob: &str, count| Members::from_raw(RawMembers::Matching { glob: glob.into(), count });
        let members = glob("*x4.png", 5).unwrap();
        assert!(members.contains("babyx4.png") && members.names().is_none() && members.count() == 5);
        for other in ["x4.png", "baby.png", "a/bx4.png", ".x4.png", "../x4.png"] {
            assert!(!members.contains(other), "{other}");
        }
        assert!(glob("*", 1).unwrap().contains("anything.png"));
        for bad in ["", "a", "**", "*/a", "..*"] {
            assert!(glob(bad, 1).is_err(), "{bad}");
        }
        assert!(glob("*.png", 0).is_err());
        let listed = |names: &[&str]| {
            Members::from_raw(RawMembers::Listed { names: names.iter().map(|&name| name.into()).collect() })
        };
        assert!(listed(&["a.pth", "b.pth"]).unwrap().contains("b.pth"));
        assert!(listed(&[]).is_err() && listed(&["a", "a"]).is_err() && listed(&["../a"]).is_err());
    }

    proptest! {
        #[test]
        fn a_number_comes_back_out_of_its_name(before in "[a-z]{0,3}", after in "[a-z.]{0,4}", digits in 1usize..9, seed: u32) {
            let pattern = Pattern::parse(&format!("{before}{{:0{digits}}}{after}")).unwrap();
            let number = seed % 10u32.pow(u32::try_from(digits).unwrap());
            prop_assert_eq!(pattern.number_in(&pattern.with(number)), Some(number));
        }

        #[test]
        fn no_text_breaks_a_pattern_or_a_glob(text in any::<String>(), name in any::<String>()) {
            if let Ok(pattern) = Pattern::parse(&text) {
                let _ = pattern.number_in(&name);
            }
            if let Ok(glob) = Glob::parse(&text) && glob.matches(&name) {
                prop_assert!(value::file_name(&name).is_ok());
            }
        }
    }
}
