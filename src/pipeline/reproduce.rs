//! The stages in order, what each depends on, and what runs them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::lock::{LockError, RunLock};
use super::materials::{self, Folders, Preparation, TrainingMaterial, load_training};
use super::package::{self, package_from};
use super::settings::RunSettings;
use super::stage::{Stage, StageError, StageRecord, hash_of};
use super::{reporting, stages};
use crate::compliance;
use crate::dataset;
use crate::dataset::packed::PackError;
use crate::engine::equivalence;
use crate::engine::upscaler::UpscaleError;
use crate::engine::{Compute, EngineError};
use crate::evaluate;
use crate::fsio;
use crate::imaging;
use crate::interrupt::{Interrupt, Signal};
use crate::manifest::paper::Paper;
use crate::measure::{self, Machine};
use crate::models::{LoadError, Model};
use crate::train::{self, Progress};
use crate::{manifest, weights};

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant passes on the error of one module")]
pub enum Error {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    File(#[from] fsio::Error),
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error(transparent)]
    Materials(#[from] materials::Error),
    #[error(transparent)]
    Dataset(#[from] dataset::Error),
    #[error(transparent)]
    Imaging(#[from] imaging::Error),
    #[error(transparent)]
    Train(#[from] train::Error),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Weights(#[from] weights::Error),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Upscale(#[from] UpscaleError),
    #[error(transparent)]
    Shape(#[from] crate::graph::ShapeError),
    #[error(transparent)]
    Equivalence(#[from] equivalence::Error),
    #[error(transparent)]
    Fold(#[from] crate::graph::fold::FoldError),
    #[error(transparent)]
    Evaluate(#[from] evaluate::Error),
    #[error(transparent)]
    Measure(#[from] measure::Error),
    #[error(transparent)]
    Compliance(#[from] compliance::Error),
    #[error(transparent)]
    Package(#[from] package::Error),
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    #[error("the settings have no TOML form: {0}")]
    Settings(#[from] toml::ser::Error),
    #[error("stopped by a signal; the state is saved")]
    Interrupted(Signal),
    #[error(
        "the collapsed model differs from the expanded one by {max_abs_difference:e}, more than rounding explains; nothing was written"
    )]
    CollapseDiffers { max_abs_difference: f64 },
    #[error("`{file}` has SHA-256 {found}, expected {expected}: delete it and fetch it again")]
    Checksum { file: PathBuf, expected: String, found: String },
    #[error(
        "`{folder}` holds a run with other settings (its settings.toml) than {asked}: choose another directory with --run, or go on with the run's own"
    )]
    OtherSettings { folder: PathBuf, asked: String },
}

/// Whoever watches a run.
pub trait Watcher: Send {
    /// A stage begins.
    fn stage_starts(&mut self, name: &str, number: usize, total: usize);
    /// A stage is over; `ran` is false when it was unchanged and skipped.
    fn stage_ends(&mut self, name: &str, ran: bool, seconds: f64);
    /// Progress inside a stage.
    fn advance(&mut self, what: &str, done: u64, total: u64);
    /// Progress of training.
    fn training(&mut self) -> &mut dyn Progress;
    /// The signals to listen to.
    fn interrupted(&self) -> Interrupt;
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct Reproduced {
    /// Stages that ran now; none means that nothing had changed.
    pub ran: Vec<String>,
    /// The records of all stages, in order.
    pub records: Vec<StageRecord>,
}

/// The stages of a profile, in order.
fn stage_names(settings: &RunSettings) -> Vec<&'static str> {
    let model: &[&str] = match settings.training {
        Some(_) => &["train", "collapse"],
        None => &["import"],
    };
    let rest = ["inspect", "evaluate", "measure", "measure-paper", "check", "package", "report"];
    ["data"].iter().chain(model).chain(&rest).copied().collect()
}

/// Walks the whole way in `run`, skipping stages whose inputs, settings and outputs are unchanged. The engine is an input of every stage that runs models with it; the number of threads,
/// which changes no result, is none.
///
/// # Errors
/// [`Error`]; everything finished before stays, and the next call goes on from there.
pub fn reproduce(
    run: &Path,
    data: &Path,
    settings: &RunSettings,
    compute: &Compute,
    watcher: &mut dyn Watcher,
) -> Result<Reproduced, Error> {
    let _lock = RunLock::take(run)?;
    keep_settings(run, settings, &format!("profile `{}`", settings.profile))?;
    let names = stage_names(settings);
    let folders = Folders::of(settings, data);
    let mut walk = Walk {
        run,
        data,
        settings,
        compute,
        machine: Machine::detect(),
        paper: Paper::built_in()?,
        folders,
        names,
        records: Vec::new(),
        ran: Vec::new(),
        watcher,
    };
    walk.all()?;
    Ok(Reproduced { ran: walk.ran, records: walk.records })
}

/// Saves the settings in the run directory, beside what they determine: running from the copy repeats the run. Settings that are there already must say
/// the same, however they are written, and are left as they are. `asked` is what to call the settings in the message.
///
/// # Errors
/// [`Error::OtherSettings`] when the directory belongs to a run with other settings.
pub fn keep_settings(run: &Path, settings: &RunSettings, asked: &str) -> Result<(), Error> {
    let path = run.join("settings.toml");
    if !path.exists() {
        return Ok(fsio::write(&path, settings.to_toml()?.as_bytes())?);
    }
    let saved = RunSettings::read(&path).map_err(train::Error::from)?;
    match saved == *settings {
        true => Ok(()),
        false => Err(Error::OtherSettings { folder: run.to_path_buf(), asked: asked.to_owned() }),
    }
}

/// The images of a training, decoded.
fn prepared(
    run: &Path,
    data: &Path,
    settings: &RunSettings,
    watcher: &mut dyn Watcher,
    stop: &(dyn Fn() -> Option<Signal> + Sync),
) -> Result<TrainingMaterial, Error> {
    let watcher = Mutex::new(watcher);
    let progress = |set: &str, done: usize, total: usize| {
        let mut watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
        watcher.advance(&format!("packing {set}"), done as u64, total as u64);
    };
    let preparation = Preparation { progress: &progress, interrupted: stop };
    match load_training(settings, data, run, SCALE, &preparation) {
        Err(materials::Error::Packed(PackError::Interrupted(signal))) => Err(Error::Interrupted(signal)),
        other => Ok(other?),
    }
}

/// A copy of released weights, byte for byte: their hash identifies them.
const RELEASED_FILE: &str = "released.pth";

/// The file of the run's model, ready to be run: trained and collapsed, or released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModelFile {
    Collapsed,
    Released,
}

impl ModelFile {
    fn of(settings: &RunSettings) -> Self {
        match settings.training {
            Some(_) => Self::Collapsed,
            None => Self::Released,
        }
    }

    /// Its name in the run directory.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Collapsed => "collapsed.safetensors",
            Self::Released => RELEASED_FILE,
        }
    }
}

struct Walk<'a> {
    run: &'a Path,
    data: &'a Path,
    settings: &'a RunSettings,
    compute: &'a Compute,
    machine: Machine,
    paper: Paper,
    folders: Folders,
    names: Vec<&'static str>,
    records: Vec<StageRecord>,
    ran: Vec<String>,
    watcher: &'a mut dyn Watcher,
}

impl Walk<'_> {
    fn all(&mut self) -> Result<(), Error> {
        let (run, data, settings, compute) = (self.run, self.data, self.settings, self.compute);
        // Data is looked at every time: it lies outside the run directory, where anyone may delete it.
        let start = Instant::now();
        self.watcher.stage_starts("data", 1, self.names.len());
        self.folders = materials::provide(settings, data)?;
        let folders = Folders::of(settings, data);
        let images = |pairs: &[dataset::Pair]| -> Result<String, Error> {
            Ok(fsio::sha256_hex(listing(pairs)?.as_bytes()))
        };
        let valid_pairs = folders.valid_pairs(SCALE)?;
        let train_pairs = folders.train_pairs(SCALE)?;
        let (valid_hash, train_hash) = (images(&valid_pairs)?, images(&train_pairs)?);
        let inputs = BTreeMap::from([
            ("valid".to_owned(), valid_hash.clone()),
            ("train".to_owned(), train_hash.clone()),
        ]);
        self.stage_from(start, "data", inputs, &["data.txt"], |walk| {
            let text = format!(
                "training images\n{}validation images\n{}",
                listing(&train_pairs)?,
                listing(&valid_pairs)?
            );
            Ok(fsio::write(&walk.run.join("data.txt"), text.as_bytes())?)
        })?;

        if let Some(training) = &settings.training {
            let inputs = BTreeMap::from([
                ("settings".to_owned(), fsio::sha256_hex(training.to_toml().as_bytes())),
                ("engine".to_owned(), fsio::sha256_hex(self.compute.backend.kind().as_bytes())),
                ("train".to_owned(), train_hash),
                ("valid".to_owned(), valid_hash.clone()),
            ]);
            self.stage("train", inputs, &["model.safetensors", "train/metrics.jsonl"], |walk| {
                let signals = walk.watcher.interrupted();
                let (backend, stop) = (&walk.compute.backend, || signals.signal());
                let material = prepared(run, data, settings, walk.watcher, &stop)?;
                stages::train_model(run, training, &material, backend, walk.watcher.training(), &stop)?;
                Ok(())
            })?;
            let inputs = self.file_inputs(&["model.safetensors"])?;
            self.stage("collapse", inputs, &["collapsed.safetensors", "collapse.json"], |_| {
                let model = Model::from_file(&run.join("model.safetensors"))?;
                let real = first_lr_images(&valid_pairs)?;
                stages::collapse_model(
                    &model,
                    &real,
                    &run.join("collapsed.safetensors"),
                    &run.join("collapse.json"),
                )?;
                Ok(())
            })?;
        } else if let Some(released) = &settings.released {
            let inputs = BTreeMap::from([("released".to_owned(), released.sha256.clone())]);
            self.stage("import", inputs, &[RELEASED_FILE], |_| {
                stages::import(data, released, &run.join(RELEASED_FILE))
            })?;
        }
        let model_file = ModelFile::of(settings);
        let model_path = run.join(model_file.name());

        let architectures: Vec<String> =
            self.paper.inspected_architectures().into_iter().map(str::to_owned).collect();
        let inputs = self.with(self.file_inputs(&[model_file.name()])?, "paper", &architectures.join("\n"));
        self.stage("inspect", inputs, &["inspection.json", "paper"], |_| {
            stages::inspect(run, &model_path, &architectures)
        })?;

        let inputs = self.with_hash(self.file_inputs(&[model_file.name()])?, "valid", valid_hash);
        let inputs = self.with_engine(inputs);
        self.stage("evaluate", inputs, &["evaluation.json", "evaluation-bicubic.json", "sr"], |walk| {
            stages::evaluate_both(run, &model_path, &valid_pairs, &compute.backend, walk.watcher)
        })?;

        let measure = toml::to_string(&settings.measure)?;
        let measured = self.with(self.file_inputs(&[model_file.name()])?, "measure", &measure);
        let measured = self.with_engine(measured);
        let outputs = ["measurement.json", "clocks.jsonl", "measurement-ntire.json"];
        self.stage("measure", measured, &outputs, |walk| {
            let model = Model::from_file(&model_path)?;
            let (target, clocks) = (run.join("measurement.json"), run.join("clocks.jsonl"));
            stages::measure_steady(&model, &settings.measure, compute, &target, &clocks)?;
            stages::measure_ntire(&model, &walk.folders, compute, &run.join("measurement-ntire.json"))
        })?;

        // The paper's own model, whatever the profile trains: counted, collapsed and measured for real, with weights nobody trained.
        let inputs = self.with_engine(self.with(BTreeMap::new(), "measure", &measure));
        let outputs = [
            "paper-model/collapsed.safetensors",
            "paper-model/collapse.json",
            "paper-model/measurement.json",
            "paper-model/clocks.jsonl",
        ];
        self.stage("measure-paper", inputs, &outputs, |_| {
            let folder = run.join("paper-model");
            let expanded = stages::untrained(stages::PAPER_EXPANDED)?;
            let real = first_lr_images(&valid_pairs)?;
            let collapsed = folder.join("collapsed.safetensors");
            stages::collapse_model(&expanded, &real, &collapsed, &folder.join("collapse.json"))?;
            let model = Model::from_file(&collapsed)?;
            let (target, clocks) = (folder.join("measurement.json"), folder.join("clocks.jsonl"));
            stages::measure_steady(&model, &settings.measure, compute, &target, &clocks)
        })?;

        let inputs = self.file_inputs(&["inspection.json", "evaluation.json", "measurement.json"])?;
        self.stage("check", inputs, &["verdict.json"], |_| {
            let verdict = compliance::check_run(run, &manifest::challenge(YEAR)?)?;
            Ok(fsio::write_json(&run.join("verdict.json"), &verdict)?)
        })?;

        let readme = toml::to_string(&settings.package)?;
        let inputs = self.with(self.file_inputs(&["sr", "measurement-ntire.json"])?, "readme", &readme);
        self.stage("package", inputs, &[package::ARCHIVE, "SHA256SUMS", "validation.json"], |_| {
            package_from(run, data, settings, &run.join(package::ARCHIVE))?;
            Ok(())
        })?;

        let inputs = self.records.iter().map(|record| {
            // A stage that ran again with the same result leaves the report as it is, except for the time it took.
            let outputs: Vec<String> =
                record.outputs.iter().map(|(path, hash)| format!("{path} {hash}")).collect();
            (record.name.clone(), fsio::sha256_hex(format!("{outputs:?} {}", record.seconds).as_bytes()))
        });
        let inputs: BTreeMap<String, String> = inputs.collect();
        let records = self.records.clone();
        self.stage("report", inputs, &["report.json", "report.md"], |walk| {
            reporting::write(&reporting::Context {
                run,
                settings,
                folders: &walk.folders,
                paper: &walk.paper,
                records: &records,
                machine: &walk.machine,
                computed_by: &walk.compute.backend.computed_by(),
                model_file,
            })
        })
    }

    fn file_inputs(&self, paths: &[&str]) -> Result<BTreeMap<String, String>, Error> {
        let mut inputs = BTreeMap::new();
        for &path in paths {
            let hash = hash_of(&self.run.join(path))?;
            inputs.insert(path.to_owned(), hash.unwrap_or_else(|| "absent".to_owned()));
        }
        Ok(inputs)
    }

    fn with(&self, inputs: BTreeMap<String, String>, name: &str, text: &str) -> BTreeMap<String, String> {
        self.with_hash(inputs, name, fsio::sha256_hex(text.as_bytes()))
    }

    fn with_engine(&self, inputs: BTreeMap<String, String>) -> BTreeMap<String, String> {
        self.with(inputs, "engine", &self.compute.backend.kind())
    }

    fn with_hash(
        &self,
        mut inputs: BTreeMap<String, String>,
        name: &str,
        hash: String,
    ) -> BTreeMap<String, String> {
        inputs.insert(name.to_owned(), hash);
        inputs
    }

    fn stage(
        &mut self,
        name: &'static str,
        inputs: BTreeMap<String, String>,
        outputs: &[&str],
        work: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let number = self.names.iter().position(|&known| known == name).map_or(0, |index| index + 1);
        self.watcher.stage_starts(name, number, self.names.len());
        self.stage_from(Instant::now(), name, inputs, outputs, work)
    }

    /// Runs or skips a stage that began at `start`.
    fn stage_from(
        &mut self,
        start: Instant,
        name: &'static str,
        mut inputs: BTreeMap<String, String>,
        outputs: &[&str],
        work: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // A new version of the program may compute something else.
        inputs.insert("tool".to_owned(), fsio::sha256_hex(super::provenance::tool().as_bytes()));
        if let Some(signal) = self.watcher.interrupted().signal() {
            return Err(Error::Interrupted(signal));
        }
        let stage = Stage { run: self.run, name, inputs, outputs };
        let (record, ran) = match stage.unchanged() {
            Some(record) => (record, false),
            None => {
                let machine = self.machine.clone();
                (stage.run(&machine, || work(self))?, true)
            }
        };
        self.watcher.stage_ends(name, ran, start.elapsed().as_secs_f64());
        if ran {
            self.ran.push(name.to_owned());
        }
        self.records.push(record);
        Ok(())
    }
}

/// The scale of the challenge.
const SCALE: usize = 4;

/// The challenge year that a run is judged by: the paper's.
const YEAR: u16 = 2022;

/// Real images that a collapse is proved on.
const PROOF_IMAGES: usize = 2;

fn first_lr_images(pairs: &[dataset::Pair]) -> Result<Vec<imaging::RgbImage>, Error> {
    let decoded = pairs.iter().take(PROOF_IMAGES).map(|pair| Ok(imaging::decode_file(&pair.lr)?.image));
    decoded.collect()
}

/// Name, size and change time of every image: the hash of gigabytes is not taken at every call.
fn listing(pairs: &[dataset::Pair]) -> Result<String, fsio::Error> {
    let mut text = String::new();
    for path in pairs.iter().flat_map(|pair| [&pair.lr, &pair.hr]) {
        let metadata = fsio::io_context(path.metadata(), "read", path)?;
        let changed = fsio::io_context(metadata.modified(), "read", path)?;
        let changed = changed.duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        text.push_str(&format!("{} {} {changed}\n", path.display(), metadata.len()));
    }
    Ok(text)
}
