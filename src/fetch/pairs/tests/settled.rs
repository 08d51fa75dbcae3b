//! What a sound set turns out to be.

use proptest::prelude::*;

use super::*;
use crate::testing::{golden, reference};

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
    fn differences_are_counted(
        width in 1usize..9, height in 1usize..9, seed in any::<u64>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
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
