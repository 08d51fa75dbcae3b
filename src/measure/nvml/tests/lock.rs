//! Locking the clocks and, above all, giving them back.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use super::measured::{measured, session};
use super::*;
use crate::interrupt::Signal;
use crate::measure::{Error, GpuWatch};

/// Set for the process that locks the clocks of the library it names.
const LIBRARY: &str = "ESR_TEST_LOCK_LIBRARY";

const LOCK: &str = "lock 0 1410 1410";
const RESET: &str = "reset 0";

fn lock(fake: &FakeNvml, mhz: u32) -> Result<ClockLock, LockError> {
    ClockLock::lock(Some(&fake.path()), FIRST, mhz)
}

#[test]
fn a_lock_is_given_back_once() {
    let fake = FakeNvml::new("");
    let held = lock(&fake, 1410).unwrap();
    assert_eq!((held.mhz(), held.signal()), (1410, None));
    assert_eq!(fake.calls(), [LOCK]);
    drop(held);
    assert_eq!(fake.calls(), [LOCK, RESET]);
    let held = lock(&fake, 1410).unwrap();
    assert_eq!(held.reset(), Ok(()));
    assert_eq!(held.reset(), Ok(()));
    drop(held);
    assert_eq!(fake.calls(), [LOCK, RESET, LOCK, RESET]);
}

#[test]
fn a_panic_gives_the_lock_back() {
    let fake = FakeNvml::new("");
    let held = lock(&fake, 1410).unwrap();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _held = held;
        panic!("on purpose");
    }));
    assert!(ended.is_err());
    assert_eq!(fake.calls(), [LOCK, RESET]);
}

#[test]
fn what_speaks_against_a_lock_is_said_and_changes_nothing() {
    let refused = |script: &str, mhz: u32| {
        let fake = FakeNvml::new(script);
        (lock(&fake, mhz).unwrap_err().to_string(), fake.calls())
    };
    let (message, calls) = refused("nvmlDeviceSetGpuLockedClocks 0 error 4", 1410);
    assert!(message.contains("needs root") && message.contains("--lock-gpu-clocks=1410"), "{message}");
    assert_eq!(calls, [LOCK], "what was not locked is not reset");
    let (message, calls) = refused("nvmlDeviceSetGpuLockedClocks 0 error 3", 1410);
    assert!(message.contains("this device does not support it"), "{message}");
    assert_eq!(calls, [LOCK]);
    for mhz in [0, 1981] {
        let (message, calls) = refused("", mhz);
        assert!(
            message.contains(&format!("{mhz} MHz: give one from 1 MHz to the device's highest of 1980")),
            "{message}"
        );
        assert!(calls.is_empty());
    }
    let (message, calls) = refused("nvmlDeviceIsMigDeviceHandle 0 value 1", 1410);
    assert!(message.contains("MIG instance") && calls.is_empty(), "{message}");
    let fake = FakeNvml::without("nvmlDeviceSetGpuLockedClocks", "");
    let message = lock(&fake, 1410).unwrap_err().to_string();
    assert!(message.contains("too old") && fake.calls().is_empty(), "{message}");
    let nowhere = ClockLock::lock(Some(std::path::Path::new("/nonexistent/nvml.so")), FIRST, 1410);
    assert!(matches!(nowhere, Err(LockError::Unavailable(Unavailable::NoLibrary { .. }))));
}

#[test]
fn a_session_has_the_lock_in_its_log() {
    let fake = FakeNvml::new("");
    let mut session = session(&fake, Some(1410));
    assert_eq!(session.locked_mhz(), Some(1410));
    let labels = |log: &GpuLog| -> Vec<String> { log.marks.iter().map(|mark| mark.label.clone()).collect() };
    let expected = [
        "the SM clock is being locked to 1410 MHz",
        "the SM clock is locked to 1410 MHz",
        "the SM clock is being reset",
        "the SM clock is reset",
    ];
    assert_eq!(labels(session.end()), expected);
    assert_eq!(labels(session.end()), expected, "the second end is the first");
    drop(session);
    assert_eq!(fake.calls(), [LOCK, RESET]);
}

#[test]
fn a_refused_reset_is_told() {
    let fake = FakeNvml::new("nvmlDeviceResetGpuLockedClocks 0 error 999");
    let mut session = session(&fake, Some(1410));
    session.end();
    let notes = session.lock_notes().concat();
    assert!(
        notes.contains("could not be reset") && notes.contains("nvidia-smi --reset-gpu-clocks"),
        "{notes}"
    );
}

