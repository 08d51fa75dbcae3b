//! The audit of an opened archive: structure first, contents only of what is harmless.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};

use super::archive::{Archive, Extent, Member};
use super::expectation::Expected;
use super::findings::{Counts, Finding, Problem, Report};
use super::{README_NAME, contents, names, picture, readme};

/// Where findings about no single member are.
const ARCHIVE: &str = "archive";
/// The largest `readme.txt`.
const README_LIMIT_BYTES: usize = 64 << 10;

/// Looks at everything and tells what was found.
pub(super) fn audit<R: Read + Seek>(archive: &mut Archive<R>, expected: &Expected) -> Report {
    let members = archive.members.clone();
    let mut findings: Vec<Finding> = Vec::new();
    findings.extend(
        archive.problems.iter().chain(&expected.problems).cloned().map(|problem| problem.at(ARCHIVE)),
    );
    findings.extend(names::duplicates(&members));
    findings.extend(file_set(&members, expected));
    if members.is_empty() {
        findings.push(Problem::error("the archive is empty", "add the images and readme.txt").at(ARCHIVE));
    }

    let mut located: Vec<(String, Extent)> = Vec::new();
    let mut harmless: Vec<(&Member, Extent)> = Vec::new();
    for member in &members {
        let place = names::shown(&member.name());
        let mut problems = names::check(member);
        let extent = match archive.locate(member) {
            Ok((found, extent)) => {
                problems.extend(found);
                extent
            }
            Err(error) => {
                problems.push(Problem::error(
                    format!("reading it failed: {error}"),
                    "check the disk, then try again",
                ));
                None
            }
        };
        let refusal = contents::refusal(member);
        if let Some(extent) = extent {
            located.push((member.name(), extent));
            if refusal.is_none() {
                harmless.push((member, extent));
            }
        }
        problems.extend(refusal);
        findings.extend(problems.into_iter().map(|problem| problem.at(place.as_str())));
    }
    let (layout, overlapping) = archive.layout(&located);
    findings.extend(layout.into_iter().map(|problem| problem.at(ARCHIVE)));

    let mut counts = Counts {
        members: members.len(),
        images_expected: expected.images.as_ref().map(BTreeMap::len),
        images_found: members.iter().filter(|member| is_image(&member.name())).count(),
        images_sound: 0,
    };
    let total_bytes = harmless.iter().fold(0u64, |sum, (member, _)| sum.saturating_add(member.size_bytes));
    if overlapping {
        let what = "the contents were not unpacked, because members overlap (as in a zip bomb)";
        findings.push(Problem::note(what, "make the archive again").at(ARCHIVE));
    } else if total_bytes > contents::TOTAL_LIMIT_BYTES {
        let what = format!(
            "it unpacks to {total_bytes} bytes, the limit is {}; not unpacked",
            contents::TOTAL_LIMIT_BYTES
        );
        findings.push(Problem::error(what, "pack only the images and readme.txt").at(ARCHIVE));
    } else {
        for (member, extent) in harmless {
            let (problems, sound_image) = content(archive, member, extent, expected);
            counts.images_sound += usize::from(sound_image);
            let place = names::shown(&member.name());
            findings.extend(problems.into_iter().map(|problem| problem.at(place.as_str())));
        }
    }

    findings.sort();
    findings.dedup();
    let accepted = !findings.iter().any(|finding| finding.severity == super::Severity::Error);
    Report { schema: Report::SCHEMA, accepted, archive_bytes: archive.bytes, counts, findings }
}

/// Unpacks a member and judges it by its name; also tells whether it is a sound image.
fn content<R: Read + Seek>(
    archive: &mut Archive<R>,
    member: &Member,
    extent: Extent,
    expected: &Expected,
) -> (Vec<Problem>, bool) {
    let bytes = match contents::unpack(archive, member, extent) {
        Ok(bytes) => bytes,
        Err(error) => {
            let what = format!("it cannot be unpacked: {error}");
            return (vec![Problem::error(what, "make the archive again; was it copied completely?")], false);
        }
    };
    let name = member.name();
    if is_image(&name) {
        let size = expected.images.as_ref().and_then(|images| *images.get(&name)?);
        let problems = picture::check(&bytes, size);
        let sound = !problems.iter().any(Problem::is_error);
        (problems, sound)
    } else if name == README_NAME {
        (readme_problems(&bytes), false)
    } else {
        (Vec::new(), false)
    }
}

fn readme_problems(bytes: &[u8]) -> Vec<Problem> {
    if bytes.len() > README_LIMIT_BYTES {
        let what = format!("it has {} bytes, the limit is {README_LIMIT_BYTES}", bytes.len());
        return vec![Problem::error(what, "four lines are enough")];
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => readme::parse(text).1,
        Err(error) => {
            let what = format!("it is not UTF-8 text (byte {})", error.valid_up_to());
            vec![Problem::error(what, "save it as UTF-8")]
        }
    }
}

/// Members that are missing or should not be there. Those in folders are reported by their names.
fn file_set(members: &[Member], expected: &Expected) -> Vec<Finding> {
    let present: BTreeSet<String> = members.iter().map(Member::name).collect();
    let mut findings = Vec::new();
    if !present.contains(README_NAME) {
        let similar = present.iter().find(|name| name.to_lowercase() == README_NAME);
        let fix = match similar {
            Some(name) => format!("rename `{name}` to {README_NAME}"),
            None => "add it; the template is in submission/templates/readme.txt".to_string(),
        };
        findings.push(Problem::error("it is missing", fix).at(README_NAME));
    }
    let known = |name: &str| match &expected.images {
        Some(images) => images.contains_key(name),
        None => is_image(name),
    };
    for name in present.iter().filter(|name| *name != README_NAME && !known(name)) {
        let is_flat = !name.contains(['/', '\\']) && !name.ends_with(".DS_Store");
        if is_flat {
            let fix = if name.ends_with("x4.png") { "name it without `x4`" } else { "leave it out" };
            findings.push(Problem::error("it should not be there", fix).at(names::shown(name)));
        }
    }
    match &expected.images {
        Some(images) => {
            let missing = images.keys().filter(|name| !present.contains(*name));
            findings.extend(missing.map(|name| {
                Problem::error("it is missing", "add the result for this image").at(name.as_str())
            }));
        }
        None if !present.iter().any(|name| is_image(name)) => {
            findings.push(Problem::error("there are no images in it", "add the PNG images").at(ARCHIVE));
        }
        None => {}
    }
    findings
}

/// Whether a member is an image by its name.
fn is_image(name: &str) -> bool {
    name.ends_with(".png") && !name.contains(['/', '\\'])
}
