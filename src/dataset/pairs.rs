//! Which LR file belongs to which HR file, by the naming rules of the field's datasets.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Error;
use crate::fsio::io_context;

/// An LR and an HR image of the same scene.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The HR file's stem.
    pub name: String,
    /// The low-resolution file.
    pub lr: PathBuf,
    /// The high-resolution file.
    pub hr: PathBuf,
}

/// The pairs of two folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairList {
    /// The pairs, sorted by name; at least one.
    pub pairs: Vec<Pair>,
    /// Entries of both folders that are no images by their names (lists, checksums, subfolders), sorted.
    pub ignored: Vec<PathBuf>,
}

/// The images of one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageList {
    /// The image files, sorted by file name; at least one.
    pub images: Vec<PathBuf>,
    /// Other entries of the folder, sorted.
    pub ignored: Vec<PathBuf>,
}

/// Pairs the images of two folders.
///
/// | HR | LR | used by |
/// |---|---|---|
/// | `0801.png` | `0801x4.png` | DIV2K, Flickr2K, and the benchmarks (`baby.bmp`, `babyx4.bmp`) |
/// | `0901.png` | `0901.png` | the challenge's test set |
/// | `a_HR.png` | `a_LRx4.png` | LSDIR in the challenge of 2023 |
///
/// Extensions are `png` or `bmp` in any case, and may differ within a pair. Subfolders are not entered.
///
/// # Errors
/// [`Error::NotAFolder`], [`Error::NoImages`], and [`Error::Unpaired`] that lists *every* file without a partner or with several.
pub fn pair_folders(lr_dir: &Path, hr_dir: &Path, scale: usize) -> Result<PairList, Error> {
    let lr = list(lr_dir, "LR")?;
    let hr = list(hr_dir, "HR")?;
    let mut problems = Vec::new();

    let mut hr_by_stem: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in hr.images {
        if let Some(other) = hr_by_stem.get(&stem(&path)?) {
            problems.push(format!("HR `{}` and `{}` have the same name", other.display(), path.display()));
            continue;
        }
        hr_by_stem.insert(stem(&path)?, path);
    }

    let mut lr_by_hr_stem: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in lr.images {
        let partners: Vec<String> = hr_stems_of(&stem(&path)?, scale)
            .into_iter()
            .filter(|name| hr_by_stem.contains_key(name))
            .collect();
        match partners.as_slice() {
            [] => problems.push(format!("LR `{}` has no HR image", path.display())),
            [name] => lr_by_hr_stem.entry(name.clone()).or_default().push(path),
            names => problems.push(format!(
                "LR `{}` fits {} HR images: {}",
                path.display(),
                names.len(),
                names.join(", ")
            )),
        }
    }

    let mut pairs = Vec::new();
    for (name, hr) in hr_by_stem {
        match lr_by_hr_stem.remove(&name).unwrap_or_default().as_slice() {
            [] => problems.push(format!("HR `{}` has no LR image", hr.display())),
            [lr] => pairs.push(Pair { name, lr: lr.clone(), hr }),
            several => {
                let names: Vec<String> = several.iter().map(|path| format!("`{}`", path.display())).collect();
                problems.push(format!(
                    "HR `{}` has {} LR images: {}",
                    hr.display(),
                    several.len(),
                    names.join(", ")
                ));
            }
        }
    }
    if !problems.is_empty() {
        problems.sort();
        return Err(Error::Unpaired {
            lr_dir: lr_dir.to_path_buf(),
            hr_dir: hr_dir.to_path_buf(),
            scale,
            problems,
        });
    }
    let mut ignored = [lr.ignored, hr.ignored].concat();
    ignored.sort();
    Ok(PairList { pairs, ignored })
}

/// The images of a folder of inputs without originals.
///
/// # Errors
/// [`Error::NotAFolder`] or [`Error::NoImages`].
pub fn list_images(dir: &Path) -> Result<ImageList, Error> {
    list(dir, "input")
}

/// The stem of an LR file without the scale's suffix: `0901` of `0901x4.png` and of `0901.png`. This names outputs.
///
/// # Errors
/// [`Error::Name`] when the file name is not valid UTF-8.
pub fn lr_stem(path: &Path, scale: usize) -> Result<String, Error> {
    let stem = stem(path)?;
    Ok(without_suffix(&stem, scale).unwrap_or(&stem).to_owned())
}

/// The stems an HR file may have for an LR file of this stem. Different rules never give the same stem twice.
fn hr_stems_of(lr: &str, scale: usize) -> Vec<String> {
    let mut stems = vec![lr.to_owned()];
    if let Some(plain) = without_suffix(lr, scale) {
        stems.push(plain.to_owned());
        if let Some(start) = plain.strip_suffix("_LR") {
            stems.push(format!("{start}_HR"));
        }
    }
    stems
}

/// The stem before `x4`, unless nothing would be left.
fn without_suffix(stem: &str, scale: usize) -> Option<&str> {
    stem.strip_suffix(&format!("x{scale}")).filter(|plain| !plain.is_empty())
}

fn stem(path: &Path) -> Result<String, Error> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.map(str::to_owned).ok_or_else(|| Error::Name { path: path.to_path_buf() })
}

