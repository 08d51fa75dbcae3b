//! The report for people: `report.md`.
//!
//! Made from a [`Report`] alone, so it can be made again at any time. Numbers are rounded here and nowhere before. Its invariant: what
//! is not there says "not measured" or "not attempted" with its reason, and no section is silently left out.

use super::document::{ClaimCounts, EvaluationSummary, Report};
use super::format::Align::{Left, Right};
use super::format::{Grid, count, escape, mebibytes, plural, seconds};
use super::inputs::{MeasurementSummary, SettingSource, StageStatus, TrainingSummary, VerdictSummary};
use super::{ClaimResult, ClaimStatus, files};
use crate::graph::inspection::Inspection;

/// What a table cell shows for a value that does not exist.
const NONE: &str = "–";

/// The whole document, ready for GitHub.
pub fn render_markdown(report: &Report) -> String {
    let sections = [
        head(report),
        stages(report),
        quality(report),
        cost(report),
        training(report),
        runtime(report),
        compliance(report),
        claims(report),
        discrepancies(report),
        settings(report),
        further(report),
        provenance(report),
    ];
    let mut text = sections.concat();
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn head(report: &Report) -> String {
    let mut text = format!("# Reproduction report, profile `{}`\n\n", report.profile);
    text += &format!(
        "Paper: *{}* (NTIRE 2022 Efficient Super-Resolution, team xilinxSR).",
        escape(&report.paper)
    );
    if let Some(provenance) = &report.provenance {
        text += &format!(" Run `{}` by esr {}", provenance.run_id, provenance.tool_version);
        if let Some((_, machine)) = provenance.machine.first() {
            text += &format!(" on {}", escape(machine));
        }
        text.push('.');
    }
    text += "\n\n";
    text += &match &report.evaluation {
        Some(found) => headline(found, report),
        None => format!("**No model was evaluated**: {}.\n\n", escape(report.why_absent("evaluation"))),
    };
    text += &claims_sentence(report);
    text += &match &report.verdict {
        Some(verdict) => {
            format!(" Rules of NTIRE {}: **{}** ({}).", verdict.year, verdict.verdict, rule_counts(verdict))
        }
        None => format!(" No verdict on the challenge's rules: {}.", escape(report.why_absent("verdict"))),
    };
    let broken: Vec<_> = report.stages.iter().filter(|stage| stage.status == StageStatus::Failed).collect();
    if let Some(stage) = broken.first() {
        text += &format!(" **The run is incomplete: stage `{}` failed.**", stage.name);
    }
    text + "\n\n"
}

fn headline(found: &EvaluationSummary, report: &Report) -> String {
    let images = plural(found.images.len(), "image");
    let start = format!("**`{}` reaches {} dB**", found.architecture, psnr(found.psnr_rgb_db));
    let set =
        format!("on the {images} of `{}` (mean RGB PSNR, {} pixels cut)", found.image_set, found.border);
    let gain = match (found.gain_db, found.bicubic_psnr_rgb_db) {
        (Some(gain), Some(bicubic)) => {
            format!("**{gain:+.2} dB** against bicubic upscaling ({bicubic:.2} dB)")
        }
        (None, Some(_)) => {
            "no finite gain over bicubic upscaling, since an image is reproduced exactly".to_owned()
        }
        _ => format!(
            "no gain over bicubic upscaling: {}",
            escape(report.why_absent("evaluation.bicubic_psnr_rgb_db"))
        ),
    };
    format!("{start} {set}: {gain}.\n\n")
}

fn claims_sentence(report: &Report) -> String {
    let counts = report.claim_counts;
    let differing: Vec<String> = report
        .claims
        .iter()
        .filter(|claim| claim.status == ClaimStatus::Differs)
        .map(|claim| format!("`{}`", claim.id))
        .collect();
    let differing = if differing.is_empty() { String::new() } else { format!(" ({})", differing.join(", ")) };
    format!(
        "Of {} published numbers, {} reproduced, {} {}{differing}, and {} not attempted, each with its reason below.",
        counts.total(),
        was(counts.reproduced),
        counts.differs,
        if counts.differs == 1 { "differs" } else { "differ" },
        was(counts.not_attempted),
    )
}

fn was(n: usize) -> String {
    format!("{n} {}", if n == 1 { "was" } else { "were" })
}

fn stages(report: &Report) -> String {
    let mut text = "## Stages\n\n".to_owned();
    if report.stages.is_empty() {
        return text + "No stage was recorded.\n\n";
    }
    let mut grid = Grid::new(&[("stage", Left), ("status", Left), ("time", Right), ("note", Left)]);
    for stage in &report.stages {
        let status = match stage.status {
            StageStatus::Done => "done",
            StageStatus::Skipped => "skipped (unchanged)",
            StageStatus::Failed => "failed",
            StageStatus::NotRun => "not run",
        };
        grid.row([
            stage.name.clone(),
            status.to_owned(),
            stage.seconds.map_or(NONE.to_owned(), seconds),
            stage.reason.clone().unwrap_or_default(),
        ]);
    }
    text += &grid.finish();
    text
}

fn quality(report: &Report) -> String {
    let mut text = "## Quality\n\n".to_owned();
    match &report.evaluation {
        None => text += &format!("Not measured: {}.\n\n", escape(report.why_absent("evaluation"))),
        Some(found) => {
            let columns = [
                ("image", Left),
                ("PSNR, dB", Right),
                ("bicubic, dB", Right),
                ("gain, dB", Right),
                ("SSIM", Right),
            ];
            let mut grid = Grid::new(&columns);
            for image in &found.images {
                let gain = image.psnr_rgb_db.zip(image.bicubic_psnr_rgb_db).map(|(a, b)| a - b);
                grid.row([
                    image.name.clone(),
                    psnr(image.psnr_rgb_db),
                    decibels(image.bicubic_psnr_rgb_db),
                    signed(gain),
                    format!("{:.4}", image.ssim_rgb),
                ]);
            }
            grid.row([
                format!("mean of {}", found.images.len()),
                psnr(found.psnr_rgb_db),
                decibels(found.bicubic_psnr_rgb_db),
                signed(found.gain_db),
                format!("{:.4}", found.ssim_rgb),
            ]);
            let table = grid.finish();
            // A hundred lines of images would bury what follows.
            text += &match found.images.len() {
                0..=12 => table,
                n => format!(
                    "{} dB on average; <details><summary>all {n} images</summary>\n\n{table}</details>\n\n",
                    psnr(found.psnr_rgb_db)
                ),
            };
        }
    }
    text += &match &report.collapse {
        Some(found) => format!(
            "Collapsing turned {} parameters into {} and changed no output value by more than {:.2e} ({}; {:.1e} is what rounding explains){}.\n\n",
            count(found.expanded_parameters),
            count(found.collapsed_parameters),
            found.max_abs_difference,
            escape(&found.inputs),
            found.limit,
            if found.max_abs_difference <= found.limit { "" } else { ": **more than rounding explains**" },
        ),
        None => format!("Collapse: not measured: {}.\n\n", escape(report.why_absent("collapse"))),
    };
    text
}

fn cost(report: &Report) -> String {
    let model = report.model.as_ref();
    let own = model.map_or("this run's model".to_owned(), |m| format!("this run: {}", m.model.architecture));
    let counted = |m: Option<&Inspection>, value: fn(&Inspection) -> u64| {
        m.map_or_else(|| "not counted".to_owned(), |m| count(value(m)))
    };
    let official = |row: &str, quantity: &str| {
        let id = format!("official-2022.{row}.{quantity}");
        let claim = report.claims.iter().find(|claim| claim.id == id);
        claim.map_or(NONE.to_owned(), |claim| with_unit(&claim.published, &claim.unit))
    };
    let columns = [
        ("", Left),
        (own.as_str(), Right),
        ("the paper's model, counted", Right),
        ("official table, xilinxSR", Right),
        ("official table, IMDN baseline", Right),
    ];
    let mut grid = Grid::new(&columns);
    let mut row = |name: &str, value: fn(&Inspection) -> u64, quantity: &str| {
        grid.row([
            name.to_owned(),
            counted(model, value),
            counted(report.paper_model.as_ref(), value),
            official("xilinxsr", quantity),
            official("baseline", quantity),
        ]);
    };
    row("parameters", |m| m.parameters, "parameters");
    row("FLOPs, 2022 rules", |m| m.flops_ntire2022, "flops");
    row("FLOPs, fvcore", |m| m.flops_fvcore, "");
    row("activations", |m| m.activations, "activations");
    row("convolutions", |m| m.convolutions, "convolutions");
    let mut text = "## Cost\n\n".to_owned() + &grid.finish();
    text += "A multiply-add counts as one.";
    for (what, item, inspection) in [
        ("This run's model", "model", model),
        ("The paper's model", "paper_model", report.paper_model.as_ref()),
    ] {
        text += &match inspection {
            Some(m) => format!(" {what}: input {}x{}.", m.input_width, m.input_height),
            None => format!(" {what} was not counted: {}.", escape(report.why_absent(item))),
        };
    }
    text + "\n\n"
}

fn training(report: &Report) -> String {
    let mut text = "## Training\n\n".to_owned();
    let Some(training) = &report.training else {
        return text + &format!("No training: {}.\n\n", escape(report.why_absent("training")));
    };
    text += &format!(
        "`{}` on {} image pairs ({}); {}.\n\n",
        training.architecture,
        count(training.training_images),
        escape(&training.data),
        if training.completed { "every planned step was taken" } else { "**not finished**" },
    );
    text += &training_table(training);
    text + &format!("![Training loss and validation PSNR over optimiser steps]({})\n\n", files::CURVE)
}

fn training_table(training: &TrainingSummary) -> String {
    let columns = [
        ("stage", Left),
        ("steps", Right),
        ("epochs", Right),
        ("LR patch", Right),
        ("batch", Right),
        ("learning rate", Left),
        ("final loss", Right),
        ("padded patches", Right),
        ("time", Right),
    ];
    let mut grid = Grid::new(&columns);
    for stage in &training.stages {
        grid.row([
            stage.name.clone(),
            count(stage.steps),
            stage.epochs.to_string(),
            format!("{0}x{0}", stage.lr_patch),
            stage.batch.to_string(),
            format!("{:e}, {}", stage.base_rate, stage.rate_schedule),
            stage.final_loss.map_or(NONE.to_owned(), |loss| format!("{loss:.5}")),
            count(stage.padded_patches),
            stage.seconds.map_or(NONE.to_owned(), seconds),
        ]);
    }
    grid.finish()
}

fn runtime(report: &Report) -> String {
    let mut text = "## Runtime\n\n".to_owned();
    let Some(found) = &report.measurement else {
        return text + &format!("Not measured: {}.\n\n", escape(report.why_absent("measurement")));
    };
    text += &runtime_table(found);
    text += &match &found.baseline {
        Some(baseline) => format!(
            "Ratio to the baseline **{:.3}**, known to [{:.3}, {:.3}]. ",
            baseline.ratio.median, baseline.ratio.low, baseline.ratio.high
        ),
        None => "No baseline was measured in this run, so there is no ratio. ".to_owned(),
    };
    text += &format!(
        "The measurement is **{}**: {}. Peak memory: {}.\n\n",
        found.validity,
        escape(&found.validity_reason),
        found
            .peak_memory_bytes
            .map_or_else(|| "not measured (this device does not tell)".to_owned(), mebibytes),
    );
    let threads = found.threads.map_or(String::new(), |n| format!(", {}", plural(n as usize, "thread")));
    text + &format!(
        "Device `{}` ({}), engine `{}`{threads}, protocol `{}`, input {}. Times hold for this machine; only the ratio carries over.\n\n",
        found.device,
        escape(&found.machine),
        found.engine,
        found.protocol,
        escape(&found.input),
    )
}

fn runtime_table(found: &MeasurementSummary) -> String {
    let columns =
        [("model", Left), ("n", Right), ("median, ms", Right), ("mean, ms", Right), ("IQR / median", Right)];
    let mut grid = Grid::new(&columns);
    let mut row = |name: &str, samples: u64, median: f64, mean: f64, spread: f64| {
        grid.row([
            name.to_owned(),
            count(samples),
            format!("{median:.3}"),
            format!("{mean:.3}"),
            format!("{:.1} %", spread * 100.0),
        ]);
    };
    row(&found.architecture, found.samples, found.median_ms, found.mean_ms, found.relative_iqr);
    if let Some(base) = &found.baseline {
        let name = format!("{} (baseline)", base.architecture);
        row(&name, base.samples, base.median_ms, base.mean_ms, base.relative_iqr);
    }
    grid.finish()
}

fn compliance(report: &Report) -> String {
    let Some(verdict) = &report.verdict else {
        return format!("## Compliance\n\nNot checked: {}.\n\n", escape(report.why_absent("verdict")));
    };
    let columns =
        [("rule", Left), ("", Left), ("status", Left), ("value", Right), ("limit", Right), ("reason", Left)];
    let mut grid = Grid::new(&columns);
    for rule in &verdict.rules {
        grid.row([
            format!("`{}`", rule.id),
            rule.title.clone(),
            rule.status.clone(),
            rule.value.clone().unwrap_or_else(|| NONE.to_owned()),
            rule.limit.clone().unwrap_or_else(|| NONE.to_owned()),
            rule.reason.clone().unwrap_or_default(),
        ]);
    }
    format!(
        "## Compliance with NTIRE {}: {}\n\n{} ({}).\n\n{}",
        verdict.year,
        verdict.verdict,
        plural(verdict.rules.len(), "rule"),
        rule_counts(verdict),
        grid.finish()
    )
}

/// `3 pass, 1 fail, 2 not measured`, in the order in which the statuses first occur.
fn rule_counts(verdict: &VerdictSummary) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for rule in &verdict.rules {
        match counts.iter_mut().find(|(status, _)| *status == rule.status) {
            Some((_, n)) => *n += 1,
            None => counts.push((&rule.status, 1)),
        }
    }
    let parts: Vec<String> = counts.iter().map(|(status, n)| format!("{n} {status}")).collect();
    if parts.is_empty() { "no rules".to_owned() } else { parts.join(", ") }
}

