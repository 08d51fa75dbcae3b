//! Reports of machines that are not at hand.

mod nvml;

use super::nvml::Nvml;
use super::*;
use crate::gpu::cudnn::Version;
use crate::gpu::driver::fake::{self, Fake};
use crate::gpu::driver::{self, Access, ComputeMode, CudaVersion, DeviceFacts, Node, Surroundings};
use crate::measure::Machine;
use crate::measure::nvml::{GpuFacts, GpuSample, ListedGpu, Refusals, ThrottleReasons, Unavailable};

fn machine() -> Machine {
    Machine {
        cpu_model: Some("Test CPU".into()),
        physical_cores: Some(8),
        logical_cores: Some(16),
        available_cores: Some(16),
        cpu_flags: vec!["avx2".into(), "avx512f".into()],
        caches: Vec::new(),
        memory_bytes: Some(64 << 30),
        os: Some("Test Linux 1".into()),
        kernel: Some("6.1.0".into()),
        architecture: "x86_64".into(),
        esr_version: "1.2.3".into(),
    }
}

/// A machine without a GPU, at which nothing is wrong.
fn plain() -> Facts {
    Facts {
        machine: machine(),
        cpu: Cpu {
            kernels: "avx512f".into(),
            governor: Some("performance".into()),
            load_average: Some(0.1),
            ..Cpu::default()
        },
        memory: Memory {
            total_bytes: Some(64_000_000_000),
            available_bytes: Some(60_000_000_000),
            limit_bytes: None,
        },
        disks: vec![
            Disk {
                place: Place::Data,
                path: "data".into(),
                free_bytes: Some(500_000_000_000),
                problem: None,
            },
            Disk {
                place: Place::Runs,
                path: "runs".into(),
                free_bytes: Some(500_000_000_000),
                problem: None,
            },
        ],
        gpu: Gpu {
            problem: Some(Problem {
                what: "no CUDA driver: there is no libcuda.so.1".into(),
                advice: "use `--device cpu`".into(),
            }),
            ..Gpu::default()
        },
        cuda_libs: Vec::new(),
        cudnn: Vec::new(),
        nvml: Nvml { unavailable: Some(Unavailable::NoDriver), ..Nvml::default() },
        thermal: Thermal {
            zones: vec![Zone { kind: "x86_pkg_temp".into(), celsius: 45.5, critical_celsius: Some(100.0) }],
            throttle_count: Some(0),
        },
    }
}

fn device_facts(ordinal: usize) -> DeviceFacts {
    DeviceFacts {
        ordinal,
        name: "Test H100".into(),
        uuid: format!("GPU-0000000{ordinal}-0000-0000-0000-000000000000"),
        parent_uuid: None,
        mig: false,
        compute_capability: (9, 0),
        multiprocessors: 132,
        memory_bytes: 85_000_000_000,
        max_sm_clock_mhz: Some(1980),
        max_memory_clock_mhz: Some(2619),
        memory_bus_bits: Some(5120),
        l2_cache_bytes: Some(50 << 20),
        shared_memory_per_block_bytes: Some(232_448),
        pci_id: Some("0000:41:00.0".into()),
        ecc: Some(true),
        compute_mode: Some(ComputeMode::Default),
        kernel_time_limit: Some(false),
        memory_pools: Some(true),
    }
}

fn device(ordinal: usize, change: impl FnOnce(&mut DeviceFacts)) -> Device {
    let mut facts = device_facts(ordinal);
    change(&mut facts);
    let memory = driver::Memory { free_bytes: 84_000_000_000, total_bytes: 85_000_000_000 };
    Device { ordinal, facts: Some(facts), memory: Some(memory), problem: None }
}

/// What NVML says of the device that CUDA calls `ordinal`, in another order.
fn listed(ordinal: usize, change: impl FnOnce(&mut ListedGpu)) -> ListedGpu {
    let mut gpu = ListedGpu {
        index: 7 - ordinal as u32,
        facts: GpuFacts {
            uuid: Some(format!("GPU-0000000{ordinal}-0000-0000-0000-000000000000")),
            sm_max_mhz: Some(1980),
            sm_application_mhz: Some(1830),
            persistence_mode: Some(true),
            ecc_enabled: Some(true),
            mig_enabled: Some(false),
            compute_mode: Some("default".into()),
            slowdown_temperature_celsius: Some(89),
            power_limit_mw: Some(700_000),
            power_limit_default_mw: Some(700_000),
            ..GpuFacts::default()
        },
        now: GpuSample {
            sm_mhz: Some(345),
            temperature_celsius: Some(31),
            throttle_reasons: Some(ThrottleReasons(ThrottleReasons::GPU_IDLE)),
            gpu_utilisation_percent: Some(0),
            ..GpuSample::default()
        },
        refusals: Refusals::default(),
    };
    change(&mut gpu);
    gpu
}

