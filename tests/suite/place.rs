//! A temporary folder in which commands run, and the small images, models and settings that tests put there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use esr::imaging::{self, Border, RgbImage};
use esr::models::{self, Architecture};
use esr::{fsio, train};
use serde_json::Value;
use tempfile::TempDir;

/// A model that trains in milliseconds, with every kind of layer that a collapsible IMDN has.
pub(crate) const TINY: &str = "imdn:blocks=1,channels=8,distilled=2,branches=1x1";

/// What a process did.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code; 128 + the signal's number if one killed it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let status = output.status;
        Self {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap()),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Standard output of a command that must have worked.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// The object printed by a `--json` command that must have worked.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// Standard error of a command that must have failed with `code` and without a result.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
        self.stderr
    }
}

/// A temporary folder that is the working folder of the commands run in it.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A place with the tiny data set and settings `tiny.toml` made of [`settings`].
    pub(crate) fn with_data() -> Self {
        let place = Self::new();
        for (split, count) in [("train", 3), ("valid", 2)] {
            for number in 0..count {
                place.pair(&format!("data/{split}"), &format!("{split}{number}"), 56, 48 + 4 * number);
            }
        }
        place.write("tiny.toml", settings().as_bytes());
        place
    }

    /// A place with the tiny data set and a finished run of it in `run`. The run is made once for all tests and copied, times of change included, because
    /// a run depends on those of its images.
    pub(crate) fn with_finished_run() -> Self {
        let program = fs::metadata(env!("CARGO_BIN_EXE_esr")).unwrap().modified().unwrap();
        let built = program.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let lock = fs::File::create(shared.join("finished-run.lock")).unwrap();
        lock.lock().unwrap();
        let whole = shared.join("finished-run").join(built.to_string());
        if !whole.exists() {
            // One of an earlier build, if any.
            let _ = fs::remove_dir_all(shared.join("finished-run"));
            let place = Self::with_data();
            place.write("run/settings.toml", settings().as_bytes());
            place.esr("reproduce --run run").ok();
            fs::create_dir(shared.join("finished-run")).unwrap();
            copy(place.folder.path(), &whole);
        }
        let place = Self::new();
        copy(&whole.join("."), place.folder.path());
        place
    }

    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(relative)
    }

    pub(crate) fn exists(&self, relative: &str) -> bool {
        self.path(relative).exists()
    }

    pub(crate) fn write(&self, relative: &str, bytes: &[u8]) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    #[track_caller]
    pub(crate) fn bytes(&self, relative: &str) -> Vec<u8> {
        fs::read(self.path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
    }

    #[track_caller]
    pub(crate) fn text(&self, relative: &str) -> String {
        String::from_utf8(self.bytes(relative)).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self, relative: &str) -> Value {
        serde_json::from_slice(&self.bytes(relative)).unwrap()
    }

    pub(crate) fn image(&self, relative: &str) -> RgbImage {
        imaging::decode_file(&self.path(relative)).unwrap().image
    }

    /// Flips one bit in the middle of a file.
    pub(crate) fn damage(&self, relative: &str) {
        let mut bytes = self.bytes(relative);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        self.write(relative, &bytes);
    }

    /// An HR image of the given size in `FOLDER/HR`, and its bicubic LR image in `FOLDER/LR`.
    pub(crate) fn pair(&self, folder: &str, name: &str, width: usize, height: usize) {
        let hr = scenery(width, height, name.len() + height);
        let lr = imaging::downscale(&hr, 4, Border::Mirror).unwrap();
        imaging::write_png(&self.path(format!("{folder}/HR/{name}.png")), &hr).unwrap();
        imaging::write_png(&self.path(format!("{folder}/LR/{name}x4.png")), &lr).unwrap();
    }

    /// Weights that nobody trained, as a file.
    pub(crate) fn model(&self, relative: &str, architecture: &str) {
        let architecture: Architecture = architecture.parse().unwrap();
        let weights = train::kaiming_uniform(&architecture.graph().unwrap(), 7);
        models::save(&self.path(relative), &architecture, &weights).unwrap();
    }

    /// The program, ready to be started here.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_esr"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("COLUMNS", "100").env_remove("ESR_FAULT_POINT").env_remove("RUST_LOG");
        command
    }

    /// Runs `line`, split at spaces.
    pub(crate) fn esr(&self, line: &str) -> Ran {
        Ran::from(self.command(line.split(' ')).output().unwrap())
    }

    /// Runs `line` with a fault point, where it must die as by `kill -9`.
    #[track_caller]
    pub(crate) fn killed_at(&self, point: &str, line: &str) {
        let mut command = self.command(line.split(' '));
        let ran = Ran::from(command.env("ESR_FAULT_POINT", point).output().unwrap());
        assert_eq!(ran.code, 128 + libc::SIGKILL, "{point}: {ran:?}");
    }

    /// Every file below `folder` with its SHA-256, except the lock.
    pub(crate) fn tree(&self, folder: &str) -> BTreeMap<String, String> {
        let root = self.path(folder);
        let (mut files, mut folders) = (BTreeMap::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name() != Some(OsStr::new("lock")) {
                    let name = path.strip_prefix(&root).unwrap().display().to_string();
                    files.insert(name, fsio::sha256_file(&path).unwrap());
                }
            }
        }
        files
    }
}

/// Copies a folder with its times.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// The most that anything waited for may take; far above what it does take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done`; a test that waits in vain fails.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A picture with slopes, waves and grain, so that no patch looks like another.
pub(crate) fn scenery(width: usize, height: usize, seed: usize) -> RgbImage {
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            for channel in 0..3usize {
                let (x_, y_, phase) = (x as f64, y as f64, (seed * 3 + channel) as f64);
                let wave = 60.0 * (x_ * 0.35 + phase).sin() + 40.0 * (y_ * 0.6 - x_ * 0.1 + phase).cos();
                let grain = (x * 31 + y * 17 + channel * 7 + seed * 13) % 23;
                pixels.push((128.0 + wave + grain as f64 - 11.0).clamp(0.0, 255.0) as u8);
            }
        }
    }
    RgbImage::new(width, height, pixels).unwrap()
}

/// Settings of a run of 6 + 6 steps on the tiny data set: checkpoints at steps 4, 8 and 12.
pub(crate) fn settings() -> String {
    format!(
        r#"# Written by hand: comments and order are nobody's business but the author's.
profile = "demo"
schema = 1
summary = "a run for tests"

[data]
kind = "folders"

[[data.train]]
name = "tiny train"
lr = "train/LR"
hr = "train/HR"
pairs = 3

[data.valid]
name = "tiny validation"
lr = "valid/LR"
hr = "valid/HR"
pairs = 2

[measure]
width = 24
height = 20
budget_s = 0.3

[package]
extra_data = true
description = "a run for tests"

[training]
schema = 1
architecture = "{TINY}"
seed = 5
train_on = "folded"
checkpoint_every_steps = 4
validate_every_steps = 5
log_every_steps = 3

[[training.stages]]
name = "stage 1"
patch_lr = 8
batch = 2
epochs = 2
crops_per_image = 2
rate = 2e-3
decay_at_epochs = [1]
decay_factor = 0.5

[[training.stages]]
name = "stage 2"
patch_lr = 10
batch = 2
epochs = 2
crops_per_image = 2
rate = 1e-3
decay_at_epochs = []
decay_factor = 0.5
"#
    )
}

/// The settings with one piece of text replaced, which must be there.
#[track_caller]
pub(crate) fn settings_with(from: &str, to: &str) -> String {
    assert!(settings().contains(from), "{from}");
    settings().replace(from, to)
}
