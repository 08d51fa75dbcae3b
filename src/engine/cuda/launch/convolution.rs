//! stub
use super::Launch;
use crate::engine::cuda::Math;
use crate::engine::cuda::params::{Convolution, Pack};
use crate::graph::Conv2d;
pub fn takes(_c: &Conv2d) -> bool { true }
pub fn blocks(_o: usize) -> (usize, usize) { (64, 1) }
pub fn packed_bytes(_s: &[usize], _k: usize, _b: usize, _n: usize, _m: Math) -> usize { 0 }
pub fn pack(_p: &Pack, _m: Math) -> Launch { todo!() }
pub fn fast(_p: &Convolution, _b: usize, _m: Math) -> Launch { todo!() }
pub fn direct(_p: &Convolution, _m: Math) -> Launch { todo!() }
