//! `esr measure` on models small enough to be timed in a test. No time is asserted, only what is promised about the numbers.

use crate::place::Place;

const SMALL: &str = "imdn:blocks=1,channels=8,distilled=2";

#[test]
fn the_promised_keys_are_there_and_agree() {
    let place = Place::new();
    for protocol in ["steady", "ntire"] {
        let models = format!("--model {SMALL} --baseline imdn:blocks=1,channels=8,distilled=3");
        let how = format!("--size 16x12 --budget 0.5 --protocol {protocol} --threads 1 --json");
        let found = place.esr(&format!("measure {models} {how}")).json();
        assert_eq!(found["schema"], 1);
        assert_eq!(found["protocol"], protocol);
        assert_eq!(found["threads"], 1);
        assert_eq!(found["input"], serde_json::json!({"width": 16, "height": 12}));
        assert_eq!(found["model"]["architecture"], SMALL);
        let samples = found["samples_ms"].as_array().unwrap().iter();
        let samples: Vec<f64> = samples.map(|sample| sample.as_f64().unwrap()).collect();
        let median = found["median_ms"].as_f64().unwrap();
        assert!(!samples.is_empty() && samples.iter().all(|&sample| sample > 0.0), "{samples:?}");
        assert!(samples.iter().any(|&sample| sample <= median));
        assert!(samples.iter().any(|&sample| sample >= median));
        assert!(["valid", "noisy"].contains(&found["validity"].as_str().unwrap()));
        assert!(found["baseline"]["median_ms"].as_f64().unwrap() > 0.0);
        let ratio = &found["ratio_to_baseline"];
        let [low, median, high] = ["low", "median", "high"].map(|key| ratio[key].as_f64().unwrap());
        assert!(low <= median && median <= high, "{ratio}");
    }
}

#[test]
fn artefacts_are_written_and_can_be_checked() {
    let place = Place::new();
    place.esr("measure --model bicubic --size 8x8 --budget 0.2 --out out").ok();
    assert!(place.exists("out/clocks.jsonl"));
    let verdict = place.esr("check --measurement out/measurement.json --json").json();
    assert_eq!(verdict["verdict"], "incomplete");
}

#[test]
fn impossible_requests_are_refused() {
    let place = Place::new();
    let message = place.esr(&format!("measure --model {SMALL} --budget 0")).fails(2);
    assert!(message.contains("budget"), "{message}");
    let message = place.esr("measure --model rlfn --size 9x9 --budget 0.1").fails(2);
    assert!(message.contains("9x9"), "{message}");
}
