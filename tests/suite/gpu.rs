//! `--device cuda:N` on a software GPU: the driver is made up, and interprets the PTX that the program carries. What is tested is everything but speed.

use std::process::Command;

use serde_json::Value;

use crate::made_up::Fake;
use crate::nvml::{FIRST, FakeNvml};
use crate::place::{Place, Ran, TINY};

/// A folder to work in, beside a machine with a GPU.
pub(crate) struct Machine {
    pub(crate) place: Place,
    pub(crate) driver: Fake,
}

impl Machine {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, driver: Fake::build(&[]) }
    }

    pub(crate) fn command(&self, line: &str, behaviour: &str) -> Command {
        let mut command = self.place.command(line.split_whitespace());
        command.env("LD_LIBRARY_PATH", self.driver.folder()).env("FAKE_CUDA", behaviour);
        command.env("FAKE_CUDA_FAULTS", self.faults()).env_remove("CUDA_VISIBLE_DEVICES");
        // No NVML unless a test brings one.
        command.env("ESR_NVML_LIBRARY", self.place.path("no-nvml.so"));
        command.env("XDG_CACHE_HOME", self.place.path("cache")).env_remove("FAKE_CUDNN");
        command
    }

    pub(crate) fn faults(&self) -> std::path::PathBuf {
        self.place.path("faults.txt")
    }

    pub(crate) fn esr_told(&self, line: &str, behaviour: &str) -> Ran {
        Ran::from(self.command(line, behaviour).output().unwrap())
    }

    /// Runs a line; kernels must not have done anything that a GPU might let pass.
    pub(crate) fn esr(&self, line: &str) -> Ran {
        let ran = self.esr_told(line, "");
        let faults = std::fs::read_to_string(self.faults()).unwrap_or_default();
        assert_eq!(faults, "", "{line}");
        ran
    }
}

#[test]
fn every_kernel_and_every_network_is_right() {
    let machine = Machine::new(Place::new());
    let found = machine.esr("doctor --check-gpu cuda:0 --json").json();
    let names = |key: &str, wrong: bool| -> Vec<String> {
        let checks = found[key].as_array().unwrap().iter();
        let checks = checks.filter(|check| !wrong || check["passed"] != Value::Bool(true));
        checks.map(|check| check.to_string()).collect()
    };
    assert_eq!((names("kernels", true), names("networks", true)), (vec![], vec![]));
    assert_eq!(found["passed"], true);
    assert!(names("kernels", false).len() > 400, "{}", names("kernels", false).len());
    assert!(names("networks", false).len() > 20);
    assert_eq!(found["kernels_skipped"], Value::Null);
}

#[test]
fn kernels_for_another_gpu_are_left_out_and_counted() {
    let machine = Machine::new(Place::new());
    let checked = |behaviour: &str| {
        let found = machine.esr_told("doctor --check-gpu cuda:0 --only Hopper --json", behaviour).json();
        (
            found["passed"] == true,
            found["kernels"].as_array().unwrap().len(),
            found["kernels_skipped"].clone(),
        )
    };
    let (passed, ran, skipped) = checked("compute=90");
    assert!(passed && ran >= 20 && skipped == Value::Null, "{ran} {skipped}");
    for (behaviour, capability) in [("compute=80", "8.0"), ("compute=120", "12.0")] {
        let (passed, ran_there, skipped) = checked(behaviour);
        assert_eq!((passed, ran_there, skipped["count"].as_u64()), (true, 0, Some(ran as u64)));
        assert!(skipped["reason"].as_str().unwrap().ends_with(capability), "{skipped}");
        let text = machine.esr_told("doctor --check-gpu cuda:0 --only Hopper", behaviour).stdout;
        assert!(
            text.contains(&format!(
                "not run     {ran} cases: their kernels are for compute capability 9.0 only"
            )),
            "{text}"
        );
    }
}

#[test]
fn a_gpu_that_computes_something_else_is_found() {
    let machine = Machine::new(Place::new());
    // Nothing runs any more: what is in memory is what was there before.
    let ran = machine.esr_told("doctor --check-gpu cuda:0 --only sigmoid", "lost_after=1");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("checks failed on cuda:0: do not use it for results"), "{ran:?}");
    assert!(ran.stdout.contains("WRONG"), "{ran:?}");
}

