//! What NVML says of the GPUs that can be computed on: whether they can be watched, and whether they are in a state to be measured in.
//!
//! The devices of CUDA and NVML are matched by UUID, because the two number them differently. Everything is asked once and nothing is
//! changed; whether clocks may be locked is only known for certain by doing it.

use serde::Serialize;

use super::gpu::{Device, Gpu};
use super::report::{Finding, Status, Topic};
use crate::measure::nvml::{
    self, GpuFacts, GpuList, GpuSample, ListedGpu, Refusal, ThrottleReasons, Unavailable,
};

/// Distance from the slowdown temperature below which a GPU is called hot: it will reach it under load.
const NEAR_SLOWDOWN_CELSIUS: u32 = 10;

/// Utilisation above which a GPU is called busy, in per cent. An idle one shows 0, and the driver's own work 1 or 2.
const BUSY_PERCENT: u32 = 5;

/// What a measurement cannot do without.
const ESSENTIAL: [(&str, &str); 2] = [("sm_mhz", "its clock"), ("throttle_reasons", "why it is slow")];

/// What is seen of NVML.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Nvml {
    /// Why it cannot be asked at all.
    pub unavailable: Option<Unavailable>,
    /// The devices that answer.
    pub gpus: Vec<ListedGpu>,
    /// The numbers of those that refuse even a handle, and why.
    pub closed: Vec<(u32, Refusal)>,
    /// Whether this process runs as root, which changing clocks and settings needs.
    pub root: bool,
}

impl Nvml {
    pub(super) fn look() -> Self {
        let root = is_root();
        match nvml::list_gpus(nvml::library_path(None).as_deref()) {
            Ok(GpuList { gpus, closed }) => Self { unavailable: None, gpus, closed, root },
            Err(why) => Self { unavailable: Some(why), root, ..Self::default() },
        }
    }

    /// The one that CUDA knows by this UUID, or for a MIG instance the GPU that it is a part of.
    fn of(&self, device: &Device) -> Option<&ListedGpu> {
        let facts = device.facts.as_ref()?;
        let named = [Some(facts.uuid.as_str()), facts.parent_uuid.as_deref()];
        named.into_iter().flatten().find_map(|uuid| {
            let is_it = |gpu: &&ListedGpu| {
                gpu.facts.uuid.as_deref().is_some_and(|found| nvml::same_uuid(found, uuid))
            };
            self.gpus.iter().find(is_it)
        })
    }
}

