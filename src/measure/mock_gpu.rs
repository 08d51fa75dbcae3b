//! A scripted GPU on the time of a [`Stage`]: what its clocks are at each moment, and what NVML would have sampled of it.

use super::gpu::GpuWatch;
use super::mock::Stage;
use super::nvml::{
    GpuFacts, GpuLog, GpuLogFooter, GpuLogHeader, GpuSample, GpuWindow, Mark, SamplerCost, ThrottleReasons,
    Unavailable,
};
use crate::interrupt::Signal;

/// The clock in MHz and the throttle reasons at a moment in seconds.
type Script = Box<dyn Fn(f64) -> (Option<u32>, u64)>;

/// Samples every 20 ms of the stage's time.
pub(super) struct MockGpu {
    stage: Stage,
    script: Script,
    pub(super) facts: Option<GpuFacts>,
    pub(super) unavailable: Option<Unavailable>,
    pub(super) locked_mhz: Option<u32>,
    pub(super) stop_after_ns: Option<u64>,
    marks: Vec<Mark>,
    log: Option<GpuLog>,
}

const PERIOD_NS: u64 = 20_000_000;

impl MockGpu {
    /// A device with an application clock of 2000 MHz.
    pub(super) fn new(stage: &Stage, script: impl Fn(f64) -> (Option<u32>, u64) + 'static) -> Self {
        Self {
            stage: stage.clone(),
            script: Box::new(script),
            facts: Some(GpuFacts { sm_application_mhz: Some(2000), ..GpuFacts::default() }),
            unavailable: None,
            locked_mhz: None,
            stop_after_ns: None,
            marks: Vec::new(),
            log: None,
        }
    }

    /// A machine without NVML.
    pub(super) fn absent(stage: &Stage) -> Self {
        let mut gpu = Self::new(stage, |_| (None, 0));
        gpu.facts = None;
        gpu.unavailable = Some(Unavailable::NoDriver);
        gpu
    }

    fn now_ns(&self) -> u64 {
        self.stage.now().as_nanos() as u64
    }

    fn samples(&self) -> Vec<GpuSample> {
        if self.unavailable.is_some() {
            return Vec::new();
        }
        let sample = |n: u64| {
            let (sm_mhz, bits) = (self.script)((n * PERIOD_NS) as f64 / 1e9);
            GpuSample {
                at_ns: n * PERIOD_NS,
                read_ns: 100_000,
                sm_mhz,
                throttle_reasons: Some(ThrottleReasons(bits)),
                energy_mj: Some(n * 6000),
                temperature_celsius: Some(50 + (n / 50) as u32),
                memory_used_bytes: Some(if n == 0 { 1 << 30 } else { 3 << 30 }),
                ..GpuSample::default()
            }
        };
        (0..=self.now_ns() / PERIOD_NS).map(sample).collect()
    }

    pub(super) fn marks(&self) -> Vec<String> {
        self.marks.iter().map(|mark| mark.label.clone()).collect()
    }
}

impl GpuWatch for MockGpu {
    fn facts(&self) -> Option<GpuFacts> {
        self.facts.clone()
    }

    fn locked_mhz(&self) -> Option<u32> {
        self.locked_mhz
    }

    fn mark(&mut self, label: String) -> u64 {
        let at_ns = self.now_ns();
        self.marks.push(Mark { at_ns, label });
        at_ns
    }

    fn window(&mut self, from_ns: u64, to_ns: u64) -> GpuWindow {
        GpuWindow::of(&self.samples(), from_ns, to_ns, 2 * PERIOD_NS)
    }

    fn stopped(&self) -> Option<Signal> {
        self.stop_after_ns.filter(|&at_ns| self.now_ns() >= at_ns).map(|_| Signal::Interrupt)
    }

    fn end(&mut self) -> &GpuLog {
        let samples = self.samples();
        let cost = SamplerCost { read_sum_ns: 100_000 * samples.len() as u64, ..SamplerCost::default() };
        let log = GpuLog {
            header: GpuLogHeader {
                schema: 1,
                what: "mock".to_owned(),
                started_unix_ms: 0,
                started_ns: 0,
                period_ms: PERIOD_NS / 1_000_000,
                uuid: "GPU-mock".to_owned(),
                unavailable: self.unavailable.clone(),
                facts: self.facts.clone(),
            },
            footer: GpuLogFooter {
                samples: samples.len() as u64,
                marks: self.marks.len() as u64,
                cost,
                ..GpuLogFooter::default()
            },
            samples,
            marks: self.marks.clone(),
        };
        self.log.get_or_insert(log)
    }

    fn lock_notes(&self) -> Vec<String> {
        Vec::new()
    }
}
