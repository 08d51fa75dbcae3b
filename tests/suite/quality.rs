//! `esr evaluate` and `esr upscale`: images in, scores and images out.

use png::{BitDepth, ColorType};
use serde_json::{Value, json};

use crate::place::{Place, Ran, TINY, scenery};

/// Two pairs, one of them with an HR image that is not a multiple of 4 and is cropped.
fn pairs() -> Place {
    let place = Place::new();
    place.pair("set", "a", 56, 48);
    place.pair("set", "b", 40, 44);
    place
}

const BICUBIC: &str = "evaluate --model bicubic --lr set/LR --hr set/HR";

/// A PNG file of any kind, all samples of it 7.
fn png(width: u32, height: u32, colour: ColorType, depth: BitDepth) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if colour == ColorType::Indexed {
        encoder.set_palette(vec![9; 8 * 3]);
    }
    let sample_bytes = if depth == BitDepth::Sixteen { 2 } else { 1 };
    let data = vec![7; (width * height) as usize * colour.samples() * sample_bytes];
    encoder.write_header().unwrap().write_image_data(&data).unwrap();
    bytes
}

#[test]
fn the_table_of_bicubic() {
    let ran = pairs().esr(BICUBIC);
    assert_eq!(ran.stderr, "");
    insta::assert_snapshot!("bicubic", ran.ok());
}

#[test]
fn the_object_has_the_promised_keys() {
    let found = pairs().esr(&format!("{BICUBIC} --json")).json();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(found["schema"], json!(1));
    assert_eq!((&found["scale"], &found["border"]), (&json!(4), &json!(4)));
    let images = found["images"].as_array().unwrap();
    assert_eq!(images.iter().map(|image| &image["name"]).collect::<Vec<_>>(), ["a", "b"]);
    for key in ["name", "psnr_rgb_db", "ssim_rgb", "psnr_y_db", "ssim_y", "identical"] {
        assert!(keys(&images[0]).contains(&key.to_owned()), "{key}");
    }
    for key in ["psnr_rgb_db", "ssim_rgb", "psnr_y_db", "ssim_y"] {
        let values = images.iter().map(|image| image[key].as_f64().unwrap());
        let mean = values.sum::<f64>() / 2.0;
        assert!((found["mean"][key].as_f64().unwrap() - mean).abs() < 1e-12, "{key}");
    }
}

#[test]
fn identical_images_have_no_psnr() {
    let place = pairs();
    let printed = place.esr("upscale --model bicubic --out same set/LR").ok();
    assert_eq!(printed, "same/a.png\nsame/b.png\n");
    let line = "evaluate --model bicubic --lr set/LR --hr same";
    let found = place.esr(&format!("{line} --json")).json();
    for image in found["images"].as_array().unwrap() {
        assert_eq!((&image["psnr_rgb_db"], &image["identical"]), (&Value::Null, &json!(true)));
        assert_eq!((&image["psnr_y_db"], &image["ssim_rgb"]), (&Value::Null, &json!(1.0)));
    }
    assert_eq!(found["mean"]["psnr_rgb_db"], Value::Null);
    insta::assert_snapshot!("identical", place.esr(line).ok());
    // Scores of different images are never "identical".
    let found = place.esr(&format!("{BICUBIC} --json")).json();
    assert_eq!(found["images"][0]["identical"], json!(false));
}

#[test]
fn evaluate_saves_what_upscale_writes() {
    let place = pairs();
    place.model("m.safetensors", TINY);
    place.esr("evaluate --model m.safetensors --lr set/LR --hr set/HR --save saved").ok();
    place.esr("upscale --model m.safetensors --out up set/LR").ok();
    place.esr("upscale --model m.safetensors --out one set/LR/ax4.png").ok();
    assert_eq!(place.tree("saved").into_keys().collect::<Vec<_>>(), ["a.png", "b.png"]);
    assert_eq!(place.tree("saved"), place.tree("up"));
    assert_eq!(place.bytes("one/a.png"), place.bytes("up/a.png"));
    let sr = place.image("up/a.png");
    assert_eq!((sr.width(), sr.height()), (56, 48));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let place = pairs();
    place.model("m.safetensors", "imdn:blocks=2,channels=16,distilled=4");
    for threads in [1, 2, 3] {
        let (out, line) = (format!("t{threads}"), "upscale --model m.safetensors set/LR --out");
        place.esr(&format!("{line} {out} --threads {threads}")).ok();
        assert_eq!(place.tree(&out), place.tree("t1"), "{threads} threads");
    }
}

#[test]
fn grey_is_replicated_and_said() {
    let place = pairs();
    place.write("set/LR/bx4.png", &png(10, 11, ColorType::Grayscale, BitDepth::Eight));
    place.write("rgb/LR/bx4.png", &png(10, 11, ColorType::Rgb, BitDepth::Eight));
    let ran = place.esr(BICUBIC);
    assert_eq!(ran.stderr, "note: 1 grey image(s) replicated to RGB, as the official reader does: b\n");
    ran.ok();
    let ran = place.esr("upscale --model bicubic --out grey set/LR/bx4.png");
    assert_eq!(ran.stderr, "note: `set/LR/bx4.png` is grey and is replicated to RGB\n");
    ran.ok();
    place.esr("upscale --model bicubic --out rgb rgb/LR/bx4.png").ok();
    assert_eq!(place.bytes("grey/b.png"), place.bytes("rgb/b.png"));
    let quiet = place.esr(&format!("{BICUBIC} -q"));
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
    let quiet = place.esr("-q upscale --model bicubic --out grey set/LR");
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
}

