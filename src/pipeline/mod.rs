//! The whole way from data to report: a run directory, stages, and what keeps them honest.
//!
//! A run lives in one directory under a lock. Each stage records the hashes of what it read and wrote, and is skipped exactly when they are unchanged, so
//! a run that was killed goes on where it stopped and a finished one does nothing.

mod lock;
mod materials;
mod package;
pub mod provenance;
mod reporting;
mod reproduce;
mod settings;
mod stage;
mod stages;

pub use lock::{LockError, RunLock};
pub use materials::{Error as MaterialsError, MissingData, Preparation, TrainingMaterial, load_training};
pub use package::{Error as PackageError, Packaged, package_from};
pub use reproduce::{Error, Reproduced, Watcher, keep_settings, reproduce};
pub use settings::{DataSettings, FolderPair, MeasureSettings, PackageSettings, Profile, RunSettings};
pub use stage::{StageError, StageRecord};
pub use stages::train_model;
