//! Checkpoints: everything a run needs to go on as if nothing had happened.
//!
//! A checkpoint is `step-N.safetensors` (weights and both moments of Adam) and then `step-N.json`, which holds the tensors' SHA-256 and says where in
//! the recipe they belong; a checkpoint without a matching JSON does not exist. `LATEST` names the newest for people and tools. A damaged
//! checkpoint is passed over, with a warning, for the one before it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::adam::Adam;
use super::flat::Flat;
use crate::engine::Engine;
use crate::fault;
use crate::fsio::{self, Artefact};
use crate::graph::fold::Named;
use crate::weights;

/// Checkpoints kept on disk: the newest, and one before it in case the newest is damaged.
const KEPT: usize = 2;

/// Why a checkpoint could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Reading or writing failed.
    #[error(transparent)]
    File(#[from] fsio::Error),
    /// The tensors could not be read or written.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// The run in this folder had other settings or other images.
    #[error(
        "`{folder}` holds a run with other {what} (hash {found}, now {expected}): choose another folder, or delete it to start over"
    )]
    OtherRun {
        /// The training folder.
        folder: PathBuf,
        /// "settings" or "images".
        what: &'static str,
        /// The hash in the checkpoint.
        found: String,
        /// The hash of what was asked for.
        expected: String,
    },
    /// Another engine computed the run in this folder.
    #[error(
        "`{found}` trained the run in `{folder}`, and `{expected}` would not end with the same bits: go on with {}, choose another folder, or delete it to start over",
        options(found)
    )]
    OtherEngine {
        /// The training folder.
        folder: PathBuf,
        /// The engine in the checkpoint.
        found: String,
        /// The engine asked for.
        expected: String,
    },
}

/// The options that ask for what trained a run ([`crate::engine::Backend::kind`]).
fn options(kind: &str) -> String {
    match kind.strip_prefix("cuda-") {
        Some(how) => match how.strip_suffix("-fastest") {
            Some(precision) => format!("`--device cuda:N --precision {precision} --kernels fastest`"),
            None => format!("`--device cuda:N --precision {how}`"),
        },
        None => format!("`--engine {kind}` on the CPU"),
    }
}

/// A point in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The stage, from 0.
    pub stage: usize,
    /// Steps done in the stage.
    pub stage_step: u64,
    /// Steps done in all stages.
    pub step: u64,
    /// Patches that were zero-padded so far, because their image is smaller than the patch.
    pub padded_patches: u64,
    /// Sum of the losses since the last line of the log, and how many there are: a resumed run writes the same line.
    pub pending_loss: (f64, u64),
    /// The expanded model's weights.
    pub weights: Flat,
    /// The optimiser.
    pub adam: Adam,
}

/// What identifies a run: a checkpoint is only resumed with the same settings, on the same images, by the same engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunIdentity {
    /// SHA-256 of the settings as TOML.
    pub(super) settings_sha256: String,
    /// SHA-256 over all images.
    pub(super) images_sha256: String,
    /// What computes the steps. A checkpoint that does not say is from the time when there was only one.
    #[serde(default = "first_engine")]
    pub(super) engine: String,
}

fn first_engine() -> String {
    Engine::Reference.name().into()
}

#[derive(Serialize, Deserialize)]
struct Marker {
    schema: u64,
    run: RunIdentity,
    stage: usize,
    stage_step: u64,
    step: u64,
    padded_patches: u64,
    /// The bits of the f64, so that it comes back exactly.
    pending_loss_bits: u64,
    pending_loss_count: u64,
    adam_updates: u64,
    tensors_sha256: String,
}

impl Artefact for Marker {
    const WHAT: &'static str = "checkpoint";
    const SCHEMA: u64 = 1;
}

#[derive(Serialize, Deserialize)]
struct Latest {
    schema: u64,
    checkpoint: String,
}

fn tensor_file(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("step-{step:08}.safetensors"))
}

fn marker_file(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("step-{step:08}.json"))
}

/// Writes a checkpoint and removes old ones.
pub(super) fn save(folder: &Path, run: &RunIdentity, state: &State) -> Result<(), CheckpointError> {
    let mut tensors = BTreeMap::new();
    for (group, arrays) in [
        ("weight", &state.weights),
        ("adam_m", &state.adam.first_moment),
        ("adam_v", &state.adam.second_moment),
    ] {
        tensors.extend(arrays.named().into_iter().map(|(key, array)| (format!("{group}/{key}"), array)));
    }
    let path = tensor_file(folder, state.step);
    weights::write_safetensors(&path, &tensors, &BTreeMap::new())?;
    fault::point("checkpoint.before-marker");
    let marker = Marker {
        schema: Marker::SCHEMA,
        run: run.clone(),
        stage: state.stage,
        stage_step: state.stage_step,
        step: state.step,
        padded_patches: state.padded_patches,
        pending_loss_bits: state.pending_loss.0.to_bits(),
        pending_loss_count: state.pending_loss.1,
        adam_updates: state.adam.updates,
        tensors_sha256: fsio::sha256_file(&path)?,
    };
    fsio::write_json(&marker_file(folder, state.step), &marker)?;
    fault::point("checkpoint.before-latest");
    let latest = Latest { schema: 1, checkpoint: format!("step-{:08}", state.step) };
    fsio::write_json(&folder.join("LATEST"), &latest)?;
    for &step in steps_on_disk(folder)?.iter().rev().skip(KEPT) {
        // The marker goes first: what is left of a half-removed checkpoint is then no checkpoint.
        remove(&marker_file(folder, step))?;
        remove(&tensor_file(folder, step))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), fsio::Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => fsio::io_context(result, "remove", path),
    }
}