fn claims(report: &Report) -> String {
    let mut text = "## Published numbers\n\n".to_owned();
    let of_table =
        |id: &str| -> Vec<&ClaimResult> { report.claims.iter().filter(|claim| claim.table == id).collect() };
    let columns = [
        ("table", Left),
        ("source", Left),
        ("reproduced", Right),
        ("differs", Right),
        ("not attempted", Right),
    ];
    let mut overview = Grid::new(&columns);
    for table in &report.tables {
        let counts = ClaimCounts::of(of_table(&table.id));
        overview.row([
            table.title.clone(),
            table.source.clone(),
            counts.reproduced.to_string(),
            counts.differs.to_string(),
            counts.not_attempted.to_string(),
        ]);
    }
    text += &overview.finish();
    for table in &report.tables {
        let claims = of_table(&table.id);
        let counts = ClaimCounts::of(claims.iter().copied());
        let columns = [
            ("claim", Left),
            ("what", Left),
            ("published", Right),
            ("this run", Right),
            ("status", Left),
            ("how", Left),
        ];
        let mut grid = Grid::new(&columns);
        for claim in claims {
            grid.row([
                format!("`{}`", claim.id),
                claim.what.clone(),
                with_unit(&claim.published, &claim.unit),
                measured(claim),
                claim.status.word().to_owned(),
                how(claim),
            ]);
        }
        text += &format!("### {}\n\n", escape(&table.title));
        // Tables of which nothing could be attempted stay complete but out of the way.
        text += &match counts.reproduced + counts.differs {
            0 => format!(
                "<details><summary>None of {} attempted</summary>\n\n{}</details>\n\n",
                plural(counts.total(), "number"),
                grid.finish()
            ),
            _ => grid.finish(),
        };
    }
    text
}

