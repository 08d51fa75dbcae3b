// What measuring needs on the device.
#include "params.cuh"

// Cycles of each multiprocessor and nanoseconds of the device's clock: two stamps give the clock rate between them. Every multiprocessor counts its own cycles, so each has
// its own place; the first of its blocks to come writes there, so that both numbers are of one moment.
extern "C" __global__ void clock_stamp(const __grid_constant__ Stamp p) {
    u32 slot;
    u64 cycles, nanoseconds;
    if (threadIdx.x != 0) return;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(slot));
    if (slot >= (u32)p.multiprocessors) return;
    u64* place = (u64*)p.to + 3 * slot;
    if (atomicExch((u32*)place, 1u) != 0) return;
    asm volatile("mov.u64 %0, %%clock64;" : "=l"(cycles));
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(nanoseconds));
    place[1] = cycles;
    place[2] = nanoseconds;
}
