//! Which members of an archive are wanted, and where they go.

use std::collections::HashMap;

use super::Limits;
use super::error::{Danger, Fault};
use super::names;

/// The members that are wanted from an archive. Everything else is left out, but counted and looked at: a dangerous name or kind
/// anywhere is an error, because no honest archive has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// A member goes where the first rule says that matches it.
    pub rules: Vec<Rule>,
}

/// Members below one folder of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The folder in the archive, such as `DIV2K_train_LR_bicubic/X4`; empty for the whole archive.
    pub from: String,
    /// The folder below the target they go to, with the path below `from` kept; empty for the target itself.
    pub into: String,
    /// The ends of wanted names, such as `.png`; empty for all.
    pub suffixes: Vec<String>,
    /// How many there must be, if known.
    pub count: Option<u64>,
}

impl Members {
    /// All files below the folder `from` whose names end in one of `suffixes`, right into the target.
    pub fn below(from: &str, suffixes: &[&str], count: Option<u64>) -> Self {
        let suffixes = suffixes.iter().map(|&suffix| suffix.to_owned()).collect();
        Self { rules: vec![Rule { from: from.to_owned(), into: String::new(), suffixes, count }] }
    }
}

impl Rule {
    /// Where a member goes, if it is wanted.
    fn destination(&self, path: &str) -> Option<String> {
        let from = self.from.trim_end_matches('/');
        let rest = match from {
            "" => path,
            from => path.strip_prefix(from)?.strip_prefix('/')?,
        };
        let wanted =
            self.suffixes.is_empty() || self.suffixes.iter().any(|suffix| rest.ends_with(suffix.as_str()));
        if rest.is_empty() || !wanted {
            return None;
        }
        Some(match self.into.trim_end_matches('/') {
            "" => rest.to_owned(),
            into => format!("{into}/{rest}"),
        })
    }
}

/// What was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Entries for folders; folders are made where files need them.
    pub folders: u64,
    /// What operating systems leave beside files: `__MACOSX`, `.DS_Store` and the like.
    pub litter: u64,
    /// Files that no rule wants.
    pub unwanted: u64,
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    Special,
    /// A record of the archive itself that becomes no file, such as a comment.
    Record,
}

/// A file or folder that will be made, remembered under its name in lower case.
struct Taken {
    member: String,
    is_folder: bool,
    path: String,
}

/// Walks over the members of one archive, decides about each and keeps count.
pub(super) struct Selector<'a> {
    members: &'a Members,
    limits: &'a Limits,
    seen: u64,
    wanted: Vec<u64>,
    wanted_bytes: u64,
    ignored: Ignored,
    taken: HashMap<String, Taken>,
    example: Option<String>,
}

impl<'a> Selector<'a> {
    pub(super) fn new(members: &'a Members, limits: &'a Limits) -> Self {
        Self {
            members,
            limits,
            seen: 0,
            wanted: vec![0; members.rules.len()],
            wanted_bytes: 0,
            ignored: Ignored::default(),
            taken: HashMap::new(),
            example: None,
        }
    }

    /// Where the next member goes below the target; `None` when it is left out. `bytes` is its size as the archive claims it.
    pub(super) fn next(&mut self, name: &[u8], kind: Kind, bytes: u64) -> Result<Option<String>, Fault> {
        self.seen += 1;
        if self.seen > self.limits.members {
            let what = "the number of its members".to_owned();
            return Err(Fault::Limit { what, limit: self.limits.members, found: self.seen });
        }
        let hostile = |danger| Fault::Hostile { member: names::shown(name), danger };
        match kind {
            Kind::Link => return Err(hostile(Danger::Link)),
            Kind::Special => return Err(hostile(Danger::Special)),
            Kind::Record => {
                self.ignored.unwanted += 1;
                return Ok(None);
            }
            Kind::File | Kind::Folder => {}
        }
        let path = names::plain_path(name, self.limits.name_bytes)?;
        if kind == Kind::Folder || path.is_empty() {
            self.ignored.folders += 1;
            return Ok(None);
        }
        if names::is_litter(&path) {
            self.ignored.litter += 1;
            return Ok(None);
        }
        let rules = self.members.rules.iter().zip(&mut self.wanted);
        let Some((into, count)) =
            rules.filter_map(|(rule, count)| Some((rule.destination(&path)?, count))).next()
        else {
            self.ignored.unwanted += 1;
            self.example.get_or_insert_with(|| names::shown(name));
            return Ok(None);
        };
        if std::str::from_utf8(name).is_err() {
            return Err(hostile(Danger::NotUtf8));
        }
        *count += 1;
        // What a rule adds comes from a manifest; it is held to the same.
        let into = names::plain_path(into.as_bytes(), u64::MAX)?;
        self.account(name, bytes)?;
        self.take(name, &into)?;
        Ok(Some(into))
    }