fn measured(claim: &ClaimResult) -> String {
    match (claim.measured, claim.status) {
        (Some(value), _) => with_unit(&format!("{value:.*}", claim.decimals), &claim.unit),
        (None, ClaimStatus::NotAttempted) => NONE.to_owned(),
        (None, _) => "infinite".to_owned(),
    }
}

fn how(claim: &ClaimResult) -> String {
    match &claim.elsewhere {
        Some(found) => {
            format!("{} (for information: {:.*} on {})", claim.how, claim.decimals, found.value, found.on)
        }
        None => claim.how.clone(),
    }
}

fn discrepancies(report: &Report) -> String {
    let mut text = "## Where the published numbers disagree\n\n".to_owned();
    let columns = [("", Left), ("the paper", Left), ("elsewhere", Left), ("why", Left)];
    let mut grid = Grid::new(&columns);
    for entry in &report.discrepancies {
        grid.row([entry.title.clone(), entry.paper.clone(), entry.elsewhere.clone(), entry.why.clone()]);
    }
    text += &grid.finish();
    text
}

fn settings(report: &Report) -> String {
    let mut text = "## Settings\n\n".to_owned();
    if report.settings.is_empty() {
        return text + "No settings were recorded.\n\n";
    }
    let assumed = report.settings.iter().filter(|s| s.source == SettingSource::Assumed).count();
    text += &format!("{} that the paper leaves unsaid, marked as assumed.\n\n", plural(assumed, "value"));
    let mut grid = Grid::new(&[("setting", Left), ("value", Left), ("from", Left), ("note", Left)]);
    for setting in &report.settings {
        let source = match setting.source {
            SettingSource::Paper => "the paper",
            SettingSource::Assumed => "assumed",
            SettingSource::Profile => "the profile, unlike the paper",
            SettingSource::User => "the user",
        };
        grid.row([
            format!("`{}`", setting.name),
            setting.value.clone(),
            source.to_owned(),
            setting.note.clone().unwrap_or_default(),
        ]);
    }
    text += &grid.finish();
    text
}