pub(crate) fn pairs() -> Place {
    let place = Place::new();
    place.pair("set", "a", 56, 48);
    place.pair("set", "b", 40, 44);
    place.model("m.safetensors", TINY);
    place
}

#[test]
fn images_score_as_on_the_cpu() {
    let machine = Machine::new(pairs());
    let line = "evaluate --model m.safetensors --lr set/LR --hr set/HR --json";
    let score = |found: &Value| found["mean"]["psnr_rgb_db"].as_f64().unwrap();
    let on_cpu = machine.place.esr(line).json();
    assert_eq!(
        on_cpu["computed_by"],
        serde_json::json!({ "device": "cpu", "engine": "plan", "precision": "f32" })
    );
    let expected = score(&on_cpu);
    for (precision, bound_db) in [("f32", 1e-3), ("tf32", 5e-2), ("f16", 5e-2), ("bf16", 0.5)] {
        let found = machine.esr(&format!("{line} --device cuda:0 --precision {precision}")).json();
        let computed_by = serde_json::json!(
            { "device": "cuda:0", "engine": "plan", "precision": precision, "kernels": "fixed" }
        );
        assert_eq!(found["computed_by"], computed_by);
        let found = score(&found);
        assert!((found - expected).abs() < bound_db, "{precision}: {found} dB, {expected} dB on the CPU");
    }
}

pub(crate) const TRAIN: &str = "train --settings tiny.toml --run run --device cuda:0";

#[test]
fn training_ends_with_the_same_bits_every_time_and_after_every_stop() {
    let machine = || Machine::new(Place::with_data());
    let weights = |machine: &Machine| machine.place.bytes("run/model.safetensors");
    let expected = machine();
    expected.esr(TRAIN).ok();
    let again = machine();
    again.esr(TRAIN).ok();
    assert!(weights(&again) == weights(&expected), "two runs end with different weights");
    let killed = machine();
    let mut command = killed.command(TRAIN, "");
    command.env("ESR_FAULT_POINT", "train.after-step:7");
    assert!(!command.output().unwrap().status.success());
    killed.esr(TRAIN).ok();
    assert!(weights(&killed) == weights(&expected), "a resumed run ends with other weights");
    // Another kind of arithmetic would not end with these bits.
    let message = killed.esr(&format!("{TRAIN} --precision bf16")).fails(2);
    assert!(message.contains("go on with `--device cuda:N --precision f32`"), "{message}");
    let message = killed.place.esr("train --settings tiny.toml --run run").fails(2);
    assert!(message.contains("`cuda-f32` trained the run"), "{message}");
}

#[test]
fn training_sees_the_patches_that_the_cpu_sees() {
    // The first line of the log is of steps whose batches hold padded patches too.
    let losses = |place: &Place| -> Vec<f64> {
        let text = place.text("run/train/metrics.jsonl");
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64().unwrap())
            .collect()
    };
    let on_cpu = Place::with_data();
    on_cpu.esr("train --settings tiny.toml --run run").ok();
    let machine = Machine::new(Place::with_data());
    machine.esr(TRAIN).ok();
    for (expected, found) in losses(&on_cpu).iter().zip(losses(&machine.place)) {
        assert!((expected - found).abs() / expected < 1e-4, "{expected} on the CPU, {found}");
    }
    // Images that do not fit into the device's memory are cut by the processor: the same bits.
    let small = Machine::new(Place::with_data());
    small.esr_told(TRAIN, "none_free=1").ok();
    let weights = |machine: &Machine| machine.place.bytes("run/model.safetensors");
    assert!(weights(&small) == weights(&machine), "patches of the device and of the processor differ");
}

#[test]
fn half_precision_is_refused_for_training() {
    let machine = Machine::new(Place::with_data());
    let message = machine.esr(&format!("{TRAIN} --precision f16")).fails(2);
    assert!(message.contains("gradients are too small for it; use bf16"), "{message}");
}

