//! `esr collapse`: the folded model, with proof.

use std::path::PathBuf;

use super::common::MachineArgs;
use super::{CliError, ExitCode, output};
use crate::dataset::{self, demo};
use crate::engine::equivalence::{CollapseProof, collapse_with_proof};
use crate::imaging::{self, RgbImage};
use crate::models::{self, Model};

/// Arguments of `esr collapse`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The expanded model's weights
    pub model: String,
    /// Where to write the collapsed model (.safetensors)
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Folder of real LR images to compare both forms on [default: one generated picture]
    #[arg(long, value_name = "DIR")]
    pub lr: Option<PathBuf>,
    /// Where and how to compute; the proof is the reference engine's, the oracle.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub fn run(args: Args) -> Result<(), CliError> {
    args.machine.checked("the proof of a collapse")?;
    let model = Model::load(&args.model)?;
    let real = match &args.lr {
        Some(folder) => {
            let list = dataset::list_images(folder)?;
            let decoded = list.images.iter().map(|path| Ok(imaging::decode_file(path)?.image));
            decoded.collect::<Result<Vec<RgbImage>, CliError>>()?
        }
        None => vec![demo::lr_image(demo::Split::Valid, 0)?],
    };
    let collapsed = collapse_with_proof(&model, &real)?;
    let proof = &collapsed.proof;
    if proof.equal {
        models::save(&args.out, &collapsed.architecture, &collapsed.weights)?;
    }
    match args.json {
        true => output::json(proof)?,
        false => output::result(&render(proof, &args))?,
    }
    match proof.equal {
        true => Ok(()),
        false => Err(CliError::new(
            ExitCode::Internal,
            anyhow::anyhow!(
                "the collapsed model differs from the expanded one by more than rounding; nothing was written"
            ),
        )),
    }
}

fn render(proof: &CollapseProof, args: &Args) -> String {
    let maybe = |value: Option<f64>| {
        value.map_or("not measured (no images given)".into(), |value| format!("{value:.3e}"))
    };
    format!(
        "{} ({} parameters)\n-> {} ({} parameters)\n\nlargest absolute difference, white = 1\n  random images  f32 {:.3e}  f64 {:.3e}\n  \
         {} real image(s)  f32 {}  f64 {}\n  tolerated      f32 {:.0e}      f64 {:.0e}\n{}",
        proof.expanded,
        proof.parameters_expanded,
        proof.collapsed,
        proof.parameters_collapsed,
        proof.random_f32,
        proof.random_f64,
        proof.real_images,
        maybe(proof.real_f32),
        maybe(proof.real_f64),
        proof.tolerance_f32,
        proof.tolerance_f64,
        match proof.equal {
            true => format!("equal; written to {}", args.out.display()),
            false => "NOT equal; nothing written".into(),
        }
    )
}
