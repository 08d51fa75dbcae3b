//! `esr inspect`: the cost of a model as exact integers.

use std::fmt::Write;

use super::common::Size;
use super::{CliError, output};
use crate::graph::inspect;
use crate::graph::inspection::Inspection;
use crate::models::Model;
use crate::text::thousands;

/// Arguments of `esr inspect`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A .pth, .pt or .safetensors file, an architecture such as imdn:blocks=7,branches=1x1, or bicubic
    pub model: String,
    /// LR image size in pixels that the counts are for; the challenge uses the default
    #[arg(long, value_name = "WxH", default_value = "256x256")]
    pub size: Size,
    /// Also print the graph, one operation a line
    #[arg(long, conflicts_with = "json")]
    pub graph: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub fn run(args: Args) -> Result<(), CliError> {
    let model = Model::load(&args.model)?;
    let inspection = inspect(&model.graph, model.identity.clone(), args.size.width, args.size.height)?;
    if args.json {
        return Ok(output::json(&inspection)?);
    }
    let mut text = render(&inspection, &model.notes);
    if args.graph {
        let _ = write!(text, "\n{}", model.graph);
    }
    Ok(output::result(&text)?)
}

fn render(inspection: &Inspection, notes: &[String]) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}  x{}", inspection.model.architecture, inspection.scale);
    if let Some(hash) = &inspection.model.weights_sha256 {
        let _ = writeln!(text, "weights sha256 {hash}");
    }
    for note in notes {
        let _ = writeln!(text, "note: {note}");
    }
    let _ = writeln!(
        text,
        "counted for one LR image of {}x{} pixels\n",
        inspection.input_width, inspection.input_height
    );
    let width = inspection.layers.iter().map(|layer| layer.name.len()).max().unwrap_or(0).max("layer".len());
    let _ = writeln!(
        text,
        "{:width$}  {:16}  {:>16}  {:>10}  {:>14}  {:>14}  {:>11}",
        "layer", "op", "output", "parameters", "FLOPs 2022", "FLOPs fvcore", "activations"
    );
    for layer in &inspection.layers {
        let [c, h, w] = layer.output_chw;
        let _ = writeln!(
            text,
            "{:width$}  {:16}  {:>16}  {:>10}  {:>14}  {:>14}  {:>11}",
            layer.name,
            layer.op,
            format!("{c}x{h}x{w}"),
            layer.parameters,
            layer.flops_ntire2022,
            layer.flops_fvcore,
            layer.activations
        );
    }
    let mega = |value: u64| value as f64 / 1e6;
    let giga = |value: u64| value as f64 / 1e9;
    let _ = writeln!(text);
    for (label, value, rounded) in [
        ("parameters", inspection.parameters, format!("{:.3} M", mega(inspection.parameters))),
        (
            "FLOPs, counter of 2020-2023",
            inspection.flops_ntire2022,
            format!("{:.2} G", giga(inspection.flops_ntire2022)),
        ),
        (
            "FLOPs, fvcore (2024 on)",
            inspection.flops_fvcore,
            format!("{:.2} G", giga(inspection.flops_fvcore)),
        ),
        ("activations", inspection.activations, format!("{:.2} M", mega(inspection.activations))),
        ("convolutions", inspection.convolutions, String::new()),
    ] {
        let line = format!("{label:28}  {:>15}  {rounded}", thousands(value));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