/// A machine with GPUs of every kind.
fn many() -> Facts {
    let busy =
        Problem { what: "cuda:5 is in use: CUDA_ERROR_DEVICE_UNAVAILABLE".into(), advice: "end it".into() };
    let lost = Problem { what: "the GPU was lost".into(), advice: "restart".into() };
    Facts {
        gpu: Gpu {
            driver: Some(OpenDriver {
                library: "/usr/lib/libcuda.so.1".into(),
                cuda: CudaVersion { major: 13, minor: 0 },
            }),
            problem: None,
            devices: vec![
                device(0, |_| ()),
                device(1, |facts| facts.mig = true),
                device(2, |facts| facts.compute_capability = (7, 5)),
                device(3, |facts| facts.kernel_time_limit = Some(true)),
                device(4, |facts| facts.compute_mode = Some(ComputeMode::Prohibited)),
                Device { memory: None, problem: Some(busy), ..device(5, |_| ()) },
                Device { ordinal: 6, facts: None, memory: None, problem: Some(lost) },
            ],
            surroundings: Surroundings {
                visible_devices: None,
                kernel_module: Some("580.82.07".into()),
                nodes: vec![Node { path: "/dev/nvidia0".into(), access: Access::Open }],
                cards: vec!["0000:41:00.0".into()],
            },
        },
        cudnn: vec![
            FoundCudnn {
                path: "/a/libcudnn.so.9".into(),
                given: false,
                version: None,
                problem: Some("file too short".into()),
            },
            FoundCudnn {
                path: "/b/libcudnn.so.9".into(),
                given: false,
                version: Some(Version { major: 9, minor: 15, patch: 1 }),
                problem: None,
            },
            FoundCudnn { path: "/c/libcudnn.so.9".into(), given: false, version: None, problem: None },
        ],
        nvml: Nvml { gpus: (0..5).rev().map(|ordinal| listed(ordinal, |_| ())).collect(), ..Nvml::default() },
        ..plain()
    }
}

