//! What becomes of every rule, and whole tables.

use super::super::fixtures::{compliant, evaluation, measurement, model, rules};
use super::super::table;
use super::*;
use crate::fsio;
use crate::models::ModelIdentity;

fn judged(change: impl FnOnce(&mut Artefacts)) -> Verdict {
    let mut artefacts = compliant();
    change(&mut artefacts);
    judge(&rules(), &artefacts).unwrap()
}

fn rule<'a>(verdict: &'a Verdict, id: &str) -> &'a RuleResult {
    verdict.rules.iter().find(|rule| rule.id == id).unwrap()
}

/// Verdict, status of the rule, and whether the rest is untouched.
fn check(id: &str, outcome: Outcome, status: Status, reason: &str, change: impl FnOnce(&mut Artefacts)) {
    let verdict = judged(change);
    let row = rule(&verdict, id);
    assert_eq!((verdict.verdict, row.status), (outcome, status), "{id}: {}", row.reason);
    assert!(row.reason.contains(reason), "{id}: {}", row.reason);
    assert_eq!(row.value.is_none(), status == Status::NotMeasured, "{id}");
}

fn images(a: &mut Artefacts) -> &mut Vec<ImageScore> {
    &mut a.evaluation.as_mut().unwrap().images
}

#[test]
fn a_model_that_meets_every_rule_is_compliant_although_test_psnr_is_never_measured() {
    let verdict = judged(|_| {});
    assert_eq!(verdict.verdict, Outcome::Compliant);
    assert_eq!(rule(&verdict, "psnr-test").status, Status::NotMeasured);
    assert!(!rule(&verdict, "psnr-test").binding);
}

#[test]
fn psnr_is_judged_unrounded() {
    use Outcome::{Compliant, Incomplete, NotCompliant};
    let set = |db: f64| move |a: &mut Artefacts| a.evaluation = Some(evaluation(db));
    check("psnr-valid", Compliant, Status::Pass, "exactly at 29.00 dB", set(29.0));
    check(
        "psnr-valid",
        Compliant,
        Status::Pass,
        "29.05 dB in two decimals; 29.0512 dB is 0.0512 dB above",
        |_| {},
    );
    let narrow = "29.00 dB in two decimals; 28.9960 dB is 0.0040 dB below 29.00 dB, although its reading in two decimals is not";
    check("psnr-valid", NotCompliant, Status::Fail, narrow, set(28.996));
    check("psnr-valid", NotCompliant, Status::Fail, "28.97 dB in two decimals; 28.9700 dB is", set(28.97));
    check("psnr-valid", Incomplete, Status::NotMeasured, "there is no evaluation", |a| a.evaluation = None);
}

#[test]
fn a_mean_over_other_images_is_not_measured() {
    let never = |reason: &str, change: fn(&mut Artefacts)| {
        check("psnr-valid", Outcome::Incomplete, Status::NotMeasured, reason, change);
    };
    never("over 99 images, not over DIV2K validation 0801-0900 (100 images): 1 missing (0900)", |a| {
        images(a).pop();
    });
    never("100 images): 1 missing (0842), 1 other (baby)", |a| images(a)[41].name = "baby".to_owned());
    never("101 images", |a| {
        let copy = images(a)[7].clone();
        images(a).push(copy);
    });
    never("1 repeated", |a| {
        let copy = images(a)[7].clone();
        images(a).push(copy);
    });
    never("HR image 0803 is not the one of DIV2K", |a| images(a)[2].hr_pixels_sha256 = "0".repeat(64));
    never("95 missing (0806, 0807, 0808, …)", |a| images(a).truncate(5));
    never("the evaluation is of scale 4 with 0 pixels cut", |a| a.evaluation.as_mut().unwrap().border = 0);
    never("of scale 2", |a| a.evaluation.as_mut().unwrap().scale = 2);
    never("the mean is infinite", |a| {
        images(a)[50].psnr_rgb_db = None;
        images(a)[50].identical = true;
        a.evaluation.as_mut().unwrap().mean.psnr_rgb_db = None;
    });
}

#[test]
fn an_evaluation_that_contradicts_itself_is_refused() {
    let refused = |change: fn(&mut Artefacts)| {
        let mut artefacts = compliant();
        change(&mut artefacts);
        judge(&rules(), &artefacts).unwrap_err().to_string()
    };
    let message = refused(|a| a.evaluation.as_mut().unwrap().mean.psnr_rgb_db = Some(29.2));
    assert!(message.contains("its mean PSNR is 29.2 dB, that of its images 29.05"), "{message}");
    assert!(refused(|a| images(a)[3].psnr_rgb_db = None).contains("image 0804 has no PSNR"));
    assert!(refused(|a| images(a)[3].identical = true).contains("a finite PSNR although it is identical"));
}