    fn account(&mut self, name: &[u8], bytes: u64) -> Result<(), Fault> {
        let Limits { member_bytes, total_bytes, .. } = *self.limits;
        if bytes > member_bytes {
            let what = format!("the size of its member `{}` in bytes", names::shown(name));
            return Err(Fault::Limit { what, limit: member_bytes, found: bytes });
        }
        self.wanted_bytes = self.wanted_bytes.saturating_add(bytes);
        if self.wanted_bytes > total_bytes {
            let what = "the size of its wanted members in bytes".to_owned();
            return Err(Fault::Limit { what, limit: total_bytes, found: self.wanted_bytes });
        }
        Ok(())
    }

    /// Reserves a path and the folders above it.
    fn take(&mut self, name: &[u8], path: &str) -> Result<(), Fault> {
        let member = names::shown(name);
        let collision =
            |other: &Taken| Fault::Collision { member: member.clone(), other: other.member.clone() };
        for (end, _) in path.match_indices('/') {
            let folder = &path[..end];
            let key = folder.to_lowercase();
            match self.taken.get(&key) {
                // The same folder in another case would be another folder here and the same one elsewhere.
                Some(other) if !other.is_folder || other.path != folder => return Err(collision(other)),
                Some(_) => {}
                None => {
                    let taken = Taken { member: member.clone(), is_folder: true, path: folder.to_owned() };
                    self.taken.insert(key, taken);
                }
            }
        }
        let key = path.to_lowercase();
        if let Some(other) = self.taken.get(&key) {
            return Err(collision(other));
        }
        self.taken.insert(key, Taken { member, is_folder: false, path: path.to_owned() });
        Ok(())
    }

    /// The claimed sizes of all wanted members together.
    pub(super) fn wanted_bytes(&self) -> u64 {
        self.wanted_bytes
    }

