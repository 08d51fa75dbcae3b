//! Whole measurements of scripted workloads, and one of a real one.

use super::super::mock::{MockWorkload, Stage, images, measure_mocks};
use super::super::{Phase, Validity};
use super::*;
use crate::fsio;

const ONE: [(usize, usize); 1] = [(64, 32)];

#[test]
fn ntire_times_each_image_once_in_list_order_without_warm_up() {
    let stage = Stage::default();
    let sizes = [(10, 10), (20, 10), (10, 10)];
    // A cold start of 100 ms, then 1 ms per 100 pixels; preparation takes time that must not be counted.
    let script = |call: usize, item: usize| if call == 0 { 100.0 } else { [1.0, 2.0, 1.0][item] };
    let mut candidate = MockWorkload::new(&stage, "c", images(&sizes), script);
    candidate.prepare_ms = 50.0;
    let mut baseline =
        MockWorkload::new(&stage, "b", images(&sizes), move |call, item| 2.0 * script(call, item));
    let outcome = measure_mocks(Protocol::Ntire, 60.0, &mut candidate, Some(&mut baseline), 0.0).unwrap();
    assert_eq!(stage.events(), ["c0", "c1", "c2", "b0", "b1", "b2"]);
    let m = outcome.measurement;
    assert_eq!(m.timing.samples_ms, [100.0, 2.0, 1.0]);
    assert_eq!(m.timing.mean_ms, 103.0 / 3.0);
    assert_eq!(m.timing.mean_without_first_ms, Some(1.5));
    assert_eq!(m.timing.median_ms, 2.0);
    assert_eq!((m.timing.windows, m.timing.forwards, m.timing.warm_up_forwards), (3, 3, 0));
    // Time per pixel is 1, 0.01 and 0.01 ms: quartiles 0.01 and 0.505.
    assert!((m.timing.relative_iqr - 49.5).abs() < 1e-9);
    assert_eq!(m.timing.validity, Validity::Noisy);
    assert_eq!(
        m.timing.validity_reason,
        "relative IQR of the time per pixel 4950.0 % over 3 samples is above 10 %"
    );
    let ratio = m.ratio_to_baseline.unwrap();
    assert_eq!((ratio.median, ratio.low, ratio.high, ratio.pairs), (0.5, 0.5, 0.5, 3));
    assert_eq!(ratio.of_means, 0.5);
    assert_eq!(m.budget_seconds, None);
    assert!(
        m.procedure.ends_with("the candidate's whole list first, then the baseline's, in the same process")
    );
}

#[test]
fn ntire_is_valid_when_the_time_follows_the_pixels() {
    let stage = Stage::default();
    let sizes = [(10, 10), (20, 10), (40, 10), (30, 10)];
    let script = |_: usize, item: usize| [1.0, 2.0, 4.0, 3.0][item];
    let mut candidate = MockWorkload::new(&stage, "c", images(&sizes), script);
    let m = measure_mocks(Protocol::Ntire, 60.0, &mut candidate, None, 0.0).unwrap().measurement;
    assert_eq!(m.timing.validity, Validity::Valid);
    assert!(m.timing.relative_iqr < 1e-9);
    assert_eq!(m.ratio_to_baseline, None);
    assert_eq!(m.input, Input::Images { images: images(&sizes) });
}

