//! The GPU: found at run time through the driver alone, described, and opened. Nothing of CUDA is needed to build the program or to start it.
//!
//! Everything that touches the driver goes through [`driver::Driver::open`], which turns each way it can fail into an error value with advice.

pub mod cudnn;
pub mod device;
pub mod driver;
