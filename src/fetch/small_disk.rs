//! A real file system without room, for tests: memory of a fixed size, mounted where only the tested process sees it.

use std::path::Path;
use std::process::{Command, Output};

/// Mounts so much at a folder, runs the program, makes the file system larger and runs the program again; then lists the hashes of its files.
const SCRIPT: &str = r#"
folder=$1 small=$2 large=$3
shift 3
mount -t tmpfs -o "size=$small" none "$folder" || exit 97
"$@"
mount -o "remount,size=$large" none "$folder" || exit 98
"$@"
find "$folder" -type f -exec sha256sum {} +
"#;

/// What a program says that runs twice with `folder` on a file system of its own: first of `small` bytes, then, with what it left, of `large`
/// bytes. `None`, and a word on standard error, where the system lets nobody mount.
pub(crate) fn run_twice(
    folder: &Path,
    (small, large): (u64, u64),
    program: &Path,
    change: impl FnOnce(&mut Command),
) -> Option<Output> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
        command
    };
    let allowed = unshare().args(["mount -t tmpfs -o size=4k none \"$1\"", "sh"]).arg(folder).output();
    match allowed {
        Ok(output) if output.status.success() => {}
        refused => {
            eprintln!("skipped: needs to mount a small file system, which this system refuses: {refused:?}");
            return None;
        }
    }
    let mut command = unshare();
    command.args([SCRIPT, "sh"]).arg(folder).args([small.to_string(), large.to_string()]).arg(program);
    change(&mut command);
    Some(command.output().unwrap())
}
