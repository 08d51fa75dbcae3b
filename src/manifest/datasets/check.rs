//! From the list as it is written to the list as it can be relied on.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::error::Error;
use super::list::{Datasets, SCHEMA};
use super::members::{Members, Pattern};
use super::place::{Place, shown};
use super::raw::{Evidence, RawArchive, RawDataset, RawFile, RawGroup, RawManifest, RawSource};
use super::types::{Archive, Dataset, FileFacts, Format, Group, Layout, Role, Source, Terms};
use super::value::{self, MD5_DIGITS, SHA256_DIGITS};

/// Scales the field trains and tests at.
const SCALES: std::ops::RangeInclusive<usize> = 2..=8;

/// Checks everything that types cannot exclude.
pub(super) fn checked(raw: RawManifest, file: &str) -> Result<Datasets, Error> {
    let RawManifest { schema, evidence, terms, archive, dataset, group } = raw;
    let list = Place::new(file, "the list".into());
    list.require(schema == SCHEMA, "schema", schema, SCHEMA)?;
    for (id, words) in &evidence {
        list.apply(&format!("evidence.{id}"), id, value::identifier(id))?;
        list.require(!words.trim().is_empty(), &format!("evidence.{id}"), "empty", "who said so")?;
    }
    for (id, entry) in &terms {
        list.apply(&format!("terms.{id}"), id, value::identifier(id))?;
        let words = !entry.summary.trim().is_empty() && !entry.source.trim().is_empty();
        list.require(words, &format!("terms.{id}"), "empty", "a summary and where it is known from")?;
    }
    let known = Known { evidence, terms, used: RefCell::default() };

    let mut archives: Vec<Arc<Archive>> = Vec::new();
    for raw in archive {
        let place = list.at(format!("archive `{}`", shown(&raw.file)));
        let unique = archives.iter().all(|other| !other.file.eq_ignore_ascii_case(&raw.file));
        place.require(unique, "file", format!("`{}`", shown(&raw.file)), "a name of its own")?;
        archives.push(Arc::new(checked_archive(raw, &place, &known)?));
    }
    let mut datasets: Vec<Dataset> = Vec::new();
    for raw in dataset {
        let place = list.at(format!("dataset `{}`", shown(&raw.name)));
        let dataset = checked_dataset(raw, &place, &archives, &known)?;
        apart(&dataset, &datasets, &place)?;
        datasets.push(dataset);
    }
    for dataset in &datasets {
        check_originals(dataset, &datasets, &list.at(format!("dataset `{}`", dataset.name)))?;
    }
    let mut groups: Vec<Group> = Vec::new();
    for raw in group {
        let place = list.at(format!("group `{}`", shown(&raw.name)));
        groups.push(checked_group(raw, &place, &datasets, &groups)?);
    }
    let datasets = Datasets { datasets, archives, groups, evidence: known.evidence.clone() };
    for archive in &datasets.archives {
        let used = datasets.contents(&archive.file).next().is_some();
        let found = format!("`{}`, which no dataset uses", archive.file);
        list.require(used, "archive", found, "one that a source names")?;
    }
    known.all_used(&list)?;
    Ok(datasets)
}

fn checked_archive(raw: RawArchive, place: &Place<'_>, known: &Known) -> Result<Archive, Error> {
    let RawArchive { file, format, urls, bytes, about_bytes, sha256, md5, evidence } = raw;
    place.apply("file", &file, value::file_name(&file))?;
    let ending = match format {
        Format::Zip => ".zip",
        Format::Tar => ".tar",
        Format::TarGz => ".tar.gz",
    };
    place.require(
        file.ends_with(ending),
        "file",
        format!("`{file}`"),
        format!("a name ending in {ending}"),
    )?;
    check_urls(&urls, place)?;
    let bytes = bytes.0;
    place.require(bytes != Some(0) && about_bytes != Some(0), "bytes", 0, "at least 1")?;
    let exact_and_about = bytes.is_some() && about_bytes.is_some();
    place.require(!exact_and_about, "about_bytes", "given", "nothing where `bytes` is known")?;
    let sha256 = place.apply("sha256", &sha256, value::hash(&sha256, SHA256_DIGITS))?;
    let md5 = place.apply("md5", &md5, value::hash(&md5, MD5_DIGITS))?;
    let figures = [
        ("urls", true),
        ("bytes", bytes.is_some()),
        ("about_bytes", about_bytes.is_some()),
        ("sha256", sha256.is_some()),
        ("md5", md5.is_some()),
    ];
    known.check(&evidence, &figures, place)?;
    Ok(Archive { file, format, urls, bytes, about_bytes, sha256, md5, evidence })
}

