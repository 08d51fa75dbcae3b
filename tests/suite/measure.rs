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
        assert_eq!(found["engine"], "plan");
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
    assert!(place.exists("out/clocks.jsonl") && !place.exists("out/gpu-clocks.jsonl"));
    let verdict = place.esr("check --measurement out/measurement.json --json").json();
    assert_eq!(verdict["verdict"], "incomplete");
}

#[test]
fn the_engine_is_in_the_measurement() {
    let line = format!("measure --model {SMALL} --size 16x12 --budget 0.2 --engine reference --json");
    assert_eq!(Place::new().esr(&line).json()["engine"], "reference");
}

#[test]
fn a_breakdown_adds_up() {
    let place = Place::new();
    let line = format!("measure --model {SMALL} --size 40x36 --threads 2 --breakdown");
    let found = place.esr(&format!("{line} --json")).json();
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    assert_eq!((&found["schema"], &found["threads"]), (&1.into(), &2.into()));
    assert_eq!(found["model"]["architecture"], SMALL);
    assert_eq!(found["input"], serde_json::json!({"width": 40, "height": 36}));
    let runs = found["run_ms"].as_array().unwrap().len();
    assert!(runs > 4);
    for key in ["median_run_ms", "busy_share", "effective_gflops", "peak_gflops", "share_of_peak"] {
        assert!(number(&found[key]) > 0.0, "{key}: {found}");
    }
    let steps = found["steps"].as_array().unwrap();
    let shares: f64 = steps.iter().map(|step| number(&step["share"])).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    for step in steps {
        assert_eq!(step["thread_ms"].as_array().unwrap().len(), runs);
        assert!(step["name"].is_string() && step["operation"].is_string(), "{step}");
        // What has operations by definition is a convolution, and was computed by some algorithm at some rate.
        let counted = step["multiply_adds"] != 0;
        assert_eq!(
            (step["algorithm"].is_string(), step["thread_gflops"].is_number()),
            (counted, counted),
            "{step}"
        );
    }
    // The model's multiply-adds: `esr inspect` counts the same.
    let inspected = place.esr(&format!("inspect {SMALL} --size 40x36 --json")).json();
    let sum: u64 = steps.iter().map(|step| step["multiply_adds"].as_u64().unwrap()).sum();
    assert!(inspected.to_string().contains(&sum.to_string()), "{sum} in {inspected}");

    let (grouped, every) = (place.esr(&line).ok(), place.esr(&format!("{line} -v")).ok());
    for text in [&grouped, &every] {
        assert!(text.contains("thread ms") && text.contains("threads busy"), "{text}");
        assert!(text.contains("Winograd's convolutions need fewer, so this may exceed 1"), "{text}");
    }
    assert!(every.contains("model.0") && !grouped.contains("model.0"), "{every}{grouped}");
    assert!(every.lines().count() > grouped.lines().count());
}

#[test]
fn clocks_of_the_cpu_are_not_locked() {
    let message = Place::new().esr(&format!("measure --model {SMALL} --lock-clocks 1410")).fails(2);
    assert!(message.contains("--lock-clocks is of a GPU: give --device cuda:N"), "{message}");
}

#[test]
fn impossible_requests_are_refused() {
    let place = Place::new();
    let message = place.esr(&format!("measure --model {SMALL} --budget 0")).fails(2);
    assert!(message.contains("budget"), "{message}");
    let message = place.esr("measure --model rlfn --size 9x9 --budget 0.1").fails(2);
    assert!(message.contains("9x9"), "{message}");
}
