//! What is an error, and stopping.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

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