/// The steps of which there is any file, in order.
fn steps_on_disk(folder: &Path) -> Result<Vec<u64>, fsio::Error> {
    let mut steps = Vec::new();
    for entry in fsio::io_context(fs::read_dir(folder), "list", folder)? {
        let name = fsio::io_context(entry, "list", folder)?.file_name();
        let name = name.to_string_lossy();
        let number = name.strip_prefix("step-").and_then(|rest| rest.split('.').next());
        let complete = name.ends_with(".json") || name.ends_with(".safetensors");
        steps.extend(number.filter(|_| complete).and_then(|number| number.parse::<u64>().ok()));
    }
    steps.sort_unstable();
    steps.dedup();
    Ok(steps)
}

/// The newest checkpoint that is whole, or `None` if there is none. `fresh` is how the run would begin without one. `warn` hears about damaged ones that
/// were passed over.
///
/// # Errors
/// [`CheckpointError::OtherRun`] when the newest whole checkpoint belongs to other settings or images, [`CheckpointError::OtherEngine`] when to another engine.
pub(super) fn load(
    folder: &Path,
    run: &RunIdentity,
    fresh: &State,
    warn: &mut dyn FnMut(String),
) -> Result<Option<State>, CheckpointError> {
    if !folder.exists() {
        return Ok(None);
    }
    for &step in steps_on_disk(folder)?.iter().rev() {
        if !marker_file(folder, step).exists() {
            continue;
        }
        let loaded = load_one(folder, step, fresh);
        match loaded {
            Ok((found, state)) => {
                for (what, found, expected) in [
                    ("settings", &found.settings_sha256, &run.settings_sha256),
                    ("images", &found.images_sha256, &run.images_sha256),
                ] {
                    if found != expected {
                        let short = |hash: &str| hash.chars().take(12).collect();
                        let (found, expected) = (short(found), short(expected));
                        return Err(CheckpointError::OtherRun {
                            folder: folder.to_path_buf(),
                            what,
                            found,
                            expected,
                        });
                    }
                }
                if found.engine != run.engine {
                    return Err(CheckpointError::OtherEngine {
                        folder: folder.to_path_buf(),
                        found: found.engine,
                        expected: run.engine.clone(),
                    });
                }
                return Ok(Some(state));
            }
            Err(problem) => warn(format!("checkpoint of step {step} is damaged and passed over: {problem}")),
        }
    }
    Ok(None)
}

fn load_one(folder: &Path, step: u64, fresh: &State) -> Result<(RunIdentity, State), String> {
    let marker: Marker = fsio::read_json(&marker_file(folder, step)).map_err(|error| error.to_string())?;
    let path = tensor_file(folder, step);
    let checkpoint = weights::read(&path).map_err(|error| error.to_string())?;
    if checkpoint.sha256 != marker.tensors_sha256 {
        return Err(format!(
            "`{}` has SHA-256 {}, expected {}",
            path.display(),
            checkpoint.sha256,
            marker.tensors_sha256
        ));
    }
    let (mut model, mut m, mut v) = (Named::new(), Named::new(), Named::new());
    for (key, array) in checkpoint.tensors {
        let (group, key) = key.split_once('/').ok_or_else(|| format!("unexpected tensor `{key}`"))?;
        let target = match group {
            "weight" => &mut model,
            "adam_m" => &mut m,
            "adam_v" => &mut v,
            _ => return Err(format!("unexpected tensor `{group}/{key}`")),
        };
        target.insert(key.to_owned(), array);
    }
    let (model, m, v) = (Flat::of(&model), Flat::of(&m), Flat::of(&v));
    for (what, tensors) in [("weight", &model), ("adam_m", &m), ("adam_v", &v)] {
        if let Some(problem) = tensors.difference(&fresh.weights) {
            return Err(format!("`{}`, {what}: {problem}", path.display()));
        }
    }
    let state = State {
        stage: marker.stage,
        stage_step: marker.stage_step,
        step: marker.step,
        padded_patches: marker.padded_patches,
        pending_loss: (f64::from_bits(marker.pending_loss_bits), marker.pending_loss_count),
        weights: model,
        adam: fresh.adam.resumed(marker.adam_updates, m, v),
    };
    Ok((marker.run, state))
}
