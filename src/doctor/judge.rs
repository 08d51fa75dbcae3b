//! From what was seen to what will work, what will not, and what to do.

use super::facts::{Disk, Facts, Place};
use super::gpu::Device;
use super::nvml;
use super::report::{Finding, Report, Status, Topic};
use crate::gpu::driver::{ComputeMode, NEEDED_COMPUTE_CAPABILITY};
use crate::space::readable;

/// Memory below which training is likely to be short of it: a step of the paper's network with a batch of 4 took 0.3 GB in a prototype, and a
/// dataset that does not fit is read from the disk again and again.
const LITTLE_MEMORY_BYTES: u64 = 1_000_000_000;

/// Room below which even one archive of DIV2K's validation images (0.43 GB) hardly fits beside its unpacked files.
const LITTLE_ROOM_BYTES: u64 = 1_000_000_000;

/// Distance from the critical temperature below which a machine is called hot.
const NEAR_CRITICAL_CELSIUS: f64 = 10.0;

/// Share of the processors that may be busy before measurements suffer.
const BUSY_SHARE: f64 = 0.25;

impl Report {
    /// Draws the conclusions. Looks at nothing but `facts`.
    pub fn judge(facts: Facts) -> Self {
        let mut findings = cpu(&facts);
        findings.push(memory(&facts));
        findings.extend(facts.disks.iter().map(disk));
        findings.extend(gpu(&facts));
        findings.extend(cudnn(&facts));
        findings.extend(nvml::findings(&facts.nvml, &facts.gpu));
        findings.extend(thermal(&facts));
        Self { schema: Self::SCHEMA, findings, facts }
    }
}

fn cpu(facts: &Facts) -> Vec<Finding> {
    let machine = &facts.machine;
    let model = machine.cpu_model.as_deref().unwrap_or("a processor that does not name itself");
    let cores = machine.available_cores.map_or_else(String::new, |n| format!(", {n} usable"));
    let what = format!("{model}{cores}: {} kernels", facts.cpu.kernels);
    let mut findings = vec![match facts.cpu.kernels.as_str() {
        "portable" => Finding::new(Topic::Cpu, Status::Limited, what)
            .advise("correct but slow: use a processor with AVX2 and FMA, AVX-512 or NEON"),
        _ => Finding::new(Topic::Cpu, Status::Works, what),
    }];
    if let Some(governor) = facts.cpu.governor.as_deref().filter(|&governor| governor != "performance") {
        findings.push(
            Finding::new(Topic::Cpu, Status::Limited, format!("the frequency governor is `{governor}`"))
                .advise("before measuring: `cpupower frequency-set -g performance` as root"),
        );
    }
    if let (Some(load), Some(cores)) = (facts.cpu.load_average, machine.logical_cores)
        && load > BUSY_SHARE * cores as f64
    {
        let what = format!("the load average is {load:.2} on {cores} processors");
        findings
            .push(Finding::new(Topic::Cpu, Status::Limited, what).advise("before measuring: end other work"));
    }
    findings
}

fn memory(facts: &Facts) -> Finding {
    let memory = &facts.memory;
    let limit =
        memory.limit_bytes.map_or_else(String::new, |bytes| format!(", limited to {}", readable(bytes)));
    let what = match (memory.total_bytes, memory.available_bytes) {
        (Some(total), Some(available)) => {
            format!("{} of {} available{limit}", readable(available), readable(total))
        }
        _ => return Finding::new(Topic::Memory, Status::Unknown, "the system does not tell its memory"),
    };
    let usable = memory.available_bytes.into_iter().chain(memory.limit_bytes).min();
    if usable.is_some_and(|bytes| bytes < LITTLE_MEMORY_BYTES) {
        return Finding::new(Topic::Memory, Status::Limited, what)
            .advise("enough for small images; for training end other programs, or use smaller batches");
    }
    Finding::new(Topic::Memory, Status::Works, what)
}

fn disk(disk: &Disk) -> Finding {
    let place = match disk.place {
        Place::Data => "datasets",
        Place::Runs => "runs",
    };
    let path = disk.path.display();
    match (disk.free_bytes, &disk.problem) {
        (Some(free), _) => {
            let what = format!("{} free for {place} in `{path}`", readable(free));
            if free < LITTLE_ROOM_BYTES {
                Finding::new(Topic::Disk, Status::Limited, what)
                    .advise("make room there, or use another folder")
            } else {
                Finding::new(Topic::Disk, Status::Works, what)
            }
        }
        (None, problem) => Finding::new(
            Topic::Disk,
            Status::Unknown,
            format!("room for {place} in `{path}`: {}", problem.as_deref().unwrap_or("not told")),
        ),
    }
}

fn gpu(facts: &Facts) -> Vec<Finding> {
    let gpu = &facts.gpu;
    if let Some(problem) = &gpu.problem {
        return vec![
            Finding::new(Topic::Gpu, Status::DoesNot, problem.what.clone()).advise(problem.advice.clone()),
        ];
    }
    let mut findings = Vec::new();
    if let Some(driver) = &gpu.driver {
        let module = gpu.surroundings.kernel_module.as_deref();
        let module = module.map_or_else(String::new, |version| format!(", kernel module {version}"));
        let what = format!("driver for CUDA {} ({}{module})", driver.cuda, driver.library);
        findings.push(Finding::new(Topic::Gpu, Status::Works, what));
    }
    findings.extend(gpu.devices.iter().map(device));
    findings
}