#[test]
fn steady_warms_up_then_alternates_in_abba_order_and_stops_when_steady() {
    let stage = Stage::default();
    // Cold calls, then exactly 250 ms: two forwards make a window.
    let script = |call: usize, _: usize| match call {
        0 => 900.0,
        1 => 400.0,
        2 => 300.0,
        _ => 250.0,
    };
    let mut candidate = MockWorkload::new(&stage, "c", images(&ONE), script);
    let mut baseline = MockWorkload::new(&stage, "b", images(&ONE), |_, _| 500.0);
    let outcome = measure_mocks(Protocol::Steady, 60.0, &mut candidate, Some(&mut baseline), 0.0).unwrap();
    let m = &outcome.measurement;
    let events = stage.events().concat();
    // Warm-up of the candidate: 1 (900), 1 (400), then windows of two: (300+250), and three of (250+250) that agree.
    // The baseline agrees after three windows of one forward.
    let warm = "c0".repeat(2) + &"c0c0".repeat(4) + &"b0".repeat(3);
    let rounds = "c0c0b0b0c0c0".repeat(5);
    assert_eq!(events, warm + &rounds);
    assert_eq!(m.timing.warm_up_forwards, 10);
    assert_eq!((m.timing.windows, m.timing.forwards), (10, 20));
    assert_eq!(m.timing.samples_ms, [250.0; 10]);
    assert_eq!(m.timing.validity, Validity::Valid);
    assert_eq!(m.timing.validity_reason, "relative IQR 0.00 % over 10 windows");
    let baseline = m.baseline.as_ref().unwrap();
    assert_eq!(baseline.model.architecture, "imdn:blocks=8");
    assert_eq!((baseline.timing.median_ms, baseline.timing.windows), (500.0, 10));
    assert_eq!(m.ratio_to_baseline.as_ref().unwrap().median, 0.5);
    assert!(m.timing.notes.is_empty(), "{:?}", m.timing.notes);
    // The log has the start, nine warm-up windows and twenty windows, with frequencies the mock ties to time.
    let phases: Vec<Phase> = outcome.clocks.samples.iter().map(|sample| sample.phase).collect();
    assert_eq!(phases.iter().filter(|phase| **phase == Phase::WarmUp).count(), 9);
    assert_eq!(phases.iter().filter(|phase| **phase == Phase::Window).count(), 20);
    assert_eq!(m.conditions.cpu_min_mhz, Some(2000.0));
    assert_eq!(m.timing.output_digest.as_deref(), Some("c after 30"));
}

#[test]
fn steady_goes_on_while_windows_disagree_and_stops_at_the_budget() {
    let stage = Stage::default();
    // Alternates between 500 and 800 ms: never steady, a relative IQR of 300/650.
    let mut candidate =
        MockWorkload::new(&stage, "c", images(&ONE), |call, _| if call % 2 == 0 { 500.0 } else { 800.0 });
    let m = measure_mocks(Protocol::Steady, 30.0, &mut candidate, None, 0.0).unwrap().measurement;
    assert!(stage.now().as_secs_f64() <= 30.0);
    assert!(m.timing.windows > 30, "{}", m.timing.windows);
    assert_eq!(m.timing.validity, Validity::Noisy);
    assert!(m.timing.validity_reason.starts_with("relative IQR 46.2 % over"), "{}", m.timing.validity_reason);
    assert_eq!(
        m.timing.notes,
        ["the warm-up ended at its limit of 5.0 s after 8 windows, before three of them agreed within 1 %"]
    );
}

#[test]
fn a_slow_workload_takes_what_fits_and_says_so() {
    let stage = Stage::default();
    let mut candidate = MockWorkload::new(&stage, "c", images(&ONE), |_, _| 8000.0);
    let m = measure_mocks(Protocol::Steady, 60.0, &mut candidate, None, 0.0).unwrap().measurement;
    // One pass of warm-up (a second would end after 10 s), then six windows of 8 s until 56 s.
    assert_eq!((m.timing.warm_up_forwards, m.timing.windows), (1, 6));
    assert_eq!(m.timing.validity, Validity::Valid);
    assert_eq!(
        m.timing.validity_reason,
        "relative IQR 0.00 % over 6 windows; only 6 of the 10 windows wanted fitted into the budget of 60 s"
    );
}

#[test]
fn too_few_windows_are_noisy_and_one_is_taken_even_beyond_the_budget() {
    let stage = Stage::default();
    let mut candidate = MockWorkload::new(&stage, "c", images(&ONE), |_, _| 40_000.0);
    let mut baseline = MockWorkload::new(&stage, "b", images(&ONE), |_, _| 50_000.0);
    let m =
        measure_mocks(Protocol::Steady, 60.0, &mut candidate, Some(&mut baseline), 0.0).unwrap().measurement;
    assert_eq!(stage.events().concat(), "c0b0c0b0");
    assert_eq!(m.timing.validity, Validity::Noisy);
    assert!(
        m.timing.validity_reason.starts_with("too few samples: 1 windows fitted into the budget of 60 s")
    );
    let ratio = m.ratio_to_baseline.unwrap();
    assert_eq!((ratio.median, ratio.confidence), (0.8, 0.0));
}

