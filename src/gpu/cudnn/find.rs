//! Where cuDNN is: in folders that the user names, in Python wheels, in the usual places. It is never needed.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use libloading::Library;
use serde::Serialize;

/// The library that is looked for: cuDNN 9, whose functions the bindings know.
pub const LIBRARY: &str = "libcudnn.so.9";

/// Where NVIDIA's Python wheels keep it below a folder of packages.
const IN_WHEELS: &str = "nvidia/cudnn/lib";

/// Folders of libraries below the root of a system.
const SYSTEM: [&str; 7] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/local/lib",
    "usr/local/cuda/lib64",
    "usr/local/cuda/lib",
    "opt/cuda/lib64",
];

/// What in the process's environment says where libraries are.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `LD_LIBRARY_PATH`.
    pub library_path: Option<OsString>,
    /// Where Python environments are: `VIRTUAL_ENV` and `CONDA_PREFIX`.
    pub prefixes: Vec<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
}

impl Environment {
    /// Of this process.
    pub fn here() -> Self {
        let prefixes = ["VIRTUAL_ENV", "CONDA_PREFIX"];
        Self {
            library_path: std::env::var_os("LD_LIBRARY_PATH"),
            prefixes: prefixes.iter().filter_map(std::env::var_os).map(PathBuf::from).collect(),
            home: std::env::var_os("HOME").map(PathBuf::from),
        }
    }
}

/// A version of cuDNN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Version {
    /// E.g. 9.
    pub major: usize,
    /// E.g. 15.
    pub minor: usize,
    /// E.g. 1.
    pub patch: usize,
}

impl Version {
    /// From `cudnnGetVersion`, which since version 9 counts 10000 for each major and 100 for each minor version.
    fn from_number(number: usize) -> Self {
        Self { major: number / 10_000, minor: number / 100 % 100, patch: number % 100 }
    }

    /// What a loaded library says.
    pub(super) fn of(library: &Library) -> Result<Self, String> {
        // SAFETY: the type is that of cuDNN's API reference.
        let get = unsafe { library.get::<unsafe extern "C" fn() -> usize>(b"cudnnGetVersion") }
            .map_err(|_| "it has no function cudnnGetVersion".to_owned())?;
        // SAFETY: the function takes nothing and only returns a number.
        Ok(Self::from_number(unsafe { get() }))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// All files that could be it in folders that the user names, in that order. Such a folder may be the one with the library, a Python environment, or a
/// folder of packages.
pub fn in_given(folders: &[PathBuf]) -> Vec<PathBuf> {
    files(folders.iter().flat_map(|folder| below_prefix(folder)))
}

/// All files that could be it in the places that the environment names, then in those of the system below `root`.
pub fn in_usual_places(environment: &Environment, root: &Path) -> Vec<PathBuf> {
    let named = environment.library_path.iter().flat_map(std::env::split_paths);
    // An empty name would be the folder that the program happens to run in.
    let mut folders: Vec<PathBuf> = named.filter(|folder| folder.is_absolute()).collect();
    folders.extend(environment.prefixes.iter().flat_map(|prefix| below_prefix(prefix)));
    folders.extend(SYSTEM.map(|folder| root.join(folder)));
    folders.push(root.join("usr/lib/python3/dist-packages").join(IN_WHEELS));
    let python_homes =
        [Some(root.join("usr/local")), environment.home.as_ref().map(|home| home.join(".local"))];
    folders.extend(python_homes.iter().flatten().flat_map(|prefix| wheels(prefix)));
    files(folders)
}

/// The library's files in these folders, each once, although the same file is often reached by several links.
fn files(folders: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in folders {
        if let Ok(file) = folder.join(LIBRARY).canonicalize()
            && file.is_file()
            && !found.contains(&file)
        {
            found.push(file);
        }
    }
    found
}

/// Folders below a prefix, or a folder of packages, in which the library may lie.
fn below_prefix(prefix: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        ["", "lib", "lib64", IN_WHEELS, "cudnn/lib"].map(|part| prefix.join(part)).into();
    folders.extend(wheels(prefix));
    folders
}

/// Folders of wheels below a Python prefix, newest name first.
fn wheels(prefix: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(prefix.join("lib")) else { return Vec::new() };
    let mut pythons: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"python3")))
        .collect();
    pythons.sort();
    let packages = ["site-packages", "dist-packages"];
    pythons.iter().rev().flat_map(|python| packages.map(|name| python.join(name).join(IN_WHEELS))).collect()
}

