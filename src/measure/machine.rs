//! The machine a measurement was made on.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::fsio::pseudo_file;

/// Instruction sets that decide how fast a convolution can be; others are not listed.
const FLAGS_THAT_MATTER: [&str; 14] = [
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "avx_vnni",
    "amx_tile",
    "asimd",
    "sve",
];

/// One level of cache of the first processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// 1 is nearest to the core.
    pub level: u32,
    /// `Data`, `Instruction` or `Unified`.
    pub kind: String,
    /// Size in KiB.
    pub size_kib: u64,
    /// Which processors share it, as Linux lists them, e.g. `0-7`.
    pub shared_by: Option<String>,
}

/// The machine. What the system does not tell is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// CPU model as it names itself.
    pub cpu_model: Option<String>,
    /// Cores, not counting simultaneous multithreading.
    pub physical_cores: Option<usize>,
    /// Processors the operating system sees.
    pub logical_cores: Option<usize>,
    /// Processors this process may use (affinity and container limits).
    pub available_cores: Option<usize>,
    /// Instruction sets that matter for speed, in a fixed order.
    pub cpu_flags: Vec<String>,
    /// Caches of the first processor.
    pub caches: Vec<Cache>,
    /// Main memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Operating system.
    pub os: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Instruction set architecture the program was built for.
    pub architecture: String,
    /// Version of this program.
    pub esr_version: String,
}

impl Machine {
    /// Describes the machine this runs on.
    pub fn detect() -> Self {
        let cpuinfo = pseudo_file("/proc/cpuinfo").unwrap_or_default();
        let os_release = pseudo_file("/etc/os-release").unwrap_or_default();
        let meminfo = pseudo_file("/proc/meminfo").unwrap_or_default();
        Self {
            cpu_model: value_of(&cpuinfo, "model name").map(str::to_owned),
            physical_cores: physical_cores(&cpuinfo),
            logical_cores: Some(values_of(&cpuinfo, "processor").count()).filter(|&n| n > 0),
            available_cores: std::thread::available_parallelism().ok().map(usize::from),
            cpu_flags: flags_that_matter(&cpuinfo),
            caches: (0..16).map_while(cache).collect(),
            memory_bytes: memory_bytes(&meminfo),
            os: pretty_name(&os_release).or_else(|| Some(std::env::consts::OS.to_owned())),
            kernel: pseudo_file("/proc/sys/kernel/osrelease").map(|release| release.trim().to_owned()),
            architecture: std::env::consts::ARCH.to_owned(),
            esr_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// The values of `key : value` lines.
fn values_of<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == key).then(|| value.trim())
    })
}

fn value_of<'a>(text: &'a str, key: &'a str) -> Option<&'a str> {
    values_of(text, key).next()
}

/// The number of distinct (package, core) pairs; `None` where cpuinfo does not list them (many ARM machines).
fn physical_cores(cpuinfo: &str) -> Option<usize> {
    let pairs: BTreeSet<(&str, &str)> =
        values_of(cpuinfo, "physical id").zip(values_of(cpuinfo, "core id")).collect();
    Some(pairs.len()).filter(|&n| n > 0)
}

fn flags_that_matter(cpuinfo: &str) -> Vec<String> {
    let line = value_of(cpuinfo, "flags").or_else(|| value_of(cpuinfo, "Features")).unwrap_or_default();
    let present: BTreeSet<&str> = line.split_ascii_whitespace().collect();
    FLAGS_THAT_MATTER.iter().filter(|flag| present.contains(**flag)).map(|flag| (*flag).to_owned()).collect()
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let kib: u64 = value_of(meminfo, "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim().trim_matches('"').to_owned())
}

fn cache(index: u32) -> Option<Cache> {
    let read = |file: &str| {
        let text = pseudo_file(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}"))?;
        Some(text.trim().to_owned())
    };
    Some(Cache {
        level: read("level")?.parse().ok()?,
        kind: read("type")?,
        size_kib: read("size")?.strip_suffix('K')?.parse().ok()?,
        shared_by: read("shared_cpu_list"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Two packages of one core with two threads each.
    const CPUINFO: &str = "processor\t: 0\nmodel name\t: Test CPU: 3 GHz\nphysical id\t: 0\ncore id\t\t: 0\n\
        flags\t\t: fpu avx2 sse fma avx512f\n\nprocessor\t: 1\nphysical id\t: 0\ncore id\t\t: 0\n\n\
        processor\t: 2\nphysical id\t: 1\ncore id\t\t: 0\n\nprocessor\t: 3\nphysical id\t: 1\ncore id\t\t: 0\n";

    #[test]
    fn cpuinfo_is_parsed() {
        assert_eq!(value_of(CPUINFO, "model name"), Some("Test CPU: 3 GHz"));
        assert_eq!(physical_cores(CPUINFO), Some(2));
        assert_eq!(values_of(CPUINFO, "processor").count(), 4);
        assert_eq!(flags_that_matter(CPUINFO), ["fma", "avx2", "avx512f"]);
        assert_eq!(physical_cores("processor : 0\n"), None);
        assert_eq!(flags_that_matter("Features\t: fp asimd\n"), ["asimd"]);
    }

    #[test]
    fn memory_and_name_are_parsed() {
        assert_eq!(memory_bytes("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(pretty_name("ID=x\nPRETTY_NAME=\"Some Linux 1\"\n").as_deref(), Some("Some Linux 1"));
    }

    #[test]
    fn this_machine_has_a_name_for_itself() {
        let machine = Machine::detect();
        assert_eq!(machine.esr_version, env!("CARGO_PKG_VERSION"));
        assert!(machine.available_cores.unwrap() >= 1);
        let text = serde_json::to_string(&machine).unwrap();
        assert_eq!(serde_json::from_str::<Machine>(&text).unwrap(), machine);
    }
}
