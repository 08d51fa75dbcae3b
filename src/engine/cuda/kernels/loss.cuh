// The L1 loss and its gradient in one pass. Sums are in f64, and in an order that depends on nothing but the sizes: repeats have the same bits.
#pragma once
#include "lanes.cuh"

// Threads of a block of `loss` and `loss_total`. They decide the order of the sums; `launch/ends.rs` and the twins have the same number.
#define LOSS_THREADS 256

// The sum of all threads' values, for thread 0: halves are added to halves.
__device__ __forceinline__ double block_sum(double value) {
    __shared__ double sums[LOSS_THREADS];
    sums[threadIdx.x] = value;
    __syncthreads();
#pragma unroll
    for (int half = LOSS_THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    return sums[0];
}

// A block for each row of LR pixels; a thread takes runs of 8 channels, those of the padding too.
extern "C" __global__ void __launch_bounds__(LOSS_THREADS) loss(const __grid_constant__ Loss p) {
    const int factor = p.factor, image = blockIdx.x / p.height, y = blockIdx.x - image * p.height;
    const int channels = p.channels * factor * factor, runs = (channels + 7) / 8;
    const u64 fine_width = (u64)p.width * factor, plane = fine_width * p.height * factor, pixel = (u64)blockIdx.x * p.width;
    const float* const hr = (const float*)p.hr + (u64)image * p.channels * plane + (u64)y * factor * fine_width;
    const bool vectors = aligned<float>(p.sr) && aligned<Value>(p.gradient);
    double sum = 0.0;
    for (int run = threadIdx.x; run < p.width * runs; run += LOSS_THREADS) {
        const int x = run / runs, channel = (run - x * runs) * 8;
        const float* const from = (const float*)p.sr + (pixel + x) * p.sr_pixel;
        Value* const to = (Value*)p.gradient + (pixel + x) * p.gradient_pixel;
        const float* const line = hr + x * factor;
        Lanes<8> sr, gradient;
        if (vectors) {
            sr = read<8>(from, channel);
        } else {
#pragma unroll
            for (int i = 0; i < 8; ++i) sr.at[i] = channel + i < channels ? from[channel + i] : 0.f;
        }
        Shuffled fine(channel, factor);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            gradient.at[i] = 0.f;
            if (channel + i < channels) {
                const float target = __ldg(line + fine.channel * plane + fine.row * fine_width + fine.column);
                sum += fabs((double)sr.at[i] - (double)target);
                // 0 where they are equal or not numbers.
                gradient.at[i] = sr.at[i] > target ? p.unit : sr.at[i] < target ? -p.unit : 0.f;
            }
            fine.next(factor);
        }
        if (vectors) {
            write<8>(to, channel, gradient);
        } else {
#pragma unroll
            for (int i = 0; i < 8; ++i) from_float(to + channel + i, gradient.at[i]);
        }
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) ((double*)p.row_sums)[blockIdx.x] = sum;
}

// The mean over all values; one block.
extern "C" __global__ void __launch_bounds__(LOSS_THREADS) loss_total(const __grid_constant__ Loss p) {
    const u32 rows = (u32)p.images * p.height;
    double sum = 0.0;
    for (u32 row = threadIdx.x; row < rows; row += LOSS_THREADS) sum += ((const double*)p.row_sums)[row];
    sum = block_sum(sum);
    const u64 values = (u64)rows * p.width * p.channels * p.factor * p.factor;
    if (threadIdx.x == 0) *(double*)p.total = __ddiv_rn(sum, (double)values);
}