#[test]
fn a_plain_machine() {
    insta::assert_snapshot!(Report::judge(plain()).render(), @r"
    esr 1.2.3 on Test Linux 1, kernel 6.1.0, x86_64

    works          CPU        Test CPU, 16 usable: avx512f kernels
    works          memory     60.00 GB of 64.00 GB available
    works          disk       500.00 GB free for datasets in `data`
    works          disk       500.00 GB free for runs in `runs`
    does not work  GPU        no CUDA driver: there is no libcuda.so.1
                              → use `--device cpu`
    works          heat       at most 46 °C (x86_pkg_temp)

    devices to compute on: cpu
    ");
}

#[test]
fn gpus_of_every_kind() {
    insta::assert_snapshot!(Report::judge(many()).render(), @r"
    esr 1.2.3 on Test Linux 1, kernel 6.1.0, x86_64

    works          CPU        Test CPU, 16 usable: avx512f kernels
    works          memory     60.00 GB of 64.00 GB available
    works          disk       500.00 GB free for datasets in `data`
    works          disk       500.00 GB free for runs in `runs`
    works          GPU        driver for CUDA 13.0 (/usr/lib/libcuda.so.1, kernel module 580.82.07)
    works          GPU        cuda:0: Test H100 at 0000:41:00.0, compute capability 9.0, 132 multiprocessors up to 1980 MHz, 84.00 GB of 85.00 GB free
    limited        GPU        cuda:1: Test H100 at 0000:41:00.0, compute capability 9.0, 132 multiprocessors up to 1980 MHz, 84.00 GB of 85.00 GB free, a MIG instance
                              → it computes; its clocks cannot be watched, and neighbours share its power: do not publish times of it
    does not work  GPU        cuda:2: Test H100 at 0000:41:00.0, compute capability 7.5, 132 multiprocessors up to 1980 MHz, 84.00 GB of 85.00 GB free
                              → the kernels need compute capability 8.0: use another GPU or `--device cpu`
    limited        GPU        cuda:3: Test H100 at 0000:41:00.0, compute capability 9.0, 132 multiprocessors up to 1980 MHz, 84.00 GB of 85.00 GB free, with a display
                              → the driver ends kernels that run for seconds, and the display disturbs measurements: use a GPU without one
    does not work  GPU        cuda:4: Test H100 at 0000:41:00.0, compute capability 9.0, 132 multiprocessors up to 1980 MHz, 84.00 GB of 85.00 GB free, but its compute mode prohibits computing
                              → as root: `nvidia-smi -c DEFAULT`
    does not work  GPU        cuda:5: Test H100 at 0000:41:00.0, compute capability 9.0, 132 multiprocessors up to 1980 MHz, 85.00 GB: cuda:5 is in use: CUDA_ERROR_DEVICE_UNAVAILABLE
                              → end it
    does not work  GPU        cuda:6: the GPU was lost
                              → restart
    does not work  libraries  cuDNN in `/a/libcudnn.so.9`: file too short
                              → nothing is lost, it is optional; install it again, or remove it
    works          libraries  cuDNN 9.15.1 in `/b/libcudnn.so.9`
    works          NVML       cuda:0: SM clock 345 MHz (at most 1980, 1830 for applications), 31 °C, its clocks are limited by: GPU idle, persistence on, ECC on, MIG off, compute mode default
    works          NVML       cuda:1: SM clock 345 MHz (at most 1980, 1830 for applications), 31 °C, its clocks are limited by: GPU idle, persistence on, ECC on, MIG off, compute mode default
    works          NVML       cuda:2: SM clock 345 MHz (at most 1980, 1830 for applications), 31 °C, its clocks are limited by: GPU idle, persistence on, ECC on, MIG off, compute mode default
    works          NVML       cuda:3: SM clock 345 MHz (at most 1980, 1830 for applications), 31 °C, its clocks are limited by: GPU idle, persistence on, ECC on, MIG off, compute mode default
    works          NVML       cuda:4: SM clock 345 MHz (at most 1980, 1830 for applications), 31 °C, its clocks are limited by: GPU idle, persistence on, ECC on, MIG off, compute mode default
    limited        NVML       cuda:5 is not among the devices that NVML lists
                              → its times are reported as unlocked; in a container give it the device's files and the `utility` capability
    limited        NVML       this user may not lock clocks: that needs root
                              → measure all the same: clocks that stay within 2 % by themselves are as good; else run `esr measure --lock-clocks` as root
    works          heat       at most 46 °C (x86_pkg_temp)

    devices to compute on: cpu, cuda:0, cuda:1, cuda:3
    ");
}

#[test]
fn everything_that_can_be_better() {
    let facts = Facts {
        cpu: Cpu {
            kernels: "portable".into(),
            governor: Some("powersave".into()),
            load_average: Some(9.0),
            ..Cpu::default()
        },
        memory: Memory {
            total_bytes: Some(64_000_000_000),
            available_bytes: Some(60_000_000_000),
            limit_bytes: Some(500_000_000),
        },
        disks: vec![
            Disk { place: Place::Data, path: "data".into(), free_bytes: Some(1), problem: None },
            Disk {
                place: Place::Runs,
                path: "runs".into(),
                free_bytes: None,
                problem: Some("refused".into()),
            },
        ],
        gpu: Gpu { devices: vec![device(0, |_| ())], ..many().gpu },
        cuda_libs: vec!["/venv".into()],
        thermal: Thermal {
            zones: vec![Zone { kind: "x86_pkg_temp".into(), celsius: 95.0, critical_celsius: Some(100.0) }],
            throttle_count: Some(7),
        },
        ..plain()
    };
    insta::assert_snapshot!(Report::judge(facts).render(), @r"
    esr 1.2.3 on Test Linux 1, kernel 6.1.0, x86_64

    limited        CPU        Test CPU, 16 usable: portable kernels
                              → correct but slow: use a processor with AVX2 and FMA, AVX-512 or NEON
    limited        CPU        the frequency governor is `powersave`
                              → before measuring: `cpupower frequency-set -g performance` as root
    limited        CPU        the load average is 9.00 on 16 processors
                              → before measuring: end other work
    limited        memory     60.00 GB of 64.00 GB available, limited to 500.00 MB
                              → enough for small images; for training end other programs, or use smaller batches
    limited        disk       1 bytes free for datasets in `data`
                              → make room there, or use another folder
    unknown        disk       room for runs in `runs`: refused
    works          GPU        driver for CUDA 13.0 (/usr/lib/libcuda.so.1, kernel module 580.82.07)
    works          GPU        cuda:0: Test H100 at 0000:41:00.0, compute capability 9.0, 132 multiprocessors up to 1980 MHz, 84.00 GB of 85.00 GB free
    limited        libraries  no cuDNN 9 in `/venv` or in the usual places; `--kernels fastest` has our own to choose from
                              → optional: `pip install nvidia-cudnn-cu12` into a Python environment and name it by `--cuda-libs DIR`
    limited        NVML       GPUs cannot be watched: the NVIDIA driver is not loaded; load its kernel module or check the container's devices
                              → they can be measured all the same; their times are reported as unlocked
    limited        heat       95 °C at x86_pkg_temp, near the critical temperature, slowed down by heat 7 times since the start
                              → let it cool down; see to the fans

    devices to compute on: cpu, cuda:0
    ");
}

#[test]
fn a_system_that_tells_nothing() {
    let facts = Facts {
        machine: Machine { cpu_model: None, available_cores: None, os: None, kernel: None, ..machine() },
        cpu: Cpu { kernels: "neon".into(), ..Cpu::default() },
        memory: Memory::default(),
        disks: Vec::new(),
        thermal: Thermal::default(),
        ..plain()
    };
    insta::assert_snapshot!(Report::judge(facts).render(), @r"
    esr 1.2.3 on unknown, kernel unknown, x86_64

    works          CPU        a processor that does not name itself: neon kernels
    unknown        memory     the system does not tell its memory
    does not work  GPU        no CUDA driver: there is no libcuda.so.1
                              → use `--device cpu`
    unknown        heat       the kernel tells no temperatures

    devices to compute on: cpu
    ");
}

#[test]
fn a_named_folder_without_cudnn_is_told() {
    let libraries = |facts: Facts| -> Vec<String> {
        let report = Report::judge(facts);
        report.findings.into_iter().filter(|f| f.topic == Topic::Libraries).map(|f| f.what).collect()
    };
    let one = |given| {
        vec![FoundCudnn {
            path: "/x".into(),
            given,
            version: Some(Version { major: 9, minor: 1, patch: 0 }),
            problem: None,
        }]
    };
    let named = vec!["/venv".into()];
    assert_eq!(
        libraries(Facts { cuda_libs: named.clone(), cudnn: one(false), ..many() }),
        ["cuDNN 9.1.0 in `/x`", "no cuDNN 9 in `/venv`; there is one in the usual places"]
    );
    assert_eq!(
        libraries(Facts { cuda_libs: named.clone(), cudnn: one(true), ..many() }),
        ["cuDNN 9.1.0 in `/x`"]
    );
    assert_eq!(libraries(Facts { cuda_libs: named, ..plain() }).len(), 1, "asked for without a driver");
    assert!(libraries(plain()).is_empty());
}

#[test]
fn the_form_is_versioned_and_flat() {
    let json = serde_json::to_value(Report::judge(many())).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["findings"][0]["status"], "works");
    assert_eq!(json["gpu"]["devices"][0]["facts"]["uuid"], "GPU-00000000-0000-0000-0000-000000000000");
    assert_eq!(json["cudnn"][1]["version"]["major"], 9);
    let mut keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "cpu",
            "cuda_libs",
            "cudnn",
            "disks",
            "findings",
            "gpu",
            "machine",
            "memory",
            "nvml",
            "schema",
            "thermal"
        ]
    );
}

/// Not a test of its own: what the process below runs.
#[test]
fn child() {
    if fake::is_child() {
        fake::answer(&serde_json::to_value(gather(&Places::default())).unwrap());
    }
}

#[test]
fn a_made_up_driver_is_reported() {
    let driver = Fake::build(&[]);
    let ask = |behaviour| driver.ask(&fake::child_of(module_path!()), "report", behaviour);
    let report = ask("devices=2");
    assert_eq!(report["gpu"]["driver"]["cuda"], serde_json::json!({ "major": 12, "minor": 4 }));
    assert_eq!(report["gpu"]["devices"].as_array().unwrap().len(), 2);
    assert_eq!(report["gpu"]["devices"][1]["facts"]["name"], "Fake GPU 1");
    assert_eq!(report["gpu"]["devices"][1]["problem"], serde_json::Value::Null);
    let report = ask("retain=2");
    assert_eq!(report["gpu"]["devices"][0]["memory"], serde_json::Value::Null);
    let problem = report["gpu"]["devices"][0]["problem"]["what"].as_str().unwrap();
    assert!(problem.contains("out of memory"), "{problem}");
    let report = ask("init=803");
    let finding =
        report["findings"].as_array().unwrap().iter().find(|finding| finding["topic"] == "gpu").unwrap();
    assert_eq!(finding["status"], "does_not");
    assert!(finding["advice"].as_str().unwrap().contains("reboot after the update"), "{finding}");
}

#[test]
fn this_machine_has_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let places =
        Places { data: folder.path().join("data"), runs: folder.path().join("runs"), cuda_libs: Vec::new() };
    let report = gather(&places);
    assert!(report.render().contains("devices to compute on: cpu"), "{}", report.render());
    assert!(!folder.path().join("data").exists(), "looking changes nothing");
    for topic in [Topic::Cpu, Topic::Memory, Topic::Disk, Topic::Gpu, Topic::Thermal] {
        assert!(report.findings.iter().any(|finding| finding.topic == topic), "{topic:?}");
    }
    // Whatever does not work comes with what to do.
    assert!(report.findings.iter().all(|f| f.status != Status::DoesNot || f.advice.is_some()), "{report:?}");
}
