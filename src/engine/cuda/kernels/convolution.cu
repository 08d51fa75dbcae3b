// Convolutions with stride 1 as an implicit matrix product (`convolution_n*`), all others value by value (`convolution_direct`), and the packing of weights for the former.
//
// The matrix product: a block of 8 warps computes 16 x 16 pixels of N output channels. It goes through the input channels in chunks of 32 bytes a pixel, source by source, and
// within a chunk through the kernel's taps. A chunk's pixels (with the border that the kernel needs) and its weights are one stage in shared memory; three stages are in flight.
// 32 bytes are 16 channels of 16 bits or 8 of 32, and both are what one matrix instruction takes, so that all formats are moved in the same way, byte for byte.
//
// The gradient with respect to the input is the same computation with the weights packed in reverse.
//
// With HOPPER this is the second family of these kernels, `convolution_hopper_n*` and `pack_weights_hopper`, for GPUs of compute capability 9.0 alone.
#include "convolution_sums.cuh"

// ---- The last stage of 8 channels of a pixel

__device__ __forceinline__ void finish(const Convolution& p, Eight value, int channel, u64 pixel) {
    for (int i = 0; i < p.part_count; ++i) {
        const Part& part = p.parts[i];
        const int inside = channel - part.start;
        if (inside < 0 || inside >= part.written) continue;
        if (p.bias) {
            const Eight bias = load8((const float*)p.bias + channel);
#pragma unroll
            for (int at = 0; at < 8; ++at) value.at[at] += bias.at[at];
        }
        value = finished8(part, value, pixel, inside);
        const u64 at = pixel * p.target_pixel + channel;
        if (p.target_f32) {
            store8((float*)p.target + at, value);
        } else {
            store8((Value*)p.target + at, value);
        }
        return;
    }
}

// ---- A block

// Stores what a warp has. Its lanes first exchange their sums through their own part of the shared memory, so that each gets 8 neighbouring channels of a pixel. Pixels lie
// `exchange_pitch` floats apart, so that those that are written together are in different banks.
template <int N, int K>
__device__ __forceinline__ void store(const Convolution& p, const Sums<N, K>& sums, u8* shared) {
    typedef Sums<N, K> T;
    constexpr int vectors = T::channels / 8;
    const int number = thread();
    float* exchange = (float*)shared + (number >> 5) * (T::pixels * T::exchange_pitch);
    sums.exchange(exchange);
    __syncwarp();
    const Place at = place(p);
    const int channel = blockIdx.y * N + T::first_channel(number);
#pragma unroll 2
    for (int i = number & 31; i < T::pixels * vectors; i += 32) {
        const int pixel = i / vectors, vector = i % vectors, y = at.top + T::pixel_y(number, pixel), x = at.left + T::pixel_x(number, pixel);
        if (y >= p.height || x >= p.width) continue;
        finish(p, load8(exchange + pixel * T::exchange_pitch + vector * 8), channel + vector * 8, (u64)((at.image * p.height + y) * p.width + x));
    }
}

template <int N, int K>
__device__ __forceinline__ void convolve(const Convolution& p) {
    typedef Shape<N, K> S;
    extern __shared__ __align__(128) u8 shared[];

    int chunks = 0;
    for (int source = 0; source < p.source_count; ++source) chunks += (p.sources[source].channels + CHUNK - 1) / CHUNK;

    Loader<N, K> loader(p);
    const u32 stages = (u32)__cvta_generic_to_shared(shared);
#pragma unroll
    for (int ahead = 0; ahead < STAGES - 1; ++ahead) {
        if (ahead < chunks) loader.load(stages + ahead * S::stage_bytes, blockIdx.y * chunks + ahead);
        copies_end_group();
    }

    Sums<N, K> sums;
    sums.clear();
    int stage = 0;
    for (int chunk = 0; chunk < chunks; ++chunk) {
        copies_wait();
        sums.wait();
        // Everybody's copies of this chunk have arrived, and nobody reads the stage before any more: a later chunk goes there.
        __syncthreads();
        if (Sums<N, K>::asynchronous) sums.add(shared + stage * S::stage_bytes);
        const int later = chunk + STAGES - 1, before = stage ? stage - 1 : STAGES - 1;
        if (later < chunks) loader.load(stages + before * S::stage_bytes, blockIdx.y * chunks + later);
        copies_end_group();
        if (!Sums<N, K>::asynchronous) sums.add(shared + stage * S::stage_bytes);
        stage = stage + 1 == STAGES ? 0 : stage + 1;
    }
    sums.wait_for_sums();
    __syncthreads();
    store(p, sums, shared);
}

template <int N>
__device__ __forceinline__ void convolve_either(const Convolution& p) {
    if (p.kernel == 3) {
        convolve<N, 3>(p);
    } else {
        convolve<N, 1>(p);
    }
}

#if defined(HOPPER)
#define CONVOLUTION(n) convolution_hopper_n##n
#define PACK_WEIGHTS pack_weights_hopper
#else
#define CONVOLUTION(n) convolution_n##n
#define PACK_WEIGHTS pack_weights
#endif

