//! The log as a file, and what it tells a reader.

use super::*;

#[test]
fn a_reader_is_told_what_weakens_a_timing() {
    let quiet = recorded(&FakeNvml::new(""), 2);
    assert!(quiet.vouches());
    // A machine under load can make reading slow, which is a note of its own.
    assert!(quiet.notes().iter().all(|note| note.starts_with("NVML was being asked")), "{:?}", quiet.notes());
    let about = |script: &str, n: usize| {
        let log = recorded(&FakeNvml::new(script), n);
        (log.vouches(), log.notes().join("; "))
    };
    let (vouches, note) = about("nvmlDeviceGetCurrentClocksThrottleReasons 2 value 196", 2);
    assert!(vouches && note.contains(": hardware thermal slowdown, power brake"), "{note}");
    let (vouches, note) = about("nvmlDeviceGetCurrentClocksThrottleReasons 0 error 3", 2);
    assert!(!vouches && note.contains("`throttle_reasons` of the GPU is unknown in "), "{note}");
    let (vouches, note) = about("* 3 error 15", usize::MAX);
    assert!(!vouches && note.contains("the GPU stopped answering after 0."), "{note}");
    let (vouches, note) = about("nvmlDeviceGetComputeMode 1 value 2", 1);
    assert!(vouches && note.contains("changed meanwhile: `compute_mode`"), "{note}");
    let (vouches, note) = about("nvmlInit_v2 0 error 9", 0);
    assert!(!vouches && note.contains("unknown: the NVIDIA driver is not loaded"), "{note}");
}

#[test]
fn a_log_survives_the_file_and_a_damaged_one_does_not() {
    let fake = FakeNvml::new("nvmlDeviceGetTemperature 0 error 3\n* 4 error 15");
    let mut recorder = GpuRecorder::start(&options(fake.path(), FIRST), MonotonicClock::new());
    recorder.mark("warm-up");
    wait_for(&recorder, usize::MAX);
    recorder.mark("forward \"1\"\nbegins");
    let log = recorder.finish();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gpu.jsonl");
    log.write(&path).unwrap();
    assert_eq!(GpuLog::read(&path).unwrap(), log);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 4 + 2 + 1);
    let refuse = |text: &str| {
        crate::fsio::write(&path, text.as_bytes()).unwrap();
        GpuLog::read(&path).unwrap_err().to_string()
    };
    for keep in 0..lines.len() {
        assert!(refuse(&lines[..keep].join("\n")).contains("complete"), "{keep} lines");
        // A line left out or twice is found by the footer's counts or the order.
        let without = [&lines[..keep], &lines[keep + 1..]].concat().join("\n");
        refuse(&without);
        let twice = [&lines[..=keep], &lines[keep..]].concat().join("\n");
        refuse(&twice);
    }
    assert!(refuse(&text.replace("\"schema\":1", "\"schema\":2")).contains("reads up to 1"));
    assert!(refuse(&text.replace("\"sm_mhz\":", "\"sm_khz\":")).contains("unknown field `sm_khz`"));
}

#[test]
fn a_log_without_a_device_survives_the_file_too() {
    let fake = FakeNvml::new("nvmlInit_v2 0 error 9");
    let log = GpuRecorder::start(&options(fake.path(), FIRST), MonotonicClock::new()).finish();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gpu.jsonl");
    log.write(&path).unwrap();
    assert_eq!(GpuLog::read(&path).unwrap(), log);
    assert!(std::fs::read_to_string(&path).unwrap().contains(r#""unavailable":{"class":"no_driver"}"#));
}

proptest::proptest! {
    #[test]
    fn a_damaged_log_is_an_error_and_no_panic(at in 0usize..2000, byte: u8, cut in 0usize..2000) {
        let footer = GpuLogFooter::default();
        let header = GpuLogHeader {
            schema: 1,
            what: String::new(),
            started_unix_ms: 0,
            started_ns: 0,
            period_ms: 10,
            uuid: FIRST.to_owned(),
            unavailable: Some(Unavailable::NoAnswer { seconds: 0.5 }),
            facts: Some(GpuFacts::default()),
        };
        let mut bytes = Vec::new();
        GpuLog { header, samples: Vec::new(), marks: Vec::new(), footer }.write_lines(&mut bytes).unwrap();
        let n = bytes.len();
        bytes[at % n] = byte;
        bytes.truncate(n - cut % n);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gpu.jsonl");
        std::fs::write(&path, &bytes).unwrap();
        // Either it is refused, or what was read is written as what was read.
        if let Ok(log) = GpuLog::read(&path) {
            let mut again = Vec::new();
            log.write_lines(&mut again).unwrap();
            std::fs::write(&path, &again).unwrap();
            proptest::prop_assert_eq!(GpuLog::read(&path).unwrap(), log);
        }
    }
}
