//! For tests: a made-up driver, a made-up cuDNN beside it, and processes that load it. A process loads a driver only once, so each case is a process: this test program itself, told
//! to run one test, which does nothing else unless [`TASK`] is set.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set for the process that opens the driver: what it does with it.
pub(crate) const TASK: &str = "ESR_TEST_GPU_TASK";

/// Comes before the child's answer, which is one line of JSON, and keeps it apart from the test program's own words.
const MARK: &str = "ANSWER ";

/// Whether this process is a child.
pub(crate) fn is_child() -> bool {
    std::env::var_os(TASK).is_some()
}

/// The name of the test `child` in a module.
pub(crate) fn child_of(module: &str) -> String {
    // The test program does not name the crate.
    format!("{}::child", module.split_once("::").unwrap().1)
}

/// Hands the child's answer to its parent.
pub(crate) fn answer(answer: &serde_json::Value) {
    println!("\n{MARK}{answer}");
}

/// A made-up library.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Library {
    /// Its folder among the fixtures, and what else it is made of.
    sources: &'static [&'static str],
    /// The crate's name, which files that are kept bear too.
    name: &'static str,
    /// What the loader knows it by.
    soname: &'static str,
}

pub(crate) const DRIVER: Library =
    Library { sources: &["cuda"], name: "fake_libcuda", soname: "libcuda.so.1" };
const CUDNN: Library =
    Library { sources: &["cudnn", "cuda/ptx/float.rs"], name: "fake_libcudnn", soname: "libcudnn.so.9" };

/// A folder with the made-up driver under both of its names.
pub(crate) struct Fake {
    folder: tempfile::TempDir,
}

impl Fake {
    /// Compiles it.
    pub(crate) fn build(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        compile(DRIVER, &folder.path().join(DRIVER.soname), flags);
        // The bindings try this name first, and would find the real driver of a machine that has one.
        std::os::unix::fs::symlink("libcuda.so.1", folder.path().join("libcuda.so")).unwrap();
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Puts a made-up cuDNN into a folder of its own below the driver's, and returns that.
    pub(crate) fn with_cudnn(&self, flags: &[&str]) -> PathBuf {
        let folder = self.folder().join("cudnn");
        std::fs::create_dir_all(&folder).unwrap();
        compile(CUDNN, &folder.join(CUDNN.soname), flags);
        // The real one consists of several files, of which the program makes sure first.
        for part in ["graph", "ops", "cnn"] {
            let part = folder.join(format!("libcudnn_{part}.so.9"));
            std::os::unix::fs::symlink(CUDNN.soname, part).unwrap();
        }
        folder
    }

    /// What the child says when the driver is told to behave like this (see the fixture).
    pub(crate) fn ask(&self, child: &str, task: &str, behaviour: &str) -> serde_json::Value {
        ask(Some(self.folder()), child, task, &[("FAKE_CUDA", behaviour)])
    }
}

/// Where the sources of made-up libraries lie.
pub(crate) fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A number that changes with every byte of a file, or of all files of a folder.
fn fingerprint(path: &Path, hasher: &mut DefaultHasher) {
    if path.is_dir() {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| fingerprint(entry, hasher));
    } else {
        path.hash(hasher);
        std::fs::read(path).unwrap().hash(hasher);
    }
}

/// Makes the library at a path. It is compiled once for each state of its sources, as that takes a while, and kept beside the test program.
pub(crate) fn compile(what: Library, library: &Path, flags: &[&str]) {
    let mut hasher = DefaultHasher::new();
    what.sources.iter().for_each(|source| fingerprint(&fixtures().join(source), &mut hasher));
    flags.hash(&mut hasher);
    let program = std::env::current_exe().unwrap();
    let kept = program.with_file_name(format!("{}-{:016x}.so", what.name, hasher.finish()));
    // Other test processes want the same library; one makes it, and a file that is there is complete.
    let lock = std::fs::File::create(kept.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !kept.exists() {
        let unfinished = kept.with_extension("part");
        compile_now(what, &unfinished, flags);
        std::fs::rename(&unfinished, &kept).unwrap();
    }
    std::fs::copy(&kept, library).unwrap();
}

fn compile_now(what: Library, library: &Path, flags: &[&str]) {
    let soname = format!("link-arg=-Wl,-soname,{}", what.soname);
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", what.name])
        // It runs kernels: without optimisation and this processor's instructions that is too slow.
        .args(["-C", "panic=abort", "-C", "opt-level=3", "-C", "target-cpu=native"])
        .args(["-C", &soname, "-A", "warnings"])
        .args(flags)
        .arg("-o")
        .args([library, &fixtures().join(what.sources[0]).join("lib.rs")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a child with libraries of its own and asks what it says.
pub(crate) fn ask(
    libraries: Option<&Path>,
    child: &str,
    task: &str,
    variables: &[(&str, &str)],
) -> serde_json::Value {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", child, "--nocapture"]);
    command
        .env(TASK, task)
        .env_remove("FAKE_CUDA")
        .env_remove("CUDA_VISIBLE_DEVICES")
        .env_remove("LD_LIBRARY_PATH");
    command.envs(libraries.map(|folder| ("LD_LIBRARY_PATH", folder)));
    command.envs(variables.iter().copied());
    let output = command.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the child must not panic: {stdout}{stderr}");
    let answer = stdout.lines().find_map(|line| line.strip_prefix(MARK));
    serde_json::from_str(answer.unwrap_or_else(|| panic!("no answer: {stdout}{stderr}"))).unwrap()
}