#[test]
fn images_that_cannot_be_used_are_named() {
    let whole = pairs().bytes("set/LR/bx4.png");
    let cases: [(&str, Vec<u8>, &str); 7] = [
        ("palette", png(10, 11, ColorType::Indexed, BitDepth::Eight), "expected 8-bit RGB"),
        ("16 bit", png(10, 11, ColorType::Rgb, BitDepth::Sixteen), "expected 8-bit RGB"),
        ("alpha", png(10, 11, ColorType::Rgba, BitDepth::Eight), "expected 8-bit RGB"),
        ("grey and alpha", png(10, 11, ColorType::GrayscaleAlpha, BitDepth::Eight), "expected 8-bit RGB"),
        ("cut short", whole[..whole.len() - 30].to_vec(), "is a damaged PNG"),
        ("empty", Vec::new(), "is empty (0 bytes)"),
        ("text", b"no picture at all".to_vec(), "neither a PNG nor a BMP"),
    ];
    let place = pairs();
    for (what, bytes, expected) in cases {
        place.write("set/LR/bx4.png", &bytes);
        for line in [BICUBIC, "upscale --model bicubic --out up set/LR/bx4.png"] {
            let stderr = place.esr(line).fails(4);
            assert!(stderr.contains("set/LR/bx4.png") && stderr.contains(expected), "{what}: {stderr}");
        }
    }
    assert!(!place.exists("up/b.png"));
}

#[test]
fn every_file_without_a_partner_is_listed() {
    let place = pairs();
    place.write("set/LR/strayx4.png", &place.bytes("set/LR/ax4.png"));
    place.write("set/HR/lonely.png", &place.bytes("set/HR/a.png"));
    let stderr = place.esr(BICUBIC).fails(4);
    assert!(stderr.contains("strayx4.png` has no HR image"), "{stderr}");
    assert!(stderr.contains("lonely.png"), "{stderr}");
}

#[test]
fn sizes_that_do_not_belong_together_are_told() {
    let place = pairs();
    esr::imaging::write_png(&place.path("set/HR/a.png"), &scenery(64, 48, 1)).unwrap();
    let stderr = place.esr(BICUBIC).fails(4);
    assert!(stderr.contains("set/HR/a.png"), "{stderr}");
}

#[test]
fn an_hr_image_is_cropped_to_the_scale() {
    let place = pairs();
    let before = place.esr(BICUBIC).ok();
    let hr = place.image("set/HR/a.png");
    let mut larger = scenery(59, 50, 99).into_pixels();
    for y in 0..48 {
        larger[y * 59 * 3..][..56 * 3].copy_from_slice(&hr.pixels()[y * 56 * 3..][..56 * 3]);
    }
    let larger = esr::imaging::RgbImage::new(59, 50, larger).unwrap();
    esr::imaging::write_png(&place.path("set/HR/a.png"), &larger).unwrap();
    assert_eq!(place.esr(BICUBIC).ok(), before);
}

#[test]
fn other_files_beside_the_images_are_told() {
    let place = pairs();
    place.write("set/LR/list.txt", b"a b");
    let ran = place.esr(BICUBIC);
    assert_eq!(ran.stderr, "note: `set/LR/list.txt` is no image by its name and is left out\n");
    ran.ok();
}

#[test]
fn two_inputs_for_one_output_are_refused() {
    let place = pairs();
    place.write("other/ax4.png", &place.bytes("set/LR/ax4.png"));
    let stderr = place.esr("upscale --model bicubic --out up set/LR other").fails(2);
    assert!(stderr.contains("would both be written to `a.png`"), "{stderr}");
    assert!(!place.exists("up"));
}

#[test]
fn missing_inputs_and_models() {
    let place = pairs();
    for (line, code, expected) in [
        ("evaluate --model bicubic --lr nowhere --hr set/HR", 4, "`nowhere` is not a folder"),
        ("evaluate --model bicubic --lr set --hr set/HR", 4, "holds no PNG or BMP image"),
        ("evaluate --model imdn:blocks=7 --lr set/LR --hr set/HR", 2, "is an architecture without weights"),
        ("evaluate --model no.pth --lr set/LR --hr set/HR", 2, "there is no file `no.pth`"),
        ("upscale --model bicubic --out up nothing.png", 4, "nothing.png"),
        ("upscale --model bicubic --out set/HR/a.png/x set/LR", 4, "set/HR/a.png/x"),
    ] {
        let stderr = place.esr(line).fails(code);
        assert!(stderr.contains(expected), "{line}: {stderr}");
    }
}

#[test]
fn weights_that_do_not_fit_are_told() {
    let place = pairs();
    place.model("m.safetensors", TINY);
    // The file names its architecture in its header; another number of blocks in it fits no longer. The text keeps its length.
    let bytes = place.bytes("m.safetensors");
    let at = bytes.windows(8).position(|window| window == b"blocks=1").unwrap();
    let mut changed = bytes.clone();
    changed[at + 7] = b'2';
    place.write("m.safetensors", &changed);
    let stderr = place.esr("upscale --model m.safetensors --out up set/LR").fails(4);
    assert!(stderr.contains("`m.safetensors` does not fit imdn:blocks=2"), "{stderr}");
    assert!(stderr.contains("20 missing (model.1.sub.1.conv1.0.bias, "), "{stderr}");
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let place = pairs();
    let mut command = place.command(BICUBIC.split(' '));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = Ran::from(command.stdout(full).output().unwrap());
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("No space left"), "{}", ran.stderr);
}
