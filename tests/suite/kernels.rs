//! `--kernels fastest`: ways to compute convolutions are tried on the software GPU, with a made-up cuDNN beside it, and what is fast and right is taken.

use std::process::Command;

use serde_json::Value;

use crate::gpu::{Machine, TRAIN, pairs};
use crate::made_up;
use crate::place::{Place, Ran};

/// A machine that has cuDNN, which computes so much faster than kernels are interpreted that it always wins where it is right.
struct Chooser {
    machine: Machine,
    /// What names the cuDNN.
    libraries: String,
}

impl Chooser {
    fn new(place: Place) -> Self {
        let machine = Machine::new(place);
        let libraries = format!("--cuda-libs {}", machine.driver.with_cudnn(&[]).display());
        Self { machine, libraries }
    }

    fn run(&self, line: &str, cudnn: &str) -> Ran {
        let line = format!("{line} --kernels fastest {}", self.libraries);
        let ran = Ran::from(self.machine.command(&line, "").env("FAKE_CUDNN", cudnn).output().unwrap());
        let faults = std::fs::read_to_string(self.machine.faults()).unwrap_or_default();
        assert_eq!(faults, "", "{line}");
        ran
    }

    /// Names of convolutions, and the ways that were found, as they are kept.
    fn answers(&self) -> Vec<(String, Value)> {
        let folder = self.machine.place.path("cache/esr");
        let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut all = Vec::new();
        for file in files {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let kept: Value = serde_json::from_str(&text).unwrap();
            let answers = kept["answers"].as_object().unwrap().iter();
            all.extend(answers.map(|(key, answer)| (key.clone(), answer["way"].clone())));
        }
        all
    }

    fn by_cudnn(&self, what: &str) -> usize {
        let answers = self.answers().into_iter();
        answers.filter(|(key, way)| key.contains(what) && way.get("cudnn").is_some()).count()
    }
}

const EVALUATE: &str = "evaluate --model m.safetensors --lr set/LR --hr set/HR --json --device cuda:0";

fn score(ran: Ran) -> f64 {
    ran.json()["mean"]["psnr_rgb_db"].as_f64().unwrap()
}

#[test]
fn cudnn_is_taken_where_it_is_faster_and_remembered() {
    let chooser = Chooser::new(pairs());
    for (precision, bound_db) in [("f32", 1e-3), ("tf32", 5e-2), ("f16", 5e-2), ("bf16", 0.5)] {
        let line = format!("{EVALUATE} --precision {precision}");
        let fixed = score(chooser.machine.esr(&line));
        let ran = chooser.run(&line, "");
        let expected = "kernels: the fastest of our own and of cuDNN 9.15.1 (";
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
        let found = ran.json();
        assert_eq!(found["computed_by"]["kernels"], "fastest");
        let fastest = found["mean"]["psnr_rgb_db"].as_f64().unwrap();
        assert!((fixed - fastest).abs() < bound_db, "{precision}: {fastest} dB, {fixed} dB");
        assert!(chooser.by_cudnn(&format!("{precision} convolution")) > 0, "{:?}", chooser.answers());
        // Not tried again: without that algorithm it would be found wanting.
        let kept = chooser.answers();
        assert_eq!(score(chooser.run(&line, "")), fastest, "{precision}");
        assert_eq!(chooser.answers(), kept);
    }
}

#[test]
fn what_is_wrong_or_fails_is_passed_over() {
    let chooser = Chooser::new(pairs());
    let fixed = score(chooser.machine.esr(EVALUATE));
    for cudnn in ["algorithms=0b10 wrong=1", "algorithms=0b10 fails=1", "algorithms=0"] {
        assert_eq!(score(chooser.run(EVALUATE, cudnn)), fixed, "{cudnn}");
        assert_eq!(chooser.by_cudnn(""), 0, "{cudnn}");
        std::fs::remove_dir_all(chooser.machine.place.path("cache")).unwrap();
    }
    // A choice that was kept is run again before it is used: another machine may have the same names.
    score(chooser.run(EVALUATE, "algorithms=0b10"));
    assert!(chooser.by_cudnn("") > 0);
    assert_eq!(score(chooser.run(EVALUATE, "algorithms=0b10 wrong=1")), fixed);
    assert_eq!(chooser.by_cudnn(""), 0);
}

