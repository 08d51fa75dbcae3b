//! Times what users wait for, and prints one JSON line each: `{"what", "median_ms", "min_ms", "relative_iqr", "n"}`.
//!
//! Run by `make bench`. Numbers hold for the machine they were taken on and only while nothing else runs on it; the first line describes it.
#![expect(clippy::print_stdout, reason = "printing is what a benchmark is for")]

use std::error::Error;
use std::time::{Duration, Instant};

use esr::array::Array;
use esr::dataset::demo::{Split, generate};
use esr::engine::Engine;
use esr::engine::upscaler::Upscaler;
use esr::imaging::{Border, downscale, encode_png};
use esr::measure::{Machine, Summary};
use esr::metrics;
use esr::models::Architecture;
use esr::train::{Adam, AdamSettings, Batch, Flat, Stepper, TrainOn, kaiming_uniform};

/// Each path is repeated for at least this long and this often.
const AT_LEAST: Duration = Duration::from_secs(3);
const REPEATS: usize = 7;

fn time(what: &str, mut run: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    run()?;
    let (start, mut samples_ms) = (Instant::now(), Vec::new());
    while samples_ms.len() < REPEATS || start.elapsed() < AT_LEAST {
        let before = Instant::now();
        run()?;
        samples_ms.push(before.elapsed().as_secs_f64() * 1000.0);
    }
    let summary = Summary::of(&samples_ms).ok_or("no samples")?;
    let line = serde_json::json!({
        "what": what,
        "median_ms": summary.median,
        "min_ms": summary.min,
        "relative_iqr": summary.relative_iqr,
        "n": samples_ms.len(),
    });
    println!("{line}");
    Ok(())
}

fn step(engine: Engine, architecture: &str, batch: usize, patch: usize) -> Result<(), Box<dyn Error>> {
    let graph = architecture.parse::<Architecture>()?.graph()?;
    let mut stepper = Stepper::new(engine, &graph, TrainOn::Folded)?;
    let mut weights = Flat::of(&kaiming_uniform(&graph, 1));
    let mut adam = Adam::new(AdamSettings::default(), &weights);
    let batch = Batch {
        lr: Array::filled([batch, 3, patch, patch], 0.5),
        hr: Array::filled([batch, 3, 4 * patch, 4 * patch], 0.25),
        padded_patches: 0,
    };
    let (engine, shape) = (engine.name(), batch.lr.shape().to_vec());
    time(&format!("training step, {engine} engine, folded: {architecture} on {shape:?}"), || {
        stepper.step(&mut weights, &mut adam, &batch, 1e-6)?;
        Ok(())
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    esr::cli::common::prepare_process();
    println!("{}", serde_json::to_string(&Machine::detect())?);
    let hr = generate(Split::Valid, 0);
    let lr = downscale(&hr, 4, Border::Mirror)?;
    time("generate one demo image, 480x336", || {
        std::hint::black_box(generate(Split::Train, 0));
        Ok(())
    })?;
    time("imresize x1/4, 480x336", || {
        std::hint::black_box(downscale(&hr, 4, Border::Mirror)?);
        Ok(())
    })?;
    time("PSNR and SSIM, RGB and Y, 480x336", || {
        std::hint::black_box(metrics::score(&hr, &hr, 4)?);
        Ok(())
    })?;
    time("encode PNG, 480x336", || {
        std::hint::black_box(encode_png(&hr));
        Ok(())
    })?;
    for architecture in ["imdn:blocks=2,channels=16,distilled=4", "imdn:blocks=7"] {
        let graph = architecture.parse::<Architecture>()?.graph()?;
        for engine in [Engine::Plan, Engine::Reference] {
            let upscaler = Upscaler::new(&graph, &kaiming_uniform(&graph, 1), engine)?;
            let (width, height, engine) = (lr.width(), lr.height(), engine.name());
            time(&format!("upscale {width}x{height}, {engine} engine: {architecture}"), || {
                std::hint::black_box(upscaler.upscale(&lr)?);
                Ok(())
            })?;
        }
    }
    for engine in [Engine::Plan, Engine::Reference] {
        step(engine, "imdn:blocks=2,channels=16,distilled=4,branches=1x1", 16, 24)?;
        step(engine, "imdn:blocks=7,branches=1x1", 4, 64)?;
    }
    Ok(())
}
