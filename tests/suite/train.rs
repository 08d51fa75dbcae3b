//! `esr train`: the same bytes, however often it is stopped.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::place::{Place, Ran, settings, settings_with, wait_until};

const TRAIN: &str = "train --settings tiny.toml --run run";

/// Points at which a run is killed: in a step, in each part of writing a checkpoint, and in renaming any of its files into place.
const POINTS: [&str; 11] = [
    "train.after-step:1",
    "train.after-step:7",
    "train.after-step:12",
    "checkpoint.before-marker",
    "checkpoint.before-marker:3",
    "checkpoint.before-latest",
    "checkpoint.before-latest:2",
    "fsio.before-rename:1",
    "fsio.before-rename:3",
    "fsio.before-rename:5",
    "fsio.before-rename:9",
];

/// What a finished run must look like, whatever happened on the way.
fn result(place: &Place) -> BTreeMap<String, String> {
    let mut tree = place.tree("run");
    tree.retain(|name, _| !name.ends_with(".partial"));
    tree
}

fn uninterrupted() -> Place {
    let place = Place::with_data();
    place.esr(TRAIN).ok();
    place
}

#[test]
fn a_run_from_beginning_to_end() {
    let place = Place::with_data();
    let ran = place.esr(TRAIN);
    insta::assert_snapshot!("stderr", masked(&ran.stderr));
    assert_eq!(ran.ok(), "run/model.safetensors\n");
    insta::assert_snapshot!("files", place.tree("run").into_keys().collect::<Vec<_>>().join("\n"));
    let lines: Vec<Value> = place
        .text("run/train/metrics.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |key: &str| lines.iter().map(|line| line[key].clone()).collect::<Vec<_>>();
    // Every third step, every fifth with its validation, and the last of each stage.
    assert_eq!(of("step"), [3, 5, 6, 9, 10, 12]);
    assert_eq!(of("stage"), [0, 0, 0, 1, 1, 1]);
    assert_eq!(of("epoch"), [0, 1, 1, 0, 1, 1]);
    assert_eq!(of("rate"), [2e-3, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3]);
    let validated: Vec<bool> = lines.iter().map(|line| line["valid_psnr_rgb_db"].is_f64()).collect();
    assert_eq!(validated, [false, true, true, false, true, true]);
    let inspected = place.esr("inspect run/model.safetensors --json").json();
    assert_eq!(inspected["model"]["architecture"], crate::place::TINY);
}

/// Losses and PSNR replaced: their last digits may depend on the processor.
fn masked(text: &str) -> String {
    let mut after = "";
    let words = text.split_inclusive(' ').map(|word| {
        let masked = match after.trim() {
            "loss" | "PSNR" => "[number] ",
            _ => word,
        };
        after = word;
        masked
    });
    words.collect()
}

#[test]
fn a_finished_run_stays_as_it_is() {
    let place = uninterrupted();
    let before = place.tree("run");
    let ran = place.esr(TRAIN);
    assert_eq!(ran.stderr, "resumed from step 12\n");
    assert_eq!(ran.ok(), "run/model.safetensors\n");
    assert_eq!(place.tree("run"), before);
}

#[test]
fn a_killed_run_ends_with_the_same_bytes() {
    let expected = result(&uninterrupted());
    for point in POINTS {
        let place = Place::with_data();
        place.killed_at(point, TRAIN);
        assert!(!place.exists("run/model.safetensors"), "{point}");
        let ran = place.esr(TRAIN);
        assert!(!ran.stderr.contains("warning"), "{point}: {}", ran.stderr);
        ran.ok();
        assert_eq!(result(&place), expected, "{point}");
    }
}

#[test]
fn a_run_killed_again_and_again_ends_with_the_same_bytes() {
    let place = Place::with_data();
    for step in ["train.after-step:5", "train.after-step:2", "checkpoint.before-latest", "train.after-step:3"]
    {
        place.killed_at(step, TRAIN);
    }
    let ran = place.esr(TRAIN);
    assert!(ran.stderr.ends_with("resumed from step 8\n"), "{}", ran.stderr);
    ran.ok();
    assert_eq!(result(&place), result(&uninterrupted()));
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let expected = result(&uninterrupted());
    for damaged in ["run/train/step-00000008.safetensors", "run/train/step-00000008.json"] {
        let place = Place::with_data();
        place.killed_at("train.after-step:10", TRAIN);
        place.damage(damaged);
        let ran = place.esr(TRAIN);
        assert!(
            ran.stderr.starts_with("warning: checkpoint of step 8 is damaged and passed over: "),
            "{damaged}: {}",
            ran.stderr
        );
        assert!(ran.stderr.ends_with("resumed from step 4\n"), "{}", ran.stderr);
        ran.ok();
        assert_eq!(result(&place), expected, "{damaged}");
    }
}

#[test]
fn without_any_whole_checkpoint_it_starts_over() {
    let place = Place::with_data();
    place.killed_at("train.after-step:10", TRAIN);
    place.damage("run/train/step-00000004.safetensors");
    place.damage("run/train/step-00000008.safetensors");
    let ran = place.esr(TRAIN);
    assert_eq!(ran.stderr.matches("is damaged and passed over").count(), 2, "{}", ran.stderr);
    ran.ok();
    assert_eq!(result(&place), result(&uninterrupted()));
}

/// Settings of a run that takes long enough to be interrupted.
fn long() -> String {
    settings_with("epochs = 2\n", "epochs = 30\n")
}

/// A long run, started and past its first checkpoint.
fn started(place: &Place) -> Child {
    let mut command = place.command(TRAIN.split(' '));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the first checkpoint", || place.exists("run/train/LATEST"));
    child
}

fn signal(child: &Child, signal: libc::c_int) {
    let process = libc::pid_t::try_from(child.id()).unwrap();
    // SAFETY: `kill` has no memory preconditions; the child has not been waited for, so its number is not another process's.
    assert_eq!(unsafe { libc::kill(process, signal) }, 0);
}

#[test]
fn an_interrupted_run_goes_on() {
    let uninterrupted = Place::with_data();
    uninterrupted.write("tiny.toml", long().as_bytes());
    uninterrupted.esr(TRAIN).ok();
    for (number, name, code) in [(libc::SIGINT, "SIGINT", 130), (libc::SIGTERM, "SIGTERM", 143)] {
        let place = Place::with_data();
        place.write("tiny.toml", long().as_bytes());
        let child = started(&place);
        signal(&child, number);
        let stderr = Ran::from(child.wait_with_output().unwrap()).fails(code);
        let last = stderr.lines().last().unwrap();
        assert_eq!(
            last,
            format!("error: stopped by {name}; the state is saved; the same command goes on from there")
        );
        let ran = place.esr(TRAIN);
        assert!(ran.stderr.contains("resumed from step "), "{}", ran.stderr);
        ran.ok();
        let without_checkpoints = |place: &Place| {
            let mut tree = result(place);
            tree.retain(|name, _| !name.starts_with("train/step-"));
            tree
        };
        assert_eq!(without_checkpoints(&place), without_checkpoints(&uninterrupted), "{name}");
    }
}

#[test]
fn one_process_at_a_time() {
    let place = Place::with_data();
    place.write("tiny.toml", long().as_bytes());
    let mut first = started(&place);
    // Stopped, so that it cannot finish meanwhile.
    signal(&first, libc::SIGSTOP);
    let holder = format!("process {}", first.id());
    for line in [TRAIN, "reproduce --run run", "package run"] {
        let stderr = place.esr(line).fails(2);
        assert!(stderr.contains("is in use by another esr") && stderr.contains(&holder), "{line}: {stderr}");
    }
    first.kill().unwrap();
    first.wait().unwrap();
    // The lock goes with the process, however it ended.
    place.esr(TRAIN).ok();
}

#[test]
fn another_run_in_the_same_folder_is_refused() {
    let place = uninterrupted();
    let before = place.tree("run");
    place.write("other.toml", settings_with("seed = 5", "seed = 6").as_bytes());
    let stderr = place.esr("train --settings other.toml --run run").fails(2);
    assert!(stderr.contains("`run` holds a run with other settings"), "{stderr}");
    assert_eq!(place.tree("run"), before, "its settings are left alone");
    // Other images: the settings say nothing about them.
    place.pair("data/train", "train0", 56, 52);
    let stderr = place.esr(TRAIN).fails(2);
    assert!(stderr.contains("holds a run with other images"), "{stderr}");
}

#[test]
fn settings_are_saved_and_repeat_the_run() {
    let place = uninterrupted();
    place.esr("train --settings run/settings.toml --run again").ok();
    assert_eq!(place.tree("again"), place.tree("run"));
}

#[test]
fn a_loss_that_explodes_ends_the_run() {
    let place = Place::with_data();
    place.write("tiny.toml", settings_with("rate = 1e-3", "rate = 1e30").as_bytes());
    let stderr = place.esr(TRAIN).fails(1);
    let last = stderr.lines().last().unwrap();
    assert!(last.starts_with("error: the loss became "), "{last}");
    for part in
        [" at step ", "of stage `stage 2` with rate 1e30", "run/train/step-00000004", "lower the rate"]
    {
        assert!(last.contains(part), "{part}: {last}");
    }
    assert!(!place.exists("run/model.safetensors"));
    assert!(place.exists("run/train/step-00000004.json"));
}

#[test]
fn images_smaller_than_the_patch_are_padded_and_counted() {
    let place = Place::with_data();
    place.write("tiny.toml", settings_with("patch_lr = 10", "patch_lr = 13").as_bytes());
    // One of the three images is 12 high; 13 fits into the others.
    let ran = place.esr(TRAIN);
    assert!(
        ran.stderr
            .ends_with("note: 4 patches were zero-padded, because their image is smaller than the patch\n"),
        "{}",
        ran.stderr
    );
    ran.ok();
    assert!(place.text("run/train/metrics.jsonl").lines().last().unwrap().contains("\"padded_patches\":4"));
}

#[test]
fn folded_and_expanded_training_agree() {
    let place = uninterrupted();
    place.esr("train --settings tiny.toml --run expanded --branches expanded").ok();
    // What was asked for is kept, so that the run's own settings repeat it.
    place.write("tiny.toml", settings_with("\"folded\"", "\"expanded\"").as_bytes());
    place.esr("train --settings tiny.toml --run same").ok();
    assert_eq!(place.tree("same"), place.tree("expanded"));
    place.esr("train --settings expanded/settings.toml --run again").ok();
    assert_eq!(place.tree("again"), place.tree("expanded"));
    let stderr =
        place.esr("train --settings expanded/settings.toml --run expanded --branches folded").fails(2);
    assert!(stderr.contains("holds a run with other settings"), "{stderr}");
    let weights = |run: &str| {
        esr::models::Model::from_file(&place.path(format!("{run}/model.safetensors")))
            .unwrap()
            .weights
            .unwrap()
    };
    let (folded, expanded) = (weights("run"), weights("expanded"));
    assert!(folded.keys().eq(expanded.keys()));
    for (key, a) in &folded {
        let differences = a.data().iter().zip(expanded[key].data()).map(|(a, b)| (a - b).abs());
        let largest = differences.fold(0.0, f32::max);
        assert!(largest < 1e-5, "{key}: {largest}");
    }
    assert_ne!(
        place.bytes("run/model.safetensors"),
        place.bytes("expanded/model.safetensors"),
        "two ways to compute"
    );
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let place = uninterrupted();
    place.esr("train --settings tiny.toml --run one --threads 1").ok();
    assert_eq!(place.tree("one"), place.tree("run"));
}

#[test]
fn settings_that_make_no_sense_are_told() {
    let place = Place::with_data();
    for (text, code, expected) in [
        (settings_with("seed = 5", "seed = 5\nsed = 6"), 2, "unknown field `sed`"),
        (settings_with("batch = 2", "batch = 0"), 2, "stage `stage 1`"),
        (settings_with("rate = 1e-3", "rate = nan"), 2, "rate"),
        (settings_with("blocks=1", "blocks=none"), 2, "blocks=none"),
        (settings_with("pairs = 3", "pairs = 4"), 4, "has 3 images, 4 are expected"),
        (settings_with("train/LR", "elsewhere"), 4, "data/elsewhere"),
        ("nonsense".into(), 2, "is not a valid settings file"),
        ("\u{0}".into(), 2, "is not a valid settings file"),
    ] {
        place.write("tiny.toml", text.as_bytes());
        let stderr = place.esr(TRAIN).fails(code);
        assert!(stderr.contains(expected), "{expected}: {stderr}");
        let _ = std::fs::remove_dir_all(place.path("run"));
    }
    assert_eq!(place.esr("train --settings none.toml --run run").code, 4);
    place.write("tiny.toml", settings().as_bytes());
    let stderr = place.esr("train --settings tiny.toml --run run --data nowhere").fails(4);
    assert!(stderr.contains("nowhere/train/LR") && stderr.contains("nowhere/valid/HR"), "{stderr}");
}
