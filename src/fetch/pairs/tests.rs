use std::fs;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::imaging::testdata::Bytes;
use crate::imaging::{Border, RgbImage, decode_file, downscale, write_png};
use crate::metrics::mod_crop;
use crate::testing::{golden, reference};

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

#[test]
fn a_set_made_by_either_rule_is_told() {
    for (border, rule, words) in
        [(Border::Mirror, BorderRule::Mirror, "mirrored"), (Border::Clamp, BorderRule::Clamp, "clamped")]
    {
        let finding = Set::noise(7, border).inspect(Sample::default(), true).unwrap();
        assert_eq!((finding.pairs, finding.scale, finding.border), (7, 4, rule));
        assert_eq!(names(&finding), ["801", "802", "804", "805", "807"]);
        assert_eq!(
            finding.to_string(),
            format!(
                "7 pairs of matching sizes; 5 of 5 sampled LR images equal our bicubic shrink bit for bit with {words} borders"
            )
        );
        // The other rule differs, but only where the rules do.
        for one in &finding.sampled {
            let other = if rule == BorderRule::Mirror { &one.clamp } else { &one.mirror };
            let Comparison::Differs(other) = other else { panic!("{one:?}") };
            assert!(other.only_outermost && other.pixels > 0, "{other:?}");
            assert!(one.is_ours() && one.closest().is_none());
        }
    }
}

/// The LR images of Set5 as published in Zheng222/IMDN follow MATLAB of 2017 and later, which mirrors.
#[test]
fn published_set5_has_mirrored_borders() {
    let (Some(hr), Some(lr)) = (reference("images/Set5_HR"), reference("images/Set5_LR_x4")) else {
        return;
    };
    let finding =
        inspect(&lr, &hr, Wanted { scale: 4, sample: Sample::default(), is_bicubic: true }, &go_on).unwrap();
    assert_eq!((finding.pairs, finding.border), (5, BorderRule::Mirror));
    assert_eq!(names(&finding), ["baby", "bird", "butterfly", "head", "woman"]);
    assert!(finding.sampled.iter().all(|one| one.mirror.is_equal() && !one.clamp.is_equal()));
}

/// Golden vectors made by a numpy implementation under both rules.
#[test]
fn golden_vectors_are_told_apart() {
    check_golden(&golden(""), &["noise_48x52", "binary_64x64"]);
}

/// The same implementation on photographs.
#[test]
fn golden_photographs_are_told_apart() {
    if let Some(folder) = reference("imresize") {
        check_golden(&folder, &["spices_128", "circuit_128"]);
    }
}

fn check_golden(folder: &Path, names: &[&str]) {
    for (word, rule) in [("mirror", BorderRule::Mirror), ("clamp", BorderRule::Clamp)] {
        let set = Set::new();
        for name in names {
            fs::copy(folder.join(format!("{name}.png")), set.hr().join(format!("{name}.png"))).unwrap();
            fs::copy(folder.join(format!("{name}_x4_{word}.png")), set.lr_of(name)).unwrap();
        }
        let finding = set.inspect(Sample::All, true).unwrap();
        assert_eq!((finding.border, finding.sampled.len()), (rule, names.len()), "{word}");
    }
}

#[test]
fn flat_images_do_not_tell() {
    let set = Set::new();
    set.add("a", &flat(32, 32), &flat(8, 8));
    let finding = set.inspect(Sample::default(), true).unwrap();
    assert_eq!(finding.border, BorderRule::Undecided);
    assert_eq!(
        finding.to_string(),
        "1 pair of matching sizes; 1 of 1 sampled LR images equals our bicubic shrink bit for bit with mirrored borders and with clamped borders \
         (theirs are too flat to tell)"
    );
    // One image with structure at its border settles it for all.
    let hr = noise(16, 16, 1);
    set.add("b", &hr, &downscale(&hr, 4, Border::Clamp).unwrap());
    assert_eq!(set.inspect(Sample::All, true).unwrap().border, BorderRule::Clamp);
}

