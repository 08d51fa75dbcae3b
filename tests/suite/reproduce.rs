//! `esr reproduce` and what works on its run directory: `check`, `package`, `validate`, `report`.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::place::{Place, Ran, settings, settings_with, wait_until};

const REPRODUCE: &str = "reproduce --run run";

const STAGES: [&str; 10] = [
    "data",
    "train",
    "collapse",
    "inspect",
    "evaluate",
    "measure",
    "measure-paper",
    "check",
    "package",
    "report",
];

/// A place whose run directory holds the tiny settings, as a person writes them.
fn place() -> Place {
    let place = Place::with_data();
    place.write("run/settings.toml", settings().as_bytes());
    place
}

/// The stages that ran, by what standard error says; each stage must be told of, in order.
#[track_caller]
fn stages_run(ran: &Ran) -> Vec<&'static str> {
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines = ran.stderr.lines().filter_map(|line| {
        let (name, what) = line.strip_prefix("  ")?.split_once(' ')?;
        let name = STAGES.into_iter().find(|stage| *stage == name)?;
        Some((name, what.trim_start().starts_with("done in ")))
    });
    let (told, ran): (Vec<_>, Vec<_>) = lines.unzip();
    assert_eq!(told, STAGES);
    told.into_iter().zip(ran).filter_map(|(name, ran)| ran.then_some(name)).collect()
}

#[test]
fn the_whole_way() {
    let place = place();
    let ran = place.esr(REPRODUCE);
    assert_eq!(stages_run(&ran), STAGES);
    let stdout = ran.ok();
    for line in ["archive   run/submission.zip", "report    run/report.md"] {
        assert!(stdout.lines().any(|found| found == line), "{stdout}");
    }
    assert!(
        stdout.starts_with("PSNR      ") && stdout.contains(" dB on tiny validation; bicubic "),
        "{stdout}"
    );
    assert!(stdout.contains("\nverdict   incomplete by the rules of 2022\n"), "{stdout}");
    insta::assert_snapshot!("files", place.tree("run").into_keys().collect::<Vec<_>>().join("\n"));
    assert_eq!(place.text("run/settings.toml"), settings(), "the author's file is left alone");

    let report = place.json("run/report.json");
    assert_eq!((&report["schema"], &report["profile"]), (&json!(1), &json!("demo")));
    let stages = report["stages"].as_array().unwrap();
    let names: Vec<&str> = stages.iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(names, STAGES[..9], "all before the report itself");
    for stage in stages {
        assert!(stage["status"].is_string() && stage["seconds"].is_number(), "{stage}");
    }
    let evaluation = &report["evaluation"];
    let number = |value: &Value| value.as_f64().unwrap();
    let gain = number(&evaluation["psnr_rgb_db"]) - number(&evaluation["bicubic_psnr_rgb_db"]);
    assert!((number(&evaluation["gain_db"]) - gain).abs() < 1e-9);
    assert!(number(&report["collapse"]["max_abs_difference"]) < 2e-5);
    let claims = report["claims"].as_array().unwrap();
    assert!(!claims.is_empty());
    for claim in claims {
        for key in ["id", "status", "published", "measured", "how"] {
            assert!(claim.get(key).is_some(), "{key}: {claim}");
        }
        // Scores on other images than the paper's prove and disprove nothing.
        if claim["id"].as_str().unwrap().contains("psnr") {
            assert_eq!(claim["status"], "not attempted", "{claim}");
        }
    }

    let again = place.esr("report run");
    assert_eq!(again.stderr, "");
    assert_eq!(again.ok(), place.text("run/report.md"));
    assert_eq!(place.esr("report run --json").json(), report);
    place.write("run/report.md", b"edited");
    let again = place.esr("report run");
    assert_eq!(again.stderr, "updated `run/report.md`\n");
    assert_eq!(again.ok(), place.text("run/report.md"));
}

#[test]
fn a_finished_run_does_nothing() {
    let place = Place::with_finished_run();
    let before = place.tree("run");
    let ran = place.esr(REPRODUCE);
    assert_eq!(stages_run(&ran), Vec::<&str>::new());
    assert!(ran.stderr.contains("nothing to do: every stage's inputs, settings and outputs are unchanged\n"));
    assert_eq!(place.tree("run"), before);
    let quiet = place.esr("-q reproduce --run run");
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
}

/// The other engine would not end with the same bits: a run goes on with the engine that trained it, and nothing is lost when asked otherwise.
#[test]
fn a_run_keeps_its_engine() {
    let place = Place::with_finished_run();
    // The record of the stage that was about to begin is all that may go.
    let results = |place: &Place| {
        let mut tree = place.tree("run");
        tree.remove("stages/train.json");
        tree
    };
    let before = results(&place);
    let ran = place.esr("reproduce --run run --engine reference");
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("go on with `--engine plan`"), "{}", ran.stderr);
    assert_eq!(results(&place), before);
    // The stage is recorded again, and the report says when; what was trained and made of it is the same.
    place.esr(REPRODUCE).ok();
    let after = results(&place);
    for file in
        ["model.safetensors", "train/metrics.jsonl", "evaluation.json", "measurement.json", "submission.zip"]
    {
        assert_eq!(after.get(file), before.get(file), "{file}");
    }
}

