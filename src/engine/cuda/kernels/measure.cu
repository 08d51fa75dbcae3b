// What measuring needs on the device.
#include "params.cuh"

// Cycles of this multiprocessor and nanoseconds of the device's clock: two stamps give the clock rate between them. `to` holds two values for each of the
// multiprocessors that happen to run a block; number `slot` is that of the multiprocessor, because each counts its own cycles.
extern "C" __global__ void clock_stamp(u64* to, int multiprocessors) {
    u32 slot;
    u64 cycles, nanoseconds;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(slot));
    asm volatile("mov.u64 %0, %%clock64;" : "=l"(cycles));
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(nanoseconds));
    if (slot < (u32)multiprocessors && threadIdx.x == 0) {
        to[2 * slot] = cycles;
        to[2 * slot + 1] = nanoseconds;
    }
}