#[test]
fn one_pixel_of_the_inside_is_found() {
    let set = Set::noise(3, Border::Mirror);
    set.spoil("802", 4, 5, 255);
    let finding = set.inspect(Sample::All, false).unwrap();
    assert_eq!(finding.border, BorderRule::Neither);
    let expected = Difference {
        pixels: 1,
        of_pixels: 10 * 8,
        max_abs_levels: finding.sampled[1].closest().unwrap().0.max_abs_levels,
        first_x_y: (4, 5),
        only_outermost: false,
    };
    assert_eq!(finding.sampled[1].mirror, Comparison::Differs(expected));
    assert!(finding.sampled[0].mirror.is_equal() && finding.sampled[2].mirror.is_equal());
    let message = set.message(Sample::All, true);
    assert!(
        message.starts_with(
            "the LR images of `LR` do not belong to the HR images of `HR` at scale 4:\n  LR `LR/802x4.png` is not the bicubic shrink of HR `HR/802.png`: \
             1 of 80 pixels differ by at most "
        ),
        "{message}"
    );
    assert!(message.contains("the first at column 4, row 5\nfetch these images again"), "{message}");
    // It is not looked at by a sample that leaves it out.
    assert_eq!(set.inspect(Sample::Spread(ONE.saturating_add(1)), true).unwrap().border, BorderRule::Mirror);
}

#[test]
fn one_pixel_of_the_border_is_said_to_be_there() {
    let set = Set::noise(1, Border::Clamp);
    let (x, y) = (8, 3);
    let image = decode_file(&set.lr_of("801")).unwrap().image;
    assert_eq!((image.width(), image.height()), (10, 8));
    let before = image.pixels()[(y * 10 + x) * 3];
    let step: u8 = if before < 128 { 9 } else { 247 };
    set.spoil("801", x, y, step);
    let finding = set.inspect(Sample::All, false).unwrap();
    let expected =
        Difference { pixels: 1, of_pixels: 80, max_abs_levels: 9, first_x_y: (x, y), only_outermost: true };
    assert_eq!(finding.sampled[0].clamp, Comparison::Differs(expected));
    assert_eq!(
        finding.to_string(),
        "1 pair of matching sizes; 0 of 1 sampled LR images equal our bicubic shrink; `801` against ours with clamped borders: \
         1 of 80 pixels differ by at most 9, only within the outermost 2 pixels of its sides, the first at column 8, row 3"
    );
}

#[test]
fn a_set_of_both_rules_follows_neither() {
    let set = Set::noise(2, Border::Mirror);
    let hr = noise(40, 40, 99);
    set.add("803", &hr, &downscale(&hr, 4, Border::Clamp).unwrap());
    // Each of the images is a published kind of bicubic, so that is no error.
    let finding = set.inspect(Sample::All, true).unwrap();
    assert_eq!(finding.border, BorderRule::Neither);
    assert!(
        finding.to_string().ends_with(
            "3 of 3 sampled LR images equal our bicubic shrink bit for bit, but 2 only with mirrored borders and 1 only with clamped borders"
        ),
        "{finding}"
    );
}

#[test]
fn several_foreign_images_are_counted() {
    let set = Set::noise(1, Border::Mirror);
    for name in ["802", "803"] {
        set.add(name, &noise(40, 40, 5), &noise(10, 10, 6));
    }
    let finding = set.inspect(Sample::All, false).unwrap().to_string();
    assert!(
        finding.starts_with(
            "3 pairs of matching sizes; 1 of 3 sampled LR images equals our bicubic shrink bit for bit; `802` against ours with "
        ),
        "{finding}"
    );
    assert!(finding.ends_with("; and 1 more"), "{finding}");
    let message = set.message(Sample::All, true);
    assert!(message.contains("`LR/802x4.png`") && message.contains("`LR/803x4.png`"), "{message}");
    assert!(message.ends_with("so these files are not the published ones"), "{message}");
}

#[test]
fn wrong_sizes_are_errors_of_every_pair_not_only_of_the_sampled_ones() {
    let set = Set::noise(9, Border::Mirror);
    for number in 802..=808 {
        write_png(&set.lr_of(&number.to_string()), &flat(10, 9)).unwrap();
    }
    let Err(Error::Unsound { problems, .. }) = set.inspect(Sample::Spread(ONE), false) else { panic!() };
    assert_eq!(problems.len(), 7);
    let message = set.message(Sample::Spread(ONE), false);
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines[0], "the LR images of `LR` do not belong to the HR images of `HR` at scale 4:");
    assert_eq!(
        lines[1],
        "  `HR/802.png` has 42x34 pixels and `LR/802x4.png` 10x9: the HR image should be 4 times as large (up to 4 - 1 pixels more)"
    );
    assert_eq!(lines[6], "  and 2 more");
    assert!(lines[7].starts_with("fetch these images again"));
    assert_eq!(lines.len(), 8);
}

