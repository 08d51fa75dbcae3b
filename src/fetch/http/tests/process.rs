//! Fetching in a process of its own, because environments belong to processes: certificates, proxies.

use std::path::Path;
use std::process::{Command, Output};

use super::*;

pub(super) const SIZE: usize = 50_000;

/// What begins the line that says how it ended.
const ENDED: &str = "fetch ended: ";

/// Not a test by itself: what the other process does, when the environment says so.
#[test]
fn child() {
    let (Ok(urls), Ok(target)) = (std::env::var("FETCH_TEST_URLS"), std::env::var("FETCH_TEST_TO")) else {
        return;
    };
    let urls: Vec<String> = urls.lines().map(ToOwned::to_owned).collect();
    let size = std::env::var("FETCH_TEST_SIZE").map_or(SIZE, |size| size.parse().unwrap());
    let expected = match std::env::var_os("FETCH_TEST_NO_HASH") {
        Some(_) => Expected { bytes: Some(size as u64), ..Expected::default() },
        None => known(&body(size)),
    };
    let options = Options { limit_bytes: 10_000_000, ..hasty() };
    let request = Request { urls: &urls, target: Path::new(&target), expected: &expected };
    let told = match Downloader::new(options).unwrap().fetch(&request, &Silent) {
        Ok(fetched) => format!("from {}", fetched.url),
        Err(error) => error.to_string().replace('\n', " "),
    };
    println!("\n{ENDED}{told}");
}

/// Fetches in a process with these variables and no other proxies; what it says in the end.
#[track_caller]
pub(super) fn fetch(urls: &[&str], target: &Path, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    prepare(&mut command, urls, target);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let ended = ends(&output);
    ended.first().unwrap_or_else(|| panic!("{output:?}")).clone()
}

/// Adds what the test program needs to be the other process.
pub(super) fn prepare(command: &mut Command, urls: &[&str], target: &Path) {
    let (_, module) = module_path!().split_once("::").unwrap();
    command.args([&format!("{module}::child"), "--exact", "--nocapture"]);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command.env("FETCH_TEST_URLS", urls.join("\n")).env("FETCH_TEST_TO", target);
}

/// What it said in the end, each time it ran.
pub(super) fn ends(output: &Output) -> Vec<String> {
    let told = String::from_utf8_lossy(&output.stdout);
    told.lines().filter_map(|line| line.strip_prefix(ENDED)).map(ToOwned::to_owned).collect()
}

/// A folder with nothing in it, or with the right file alone.
#[track_caller]
pub(super) fn assert_holds(folder: &Path, file: Option<&str>) {
    let found: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(found, file.iter().map(std::ffi::OsString::from).collect::<Vec<_>>());
    if let Some(file) = file {
        assert!(fs::read(folder.join(file)).unwrap() == body(SIZE), "wrong file");
    }
}
