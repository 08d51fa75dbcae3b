//! What a reader of a timing must be told about the GPU that it was taken on.

use super::log::{GpuLog, SamplerEnding};
use super::throttle::ThrottleReasons;

/// The share of the time that the sampler may take before a reader is told.
const NOTABLE_SHARE: f64 = 0.01;

/// The fields without which nobody can tell whether the device was throttled.
const ESSENTIAL: [&str; 2] = ["sm_mhz", "throttle_reasons"];

impl GpuLog {
    /// Whether the log can vouch for a timing: the device answered from the first sample to the last, and told its clock and
    /// the reasons for it.
    pub fn vouches(&self) -> bool {
        let footer = &self.footer;
        let told = |field: &str| !footer.refusals.iter().any(|(refused, _)| refused == field);
        self.header.unavailable.is_none()
            && !self.samples.is_empty()
            && footer.lost.is_none()
            && footer.not_kept == 0
            && footer.ending == SamplerEnding::Ended
            && ESSENTIAL.iter().all(|field| told(field))
    }

    /// Sentences for the verdict: everything for which a timing is to be believed less, each with the number behind it. Empty if
    /// there is nothing.
    pub fn notes(&self) -> Vec<String> {
        let footer = &self.footer;
        let mut notes = Vec::new();
        if let Some(why) = &self.header.unavailable {
            notes.push(format!("clocks and throttling of the GPU are unknown: {why}"));
        }
        for field in ESSENTIAL {
            for (_, reasons) in footer.refusals.iter().filter(|(refused, _)| *refused == field) {
                for (reason, count) in reasons {
                    let n = footer.samples + footer.not_kept;
                    notes
                        .push(format!("`{field}` of the GPU is unknown in {count} of {n} samples: {reason}"));
                }
            }
        }
        if let Some(lost) = &footer.lost {
            let after_s = lost.at_ns.saturating_sub(self.header.started_ns) as f64 / 1e9;
            notes.push(format!("the GPU stopped answering after {after_s:.3} s: {}", lost.reason));
        }
        notes.extend(self.throttling_note());
        if !footer.changed_facts.is_empty() {
            let names = footer.changed_facts.join("`, `");
            notes.push(format!("settings of the GPU changed meanwhile: `{names}`"));
        }
        if footer.not_kept > 0 {
            notes.push(format!("{} samples of the GPU were not kept; sample less often", footer.not_kept));
        }
        match footer.ending {
            SamplerEnding::Ended => {}
            SamplerEnding::LeftBehind => notes.push("NVML did not come back from a call".to_owned()),
            SamplerEnding::Failed => notes.push("the sampling of the GPU ended by a fault".to_owned()),
        }
        if footer.cost.share_of_wall > NOTABLE_SHARE {
            notes.push(format!(
                "NVML was being asked for {:.1} % of the time; sample less often",
                footer.cost.share_of_wall * 100.0
            ));
        }
        notes
    }

    fn throttling_note(&self) -> Option<String> {
        let reasons = self.samples.iter().filter_map(|sample| sample.throttle_reasons);
        let disturbing: Vec<ThrottleReasons> = reasons.filter(|reasons| reasons.is_disturbing()).collect();
        let all = disturbing.iter().fold(0, |all, reasons| all | reasons.0) & ThrottleReasons::DISTURBING;
        let (n, of) = (disturbing.len(), self.samples.len());
        (n > 0).then(|| format!("the GPU was throttled in {n} of {of} samples: {}", ThrottleReasons(all)))
    }
}
