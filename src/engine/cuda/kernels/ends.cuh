// Between the host's planes or 8-bit images and NHWC. Blocks go along rows, so that neighbouring threads write neighbouring values.
#pragma once
#include "lanes.cuh"

// Planes to pixels of NHWC, a thread for each pixel: it writes whole vectors, with zeros behind the last channel.
extern "C" __global__ void load(const __grid_constant__ Ends p) {
    const int image = blockIdx.x / p.height, y = blockIdx.x - image * p.height, x = blockIdx.y * blockDim.x + threadIdx.x;
    if (x >= p.width) return;
    const u64 plane = (u64)p.height * p.width;
    const float* const from = (const float*)p.planes + (u64)image * p.channels * plane + (u64)y * p.width + x;
    Value* const to = (Value*)p.values + ((u64)blockIdx.x * p.width + x) * p.pixel;
    const bool vectors = aligned<Value>(p.values);
    for (int channel = 0; channel < p.channels; channel += 8) {
        Lanes<8> lanes;
#pragma unroll
        for (int i = 0; i < 8; ++i) lanes.at[i] = channel + i < p.channels ? __ldg(from + (channel + i) * plane) : 0.f;
        if (vectors) {
            write<8>(to, channel, lanes);
        } else {
#pragma unroll
            for (int i = 0; i < 8; ++i) from_float(to + channel + i, lanes.at[i]);
        }
    }
}

// Pixels of NHWC in f32 through a pixel shuffle to planes. A block takes all lines that come from its pixels, so that these are fetched from memory once.
extern "C" __global__ void store(const __grid_constant__ Ends p) {
    const int factor = p.factor, image = blockIdx.x / p.height, y = blockIdx.x - image * p.height;
    const int fine_x = blockIdx.y * blockDim.x + threadIdx.x, x = fine_x / factor;
    if (x >= p.width) return;
    const u64 fine_width = (u64)p.width * factor, plane = fine_width * p.height * factor;
    const float* const from = (const float*)p.values + ((u64)blockIdx.x * p.width + x) * p.pixel + fine_x - x * factor;
    float* const to = (float*)p.planes + (u64)image * p.channels * plane + (u64)y * factor * fine_width + fine_x;
    for (int channel = 0; channel < p.channels; ++channel) {
        for (int i = 0; i < factor; ++i) to[channel * plane + i * fine_width] = __ldg(from + (channel * factor + i) * factor);
    }
}

// `(value.clamp(0, data_range) * 255 / data_range)` rounded half to even, in f32 with two roundings; 0 for what is not a number.
__device__ __forceinline__ u32 quantised(float value, float data_range) {
    // Its last bit is worth one: adding it rounds half to even, and the whole number then stands in the lowest bits.
    const float round = 8388608.f;
    value = value > 0.f ? value : 0.f;
    value = value < data_range ? value : data_range;
    return __float_as_uint(__fadd_rn(__fdiv_rn(__fmul_rn(value, 255.f), data_range), round)) & 0xff;
}

// Pixels of NHWC in f32 through a pixel shuffle to interleaved 8-bit RGB. A thread takes four bytes that follow each other, in each line that comes from its pixels.
extern "C" __global__ void store_image(const __grid_constant__ Ends p) {
    const int factor = p.factor, first = (blockIdx.y * blockDim.x + threadIdx.x) * 4;
    const int line_bytes = p.width * factor * 3, count = min(4, line_bytes - first);
    if (count <= 0) return;
    const float* const row = (const float*)p.values + (u64)blockIdx.x * p.width * p.pixel;
    u8* const to = (u8*)p.planes + (u64)blockIdx.x * factor * line_bytes + first;
    const bool words = line_bytes % 4 == 0 && p.planes % 4 == 0;
    bool numbers = true;
    for (int i = 0; i < factor; ++i) {
        u32 word = 0;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            if (k >= count) break;
            const int fine_x = (first + k) / 3, channel = (first + k) - fine_x * 3, x = fine_x / factor;
            const float value = __ldg(row + (u64)x * p.pixel + (channel * factor + i) * factor + fine_x - x * factor);
            numbers = numbers && value == value;
            word |= quantised(value, p.data_range) << 8 * k;
        }
        u8* const line = to + (u64)i * line_bytes;
        if (words) {
            *(u32*)line = word;
        } else {
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                if (k < count) line[k] = (u8)(word >> 8 * k);
            }
        }
    }
    // Whoever finds one writes the same, so that the order does not matter.
    if (!numbers) *(u32*)p.finite = 0;
}