#[test]
fn a_lost_or_full_device_ends_with_an_error_that_says_so() {
    let machine = Machine::new(Place::with_data());
    let message = machine.esr_told(TRAIN, "lost_after=300").fails(1);
    assert!(message.contains("the GPU was lost"), "{message}");
    let machine = Machine::new(pairs());
    let message =
        machine.esr_told("measure --model imdn --size 256x256 --device cuda:0", "memory_mb=64").fails(2);
    assert!(message.contains("the GPU is out of memory"), "{message}");
    let line = "upscale --model m.safetensors --out sr set/LR --device cuda:0";
    for (behaviour, expected) in [
        ("devices=0", "the CUDA driver shows no device"),
        ("version=11080", "supports CUDA 11.8, at least 12.0 is needed"),
        ("devices=1 exclusive=1 retain=46", "cuda:0 is in use"),
    ] {
        let message = machine.esr_told(line, behaviour).fails(2);
        assert!(message.contains(expected), "{behaviour}: {message}");
    }
    let message = machine.esr_told(&line.replace("cuda:0", "cuda:4"), "devices=2").fails(2);
    assert!(message.contains("there is no cuda:4, only cuda:0 to cuda:1"), "{message}");
}

/// Forwards of 0.6 s by the made-up device's clock, so that a window is one forward.
const MEASURE: &str = "measure --model m.safetensors --size 16x12 --budget 3 --json --device cuda:0";
const FORWARD: &str = "elapsed_us=600000";

#[test]
fn a_measurement_names_its_timer_and_its_memory() {
    let machine = Machine::new(pairs());
    let told = |line: &str| machine.esr_told(line, FORWARD).json();
    for (launches, timer) in [
        ("graph", "CUDA events around the replay of a graph"),
        ("eager", "CUDA events around kernels started one by one"),
    ] {
        let found = told(&format!("{MEASURE} --launches {launches}"));
        assert_eq!((&found["device"], &found["precision"]), (&"cuda:0".into(), &"f32".into()));
        assert!((found["median_ms"].as_f64().unwrap() - 600.0).abs() < 1e-3, "{}", found["median_ms"]);
        let on_device = &found["on_device"];
        assert_eq!(on_device["timer"], timer);
        let planned = on_device["memory"]["planned_bytes"].as_u64().unwrap();
        let peak = on_device["memory"]["pool_peak_bytes"].as_u64().unwrap();
        assert!(0 < planned && planned <= peak, "{planned} planned, {peak} allocated at most");
        // Without NVML nobody knows what the clocks did.
        assert_eq!(found["validity"], "unlocked");
    }
    let ntire = told(&format!("{MEASURE} --protocol ntire"));
    assert_eq!(ntire["samples_ms"], serde_json::json!([600.0]));
    let step = told(&format!("{MEASURE} --training-step 2x8 --precision bf16").replace("--size 16x12", ""));
    assert!(step["on_device"]["timer"].as_str().unwrap().contains("one training step, 2 patches of 8x8"));
}

#[test]
fn nvml_beside_the_measurement_vouches_for_it_or_not() {
    let machine = Machine::new(pairs());
    for (script, validity) in [(STEADY_CLOCKS, "valid"), (THROTTLED, "throttled")] {
        let nvml = FakeNvml::new(script);
        let mut command = machine.command(&format!("{MEASURE} --out out"), FORWARD);
        command.env("ESR_NVML_LIBRARY", nvml.path()).env("FAKE_CUDA_UUID", FIRST.trim_start_matches("GPU-"));
        let ran = Ran::from(command.output().unwrap());
        match validity {
            "valid" => assert_eq!(ran.json()["validity"], validity),
            // Nothing is left where every window is discarded.
            _ => assert!(ran.fails(6).contains("discarded"), "{validity}"),
        }
        assert!(machine.place.text("out/gpu-clocks.jsonl").contains(FIRST));
    }
}

/// What the made-up NVML does (see `tests/fixtures/nvml/fake.rs`).
const STEADY_CLOCKS: &str = "";
const THROTTLED: &str = "nvmlDeviceGetClockInfo:1 0 value 990";
