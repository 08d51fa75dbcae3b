//! The work of each stage. What a stage reads and writes is declared in [`super::reproduce`]; here it is done.

use std::path::Path;

use super::materials::{Folders, TrainingMaterial};
use super::reproduce::{Error, Watcher};
use super::settings::{MeasureSettings, ReleasedSettings};
use crate::dataset::{self, Pair, Pairs};
use crate::engine::cuda::Launches;
use crate::engine::equivalence;
use crate::engine::timed::{self, TimedModel};
use crate::engine::upscaler::Upscaler;
use crate::engine::{Backend, Compute, EngineError};
use crate::evaluate::evaluate;
use crate::fsio;
use crate::graph::Graph;
use crate::imaging;
use crate::interrupt::Signal;
use crate::measure::{GpuWatch, Plan, Protocol, Subject};
use crate::metrics;
use crate::models::{self, Architecture, Model};
use crate::train::{self, Outcome, Progress, Stopped, Training};
use crate::weights::StateDict;

/// The paper's model before and after collapsing, and the challenge's baseline.
pub(super) const PAPER_EXPANDED: &str = "imdn:blocks=7,branches=1x1";
pub(super) const BASELINE: &str = "imdn:blocks=8";

/// Trains, and writes `model.safetensors` when all steps are done.
///
/// # Errors
/// [`Error::Interrupted`] when a signal stopped the training; the state is saved then.
pub fn train_model(
    run: &Path,
    settings: &train::Settings,
    material: &TrainingMaterial,
    backend: &Backend,
    progress: &mut dyn Progress,
    interrupted: &dyn Fn() -> Option<Signal>,
) -> Result<Outcome, Error> {
    let folder = train::folder(run);
    let images_sha256 = material.train.images_sha256();
    let images = &*material.train;
    let training = Training { settings, images, images_sha256, folder: &folder, backend: backend.clone() };
    let mut validate =
        |graph: &Graph, weights: &StateDict| validation_psnr(graph, weights, &*material.valid, backend);
    let outcome = train::train(&training, &mut validate, progress, interrupted)?;
    if let Stopped::Interrupted(signal) = outcome.stopped {
        return Err(Error::Interrupted(signal));
    }
    let architecture = settings.architecture("settings").map_err(train::Error::from)?;
    models::save(&run.join("model.safetensors"), &architecture, &outcome.weights)?;
    Ok(outcome)
}

/// Mean PSNR over RGB of a model on pairs, in dB; `None` if it is infinite.
pub(super) fn validation_psnr(
    graph: &Graph,
    weights: &StateDict,
    pairs: &dyn Pairs,
    backend: &Backend,
) -> Result<Option<f64>, EngineError> {
    let upscaler = Upscaler::new(graph, weights, backend.clone())?;
    let mut sum = 0.0;
    for pair in (0..pairs.len()).filter_map(|index| pairs.pair(index)) {
        let (Ok(lr), Ok(hr)) = (pair.lr.to_image(), pair.hr.to_image()) else { return Ok(None) };
        // A model that puts out something that is no image has no PSNR yet; training itself watches for that.
        let Ok(sr) = upscaler.upscale(&lr) else { return Ok(None) };
        match metrics::psnr_rgb(&sr, &hr, graph.scale()) {
            Ok(psnr_db) if psnr_db.is_finite() => sum += psnr_db,
            _ => return Ok(None),
        }
    }
    Ok((!pairs.is_empty()).then(|| sum / pairs.len() as f64))
}

/// Collapses a model and proves it on the LR images given; a model that fails its proof is not written.
pub(super) fn collapse_model(
    model: &Model,
    real: &[imaging::RgbImage],
    target: &Path,
    proof_path: &Path,
) -> Result<(), Error> {
    let collapsed = equivalence::collapse_with_proof(model, real)?;
    fsio::write_json(proof_path, &collapsed.proof)?;
    if !collapsed.proof.equal {
        return Err(Error::CollapseDiffers { max_abs_difference: collapsed.proof.max_abs_difference });
    }
    Ok(models::save(target, &collapsed.architecture, &collapsed.weights)?)
}

/// The most bytes that released weights may have; those of the challenge have a few megabytes.
const RELEASED_LIMIT_BYTES: u64 = 512 << 20;

/// Copies released weights, after their checksum.
pub(super) fn import(data: &Path, released: &ReleasedSettings, target: &Path) -> Result<(), Error> {
    let file = data.join(&released.file);
    let found = fsio::sha256_file(&file)?;
    if found != released.sha256 {
        return Err(Error::Checksum { file, expected: released.sha256.clone(), found });
    }
    let bytes = fsio::read_limited(&file, RELEASED_LIMIT_BYTES)?;
    Ok(fsio::write(target, &bytes)?)
}