#[test]
fn files_without_partners_are_errors() {
    let set = Set::noise(3, Border::Mirror);
    fs::remove_file(set.lr_of("802")).unwrap();
    assert_eq!(
        set.message(Sample::default(), false),
        "the LR images of `LR` do not belong to the HR images of `HR` at scale 4:\n  HR `HR/802.png` has no LR image\n\
         expected names like 0801.png with 0801x4.png or 0801.png: fetch what is missing, or give two folders of one dataset and this scale"
    );
    for entry in fs::read_dir(set.lr()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert!(matches!(set.inspect(Sample::default(), false), Err(Error::Folder(_))));
}

#[test]
fn files_that_are_no_images_are_named() {
    let set = Set::noise(4, Border::Mirror);
    fs::write(set.lr_of("802"), "a page of a server that has moved").unwrap();
    fs::write(set.hr().join("803.png"), b"").unwrap();
    let message = set.message(Sample::default(), false);
    assert!(
        message.contains("`LR/802x4.png` is neither a PNG nor a BMP")
            && message.contains("`HR/803.png` is empty"),
        "{message}"
    );

    // A sound header with damaged pixels is only seen by those who decode it.
    let set = Set::noise(4, Border::Mirror);
    let path = set.hr().join("803.png");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(set.inspect(Sample::Spread(ONE), true).unwrap().pairs, 4);
    let message = set.message(Sample::All, false);
    assert!(message.contains("`HR/803.png` is a damaged PNG"), "{message}");
}

#[test]
fn grey_images_are_compared_as_they_decode_and_alpha_is_refused() {
    let save = |path: &Path, width: u32, height: u32, colour: png::ColorType, bytes: &[u8]| {
        let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), width, height);
        encoder.set_color(colour);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header().unwrap().write_image_data(bytes).unwrap();
    };
    let set = Set::new();
    let grey = Bytes::new(4).take(36 * 28);
    let rgb = RgbImage::new(36, 28, grey.iter().flat_map(|&value| [value; 3]).collect()).unwrap();
    save(&set.hr().join("a.png"), 36, 28, png::ColorType::Grayscale, &grey);
    let lr = downscale(&rgb, 4, Border::Mirror).unwrap();
    let lr: Vec<u8> = lr.pixels().iter().copied().step_by(3).collect();
    save(&set.lr_of("a"), 9, 7, png::ColorType::Grayscale, &lr);
    assert_eq!(set.inspect(Sample::All, true).unwrap().border, BorderRule::Mirror);

    let alpha: Vec<u8> = lr.iter().flat_map(|&value| [value, value, value, 255]).collect();
    save(&set.lr_of("a"), 9, 7, png::ColorType::Rgba, &alpha);
    let message = set.message(Sample::All, true);
    assert!(message.contains("`LR/ax4.png` is a PNG of 8-bit RGB with alpha"), "{message}");
}

