//! The demo set as folders of PNG files.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::manifest::{DemoImage, manifest};
use super::{Split, generate};
use crate::dataset::Error;
use crate::imaging::{Border, RgbImage, decode_file, downscale, write_png};

/// What [`materialise`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Materialised {
    /// Files written.
    pub written: usize,
    /// Files that were already there with the right pixels.
    pub already_right: usize,
}

/// Writes the demo set below `dir` as `train/HR/0001.png`, `train/LR_x4/0001x4.png`, `valid/…`. A file that already holds the right pixels is left
/// alone, any other file of such a name is replaced; nothing is written that does not have its recorded hash.
///
/// # Errors
/// [`Error::File`] or [`Error::Image`] when a file cannot be written; [`Error::DemoMismatch`] when this machine computes other pixels than recorded.
pub fn materialise(dir: &Path) -> Result<Materialised, Error> {
    let manifest = manifest()?;
    let images: Vec<(usize, &DemoImage)> =
        Split::ALL.into_iter().flat_map(|split| manifest.split(split)).collect();
    let written = images
        .into_par_iter()
        .map(|(index, image)| {
            let (hr_path, lr_path) = paths(dir, image, manifest.scale);
            let (hr, hr_written) = match right_image(&hr_path, &image.hr_sha256) {
                Some(hr) => (hr, false),
                None => {
                    let hr = generate(image.split, index);
                    write_verified(&hr_path, &hr, image, "HR", &image.hr_sha256)?;
                    (hr, true)
                }
            };
            if right_image(&lr_path, &image.lr_sha256).is_some() {
                return Ok(usize::from(hr_written));
            }
            let lr = downscale(&hr, manifest.scale, Border::Mirror)?;
            write_verified(&lr_path, &lr, image, "LR", &image.lr_sha256)?;
            Ok(usize::from(hr_written) + 1)
        })
        .collect::<Result<Vec<usize>, Error>>()?;
    let total = 2 * written.len();
    let written = written.into_iter().sum();
    Ok(Materialised { written, already_right: total - written })
}

/// Where an image's HR and LR files are.
fn paths(dir: &Path, image: &DemoImage, scale: usize) -> (PathBuf, PathBuf) {
    let (name, folder) = (&image.name, dir.join(image.split.folder()));
    (folder.join(format!("HR/{name}.png")), folder.join(format!("LR_x{scale}/{name}x{scale}.png")))
}

/// The image of a file that is there, sound, and has these pixels. Whatever else is there will be replaced, so why it is wrong does not matter.
fn right_image(path: &Path, sha256: &str) -> Option<RgbImage> {
    let image = decode_file(path).ok()?.image;
    (image.pixels_sha256() == sha256).then_some(image)
}

fn write_verified(
    path: &Path,
    pixels: &RgbImage,
    image: &DemoImage,
    what: &'static str,
    expected: &str,
) -> Result<(), Error> {
    let found = pixels.pixels_sha256();
    if found != expected {
        return Err(Error::DemoMismatch {
            name: image.name.clone(),
            what,
            expected: expected.to_owned(),
            found,
        });
    }
    Ok(write_png(path, pixels)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::pair_folders;

    #[test]
    fn folders_pair_up_and_are_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        assert_eq!(materialise(dir).unwrap(), Materialised { written: 60, already_right: 0 });
        for (split, count) in [("train", 24), ("valid", 6)] {
            let split = dir.join(split);
            let list = pair_folders(&split.join("LR_x4"), &split.join("HR"), 4).unwrap();
            assert_eq!((list.pairs.len(), list.ignored.len()), (count, 0));
        }
        // A cut file, a wrong picture and a missing file are put right; the others are left alone.
        let cut = dir.join("train/HR/0002.png");
        let whole = std::fs::read(&cut).unwrap();
        std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
        std::fs::copy(dir.join("train/LR_x4/0001x4.png"), dir.join("train/LR_x4/0003x4.png")).unwrap();
        std::fs::remove_file(dir.join("valid/HR/0025.png")).unwrap();
        assert_eq!(materialise(dir).unwrap(), Materialised { written: 3, already_right: 57 });
        assert_eq!(std::fs::read(&cut).unwrap(), whole);
        assert_eq!(materialise(dir).unwrap(), Materialised { written: 0, already_right: 60 });
    }
}
