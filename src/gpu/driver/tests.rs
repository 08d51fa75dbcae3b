//! Every way to fail, with a made-up driver. A process loads a driver once, so each case is a process: this test program itself, running [`child`] (see [`fake`]).

use std::ffi::CString;

use super::fake::{self, Fake};
use super::*;
use crate::gpu::device::Gpu;

/// Not a test of its own: what the processes below run.
#[test]
fn child() {
    let Ok(task) = std::env::var(fake::TASK) else { return };
    fake::answer(&match run(&task) {
        Ok(value) => serde_json::json!({ "fine": value }),
        Err(error) => serde_json::json!({
            "error": format!("{error:?}").split([' ', '{']).next().unwrap(),
            "text": error.to_string(),
            "lost": error.is_lost(),
        }),
    });
}

fn run(task: &str) -> Result<serde_json::Value, GpuError> {
    let driver = Driver::open()?;
    let again = Driver::open()?;
    assert!(std::ptr::eq(driver, again), "it is opened once");
    match task.split_once(':').unwrap_or((task, "0")) {
        ("describe", ordinal) => {
            let ordinal = ordinal.parse().unwrap();
            let facts = driver.device(ordinal)?;
            let memory = driver.memory(ordinal)?;
            Ok(serde_json::json!({
                "version": driver.version().to_string(), "library": driver.library(), "count": driver.device_count(),
                "facts": facts, "memory": memory,
            }))
        }
        ("compute", _) => {
            let context = driver.context(0)?;
            // One stream needs no events between streams, and the made-up driver has none.
            unsafe { context.disable_event_tracking() };
            // Nothing but this stream uses the memory, which is never looked at.
            let memory = unsafe { context.default_stream().alloc::<u8>(1 << 20) };
            drop(memory.map_err(|error| driver.explain("make a buffer", error))?);
            context.synchronize().map_err(|error| driver.explain("wait for a kernel", error))?;
            Ok("computed".into())
        }
        ("load", target) => {
            let text = format!(
                ".version 8.0\n.target {target}\n.address_size 64\n.visible .entry k()\n{{\nret;\n}}\n"
            );
            Gpu::open(0)?.module("k", &CString::new(text).unwrap())?;
            Ok("loaded".into())
        }
        other => panic!("no task {other:?}"),
    }
}

fn ask(driver: &Fake, task: &str, behaviour: &str) -> serde_json::Value {
    driver.ask(&fake::child_of(module_path!()), task, behaviour)
}

fn expect(driver: &Fake, task: &str, behaviour: &str, error: &str, words: &[&str]) {
    let answer = ask(driver, task, behaviour);
    assert_eq!(answer["error"], error, "{behaviour}: {answer}");
    for word in words {
        assert!(answer["text"].as_str().unwrap().contains(word), "{behaviour}: {answer} lacks `{word}`");
    }
}

#[test]
fn a_driver_that_works_is_described_and_used() {
    let driver = Fake::build(&[]);
    let answer = &ask(&driver, "describe:1", "devices=2")["fine"];
    assert_eq!(answer["version"], "12.4");
    assert_eq!(answer["count"], 2);
    assert!(answer["library"].as_str().unwrap().starts_with(driver.folder().to_str().unwrap()), "{answer}");
    assert_eq!(
        answer["memory"],
        serde_json::json!({ "free_bytes": 79u64 << 30, "total_bytes": 80u64 << 30 })
    );
    assert_eq!(
        answer["facts"],
        serde_json::json!({
            "ordinal": 1, "name": "Fake GPU 1", "uuid": "GPU-01010101-0101-0101-0101-010101010101", "parent_uuid": null,
            "mig": false, "compute_capability": [9, 0], "multiprocessors": 132, "memory_bytes": 80u64 << 30,
            "max_sm_clock_mhz": 1980, "max_memory_clock_mhz": 2619, "memory_bus_bits": 5120, "l2_cache_bytes": 50 << 20,
            "shared_memory_per_block_bytes": 232_448, "pci_id": "0000:42:00.0", "ecc": true, "compute_mode": "default",
            "kernel_time_limit": false, "memory_pools": true,
        })
    );
    let mig = &ask(&driver, "describe", "mig=1 exclusive=1")["fine"]["facts"];
    assert_eq!(mig["mig"], true);
    assert_eq!(mig["uuid"], "MIG-a0a0a0a0-a0a0-a0a0-a0a0-a0a0a0a0a0a0");
    assert_eq!(mig["parent_uuid"], "GPU-00000000-0000-0000-0000-000000000000");
    assert_eq!(mig["compute_mode"], "exclusive_process");
    assert_eq!(ask(&driver, "compute", "")["fine"], "computed");
}

