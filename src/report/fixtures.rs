//! Constructed evidence and reports for the tests of this module.

use super::claims::{Evidence, RuntimeRatio};
use super::document::Report;
use super::inputs::*;
use crate::graph::inspection::Inspection;
use crate::manifest::paper::Paper;
use crate::metrics::evaluation::{Evaluation, ImageScore, MeanScore};
use crate::models::ModelIdentity;

/// The counts of IMDN by the formulas of the official counter, worked out by hand: they print 893,936 parameters and
/// 58,531,512,320 FLOPs for the baseline of eight blocks.
pub(super) fn imdn_inspection(blocks: u64) -> Inspection {
    let positions = 256 * 256;
    let conv = |kernel: u64, inputs: u64, outputs: u64| kernel * kernel * inputs * outputs + outputs;
    let block = conv(3, 64, 64) + 2 * conv(3, 48, 64) + conv(3, 48, 16) + conv(1, 64, 64);
    let parameters = conv(3, 3, 64) + blocks * block + conv(3, 64, 64) + conv(3, 64, 48);
    let block_macs = 36_864 + 27_648 + 27_648 + 6_912 + 4_096;
    let macs = (1_728 + blocks * block_macs + 36_864 + 27_648) * positions;
    Inspection {
        schema: 1,
        model: ModelIdentity { architecture: format!("imdn:blocks={blocks}"), weights_sha256: None },
        scale: 4,
        input_width: 256,
        input_height: 256,
        parameters,
        flops_ntire2022: macs + 3 * 64 * blocks * positions,
        flops_fvcore: macs,
        activations: (64 + 272 * blocks + 64 + 48) * positions,
        convolutions: 5 * blocks + 3,
        layers: Vec::new(),
    }
}

/// An evaluation in which every image has the mean's PSNR.
pub(super) fn evaluation(
    architecture: &str,
    weights_sha256: Option<&str>,
    image_set: &str,
    names: &[&str],
    mean_db: f64,
) -> SetEvaluation {
    let image = |name: &&str| ImageScore {
        name: (*name).to_owned(),
        width: 512,
        height: 384,
        psnr_rgb_db: Some(mean_db),
        ssim_rgb: 0.8125,
        psnr_y_db: Some(mean_db + 1.5),
        ssim_y: 0.84,
        identical: false,
        hr_pixels_sha256: format!("pixels of {name}"),
    };
    let evaluation = Evaluation {
        schema: 1,
        model: ModelIdentity {
            architecture: architecture.to_owned(),
            weights_sha256: weights_sha256.map(str::to_owned),
        },
        computed_by: None,
        scale: 4,
        border: 4,
        images: names.iter().map(image).collect(),
        mean: MeanScore {
            psnr_rgb_db: Some(mean_db),
            ssim_rgb: 0.8125,
            psnr_y_db: Some(mean_db + 1.5),
            ssim_y: 0.84,
        },
    };
    SetEvaluation { image_set: image_set.to_owned(), evaluation }
}

/// A training by the published recipe.
pub(super) fn published_training(weights_sha256: &str) -> TrainingSummary {
    let stage = |name: &str, lr_patch| TrainingStage {
        name: name.to_owned(),
        epochs: 500.0,
        steps: 539_000,
        lr_patch,
        batch: 32,
        base_rate: 2e-4,
        rate_schedule: "x0.5 at epochs 200, 400, 450, 475".to_owned(),
        final_loss: Some(0.021),
        padded_patches: 0,
        seconds: Some(40_000.0),
    };
    TrainingSummary {
        architecture: "imdn:blocks=7,branches=1x1".to_owned(),
        data: "DIV2K train and Flickr2K".to_owned(),
        training_images: 3450,
        completed: true,
        weights_sha256: Some(weights_sha256.to_owned()),
        stages: vec![stage("stage 1", 64), stage("stage 2", 160)],
        curve: Vec::new(),
    }
}

