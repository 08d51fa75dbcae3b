//! Help, versions, and command lines that make no sense.

use crate::place::Place;

const VERBS: [&str; 14] = [
    "doctor",
    "fetch",
    "pack",
    "inspect",
    "evaluate",
    "upscale",
    "measure",
    "train",
    "collapse",
    "check",
    "package",
    "validate",
    "reproduce",
    "report",
];

#[test]
fn the_help_of_the_program() {
    let place = Place::new();
    let help = place.esr("--help").ok();
    assert_eq!(place.esr("help").ok(), help);
    for verb in VERBS {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb}");
    }
    insta::assert_snapshot!("esr", help);
}

#[test]
fn the_help_of_every_subcommand() {
    let place = Place::new();
    for verb in VERBS {
        let help = place.esr(&format!("{verb} --help")).ok();
        assert_eq!(place.esr(&format!("help {verb}")).ok(), help, "{verb}");
        insta::assert_snapshot!(verb, help);
    }
}

#[test]
fn the_version() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(Place::new().esr("--version").ok(), format!("esr {version}\n"));
    assert_eq!(Place::new().esr("train --version").ok(), format!("esr-train {version}\n"));
}

#[test]
fn nonsense_is_a_usage_error_and_says_what_would_be_right() {
    let place = Place::new();
    let bare = crate::place::Ran::from(place.command::<&str>([]).output().unwrap());
    assert!(bare.fails(2).contains("Usage: esr [OPTIONS] <COMMAND>"));
    for (line, expected) in [
        ("inspct bicubic", "a similar subcommand exists: 'inspect'"),
        ("inspect bicubic --jsn", "a similar argument exists: '--json'"),
        ("inspect", "<MODEL>"),
        ("inspect bicubic --size 0x3", "expected WIDTHxHEIGHT in pixels, e.g. 256x256"),
        ("inspect bicubic --size 256", "expected WIDTHxHEIGHT in pixels, e.g. 256x256"),
        ("evaluate --model bicubic --lr a --hr b --device gpu", "expected cpu or cuda:N"),
        ("evaluate --model bicubic --lr a --hr b --engine fast", "[possible values: plan, reference]"),
        ("evaluate --model bicubic --lr a --hr b --precision f8", "[possible values: f32, tf32, f16, bf16]"),
        (
            "evaluate --model bicubic --lr a --hr b --precision f16",
            "the CPU computes in f32, f16 needs --device cuda:N",
        ),
        ("evaluate --model bicubic --lr a --hr b --threads 0", "--threads must be at least 1"),
        ("evaluate --model bicubic --lr a --hr b --threads many", "invalid value 'many'"),
        (
            "evaluate --model bicubic --lr a --hr b --device cuda:0 --engine reference",
            "the reference engine computes on the CPU only: use --device cpu, or --engine plan",
        ),
        (
            "measure --model imdn --training-step 4x8",
            "--training-step times steps on a GPU: give --device cuda:N; `make bench-step` times them on the CPU",
        ),
        ("collapse a.pth --out b --engine plan", "unexpected argument '--engine'"),
        ("measure --model rfdn --breakdown --baseline rlfn", "cannot be used with"),
        (
            "measure --model rfdn --breakdown --engine reference",
            "--breakdown shows the steps of the planned engine, and the reference engine has none: leave out --engine reference",
        ),
        ("measure --model bicubic --breakdown", "`bicubic` is no network: there are no steps to break down"),
        ("check . --year 1999", "1999"),
        ("reproduce --profile fast", "[possible values: demo, verify, paper]"),
        ("validate a.zip --phase test --lr b", "cannot be used with"),
        ("report runs/demo -q -v", "cannot be used with"),
    ] {
        let stderr = place.esr(line).fails(2);
        assert!(stderr.contains(expected), "{line}: {stderr}");
    }
    assert!(std::fs::read_dir(place.path("")).unwrap().next().is_none(), "nothing is written");
}