#[test]
fn the_caller_sees_every_step_and_can_stop_at_each() {
    let set = Set::noise(6, Border::Mirror);
    let wanted = Wanted { scale: 4, sample: Sample::Spread(ONE.saturating_add(1)), is_bicubic: true };
    let (steps, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let count = |read: u64| {
        steps.fetch_add(1, Ordering::Relaxed);
        bytes.fetch_add(read as usize, Ordering::Relaxed);
        ControlFlow::Continue(())
    };
    inspect(&set.lr(), &set.hr(), wanted, &count).unwrap();
    let files = ["HR/801.png", "LR/801x4.png", "HR/806.png", "LR/806x4.png"]
        .map(|name| fs::metadata(set.root.path().join(name)).unwrap().len() as usize);
    assert_eq!(bytes.into_inner(), 12 * 64 + files.iter().sum::<usize>());
    let steps = steps.into_inner();
    assert_eq!(steps, 6 + 2);
    for at in 0..steps {
        let seen = AtomicUsize::new(0);
        let stop = |_: u64| match seen.fetch_add(1, Ordering::Relaxed) {
            number if number >= at => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        let stopped = inspect(&set.lr(), &set.hr(), wanted, &stop);
        assert!(matches!(stopped, Err(Error::Stopped { .. })), "at {at}");
        let message = stopped.unwrap_err().to_string();
        assert!(message.starts_with("stopped while comparing `"), "{message}");
    }
}

#[test]
fn scales_without_a_shrink_are_refused() {
    let set = Set::new();
    write_png(&set.hr().join("a.png"), &flat(16, 16)).unwrap();
    write_png(&set.lr().join("ax8.png"), &flat(2, 2)).unwrap();
    let wanted = |scale| Wanted { scale, sample: Sample::All, is_bicubic: false };
    let error = inspect(&set.lr(), &set.hr(), wanted(8), &go_on).unwrap_err();
    assert_eq!(error.to_string(), "cannot downscale by 8, expected a factor of 2, 3 or 4");
    let zero = inspect(&set.hr(), &set.hr(), wanted(0), &go_on);
    assert!(matches!(zero, Err(Error::Unsound { .. })));
}

#[test]
fn the_other_factors_are_settled_too() {
    for (scale, border, rule) in
        [(2, Border::Mirror, BorderRule::Mirror), (3, Border::Clamp, BorderRule::Clamp)]
    {
        let set = Set::new();
        let hr = noise(31, 29, 8);
        write_png(&set.hr().join("a.png"), &hr).unwrap();
        let lr = downscale(&mod_crop(&hr, scale).unwrap(), scale, border).unwrap();
        write_png(&set.lr().join(format!("ax{scale}.png")), &lr).unwrap();
        let wanted = Wanted { scale, sample: Sample::All, is_bicubic: true };
        let finding = inspect(&set.lr(), &set.hr(), wanted, &go_on).unwrap();
        assert_eq!((finding.border, finding.scale), (rule, scale));
        let other =
            if rule == BorderRule::Mirror { &finding.sampled[0].clamp } else { &finding.sampled[0].mirror };
        assert!(matches!(other, Comparison::Differs(difference) if difference.only_outermost), "x{scale}");
    }
}

#[test]
fn a_finding_is_read_as_it_was_written_and_unknown_keys_are_refused() {
    let set = Set::noise(2, Border::Clamp);
    set.spoil("801", 5, 5, 1);
    let finding = set.inspect(Sample::All, false).unwrap();
    let json = serde_json::to_string(&finding).unwrap();
    assert_eq!(serde_json::from_str::<Finding>(&json).unwrap(), finding);
    assert!(json.starts_with(
        r#"{"pairs":2,"scale":4,"border":"neither","sampled":[{"name":"801","mirror":{"differs":{"pixels":"#
    ));
    assert!(json.contains(r#""clamp":"equal"}]}"#), "{json}");
    for (old, new) in [
        (r#""pairs":2"#, r#""pairs":2,"x":1"#),
        (r#""name":"#, r#""x":0,"name":"#),
        ("\"neither\"", "\"both\""),
    ] {
        let changed = json.replacen(old, new, 1);
        assert_ne!(changed, json);
        assert!(serde_json::from_str::<Finding>(&changed).is_err(), "{changed}");
    }
    let toml = toml::to_string(&finding).unwrap();
    assert_eq!(toml::from_str::<Finding>(&toml).unwrap(), finding);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn samples_are_spread_from_the_first_to_the_last(wanted in 1usize..50, count in 1usize..2000) {
        let indices = Sample::Spread(NonZeroUsize::new(wanted).unwrap()).indices(count);
        prop_assert_eq!(indices.len(), wanted.min(count));
        prop_assert_eq!(indices[0], 0);
        prop_assert!(indices.len() == 1 || indices[indices.len() - 1] == count - 1);
        prop_assert!(indices.is_sorted_by(|a, b| a < b));
        let steps: Vec<usize> = indices.windows(2).map(|pair| pair[1] - pair[0]).collect();
        if let (Some(least), Some(most)) = (steps.iter().min(), steps.iter().max()) {
            prop_assert!(most - least <= 1, "{:?}", steps);
        }
        prop_assert_eq!(Sample::All.indices(count).len(), count);
    }

    /// Against a plain count, pixel by pixel.
    #[test]
    fn differences_are_counted(width in 1usize..9, height in 1usize..9, seed in any::<u64>(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        let ours = noise(width, height, seed);
        let mut pixels = ours.pixels().to_vec();
        for (at, value) in changes {
            let at = at.index(pixels.len());
            pixels[at] = value;
        }
        let lr = RgbImage::new(width, height, pixels).unwrap();
        let places: Vec<(usize, usize)> = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)))
            .filter(|&(x, y)| lr.crop(x, y, 1, 1) != ours.crop(x, y, 1, 1)).collect();
        match Comparison::of(&lr, &ours) {
            Comparison::Equal => prop_assert!(places.is_empty()),
            Comparison::Differs(difference) => {
                prop_assert_eq!(difference.pixels, places.len() as u64);
                prop_assert_eq!(difference.of_pixels, (width * height) as u64);
                prop_assert_eq!(difference.first_x_y, places[0]);
                let outermost = |&(x, y): &(usize, usize)| x < 2 || y < 2 || x + 2 >= width || y + 2 >= height;
                prop_assert_eq!(difference.only_outermost, places.iter().all(outermost));
                let largest = lr.pixels().iter().zip(ours.pixels()).map(|(a, b)| a.abs_diff(*b)).max();
                prop_assert_eq!(Some(difference.max_abs_levels), largest);
            }
        }
    }
}