fn list(dir: &Path, what: &'static str) -> Result<ImageList, Error> {
    if !dir.is_dir() {
        return Err(Error::NotAFolder { path: dir.to_path_buf(), what });
    }
    let (mut images, mut ignored) = (Vec::new(), Vec::new());
    for entry in io_context(fs::read_dir(dir), "list", dir)? {
        let path = io_context(entry, "list", dir)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let is_image =
            ["png", "bmp"].iter().any(|known| extension.eq_ignore_ascii_case(known)) && path.is_file();
        if is_image { &mut images } else { &mut ignored }.push(path);
    }
    if images.is_empty() {
        return Err(Error::NoImages { path: dir.to_path_buf(), what, ignored: ignored.len() });
    }
    images.sort();
    ignored.sort();
    Ok(ImageList { images, ignored })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn folder(names: &[&str]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        folder
    }

    fn names(lr: &[&str], hr: &[&str]) -> Vec<(String, String)> {
        let (lr, hr) = (folder(lr), folder(hr));
        let list = pair_folders(lr.path(), hr.path(), 4).unwrap();
        let file = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        list.pairs.iter().map(|pair| (pair.name.clone(), file(&pair.lr))).collect()
    }

    fn problems(lr: &[&str], hr: &[&str]) -> Vec<String> {
        let (lr, hr) = (folder(lr), folder(hr));
        let error = pair_folders(lr.path(), hr.path(), 4).unwrap_err();
        let Error::Unpaired { problems, .. } = error else { panic!("{error}") };
        let strip = |line: String| {
            let line = line.replace(&format!("{}/", lr.path().display()), "");
            line.replace(&format!("{}/", hr.path().display()), "")
        };
        problems.into_iter().map(strip).collect()
    }

    fn pair(name: &str, lr: &str) -> (String, String) {
        (name.to_owned(), lr.to_owned())
    }

    #[test]
    fn the_naming_rules_of_the_datasets() {
        assert_eq!(
            names(&["0802x4.png", "0801x4.png"], &["0801.png", "0802.png"]),
            [pair("0801", "0801x4.png"), pair("0802", "0802x4.png")]
        );
        assert_eq!(names(&["0901.png"], &["0901.png"]), [pair("0901", "0901.png")]);
        assert_eq!(names(&["babyx4.BMP"], &["baby.png"]), [pair("baby", "babyx4.BMP")]);
        assert_eq!(names(&["7_LRx4.png"], &["7_HR.png"]), [pair("7_HR", "7_LRx4.png")]);
        // A name that happens to end like the suffix.
        assert_eq!(
            names(&["boxx4.png", "pix4.png"], &["box.png", "pix4.png"]),
            [pair("box", "boxx4.png"), pair("pix4", "pix4.png")]
        );
    }

    #[test]
    fn every_file_without_exactly_one_partner_is_listed() {
        assert_eq!(
            problems(&["0801x4.png", "0803x4.png", "0804x2.png"], &["0801.png", "0802.png"]),
            [
                "HR `0802.png` has no LR image",
                "LR `0803x4.png` has no HR image",
                "LR `0804x2.png` has no HR image"
            ]
        );
        assert_eq!(
            problems(&["0801.png", "0801x4.png"], &["0801.png"]),
            ["HR `0801.png` has 2 LR images: `0801.png`, `0801x4.png`"]
        );
        assert_eq!(problems(&["a.png"], &["a.bmp", "a.png"]), ["HR `a.bmp` and `a.png` have the same name"]);
        assert_eq!(
            problems(&["ax4.png"], &["a.png", "ax4.png"]),
            [
                "HR `a.png` has no LR image",
                "HR `ax4.png` has no LR image",
                "LR `ax4.png` fits 2 HR images: ax4, a"
            ]
        );
    }

    #[test]
    fn other_entries_are_counted() {
        let (lr, hr) = (folder(&["1x4.png", "SHA256SUMS"]), folder(&["1.png", ".hidden", "notes.txt"]));
        fs::create_dir(hr.path().join("folder.png")).unwrap();
        let list = pair_folders(lr.path(), hr.path(), 4).unwrap();
        assert_eq!((list.pairs.len(), list.ignored.len()), (1, 4));
    }

    #[test]
    fn empty_and_missing_folders_are_errors() {
        let (empty, hr) = (folder(&["readme.txt"]), folder(&["1.png"]));
        let message = pair_folders(empty.path(), hr.path(), 4).unwrap_err().to_string();
        assert!(message.contains("holds no PNG or BMP image (1 other entries)"), "{message}");
        let message = pair_folders(&hr.path().join("none"), hr.path(), 4).unwrap_err().to_string();
        assert!(
            message.ends_with("none` is not a folder: give the folder that holds the LR images"),
            "{message}"
        );
        assert!(list_images(empty.path()).is_err());
        assert_eq!(list_images(hr.path()).unwrap().images.len(), 1);
    }

    #[test]
    fn outputs_are_named_without_the_suffix() {
        let stem = |name: &str| lr_stem(Path::new(name), 4).unwrap();
        assert_eq!(stem("a/0901x4.png"), "0901");
        assert_eq!(stem("0901.png"), "0901");
        assert_eq!(stem("0901x2.png"), "0901x2");
        assert_eq!(stem("x4.png"), "x4");
    }

    #[test]
    fn set5_of_the_reference_data_pairs_up() {
        let (Some(hr), Some(lr)) =
            (crate::testing::reference("images/Set5_HR"), crate::testing::reference("images/Set5_LR_x4"))
        else {
            return;
        };
        let list = pair_folders(&lr, &hr, 4).unwrap();
        let names: Vec<&str> = list.pairs.iter().map(|pair| pair.name.as_str()).collect();
        assert_eq!(names, ["baby", "bird", "butterfly", "head", "woman"]);
    }
}