fn device(device: &Device) -> Finding {
    let Some(facts) = &device.facts else {
        let what = device.problem.as_ref().map_or("it cannot be described", |problem| &problem.what);
        let finding = Finding::new(Topic::Gpu, Status::DoesNot, format!("cuda:{}: {what}", device.ordinal));
        return with_problem_advice(finding, device);
    };
    let (major, minor) = facts.compute_capability;
    let memory = device.memory.map_or_else(
        || readable(facts.memory_bytes),
        |memory| format!("{} of {} free", readable(memory.free_bytes), readable(memory.total_bytes)),
    );
    // The PCI address tells which one it is in the lists of other tools, which count in another order.
    let at = facts.pci_id.as_ref().map_or_else(String::new, |pci| format!(" at {pci}"));
    let clock = facts.max_sm_clock_mhz.map_or_else(String::new, |mhz| format!(" up to {mhz} MHz"));
    let what = format!(
        "cuda:{}: {}{at}, compute capability {major}.{minor}, {} multiprocessors{clock}, {memory}",
        facts.ordinal, facts.name, facts.multiprocessors
    );
    if facts.compute_capability < NEEDED_COMPUTE_CAPABILITY {
        let (major, minor) = NEEDED_COMPUTE_CAPABILITY;
        return Finding::new(Topic::Gpu, Status::DoesNot, what).advise(format!(
            "the kernels need compute capability {major}.{minor}: use another GPU or `--device cpu`"
        ));
    }
    if facts.compute_mode == Some(ComputeMode::Prohibited) {
        return Finding::new(
            Topic::Gpu,
            Status::DoesNot,
            format!("{what}, but its compute mode prohibits computing"),
        )
        .advise("as root: `nvidia-smi -c DEFAULT`");
    }
    if let Some(problem) = &device.problem {
        let finding = Finding::new(Topic::Gpu, Status::DoesNot, format!("{what}: {}", problem.what));
        return with_problem_advice(finding, device);
    }
    if facts.mig {
        return Finding::new(Topic::Gpu, Status::Limited, format!("{what}, a MIG instance"))
            .advise("it computes; its clocks cannot be watched, and neighbours share its power: do not publish times of it");
    }
    if facts.kernel_time_limit == Some(true) {
        return Finding::new(Topic::Gpu, Status::Limited, format!("{what}, with a display"))
            .advise("the driver ends kernels that run for seconds, and the display disturbs measurements: use a GPU without one");
    }
    Finding::new(Topic::Gpu, Status::Works, what)
}

fn with_problem_advice(finding: Finding, device: &Device) -> Finding {
    match &device.problem {
        Some(problem) => finding.advise(problem.advice.clone()),
        None => finding,
    }
}

/// cuDNN is only spoken of where it could be used, or where the user asked for it.
fn cudnn(facts: &Facts) -> Vec<Finding> {
    let asked = !facts.cuda_libs.is_empty();
    if facts.gpu.driver.is_none() && !asked {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for found in &facts.cudnn {
        let path = found.path.display();
        findings.push(match (&found.version, &found.problem) {
            (Some(version), _) => {
                Finding::new(Topic::Libraries, Status::Works, format!("cuDNN {version} in `{path}`"))
            }
            (None, Some(problem)) => {
                Finding::new(Topic::Libraries, Status::DoesNot, format!("cuDNN in `{path}`: {problem}"))
                    .advise("nothing is lost, it is optional; install it again, or remove it")
            }
            (None, None) => continue,
        });
    }
    let folders: Vec<String> = facts.cuda_libs.iter().map(|path| format!("`{}`", path.display())).collect();
    let folders = folders.join(", ");
    if facts.cudnn.is_empty() {
        let given = if asked { format!("in {folders} or ") } else { String::new() };
        let what =
            format!("no cuDNN 9 {given}in the usual places; `--kernels fastest` has our own to choose from");
        findings.push(Finding::new(Topic::Libraries, Status::Limited, what).advise(
            "optional: `pip install nvidia-cudnn-cu12` into a Python environment and name it by `--cuda-libs DIR`",
        ));
    } else if asked && !facts.cudnn.iter().any(|found| found.given) {
        let what = format!("no cuDNN 9 in {folders}; there is one in the usual places");
        findings.push(
            Finding::new(Topic::Libraries, Status::Limited, what).advise(
                "name the folder of libcudnn.so.9, or the Python environment in which it is installed; or leave `--cuda-libs` away",
            ),
        );
    }
    findings
}

fn thermal(facts: &Facts) -> Vec<Finding> {
    let thermal = &facts.thermal;
    let Some(hottest) = thermal.zones.iter().max_by(|a, b| a.celsius.total_cmp(&b.celsius)) else {
        return vec![Finding::new(Topic::Thermal, Status::Unknown, "the kernel tells no temperatures")];
    };
    let near = |zone: &&super::host::Zone| {
        zone.critical_celsius.is_some_and(|critical| zone.celsius > critical - NEAR_CRITICAL_CELSIUS)
    };
    let count = thermal.throttle_count.filter(|&count| count > 0);
    let count = count
        .map_or_else(String::new, |count| format!(", slowed down by heat {count} times since the start"));
    if let Some(hot) = thermal.zones.iter().find(near) {
        let what = format!("{:.0} °C at {}, near the critical temperature{count}", hot.celsius, hot.kind);
        return vec![
            Finding::new(Topic::Thermal, Status::Limited, what).advise("let it cool down; see to the fans"),
        ];
    }
    vec![Finding::new(
        Topic::Thermal,
        Status::Works,
        format!("at most {:.0} °C ({}){count}", hottest.celsius, hottest.kind),
    )]
}