#[test]
fn a_session_without_a_lock_changes_nothing() {
    let fake = FakeNvml::new("");
    session(&fake, None).end();
    assert!(fake.calls().is_empty());
}

#[test]
fn a_measurement_under_a_lock_is_held_against_it() {
    let fake = FakeNvml::new("");
    let mut session = session(&fake, Some(1410));
    let m = measured(&mut session, false).unwrap().measurement;
    assert_eq!(fake.calls(), [LOCK, RESET], "the end of the measurement is the end of the lock");
    let gpu = m.gpu.unwrap();
    assert_eq!(gpu.locked_sm_mhz, Some(1410));
    assert_eq!(gpu.reference.unwrap().mhz, 1410);
    assert_eq!((gpu.sm_clock.min_mhz, gpu.sm_clock.max_mhz), (Some(1410.0), Some(1410.0)));
    assert_eq!(gpu.sm_clock.unknown, 0);
    assert!(gpu.vouches && gpu.energy_mj.unwrap() > 0, "{:?}", gpu.notes);
    assert!(gpu.sampler.share_of_windows.is_some());
    assert!(m.timing.validity_reason.contains("SM clock 1410 MHz"), "{}", m.timing.validity_reason);
    let log = session.end();
    assert!(log.marks.iter().any(|mark| mark.label == "candidate window 1 begins"));
}

#[test]
fn a_measurement_that_fails_gives_the_lock_back() {
    let fake = FakeNvml::new("");
    let mut session = session(&fake, Some(1410));
    assert!(matches!(measured(&mut session, true), Err(Error::Workload { .. })));
    drop(session);
    assert_eq!(fake.calls(), [LOCK, RESET]);
}

/// Not a test of its own: what the processes below run.
#[test]
fn child() {
    let Some(library) = std::env::var_os(LIBRARY) else { return };
    let held = ClockLock::lock(Some(std::path::Path::new(&library)), FIRST, 1410).unwrap();
    println!("\nLOCKED");
    let begun = Instant::now();
    let signal = loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "no signal came");
        if let Some(signal) = held.signal() {
            break signal;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    println!("\n{signal:?}");
    if std::env::var_os("ESR_TEST_LOCK_HANGS").is_some() {
        std::thread::sleep(Duration::from_secs(60));
    }
}

/// A process that holds a lock, with its standard output behind the word that it does.
fn holder(fake: &FakeNvml, hangs: bool) -> (Child, BufReader<std::process::ChildStdout>) {
    let name = format!("{}::child", module_path!().split_once("::").unwrap().1);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &name, "--nocapture"]).env(LIBRARY, fake.path()).stdout(Stdio::piped());
    if hangs {
        command.env("ESR_TEST_LOCK_HANGS", "1");
    }
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    wait_for_line(&mut output, "LOCKED");
    (child, output)
}

fn wait_for_line(output: &mut impl BufRead, wanted: &str) {
    let mut line = String::new();
    while line.trim() != wanted {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "the process ended without {wanted}");
    }
}

fn send(child: &Child, signal: i32) {
    // SAFETY: `kill` has no memory preconditions, and the process is ours and not yet waited for.
    unsafe { libc::kill(i32::try_from(child.id()).unwrap(), signal) };
}

#[test]
fn the_first_signal_is_told_and_the_lock_goes_with_the_process() {
    for (number, signal) in [
        (libc::SIGINT, Signal::Interrupt),
        (libc::SIGTERM, Signal::Terminate),
        (libc::SIGHUP, Signal::Terminate),
    ] {
        let fake = FakeNvml::new("");
        let (mut child, mut output) = holder(&fake, false);
        assert_eq!(fake.calls(), [LOCK]);
        send(&child, number);
        wait_for_line(&mut output, &format!("{signal:?}"));
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert!(child.wait().unwrap().success(), "{rest}");
        assert_eq!(fake.calls(), [LOCK, RESET]);
    }
}

#[test]
fn the_second_signal_ends_a_process_that_hangs_but_not_its_lock() {
    let fake = FakeNvml::new("");
    let (mut child, mut output) = holder(&fake, true);
    send(&child, libc::SIGTERM);
    wait_for_line(&mut output, "Terminate");
    assert_eq!(fake.calls(), [LOCK]);
    send(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(fake.calls(), [LOCK, RESET]);
}
