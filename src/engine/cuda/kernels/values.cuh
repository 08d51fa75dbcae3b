// Stored values and what is done to them on the way: one `Value`, vectors of 8 channels, and the last stage of a range of channels.
#pragma once
#include "params.cuh"

// How values are stored: f32 for MATH_F32 and MATH_TF32.
#if defined(MATH_F16) || defined(MATH_BF16)
typedef u16 Value;
#else
typedef float Value;
#endif

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(u16 value) {
    float wide;
#if defined(MATH_F16)
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value));
#else
    wide = __uint_as_float((u32)value << 16);
#endif
    return wide;
}

__device__ __forceinline__ void from_float(float* to, float value) { *to = value; }
__device__ __forceinline__ void from_float(u16* to, float value) {
    u16 narrow;
#if defined(MATH_F16)
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow) : "f"(value));
#else
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(narrow) : "f"(value));
#endif
    *to = narrow;
}

// 8 channels of a pixel.
struct Eight {
    float at[8];
};

__device__ __forceinline__ Eight load8(const float* from) {
    const float4 low = *(const float4*)from, high = *(const float4*)(from + 4);
    return {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
}

__device__ __forceinline__ Eight load8(const u16* from) {
    const uint4 all = *(const uint4*)from;
    const u32 words[4] = {all.x, all.y, all.z, all.w};
    Eight eight;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        eight.at[2 * i] = to_float((u16)(words[i] & 0xffff));
        eight.at[2 * i + 1] = to_float((u16)(words[i] >> 16));
    }
    return eight;
}

__device__ __forceinline__ void store8(float* to, const Eight& eight) {
    const float* v = eight.at;
    *(float4*)to = make_float4(v[0], v[1], v[2], v[3]);
    *(float4*)(to + 4) = make_float4(v[4], v[5], v[6], v[7]);
}

__device__ __forceinline__ void store8(u16* to, const Eight& eight) {
    u16 narrow[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) from_float(&narrow[i], eight.at[i]);
    u32 words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) words[i] = (u32)narrow[2 * i] | (u32)narrow[2 * i + 1] << 16;
    *(uint4*)to = make_uint4(words[0], words[1], words[2], words[3]);
}

// The last stage for one value; `before`, `after` and `mask` are 0, 0 and 1 where there is none.
__device__ __forceinline__ float finished(const Part& part, float value, float before, float after, float mask) {
    value += before;
    if (part.activation && !(value > 0.f)) value *= part.slope;
    value += after;
    return mask > 0.f ? value : value * part.mask_slope;
}

// The last stage for 8 channels, the first being channel `channel` of the part. All operands are aligned.
__device__ __forceinline__ Eight finished8(const Part& part, Eight value, u64 pixel, int channel) {
    const Eight none = {{0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f}}, ones = {{1.f, 1.f, 1.f, 1.f, 1.f, 1.f, 1.f, 1.f}};
    const Eight before = part.before.address ? load8((const Value*)part.before.address + pixel * part.before.pixel + channel) : none;
    const Eight after = part.after.address ? load8((const Value*)part.after.address + pixel * part.after.pixel + channel) : none;
    const Eight mask = part.mask.address ? load8((const Value*)part.mask.address + pixel * part.mask.pixel + channel) : ones;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const float v = finished(part, value.at[i], before.at[i], after.at[i], mask.at[i]);
        value.at[i] = channel + i < part.channels ? v : 0.f;
    }
    return value;
}

// The last stage for one channel, wherever its operands lie.
__device__ __forceinline__ float finished1(const Part& part, float value, u64 pixel, int channel) {
    if (channel >= part.channels) return 0.f;
    const float before = part.before.address ? to_float(((const Value*)part.before.address)[pixel * part.before.pixel + channel]) : 0.f;
    const float after = part.after.address ? to_float(((const Value*)part.after.address)[pixel * part.after.pixel + channel]) : 0.f;
    const float mask = part.mask.address ? to_float(((const Value*)part.mask.address)[pixel * part.mask.pixel + channel]) : 1.f;
    return finished(part, value, before, after, mask);
}
