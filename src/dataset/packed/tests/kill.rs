//! Packing in a process that dies at a named point, or that may not write as much as it wants, and again.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use super::*;

/// Set in the process that is to die; it names the folder of the images.
const FOLDER: &str = "ESR_TEST_PACK_FOLDER";
/// The most bytes that process may write into a file.
const LIMIT_BYTES: &str = "ESR_TEST_PACK_LIMIT_BYTES";

/// Not a test of its own: what [`packing_survives_a_kill_at_every_point`] runs in another process.
#[test]
fn child() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let folder = PathBuf::from(folder);
    if let Ok(limit) = env::var(LIMIT_BYTES) {
        let limit = libc::rlimit { rlim_cur: limit.parse().unwrap(), rlim_max: libc::RLIM_INFINITY };
        // SAFETY: neither call keeps the pointer it gets or runs code of ours.
        unsafe {
            // Without the signal, a write beyond the limit is an error as on a full disk.
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
        }
    }
    pack(&pairs(&folder), SCALE, &folder.join("train.esrpack"), &|_, _| {}, &|| None).unwrap();
}

fn pairs(folder: &Path) -> Vec<Pair> {
    let pair = |number: usize| Pair {
        name: format!("{number:04}"),
        lr: folder.join(format!("{number:04}x2.png")),
        hr: folder.join(format!("{number:04}.png")),
    };
    (1..=SHAPES.len()).map(pair).collect()
}

fn run_child(folder: &Path, variable: &str, value: &str) -> ExitStatus {
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut child = Command::new(env::current_exe().unwrap());
    child.args([&format!("{module}::child"), "--exact", "--nocapture"]);
    child.env(FOLDER, folder).env(variable, value).output().unwrap().status
}

#[test]
fn packing_survives_a_kill_at_every_point() {
    let points = [
        ("pack-record:1", 1),
        ("pack-record:3", 3),
        ("pack-before-index", 4),
        ("pack-before-rename", 4),
        ("pack-after-rename", 4),
    ];
    for (point, kept) in points {
        let set = Set::new(&SHAPES);
        assert_eq!(pairs(set.folder.path()), set.pairs);
        assert_eq!(run_child(set.folder.path(), "ESR_FAULT_POINT", point).signal(), Some(9), "{point}");
        // Under its own name there is a complete file or none.
        match set.out().exists() {
            true => set.assert_holds_the_images(),
            false => assert_ne!(point, "pack-after-rename"),
        }
        assert_eq!(set.pack().unwrap().kept, kept, "{point}");
        set.assert_holds_the_images();
    }
    // The process does what it is told when it is not killed.
    let set = Set::new(&SHAPES);
    assert!(run_child(set.folder.path(), "ESR_FAULT_POINT", "none").success());
    set.assert_holds_the_images();
}

#[test]
fn a_full_disk_is_an_error_and_what_fits_is_kept() {
    // Ten pages hold two of the pairs, eleven three; the index is what does not fit last.
    for (limit_pages, kept) in [(0, 0), (1, 0), (8, 2), (10, 2), (11, 3)] {
        let set = Set::new(&SHAPES);
        let limit = (limit_pages * 4096).to_string();
        assert_eq!(run_child(set.folder.path(), LIMIT_BYTES, &limit).code(), Some(101), "{limit_pages}");
        assert!(!set.out().exists());
        assert_eq!(set.pack().unwrap().kept, kept, "{limit_pages}");
        set.assert_holds_the_images();
    }
}