#[test]
fn only_what_changed_is_done_again() {
    let place = Place::with_finished_run();
    let before = place.tree("run");
    for (file, expected) in [
        ("verdict.json", &["check", "report"][..]),
        ("report.md", &["report"]),
        ("sr/valid0.png", &["evaluate", "report"]),
        ("collapsed.safetensors", &["collapse", "report"]),
        ("model.safetensors", &["train", "report"]),
        ("stages/inspect.json", &["inspect", "report"]),
    ] {
        for delete in [true, false] {
            match delete {
                true => std::fs::remove_file(place.path("run").join(file)).unwrap(),
                false => place.damage(&format!("run/{file}")),
            }
            let ran = place.esr(REPRODUCE);
            assert_eq!(stages_run(&ran), expected, "{file}, deleted: {delete}");
        }
    }
    let after = place.tree("run");
    for file in
        ["model.safetensors", "collapsed.safetensors", "evaluation.json", "sr/valid0.png", "verdict.json"]
    {
        assert_eq!(after[file], before[file], "{file}");
    }
    assert!(after.keys().eq(before.keys()));
}

#[test]
fn new_validation_images_are_noticed() {
    let place = Place::with_finished_run();
    place.pair("data/valid", "valid0", 60, 64);
    let ran = place.esr(REPRODUCE);
    let again = stages_run(&ran);
    assert!(
        again.starts_with(&["data"]) && again.contains(&"evaluate") && again.contains(&"package"),
        "{again:?}"
    );
    assert!(!again.contains(&"measure-paper"), "{again:?}");
    assert_eq!(place.image("run/sr/valid0.png").height(), 64);
}

#[test]
fn a_killed_run_goes_on_to_the_same_model() {
    let whole = Place::with_finished_run().tree("run");
    let number = |name: &str| STAGES.iter().position(|stage| *stage == name).unwrap();
    // Before the record of stage 2 (train) and 5 (evaluate), and in the middle of training.
    for (point, first) in [
        ("stage.before-record:2", "train"),
        ("stage.before-record:5", "evaluate"),
        ("train.after-step:7", "train"),
        ("checkpoint.before-latest:2", "train"),
    ] {
        let place = place();
        place.killed_at(point, REPRODUCE);
        // Killed once more after what is compared here: measuring takes long and is no function of its inputs.
        let stages = number("measure") - number(first) + 1;
        place.killed_at(&format!("stage.before-record:{stages}"), REPRODUCE);
        let resumed = place.tree("run");
        let compared = [
            "model.safetensors",
            "collapsed.safetensors",
            "train/metrics.jsonl",
            "inspection.json",
            "evaluation.json",
            "sr/valid0.png",
        ];
        for file in compared {
            assert_eq!(resumed[file], whole[file], "{point}: {file}");
        }
    }
}

#[test]
fn a_run_killed_in_every_stage_ends_complete() {
    let place = place();
    // Each process finishes one stage more than the one before, and dies before it records the next.
    for _ in 0..STAGES.len() / 2 {
        place.killed_at("stage.before-record:2", REPRODUCE);
    }
    let ran = place.esr(REPRODUCE);
    assert_eq!(stages_run(&ran), STAGES[5..]);
    assert!(place.tree("run").keys().eq(Place::with_finished_run().tree("run").keys()));
}

#[test]
fn an_interrupted_run_says_what_to_do() {
    let place = place();
    place.write("run/settings.toml", settings_with("epochs = 2\n", "epochs = 100\n").as_bytes());
    for (signal, name, code) in [(libc::SIGINT, "SIGINT", 130), (libc::SIGTERM, "SIGTERM", 143)] {
        let _ = std::fs::remove_file(place.path("run/train/LATEST"));
        let mut command = place.command(REPRODUCE.split(' '));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until("a checkpoint", || place.exists("run/train/LATEST"));
        // SAFETY: `kill` has no memory preconditions; the child has not been waited for, so its number is not another process's.
        assert_eq!(unsafe { libc::kill(libc::pid_t::try_from(child.id()).unwrap(), signal) }, 0);
        let stderr = Ran::from(child.wait_with_output().unwrap()).fails(code);
        let expected = format!(
            "error: stopped by {name}; what is finished stays; the same command goes on from there\n"
        );
        assert!(stderr.ends_with(&expected), "{stderr}");
        assert!(!place.exists("run/model.safetensors"));
    }
}

#[test]
fn missing_data_is_listed_with_what_to_do() {
    let place = Place::new();
    for profile in ["verify", "paper"] {
        let ran = place.esr(&format!("reproduce --profile {profile}"));
        insta::assert_snapshot!(format!("missing_{profile}"), ran.fails(4));
    }
}