#[test]
fn parameters_are_counted_exactly() {
    let set = |n: u64| move |a: &mut Artefacts| a.inspection.as_mut().unwrap().parameters = n;
    let (id, yes, no) = ("parameters", Outcome::Compliant, Outcome::NotCompliant);
    check(id, yes, Status::Pass, "103,440 fewer than IMDN, 88.4 % of its number", |_| {});
    check(id, yes, Status::Pass, "exactly as many as IMDN", set(893_936));
    check(id, no, Status::Fail, "1 more than IMDN, 1.00 times as many", set(893_937));
    let none = |a: &mut Artefacts| a.inspection = None;
    check(id, Outcome::Incomplete, Status::NotMeasured, "there is no inspection", none);
    let scale = |a: &mut Artefacts| a.inspection.as_mut().unwrap().scale = 2;
    check(id, Outcome::Incomplete, Status::NotMeasured, "the inspection is of scale 2", scale);
}

#[test]
fn rows_that_only_inform_never_fail() {
    for id in ["flops", "activations", "convolutions", "memory", "psnr-baseline"] {
        check(id, Outcome::Compliant, Status::Information, "", |a| {
            let inspection = a.inspection.as_mut().unwrap();
            inspection.flops_ntire2022 *= 10;
            inspection.activations *= 10;
            inspection.convolutions *= 10;
            a.measurement.as_mut().unwrap().timing.peak_memory_bytes = Some(8 << 30);
        });
    }
    // Parameters do not depend on the input, FLOPs do.
    let size = |a: &mut Artefacts| a.inspection.as_mut().unwrap().input_width = 128;
    check(
        "flops",
        Outcome::Compliant,
        Status::NotMeasured,
        "for an input of 128x256, the rule is about 256x256",
        size,
    );
    let size = |a: &mut Artefacts| a.inspection.as_mut().unwrap().input_width = 128;
    check("parameters", Outcome::Compliant, Status::Pass, "", size);
}

#[test]
fn runtime_is_a_ratio_to_the_right_baseline() {
    let set = |ratio: [f64; 3]| move |a: &mut Artefacts| a.measurement = Some(measurement(ratio));
    let id = "runtime";
    check(
        id,
        Outcome::Compliant,
        Status::Pass,
        "0.884 [0.870, 0.890] at 97.9 % confidence, 10 pairs",
        |_| {},
    );
    check(id, Outcome::Compliant, Status::Pass, "hold only on the organisers' GPU", |_| {});
    check(id, Outcome::Compliant, Status::Pass, "", set([1.0, 1.0, 1.0]));
    check(id, Outcome::NotCompliant, Status::Fail, "", set([1.01, 1.02, 1.03]));
    check(id, Outcome::Compliant, Status::Pass, "the median decides narrowly", set([0.98, 0.99, 1.01]));
    check(id, Outcome::NotCompliant, Status::Fail, "the median decides narrowly", set([0.98, 1.005, 1.01]));
    let never = |reason: &str, change: fn(&mut Artefacts)| {
        check(id, Outcome::Incomplete, Status::NotMeasured, reason, change);
    };
    never("there is no measurement", |a| a.measurement = None);
    never("not measured beside a baseline", |a| a.measurement.as_mut().unwrap().baseline = None);
    never("not measured beside a baseline", |a| a.measurement.as_mut().unwrap().ratio_to_baseline = None);
    never("measured beside imdn:blocks=9 (no weights), the rule asks for imdn:blocks=8", |a| {
        let baseline = a.measurement.as_mut().unwrap().baseline.as_mut().unwrap();
        baseline.model.architecture = "imdn:blocks=9".to_owned();
    });
    never("not a positive number", |a| a.measurement = Some(measurement([f64::NAN, 0.9, 0.91])));
    never("not a positive number", |a| a.measurement = Some(measurement([-1.0, 0.9, 0.91])));
}

