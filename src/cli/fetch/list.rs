//! `esr fetch --list`: what there is, what of it is here, and what the rest would take.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::DecimalBytes;

use crate::cli::error::CliError;
use crate::cli::output;
use crate::fetch::rate::Rate;
use crate::fetch::store::{self, State, Store};
use crate::manifest::datasets::{Archive, Dataset, Datasets};

/// A line of 100 Mbit/s with nobody else on it: assumed until something was downloaded here.
const ASSUMED_BYTES_PER_S: u64 = 12_500_000;

pub(super) fn show(list: &Datasets, datasets: &[&Dataset], store: &Store) -> Result<(), CliError> {
    let width = datasets.iter().map(|dataset| dataset.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    let mut missing = Missing::default();
    for dataset in datasets {
        let folder = store.folder(&dataset.folder)?;
        let state = store::state(&folder)?;
        let words = match state {
            State::Absent => "missing",
            State::Incomplete { .. } => "incomplete",
            State::Foreign if !folder.exists() => "link to nothing",
            State::Foreign => "here, of others",
            State::Complete(_) => "here",
        };
        let archive = dataset.sources.first().and_then(|source| source.archive());
        if matches!(state, State::Absent | State::Incomplete { .. }) {
            missing.add(dataset, archive.map(AsRef::as_ref));
        }
        let size = match archive {
            Some(archive) => {
                let shared = list.contents(&archive.file).count() > 1;
                let size = archive.size_hint_bytes();
                let size =
                    size.map_or_else(|| "size unknown".to_owned(), |bytes| DecimalBytes(bytes).to_string());
                format!("{size}{}", if shared { format!(" ({})", archive.file) } else { String::new() })
            }
            None => format!("{} files", dataset.members.count()),
        };
        text.push_str(&format!(
            "{:width$}  {words:15}  {size}\n{:width$}  {}; {}\n",
            dataset.name, "", dataset.title, dataset.terms.summary
        ));
    }
    text.push_str("\ngroups\n");
    for group in list.groups() {
        text.push_str(&format!("  {}: {} ({})\n", group.name, group.summary, group.datasets.join(", ")));
    }
    text.push_str(&missing.describe(Rate::read(store.root())));
    Ok(output::result(&text)?)
}

/// What is not here.
#[derive(Default)]
struct Missing {
    /// Archives by name, with their sizes as far as those are known.
    archives: BTreeMap<String, Option<u64>>,
    /// Files outside archives, and their known sizes together.
    files: usize,
    file_bytes: u64,
}

impl Missing {
    fn add(&mut self, dataset: &Dataset, archive: Option<&Archive>) {
        match archive {
            Some(archive) => {
                self.archives.insert(archive.file.clone(), archive.size_hint_bytes());
            }
            None => {
                self.files += dataset.members.count();
                self.file_bytes += dataset.known.iter().filter_map(|facts| facts.bytes).sum::<u64>();
            }
        }
    }

    fn describe(&self, rate: Option<Rate>) -> String {
        if self.archives.is_empty() && self.files == 0 {
            return "\neverything is here\n".to_owned();
        }
        let bytes = self.archives.values().flatten().sum::<u64>() + self.file_bytes;
        let unknown = self.archives.values().filter(|bytes| bytes.is_none()).count();
        let (time, speed, why) = match rate {
            Some(rate) => (rate.time_for(bytes), rate.bytes_per_s(), "as the last downloads here"),
            None => {
                let time = Duration::from_secs(bytes / ASSUMED_BYTES_PER_S);
                (time, ASSUMED_BYTES_PER_S, "assumed, nothing was downloaded here yet")
            }
        };
        let archives = match self.archives.len() {
            1 => "1 archive".to_owned(),
            count => format!("{count} archives"),
        };
        let files = if self.files > 0 { format!(" and {} files", self.files) } else { String::new() };
        let unknown = match unknown {
            0 => String::new(),
            count => format!(", beside {count} of unknown size"),
        };
        format!(
            "\nmissing: {archives}{files}, {}{unknown}: about {} at {}/s ({why}), and as much room again to unpack\n",
            DecimalBytes(bytes),
            in_words(time),
            DecimalBytes(speed),
        )
    }
}

/// A time as people say it, rounded up to what matters.
fn in_words(time: Duration) -> String {
    let minutes = time.as_secs().div_ceil(60);
    match (minutes / 60, minutes % 60) {
        (0, 0 | 1) => "a minute".to_owned(),
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up() {
        let words: Vec<String> =
            [0, 59, 61, 3599, 3661].into_iter().map(|s| in_words(Duration::from_secs(s))).collect();
        assert_eq!(words, ["a minute", "a minute", "2 min", "1 h 0 min", "1 h 2 min"]);
    }

    #[test]
    fn an_archive_of_several_datasets_counts_once() {
        let list = Datasets::built_in().unwrap();
        let mut missing = Missing::default();
        for name in ["set5-hr", "set14-hr", "div2k-valid-lr-x4"] {
            let dataset = list.dataset(name).unwrap();
            missing.add(dataset, dataset.sources[0].archive().map(AsRef::as_ref));
        }
        let text = missing.describe(None);
        // 250,112,000 and 31,505,881 bytes at 12.5 MB/s are 22.5 s.
        assert_eq!(
            text,
            "\nmissing: 2 archives, 281.62 MB: about a minute at 12.50 MB/s (assumed, nothing was downloaded here yet), and as much room again to unpack\n"
        );
        assert_eq!(Missing::default().describe(None), "\neverything is here\n");
    }
}
