//! How kernels are started: from what a kernel is told to its grid. Pure functions, no driver.

pub mod convolution;
pub mod gradient;
pub mod measure;

/// One start of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The file with the kernel's PTX, without the ending: `convolution.f16`.
    pub module: &'static str,
    /// The kernel's name in the module.
    pub kernel: &'static str,
    /// Blocks of threads in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block. Above 48 KiB the kernel's attribute has to be raised first.
    pub shared_bytes: u32,
}