extern "C" __global__ void __launch_bounds__(THREADS, 2) CONVOLUTION(16)(const __grid_constant__ Convolution p) { convolve_either<16>(p); }
extern "C" __global__ void __launch_bounds__(THREADS, 2) CONVOLUTION(32)(const __grid_constant__ Convolution p) { convolve_either<32>(p); }
extern "C" __global__ void __launch_bounds__(THREADS, 2) CONVOLUTION(48)(const __grid_constant__ Convolution p) { convolve_either<48>(p); }
extern "C" __global__ void __launch_bounds__(THREADS, 2) CONVOLUTION(64)(const __grid_constant__ Convolution p) { convolve_either<64>(p); }

// ---- Weights, in the order in which stages want them: [block][chunk][tap], and of each tap [output channel][32 bytes] or, for Hopper,
// [half][output channel][16 bytes]. One thread for each value.

extern "C" __global__ void __launch_bounds__(THREADS) PACK_WEIGHTS(const __grid_constant__ Pack p) {
    const u32 index = blockIdx.x * THREADS + threadIdx.x;
    const u32 taps = p.kernel * p.kernel, padded = p.blocks * p.block;
    if (index < padded) ((float*)p.packed_bias)[index] = p.bias && index < (u32)p.out_channels ? ((const float*)p.bias)[index] : 0.f;

    u32 chunks = 0;
    for (int source = 0; source < p.source_count; ++source) chunks += (p.source_channels[source] + CHUNK - 1) / CHUNK;
    if (index >= chunks * taps * padded * CHUNK) return;
    u32 rest = index;
    const int within = rest % CHUNK;
    rest /= CHUNK;
    const int column = rest % p.block;
    rest /= p.block;
    const int tap = rest % taps;
    rest /= taps;
    int chunk = rest % chunks;
    const int output = (int)(rest / chunks) * p.block + column;

    int first = 0, channels = 0;
    for (int source = 0; source < p.source_count; ++source) {
        channels = p.source_channels[source];
        const int own = (channels + CHUNK - 1) / CHUNK;
        if (chunk < own) break;
        chunk -= own;
        first += channels;
    }
    const int channel = chunk * CHUNK + within, input = first + channel;
    float value = 0.f;
    if (channel < channels && output < p.out_channels) {
        const u64 at = p.input_gradient ? ((u64)input * p.out_channels + output) * taps + taps - 1 - tap : ((u64)output * p.in_channels + input) * taps + tap;
        value = ((const float*)p.weight)[at];
    }
#if defined(MATH_TF32)
    u32 rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
    value = __uint_as_float(rounded);
#endif
    const int half = within / (CHUNK / 2);
    const u64 row = (u64)(index - within) * sizeof(Value);
    Value* to = (Value*)(p.packed + weight_at(row, half, column, p.block)) + within % (CHUNK / 2);
    from_float(to, value);
}

#if !defined(HOPPER)

// ---- Any convolution. One thread for each value that is written: threads are channels in x and pixels in y.

extern "C" __global__ void __launch_bounds__(THREADS) convolution_direct(const __grid_constant__ Convolution p) {
    const u32 pixel = blockIdx.x * blockDim.y + threadIdx.y;
    if (pixel >= (u32)(p.images * p.height * p.width)) return;
    int channel = blockIdx.y * blockDim.x + threadIdx.x, number = 0;
    while (number < p.part_count && channel >= p.parts[number].written) channel -= p.parts[number++].written;
    if (number == p.part_count) return;
    const Part& part = p.parts[number];
    const int output = part.start + channel;

    float sum = 0.f;
    if (channel < part.channels) {
        const int x = pixel % p.width, y = pixel / p.width % p.height;
        const int image = pixel / p.width / p.height;
        const int inputs = p.in_channels / p.groups, outputs = p.out_channels / p.groups, taps = p.kernel * p.kernel;
        const int group = output / outputs, first_input = group * inputs;
        // Weights of neighbouring input channels: for the gradient what is read are the convolution's outputs.
        const float* weights = (const float*)p.weights;
        weights += p.input_gradient ? ((u64)first_input * outputs + output % outputs) * taps : (u64)output * inputs * taps;
        const u64 step = p.input_gradient ? (u64)outputs * taps : taps;
        for (int tap = 0; tap < taps; ++tap) {
            const int dy = tap / p.kernel, dx = tap % p.kernel;
            int from_y = y * p.stride + dy - p.padding, from_x = x * p.stride + dx - p.padding;
            if (p.input_gradient) {
                from_y = y + p.padding - dy, from_x = x + p.padding - dx;
                // A negative number's remainder is negative or 0, and the number is refused below.
                if (from_y % p.stride || from_x % p.stride) continue;
                from_y /= p.stride, from_x /= p.stride;
            }
            if (from_y < 0 || from_y >= p.input_height || from_x < 0 || from_x >= p.input_width) continue;
            const u64 from = (image * p.input_height + from_y) * p.input_width + from_x;
            const float* weight = weights + tap;
            int first = 0;
            for (int i = 0; i < p.source_count; ++i) {
                const Source& source = p.sources[i];
                const Value* values = (const Value*)source.address + from * source.pixel;
                const int begin = max(first_input - first, 0), end = min(first_input + inputs - first, source.channels);
                for (int c = begin; c < end; ++c, weight += step) sum = fmaf(to_float(values[c]), *weight, sum);
                first += source.channels;
            }
        }
        if (p.bias) sum += ((const float*)p.bias)[output];
    }
    const float value = finished1(part, sum, pixel, channel);
    const u64 at = (u64)pixel * p.target_pixel + output;
    if (p.target_f32) {
        ((float*)p.target)[at] = value;
    } else {
        from_float((Value*)p.target + at, value);
    }
}

#endif
