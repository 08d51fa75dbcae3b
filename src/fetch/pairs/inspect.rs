//! The comparison of two folders.

use std::fs;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;

use rayon::prelude::*;

use super::{BorderRule, Comparison, Error, Finding, Problem, Sampled};
use crate::dataset::{self, LoadedPair, Pair, load_pair, pair_folders};
use crate::imaging::{self, Border, HEADER_BYTES, downscale};

/// Which pairs have their pixels compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// So many, spread evenly from the first to the last in order of names, always the same ones; all of them if there are not as many.
    Spread(NonZeroUsize),
    /// Every pair.
    All,
}

/// Five pairs: one image is enough to tell the rules apart, and five show that a set follows one.
impl Default for Sample {
    fn default() -> Self {
        Self::Spread(NonZeroUsize::MIN.saturating_add(4))
    }
}

impl Sample {
    /// Indices into `count` pairs, ascending, none twice.
    pub(super) fn indices(self, count: usize) -> Vec<usize> {
        let wanted = match self {
            Self::Spread(wanted) => wanted.get().min(count),
            Self::All => count,
        };
        let index = |number: usize| match wanted {
            0 | 1 => 0,
            // Rounded down, and the last is exactly the last; u128, because counts of both sides may be anything.
            _ => (number as u128 * (count - 1) as u128 / (wanted - 1) as u128) as usize,
        };
        (0..wanted).map(index).collect()
    }
}

/// What two folders should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// HR pixels to an LR pixel, on each side: 2, 3 or 4.
    pub scale: usize,
    /// Which pairs have their pixels compared.
    pub sample: Sample,
    /// Whether the LR set is published as the bicubic shrink of the HR set: then a sampled LR image that no border rule gives is an error, otherwise it is
    /// only stated.
    pub is_bicubic: bool,
}

/// The caller wants to stop.
struct Stop;

/// Compares two folders. `watch` is told after each pair of headers (which count as 64 bytes each) and after each pair of the sample how many bytes
/// were read; it may be called from several threads at once, and stops everything by breaking. Pairs are worked on by the current rayon pool; one of
/// 2K images needs some 40 MB at a time.
///
/// # Errors
/// [`Error::Unsound`] when files have no partner, have the wrong size, cannot be decoded (of those outside the sample only the headers are read), or
/// are not bicubic though they should be; [`Error::Folder`], [`Error::Scale`] and [`Error::Stopped`].
pub fn inspect(
    lr_dir: &Path,
    hr_dir: &Path,
    wanted: Wanted,
    watch: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
) -> Result<Finding, Error> {
    let Wanted { scale, sample, is_bicubic } = wanted;
    let unsound = |problems| Error::Unsound {
        lr_dir: lr_dir.to_path_buf(),
        hr_dir: hr_dir.to_path_buf(),
        scale,
        problems,
    };
    let stopped = |Stop| Error::Stopped { lr_dir: lr_dir.to_path_buf(), hr_dir: hr_dir.to_path_buf() };

    let pairs = match pair_folders(lr_dir, hr_dir, scale) {
        Ok(list) => list.pairs,
        Err(dataset::Error::Unpaired { problems, .. }) => {
            return Err(unsound(problems.into_iter().map(Problem::Unpaired).collect()));
        }
        Err(other) => return Err(other.into()),
    };

    let sizes: Result<Vec<Option<Problem>>, Stop> = pairs
        .par_iter()
        .map(|pair| {
            let problem = check_size(pair, scale).err().map(Problem::Image);
            go_on(watch, 2 * HEADER_BYTES).map(|()| problem)
        })
        .collect();
    let problems: Vec<Problem> = sizes.map_err(stopped)?.into_iter().flatten().collect();
    if !problems.is_empty() {
        return Err(unsound(problems));
    }

    let chosen: Vec<&Pair> = sample.indices(pairs.len()).into_iter().filter_map(|at| pairs.get(at)).collect();
    let compared: Result<Vec<Result<Sampled, dataset::Error>>, Stop> = chosen
        .par_iter()
        .map(|pair| {
            let compared = compare(pair, scale);
            go_on(watch, bytes_of(pair)).map(|()| compared)
        })
        .collect();
    let (mut sampled, mut problems) = (Vec::with_capacity(chosen.len()), Vec::new());
    for (compared, pair) in compared.map_err(stopped)?.into_iter().zip(chosen) {
        match compared {
            Ok(one) => {
                if let (true, Some((difference, _))) = (is_bicubic, one.closest()) {
                    let (lr, hr, difference) = (pair.lr.clone(), pair.hr.clone(), difference.clone());
                    problems.push(Problem::NotBicubic { lr, hr, difference });
                }
                sampled.push(one);
            }
            Err(dataset::Error::Image(error @ imaging::Error::Scale { .. })) => {
                return Err(Error::Scale(error));
            }
            Err(error) => problems.push(error.into()),
        }
    }
    if !problems.is_empty() {
        return Err(unsound(problems));
    }
    Ok(Finding { pairs: pairs.len(), scale, border: BorderRule::settle(&sampled), sampled })
}

fn go_on(watch: &(dyn Fn(u64) -> ControlFlow<()> + Sync), bytes: u64) -> Result<(), Stop> {
    if watch(bytes).is_break() { Err(Stop) } else { Ok(()) }
}

/// Whether the LR image has the size of the HR image shrunk, by their headers.
fn check_size(pair: &Pair, scale: usize) -> Result<(), dataset::Error> {
    let (lr_size, hr_size) = (imaging::dimensions(&pair.lr)?, imaging::dimensions(&pair.hr)?);
    // Cutting the HR image to a multiple of the scale is to round the quotient down.
    let shrunk = (hr_size.0.checked_div(scale), hr_size.1.checked_div(scale));
    if shrunk == (Some(lr_size.0), Some(lr_size.1)) {
        return Ok(());
    }
    Err(dataset::Error::PairSize { lr: pair.lr.clone(), hr: pair.hr.clone(), lr_size, hr_size, scale })
}

fn compare(pair: &Pair, scale: usize) -> Result<Sampled, dataset::Error> {
    let LoadedPair { name, lr, hr } = load_pair(pair, scale)?;
    let against = |border| Ok::<_, dataset::Error>(Comparison::of(&lr, &downscale(&hr, scale, border)?));
    Ok(Sampled { name, mirror: against(Border::Mirror)?, clamp: against(Border::Clamp)? })
}

/// Bytes of the two files, for the progress alone.
fn bytes_of(pair: &Pair) -> u64 {
    [&pair.lr, &pair.hr].into_iter().filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum()
}
