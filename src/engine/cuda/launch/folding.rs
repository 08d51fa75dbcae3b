//! Launches of the kernels that fold branches, and the lists that they find in device memory.

use super::Launch;
use super::elementwise::THREADS;
use super::training::MODULE;
use crate::engine::cuda::params::{Branch, Fold, Folded, bytes_of};
use crate::engine::cuda::{number, params};

/// What is folded into what, as [`params::Fold`] names it: one launch takes all of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lists {
    tensors: Vec<Folded>,
    branches: Vec<Branch>,
    /// For each block of threads the number of its tensor.
    blocks: Vec<u32>,
}

/// The form of a folded weight; of a bias it is `[out_channels, 1, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Channels of its output.
    pub out_channels: usize,
    /// Channels of its input.
    pub in_channels: usize,
    /// Side of its kernels in taps.
    pub kernel: usize,
}

impl Form {
    /// Values of such a tensor.
    pub fn values(self) -> usize {
        self.out_channels * self.in_channels * self.kernel * self.kernel
    }
}

impl Lists {
    /// Appends a tensor whose first value is number `first` of all that are folded, and what is added up in it, in this order.
    pub fn add(&mut self, first: u64, form: Form, branches: impl IntoIterator<Item = Branch>) {
        let (first_branch, first_block) = (self.branches.len(), self.blocks.len());
        self.branches.extend(branches);
        let blocks = form.values().div_ceil(THREADS as usize);
        let tensor = u32::try_from(self.tensors.len()).unwrap_or(u32::MAX);
        self.blocks.extend(std::iter::repeat_n(tensor, blocks));
        self.tensors.push(Folded {
            first,
            channels: number(form.out_channels * form.in_channels),
            in_channels: number(form.in_channels),
            kernel: number(form.kernel),
            first_branch: number(first_branch),
            branch_count: number(self.branches.len() - first_branch),
            first_block: number(first_block),
        });
    }

    /// The bytes of the three lists: tensors, branches, and the tensors of blocks.
    pub fn bytes(&self) -> [Vec<u8>; 3] {
        [
            self.tensors.iter().flat_map(bytes_of).copied().collect(),
            self.branches.iter().flat_map(bytes_of).copied().collect(),
            self.blocks.iter().flat_map(|tensor| tensor.to_le_bytes()).collect(),
        ]
    }

    /// What both kernels are told of lists that lie at `lists`, in the order of [`Lists::bytes`], with all values of the branches' model from `expanded` on and all folded ones
    /// from `folded` on.
    pub fn told(&self, [tensors, branches, blocks]: [u64; 3], expanded: u64, folded: u64) -> Fold {
        let [tensor_count, block_count] = [self.tensors.len(), self.blocks.len()].map(number);
        Fold { tensors, branches, blocks, expanded, folded, tensor_count, block_count }
    }
}

/// Kernel `fold`: adds up all branches.
pub fn fold(p: &params::Fold) -> Launch {
    blocks("fold", p)
}

/// Kernel `unfold`: takes all branches' gradients out of the folded ones.
pub fn unfold(p: &params::Fold) -> Launch {
    blocks("unfold", p)
}

fn blocks(kernel: &'static str, p: &params::Fold) -> Launch {
    let grid = [p.block_count.unsigned_abs(), 1, 1];
    Launch { module: MODULE, kernel, grid, block: [THREADS, 1, 1], shared_bytes: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_every_tensor_has_a_thread_and_every_block_one_tensor() {
        let forms = [(1, 1, 1), (16, 16, 1), (257, 1, 1), (64, 3, 5), (2, 2, 3)];
        let forms =
            forms.map(|(out_channels, in_channels, kernel)| Form { out_channels, in_channels, kernel });
        let mut lists = Lists::default();
        for (index, &form) in forms.iter().enumerate() {
            let branch = Branch { kernel: number(form.kernel), ..Branch::default() };
            lists.add(0, form, vec![branch; index + 1]);
        }
        assert_eq!(lists.blocks, [[0].as_slice(), &[1], &[2, 2], &[3; 19], &[4]].concat());
        for (index, tensor) in lists.tensors.iter().enumerate() {
            assert_eq!(tensor.branch_count, index as i32 + 1);
            assert_eq!(tensor.first_branch, (index * (index + 1) / 2) as i32);
            assert_eq!(
                lists.blocks.iter().position(|&of| of == index as u32),
                Some(tensor.first_block as usize)
            );
        }
        let told = lists.told([256, 512, 768], 1024, 2048);
        assert_eq!(fold(&told).grid, [24, 1, 1]);
        assert_eq!(unfold(&told).grid, fold(&told).grid);
        assert_eq!(lists.bytes().map(|bytes| bytes.len()), [5 * 32, 15 * 16, 24 * 4]);
    }
}
