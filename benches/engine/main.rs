//! The engine as a contender beside other programs, and the time of one training step.
//!
//! `contender` speaks the line protocol that `benches/peers/README.md` describes, so that `benches/peers/compare.py` can let it take turns with
//! peers; `weights` writes initial weights that everybody starts from; `step` prints the time of one training step as one JSON line.
#![expect(clippy::print_stdout, reason = "standard output is the protocol")]

mod npy;
mod protocol;
mod step;
mod work;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use esr::cli::common::prepare_process;
use esr::models::{self, Model};
use esr::train::untrained;

use work::{Infer, Train, Work};

#[derive(Parser)]
#[command(name = "engine", about = "The engine beside its peers")]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
    /// What cargo adds for the harness of `cargo bench`; it means nothing here.
    #[arg(long, global = true, hide = true)]
    bench: bool,
}

#[derive(clap::Subcommand)]
enum Mode {
    /// Prepare one work, then do it once for each line `go` of standard input
    Contender {
        /// The kind of work
        #[arg(long, value_enum)]
        work: WorkKind,
        /// A weights file or an architecture
        #[arg(long, value_name = "MODEL")]
        model: String,
        /// LR images in 0..=1, N×3×H×W: a .npy file of f32
        #[arg(long, value_name = "FILE")]
        input: PathBuf,
        /// HR images for `train`: a .npy file of f32
        #[arg(long, value_name = "FILE", required_if_eq("work", "train"))]
        target: Option<PathBuf>,
        /// Threads to compute with
        #[arg(long, default_value_t = step::THREADS)]
        threads: usize,
    },
    /// Write weights that nobody trained
    Weights {
        /// The architecture
        #[arg(long, value_name = "MODEL")]
        model: String,
        /// The .safetensors file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print the time of one training step as one JSON line
    Step,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum WorkKind {
    /// One forward pass
    Infer,
    /// One training step: forward, L1 loss, backward, Adam
    Train,
}

fn set_threads(threads: usize) -> Result<(), rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()
}

fn main() -> Result<(), Box<dyn Error>> {
    prepare_process();
    match Cli::parse().mode {
        Mode::Contender { work, model, input, target, threads } => {
            set_threads(threads)?;
            let model = untrained(Model::load(&model)?);
            let input = npy::read(&input)?;
            let work: Box<dyn Work> = match (work, target) {
                (WorkKind::Train, Some(target)) => Box::new(Train::new(&model, input, npy::read(&target)?)?),
                _ => Box::new(Infer::new(&model, input)?),
            };
            protocol::serve(work, threads)
        }
        Mode::Weights { model, out } => {
            let model = untrained(Model::load(&model)?);
            models::save(&out, &model.architecture, model.weights()?)?;
            Ok(())
        }
        Mode::Step => {
            set_threads(step::THREADS)?;
            println!("{}", step::time()?);
            Ok(())
        }
    }
}
