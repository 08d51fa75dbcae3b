//! `esr collapse`: the folded model, and the proof that comes with it.

use serde_json::json;

use crate::place::{Place, TINY};

fn place() -> Place {
    let place = Place::new();
    place.model("m.safetensors", TINY);
    place.pair("set", "a", 56, 48);
    place
}

const COLLAPSED: &str = "imdn:blocks=1,channels=8,distilled=2";

/// The measured differences, which are rounding, replaced.
fn masked(text: &str) -> String {
    let words = text.split_inclusive(char::is_whitespace).map(|word| match word.trim().parse::<f64>() {
        Ok(value) if word.contains("e-") && value < 1e-6 && word.contains('.') => {
            word.replace(word.trim(), "[difference]")
        }
        _ => word.to_owned(),
    });
    words.collect()
}

#[test]
fn the_proof_is_printed() {
    let place = place();
    let ran = place.esr("collapse m.safetensors --out c.safetensors");
    assert_eq!(ran.stderr, "");
    insta::assert_snapshot!("proof", masked(&ran.ok()));
    place.pair("set", "b", 40, 44);
    insta::assert_snapshot!(
        "proof_on_real_images",
        masked(&place.esr("collapse m.safetensors --out c.safetensors --lr set/LR").ok())
    );
}

#[test]
fn the_proof_as_an_object() {
    let place = place();
    let proof = place.esr("collapse m.safetensors --out c.safetensors --lr set/LR --json").json();
    assert_eq!(proof["schema"], json!(1));
    assert_eq!((&proof["expanded"], &proof["collapsed"]), (&json!(TINY), &json!(COLLAPSED)));
    assert_eq!((&proof["parameters_expanded"], &proof["parameters_collapsed"]), (&json!(6156), &json!(5958)));
    assert_eq!((&proof["equal"], &proof["real_images"]), (&json!(true), &json!(1)));
    for (key, tolerance) in [
        ("random_f32", "tolerance_f32"),
        ("real_f32", "tolerance_f32"),
        ("random_f64", "tolerance_f64"),
        ("real_f64", "tolerance_f64"),
    ] {
        let (value, tolerance) = (proof[key].as_f64().unwrap(), proof[tolerance].as_f64().unwrap());
        assert!(value <= tolerance, "{key}: {value}");
        assert!(value > 0.0, "{key}: two different computations that agree to the last bit are suspicious");
    }
    assert!(proof["tolerance_f64"].as_f64().unwrap() < 1e-9);
}

#[test]
fn the_collapsed_file_does_the_same() {
    let place = place();
    place.esr("collapse m.safetensors --out c.safetensors").ok();
    let found = place.esr("inspect c.safetensors --json").json();
    let plain = place.esr(&format!("inspect {COLLAPSED} --json")).json();
    assert_eq!((&found["model"]["architecture"], &found["layers"]), (&json!(COLLAPSED), &plain["layers"]));
    place.esr("upscale --model m.safetensors --out expanded set/LR").ok();
    place.esr("upscale --model c.safetensors --out collapsed set/LR").ok();
    let (a, b) = (place.image("expanded/a.png"), place.image("collapsed/a.png"));
    let differences: Vec<u8> =
        a.pixels().iter().zip(b.pixels()).map(|(a, b)| a.abs_diff(*b)).filter(|d| *d > 0).collect();
    assert!(differences.len() <= 4 && differences.iter().all(|d| *d == 1), "{differences:?}");
    // Same input, same bytes; and a model without branches collapses to itself.
    place.esr("collapse m.safetensors --out again.safetensors").ok();
    assert_eq!(place.bytes("again.safetensors"), place.bytes("c.safetensors"));
    place.esr("collapse c.safetensors --out twice.safetensors").ok();
    assert_eq!(place.bytes("twice.safetensors"), place.bytes("c.safetensors"));
}

#[test]
fn what_cannot_be_collapsed_is_told() {
    let place = place();
    for (line, code, expected) in [
        (format!("collapse {TINY} --out c.safetensors"), 2, "is an architecture without weights"),
        ("collapse bicubic --out c.safetensors".into(), 2, "is an architecture without weights"),
        ("collapse nope.safetensors --out c.safetensors".into(), 2, "there is no file `nope.safetensors`"),
        ("collapse m.safetensors --out c.safetensors --lr nowhere".into(), 4, "`nowhere` is not a folder"),
        ("collapse m.safetensors --out c.safetensors --device cuda:3".into(), 2, "cuda:3"),
    ] {
        let stderr = place.esr(&line).fails(code);
        assert!(stderr.contains(expected), "{line}: {stderr}");
        assert!(!place.exists("c.safetensors"));
    }
}
