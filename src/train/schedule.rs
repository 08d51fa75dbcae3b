//! From a step to its epoch and learning rate.

use super::settings::StageSettings;

/// The shape of one stage on a given number of images.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule<'a> {
    stage: &'a StageSettings,
    /// Patches in an epoch.
    pub(super) patches_per_epoch: u64,
}

impl<'a> Schedule<'a> {
    /// The schedule of `stage` on `images` training images.
    pub(super) fn new(stage: &'a StageSettings, images: usize) -> Self {
        Self { stage, patches_per_epoch: (images as u64 * stage.crops_per_image as u64).max(1) }
    }

    /// Steps in the stage. Batches run on over the end of an epoch; only the stage's last may see a few patches of an epoch too many.
    pub(super) fn steps(&self) -> u64 {
        (self.stage.epochs * self.patches_per_epoch).div_ceil(self.stage.batch as u64)
    }

    /// The epoch, from 0, in which a step's first patch lies.
    pub(super) fn epoch(&self, step: u64) -> u64 {
        step * self.stage.batch as u64 / self.patches_per_epoch
    }

    /// The learning rate of a step: multiplied by the decay factor at each milestone, as PyTorch's `MultiStepLR`.
    pub(super) fn rate(&self, step: u64) -> f64 {
        let epoch = self.epoch(step);
        let passed = self.stage.decay_at_epochs.iter().filter(|&&milestone| epoch >= milestone).count();
        self.stage.rate * self.stage.decay_factor.powi(passed as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::settings::paper_stage;

    #[test]
    fn the_papers_first_stage() {
        let stage = paper_stage("stage 1", 64);
        let schedule = Schedule::new(&stage, 3450);
        assert_eq!(schedule.patches_per_epoch, 34_500);
        assert_eq!(schedule.steps(), 500 * 34_500 / 32 + 1);
        let first_step_of = |epoch: u64| (epoch * 34_500).div_ceil(32);
        for (epoch, rate) in
            [(0, 2e-4), (199, 2e-4), (200, 1e-4), (400, 5e-5), (450, 2.5e-5), (475, 1.25e-5), (499, 1.25e-5)]
        {
            let step = first_step_of(epoch);
            assert_eq!(schedule.epoch(step), epoch);
            assert!((schedule.rate(step) - rate).abs() < 1e-18, "epoch {epoch}");
        }
    }
}
