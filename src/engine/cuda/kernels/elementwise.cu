// Everything that is neither a convolution nor an update of weights: sums, products, activations, changes of size, and both ends of a network. For MATH_F32, MATH_F16 and
// MATH_BF16, which differ in how values are stored only.
//
// Nothing here depends on the order in which threads run: there are no atomics, and every sum has one order.
#include "ends.cuh"
#include "lanes.cuh"
#include "loss.cuh"
#include "resize.cuh"
#include "spatial.cuh"

enum Combination { SUM, PRODUCT, SIGMOID, SIGMOID_GRADIENT };

// `1 / (1 + exp(-x))` with the operations of the CPU's kernel one by one, so that f32 gives its bits.
//
// exp(t) = 2^n * exp(r) with n = round(t / ln 2) and |r| <= ln 2 / 2, where the Taylor polynomial of degree 7 is exact to 6e-9.
__device__ __forceinline__ float sigmoid_of(float x) {
    // Adding it rounds to a whole number, which then stands in the lowest bits.
    const float round = 12582912.f;
    const float log2_e = 1.44269504088896340736f;
    // ln 2 in two parts; the first has so few bits that its product with n is exact.
    const float ln_2_high = 355.f / 512.f, ln_2_low = -2.1219444e-4f;
    const float coefficients[5] = {1.f / 720.f, 1.f / 120.f, 1.f / 24.f, 1.f / 6.f, 0.5f};
    // Beyond these bounds 2^n would not be a normal number. What is not a number passes both comparisons.
    float t = -x;
    t = t < -87.f ? -87.f : t;
    t = t > 88.f ? 88.f : t;
    const float shifted = __fadd_rn(__fmul_rn(t, log2_e), round);
    const float n = __fsub_rn(shifted, round);
    const float r = __fsub_rn(__fsub_rn(t, __fmul_rn(n, ln_2_high)), __fmul_rn(n, ln_2_low));
    float tail = 1.f / 5040.f;
#pragma unroll
    for (int i = 0; i < 5; ++i) tail = __fadd_rn(__fmul_rn(tail, r), coefficients[i]);
    const float power = __uint_as_float((__float_as_uint(shifted) - __float_as_uint(round) + 127) << 23);
    const float exponential = __fmul_rn(__fadd_rn(1.f, __fadd_rn(r, __fmul_rn(__fmul_rn(r, r), tail))), power);
    return __fdiv_rn(1.f, __fadd_rn(1.f, exponential));
}

template <Combination C>
__device__ __forceinline__ float combined(float value, float other) {
    if (C == SUM) return value + other;
    if (C == PRODUCT) return value * other;
    // dy * (1 - y) * y, in PyTorch's order.
    return __fmul_rn(__fmul_rn(value, __fsub_rn(1.f, other)), other);
}

// A thread takes a pixel and every `blockDim.x`-th run of N channels, which is one run for all usual numbers of channels.
template <Combination C, int N>
__device__ __forceinline__ void elementwise_by(const Elementwise& p) {
    const u64 pixel = (u64)blockIdx.x * blockDim.y + threadIdx.y;
    if (pixel >= p.pixels) return;
    Value* const target = (Value*)p.target + pixel * p.target_pixel;
    for (int channel = threadIdx.x * N; channel < p.part.written; channel += blockDim.x * N) {
        Lanes<N> value = filled<N>(C == PRODUCT && p.input_count == 0 ? 1.f : 0.f);
        if (channel < p.part.channels) {
            // Unrolled, because what is indexed by a counter has to lie in memory.
#pragma unroll
            for (int input = 0; input < MAX_INPUTS; ++input) {
                if (input >= p.input_count) break;
                const Value* const from = (const Value*)p.inputs[input].address + pixel * p.inputs[input].pixel;
                const Lanes<N> other = read<N>(from, channel);
#pragma unroll
                for (int i = 0; i < N; ++i) value.at[i] = input == 0 ? other.at[i] : combined<C>(value.at[i], other.at[i]);
                if (C == SIGMOID) break;
            }
            if (C == SUM && p.bias) {
                const Lanes<N> bias = read<N>((const float*)p.bias, channel);
#pragma unroll
                for (int i = 0; i < N; ++i) value.at[i] += bias.at[i];
            }
            if (C == SIGMOID) {
#pragma unroll
                for (int i = 0; i < N; ++i) value.at[i] = sigmoid_of(value.at[i]);
            }
            if constexpr (N == 8) {
                Eight eight;
#pragma unroll
                for (int i = 0; i < N; ++i) eight.at[i] = value.at[i];
                eight = finished8(p.part, eight, pixel, channel);
#pragma unroll
                for (int i = 0; i < N; ++i) value.at[i] = eight.at[i];
            } else {
                value.at[0] = finished1(p.part, value.at[0], pixel, channel);
            }
        } else {
            value = filled<N>(0.f);
        }
        write<N>(target, channel, value);
    }
}

template <Combination C>
__device__ __forceinline__ void elementwise(const Elementwise& p) {
    bool vectors = aligned<Value>(p.target) && p.part.written % 8 == 0;
    vectors = vectors && aligned<Value>(p.part.before.address) && aligned<Value>(p.part.after.address) && aligned<Value>(p.part.mask.address) && aligned<float>(p.bias);
#pragma unroll
    for (int input = 0; input < MAX_INPUTS; ++input) vectors = vectors && (input >= p.input_count || aligned<Value>(p.inputs[input].address));
    if (vectors) {
        elementwise_by<C, 8>(p);
    } else {
        elementwise_by<C, 1>(p);
    }
}

extern "C" __global__ void sum(const __grid_constant__ Elementwise p) { elementwise<SUM>(p); }
extern "C" __global__ void product(const __grid_constant__ Elementwise p) { elementwise<PRODUCT>(p); }
extern "C" __global__ void sigmoid(const __grid_constant__ Elementwise p) { elementwise<SIGMOID>(p); }
extern "C" __global__ void sigmoid_gradient(const __grid_constant__ Elementwise p) { elementwise<SIGMOID_GRADIENT>(p); }