/// Loads a cuDNN and asks its version. It stays loaded. Needs no GPU.
///
/// # Errors
/// Why it cannot be used, in the loader's words.
pub fn version_of(file: &Path) -> Result<Version, String> {
    Version::of(load(file)?)
}

/// What cuDNN itself loads with its first call, from its own folder. It ends the whole process where one is missing, so they are tried before.
const PARTS: [&str; 3] = ["libcudnn_graph.so.9", "libcudnn_ops.so.9", "libcudnn_cnn.so.9"];

/// Loads a cuDNN, which stays loaded.
pub(super) fn load(file: &Path) -> Result<&'static Library, String> {
    let open = |file: &Path| {
        // SAFETY: loading runs the library's initialisers; the file has cuDNN's name and lies where the user or the system keeps it.
        let library = unsafe { Library::new(file) }.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            cause.unwrap_or_else(|| error.to_string())
        })?;
        // cuDNN starts threads of its own and does not like to be unloaded.
        Ok::<&'static Library, String>(Box::leak(Box::new(library)))
    };
    let library = open(file)?;
    for part in PARTS {
        open(&file.with_file_name(part))?;
    }
    Ok(library)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path) {
        std::fs::create_dir_all(path).unwrap();
        std::fs::write(path.join(LIBRARY), "").unwrap();
    }

    #[test]
    fn it_is_found_in_every_place_in_order_and_once() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().canonicalize().unwrap().join(path);
        let places = [
            "given/nvidia/cudnn/lib",
            "venv-given/lib/python3.12/site-packages/nvidia/cudnn/lib",
            "loader",
            "venv/lib/python3.11/site-packages/nvidia/cudnn/lib",
            "usr/lib/x86_64-linux-gnu",
            "usr/lib/python3/dist-packages/nvidia/cudnn/lib",
            "usr/local/lib/python3.10/dist-packages/nvidia/cudnn/lib",
            "home/.local/lib/python3.12/site-packages/nvidia/cudnn/lib",
        ];
        for place in places {
            put(&at(place));
        }
        std::fs::create_dir_all(at("usr/local/cuda")).unwrap();
        std::os::unix::fs::symlink(at("usr/lib/x86_64-linux-gnu"), at("usr/local/cuda/lib64")).unwrap();
        let environment = Environment {
            library_path: Some(format!("{}:relative:", at("loader").display()).into()),
            prefixes: vec![at("venv")],
            home: Some(at("home")),
        };
        let (given, usual) = places.split_at(2);
        let file = |place: &&str| at(place).join(LIBRARY);
        let found = in_given(&[at("given"), at("venv-given"), at("nowhere"), at("given")]);
        assert_eq!(found, given.iter().map(file).collect::<Vec<_>>());
        assert_eq!(in_given(&[at(given[0])]), [file(&given[0])], "the folder of the library itself");
        assert_eq!(in_usual_places(&environment, &at("")), usual.iter().map(file).collect::<Vec<_>>());
        assert!(in_usual_places(&Environment::default(), &at("nowhere")).is_empty());
    }

    #[test]
    fn the_version_is_asked_or_the_reason_told() {
        assert_eq!(Version::from_number(91_501).to_string(), "9.15.1");
        let folder = tempfile::tempdir().unwrap();
        put(folder.path());
        let reason = version_of(&folder.path().join(LIBRARY)).unwrap_err();
        assert!(reason.contains("file too short"), "{reason}");
    }

    #[test]
    fn a_library_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("fake.rs");
        let compile = |name: &str, text: &str| {
            std::fs::write(&source, text).unwrap();
            let file = folder.path().join(name);
            let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
            let status = std::process::Command::new(rustc)
                .args([
                    "--edition",
                    "2024",
                    "--crate-type",
                    "cdylib",
                    "-C",
                    "panic=abort",
                    "-A",
                    "non_snake_case",
                    "-o",
                ])
                .args([&file, &source])
                .status();
            assert!(status.unwrap().success());
            file
        };
        let parts = || PARTS.map(|part| compile(part, "pub fn nothing() {}"));
        let text = "#[unsafe(no_mangle)] pub extern \"C\" fn cudnnGetVersion() -> usize { 90_200 }";
        let whole = compile("a.so", text);
        let reason = version_of(&whole).unwrap_err();
        assert!(reason.contains("libcudnn_graph.so.9"), "{reason}");
        parts();
        assert_eq!(version_of(&whole).unwrap(), Version { major: 9, minor: 2, patch: 0 });
        let reason = version_of(&compile("b.so", "pub fn nothing() {}")).unwrap_err();
        assert!(reason.contains("no function cudnnGetVersion"), "{reason}");
    }
}