#[test]
fn training_takes_gradients_of_cudnn_and_is_resumed_with_the_same_choice() {
    let chooser = Chooser::new(Place::with_data());
    chooser.machine.esr(TRAIN).ok();
    let losses = || -> Vec<f64> {
        let log = chooser.machine.place.text("run/train/metrics.jsonl");
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter_map(|line| line["loss"].as_f64()).collect()
    };
    let fixed = losses();
    let message = chooser.run(TRAIN, "").fails(2);
    assert!(message.contains("go on with `--device cuda:N --precision f32`"), "{message}");
    std::fs::remove_dir_all(chooser.machine.place.path("run")).unwrap();
    chooser.run(TRAIN, "").ok();
    let fastest = losses();
    assert!(!fixed.is_empty() && fixed.len() == fastest.len(), "{fixed:?} {fastest:?}");
    for (a, b) in fixed.iter().zip(&fastest) {
        assert!((a - b).abs() < 1e-4 * a, "{fixed:?} {fastest:?}");
    }
    for what in ["f32 convolution", "f32 input gradient", "f32 weight gradient"] {
        assert!(chooser.by_cudnn(what) > 0, "{what}: {:?}", chooser.answers());
    }
    let message = chooser.machine.esr(TRAIN).fails(2);
    assert!(message.contains("--precision f32 --kernels fastest`"), "{message}");
}

#[test]
fn a_measurement_says_what_computed_it() {
    let chooser = Chooser::new(pairs());
    let line = "measure --model m.safetensors --size 16x12 --budget 1 --json --device cuda:0";
    let timer = |ran: Ran| ran.json()["on_device"]["timer"].as_str().unwrap().to_owned();
    let found = timer(chooser.run(line, ""));
    let kinds = "convolutions by our own kernels, 0 by those for Hopper, ";
    assert!(found.starts_with("CUDA events around the replay of a graph; "), "{found}");
    assert!(found.contains(kinds) && !found.ends_with(", 0 by cuDNN"), "{found}");
}

#[test]
fn kernels_for_hopper_are_tried_on_hopper_only() {
    let machine = Machine::new(pairs());
    let line = format!("{EVALUATE} --precision bf16 --kernels fastest");
    let run = |behaviour: &str| {
        let mut command: Command = machine.command(&line, behaviour);
        // Nothing is as fast as anything else: only ways that are tried leave a word.
        command.arg("-vv").env("VIRTUAL_ENV", "/nowhere");
        let ran = Ran::from(command.output().unwrap());
        let kept = std::fs::remove_dir_all(machine.place.path("cache/esr")).is_ok();
        let note = "kernels: the fastest of our own; there is no cuDNN 9 that could be used";
        assert!(kept && ran.stderr.contains(note), "{}", ran.stderr);
        score(ran)
    };
    let fixed = score(machine.esr(&format!("{EVALUATE} --precision bf16")));
    assert_eq!(run("compute=80"), fixed);
    assert!((run("compute=90") - fixed).abs() < 0.1);
}

#[test]
fn a_cudnn_that_was_named_and_cannot_be_used_is_an_error() {
    let chooser = Chooser::new(pairs());
    let message = chooser.run(EVALUATE, "create=1001").fails(2);
    assert!(message.contains("CUDNN_STATUS_NOT_INITIALIZED"), "{message}");
    let line = format!("{EVALUATE} --kernels fastest --cuda-libs set");
    let message = chooser.machine.esr(&line).fails(2);
    assert!(message.contains("--cuda-libs `set`: there is no libcudnn.so.9; name the folder"), "{message}");
    let message = chooser.machine.esr(&format!("{EVALUATE} --cuda-libs set")).fails(2);
    assert!(message.contains("--kernels fastest"), "{message}");
    for option in ["--kernels fastest", "--cuda-libs set"] {
        let on_cpu = EVALUATE.replace("cuda:0", "cpu");
        let message = chooser.machine.esr(&format!("{on_cpu} {option}")).fails(2);
        assert!(message.contains("need --device cuda:N"), "{message}");
    }
}

#[test]
fn a_device_that_is_lost_in_a_trial_is_an_error() {
    let chooser = Chooser::new(pairs());
    let line = format!("{EVALUATE} --kernels fastest {}", chooser.libraries);
    let message = chooser.machine.esr_told(&line, "lost_after=9").stderr;
    assert!(message.contains("the GPU was lost"), "{message}");
    assert!(chooser.answers().is_empty());
}

/// The made-up driver and the made-up cuDNN are programs of their own: what is tested with them is worth what they are.
#[test]
fn the_made_up_libraries_pass_their_own_tests() {
    let folder = tempfile::tempdir().unwrap();
    for library in ["cuda", "cudnn"] {
        let program = folder.path().join(library);
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let compiled = Command::new(rustc)
            .args(["--edition", "2024", "--test", "-C", "opt-level=2", "-A", "warnings", "-o"])
            .args([&program, &made_up::fixtures().join(library).join("tests.rs")])
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let ran = Command::new(program).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(ran.status.success(), "{text}{}", String::from_utf8_lossy(&ran.stderr));
        assert!(text.contains("test result: ok. ") && !text.contains("ok. 0 passed"), "{text}");
    }
}