/// Counts the run's model and every model that the paper's tables count.
pub(super) fn inspect(run: &Path, model: &Path, architectures: &[String]) -> Result<(), Error> {
    let model = Model::from_file(model)?;
    let count = |model: &Model| crate::graph::inspect(&model.graph, model.identity.clone(), 256, 256);
    fsio::write_json(&run.join("inspection.json"), &count(&model)?)?;
    for name in architectures {
        let architecture: Architecture =
            name.parse().map_err(|source| models::LoadError::Neither { spec: name.clone(), source })?;
        let inspection = count(&Model::from_architecture(architecture)?)?;
        fsio::write_json(&run.join("paper").join(inspection_file(name)), &inspection)?;
    }
    Ok(())
}

/// The file of a paper model's counts: its name with the characters that file systems dislike replaced.
pub(super) fn inspection_file(architecture: &str) -> String {
    format!("inspection-{}.json", architecture.replace([':', '=', ','], "-"))
}

/// Scores the run's model and bicubic upscaling, and saves the SR images.
pub(super) fn evaluate_both(
    run: &Path,
    model: &Path,
    pairs: &[Pair],
    backend: &Backend,
    watcher: &mut dyn Watcher,
) -> Result<(), Error> {
    let model = Model::from_file(model)?;
    let bicubic = Model::from_architecture(Architecture::Bicubic { scale: model.graph.scale() })?;
    // Images of an earlier run must not end up in this one's archive.
    let sr = run.join("sr");
    if sr.exists() {
        fsio::io_context(std::fs::remove_dir_all(&sr), "remove", &sr)?;
    }
    for (model, save, file) in
        [(&model, Some(sr.as_path()), "evaluation.json"), (&bicubic, None, "evaluation-bicubic.json")]
    {
        let upscaler = Upscaler::of_model(model, backend.clone())?;
        let name = model.identity.architecture.clone();
        let total = pairs.len() as u64;
        let mut done = 0;
        let evaluated = evaluate(model.identity.clone(), &upscaler, pairs, save, &mut |_| {
            done += 1;
            watcher.advance(&name, done, total);
        })?;
        fsio::write_json(&run.join(file), &evaluated.evaluation)?;
    }
    Ok(())
}

/// An architecture with weights that nobody trained, for measuring.
pub(super) fn untrained(architecture: &str) -> Result<Model, Error> {
    Ok(train::untrained(Model::load(architecture)?))
}

/// Measures a model beside the baseline by protocol `steady`, and writes the measurement and its log.
pub(super) fn measure_steady(
    model: &Model,
    settings: &MeasureSettings,
    compute: &Compute,
    target: &Path,
    clocks: &Path,
) -> Result<(), Error> {
    let baseline = untrained(BASELINE)?;
    let mut watched = timed::watch(compute, None)?;
    let (candidate_upscaler, baseline_upscaler) = (
        Upscaler::of_model(model, compute.backend.clone())?,
        Upscaler::of_model(&baseline, compute.backend.clone())?,
    );
    let timed = |upscaler| {
        TimedModel::on_size(upscaler, settings.width, settings.height).timed_by_device(Launches::default())
    };
    let (mut candidate, mut beside) = (timed(&candidate_upscaler)?, timed(&baseline_upscaler)?);
    let plan = Plan::new(Protocol::Steady, settings.budget_s)?;
    let measured = timed::measured(
        &plan,
        compute,
        Subject { model: model.identity.clone(), workload: &mut candidate },
        Some(Subject { model: baseline.identity.clone(), workload: &mut beside }),
        watched.as_mut(),
    );
    if let Some(session) = &mut watched {
        session.end().write(&target.with_file_name("gpu-clocks.jsonl"))?;
    }
    let outcome = measured?;
    fsio::write_json(target, &outcome.measurement)?;
    Ok(outcome.clocks.write(clocks)?)
}

/// Measures the run's model on the validation images by protocol `ntire`: the runtime per image that a submission states.
pub(super) fn measure_ntire(
    model: &Model,
    folders: &Folders,
    compute: &Compute,
    target: &Path,
) -> Result<(), Error> {
    let mut watched = timed::watch(compute, None)?;
    let upscaler = Upscaler::of_model(model, compute.backend.clone())?;
    let mut images = Vec::new();
    for path in dataset::list_images(&folders.valid.lr)?.images {
        images.push((dataset::lr_stem(&path, upscaler.scale())?, imaging::decode_file(&path)?.image));
    }
    let mut workload = TimedModel::on_images(&upscaler, images).timed_by_device(Launches::Eager)?;
    let plan = Plan::new(Protocol::Ntire, Plan::DEFAULT_BUDGET.as_secs_f64())?;
    let subject = Subject { model: model.identity.clone(), workload: &mut workload };
    let outcome = timed::measured(&plan, compute, subject, None, watched.as_mut())?;
    Ok(fsio::write_json(target, &outcome.measurement)?)
}