    /// What was left out, when all members were seen.
    ///
    /// # Errors
    /// [`Fault::NothingWanted`], or [`Fault::Count`] of the first rule that has too few or too many.
    pub(super) fn finish(&self) -> Result<Ignored, Fault> {
        if self.wanted.iter().all(|&count| count == 0) {
            let example = match &self.example {
                Some(example) => {
                    format!(": it has `{example}`, for instance, and is probably another archive")
                }
                None => String::new(),
            };
            return Err(Fault::NothingWanted { members: self.seen, example });
        }
        for (rule, &found) in self.members.rules.iter().zip(&self.wanted) {
            if let Some(expected) = rule.count.filter(|&expected| expected != found) {
                return Err(Fault::Count { folder: rule.from.clone(), expected, found });
            }
        }
        Ok(self.ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(members: &Members, names: &[(&str, Kind)]) -> Result<(Vec<Option<String>>, Ignored), Fault> {
        let limits = Limits::default();
        let mut selector = Selector::new(members, &limits);
        let into = names.iter().map(|(name, kind)| selector.next(name.as_bytes(), *kind, 1));
        let into = into.collect::<Result<_, _>>()?;
        Ok((into, selector.finish()?))
    }

    #[test]
    fn the_first_matching_rule_decides_and_the_rest_is_counted() {
        let rule = |from: &str, into: &str, count| Rule {
            from: from.into(),
            into: into.into(),
            suffixes: vec![".png".into()],
            count,
        };
        let members = Members {
            rules: vec![rule("F/HR", "HR", Some(1)), rule("F/LR/X4/", "", None), rule("F/X", "x", None)],
        };
        let (into, ignored) = select(
            &members,
            &[
                ("F/", Kind::Folder),
                ("F/HR/1.png", Kind::File),
                ("F/LR/X4/sub/1x4.png", Kind::File),
                ("F/LR/X2/1x2.png", Kind::File),
                ("F/HRx/1.png", Kind::File),
                ("F/HR/Thumbs.db", Kind::File),
                ("__MACOSX/F/HR/._1.png", Kind::File),
                ("F/HR/readme.txt", Kind::File),
                ("pax", Kind::Record),
            ],
        )
        .unwrap();
        let into: Vec<_> = into.iter().map(Option::as_deref).collect();
        assert_eq!(into[..3], [None, Some("HR/1.png"), Some("sub/1x4.png")]);
        assert!(into[3..].iter().all(Option::is_none));
        assert_eq!(ignored, Ignored { folders: 1, litter: 2, unwanted: 4 });
    }

    #[test]
    fn collisions_are_found_whatever_the_case_and_kind() {
        let all = Members::below("", &[], None);
        for pair in
            [["a.png", "a.png"], ["a.png", "A.PNG"], ["É", "é"], ["a", "a/b"], ["a/b", "a"], ["A/b", "a/c"]]
        {
            let names = pair.map(|name| (name, Kind::File));
            let fault = select(&all, &names).unwrap_err();
            assert_eq!(fault, Fault::Collision { member: pair[1].into(), other: pair[0].into() });
        }
        select(&all, &[("a/b", Kind::File), ("a/c", Kind::File), ("a/", Kind::Folder)]).unwrap();
    }

    #[test]
    fn counts_are_checked() {
        let members = Members::below("D", &[".png"], Some(2));
        let fault = select(&members, &[("D/1.png", Kind::File)]).unwrap_err();
        assert_eq!(fault, Fault::Count { folder: "D".into(), expected: 2, found: 1 });
        let fault = select(&members, &[("E/1.png", Kind::File)]).unwrap_err();
        assert!(fault.to_string().contains("`E/1.png`, for instance"), "{fault}");
        assert!(matches!(select(&members, &[]), Err(Fault::NothingWanted { members: 0, .. })));
    }

    #[test]
    fn danger_counts_even_where_nothing_is_wanted() {
        let members = Members::below("D", &[".png"], None);
        for (name, kind, danger) in [
            ("elsewhere/../x", Kind::File, Danger::Parent),
            ("elsewhere/link", Kind::Link, Danger::Link),
            ("elsewhere/fifo", Kind::Special, Danger::Special),
            ("../", Kind::Folder, Danger::Parent),
        ] {
            assert_eq!(
                select(&members, &[("D/1.png", Kind::File), (name, kind)]).unwrap_err(),
                Fault::Hostile { member: name.into(), danger }
            );
        }
    }

    #[test]
    fn names_that_are_not_utf8_matter_only_where_they_are_wanted() {
        let limits = Limits::default();
        let members = Members::below("D", &[".png"], None);
        let mut selector = Selector::new(&members, &limits);
        assert_eq!(selector.next(b"liesmich-\xfc.txt", Kind::File, 1).unwrap(), None);
        let fault = selector.next(b"D/\xfc.png", Kind::File, 1).unwrap_err();
        assert!(matches!(fault, Fault::Hostile { danger: Danger::NotUtf8, .. }));
    }

    #[test]
    fn limits_hold() {
        let limits = Limits { members: 3, member_bytes: 10, total_bytes: 15, ..Limits::default() };
        let members = Members::below("", &[], None);
        let mut selector = Selector::new(&members, &limits);
        assert!(matches!(
            selector.next(b"a", Kind::File, 11),
            Err(Fault::Limit { limit: 10, found: 11, .. })
        ));
        assert!(selector.next(b"b", Kind::File, 10).is_ok());
        assert!(matches!(selector.next(b"c", Kind::File, 6), Err(Fault::Limit { limit: 15, found: 16, .. })));
        assert!(matches!(selector.next(b"d", Kind::Folder, 0), Err(Fault::Limit { limit: 3, found: 4, .. })));
    }
}