/// The report of a small run that has a bit of everything, hostile characters included.
pub(super) fn report() -> Report {
    let paper = Paper::built_in().unwrap();
    let weights = "5a".repeat(32);
    let names = ["noise", "rings|and|bars"];
    let mut inputs = ReportInputs::new("demo");
    let stage = |name: &str, status, seconds, reason: Option<&str>| StageSummary {
        name: name.to_owned(),
        status,
        seconds,
        reason: reason.map(str::to_owned),
    };
    inputs.stages = vec![
        stage("generate", StageStatus::Done, Some(1.5), None),
        stage("train", StageStatus::Skipped, Some(0.125), Some("inputs and settings are unchanged")),
        stage("package", StageStatus::NotRun, None, Some("the verdict is <incomplete>")),
    ];
    let mut model = imdn_inspection(2);
    model.model.weights_sha256 = Some(weights.clone());
    inputs.model = Ok(model.clone());
    inputs.paper_model = Ok(imdn_inspection(7));
    inputs.evaluation = Ok(evaluation("imdn:blocks=2", Some(&weights), "demo-valid", &names, 27.5));
    inputs.bicubic = Ok(evaluation("bicubic", None, "demo-valid", &names, 26.25));
    inputs.collapse = Ok(CollapseSummary {
        max_abs_difference: 4.76837158203125e-7,
        limit: 1e-5,
        inputs: "2 random images of 24x24".to_owned(),
        expanded_parameters: 306_000,
        collapsed_parameters: model.parameters,
    });
    let ratio = Interval { median: 0.8912345, low: 0.887, high: 0.8956 };
    inputs.measurement = Ok(MeasurementSummary {
        architecture: "imdn:blocks=7".to_owned(),
        device: "cpu".to_owned(),
        machine: "an example processor".to_owned(),
        engine: "plan".to_owned(),
        threads: Some(2),
        protocol: "steady".to_owned(),
        input: "256x256".to_owned(),
        samples: 40,
        median_ms: 512.3456,
        mean_ms: 515.9,
        relative_iqr: 0.0123,
        validity: "unlocked".to_owned(),
        validity_reason: "the clock of this processor cannot be read".to_owned(),
        peak_memory_bytes: Some(126_000_000),
        baseline: Some(BaselineSummary {
            architecture: "imdn:blocks=8".to_owned(),
            samples: 40,
            median_ms: 574.87,
            mean_ms: 579.0,
            relative_iqr: 0.0154,
            ratio,
        }),
    });
    let rule = |id: &str, title: &str, status: &str, value: Option<&str>, reason: Option<&str>| RuleSummary {
        id: id.to_owned(),
        title: title.to_owned(),
        status: status.to_owned(),
        value: value.map(str::to_owned),
        limit: Some("0.894 M".to_owned()),
        reason: reason.map(str::to_owned),
    };
    inputs.verdict = Ok(VerdictSummary {
        year: 2022,
        verdict: "incomplete".to_owned(),
        rules: vec![
            rule("parameters", "no more parameters than the baseline", "pass", Some("0.273 M"), None),
            rule("psnr", "valid PSNR", "not measured", None, Some("DIV2K validation was not evaluated")),
        ],
    });
    let mut training = published_training(&weights);
    training.architecture = "imdn:blocks=2,branches=1x1".to_owned();
    training.data = "generated images".to_owned();
    training.training_images = 16;
    training.curve = vec![
        CurvePoint { step: 0, loss: Some(0.1), validation_psnr_db: Some(20.0) },
        CurvePoint { step: 50, loss: Some(0.05), validation_psnr_db: Some(27.5) },
    ];
    for stage in &mut training.stages {
        (stage.epochs, stage.steps, stage.batch, stage.seconds) = (12.5, 50, 4, Some(30.0));
    }
    inputs.training = Ok(training.clone());
    let setting = |name: &str, value: &str, source, note: Option<&str>| Setting {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
        note: note.map(str::to_owned),
    };
    inputs.settings = vec![
        setting("loss", "l1", SettingSource::Paper, None),
        setting("decay_factor", "0.5", SettingSource::Assumed, Some("the field's default")),
        setting("blocks", "2", SettingSource::Profile, Some("the paper has 7")),
    ];
    inputs.provenance = Ok(Provenance {
        tool_version: "0.1.0".to_owned(),
        commit: Some("0123abc".to_owned()),
        run_id: "demo-1".to_owned(),
        started_utc: Some("2026-01-02T03:04:05Z".to_owned()),
        finished_utc: None,
        settings_sha256: Some("77".repeat(32)),
        machine: vec![("processor".to_owned(), "an example processor, 2 cores".to_owned())],
    });
    inputs.artefacts = vec![ArtefactFile {
        path: "collapsed.safetensors".to_owned(),
        bytes: 1_100_000,
        sha256: weights.clone(),
    }];
    let evidence = Evidence {
        profile: "demo".to_owned(),
        inspections: (4..=8).map(imdn_inspection).chain([model]).collect(),
        evaluations: inputs.evaluation.iter().cloned().collect(),
        ratios: vec![RuntimeRatio {
            candidate: "imdn:blocks=7".to_owned(),
            baseline: "imdn:blocks=8".to_owned(),
            inputs: vec!["256x256".to_owned()],
            ratio,
            validity: "unlocked".to_owned(),
            device: "cpu".to_owned(),
        }],
        trainings: vec![training],
    };
    Report::new(&paper, &evidence, inputs)
}

/// The report of a run that did nothing.
pub(super) fn empty_report() -> Report {
    Report::new(&Paper::built_in().unwrap(), &Evidence::default(), ReportInputs::new("demo"))
}
