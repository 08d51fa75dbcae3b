//! Finding `libcuda.so.1` and keeping it loaded.

use std::ffi::{CStr, c_void};

use libloading::Library;

/// Names to try, in order: what the loader finds, then where WSL and NixOS keep it away from the loader's paths. One that was loaded by its path is found
/// by its plain name afterwards, because the loader knows it by its own name, so the bindings find it too.
pub(super) const NAMES: [&str; 3] =
    ["libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1", "/run/opengl-driver/lib/libcuda.so.1"];

/// Why none of the names could be loaded.
pub(super) enum Absent {
    /// There is no such file.
    Nowhere,
    /// There is one, but it cannot be loaded; the loader's words.
    Refused(String),
}

/// Loads the first of `names` that is there.
pub(super) fn load(names: &[&str]) -> Result<Library, Absent> {
    for name in names {
        // SAFETY: loading runs the library's initialisers. These names belong to NVIDIA's driver, which is made to be loaded like this.
        match unsafe { Library::new(*name) } {
            Ok(library) => return Ok(library),
            // The loader says the same of a missing dependency, but then names the dependency first.
            Err(error) => {
                let words = loader_words(&error);
                if !(words.starts_with(name) && words.contains("No such file or directory")) {
                    return Err(Absent::Refused(words));
                }
            }
        }
    }
    Err(Absent::Nowhere)
}

/// What the loader said, without the library's wrapping.
fn loader_words(error: &libloading::Error) -> String {
    // The text of `dlerror` is the error's source or its debug form, depending on the version; the innermost cause is the shortest.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The file that an address of a loaded library comes from; `None` if the loader does not know it.
pub(super) fn file_of(address: *const c_void) -> Option<String> {
    // SAFETY: all-zero bytes are a valid value of this struct of pointers.
    let mut facts: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: the function only looks the address up, and writes into a struct that outlives the call.
    if unsafe { libc::dladdr(address, &mut facts) } == 0 || facts.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader keeps the name, which ends with a zero, for as long as the library is loaded; it is copied here.
    Some(unsafe { CStr::from_ptr(facts.dli_fname) }.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_nowhere_is_told_from_one_that_is_broken() {
        assert!(matches!(load(&["libesr-that-is-nowhere.so.1"]), Err(Absent::Nowhere)));
        let folder = tempfile::tempdir().unwrap();
        let broken = folder.path().join("libcuda.so.1");
        std::fs::write(&broken, "no library").unwrap();
        let Err(Absent::Refused(words)) = load(&["libesr-that-is-nowhere.so.1", broken.to_str().unwrap()])
        else {
            panic!("it must be refused");
        };
        assert!(words.contains("libcuda.so.1"), "{words}");
    }
}
