//! The clock that a device should have while it is timed.

use serde::{Deserialize, Serialize};

use crate::measure::nvml::GpuFacts;

/// Where a reference clock comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceSource {
    /// The clock that this run was asked to lock the device to.
    Locked,
    /// The application clock now in force.
    Application,
    /// The application clock after a reset.
    DefaultApplication,
    /// The highest clock that the device can have.
    Maximum,
}

impl ReferenceSource {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Locked => "the locked clock",
            Self::Application => "the application clock",
            Self::DefaultApplication => "the default application clock",
            Self::Maximum => "the highest clock",
        }
    }
}

/// The clock that windows are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceClock {
    /// The clock of the multiprocessors.
    pub mhz: u32,
    /// Which of the device's clocks it is.
    pub source: ReferenceSource,
}

impl ReferenceClock {
    /// The best reference that is known. A locked clock is a promise. Otherwise it is the application clock, which is what the driver
    /// says that a program gets unless something limits it, also where somebody set it lower on purpose. Only where the device has
    /// none (consumer cards) it is the highest clock: a boost that no card holds under load, so that three quarters of it are
    /// asked of the device rather than of its maker's promise.
    pub fn of(facts: Option<&GpuFacts>, locked_mhz: Option<u32>) -> Option<Self> {
        let told = |mhz: fn(&GpuFacts) -> Option<u32>| facts.and_then(mhz).filter(|&mhz| mhz > 0);
        [
            (locked_mhz, ReferenceSource::Locked),
            (told(|facts| facts.sm_application_mhz), ReferenceSource::Application),
            (told(|facts| facts.sm_default_application_mhz), ReferenceSource::DefaultApplication),
            (told(|facts| facts.sm_max_mhz), ReferenceSource::Maximum),
        ]
        .into_iter()
        .find_map(|(mhz, source)| Some(Self { mhz: mhz?, source }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_known_clock_is_the_reference() {
        let facts = |application, default, max| GpuFacts {
            sm_application_mhz: application,
            sm_default_application_mhz: default,
            sm_max_mhz: max,
            ..GpuFacts::default()
        };
        let of = |facts: &GpuFacts, locked| {
            ReferenceClock::of(Some(facts), locked).map(|reference| (reference.mhz, reference.source))
        };
        let all = facts(Some(1200), Some(1830), Some(1980));
        assert_eq!(of(&all, Some(1410)), Some((1410, ReferenceSource::Locked)));
        assert_eq!(of(&all, None), Some((1200, ReferenceSource::Application)));
        assert_eq!(
            of(&facts(None, Some(1830), Some(1980)), None),
            Some((1830, ReferenceSource::DefaultApplication))
        );
        // Some drivers answer 0 for what the device does not have.
        assert_eq!(of(&facts(Some(0), None, Some(1980)), None), Some((1980, ReferenceSource::Maximum)));
        assert_eq!(of(&facts(None, None, None), None), None);
        assert_eq!(ReferenceClock::of(None, None), None);
    }
}