fn further(report: &Report) -> String {
    let mut text = "## How to go further\n\n".to_owned();
    let profiles = [
        (
            "verify",
            "evaluates the authors' released weights on DIV2K validation: the paper's PSNR without training",
        ),
        ("paper", "trains both stages on DIV2K and Flickr2K as published (a GPU)"),
    ];
    for (profile, does) in profiles.into_iter().filter(|(profile, _)| *profile != report.profile) {
        text += &format!("- `make reproduce PROFILE={profile}` {does}\n");
    }
    text += "- `esr measure --model imdn:blocks=7 --baseline imdn:blocks=8 --protocol ntire --device cuda:0 --lr DIR` measures the \
             runtime ratio, the only runtime claim that carries over to another GPU\n";
    text += "- `esr check --year 2022 RUN` explains each rule, `esr validate ZIP` audits the submission archive\n";
    text + "- `esr report RUN` makes this page again from `report.json`\n\n"
}

fn provenance(report: &Report) -> String {
    let mut text = "## Provenance\n\n".to_owned();
    match &report.provenance {
        None => text += &format!("Not recorded: {}.\n\n", escape(report.why_absent("provenance"))),
        Some(found) => {
            let mut grid = Grid::new(&[("", Left), ("", Left)]);
            let none = || "not recorded".to_owned();
            grid.row(["run".to_owned(), found.run_id.clone()]);
            grid.row(["esr".to_owned(), found.tool_version.clone()]);
            grid.row(["commit".to_owned(), found.commit.clone().unwrap_or_else(none)]);
            grid.row(["started (UTC)".to_owned(), found.started_utc.clone().unwrap_or_else(none)]);
            grid.row(["finished (UTC)".to_owned(), found.finished_utc.clone().unwrap_or_else(none)]);
            grid.row(["settings (SHA-256)".to_owned(), found.settings_sha256.clone().unwrap_or_else(none)]);
            for (what, which) in &found.machine {
                grid.row([what.clone(), which.clone()]);
            }
            text += &grid.finish();
        }
    }
    if report.artefacts.is_empty() {
        return text + "No files were recorded.\n\n";
    }
    let mut grid = Grid::new(&[("file", Left), ("size", Right), ("SHA-256", Left)]);
    for file in &report.artefacts {
        grid.row([format!("`{}`", file.path), mebibytes(file.bytes), format!("`{}`", file.sha256)]);
    }
    text += &grid.finish();
    text
}

