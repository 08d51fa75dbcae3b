//! Denormal numbers treated as zero while kernels run.
//!
//! Arithmetic with denormals is up to a hundred times slower, and gradients that fade away are full of them. What is lost is below 1.2e-38.

/// Denormals are flushed on this thread until the value is dropped; the earlier mode then returns. Where the processor is not known nothing changes.
pub struct Flushed {
    #[cfg(target_arch = "x86_64")]
    before: u32,
    #[cfg(target_arch = "aarch64")]
    before: u64,
    /// The mode belongs to the thread.
    _thread: std::marker::PhantomData<*const ()>,
}

#[cfg(target_arch = "x86_64")]
mod mode {
    /// Results that are denormal become zero, and so do operands.
    pub(super) const FLUSH: u32 = 1 << 15 | 1 << 6;

    pub(super) fn get() -> u32 {
        let mut value = 0u32;
        // SAFETY: stores the control register, which every x86-64 has, in a local variable.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
        value
    }

    pub(super) fn set(value: u32) {
        // SAFETY: changes how denormals are treated and nothing else: the other bits come from `get`.
        unsafe {
            std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags))
        };
    }
}

#[cfg(target_arch = "aarch64")]
mod mode {
    pub(super) const FLUSH: u64 = 1 << 24;

    pub(super) fn get() -> u64 {
        let value: u64;
        // SAFETY: reads the floating-point control register.
        unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }

    pub(super) fn set(value: u64) {
        // Without `nomem`, so that no load or store crosses it, and with them the arithmetic between: as on x86-64.
        // SAFETY: changes how denormals are treated and nothing else: the other bits come from `get`.
        unsafe { std::arch::asm!("msr fpcr, {}", in(reg) value, options(nostack, preserves_flags)) };
    }
}

impl Flushed {
    /// Begins to flush on this thread.
    pub fn now() -> Self {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        let before = mode::get();
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        mode::set(before | mode::FLUSH);
        Self {
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            before,
            _thread: std::marker::PhantomData,
        }
    }
}

impl Drop for Flushed {
    fn drop(&mut self) {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        mode::set(self.before);
    }
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use super::*;

    #[test]
    fn denormals_vanish_only_while_flushed() {
        let half = |value: f32| std::hint::black_box(value) * std::hint::black_box(0.5);
        {
            let _flushed = Flushed::now();
            assert_eq!(half(f32::MIN_POSITIVE), 0.0);
        }
        assert!(half(f32::MIN_POSITIVE) > 0.0);
    }
}
