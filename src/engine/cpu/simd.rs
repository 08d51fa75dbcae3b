//! Vectors of f32 and the choice of an instruction set at run time.
//!
//! Kernels are written once, generic over [`Simd`], and compiled once for each instruction set; [`run`] enters the right copy. A kernel's
//! arithmetic does not depend on the number of lanes, so all instruction sets with a fused multiply-add give the same bits.

use std::fmt;

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// No explicit vectors: what the compiler makes of plain loops. Multiplies and adds round separately.
    Portable,
    /// x86-64 with AVX2 and FMA: 8 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64 with AVX-512F: 16 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 64-bit ARM: 4 lanes.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Isa {
    /// The fastest that this processor has.
    pub fn detect() -> Self {
        Self::available().last().copied().unwrap_or(Self::Portable)
    }

    /// All that this processor has, slowest first.
    pub fn available() -> Vec<Self> {
        let mut list = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                list.push(Self::Avx2);
            }
            if std::arch::is_x86_feature_detected!("avx512f") {
                list.push(Self::Avx512);
            }
        }
        #[cfg(target_arch = "aarch64")]
        list.push(Self::Neon);
        list
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2+fma",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512f",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
        })
    }
}

/// Vector arithmetic of one instruction set.
///
/// # Safety
/// Every function may only be called where the instruction set is enabled, i.e. below [`run`]; loads and stores need no alignment. An implementation
/// touches no other memory.
pub unsafe trait Simd: Copy {
    /// A vector of [`Simd::LANES`] values.
    type V: Copy;
    /// As many vectors as make one [`super::BLOCK`].
    type Block: Copy + std::ops::IndexMut<usize, Output = Self::V>;
    /// Values in a vector; divides [`super::BLOCK`].
    const LANES: usize;
    /// Rows of a register tile of one [`super::BLOCK`] of columns, so that its sums fit the registers.
    const TILE_ROWS: usize;

    /// The same vector throughout a block.
    fn block(v: Self::V) -> Self::Block;
    /// All lanes the same value.
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn splat(value: f32) -> Self::V;
    /// Reads one vector.
    ///
    /// # Safety
    /// As the trait says, and [`Simd::LANES`] values are at `from`.
    unsafe fn load(from: *const f32) -> Self::V;
    /// Writes one vector.
    ///
    /// # Safety
    /// As the trait says, and [`Simd::LANES`] values have room at `to`.
    unsafe fn store(to: *mut f32, v: Self::V);
    /// Asks for the cache line of an address, wherever that is: a hint that changes no value.
    #[inline(always)]
    fn prefetch(at: *const f32) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch of any address is allowed, and every x86-64 has it.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }
    /// `a + b`
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn fnma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Lane by lane `value` where `condition > 0`, else `otherwise`.
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn where_positive(condition: Self::V, value: Self::V, otherwise: Self::V) -> Self::V;
}

/// Plain arrays; the compiler may still vectorise them.
#[derive(Clone, Copy)]
pub struct Portable;

// SAFETY: plain arithmetic on arrays; loads and stores read and write exactly LANES values, without alignment.
unsafe impl Simd for Portable {
    type V = [f32; 4];
    type Block = [Self::V; 4];
    const LANES: usize = 4;
    const TILE_ROWS: usize = 2;

    #[inline(always)]
    fn block(v: Self::V) -> Self::Block {
        [v; 4]
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; 4]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the caller promises LANES values at `from`.
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        // SAFETY: the caller promises room for LANES values at `to`.
        unsafe { to.cast::<Self::V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        [a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]]
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        [a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3]]
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        [a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]]
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Without the instruction a fused multiply-add is a slow library call, so product and sum round separately here.
        [a[0] * b[0] + c[0], a[1] * b[1] + c[1], a[2] * b[2] + c[2], a[3] * b[3] + c[3]]
    }
    #[inline(always)]
    unsafe fn fnma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        [c[0] - a[0] * b[0], c[1] - a[1] * b[1], c[2] - a[2] * b[2], c[3] - a[3] * b[3]]
    }
    #[inline(always)]
    unsafe fn where_positive(condition: Self::V, value: Self::V, otherwise: Self::V) -> Self::V {
        std::array::from_fn(|i| if condition[i] > 0.0 { value[i] } else { otherwise[i] })
    }
}

