//! Sets of pairs made for the tests.

mod settled;
mod unsound;

use std::fs;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::imaging::testdata::Bytes;
use crate::imaging::{Border, RgbImage, decode_file, downscale, write_png};
use crate::metrics::mod_crop;

const ONE: NonZeroUsize = NonZeroUsize::MIN;

fn go_on(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// An HR folder and an LR folder that go with the test.
struct Set {
    root: TempDir,
}

impl Set {
    fn new() -> Self {
        let set = Self { root: tempfile::tempdir().unwrap() };
        fs::create_dir(set.hr()).unwrap();
        fs::create_dir(set.lr()).unwrap();
        set
    }

    /// Pairs of noise, whose borders tell the rules apart, named 0801, 0802 and so on. The sides are no multiples of the scale.
    fn noise(count: usize, border: Border) -> Self {
        let set = Self::new();
        for number in 0..count {
            let hr = noise(41 + number, 34, number as u64);
            let lr = downscale(&mod_crop(&hr, 4).unwrap(), 4, border).unwrap();
            set.add(&format!("{}", 801 + number), &hr, &lr);
        }
        set
    }

    fn hr(&self) -> PathBuf {
        self.root.path().join("HR")
    }

    fn lr(&self) -> PathBuf {
        self.root.path().join("LR")
    }

    fn add(&self, name: &str, hr: &RgbImage, lr: &RgbImage) {
        write_png(&self.hr().join(format!("{name}.png")), hr).unwrap();
        write_png(&self.lr_of(name), lr).unwrap();
    }

    fn lr_of(&self, name: &str) -> PathBuf {
        self.lr().join(format!("{name}x4.png"))
    }

    /// Adds `levels` to the red channel of an LR pixel, modulo 256.
    fn spoil(&self, name: &str, x: usize, y: usize, levels: u8) {
        let image = decode_file(&self.lr_of(name)).unwrap().image;
        let (width, height) = (image.width(), image.height());
        let mut pixels = image.into_pixels();
        let at = (y * width + x) * 3;
        pixels[at] = pixels[at].wrapping_add(levels);
        write_png(&self.lr_of(name), &RgbImage::new(width, height, pixels).unwrap()).unwrap();
    }

    fn inspect(&self, sample: Sample, is_bicubic: bool) -> Result<Finding, Error> {
        inspect(&self.lr(), &self.hr(), Wanted { scale: 4, sample, is_bicubic }, &go_on)
    }

    /// What it says, without the name of the temporary folder.
    fn message(&self, sample: Sample, is_bicubic: bool) -> String {
        let error = self.inspect(sample, is_bicubic).unwrap_err().to_string();
        error.replace(&format!("{}/", self.root.path().display()), "")
    }
}

fn noise(width: usize, height: usize, seed: u64) -> RgbImage {
    RgbImage::new(width, height, Bytes::new(seed).take(width * height * 3)).unwrap()
}

fn flat(width: usize, height: usize) -> RgbImage {
    RgbImage::new(width, height, vec![77; width * height * 3]).unwrap()
}

fn names(finding: &Finding) -> Vec<&str> {
    finding.sampled.iter().map(|one| one.name.as_str()).collect()
}
