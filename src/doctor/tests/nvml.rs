//! What the report says of NVML.

use super::super::nvml::Nvml;
use super::*;
use crate::measure::nvml::fake::FakeNvml;
use crate::measure::nvml::{LIBRARY_VARIABLE, Refusal};

/// The module whose test `child` is the process that makes a report.
const CHILD: &str = "esr::doctor::tests";

/// What is said of NVML on a machine with the given devices of CUDA.
fn of_nvml(devices: usize, nvml: Nvml) -> String {
    let gpu = Gpu { devices: (0..devices).map(|ordinal| device(ordinal, |_| ())).collect(), ..many().gpu };
    let report = Report::judge(Facts { gpu, nvml, ..plain() });
    let line = |finding: Finding| {
        let advice = finding.advice.map_or_else(String::new, |advice| format!("  → {advice}\n"));
        format!("{}: {}\n{advice}", finding.status.name(), finding.what)
    };
    report.findings.into_iter().filter(|finding| finding.topic == Topic::Nvml).map(line).collect()
}

#[test]
fn a_gpu_that_is_not_in_a_state_to_be_measured() {
    let bad = listed(0, |gpu| {
        gpu.now.throttle_reasons = Some(ThrottleReasons(0x44));
        gpu.now.temperature_celsius = Some(86);
        gpu.now.gpu_utilisation_percent = Some(97);
        gpu.facts.power_limit_mw = Some(350_000);
        gpu.facts.persistence_mode = Some(false);
        gpu.facts.mig_enabled = Some(true);
    });
    insta::assert_snapshot!(of_nvml(1, Nvml { gpus: vec![bad], root: true, ..Nvml::default() }), @r"
    works: cuda:0: SM clock 345 MHz (at most 1980, 1830 for applications), 86 °C, its clocks are limited by: power cap, hardware thermal slowdown, persistence off, ECC on, MIG on, compute mode default
    limited: cuda:0: it slows itself down now: hardware thermal slowdown
      → let it cool down; look at the fans, the air and the power supply
    limited: cuda:0: 86 °C are near the 89 °C at which it slows down
      → let it cool down; look at the fans and the air
    limited: cuda:0: somebody uses it: 97 % busy
      → before measuring: `nvidia-smi` names the processes
    limited: cuda:0: its power is limited to 350 W instead of 700 W
      → if that is not meant: as root `nvidia-smi -pl WATTS`
    limited: cuda:0: persistence mode is off, so the driver unloads between programs and each start takes seconds
      → as root: `nvidia-smi -pm 1`
    limited: cuda:0: MIG is on: clocks, power and temperature are shared by all instances
      → for times to be published switch it off: as root `nvidia-smi -mig 0`
    works: this user may lock clocks, unless the container forbids it
      → for steady times: `esr measure --lock-clocks MHZ`, which gives them back at the end
    ");
}

#[test]
fn devices_are_matched_by_uuid_and_missing_ones_are_named() {
    let silent = listed(1, |gpu| {
        gpu.facts = GpuFacts { uuid: gpu.facts.uuid.clone(), ..GpuFacts::default() };
        gpu.now = GpuSample::default();
        let refused =
            serde_json::json!({"sm_mhz": {"no_permission": 1}, "throttle_reasons": {"not_supported": 1}});
        gpu.refusals = serde_json::from_value(refused).unwrap();
    });
    let nvml = Nvml {
        gpus: vec![silent, listed(0, |gpu| gpu.now.sm_mhz = Some(1980))],
        closed: vec![(2, Refusal::OperatingSystem)],
        ..Nvml::default()
    };
    insta::assert_snapshot!(of_nvml(3, nvml), @r"
    works: cuda:0: SM clock 1980 MHz (at most 1980, 1830 for applications), 31 °C, its clocks are limited by: GPU idle, persistence on, ECC on, MIG off, compute mode default
    works: cuda:1: it answers, but tells nothing of itself
    limited: cuda:1: it does not tell its clock: this user may not ask for it
      → its times are reported as unlocked; nothing else suffers
    limited: cuda:1: it does not tell why it is slow: this device does not support it
      → its times are reported as unlocked; nothing else suffers
    limited: cuda:2 is not among the devices that NVML lists; NVML's device 2 refuses to be opened: the operating system or a control group blocks the device
      → its times are reported as unlocked; in a container give it the device's files and the `utility` capability
    limited: this user may not lock clocks: that needs root
      → measure all the same: clocks that stay within 2 % by themselves are as good; else run `esr measure --lock-clocks` as root
    ");
}

#[test]
fn an_instance_is_its_gpu_and_nothing_is_said_without_a_driver() {
    let instance = |facts: &mut DeviceFacts| {
        facts.parent_uuid = Some(facts.uuid.clone());
        facts.uuid = "MIG-11111111-0000-0000-0000-000000000000".into();
        facts.mig = true;
    };
    let gpu = Gpu { devices: vec![device(0, instance)], ..many().gpu };
    let report = Report::judge(Facts { gpu, ..many() });
    let found = report.findings.iter().find(|finding| finding.topic == Topic::Nvml).unwrap();
    assert!(found.what.starts_with("cuda:0: SM clock 345 MHz"), "{found:?}");
    let none = Facts { nvml: many().nvml, ..plain() };
    assert!(Report::judge(none).findings.iter().all(|finding| finding.topic != Topic::Nvml));
}

#[test]
fn a_device_of_cuda_is_found_in_nvml() {
    let driver = Fake::build(&[]);
    // Two devices, of which the second is the one that CUDA calls 0.
    let script = "devices 0 value 2\nnvmlDeviceGetUUID 0 value GPU-00000000-0000-0000-0000-000000000000";
    let nvml = FakeNvml::new(&format!("{script}\nnvmlDeviceGetHandleByIndex_v2:0 0 error 17"));
    let library = nvml.path();
    let variables = [("FAKE_CUDA", "devices=1"), (LIBRARY_VARIABLE, library.to_str().unwrap())];
    let report = fake::ask(Some(driver.folder()), &fake::child_of(CHILD), "report", &variables);
    assert_eq!(report["nvml"]["unavailable"], serde_json::Value::Null, "{}", report["nvml"]);
    assert_eq!(report["nvml"]["closed"], serde_json::json!([[0, "operating_system"]]));
    assert_eq!(report["nvml"]["gpus"][0]["now"]["sm_mhz"], 1880);
    let findings = report["findings"].as_array().unwrap().iter();
    let told: Vec<&str> = findings
        .filter(|finding| finding["topic"] == "nvml")
        .map(|finding| finding["what"].as_str().unwrap())
        .collect();
    assert!(
        told[0].starts_with("cuda:0: SM clock 1880 MHz (at most 1980, 1830 for applications)"),
        "{told:?}"
    );
    assert!(nvml.calls().is_empty(), "looking changes nothing");
}
