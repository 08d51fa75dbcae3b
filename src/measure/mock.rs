//! A scripted clock, workload and host, so that the order of events, stopping and verdicts can be tested without time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use super::clock::Clock;
use super::gpu::GpuWatch;
use super::host::{CpuTime, Probe, Reading};
use super::machine::Machine;
use super::session::{Outcome, Plan, Setup, Subject, Tools, measure};
use super::workload::{DeviceMemory, DeviceTime, Item, Workload, WorkloadError};
use super::{Error, Protocol};
use crate::models::ModelIdentity;

/// Time and the list of what happened, shared by all mocks of a test.
#[derive(Clone, Default)]
pub(super) struct Stage {
    now: Rc<Cell<Duration>>,
    events: Rc<RefCell<Vec<String>>>,
}

impl Stage {
    pub(super) fn events(&self) -> Vec<String> {
        self.events.borrow().clone()
    }

    pub(super) fn now(&self) -> Duration {
        self.now.get()
    }

    fn pass(&self, ms: f64) {
        self.now.set(self.now.get() + Duration::from_secs_f64(ms / 1e3));
    }
}

impl Clock for Stage {
    fn now(&self) -> Duration {
        self.now.get()
    }

    fn sleep(&self, duration: Duration) {
        self.events.borrow_mut().push(format!("rest {} ms", duration.as_secs_f64() * 1e3));
        self.now.set(self.now.get() + duration);
    }
}

/// Takes `script(call, item)` milliseconds on call number `call`, and `prepare_ms` before each.
pub(super) struct MockWorkload {
    pub(super) stage: Stage,
    pub(super) name: &'static str,
    pub(super) items: Vec<Item>,
    pub(super) prepare_ms: f64,
    pub(super) script: Box<dyn Fn(usize, usize) -> f64>,
    pub(super) fails_at: Option<usize>,
    pub(super) calls: usize,
    pub(super) device: Option<MockDevice>,
}

/// What makes a mock one that runs on a device: its events take `launch_ms` less than the host waits, and a state is set before each forward.
#[derive(Clone, Copy, Default)]
pub(super) struct MockDevice {
    pub(super) launch_ms: f64,
    pub(super) flush_ms: f64,
    pub(super) sm_mhz: Option<f64>,
    pub(super) memory: Option<DeviceMemory>,
}

pub(super) fn images(sizes: &[(usize, usize)]) -> Vec<Item> {
    let item = |(i, &(width, height)): (usize, &(usize, usize))| Item {
        name: Some(format!("{:04}", 801 + i)),
        width,
        height,
    };
    sizes.iter().enumerate().map(item).collect()
}

impl MockWorkload {
    pub(super) fn new(
        stage: &Stage,
        name: &'static str,
        items: Vec<Item>,
        script: impl Fn(usize, usize) -> f64 + 'static,
    ) -> Self {
        let script = Box::new(script);
        Self {
            stage: stage.clone(),
            name,
            items,
            prepare_ms: 0.0,
            script,
            fails_at: None,
            calls: 0,
            device: None,
        }
    }
}

impl Workload for MockWorkload {
    fn items(&self) -> &[Item] {
        &self.items
    }

    fn prepare(&mut self, _item: usize) -> Result<(), WorkloadError> {
        self.stage.pass(self.prepare_ms);
        Ok(())
    }

    fn run(&mut self, item: usize) -> Result<(), WorkloadError> {
        if self.fails_at == Some(self.calls) {
            return Err("out of memory".into());
        }
        self.stage.events.borrow_mut().push(format!("{}{item}", self.name));
        self.stage.pass((self.script)(self.calls, item));
        self.calls += 1;
        Ok(())
    }

    fn run_timed(&mut self, item: usize) -> Result<Option<DeviceTime>, WorkloadError> {
        let before = self.stage.now();
        self.run(item)?;
        let Some(device) = self.device else { return Ok(None) };
        let ms = (self.stage.now() - before).as_secs_f64() * 1e3;
        self.stage.pass(device.launch_ms);
        Ok(Some(DeviceTime { ms, sm_mhz: device.sm_mhz }))
    }

