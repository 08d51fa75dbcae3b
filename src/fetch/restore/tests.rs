//! Restoring from servers that are proper, that are not, and from archives that lie.

mod hostile;
mod process;
mod servers;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use ::zip::write::SimpleFileOptions;
use ::zip::{CompressionMethod, ZipWriter};

use super::*;
use crate::fetch::http::Silent;
use crate::fetch::http::tests::server::{Reply, Server, good};
use crate::fetch::http::tests::{hasty, known};
use crate::fetch::unpack::tests::archives::{Files, noise};

const ETAG: &str = "\"v1\"";

/// So many images of 20 kB, some of which compress a little.
fn images(count: usize) -> Files {
    let image = |number: usize| {
        let mut bytes = noise(20_000, number as u64);
        bytes.extend(b"stripes ".repeat(number % 5));
        (format!("SET/{number:04}.png"), bytes)
    };
    (1..=count).map(image).collect()
}

/// An archive of them, stored and deflated in turns, with its members on round positions if wanted.
fn zip_of(files: &Files, alignment: u16) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (index, (name, bytes)) in files.iter().enumerate() {
        let method = [CompressionMethod::Stored, CompressionMethod::Deflated][index % 2];
        let options = SimpleFileOptions::default().compression_method(method).with_alignment(alignment);
        zip.start_file(name.as_str(), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// An unpacked folder in which some files are bad.
struct Damaged {
    folder: tempfile::TempDir,
    files: Files,
    zip: Vec<u8>,
    expected: BTreeMap<String, Expected>,
}

impl Damaged {
    fn new(count: usize, bad: &[&str]) -> Self {
        let files = images(count);
        let zip = zip_of(&files, 1);
        // In memory where there is such a file system: restoring syncs every file.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut expected = BTreeMap::new();
        for (name, bytes) in &files {
            let name = name.trim_start_matches("SET/");
            fs::write(folder.path().join(name), bytes).unwrap();
            expected.insert(name.to_owned(), known(bytes));
        }
        let damaged = Self { folder, files, zip, expected };
        damaged.spoil(bad);
        damaged
    }

    fn spoil(&self, names: &[&str]) {
        names.iter().for_each(|name| fs::write(self.path().join(name), b"rot").unwrap());
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn lost<'a>(&'a self, names: &[&'a str]) -> Vec<Lost<'a>> {
        names.iter().map(|&name| Lost { name, expected: &self.expected[name] }).collect()
    }

    /// Restores from these URLs.
    fn restore(&self, urls: &[String], names: &[&str]) -> Result<Restored, RestoreError> {
        let archive =
            Archive { urls, bytes: Some(self.zip.len() as u64), format: Format::Zip, prefix: "SET" };
        self.restore_from(&archive, names, &Silent)
    }

    fn restore_from(
        &self,
        archive: &Archive<'_>,
        names: &[&str],
        progress: &dyn Progress,
    ) -> Result<Restored, RestoreError> {
        let downloader = Downloader::new(hasty()).unwrap();
        restore(archive, &self.lost(names), self.path(), &downloader, progress)
    }

    /// Restores from a server with this script.
    fn restore_by(
        &self,
        script: Vec<Reply>,
        names: &[&str],
    ) -> (Result<Restored, RestoreError>, Server, String) {
        let server = Server::start(script);
        let url = format!("{}/a.zip", server.url);
        (self.restore(std::slice::from_ref(&url), names), server, url)
    }

    fn good(&self) -> Reply {
        good(&self.zip, ETAG)
    }

    /// Every file is right but for these, which are as they were, and nothing else is there.
    #[track_caller]
    fn assert_right_but_for(&self, bad: &[&str]) {
        for (name, bytes) in &self.files {
            let name = name.trim_start_matches("SET/");
            let found = fs::read(self.path().join(name)).unwrap();
            let expected = if bad.contains(&name) { b"rot" } else { bytes.as_slice() };
            assert!(found == expected, "{name}");
        }
        assert_eq!(fs::read_dir(self.path()).unwrap().count(), self.files.len(), "litter");
    }
}

#[test]
fn bad_and_missing_files_come_back_and_little_else_is_transferred() {
    let names = ["0002.png", "0007.png", "0060.png"];
    let damaged = Damaged::new(100, &names);
    fs::remove_file(damaged.path().join("0007.png")).unwrap();
    let (restored, server, _) = damaged.restore_by(vec![damaged.good()], &names);
    let restored = restored.unwrap();
    damaged.assert_right_but_for(&[]);
    assert_eq!(restored.names, names);
    // The end of the archive, in which a directory of this size lies, and three members.
    let most = 65_557 + 3 * 21_000;
    assert!(
        restored.transferred_bytes <= most && server.served_bytes() < most + 2_000,
        "{}",
        server.served_bytes()
    );
    assert!(server.served_bytes() * 10 < damaged.zip.len() as u64);
    let asked = server.asked();
    assert_eq!(asked.len(), 1 + 1 + 3);
    assert_eq!((asked[0].header("range"), asked[0].header("if-range")), (Some("bytes=0-0"), None));
    assert!(asked[1..].iter().all(|asked| asked.header("if-range") == Some(ETAG)));
    // A second time nothing is asked for nothing.
    assert_eq!(damaged.restore(std::slice::from_ref(&server.url), &[]).unwrap(), Restored::default());
    assert_eq!(server.asked().len(), 5);
}

#[test]
fn archives_on_this_machine_serve_as_well() {
    let damaged = Damaged::new(9, &["0003.png", "0004.png"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let archive = elsewhere.path().join("a b.zip");
    fs::write(&archive, &damaged.zip).unwrap();
    let url = reqwest::Url::from_file_path(&archive).unwrap().to_string();
    damaged.restore(&[url], &["0003.png"]).unwrap();
    damaged.assert_right_but_for(&["0004.png"]);
    // A copy that is not there is no reason not to look at the next one.
    let urls = [format!("{}.old", archive.display()), archive.display().to_string()];
    damaged.restore(&urls, &["0004.png"]).unwrap();
    damaged.assert_right_but_for(&[]);
    let error = damaged.restore(&urls[..1], &["0004.png"]).unwrap_err();
    assert!(error.to_string().starts_with("cannot open `") && !error.problem.archive_may_help(), "{error}");
}

#[test]
fn large_directories_and_long_local_headers_are_read_where_they_are() {
    let mut damaged = Damaged::new(4, &["0001.png", "0004.png"]);
    // Empty members, whose entries make a directory longer than what is read of the end at first.
    let mut files = damaged.files.clone();
    files.extend((0..1500).map(|number| (format!("OTHER/{number:040}.txt"), Vec::new())));
    // More than the slack: what the directory does not tell is asked for when it is met.
    damaged.zip = zip_of(&files, 4096);
    let (restored, server, _) = damaged.restore_by(vec![damaged.good()], &["0004.png", "0001.png"]);
    assert_eq!(restored.unwrap().names, ["0004.png", "0001.png"]);
    damaged.assert_right_but_for(&[]);
    let asked = server.asked();
    assert!(asked.len() <= 1 + 2 + 2 * 2, "{asked:?}");
    // No byte was asked for twice.
    let mut ranges: Vec<_> = asked[1..].iter().map(|asked| asked.range(damaged.zip.len()).unwrap()).collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{ranges:?}");
}

#[test]
fn what_cannot_be_verified_or_has_no_directory_is_refused_before_anything_is_asked() {
    let damaged = Damaged::new(3, &["0001.png"]);
    let server = Server::start(vec![damaged.good()]);
    let urls = [server.url.clone()];
    let tar = Archive { urls: &urls, bytes: None, format: Format::Tar, prefix: "SET" };
    let error = damaged.restore_from(&tar, &["0001.png"], &Silent).unwrap_err();
    assert!(
        matches!(*error.problem, Problem::Format { format: Format::Tar }) && error.problem.archive_may_help()
    );
    let size_only = Expected { bytes: Some(20_000), ..Expected::default() };
    let files = [Lost { name: "0001.png", expected: &size_only }];
    let zip = Archive { format: Format::Zip, ..tar };
    let downloader = Downloader::new(hasty()).unwrap();
    let error = restore(&zip, &files, damaged.path(), &downloader, &Silent).unwrap_err();
    assert!(matches!(&*error.problem, Problem::NoHash { file } if file == "0001.png"), "{error}");
    assert!(error.to_string().starts_with("no hash of `0001.png` is known, and the check sums"), "{error}");
    let nowhere = Archive { urls: &[], ..zip };
    let error = damaged.restore_from(&nowhere, &["0001.png"], &Silent).unwrap_err();
    assert!(matches!(*error.problem, Problem::Download(DownloadError::NoUrl { .. })), "{error}");
    assert!(server.asked().is_empty());
    damaged.assert_right_but_for(&["0001.png"]);
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let damaged = Damaged::new(3, &[]);
    fs::remove_file(damaged.path().join("0002.png")).unwrap();
    fs::create_dir(damaged.path().join("0002.png")).unwrap();
    let server = Server::start(vec![damaged.good()]);
    let error = damaged.restore(std::slice::from_ref(&server.url), &["0002.png", "0003.png"]).unwrap_err();
    assert!(matches!(*error.problem, Problem::File(_)) && !error.problem.archive_may_help(), "{error}");
    assert!(error.to_string().contains("0002.png"), "{error}");
    assert_eq!(fs::read_dir(damaged.path()).unwrap().count(), 3, "litter");
}