/// Implements [`Simd`] by one intrinsic a function.
macro_rules! simd_by_intrinsics {
    ($name:ident, $doc:literal, $arch:ident, $v:ident, $lanes:literal, rows $rows:literal, $splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident,
     $mul:ident, fma($fa:ident, $fb:ident, $fc:ident) $fma:expr, $fnma:expr, select($c:ident, $t:ident, $e:ident) $select:expr) => {
        #[doc = $doc]
        #[derive(Clone, Copy)]
        pub struct $name;

        // SAFETY: unaligned loads and stores of exactly LANES values; the instruction set is enabled by contract.
        unsafe impl Simd for $name {
            type V = $arch::$v;
            type Block = [Self::V; super::super::BLOCK / $lanes];
            const LANES: usize = $lanes;
            const TILE_ROWS: usize = $rows;

            #[inline(always)]
            fn block(v: Self::V) -> Self::Block {
                [v; super::super::BLOCK / $lanes]
            }
            #[inline(always)]
            unsafe fn splat(value: f32) -> Self::V {
                // SAFETY: the instruction set is enabled.
                unsafe { $arch::$splat(value) }
            }
            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self::V {
                // SAFETY: LANES values are at `from`, and the instruction set is enabled.
                unsafe { $arch::$load(from) }
            }
            #[inline(always)]
            unsafe fn store(to: *mut f32, v: Self::V) {
                // SAFETY: LANES values have room at `to`, and the instruction set is enabled.
                unsafe { $arch::$store(to, v) }
            }
            #[inline(always)]
            unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: the instruction set is enabled.
                unsafe { $arch::$add(a, b) }
            }
            #[inline(always)]
            unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: the instruction set is enabled.
                unsafe { $arch::$sub(a, b) }
            }
            #[inline(always)]
            unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: the instruction set is enabled.
                unsafe { $arch::$mul(a, b) }
            }
            #[inline(always)]
            unsafe fn fma($fa: Self::V, $fb: Self::V, $fc: Self::V) -> Self::V {
                // SAFETY: the instruction set is enabled.
                unsafe { $fma }
            }
            #[inline(always)]
            unsafe fn fnma($fa: Self::V, $fb: Self::V, $fc: Self::V) -> Self::V {
                // SAFETY: the instruction set is enabled.
                unsafe { $fnma }
            }
            #[inline(always)]
            unsafe fn where_positive($c: Self::V, $t: Self::V, $e: Self::V) -> Self::V {
                // SAFETY: the instruction set is enabled.
                unsafe { $select }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64;

    simd_by_intrinsics!(
        Avx2, "256-bit vectors.", x86_64, __m256, 8, rows 6,
        _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps,
        fma(a, b, c) x86_64::_mm256_fmadd_ps(a, b, c), x86_64::_mm256_fnmadd_ps(a, b, c),
        select(condition, value, otherwise) {
            let mask = x86_64::_mm256_cmp_ps::<{ x86_64::_CMP_GT_OQ }>(condition, x86_64::_mm256_setzero_ps());
            x86_64::_mm256_blendv_ps(otherwise, value, mask)
        }
    );

    simd_by_intrinsics!(
        Avx512, "512-bit vectors.", x86_64, __m512, 16, rows 12,
        _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps,
        fma(a, b, c) x86_64::_mm512_fmadd_ps(a, b, c), x86_64::_mm512_fnmadd_ps(a, b, c),
        select(condition, value, otherwise) {
            let mask = x86_64::_mm512_cmp_ps_mask::<{ x86_64::_CMP_GT_OQ }>(condition, x86_64::_mm512_setzero_ps());
            x86_64::_mm512_mask_blend_ps(mask, otherwise, value)
        }
    );
}
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::Simd;
    use std::arch::aarch64;

    simd_by_intrinsics!(
        Neon, "128-bit vectors.", aarch64, float32x4_t, 4, rows 6,
        vdupq_n_f32, vld1q_f32, vst1q_f32, vaddq_f32, vsubq_f32, vmulq_f32,
        fma(a, b, c) aarch64::vfmaq_f32(c, a, b), aarch64::vfmsq_f32(c, a, b),
        select(condition, value, otherwise) aarch64::vbslq_f32(aarch64::vcgtzq_f32(condition), value, otherwise)
    );
}
#[cfg(target_arch = "aarch64")]
pub use arm::Neon;

/// Work written once for all instruction sets.
pub trait Kernel {
    /// Does the work with the vectors of `S`. Implementations must be `#[inline(always)]`, so that they are compiled with the instruction
    /// set of the function that [`run`] enters.
    ///
    /// # Safety
    /// The instruction set must be enabled, and whatever pointers the kernel holds must be valid.
    unsafe fn run<S: Simd>(&mut self);
}

/// Runs a kernel with an instruction set.
///
/// # Safety
/// `isa` must be one of [`Isa::available`], and the kernel's own requirements must hold.
pub unsafe fn run<K: Kernel>(isa: Isa, kernel: &mut K) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<K: Kernel>(kernel: &mut K) {
        // SAFETY: AVX2 and FMA are enabled here; the rest is the caller's promise.
        unsafe { kernel.run::<Avx2>() }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx2,fma")]
    unsafe fn avx512<K: Kernel>(kernel: &mut K) {
        // SAFETY: AVX-512F is enabled here; the rest is the caller's promise.
        unsafe { kernel.run::<Avx512>() }
    }
    // SAFETY: the caller promises that the processor has `isa` and that the kernel's requirements hold.
    unsafe {
        match isa {
            Isa::Portable => kernel.run::<Portable>(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512(kernel),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => kernel.run::<Neon>(),
        }
    }
}
