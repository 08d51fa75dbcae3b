//! `esr upscale`: images in, larger images out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::common::{ComputeArgs, MemorySize, note, progress_bar};
use super::evaluate::upscaler;
use super::{CliError, output};
use crate::models::Model;
use crate::overlap::overlapped;
use crate::{dataset, imaging};

/// Arguments of `esr upscale`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A .pth, .pt or .safetensors file, or bicubic
    #[arg(long, value_name = "MODEL")]
    pub model: String,
    /// Folder for the SR images, named by the input's stem without `x4`
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// LR images (PNG or BMP), or folders of them
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// Memory for the model's values, e.g. 512M: larger images are computed in parts, with the same result [default: 1G, and more only where parts cannot do with that]
    #[arg(long, value_name = "SIZE")]
    pub memory_limit: Option<MemorySize>,
    /// Where and how to compute.
    #[command(flatten)]
    pub compute: ComputeArgs,
}

/// Runs it.
pub fn run(args: Args) -> Result<(), CliError> {
    let compute = args.compute.checked()?;
    let model = Model::load(&args.model)?;
    let upscaler = upscaler(&model, &compute.backend, args.memory_limit)?;
    let mut outputs: BTreeMap<String, PathBuf> = BTreeMap::new();
    for input in &args.inputs {
        let images = match input.is_dir() {
            true => {
                let list = dataset::list_images(input)?;
                for path in &list.ignored {
                    note(&format!("note: `{}` is no image by its name and is left out", path.display()));
                }
                list.images
            }
            false => vec![input.clone()],
        };
        for image in images {
            let stem = dataset::lr_stem(&image, upscaler.scale())?;
            if let Some(other) = outputs.insert(stem.clone(), image.clone()) {
                return Err(CliError::usage(format!(
                    "`{}` and `{}` would both be written to `{stem}.png`: upscale them into different folders",
                    other.display(),
                    image.display()
                )));
            }
        }
    }
    let bar = progress_bar(outputs.len() as u64, "images");
    let outputs: Vec<(PathBuf, PathBuf)> =
        outputs.into_iter().map(|(stem, path)| (path, args.out.join(format!("{stem}.png")))).collect();
    overlapped(
        outputs.len(),
        |index| Ok(imaging::decode_file(&outputs[index].0)?),
        |index, decoded| {
            let sr = upscaler.upscale(&decoded.image).map_err(|error| {
                CliError::from(error).context(format!("cannot upscale `{}`", outputs[index].0.display()))
            })?;
            Ok((sr, decoded.was_grey))
        },
        |index, (sr, was_grey)| {
            imaging::write_png(&outputs[index].1, &sr)?;
            Ok(was_grey)
        },
        |index, was_grey| {
            let (path, target) = &outputs[index];
            if was_grey {
                note(&format!("note: `{}` is grey and is replicated to RGB", path.display()));
            }
            bar.inc(1);
            Ok::<_, CliError>(output::result(&target.display().to_string())?)
        },
    )?;
    bar.finish_and_clear();
    Ok(())
}