#[test]
fn a_profile_and_another_runs_settings() {
    let place = place();
    let stderr = place.esr("reproduce --run run --profile demo").fails(2);
    assert!(
        stderr.contains("`run` holds a run with other settings (its settings.toml) than profile `demo`"),
        "{stderr}"
    );
    assert_eq!(place.text("run/settings.toml"), settings());
    place.write("run/settings.toml", settings_with("[measure]", "[mesure]").as_bytes());
    let stderr = place.esr(REPRODUCE).fails(2);
    assert!(
        stderr.contains("`run/settings.toml` is not a valid settings file") && stderr.contains("mesure"),
        "{stderr}"
    );
}

#[test]
fn settings_are_printed_and_repeat_themselves() {
    let place = Place::new();
    for profile in ["demo", "verify", "paper"] {
        let text = place.esr(&format!("reproduce --print-config --profile {profile}")).ok();
        assert!(text.starts_with(&format!("# from profile {profile}\n")), "{text}");
        place.write("run/settings.toml", text.as_bytes());
        let (_, settings) = text.split_once('\n').unwrap();
        let again = place.esr("reproduce --print-config --run run").ok();
        assert_eq!(again, format!("# from run/settings.toml\n{settings}"));
    }
    assert_eq!(
        place.esr("reproduce --print-config").ok(),
        place.esr("reproduce --print-config --profile demo").ok()
    );
    assert!(!place.exists("runs"), "nothing is written");
}

#[test]
fn check_package_and_validate() {
    let place = Place::with_finished_run();
    let before = place.tree("run");
    let found = place.esr("check run --json").json();
    assert_eq!(found, place.json("run/verdict.json"));
    assert_eq!(found["verdict"], "incomplete");
    for rule in found["rules"].as_array().unwrap() {
        for key in ["id", "status", "value", "limit", "reason"] {
            assert!(rule.get(key).is_some(), "{key}: {rule}");
        }
    }
    assert!(place.esr("check run").ok().contains("incomplete"));
    let strict = place.esr("check run --strict");
    assert_eq!(strict.code, 3);
    assert_eq!(strict.stderr, "error: the verdict is incomplete, which --strict does not accept\n");
    assert_eq!(place.tree("run"), before, "check writes nothing");

    let printed = place.esr("package run --out x.zip").ok();
    let hash = esr::fsio::sha256_file(&place.path("x.zip")).unwrap();
    assert_eq!(printed, format!("x.zip\nsha256 {hash}\n2 images, audited and accepted\n"));
    place.esr("package run --out y.zip").ok();
    assert_eq!(place.bytes("y.zip"), place.bytes("x.zip"));
    assert_eq!(place.bytes("run/submission.zip"), place.bytes("x.zip"));

    let report = place.esr("validate x.zip --lr data/valid/LR --json").json();
    assert_eq!((&report["accepted"], &report["schema"]), (&json!(true), &json!(1)));
    for finding in report["findings"].as_array().unwrap() {
        for key in ["severity", "where", "what", "fix"] {
            assert!(finding[key].is_string(), "{key}: {finding}");
        }
    }
    assert!(place.esr("validate x.zip").ok().contains("accepted: 3 members, 2 images, 2 of them sound\n"));
    let other = place.esr("validate x.zip --phase test");
    assert_eq!(other.code, 3, "{other:?}");
    assert!(other.stdout.contains("not accepted: "), "{other:?}");
    let other = place.esr("validate x.zip --lr data/train/LR");
    assert!(other.code == 3 && other.stdout.contains("train0.png"), "{other:?}");

    place.damage("y.zip");
    let tampered = place.esr("validate y.zip --lr data/valid/LR");
    assert_eq!(tampered.code, 3, "{tampered:?}");
    assert_eq!(tampered.stderr, "error: `y.zip` would not be accepted; the findings say why\n");
    place.write("z.zip", b"PK is how a zip begins, but this is none");
    let stderr = place.esr("validate z.zip").fails(4);
    assert!(stderr.contains("`z.zip`"), "{stderr}");
    assert!(place.esr("validate none.zip").fails(4).contains("none.zip"));
}

#[test]
fn without_a_run_it_is_told_what_to_do() {
    let place = Place::new();
    std::fs::create_dir(place.path("empty")).unwrap();
    for (line, expected) in [
        ("report empty", "`empty` has no report to show: make one with `esr reproduce`"),
        ("package empty", "empty/settings.toml"),
        ("check nowhere", "nowhere"),
    ] {
        let stderr = place.esr(line).fails(4);
        assert!(stderr.contains(expected), "{line}: {stderr}");
    }
    assert_eq!(place.esr("check empty").code, 0);
    assert_eq!(place.esr("check empty --strict").code, 3);
    place.write("half/settings.toml", settings().as_bytes());
    let stderr = place.esr("package half").fails(4);
    assert!(stderr.contains("`half` has no SR images: run `esr reproduce`"), "{stderr}");
}