#[test]
fn a_noisy_ratio_counts_only_if_its_whole_interval_is_on_one_side() {
    let noisy = |ratio: [f64; 3], confidence: f64, of_baseline: bool| {
        move |a: &mut Artefacts| {
            let mut m = measurement(ratio);
            let timing = if of_baseline { &mut m.baseline.as_mut().unwrap().timing } else { &mut m.timing };
            timing.validity = Validity::Noisy;
            timing.validity_reason = "relative IQR 14.0 % over 10 windows is above 10 %".to_owned();
            m.ratio_to_baseline.as_mut().unwrap().confidence = confidence;
            a.measurement = Some(m);
        }
    };
    let id = "runtime";
    let (yes, no, open) = (Outcome::Compliant, Outcome::NotCompliant, Outcome::Incomplete);
    let but = "the measurement is noisy (relative IQR 14.0 % over 10 windows is above 10 %), but the whole interval";
    let why = "0.900 [0.700, 1.100] at 97.9 % confidence does not settle whether it is at most 1";
    for of_baseline in [false, true] {
        check(id, yes, Status::Pass, but, noisy([0.7, 0.8, 0.9], 0.979, of_baseline));
        check(id, no, Status::Fail, but, noisy([1.1, 1.2, 1.3], 0.979, of_baseline));
        check(id, open, Status::NotMeasured, why, noisy([0.7, 0.9, 1.1], 0.979, of_baseline));
        check(id, open, Status::NotMeasured, "75.0 % confidence", noisy([0.7, 0.8, 0.9], 0.75, of_baseline));
    }
}

#[test]
fn a_failure_outweighs_what_is_not_measured() {
    let verdict = judged(|a| {
        a.measurement = None;
        a.inspection.as_mut().unwrap().parameters = 1_000_000;
    });
    assert_eq!(verdict.verdict, Outcome::NotCompliant);
}

#[test]
fn artefacts_of_different_models_are_not_combined() {
    for (architecture, weights) in
        [("imdn:blocks=6", model().weights_sha256), ("imdn:blocks=7", Some("f".repeat(64)))]
    {
        let mut artefacts = compliant();
        let other = ModelIdentity { architecture: architecture.to_owned(), weights_sha256: weights };
        artefacts.evaluation.as_mut().unwrap().model = other.clone();
        let message = judge(&rules(), &artefacts).unwrap_err().to_string();
        let hash = other.weights_sha256.unwrap();
        assert!(message.contains(&format!("evaluation of {architecture} ({hash})")), "{message}");
        assert!(message.contains("measurement of imdn:blocks=7 (c8bd64b7"), "{message}");
    }
}

#[test]
fn a_run_directory_is_judged_and_its_verdict_survives_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let artefacts = compliant();
    fsio::write_json(&folder.path().join("inspection.json"), artefacts.inspection.as_ref().unwrap()).unwrap();
    fsio::write_json(&folder.path().join("evaluation.json"), artefacts.evaluation.as_ref().unwrap()).unwrap();
    let verdict = check_run(folder.path(), &rules()).unwrap();
    assert_eq!(verdict.verdict, Outcome::Incomplete);
    fsio::write_json(&folder.path().join("measurement.json"), artefacts.measurement.as_ref().unwrap())
        .unwrap();
    let verdict = check_run(folder.path(), &rules()).unwrap();
    assert_eq!(verdict, judge(&rules(), &artefacts).unwrap());

    let path = folder.path().join("verdict.json");
    fsio::write_json(&path, &verdict).unwrap();
    assert_eq!(fsio::read_json::<Verdict>(&path).unwrap(), verdict);
    let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(value["verdict"], "compliant");
    assert_eq!(value["rules"][0]["id"], "psnr-valid");
    assert_eq!(value["rules"][1]["value"], 790_496);
    assert_eq!(value["rules"][3]["status"], "not measured");
    value["schema"] = 2.into();
    fsio::write_json(&path, &value).unwrap();
    assert!(matches!(fsio::read_json::<Verdict>(&path), Err(fsio::Error::NewerSchema { .. })));
}