    fn before_forward(&mut self, _item: usize) -> Result<(), WorkloadError> {
        if let Some(device) = self.device {
            self.stage.events.borrow_mut().push("flush".to_owned());
            self.stage.pass(device.flush_ms);
        }
        Ok(())
    }

    fn timer(&self) -> Option<String> {
        self.device.map(|_| "mock events".to_owned())
    }

    fn state_before_forward(&self) -> Option<String> {
        self.device.map(|_| "the cache is flushed".to_owned())
    }

    fn device_memory(&mut self) -> Option<DeviceMemory> {
        self.device?.memory
    }

    fn output_digest(&mut self) -> Option<String> {
        Some(format!("{} after {}", self.name, self.calls))
    }
}

/// Says that others use `other_share` of a machine whose own share is a half, from tick counts tied to the mock time.
pub(super) struct MockProbe {
    pub(super) stage: Stage,
    pub(super) other_share: f64,
    pub(super) may_reset: bool,
}

impl Probe for MockProbe {
    fn reading(&mut self) -> Reading {
        let all = self.stage.now().as_millis() as u64;
        let own = all / 2;
        let busy = own + (all as f64 * self.other_share) as u64;
        let cpu_time = Some(CpuTime { all_ticks: all, busy_ticks: busy, own_ticks: own });
        Reading { cpu_mhz: Some(2000.0 + all as f64 / 1000.0), load_average: Some(1.5), cpu_time }
    }

    fn reset_peak_memory(&mut self) -> bool {
        self.may_reset
    }

    fn peak_memory_bytes(&mut self) -> Option<u64> {
        Some(1 << 20)
    }
}

pub(super) fn machine() -> Machine {
    Machine {
        cpu_model: Some("Test CPU".to_owned()),
        physical_cores: Some(2),
        logical_cores: Some(4),
        available_cores: Some(2),
        cpu_flags: vec!["avx2".to_owned()],
        caches: Vec::new(),
        memory_bytes: Some(1 << 30),
        os: None,
        kernel: None,
        architecture: "x86_64".to_owned(),
        esr_version: "0.0.0".to_owned(),
    }
}

pub(super) fn model(architecture: &str) -> ModelIdentity {
    ModelIdentity { architecture: architecture.to_owned(), weights_sha256: None }
}

/// Measures mocks.
pub(super) fn measure_mocks(
    protocol: Protocol,
    budget_seconds: f64,
    candidate: &mut MockWorkload,
    baseline: Option<&mut MockWorkload>,
    other_share: f64,
) -> Result<Outcome, Error> {
    measure_with(protocol, budget_seconds, candidate, baseline, other_share, None)
}

/// Measures mocks that a mock GPU is watched under.
pub(super) fn measure_with(
    protocol: Protocol,
    budget_seconds: f64,
    candidate: &mut MockWorkload,
    baseline: Option<&mut MockWorkload>,
    other_share: f64,
    gpu: Option<&mut dyn GpuWatch>,
) -> Result<Outcome, Error> {
    let stage = candidate.stage.clone();
    let setup = Setup {
        device: "cpu".to_owned(),
        engine: "plan".to_owned(),
        precision: "f32".to_owned(),
        threads: 2,
    };
    let mut probe = MockProbe { stage: stage.clone(), other_share, may_reset: true };
    let plan = Plan::new(protocol, budget_seconds)?;
    let candidate = Subject { model: model("imdn:blocks=7"), workload: candidate };
    let baseline = baseline.map(|workload| Subject { model: model("imdn:blocks=8"), workload });
    let gpu = gpu.map(|gpu| gpu as &mut dyn GpuWatch);
    let tools = Tools { clock: &stage, probe: &mut probe, gpu };
    measure(&plan, &setup, candidate, baseline, tools, machine())
}