fn is_root() -> bool {
    // SAFETY: `geteuid` has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// What it means. Without a GPU nothing is missing, so nothing is said.
pub(super) fn findings(nvml: &Nvml, gpu: &Gpu) -> Vec<Finding> {
    if gpu.driver.is_none() {
        return Vec::new();
    }
    if let Some(why) = &nvml.unavailable {
        let what = format!("GPUs cannot be watched: {why}");
        return vec![
            Finding::new(Topic::Nvml, Status::Limited, what)
                .advise("they can be measured all the same; their times are reported as unlocked"),
        ];
    }
    let mut findings: Vec<Finding> = Vec::new();
    for device in gpu.devices.iter().filter(|device| device.facts.is_some()) {
        let name = format!("cuda:{}", device.ordinal);
        match nvml.of(device) {
            Some(listed) => findings.extend(of_device(&name, listed)),
            None => findings.push(not_listed(&name, nvml)),
        }
    }
    if !gpu.devices.is_empty() {
        findings.push(lock(nvml.root));
    }
    findings
}

fn not_listed(name: &str, nvml: &Nvml) -> Finding {
    let closed = nvml.closed.first().map_or_else(String::new, |(index, reason)| {
        format!("; NVML's device {index} refuses to be opened: {reason}")
    });
    Finding::new(Topic::Nvml, Status::Limited, format!("{name} is not among the devices that NVML lists{closed}"))
        .advise("its times are reported as unlocked; in a container give it the device's files and the `utility` capability")
}

/// Whether clocks could be locked.
fn lock(root: bool) -> Finding {
    if root {
        let what = "this user may lock clocks, unless the container forbids it";
        Finding::new(Topic::Nvml, Status::Works, what)
            .advise("for steady times: `esr measure --lock-clocks MHZ`, which gives them back at the end")
    } else {
        Finding::new(Topic::Nvml, Status::Limited, "this user may not lock clocks: that needs root").advise(
            "measure all the same: clocks that stay within 2 % by themselves are as good; else run `esr measure --lock-clocks` as root",
        )
    }
}

/// One line for what the device does, and one for each thing that a measurement suffers from.
fn of_device(name: &str, gpu: &ListedGpu) -> Vec<Finding> {
    let (facts, now) = (&gpu.facts, &gpu.now);
    let mut findings = vec![Finding::new(Topic::Nvml, Status::Works, state(name, facts, now))];
    let mut limited = |what: String, advice: &str| {
        findings.push(Finding::new(Topic::Nvml, Status::Limited, format!("{name}: {what}")).advise(advice));
    };
    for (field, in_words) in ESSENTIAL {
        if let Some(reason) = refusal(gpu, field) {
            limited(
                format!("it does not tell {in_words}: {reason}"),
                "its times are reported as unlocked; nothing else suffers",
            );
        }
    }
    if let Some(reasons) = now.throttle_reasons.filter(|reasons| reasons.is_disturbing()) {
        let reasons = ThrottleReasons(reasons.0 & ThrottleReasons::DISTURBING);
        limited(
            format!("it slows itself down now: {reasons}"),
            "let it cool down; look at the fans, the air and the power supply",
        );
    }
    if let Some((celsius, limit)) = now.temperature_celsius.zip(facts.slowdown_temperature_celsius)
        && celsius + NEAR_SLOWDOWN_CELSIUS > limit
    {
        limited(
            format!("{celsius} °C are near the {limit} °C at which it slows down"),
            "let it cool down; look at the fans and the air",
        );
    }
    if let Some(percent) = now.gpu_utilisation_percent.filter(|&percent| percent > BUSY_PERCENT) {
        limited(
            format!("somebody uses it: {percent} % busy"),
            "before measuring: `nvidia-smi` names the processes",
        );
    }
    if let Some((set, default)) = facts.power_limit_mw.zip(facts.power_limit_default_mw)
        && set < default
    {
        limited(
            format!("its power is limited to {} W instead of {} W", set / 1000, default / 1000),
            "if that is not meant: as root `nvidia-smi -pl WATTS`",
        );
    }
    if facts.persistence_mode == Some(false) {
        limited(
            "persistence mode is off, so the driver unloads between programs and each start takes seconds"
                .to_owned(),
            "as root: `nvidia-smi -pm 1`",
        );
    }
    if facts.mig_enabled == Some(true) {
        limited(
            "MIG is on: clocks, power and temperature are shared by all instances".to_owned(),
            "for times to be published switch it off: as root `nvidia-smi -mig 0`",
        );
    }
    findings
}

fn refusal(gpu: &ListedGpu, field: &str) -> Option<Refusal> {
    let mut refused = gpu.refusals.iter().filter(|(name, _)| *name == field);
    refused.next().and_then(|(_, reasons)| reasons.keys().next().copied())
}

/// What the device does, as far as it tells.
fn state(name: &str, facts: &GpuFacts, now: &GpuSample) -> String {
    let number = |value: Option<u32>, unit: &str| value.map(|value| format!("{value} {unit}"));
    let clock = now.sm_mhz.map(|mhz| {
        let of = [
            facts.sm_max_mhz.map(|mhz| format!("at most {mhz}")),
            facts.sm_application_mhz.map(|mhz| format!("{mhz} for applications")),
        ];
        let of: Vec<String> = of.into_iter().flatten().collect();
        let of = if of.is_empty() { String::new() } else { format!(" ({})", of.join(", ")) };
        format!("SM clock {mhz} MHz{of}")
    });
    let reasons = now.throttle_reasons.map(|reasons| match reasons.0 {
        0 => "nothing limits its clocks".to_owned(),
        _ => format!("its clocks are limited by: {reasons}"),
    });
    let switch =
        |what: &str, on: Option<bool>| on.map(|on| format!("{what} {}", if on { "on" } else { "off" }));
    let parts = [
        clock,
        number(now.temperature_celsius, "°C"),
        reasons,
        switch("persistence", facts.persistence_mode),
        switch("ECC", facts.ecc_enabled),
        switch("MIG", facts.mig_enabled),
        facts.compute_mode.as_ref().map(|mode| format!("compute mode {mode}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => format!("{name}: it answers, but tells nothing of itself"),
        false => format!("{name}: {}", parts.join(", ")),
    }
}
