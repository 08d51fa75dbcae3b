// Channels that one thread works on: 8 where every address allows vectors, else 1. Kernels are written once for both; which one runs is the same for all threads.
#pragma once
#include "values.cuh"

template <int N>
struct Lanes {
    float at[N];
};

// Whether an address (0 for none) is one where a vector of 8 values may lie, given that buffers begin at one.
template <typename T>
__device__ __forceinline__ bool aligned(u64 address) {
    return address % (8 * sizeof(T)) == 0;
}

template <int N>
__device__ __forceinline__ Lanes<N> filled(float value) {
    Lanes<N> lanes;
#pragma unroll
    for (int i = 0; i < N; ++i) lanes.at[i] = value;
    return lanes;
}

// Channels of a pixel, from one below `channels` on. Channels from there on are whatever follows; for one lane nothing follows.
template <int N, typename T>
__device__ __forceinline__ Lanes<N> read(const T* pixel, int channel) {
    Lanes<N> lanes;
    if constexpr (N == 8) {
        const Eight eight = load8(pixel + channel);
#pragma unroll
        for (int i = 0; i < N; ++i) lanes.at[i] = eight.at[i];
    } else {
        lanes.at[0] = to_float(pixel[channel]);
    }
    return lanes;
}

template <int N, typename T>
__device__ __forceinline__ void write(T* pixel, int channel, const Lanes<N>& lanes) {
    if constexpr (N == 8) {
        Eight eight;
#pragma unroll
        for (int i = 0; i < N; ++i) eight.at[i] = lanes.at[i];
        store8(pixel + channel, eight);
    } else {
        from_float(pixel + channel, lanes.at[0]);
    }
}

// Zeros in the place of channels that do not exist, so that readers of whole vectors find zeros there.
template <int N>
__device__ __forceinline__ void pad(Lanes<N>& lanes, int channel, int channels) {
#pragma unroll
    for (int i = 0; i < N; ++i) lanes.at[i] = channel + i < channels ? lanes.at[i] : 0.f;
}

// Where a channel of an image before a pixel shuffle goes: counted up from a first one, because a division for every channel would cost more than all else.
struct Shuffled {
    int channel;
    int row;
    int column;

    __device__ __forceinline__ Shuffled(int from, int factor) {
        channel = from / (factor * factor);
        row = from / factor % factor;
        column = from % factor;
    }

    __device__ __forceinline__ void next(int factor) {
        if (++column < factor) return;
        column = 0;
        if (++row < factor) return;
        row = 0;
        ++channel;
    }
};
