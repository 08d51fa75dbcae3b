//! Artefacts of a made-up model for tests, built so that every rule passes unless a test changes something.

use super::Artefacts;
use crate::fsio::Artefact;
use crate::graph::inspection::Inspection;
use crate::manifest::{Challenge, challenge};
use crate::measure::{
    Baseline, Conditions, Input, Machine, Measurement, MemoryScope, Protocol, RatioToBaseline, Timing,
    Validity,
};
use crate::metrics::evaluation::{Evaluation, ImageScore, MeanScore};
use crate::models::ModelIdentity;

pub(super) fn rules() -> Challenge {
    challenge(2022).unwrap()
}

pub(super) fn model() -> ModelIdentity {
    ModelIdentity {
        architecture: "imdn:blocks=7".to_owned(),
        weights_sha256: Some("c8bd64b7eebe5d95".repeat(4)),
    }
}

/// The counts of IMDN with seven blocks (the official counter's, spec of the challenge kit).
pub(super) fn inspection() -> Inspection {
    Inspection {
        schema: Inspection::SCHEMA,
        model: model(),
        scale: 4,
        input_width: 256,
        input_height: 256,
        parameters: 790_496,
        flops_ntire2022: 51_757_711_360,
        flops_fvcore: 51_669_630_976,
        activations: 136_314_880,
        convolutions: 38,
        layers: Vec::new(),
    }
}

/// An evaluation in which every image has the same PSNR.
pub(super) fn evaluation(psnr_db: f64) -> Evaluation {
    let rules = rules();
    let set = &rules.image_sets[0];
    let images: Vec<ImageScore> = set
        .names()
        .into_iter()
        .map(|name| ImageScore {
            hr_pixels_sha256: set.known_hr_pixels_sha256.get(&name).cloned().unwrap_or_default(),
            name,
            width: 2040,
            height: 1356,
            psnr_rgb_db: Some(psnr_db),
            ssim_rgb: 0.8,
            psnr_y_db: Some(psnr_db + 1.5),
            ssim_y: 0.85,
            identical: false,
        })
        .collect();
    let mean = images.iter().filter_map(|image| image.psnr_rgb_db).sum::<f64>() / images.len() as f64;
    // The sum of a hundred equal numbers rounds; the fixtures want the number asked for.
    assert!((mean - psnr_db).abs() < 1e-10);
    let mean =
        MeanScore { psnr_rgb_db: Some(psnr_db), ssim_rgb: 0.8, psnr_y_db: Some(psnr_db + 1.5), ssim_y: 0.85 };
    Evaluation {
        schema: Evaluation::SCHEMA,
        model: model(),
        computed_by: None,
        scale: 4,
        border: 4,
        images,
        mean,
    }
}

fn timing(ms: f64) -> Timing {
    Timing {
        median_ms: ms,
        mean_ms: ms,
        mean_without_first_ms: Some(ms),
        min_ms: ms,
        max_ms: ms,
        q1_ms: ms,
        q3_ms: ms,
        relative_iqr: 0.0,
        outliers: 0,
        samples_ms: vec![ms; 10],
        rejected_samples: 0,
        windows: 10,
        forwards: 10,
        warm_up_forwards: 3,
        validity: Validity::Valid,
        validity_reason: "relative IQR 0.00 % over 10 windows".to_owned(),
        notes: Vec::new(),
        peak_memory_bytes: Some(300 << 20),
        peak_memory_scope: Some(MemoryScope::WhileRunning),
        output_digest: None,
        on_device: None,
    }
}

/// A valid measurement beside IMDN with the ratio and interval given.
pub(super) fn measurement([low, median, high]: [f64; 3]) -> Measurement {
    Measurement {
        schema: Measurement::SCHEMA,
        model: model(),
        protocol: Protocol::Steady,
        procedure: "as the test says".to_owned(),
        budget_seconds: Some(60.0),
        device: "cpu".to_owned(),
        engine: "plan".to_owned(),
        precision: "f32".to_owned(),
        threads: 2,
        input: Input::Size { width: 510, height: 339 },
        timing: timing(1000.0 * median),
        baseline: Some(Baseline {
            model: ModelIdentity { architecture: "imdn:blocks=8".to_owned(), weights_sha256: None },
            timing: timing(1000.0),
        }),
        ratio_to_baseline: Some(RatioToBaseline {
            median,
            low,
            high,
            confidence: 0.978515625,
            method: "order statistics 2 and 9 of 10 per-pair ratios".to_owned(),
            pairs: 10,
            of_means: median,
            confirmation: None,
        }),
        conditions: Conditions {
            load_average_before: None,
            load_average_after: None,
            other_cpu_share: None,
            cpu_min_mhz: None,
            cpu_max_mhz: None,
        },
        gpu: None,
        machine: Machine {
            cpu_model: None,
            physical_cores: None,
            logical_cores: None,
            available_cores: None,
            cpu_flags: Vec::new(),
            caches: Vec::new(),
            memory_bytes: None,
            os: None,
            kernel: None,
            architecture: "x86_64".to_owned(),
            esr_version: "0.0.0".to_owned(),
        },
    }
}

/// Everything passes.
pub(super) fn compliant() -> Artefacts {
    Artefacts {
        inspection: Some(inspection()),
        evaluation: Some(evaluation(29.0512)),
        measurement: Some(measurement([0.87, 0.884, 0.89])),
    }
}
