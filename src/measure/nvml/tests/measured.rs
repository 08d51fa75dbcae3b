//! Whole measurements on the real clock under a device of the fake library.

use super::*;
use crate::measure::{
    self, Disturbance, Error, GpuOptions, GpuSession, GpuWatch, Item, Subject, Validity, Workload,
    WorkloadError,
};
use crate::models::ModelIdentity;

pub(super) fn session(fake: &FakeNvml, lock_mhz: Option<u32>) -> GpuSession {
    GpuSession::start(&GpuOptions { recorder: options(fake.path(), FIRST), lock_mhz }).unwrap()
}

/// Works for a while, or fails at once.
struct Work {
    items: [Item; 1],
    fails: bool,
}

impl Workload for Work {
    fn items(&self) -> &[Item] {
        &self.items
    }

    fn run(&mut self, _item: usize) -> Result<(), WorkloadError> {
        std::thread::sleep(Duration::from_millis(5));
        if self.fails { Err("out of memory".into()) } else { Ok(()) }
    }
}

pub(super) fn measured(session: &mut GpuSession, fails: bool) -> Result<measure::Outcome, Error> {
    let setup = measure::Setup {
        device: "cuda:0".into(),
        engine: "test".into(),
        precision: "f32".into(),
        threads: 1,
    };
    let plan = measure::Plan::new(measure::Protocol::Steady, 3.0).unwrap();
    let mut work = Work { items: [Item { name: None, width: 4, height: 4 }], fails };
    let model = ModelIdentity { architecture: "test".into(), weights_sha256: None };
    measure::measure_on_gpu(&plan, &setup, Subject { model, workload: &mut work }, None, session)
}

#[test]
fn a_dip_of_the_clock_is_discarded_with_its_reason() {
    // 400 of the 1830 MHz of the application clock, for two hundred samples of at least 10 ms from the tenth on.
    let clock = |from, mhz| format!("nvmlDeviceGetClockInfo:1 {from} value {mhz}");
    let fake = FakeNvml::new(&[clock(0, 1830), clock(10, 400), clock(210, 1830)].join("\n"));
    let mut session = session(&fake, None);
    match measured(&mut session, false) {
        Ok(outcome) => {
            let timing = outcome.measurement.timing;
            let windows = timing.on_device.unwrap().windows;
            let discarded: Vec<_> = windows.iter().filter(|window| !window.accepted).collect();
            assert!(!discarded.is_empty() && timing.rejected_samples == discarded.len(), "{windows:?}");
            for window in discarded {
                let slow = matches!(window.disturbance, Some(Disturbance::Slow { reference_mhz: 1830, .. }));
                assert!(slow, "{window:?}");
            }
            assert_eq!(timing.validity, Validity::Throttled, "{}", timing.validity_reason);
        }
        // On a busy machine samples are rarer, and the dip lasts for the whole budget.
        Err(error) => {
            assert!(error.to_string().contains("the last because the SM clock was 400 MHz"), "{error}")
        }
    }
    let log = session.end();
    assert!(log.marks.iter().any(|mark| mark.label.contains("is discarded: the SM clock was")));
}

#[test]
fn a_device_that_is_lost_to_nvml_lowers_the_verdict_and_stops_nothing() {
    let fake = FakeNvml::new("* 5 error 15");
    let mut session = session(&fake, None);
    let m = measured(&mut session, false).unwrap().measurement;
    let gpu = m.gpu.unwrap();
    assert!(!gpu.vouches && gpu.sm_clock.unknown > 0, "{:?}", gpu.sm_clock);
    assert!(gpu.notes.concat().contains("stopped answering"), "{:?}", gpu.notes);
    assert!(
        [Validity::Unlocked, Validity::Noisy].contains(&m.timing.validity),
        "{}",
        m.timing.validity_reason
    );
    assert!(m.timing.validity_reason.contains("the SM clock is unknown in"), "{}", m.timing.validity_reason);
}

#[test]
fn a_driver_that_refuses_everything_lowers_the_verdict_and_stops_nothing() {
    let fake = FakeNvml::new("* 0 error 4\nnvmlDeviceGetHandleByUUID 0 value x");
    let mut session = session(&fake, None);
    let m = measured(&mut session, false).unwrap().measurement;
    let gpu = m.gpu.unwrap();
    assert!(
        !gpu.vouches && gpu.reference.is_none() && gpu.energy_mj.is_none() && gpu.throttle_reasons.is_none()
    );
    assert!(
        m.timing.validity_reason.contains("this user may not ask for it"),
        "{}",
        m.timing.validity_reason
    );
    assert!(m.timing.rejected_samples == 0 && m.timing.on_device.unwrap().memory.is_none());
}
