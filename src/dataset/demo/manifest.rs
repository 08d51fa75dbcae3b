//! What the demo set is, as recorded in `manifest/demo.toml`.

use serde::{Deserialize, Serialize};

use super::Split;
use crate::dataset::Error;

/// The file, compiled in: a binary cannot disagree with the list it was tested against.
const SOURCE: &str = include_str!("../../../manifest/demo.toml");

/// The version of the list this program knows; any change of a picture is a new one.
const VERSION: u32 = 1;

/// The list of the demo set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoManifest {
    /// Version of the pictures: it changes when any of them does.
    pub version: u32,
    /// Factor between HR and LR.
    pub scale: usize,
    /// Number of training images.
    pub train_count: usize,
    /// Number of validation images.
    pub valid_count: usize,
    /// The images in order of their numbers, training first.
    pub image: Vec<DemoImage>,
}

/// One image of the demo set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoImage {
    /// The HR file's stem, for instance `0001`.
    pub name: String,
    /// The split it belongs to.
    pub split: Split,
    /// SHA-256 of `WxH:RGB:` and the RGB bytes of the HR image ([`crate::imaging::RgbImage::pixels_sha256`]).
    pub hr_sha256: String,
    /// The same of the LR image.
    pub lr_sha256: String,
}

impl DemoManifest {
    /// The images of a split with their numbers within it (from 0).
    pub fn split(&self, split: Split) -> impl Iterator<Item = (usize, &DemoImage)> {
        self.image.iter().filter(move |image| image.split == split).enumerate()
    }
}

/// The compiled-in list of the demo set.
///
/// # Errors
/// [`Error::DemoManifest`] when it does not parse or its counts are not those of the generator; a test keeps that from being released.
pub fn manifest() -> Result<DemoManifest, Error> {
    let wrong = |reason: String| Error::DemoManifest { reason };
    let manifest: DemoManifest = toml::from_str(SOURCE).map_err(|source| wrong(source.to_string()))?;
    if manifest.version != VERSION {
        return Err(wrong(format!("version {}, expected {VERSION}", manifest.version)));
    }
    for (split, counted) in Split::ALL.into_iter().zip([manifest.train_count, manifest.valid_count]) {
        let listed = manifest.split(split).count();
        if listed != counted || listed != split.count() {
            let expected = split.count();
            return Err(wrong(format!(
                "{listed} {} images, it says {counted}, expected {expected}",
                split.folder()
            )));
        }
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::demo::generate;
    use crate::imaging::{Border, downscale};
    use rayon::prelude::*;

    /// Generates every image and describes it as the manifest does.
    fn regenerated() -> DemoManifest {
        let numbers: Vec<(Split, usize)> = Split::ALL
            .into_iter()
            .flat_map(|split| (0..split.count()).map(move |index| (split, index)))
            .collect();
        let image = numbers
            .par_iter()
            .map(|&(split, index)| {
                let hr = generate(split, index);
                let number = index + 1 + if split == Split::Valid { Split::Train.count() } else { 0 };
                DemoImage {
                    name: format!("{number:04}"),
                    split,
                    hr_sha256: hr.pixels_sha256(),
                    lr_sha256: downscale(&hr, 4, Border::Mirror).unwrap().pixels_sha256(),
                }
            })
            .collect();
        DemoManifest {
            version: VERSION,
            scale: 4,
            train_count: Split::Train.count(),
            valid_count: Split::Valid.count(),
            image,
        }
    }

    /// Every picture is the recorded one. After an intended change of the pictures, raise [`VERSION`] and run this test with `ESR_UPDATE=1`: it
    /// writes `manifest/demo.toml` anew, and passes when compiled and run again.
    #[test]
    fn every_image_is_the_recorded_one() {
        let found = regenerated();
        if std::env::var_os("ESR_UPDATE").is_some_and(|value| value == "1") {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/manifest/demo.toml");
            let head = "# The demo set: images that the program generates (src/dataset/demo). Written by the test\n\
                        # `every_image_is_the_recorded_one` with ESR_UPDATE=1. A hash is the SHA-256 of \"WxH:RGB:\" and the RGB bytes;\n\
                        # LR is HR shrunk by MATLAB's bicubic imresize with mirrored borders.\n\n";
            std::fs::write(path, head.to_owned() + &toml::to_string(&found).unwrap()).unwrap();
            return;
        }
        assert_eq!(manifest().unwrap(), found);
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert!(toml::from_str::<DemoManifest>(&format!("colour = 1\n{SOURCE}")).is_err());
    }
}