fn checked_dataset(
    raw: RawDataset,
    place: &Place<'_>,
    archives: &[Arc<Archive>],
    known: &Known,
) -> Result<Dataset, Error> {
    let RawDataset { name, title, split, role, folder, also, files, terms, source, known: facts } = raw;
    place.apply("name", &name, value::identifier(&name))?;
    place.require(!title.trim().is_empty(), "title", "empty", "what people call it")?;
    place.apply("folder", &folder, value::relative_folder(&folder))?;
    for name in &also {
        place.apply("also", name, value::relative_folder(name))?;
    }
    let members = Members::from_raw(files)
        .map_err(|(key, found, expected)| place.error(key, shown(&found), expected))?;
    let terms = known.terms(&terms, place)?;
    place.require(!source.is_empty(), "source", "missing", "at least one source")?;
    let mut sources = Vec::with_capacity(source.len());
    for (index, raw) in source.into_iter().enumerate() {
        let place = place.at(format!("{}, source {}", place.what, index + 1));
        sources.push(checked_source(raw, &members, &place, archives, known)?);
    }
    let mut checked: Vec<FileFacts> = Vec::with_capacity(facts.len());
    for raw in facts {
        let place = place.at(format!("{}, known file `{}`", place.what, shown(&raw.name)));
        place.require(
            members.contains(&raw.name),
            "name",
            "not one of its files",
            format!("one of {}", members.describe()),
        )?;
        let ascending = checked.last().is_none_or(|last| last.name < raw.name);
        place.require(ascending, "name", "out of order or twice", "each file once, in order of names")?;
        checked.push(checked_facts(raw, &place, known)?);
    }
    Ok(Dataset { name, title, split, role, folder, also, members, terms, sources, known: checked })
}

fn checked_source(
    raw: RawSource,
    members: &Members,
    place: &Place<'_>,
    archives: &[Arc<Archive>],
    known: &Known,
) -> Result<Source, Error> {
    let (layout, likeness, folder_md5, evidence) = match raw {
        RawSource::Archive { archive, prefix, likeness, folder_md5, evidence } => {
            place.apply("prefix", &prefix, value::relative_folder(&prefix))?;
            let found = archives.iter().find(|known| known.file == archive);
            let found = found.ok_or_else(|| {
                place.error("archive", format!("`{}`", shown(&archive)), "the file of a listed archive")
            })?;
            (Layout::Archive { archive: Arc::clone(found), prefix }, likeness, folder_md5, evidence)
        }
        RawSource::Loose { urls, likeness, folder_md5, evidence } => {
            let Members::Numbered { first, .. } = members else {
                return Err(place.error("kind", "loose", "archive or listed: the files are not numbered"));
            };
            place.require(!urls.is_empty(), "urls", "empty", "at least one address")?;
            let mut patterns = Vec::with_capacity(urls.len());
            for url in &urls {
                let pattern = place.apply("urls", url, Pattern::parse(url))?;
                place.apply("urls", url, value::url(&pattern.with(*first)))?;
                patterns.push(pattern);
            }
            (Layout::Loose { urls: patterns }, likeness, folder_md5, evidence)
        }
        RawSource::Listed { files, likeness, folder_md5, evidence } => {
            let listed: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
            let same = members.names().is_some_and(|names| names == listed);
            place.require(same, "files", "other names", "exactly the dataset's files in their order")?;
            for file in &files {
                check_urls(&file.urls, place)?;
            }
            let files = files.into_iter().map(|file| (file.name, file.urls)).collect();
            (Layout::Listed { files }, likeness, folder_md5, evidence)
        }
    };
    let folder_md5 = match folder_md5 {
        Some(text) => place.apply("folder_md5", &text, value::hash(&text, MD5_DIGITS))?,
        None => None,
    };
    known.check(&evidence, &[("layout", true), ("folder_md5", folder_md5.is_some())], place)?;
    Ok(Source { layout, likeness, folder_md5, evidence })
}

fn checked_facts(raw: RawFile, place: &Place<'_>, known: &Known) -> Result<FileFacts, Error> {
    let RawFile { name, bytes, sha256, width, height, pixels_sha256, evidence } = raw;
    let hash = |key: &str, text: Option<String>| match text {
        Some(text) => place.apply(key, &text, value::hash(&text, SHA256_DIGITS)),
        None => Ok(None),
    };
    let sha256 = hash("sha256", sha256)?;
    let pixels_sha256 = hash("pixels_sha256", pixels_sha256)?;
    let width_height = match (width, height) {
        (Some(width @ 1..), Some(height @ 1..)) => Some((width, height)),
        (None, None) => None,
        _ => return Err(place.error("width", "half a size", "width and height in pixels, both at least 1")),
    };
    place.require(bytes != Some(0), "bytes", 0, "at least 1")?;
    let something = bytes.is_some() || sha256.is_some() || pixels_sha256.is_some() || width_height.is_some();
    place.require(something, "name", "alone", "at least one fact")?;
    known.check_ids("evidence", &evidence, place)?;
    Ok(FileFacts { name, bytes, sha256, width_height, pixels_sha256, evidence })
}