/// A PSNR that was computed: infinite when the images are identical.
fn psnr(value: Option<f64>) -> String {
    value.map_or_else(|| "∞".to_owned(), |db| format!("{db:.2}"))
}

fn decibels(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), |db| format!("{db:.2}"))
}

fn signed(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), |db| format!("{db:+.2}"))
}

fn with_unit(value: &str, unit: &str) -> String {
    format!("{value} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;
    use crate::fsio::Artefact;
    use crate::manifest::paper::Paper;
    use crate::report::inputs::{Absent, ReportInputs};
    use crate::report::{Evidence, judge};

    #[test]
    fn a_whole_report_reads_like_this() {
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!("small_report", render_markdown(&fixtures::report()));
        });
    }

    #[test]
    fn every_table_line_has_every_cell() {
        for report in [fixtures::report(), fixtures::empty_report()] {
            let mut columns = None;
            for line in render_markdown(&report).lines() {
                let cells = line.replace("\\|", "").matches('|').count();
                if !line.starts_with('|') {
                    assert_eq!(cells, 0, "a pipe outside a table: {line}");
                    columns = None;
                    continue;
                }
                assert_eq!(*columns.get_or_insert(cells), cells, "{line}");
            }
        }
    }

    #[test]
    fn a_run_with_nothing_says_so_everywhere() {
        let mut inputs = ReportInputs::new("demo");
        inputs.measurement = Err(Absent::because("the machine was | too busy"));
        let paper = Paper::built_in().unwrap();
        let report = Report::new(&paper, &Evidence { profile: "demo".into(), ..Evidence::default() }, inputs);
        let items: Vec<_> = report.absent.iter().map(|absent| absent.item.as_str()).collect();
        let all = [
            "evaluation",
            "collapse",
            "model",
            "paper_model",
            "measurement",
            "verdict",
            "training",
            "provenance",
        ];
        assert_eq!(items, all);
        let text = render_markdown(&report);
        assert!(text.contains("Not measured: the machine was \\| too busy."));
        assert!(text.contains("**No model was evaluated**: the run did not hand it in."));
        for said in [
            "Collapse: not measured: ",
            "No training: ",
            "Not checked: ",
            "Not recorded: ",
            "No files were recorded",
            "No settings were recorded",
            "No stage was recorded",
            "This run's model was not counted: ",
            "Of 129 published numbers, 0 were reproduced, 0 differ, and 129 were not attempted",
        ] {
            assert!(text.contains(said), "{said}");
        }
    }

    #[test]
    fn the_json_carries_the_contract_and_renders_the_same_again() {
        let report = fixtures::report();
        let json = serde_json::to_string(&report).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["schema"], Report::SCHEMA);
        assert_eq!(value["profile"], "demo");
        assert_eq!(value["stages"][0]["name"], "generate");
        assert_eq!(value["stages"][0]["status"], "done");
        assert!(value["stages"][0]["seconds"].is_f64());
        assert_eq!(value["evaluation"]["psnr_rgb_db"], 27.5);
        assert_eq!(value["evaluation"]["bicubic_psnr_rgb_db"], 26.25);
        assert_eq!(value["evaluation"]["gain_db"], 1.25);
        assert!(value["collapse"]["max_abs_difference"].is_f64());
        let claims = value["claims"].as_array().unwrap();
        let claim = claims.iter().find(|claim| claim["id"] == "table3.blocks7.parameters").unwrap();
        assert_eq!(claim["status"], "reproduced");
        assert_eq!(claim["published"], "0.7905");
        assert_eq!(claim["measured"], 0.790496);
        assert!(claim["how"].as_str().unwrap().contains("790496"));
        let again: Report = serde_json::from_str(&json).unwrap();
        assert_eq!(again, report);
        assert_eq!(render_markdown(&again), render_markdown(&report));
    }

    #[test]
    fn counts_add_up() {
        let report = fixtures::report();
        let paper = Paper::built_in().unwrap();
        assert_eq!(report.claim_counts.total(), judge(&paper, &Evidence::default()).len());
        let by_table: usize = report
            .tables
            .iter()
            .map(|table| report.claims.iter().filter(|claim| claim.table == table.id).count())
            .sum();
        assert_eq!(by_table, report.claims.len());
    }
}
