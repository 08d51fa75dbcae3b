//! Where the taps of a convolution fall, forwards and backwards.

use crate::graph::Conv2d;

/// The extents of a convolution on images of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Side of the square kernel in pixels.
    pub kernel: usize,
    /// Step between output positions in pixels.
    pub stride: usize,
    /// Zeros around the input in pixels.
    pub padding: usize,
    /// Height and width of the input in pixels.
    pub size: (usize, usize),
}

/// What a kernel computes with a convolution's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The output from the input.
    Forward,
    /// The gradient with respect to the input from the gradient with respect to the output.
    InputGradient,
}

impl Geometry {
    /// The extents of `conv` on an image of `size` (height, width).
    pub fn of(conv: &Conv2d, size: (usize, usize)) -> Self {
        Self { kernel: conv.kernel, stride: conv.stride, padding: conv.padding, size }
    }

    /// Height and width of the output in pixels; 0 where the kernel does not fit.
    pub fn output(&self) -> (usize, usize) {
        let side = |side: usize| match (side + 2 * self.padding).checked_sub(self.kernel) {
            Some(steps) => steps / self.stride.max(1) + 1,
            None => 0,
        };
        (side(self.size.0), side(self.size.1))
    }

    /// Taps of the kernel.
    pub(super) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Height and width of what is read.
    pub(super) fn read(&self, direction: Direction) -> (usize, usize) {
        match direction {
            Direction::Forward => self.size,
            Direction::InputGradient => self.output(),
        }
    }

    /// Height and width of what is written.
    pub(super) fn written(&self, direction: Direction) -> (usize, usize) {
        match direction {
            Direction::Forward => self.output(),
            Direction::InputGradient => self.size,
        }
    }

    /// Positions on the written axis that one step on the read axis, and on the read axis that one step on the written axis, spans. Backwards,
    /// positions that are a stride apart read neighbours with the same taps.
    pub(super) fn steps(&self, direction: Direction) -> (usize, usize) {
        match direction {
            Direction::Forward => (1, self.stride),
            Direction::InputGradient => (self.stride, 1),
        }
    }

    /// The position that is read through a tap for a written position; it may lie outside the image. Backwards not every tap reaches a position.
    #[inline(always)]
    pub(super) fn reach(&self, direction: Direction, position: usize, tap: usize) -> Option<isize> {
        match direction {
            Direction::Forward => Some((position * self.stride + tap) as isize - self.padding as isize),
            Direction::InputGradient => {
                let distance = (position + self.padding) as isize - tap as isize;
                let stride = self.stride as isize;
                (stride == 1 || distance % stride == 0).then_some(distance / stride)
            }
        }
    }

    /// [`Geometry::reach`] if it is inside an axis of `length`.
    #[inline(always)]
    pub(super) fn reach_inside(
        &self,
        direction: Direction,
        position: usize,
        tap: usize,
        length: usize,
    ) -> Option<usize> {
        let at = self.reach(direction, position, tap)?;
        (at >= 0 && (at as usize) < length).then_some(at as usize)
    }

    /// First and one past the last of `outputs` positions whose `tap` reads inside an axis of `inputs`.
    #[inline(always)]
    pub(super) fn outputs_inside(&self, tap: usize, inputs: usize, outputs: usize) -> (usize, usize) {
        let first = self.padding.saturating_sub(tap).div_ceil(self.stride);
        let end = (inputs + self.padding).saturating_sub(tap).div_ceil(self.stride).min(outputs);
        (first.min(end), end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_name_the_same_pairs() {
        for (kernel, stride, padding, side) in
            [(3, 1, 1, 7), (3, 2, 0, 8), (5, 3, 2, 11), (1, 2, 0, 5), (3, 3, 4, 2)]
        {
            let geometry = Geometry { kernel, stride, padding, size: (side, side) };
            let outputs = geometry.output().0;
            for tap in 0..kernel {
                let mut forwards = Vec::new();
                let (first, end) = geometry.outputs_inside(tap, side, outputs);
                for out in 0..outputs {
                    let at = geometry.reach_inside(Direction::Forward, out, tap, side);
                    assert_eq!(at.is_some(), (first..end).contains(&out), "{geometry:?}");
                    forwards.extend(at.map(|at| (at, out)));
                }
                let backwards: Vec<_> = (0..side)
                    .filter_map(|at| {
                        let out = geometry.reach_inside(Direction::InputGradient, at, tap, outputs)?;
                        Some((at, out))
                    })
                    .collect();
                assert_eq!(forwards, backwards, "{geometry:?}, tap {tap}");
            }
        }
    }

    #[test]
    fn a_kernel_that_does_not_fit_has_no_output() {
        let geometry = Geometry { kernel: 3, stride: 2, padding: 0, size: (2, 3) };
        assert_eq!(geometry.output(), (0, 1));
    }
}
