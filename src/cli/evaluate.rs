//! `esr evaluate`: quality of a model on image pairs.

use std::fmt::Write;
use std::path::PathBuf;

use super::common::{ComputeArgs, MemorySize, note, progress_bar};
use super::{CliError, output};
use crate::dataset;
use crate::engine::upscaler::Upscaler;
use crate::engine::{Backend, Engine};
use crate::evaluate::evaluate;
use crate::metrics::Evaluation;
use crate::models::Model;

/// Arguments of `esr evaluate`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A .pth, .pt or .safetensors file, or bicubic
    #[arg(long, value_name = "MODEL")]
    pub model: String,
    /// Folder of LR images (PNG or BMP)
    #[arg(long, value_name = "DIR")]
    pub lr: PathBuf,
    /// Folder of HR images; paired with the LR images by the datasets' naming rules
    #[arg(long, value_name = "DIR")]
    pub hr: PathBuf,
    /// Also save the SR images there, as PNG
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// Memory for the model's values, e.g. 512M: larger images are computed in parts, with the same result [default: 1G, and more only where parts cannot do with that]
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<MemorySize>,
    /// Where and how to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub fn run(args: Args) -> Result<(), CliError> {
    let compute = args.compute.checked()?;
    let model = Model::load(&args.model)?;
    let upscaler = upscaler(&model, &compute.backend, args.memory_limit)?;
    let list = dataset::pair_folders(&args.lr, &args.hr, upscaler.scale())?;
    for path in &list.ignored {
        note(&format!("note: `{}` is no image by its name and is left out", path.display()));
    }
    let bar = progress_bar(list.pairs.len() as u64, "images");
    let evaluated =
        evaluate(model.identity.clone(), &upscaler, &list.pairs, args.save.as_deref(), &mut |name| {
            bar.set_message(name.to_owned());
            bar.inc(1);
        })?;
    bar.finish_and_clear();
    if !evaluated.grey.is_empty() {
        note(&format!(
            "note: {} grey image(s) replicated to RGB, as the official reader does: {}",
            evaluated.grey.len(),
            evaluated.grey.join(", ")
        ));
    }
    match args.json {
        true => output::json(&evaluated.evaluation)?,
        false => output::result(&render(&evaluated.evaluation))?,
    }
    Ok(())
}

/// A loaded model ready to upscale; what was remarkable about its file is said.
pub(super) fn upscaler(
    model: &Model,
    backend: &Backend,
    limit: Option<MemorySize>,
) -> Result<Upscaler, CliError> {
    if limit.is_some() && !matches!(backend, Backend::Cpu(Engine::Plan)) {
        return Err(CliError::usage(
            "--memory-limit needs --engine plan on the CPU: the reference engine and GPUs compute whole images only",
        ));
    }
    for text in &model.notes {
        note(&format!("note: {text}"));
    }
    Ok(Upscaler::of_model(model, backend.clone())?.with_memory_limit(limit.map(|limit| limit.bytes)))
}

fn render(evaluation: &Evaluation) -> String {
    let db = |value: Option<f64>| value.map_or("identical".to_owned(), |value| format!("{value:.4}"));
    let width = evaluation.images.iter().map(|image| image.name.len()).max().unwrap_or(0).max("image".len());
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{}  x{}, border {} px{}",
        evaluation.model.architecture,
        evaluation.scale,
        evaluation.border,
        evaluation.computed_by.as_ref().map(|computed| format!("  {computed}")).unwrap_or_default()
    );
    let _ = writeln!(
        text,
        "{:width$}  {:>11}  {:>13}  {:>8}  {:>11}  {:>8}",
        "image", "size", "PSNR RGB [dB]", "SSIM RGB", "PSNR Y [dB]", "SSIM Y"
    );
    for image in &evaluation.images {
        let _ = writeln!(
            text,
            "{:width$}  {:>11}  {:>13}  {:>8.6}  {:>11}  {:>8.6}",
            image.name,
            format!("{}x{}", image.width, image.height),
            db(image.psnr_rgb_db),
            image.ssim_rgb,
            db(image.psnr_y_db),
            image.ssim_y
        );
    }
    let mean = &evaluation.mean;
    let infinite = |value: Option<f64>| value.map_or("infinite".to_owned(), |value| format!("{value:.4}"));
    let _ = writeln!(
        text,
        "{:width$}  {:>11}  {:>13}  {:>8.6}  {:>11}  {:>8.6}",
        "mean",
        format!("{} images", evaluation.images.len()),
        infinite(mean.psnr_rgb_db),
        mean.ssim_rgb,
        infinite(mean.psnr_y_db),
        mean.ssim_y
    );
    text
}
