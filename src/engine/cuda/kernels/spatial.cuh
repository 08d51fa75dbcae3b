// Pixel shuffles inside a network, and maxima over windows. Blocks go along rows of what is written: threads in x take channels, threads in y pixels.
#pragma once
#include "lanes.cuh"

// A pixel of what is written.
struct Place {
    int image;
    int y;
    int x;
    u64 pixel;
    bool inside;

    __device__ __forceinline__ explicit Place(const Spatial& p) {
        image = blockIdx.x / p.height;
        y = blockIdx.x - image * p.height;
        x = blockIdx.y * blockDim.y + threadIdx.y;
        pixel = (u64)blockIdx.x * p.width + x;
        inside = x < p.width;
    }
};

__device__ __forceinline__ const Value* input_pixel(const Spatial& p, int image, int y, int x) {
    return (const Value*)p.input.address + (((u64)image * p.input_height + y) * p.input_width + x) * p.input.pixel;
}

// Whether vectors may be used: `other` is 0 where there is none.
__device__ __forceinline__ bool vectors(const Spatial& p) {
    return aligned<Value>(p.input.address) && aligned<Value>(p.other.address) && aligned<Value>(p.target);
}

// Calls a function for each run of N channels that a thread writes, those of the padding too, and stores what it returns.
template <int N, typename Function>
__device__ __forceinline__ void each_run(const Spatial& p, const Place& at, Function function) {
    const int padded = (p.channels + 7) / 8 * 8;
    Value* const target = (Value*)p.target + at.pixel * p.target_pixel;
    for (int channel = threadIdx.x * N; channel < padded; channel += blockDim.x * N) {
        Lanes<N> lanes = filled<N>(0.f);
        if (channel < p.channels) {
            lanes = function(channel);
            pad(lanes, channel, p.channels);
        }
        write<N>(target, channel, lanes);
    }
}

// `fine[c][f*y+i][f*x+j] = coarse[c*f*f + f*i + j][y][x]`
template <int N>
__device__ __forceinline__ void pixel_shuffle_by(const Spatial& p) {
    const Place at(p);
    if (!at.inside) return;
    const int factor = p.factor, area = factor * factor, y = at.y / factor, x = at.x / factor;
    const Value* const from = input_pixel(p, at.image, y, x) + (at.y - y * factor) * factor + at.x - x * factor;
    each_run<N>(p, at, [&](int channel) {
        Lanes<N> lanes;
#pragma unroll
        for (int i = 0; i < N; ++i) lanes.at[i] = channel + i < p.channels ? to_float(from[(channel + i) * area]) : 0.f;
        return lanes;
    });
}

// The inverse, which is the gradient.
template <int N>
__device__ __forceinline__ void pixel_unshuffle_by(const Spatial& p) {
    const Place at(p);
    if (!at.inside) return;
    const int factor = p.factor;
    const Value* const corner = input_pixel(p, at.image, at.y * factor, at.x * factor);
    each_run<N>(p, at, [&](int channel) {
        Lanes<N> lanes;
        Shuffled to(channel, factor);
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const u64 pixel = (u64)to.row * p.input_width + to.column;
            lanes.at[i] = channel + i < p.channels ? to_float(corner[pixel * p.input.pixel + to.channel]) : 0.f;
            to.next(factor);
        }
        return lanes;
    });
}

// The maxima of a window whose first pixel is at `corner`, and where they are: `row * kernel + column`, the first in row order where several are equal.
template <int N>
__device__ __forceinline__ Lanes<N> maximum(const Spatial& p, const Value* corner, int width, int pixel, int channel, int place[N]) {
    Lanes<N> best = read<N>(corner, channel);
#pragma unroll
    for (int i = 0; i < N; ++i) place[i] = 0;
    for (int row = 0; row < p.kernel; ++row) {
        const Value* const line = corner + (u64)row * width * pixel;
        for (int column = 0; column < p.kernel; ++column) {
            const Lanes<N> value = read<N>(line + (u64)column * pixel, channel);
#pragma unroll
            for (int i = 0; i < N; ++i) {
                const bool greater = value.at[i] > best.at[i];
                best.at[i] = greater ? value.at[i] : best.at[i];
                place[i] = greater ? row * p.kernel + column : place[i];
            }
        }
    }
    return best;
}

template <int N>
__device__ __forceinline__ void max_pool_by(const Spatial& p) {
    const Place at(p);
    if (!at.inside) return;
    const Value* const corner = input_pixel(p, at.image, at.y * p.stride, at.x * p.stride);
    each_run<N>(p, at, [&](int channel) {
        int place[N];
        return maximum<N>(p, corner, p.input_width, p.input.pixel, channel, place);
    });
}

// Each pixel looks for the windows whose maximum it is, in order: so no two threads write to one value, and sums have one order. `input` is dy, `other` x, which is laid out
// as what is written.
template <int N>
__device__ __forceinline__ void max_pool_gradient_by(const Spatial& p) {
    const Place at(p);
    if (!at.inside) return;
    const int kernel = p.kernel, stride = p.stride;
    // The first window whose last row is this one or below, and the last whose first row is this one or above.
    const int top = at.y < kernel ? 0 : (at.y - kernel) / stride + 1, bottom = min(at.y / stride, p.input_height - 1);
    const int left = at.x < kernel ? 0 : (at.x - kernel) / stride + 1, right = min(at.x / stride, p.input_width - 1);
    each_run<N>(p, at, [&](int channel) {
        Lanes<N> gradient = filled<N>(0.f);
        for (int row = top; row <= bottom; ++row) {
            for (int column = left; column <= right; ++column) {
                const u64 first = ((u64)at.image * p.height + row * stride) * p.width + column * stride;
                int place[N];
                maximum<N>(p, (const Value*)p.other.address + first * p.other.pixel, p.width, p.other.pixel, channel, place);
                const int own = (at.y - row * stride) * kernel + at.x - column * stride;
                const Lanes<N> dy = read<N>(input_pixel(p, at.image, row, column), channel);
#pragma unroll
                for (int i = 0; i < N; ++i) gradient.at[i] += place[i] == own ? dy.at[i] : 0.f;
            }
        }
        return gradient;
    });
}

// Both ways of every kernel that takes a `Spatial`.
#define SPATIAL(name)                                                       \
    extern "C" __global__ void name(const __grid_constant__ Spatial p) {    \
        if (vectors(p)) {                                                   \
            name##_by<8>(p);                                                \
        } else {                                                            \
            name##_by<1>(p);                                                \
        }                                                                   \
    }

SPATIAL(pixel_shuffle)
SPATIAL(pixel_unshuffle)
SPATIAL(max_pool)
SPATIAL(max_pool_gradient)