/// A dataset has a name and a folder of its own; no folder lies in another one, because folders are put in place whole.
fn apart(dataset: &Dataset, others: &[Dataset], place: &Place<'_>) -> Result<(), Error> {
    for other in others {
        place.require(other.name != dataset.name, "name", "used twice", "a name of its own")?;
        // Some file systems take no notice of case.
        let folders = [&dataset.folder, &other.folder].map(|folder| format!("{}/", folder.to_lowercase()));
        let [own, its] = &folders;
        let nested = own.starts_with(its.as_str()) || its.starts_with(own.as_str());
        let found = format!("`{}`, which overlaps with that of `{}`", dataset.folder, other.name);
        place.require(!nested, "folder", found, "a folder of its own")?;
    }
    Ok(())
}

fn check_originals(dataset: &Dataset, all: &[Dataset], place: &Place<'_>) -> Result<(), Error> {
    let Role::Lr { scale, hr } = &dataset.role else { return Ok(()) };
    let expected = format!("{} to {}", SCALES.start(), SCALES.end());
    place.require(SCALES.contains(scale), "role.scale", scale, expected)?;
    let Some(hr) = hr else { return Ok(()) };
    let fits = |other: &&Dataset| {
        other.name == *hr
            && other.role == Role::Hr
            && other.split == dataset.split
            && other.members.count() == dataset.members.count()
    };
    let expected = "an HR dataset of the same split with as many files";
    place.require(all.iter().any(|other| fits(&other)), "role.hr", format!("`{}`", shown(hr)), expected)
}

fn checked_group(
    raw: RawGroup,
    place: &Place<'_>,
    datasets: &[Dataset],
    groups: &[Group],
) -> Result<Group, Error> {
    let RawGroup { name, summary, datasets: wanted } = raw;
    place.apply("name", &name, value::identifier(&name))?;
    let taken =
        datasets.iter().any(|dataset| dataset.name == name) || groups.iter().any(|group| group.name == name);
    place.require(!taken, "name", "used twice", "a name that no dataset and no other group has")?;
    place.require(!summary.trim().is_empty(), "summary", "empty", "what it is for")?;
    place.require(!wanted.is_empty(), "datasets", "empty", "at least one dataset")?;
    let mut seen = BTreeSet::new();
    for one in &wanted {
        let exists = datasets.iter().any(|dataset| dataset.name == *one);
        let found = format!("`{}`", shown(one));
        place.require(exists && seen.insert(one), "datasets", found, "listed datasets, each once")?;
    }
    Ok(Group { name, summary, datasets: wanted })
}

fn check_urls(urls: &[String], place: &Place<'_>) -> Result<(), Error> {
    place.require(!urls.is_empty(), "urls", "empty", "at least one address")?;
    let mut seen = BTreeSet::new();
    for url in urls {
        place.apply("urls", url, value::url(url))?;
        place.require(seen.insert(url), "urls", format!("`{}` twice", shown(url)), "each address once")?;
    }
    Ok(())
}

/// What entries refer to, and what of it was used.
struct Known {
    evidence: BTreeMap<String, String>,
    terms: BTreeMap<String, Terms>,
    used: RefCell<BTreeSet<String>>,
}

impl Known {
    /// Exactly the known figures have evidence.
    fn check(&self, evidence: &Evidence, figures: &[(&str, bool)], place: &Place<'_>) -> Result<(), Error> {
        for (figure, known) in figures {
            let key = format!("evidence.{figure}");
            match (evidence.get(*figure), known) {
                (Some(ids), true) => self.check_ids(&key, ids, place)?,
                (None, false) => {}
                (None, true) => return Err(place.error(&key, "missing", "who published the figure")),
                (Some(_), false) => return Err(place.error(&key, "given", "nothing for an unknown figure")),
            }
        }
        match evidence.keys().find(|key| figures.iter().all(|(figure, _)| figure != key)) {
            Some(key) => Err(place.error("evidence", format!("`{}`", shown(key)), "names of its figures")),
            None => Ok(()),
        }
    }

    fn check_ids(&self, key: &str, ids: &[String], place: &Place<'_>) -> Result<(), Error> {
        place.require(!ids.is_empty(), key, "empty", "at least one id of [evidence]")?;
        for id in ids {
            let known = self.evidence.contains_key(id);
            place.require(known, key, format!("`{}`", shown(id)), "an id of [evidence]")?;
            self.used.borrow_mut().insert(format!("evidence.{id}"));
        }
        Ok(())
    }

    fn terms(&self, id: &str, place: &Place<'_>) -> Result<Terms, Error> {
        let found = || place.error("terms", format!("`{}`", shown(id)), "an id of [terms]");
        let terms = self.terms.get(id).cloned().ok_or_else(found)?;
        self.used.borrow_mut().insert(format!("terms.{id}"));
        Ok(terms)
    }

    fn all_used(&self, list: &Place<'_>) -> Result<(), Error> {
        let evidence = self.evidence.keys().map(|id| format!("evidence.{id}"));
        let mut all = evidence.chain(self.terms.keys().map(|id| format!("terms.{id}")));
        let used = self.used.borrow();
        match all.find(|key| !used.contains(key)) {
            Some(key) => Err(list.error(&key, "used by nothing", "an entry that something refers to")),
            None => Ok(()),
        }
    }
}