#[test]
fn each_failure_is_an_error_with_advice() {
    let driver = Fake::build(&[]);
    let start = [
        ("init=34", "CUDA_ERROR_STUB_LIBRARY", "for linking only"),
        ("init=46", "CUDA_ERROR_DEVICE_UNAVAILABLE", "exclusive mode"),
        ("init=2", "CUDA_ERROR_OUT_OF_MEMORY", "ulimit -v"),
        ("init=304", "CUDA_ERROR_OPERATING_SYSTEM", "; "),
        ("init=802", "CUDA_ERROR_SYSTEM_NOT_READY", "nvidia-fabricmanager"),
        ("init=803", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "different versions"),
        ("init=804", "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", "cuda/compat"),
        ("init=805", "CUDA_ERROR_MPS_CONNECTION_FAILED", "nvidia-cuda-mps-control"),
        ("init=999", "CUDA_ERROR_UNKNOWN", "; "),
        ("init=12345", "CUDA error 12345", "; "),
        ("driver_version=34", "CUDA_ERROR_STUB_LIBRARY", "for linking only"),
    ];
    for (behaviour, name, advice) in start {
        expect(&driver, "describe", behaviour, "Start", &["does not start", name, advice]);
    }
    let old = ["supports CUDA 11.8, at least 12.0 is needed", "525.60.13"];
    expect(&driver, "describe", "version=11080", "TooOld", &old);
    expect(&driver, "describe", "version=-1", "TooOld", &["supports CUDA 0.0"]);
    expect(
        &driver,
        "describe",
        "driver_version=1",
        "Unusable",
        &["cuDriverGetVersion fails with CUDA_ERROR_INVALID"],
    );
    expect(&driver, "describe", "count=999", "Unusable", &["cuDeviceGetCount fails with CUDA_ERROR_UNKNOWN"]);
    expect(&driver, "describe", "init=100", "NoDevice", &["shows no device; "]);
    expect(&driver, "describe", "devices=0", "NoDevice", &["shows no device; "]);
    expect(&driver, "describe", "devices=-7", "NoDevice", &["shows no device; "]);
    expect(&driver, "describe", "count=100", "NoDevice", &["shows no device; "]);
    expect(&driver, "describe:1", "", "NoSuchDevice", &["there is no cuda:1, only cuda:0; "]);
    expect(
        &driver,
        "describe:9",
        "devices=3",
        "NoSuchDevice",
        &["there is no cuda:9, only cuda:0 to cuda:2; "],
    );
    expect(
        &driver,
        "describe",
        "name=1",
        "Call",
        &["cannot describe cuda:0: CUDA_ERROR_INVALID_VALUE (invalid argument)"],
    );
    expect(
        &driver,
        "describe",
        "retain=2",
        "OutOfMemory",
        &["cannot ask the memory of cuda:0", "nvidia-smi"],
    );
    expect(
        &driver,
        "compute",
        "retain=46",
        "Busy",
        &["cuda:0 is in use: CUDA_ERROR_DEVICE_UNAVAILABLE", "exclusive mode"],
    );
}

