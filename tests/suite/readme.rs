//! The README's commands: each is understood by the program, and those that need no data are run.

use std::fs;
use std::process::Command;

use clap::Parser;
use esr::cli::Cli;

/// Commands of the README: lines that start with `$ ` in code blocks, and code in tables.
fn commands() -> Vec<String> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let mut commands: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect();
    for row in text.lines().filter(|line| line.starts_with('|')) {
        let code = row.split('`').skip(1).step_by(2);
        commands.extend(
            code.filter(|code| code.starts_with("esr ") || code.starts_with("make ")).map(str::to_owned),
        );
    }
    commands
}

#[test]
fn every_command_is_understood() {
    let makefile = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile")).unwrap();
    let commands = commands();
    assert!(commands.len() > 15, "found only {} commands", commands.len());
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words.as_slice() {
            ["make", target, ..] => {
                assert!(makefile.contains(&format!("\n{target}:")), "no target for `{command}`")
            }
            ["esr", ..] => {
                if let Err(error) = Cli::try_parse_from(&words) {
                    panic!("`{command}`: {error}");
                }
            }
            _ => panic!("`{command}` starts with neither esr nor make"),
        }
    }
}

#[test]
fn commands_that_need_no_files_run() {
    let mut ran = 0;
    for command in commands() {
        let words: Vec<&str> = command.split_whitespace().collect();
        let needs_files = words.iter().any(|word| {
            word.contains('/') || word.contains(".pth") || word.contains(".esrpack") || word.contains("Set5")
        });
        // Fetching needs a network; only what can be fetched is known without one.
        let needs_data = words.get(1) == Some(&"fetch") && !words.contains(&"--list");
        let needs_gpu = words.iter().any(|word| word.starts_with("cuda:"));
        if words[0] != "esr" || needs_gpu || needs_files || needs_data || words.contains(&"submission.zip") {
            continue;
        }
        let output = Command::new(env!("CARGO_BIN_EXE_esr")).args(&words[1..]).output().unwrap();
        assert!(output.status.success(), "`{command}`: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!output.stdout.is_empty(), "`{command}` printed nothing");
        ran += 1;
    }
    assert!(ran >= 4, "only {ran} commands ran");
}
