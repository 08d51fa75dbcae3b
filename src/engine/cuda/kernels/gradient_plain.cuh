// Sums of products by fused multiply-adds in f32. A warp has 32 outputs; a lane has 8 of them and one channel of each of its input slabs.
#pragma once
#include "gradient_strip.cuh"

__device__ __forceinline__ float load_one(u32 from) {
    float value;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(from) : "memory");
    return value;
}

__device__ __forceinline__ void load_eight(float (&to)[8], u32 from) {
#pragma unroll
    for (int i = 0; i < 8; i += 4)
        asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(to[i]), "=f"(to[i + 1]), "=f"(to[i + 2]), "=f"(to[i + 3]) : "r"(from + 4 * i) : "memory");
}

// The sums of one warp: 32 outputs by `in_octets * 8` inputs by all taps.
template <int KERNEL> struct Sums {
    static constexpr int out_pairs = 2; // of octets of outputs
    static constexpr int in_octets = Tile<KERNEL>::in_slabs;
    static constexpr int taps = KERNEL * KERNEL;

    float at[in_octets * taps][8];
    float bias;

    __device__ __forceinline__ Sums() {
#pragma unroll
        for (auto& outputs : at)
#pragma unroll
            for (float& sum : outputs) sum = 0.f;
        bias = 0.f;
    }

    __device__ __forceinline__ void forget() {}

    __device__ __forceinline__ void add(u32 dy, u32 x, int count, bool with_bias, int lane) {
        const u32 outputs = dy + lane / 8 * Tile<KERNEL>::dy_slab, channel = x + lane % 8 * 4;
        for (int row = 0; row < count; ++row) {
            float window[in_octets][KERNEL][KERNEL];
            // Of every window but its last column.
#pragma unroll
            for (int ky = 0; ky < KERNEL; ++ky)
#pragma unroll
                for (int kx = 0; kx < KERNEL - 1; ++kx) window[0][ky][kx + 1] = load_one(channel + ((row + ky) * Tile<KERNEL>::x_width + kx) * SLAB_BYTES);
#pragma unroll 4
            for (int column = 0; column < STRIP; ++column) {
                float values[8];
                load_eight(values, outputs + (row * STRIP + column) * SLAB_BYTES);
                if (with_bias) bias += load_one(outputs + (row * STRIP + column) * SLAB_BYTES + lane % 8 * 4);
#pragma unroll
                for (int slab = 0; slab < in_octets; ++slab)
#pragma unroll
                    for (int ky = 0; ky < KERNEL; ++ky) {
#pragma unroll
                        for (int kx = 0; kx < KERNEL - 1; ++kx) window[slab][ky][kx] = window[slab][ky][kx + 1];
                        window[slab][ky][KERNEL - 1] =
                            load_one(channel + slab * Tile<KERNEL>::x_slab + ((row + ky) * Tile<KERNEL>::x_width + column + KERNEL - 1) * SLAB_BYTES);
                    }
#pragma unroll
                for (int slab = 0; slab < in_octets; ++slab)
#pragma unroll
                    for (int tap = 0; tap < taps; ++tap)
#pragma unroll
                        for (int i = 0; i < 8; ++i) at[slab * taps + tap][i] = fmaf(values[i], window[slab][tap / KERNEL][tap % KERNEL], at[slab * taps + tap][i]);
            }
        }
    }

    // Puts 16 outputs by 8 inputs by all taps into rows of `pitch` values.
    __device__ __forceinline__ void put(float* to, int pitch, int pair, int octet, int lane) const {
        if (lane / 16 != pair) return;
#pragma unroll
        for (int tap = 0; tap < taps; ++tap)
#pragma unroll
            for (int i = 0; i < 8; ++i) to[(lane / 8 % 2 * 8 + i) * pitch + lane % 8 * taps + tap] = at[octet * taps + tap][i];
    }

    // Puts the 32 sums of dy.
    __device__ __forceinline__ void put_bias(float* to, int lane) const { to[lane] = bias; }
};
