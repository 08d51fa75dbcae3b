//! The rules as a page for people, `docs/rules.md`: generated, so that it cannot drift from what is judged.

use std::fmt::Write as _;

use crate::manifest::{Challenge, Check, Count};

/// The page for the given years.
pub fn document(challenges: &[Challenge]) -> String {
    let mut text = String::from(
        "# Rules\n\n\
         Generated from `manifest/challenge-*.toml`; `ESR_UPDATE=1 cargo test rules_page` writes it anew.\n\n\
         A rule is `pass`, `fail` or `not measured`, and the reason says why. Rows that are not binding are `information`: they \
         show a number beside the baseline's and never fail. A verdict is `compliant` when every binding rule passes, \
         `not compliant` when one fails, and `incomplete` otherwise, which is never a pass: `esr check --strict` then \
         exits with 3.\n",
    );
    for challenge in challenges {
        let baseline = &challenge.baseline;
        // Writing to a string cannot fail, so the results are of no interest.
        let _ = write!(
            text,
            "\n## {year}: {name}\n\n\
             Scale {scale}, {border} pixels cut from every side. Baseline: {base} (`{architecture}`), {parameters} parameters, \
             {flops} FLOPs, {activations} activations, {convolutions} convolutions, {memory:.2} MiB, {valid:.2} dB valid, \
             {test:.2} dB test, {average:.2} ms on average and {valid_ms:.2} ms on the validation set. The times and the \
             memory hold only on the organisers' GPU.\n",
            year = challenge.year,
            name = challenge.name,
            scale = challenge.scale,
            border = challenge.border,
            base = baseline.name,
            architecture = baseline.architecture,
            parameters = baseline.parameters,
            flops = baseline.flops_ntire2022,
            activations = baseline.activations,
            convolutions = baseline.convolutions,
            memory = baseline.memory_mib,
            valid = baseline.psnr_valid_db,
            test = baseline.psnr_test_db,
            average = baseline.runtime_average_ms,
            valid_ms = baseline.runtime_valid_ms,
        );
        for rule in &challenge.rules {
            let binding = if rule.binding { "binding" } else { "information" };
            let _ = write!(
                text,
                "\n### `{}`: {} ({binding})\n\n{}.\n\n- What: {}\n- Why: {}\n- To do: {}\n- Source: {}\n",
                rule.id,
                rule.title,
                condition(challenge, &rule.check),
                rule.what,
                rule.why,
                rule.fix,
                rule.source
            );
        }
    }
    text
}

fn condition(challenge: &Challenge, check: &Check) -> String {
    match check {
        Check::PsnrAtLeast { image_set, limit_db } => {
            let set = challenge.image_sets.iter().find(|set| &set.id == image_set);
            let title = set.map_or(image_set.as_str(), |set| set.title.as_str());
            format!("Mean PSNR over {title} at least {limit_db:.2} dB")
        }
        Check::CountAtMost { count, limit } => {
            let what = match count {
                Count::Parameters => "parameters",
                Count::FlopsNtire2022 => "FLOPs",
                Count::Activations => "activations",
                Count::Convolutions => "convolutions",
            };
            format!("At most {limit} {what}")
        }
        Check::RuntimeRatioAtMost { limit } => {
            format!("At most {limit} times the baseline's runtime in the same run")
        }
        Check::MemoryBeside { baseline_mib } => format!("Shown beside {baseline_mib:.2} MiB"),
        Check::CannotBeMeasured { because, baseline_db } => {
            format!(
                "Cannot be measured: {because} (the organisers measured {baseline_db:.2} dB for the baseline)"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{challenge, challenge_years};

    #[test]
    fn the_rules_page_is_current() {
        let challenges: Vec<Challenge> =
            challenge_years().into_iter().map(|year| challenge(year).unwrap()).collect();
        let page = document(&challenges);
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md");
        if std::env::var_os("ESR_UPDATE").is_some() {
            crate::fsio::write(&path, page.as_bytes()).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(written, page, "docs/rules.md is not current: run `ESR_UPDATE=1 cargo test rules_page`");
    }
}