#[test]
fn a_failure_in_the_middle_is_told_apart() {
    let driver = Fake::build(&[]);
    let full = ["cannot make a buffer", "84.82 GB of 85.89 GB are free", "smaller batch"];
    expect(&driver, "compute", "alloc=2", "OutOfMemory", &full);
    assert_eq!(ask(&driver, "compute", "alloc=2")["lost"], false);
    expect(&driver, "compute", "synchronize=214", "Lost", &["ECC_UNCORRECTABLE", "wait for a kernel", "xid"]);
    expect(
        &driver,
        "compute",
        "synchronize=700",
        "Lost",
        &["ILLEGAL_ADDRESS", "a kernel of this program is wrong"],
    );
    expect(&driver, "compute", "synchronize=46", "Lost", &["DEVICE_UNAVAILABLE", "wait for a kernel"]);
    expect(&driver, "compute", "synchronize=719", "Lost", &["LAUNCH_FAILED"]);
    expect(
        &driver,
        "compute",
        "synchronize=999",
        "Lost",
        &["CUDA_ERROR_UNKNOWN", "once `nvidia-smi` answers"],
    );
    assert_eq!(ask(&driver, "compute", "synchronize=999")["lost"], true);
    expect(
        &driver,
        "compute",
        "synchronize=1",
        "Call",
        &["cannot wait for a kernel: CUDA_ERROR_INVALID_VALUE"],
    );
}

#[test]
fn code_for_one_architecture_loads_on_that_one_alone() {
    let driver = Fake::build(&[]);
    for (target, behaviour) in [("sm_90a", "compute=90"), ("sm_80", "compute=90"), ("sm_80", "compute=120")] {
        assert_eq!(
            ask(&driver, &format!("load:{target}"), behaviour)["fine"],
            "loaded",
            "{target} {behaviour}"
        );
    }
    for behaviour in ["compute=80", "compute=89", "compute=120"] {
        expect(
            &driver,
            "load:sm_90a",
            behaviour,
            "Call",
            &["cannot load the kernels `k`", "NO_BINARY_FOR_GPU"],
        );
    }
}

#[test]
fn variables_that_hide_devices_are_named() {
    let driver = Fake::build(&[]);
    let hide = [("FAKE_CUDA", "init=100"), ("CUDA_VISIBLE_DEVICES", "-1")];
    let answer = fake::ask(Some(driver.folder()), &fake::child_of(module_path!()), "describe", &hide);
    assert!(answer["text"].as_str().unwrap().contains("CUDA_VISIBLE_DEVICES is `-1`"), "{answer}");
    let answer = fake::ask(
        Some(driver.folder()),
        &fake::child_of(module_path!()),
        "describe:4",
        &[("CUDA_VISIBLE_DEVICES", "3")],
    );
    assert!(answer["text"].as_str().unwrap().contains("counted from 0"), "{answer}");
}

#[test]
fn a_library_that_is_no_driver_is_an_error() {
    let incomplete = Fake::build(&["--cfg", "incomplete"]);
    expect(&incomplete, "describe", "", "Unusable", &["it has no function cuDeviceGetUuid_v2"]);
    let broken = tempfile::tempdir().unwrap();
    std::fs::write(broken.path().join("libcuda.so.1"), "no library").unwrap();
    let answer = fake::ask(Some(broken.path()), &fake::child_of(module_path!()), "describe", &[]);
    // A machine with a driver of its own: the loader goes on to that one only if the file is of another kind, not if it is broken.
    assert_eq!(answer["error"], "Unusable", "{answer}");
}

#[test]
fn a_stub_beside_the_driver_is_named() {
    let driver = Fake::build(&[]);
    let stub = driver.folder().join("libcuda.so");
    std::fs::remove_file(&stub).unwrap();
    fake::compile(fake::DRIVER, &stub, &["-C", "link-arg=-Wl,-soname,libstub.so"]);
    expect(
        &driver,
        "describe",
        "",
        "Hidden",
        &["/libcuda.so` answers to libcuda.so but", "remove the folder of"],
    );
}

#[test]
fn this_machine_has_a_driver_or_says_that_it_has_none() {
    let answer = fake::ask(None, &fake::child_of(module_path!()), "describe", &[]);
    if library::load(&library::NAMES).is_err() {
        assert_eq!(answer["error"], "NoLibrary", "{answer}");
        assert!(
            answer["text"].as_str().unwrap().starts_with("no CUDA driver: there is no libcuda.so.1; "),
            "{answer}"
        );
    } else {
        assert!(answer.get("fine").is_some() || answer.get("error").is_some(), "{answer}");
    }
}
