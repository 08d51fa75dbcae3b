// What a library's convolutions need besides themselves: weights in its order, their gradient back in ours, and the gradient of the bias, which it would round to the format of the
// values. For MATH_F32, MATH_F16 and MATH_BF16, which differ in how values are stored only.
//
// Nothing here depends on the order in which threads run.
#include "values.cuh"

#define THREADS 256

// A value of the filter: its output, tap and input.
struct Place {
    int output;
    int tap;
    int input;
};

__device__ __forceinline__ Place place(const Filter& p, u32 index) {
    const u32 taps = p.kernel * p.kernel, inputs = p.padded_inputs;
    return {(int)(index / inputs / taps), (int)(index / inputs % taps), (int)(index % inputs)};
}

__device__ __forceinline__ bool real(const Filter& p, const Place& at) { return at.output < p.outputs && at.input < p.inputs; }

__device__ __forceinline__ u64 in_weight(const Filter& p, const Place& at) { return ((u64)at.output * p.inputs + at.input) * p.kernel * p.kernel + at.tap; }

// One thread for each value of the filter.
extern "C" __global__ void __launch_bounds__(THREADS) pack_filter(const __grid_constant__ Filter p) {
    const u32 index = blockIdx.x * THREADS + threadIdx.x;
    if (index < (u32)p.padded_outputs) ((float*)p.padded_bias)[index] = p.bias && index < (u32)p.outputs ? ((const float*)p.bias)[index] : 0.f;
    if (index >= (u32)(p.padded_outputs * p.padded_inputs * p.kernel * p.kernel)) return;
    const Place at = place(p, index);
    from_float((Value*)p.filter + index, real(p, at) ? ((const float*)p.weight)[in_weight(p, at)] : 0.f);
}

extern "C" __global__ void __launch_bounds__(THREADS) unpack_filter(const __grid_constant__ Filter p) {
    const u32 index = blockIdx.x * THREADS + threadIdx.x;
    if (index >= (u32)(p.padded_outputs * p.padded_inputs * p.kernel * p.kernel)) return;
    const Place at = place(p, index);
    if (real(p, at)) ((float*)p.weight)[in_weight(p, at)] = to_float(((const Value*)p.filter)[index]);
}

// The sums of dy over a part of the pixels, which are divided among the parts as `weight_gradient_direct` does it. A block has one part and 32 channels, one for each of a row of
// threads; rows take pixels in turn, and the first adds what the others have, in their order.
#define ROWS (THREADS / 32)

extern "C" __global__ void __launch_bounds__(THREADS) bias_gradient(const __grid_constant__ WeightGradient p) {
    __shared__ float rows[ROWS][32];
    const int column = threadIdx.x & 31, row = threadIdx.x >> 5, channel = blockIdx.y * 32 + column;
    const u64 pixels = (u64)p.images * p.height * p.width;
    const u64 first = pixels * blockIdx.x / p.splits, end = pixels * (blockIdx.x + 1) / p.splits;
    int before = 0, source = 0;
    while (source < p.gradient_count && channel >= before + p.gradients[source].channels) before += p.gradients[source++].channels;
    float sum = 0.f;
    if (source < p.gradient_count) {
        const Value* const from = (const Value*)p.gradients[source].address + (channel - before);
        const u64 pitch = p.gradients[source].pixel;
#pragma unroll 4
        for (u64 pixel = first + row; pixel < end; pixel += ROWS) sum += to_float(from[pixel * pitch]);
    }
    rows[row][column] = sum;
    __syncthreads();
    if (row || source == p.gradient_count) return;
#pragma unroll
    for (int other = 1; other < ROWS; ++other) sum += rows[other][column];
    ((float*)p.bias_sums)[(u64)blockIdx.x * p.out_channels + channel] = sum;
}