#[test]
fn the_whole_table_of_a_compliant_model() {
    insta::assert_snapshot!(table(&judged(|_| {})), @"
    NTIRE 2022 Challenge on Efficient Super-Resolution
    imdn:blocks=7 (weights c8bd64b7eebe)

      pass          psnr-valid     29.0512 dB  (at least 29.00 dB)
                    29.05 dB in two decimals; 29.0512 dB is 0.0512 dB above 29.00 dB
      pass          parameters     790,496  (at most 893,936)
                    103,440 fewer than IMDN, 88.4 % of its number
      pass          runtime        0.884 x baseline  (at most 1.000 x baseline)
                    0.884 [0.870, 0.890] at 97.9 % confidence, 10 pairs, protocol steady, plan on cpu, 2 threads, f32, one input of 510x339; limits in ms (49.42 on the validation set, 50.86 on average) hold only on the organisers' GPU
      not measured  psnr-test      (baseline 28.78 dB)
                    the HR images of DIV2K 0901-1000 are not public; this row never counts against a model
      information   psnr-baseline  29.0512 dB  (baseline 29.13 dB)
                    29.05 dB in two decimals; 29.0512 dB is 0.0788 dB below 29.13 dB
      information   flops          51,757,711,360  (baseline 58,531,512,320)
                    6,773,800,960 fewer than IMDN, 88.4 % of its number
      information   activations    136,314,880  (baseline 154,140,672)
                    17,825,792 fewer than IMDN, 88.4 % of its number
      information   convolutions   38  (baseline 43)
                    5 fewer than IMDN, 88.4 % of its number
      information   memory         300.00 MiB  (baseline 471.76 MiB)
                    peak resident memory of the process while the model ran on cpu; 471.76 MiB is what PyTorch's allocator counted on the organisers' GPU, so the two cannot be compared

    verdict: compliant (every binding rule passes: psnr-valid, parameters, runtime)
    ");
}

#[test]
fn the_whole_table_of_a_model_that_fails() {
    let verdict = judged(|a| {
        a.evaluation = Some(evaluation(28.996));
        a.inspection.as_mut().unwrap().parameters = 900_000;
        a.measurement = None;
    });
    insta::assert_snapshot!(table(&verdict), @"
    NTIRE 2022 Challenge on Efficient Super-Resolution
    imdn:blocks=7 (weights c8bd64b7eebe)

      FAIL          psnr-valid     28.9960 dB  (at least 29.00 dB)
                    29.00 dB in two decimals; 28.9960 dB is 0.0040 dB below 29.00 dB, although its reading in two decimals is not
                    to do: Evaluate the model on DIV2K 0801-0900 (`esr evaluate --model MODEL --lr DIV2K_valid_LR --hr DIV2K_valid_HR`); if the value is below the limit, train longer or use a larger model.
      FAIL          parameters     900,000  (at most 893,936)
                    6,064 more than IMDN, 1.01 times as many
                    to do: Inspect the collapsed model (`esr inspect MODEL`); collapse the training branches, or use fewer blocks or channels.
      not measured  runtime        (at most 1.000 x baseline)
                    there is no measurement
                    to do: Measure beside the baseline (`esr measure --model MODEL --baseline IMDN_BASELINE`) on a quiet machine; if the ratio is above the limit, use fewer blocks or channels.
      not measured  psnr-test      (baseline 28.78 dB)
                    the HR images of DIV2K 0901-1000 are not public; this row never counts against a model
      information   psnr-baseline  28.9960 dB  (baseline 29.13 dB)
                    29.00 dB in two decimals; 28.9960 dB is 0.1340 dB below 29.13 dB
      information   flops          51,757,711,360  (baseline 58,531,512,320)
                    6,773,800,960 fewer than IMDN, 88.4 % of its number
      information   activations    136,314,880  (baseline 154,140,672)
                    17,825,792 fewer than IMDN, 88.4 % of its number
      information   convolutions   38  (baseline 43)
                    5 fewer than IMDN, 88.4 % of its number
      not measured  memory         (baseline 471.76 MiB)
                    there is no measurement

    verdict: not compliant (fails: psnr-valid, parameters)
    ");
}

#[test]
fn the_whole_table_of_nothing() {
    let verdict = judge(&rules(), &Artefacts::default()).unwrap();
    insta::assert_snapshot!(table(&verdict), @"
    NTIRE 2022 Challenge on Efficient Super-Resolution
    no model: the run holds no artefact

      not measured  psnr-valid     (at least 29.00 dB)
                    there is no evaluation
                    to do: Evaluate the model on DIV2K 0801-0900 (`esr evaluate --model MODEL --lr DIV2K_valid_LR --hr DIV2K_valid_HR`); if the value is below the limit, train longer or use a larger model.
      not measured  parameters     (at most 893,936)
                    there is no inspection
                    to do: Inspect the collapsed model (`esr inspect MODEL`); collapse the training branches, or use fewer blocks or channels.
      not measured  runtime        (at most 1.000 x baseline)
                    there is no measurement
                    to do: Measure beside the baseline (`esr measure --model MODEL --baseline IMDN_BASELINE`) on a quiet machine; if the ratio is above the limit, use fewer blocks or channels.
      not measured  psnr-test      (baseline 28.78 dB)
                    the HR images of DIV2K 0901-1000 are not public; this row never counts against a model
      not measured  psnr-baseline  (baseline 29.13 dB)
                    there is no evaluation
      not measured  flops          (baseline 58,531,512,320)
                    there is no inspection
      not measured  activations    (baseline 154,140,672)
                    there is no inspection
      not measured  convolutions   (baseline 43)
                    there is no inspection
      not measured  memory         (baseline 471.76 MiB)
                    there is no measurement

    verdict: incomplete (not measured: psnr-valid, parameters, runtime)
    ");
}