#[test]
fn a_drift_falls_on_both_models_alike() {
    let stage = Stage::default();
    // The machine slows down steadily; both models take the same time at any moment.
    let slowing = |stage: &Stage| {
        let stage = stage.clone();
        move |_: usize, _: usize| 500.0 + stage.now().as_secs_f64() * 5.0
    };
    let mut candidate = MockWorkload::new(&stage, "c", images(&ONE), slowing(&stage));
    let mut baseline = MockWorkload::new(&stage, "b", images(&ONE), slowing(&stage));
    let m =
        measure_mocks(Protocol::Steady, 60.0, &mut candidate, Some(&mut baseline), 0.0).unwrap().measurement;
    let ratio = m.ratio_to_baseline.unwrap();
    assert!(m.timing.relative_iqr > 0.1);
    assert!((ratio.median - 1.0).abs() < 1e-3 && ratio.low < 1.0 && ratio.high > 1.0, "{ratio:?}");
}

#[test]
fn whole_lists_make_a_window() {
    let stage = Stage::default();
    let mut candidate =
        MockWorkload::new(&stage, "c", images(&[(10, 10), (20, 10)]), |_, item| [100.0, 200.0][item]);
    let m = measure_mocks(Protocol::Steady, 60.0, &mut candidate, None, 0.0).unwrap().measurement;
    // A pass is 300 ms, so two passes (four forwards) make a window whose mean is 150 ms.
    assert_eq!((m.timing.windows, m.timing.forwards, m.timing.median_ms), (10, 40, 150.0));
}

#[test]
fn disturbance_and_memory_are_told() {
    let stage = Stage::default();
    let mut candidate = MockWorkload::new(&stage, "c", images(&ONE), |_, _| 500.0);
    let m = measure_mocks(Protocol::Steady, 60.0, &mut candidate, None, 0.25).unwrap().measurement;
    assert!((m.conditions.other_cpu_share.unwrap() - 0.25).abs() < 1e-3);
    assert_eq!(
        m.timing.notes,
        ["others used 25 % of the machine's CPU time during the measurement; repeat it on a quiet machine"]
    );
    assert_eq!(m.timing.peak_memory_bytes, Some(1 << 20));
    assert_eq!(m.timing.peak_memory_scope, Some(super::super::MemoryScope::WhileRunning));
}

#[test]
fn a_clock_that_stands_still_gives_no_samples() {
    for protocol in [Protocol::Ntire, Protocol::Steady] {
        let stage = Stage::default();
        let mut candidate = MockWorkload::new(&stage, "c", images(&[(4, 4)]), |_, _| 0.0);
        candidate.calls = 0;
        let error = measure_mocks(protocol, 60.0, &mut candidate, None, 0.0);
        // A million passes of the mock would be slow if the protocol did not give up after its first windows.
        assert!(matches!(error, Err(Error::NoSamples { role: Role::Candidate, taken: 1, .. })), "{error:?}");
    }
}

#[test]
fn failures_name_the_model_and_the_input() {
    let stage = Stage::default();
    let mut candidate = MockWorkload::new(&stage, "c", images(&[(4, 4), (8, 4)]), |_, _| 1.0);
    candidate.fails_at = Some(1);
    let error = measure_mocks(Protocol::Ntire, 60.0, &mut candidate, None, 0.0).unwrap_err();
    assert_eq!(error.to_string(), "the candidate failed on input 2 (`0802` (8x4)): out of memory");

    let mut nothing = MockWorkload::new(&stage, "c", Vec::new(), |_, _| 1.0);
    let error = measure_mocks(Protocol::Ntire, 60.0, &mut nothing, None, 0.0).unwrap_err();
    assert!(matches!(error, Error::NoItems { role: Role::Candidate }));

    let mut candidate = MockWorkload::new(&stage, "c", images(&[(4, 4), (8, 4)]), |_, _| 1.0);
    let mut baseline = MockWorkload::new(&stage, "b", images(&[(4, 4), (8, 8)]), |_, _| 1.0);
    let before = stage.events().len();
    let error = measure_mocks(Protocol::Ntire, 60.0, &mut candidate, Some(&mut baseline), 0.0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "candidate and baseline must be timed on the same inputs, but the candidate has 2 images, number 2 being \
         `0802` (8x4) and the baseline 2 images, number 2 being `0802` (8x8)"
    );
    assert_eq!(stage.events().len(), before, "nothing may run before the inputs are compared");
}

#[test]
fn budgets_must_make_sense() {
    for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e6] {
        assert!(matches!(Plan::new(Protocol::Steady, seconds), Err(Error::Budget { .. })), "{seconds}");
    }
    assert!(Plan::new(Protocol::Steady, 0.5).is_ok());
}

#[test]
fn the_artefact_survives_the_file_and_keeps_its_promised_keys() {
    let stage = Stage::default();
    let one = vec![Item { name: None, width: 64, height: 32 }];
    let mut candidate = MockWorkload::new(&stage, "c", one.clone(), |_, _| 500.0);
    let mut baseline = MockWorkload::new(&stage, "b", one, |_, _| 625.0);
    let m =
        measure_mocks(Protocol::Steady, 60.0, &mut candidate, Some(&mut baseline), 0.0).unwrap().measurement;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("measurement.json");
    fsio::write_json(&path, &m).unwrap();
    assert_eq!(fsio::read_json::<Measurement>(&path).unwrap(), m);

    let value: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(value["median_ms"], 500.0);
    assert_eq!(value["samples_ms"].as_array().unwrap().len(), 10);
    assert_eq!(value["validity"], "valid");
    assert_eq!(value["protocol"], "steady");
    assert_eq!(value["input"], serde_json::json!({"width": 64, "height": 32}));
    assert_eq!(value["baseline"]["median_ms"], 625.0);
    assert_eq!(value["baseline"]["model"]["architecture"], "imdn:blocks=8");
    for key in ["median", "low", "high"] {
        assert_eq!(value["ratio_to_baseline"][key], 0.8, "{key}");
    }

    let mut newer = value;
    newer["schema"] = 2.into();
    fsio::write_json(&path, &newer).unwrap();
    let error = fsio::read_json::<Measurement>(&path).unwrap_err();
    assert!(matches!(error, fsio::Error::NewerSchema { found: 2, supported: 1, .. }), "{error}");
}

/// Hashes its input: something the real clock can see.
struct Hashing {
    items: Vec<Item>,
    digest: Option<String>,
}

impl Workload for Hashing {
    fn items(&self) -> &[Item] {
        &self.items
    }

    fn run(&mut self, item: usize) -> Result<(), super::super::WorkloadError> {
        let bytes = vec![item as u8; self.items[item].width * self.items[item].height];
        self.digest = Some(fsio::sha256_hex(&bytes));
        Ok(())
    }

    fn output_digest(&mut self) -> Option<String> {
        self.digest.clone()
    }
}

#[test]
fn a_real_workload_is_measured_on_the_real_machine() {
    let mut candidate = Hashing { items: images(&[(64, 64), (128, 64)]), digest: None };
    let mut baseline = Hashing { items: images(&[(64, 64), (128, 64)]), digest: None };
    let setup =
        Setup { device: "cpu".to_owned(), engine: "hash".to_owned(), precision: "u8".to_owned(), threads: 1 };
    let model = |name: &str| ModelIdentity { architecture: name.to_owned(), weights_sha256: None };
    let plan = Plan { protocol: Protocol::Ntire, budget: Plan::DEFAULT_BUDGET };
    let outcome = measure_here(
        &plan,
        &setup,
        Subject { model: model("a"), workload: &mut candidate },
        Some(Subject { model: model("b"), workload: &mut baseline }),
    )
    .unwrap();
    let m = &outcome.measurement;
    assert_eq!(m.timing.samples_ms.len(), 2);
    assert!(m.timing.min_ms > 0.0 && m.timing.max_ms >= m.timing.min_ms);
    assert_eq!(m.timing.validity, Validity::Noisy, "two samples are too few");
    assert_eq!(m.timing.output_digest, Some(fsio::sha256_hex(&vec![1; 128 * 64])));
    assert_eq!(m.ratio_to_baseline.as_ref().unwrap().pairs, 2);
    assert_eq!(outcome.clocks.samples.len(), 3);
    if cfg!(target_os = "linux") {
        assert!(m.timing.peak_memory_bytes.unwrap() > 1 << 20);
        assert!(m.machine.memory_bytes.is_some());
    }
}
