// Convolutions with stride 1 as an implicit matrix product (`convolution_n*`), all others value by value (`convolution_direct`), and the packing of weights for the former.
//
// The matrix product: a block of 8 warps computes 16 x 16 pixels of N output channels. It goes through the input channels in chunks of 32 bytes a pixel, source by source, and
// within a chunk through the kernel's taps. A chunk's pixels (with the border that the kernel needs) and its weights are one stage in shared memory; three stages are in flight.
// 32 bytes are 16 channels of 16 bits or 8 of 32, and both are what one matrix instruction takes, so that all formats are moved in the same way, byte for byte.
//
// The gradient with respect to the input is the same computation with the weights packed in reverse.
#include "values.cuh"

#define TILE 16          // pixels of a block, in each direction
#define WARPS 8
#define THREADS (WARPS * 32)
#define PITCH 18         // pixels from one row of a stage to the next: not a multiple of 4, so that rows begin in different banks
#define PIXEL_BYTES 32   // bytes of a pixel, or of an output channel's weights for a tap, in a stage
#define CHUNK ((int)(PIXEL_BYTES / sizeof(Value)))
#define STAGES 3
#define ROW_BYTES (PITCH * PIXEL_BYTES)

// A pixel's two halves of 16 bytes change places in every other group of four: then 8 neighbours' halves lie in different banks, wherever the first one is.
__device__ __forceinline__ int swizzled(int half, int index) { return (half ^ (index >> 2 & 1)) << 4; }

// ---- Copies into shared memory

// Copies 16 bytes, of which those from `bytes` on become zero without being read.
__device__ __forceinline__ void copy16(u32 to, const void* from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)), "r"(bytes) : "memory");
}

__device__ __forceinline__ void copies_end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most one group of copies is under way.
__device__ __forceinline__ void copies_wait() { asm volatile("cp.async.wait_group 1;" ::: "memory"); }

// What a block computes and how its shared memory is laid out.
template <int N, int K>
struct Shape {
    static constexpr int side = TILE + K - 1;
    static constexpr int weights_at = side * ROW_BYTES;
    static constexpr int weight_bytes = K * K * N * PIXEL_BYTES;
    static constexpr int stage_bytes = weights_at + weight_bytes;
    // Each thread copies one half of one column, in rows that are this far apart.
    static constexpr int copied_rows = THREADS / (2 * side);
    // Warps that share pixels: the fewer pixels and the more channels a warp has, the more it reads; with four rows and half of the channels it reads least.
    static constexpr int splits = N == 16 ? 1 : 2;
    static constexpr int rows = 2 * splits;
    static constexpr int channels = N / splits;
};

// Registers are scarce in the main loop. What follows from a thread's or a block's number is computed again where it is needed, because these functions may not be merged.
__device__ __forceinline__ int thread() {
    int number;
    asm volatile("mov.u32 %0, %tid.x;" : "=r"(number));
    return number;
}

// Where a block's pixels are.
struct Place {
    int image;
    int top;
    int left;
};

__device__ __forceinline__ Place place(const Convolution& p) {
    int number;
    asm volatile("mov.u32 %0, %ctaid.x;" : "=r"(number));
    const int columns = (p.width + TILE - 1) / TILE, rows = (p.height + TILE - 1) / TILE;
    const int tile = number % (columns * rows);
    return {number / (columns * rows), tile / columns * TILE, tile % columns * TILE};
}

// Goes through the chunks of all sources.
template <int N, int K>
struct Loader {
    typedef Shape<N, K> S;

    const Convolution& p;
    int source;  // the next chunk's
    int channel; // the next chunk's first one in the source
    int pixel;   // number of this thread's first pixel; may lie outside of the image
    u32 valid;   // one bit for each of its rows, which are `copied_rows` apart

    __device__ __forceinline__ Loader(const Convolution& p) : p(p), source(0), channel(0), valid(0) {
        const Place at = place(p);
        const int number = thread(), x = at.left + column(number) - K / 2, y = at.top + row(number) - K / 2;
        pixel = (at.image * p.height + y) * p.width + x;
#pragma unroll
        for (int i = 0; i * S::copied_rows < S::side; ++i) {
            const int down = y + i * S::copied_rows;
            valid |= (u32)(x >= 0 && x < p.width && down >= 0 && down < p.height) << i;
        }
    }

    __device__ __forceinline__ static int column(int number) { return number % (2 * S::side) >> 1; }
    __device__ __forceinline__ static int row(int number) { return number / (2 * S::side); }

    // `chunk` counts those of all blocks of output channels.
    __device__ __forceinline__ void load(u32 stage, u32 chunk) {
        const int number = thread(), half = number & 1;
        const Source& from = p.sources[source];
        const int bytes_left = (from.channels - channel) * (int)sizeof(Value) - half * 16, pixel_bytes = from.pixel * (int)sizeof(Value);
        const u8* values = (const u8*)from.address + channel * (int)sizeof(Value);
        const u32 to = stage + row(number) * ROW_BYTES + column(number) * PIXEL_BYTES + swizzled(half, column(number));
#pragma unroll
        for (int i = 0; i * S::copied_rows < S::side; ++i) {
            const bool in_stage = row(number) < S::copied_rows && row(number) + i * S::copied_rows < S::side;
            // The source may end within these 16 bytes; what lies behind is not its own.
            const int bytes = valid >> i & 1 ? min(max(bytes_left, 0), 16) : 0;
            const u8* at = bytes ? values + (u64)(u32)(pixel + i * S::copied_rows * p.width) * pixel_bytes + half * 16 : values;
            if (in_stage) copy16(to + i * (S::copied_rows * ROW_BYTES), at, bytes);
        }
        const u32 to_weights = stage + S::weights_at + number * 16;
        const u8* weights = (const u8*)p.weights + (u64)chunk * S::weight_bytes + number * 16;
#pragma unroll
        for (int at = 0; at < S::weight_bytes; at += THREADS * 16) {
            if (at + number * 16 < S::weight_bytes) copy16(to_weights + at, weights + at, 16);
        }
        channel += CHUNK;
        if (channel >= from.channels) channel = 0, ++source;
    }
};

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

#if defined(MATH_F32)

// ---- Sums by plain multiplication: a thread has 8 neighbouring pixels of a row and every eighth channel

template <int N, int K>
struct Sums {
    typedef Shape<N, K> S;
    static constexpr int count = N / 8;

    float sums[8][count];

    // A warp has 4 rows of 8 pixels; every 8 of its threads have the same ones.
    __device__ __forceinline__ static int first_row(int number) { return (number >> 6) * 4; }
    __device__ __forceinline__ static int first_column(int number) { return (number >> 5 & 1) * 8; }

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int pixel = 0; pixel < 8; ++pixel) {
#pragma unroll
            for (int j = 0; j < count; ++j) sums[pixel][j] = 0.f;
        }
    }

    __device__ __forceinline__ void add(const u8* stage) {
        const int number = thread();
        const u8* pixels = stage + (first_row(number) + (number >> 3 & 3)) * ROW_BYTES + first_column(number) * PIXEL_BYTES;
        const u8* weights = stage + S::weights_at + (number & 7) * PIXEL_BYTES;
        const int flip = swizzled(0, number);
        // Loops over the rows of the kernel and the halves of the channels keep the code small enough for the instruction cache.
#pragma unroll 1
        for (int step = 0; step < 2 * K; ++step) {
            const int half = step & 1, dy = step >> 1;
            const u8* from = pixels + dy * ROW_BYTES;
            const u8* weight = weights + dy * K * N * PIXEL_BYTES + (flip ^ half << 4);
#pragma unroll 1
            for (int pair = 0; pair < CHUNK / 4; ++pair) {
                float2 values[8 + K - 1];
#pragma unroll
                for (int i = 0; i < 8 + K - 1; ++i) values[i] = *(const float2*)(from + i * PIXEL_BYTES + swizzled(half, i) + pair * 8);
#pragma unroll
                for (int dx = 0; dx < K; ++dx) {
#pragma unroll
                    for (int j = 0; j < count; ++j) {
                        const float2 factor = *(const float2*)(weight + (dx * N + j * 8) * PIXEL_BYTES + pair * 8);
#pragma unroll
                        for (int pixel = 0; pixel < 8; ++pixel) {
                            sums[pixel][j] = fmaf(values[pixel + dx].x, factor.x, sums[pixel][j]);
                            sums[pixel][j] = fmaf(values[pixel + dx].y, factor.y, sums[pixel][j]);
                        }
                    }
                }
            }
        }
    }

    static constexpr int pixels = 32;
    static constexpr int channels = N;
    // 8 or 24 more than a multiple of 32.
    static constexpr int exchange_pitch = N + 8;

    __device__ __forceinline__ static int first_channel(int) { return 0; }
    __device__ __forceinline__ static int pixel_y(int number, int pixel) { return first_row(number) + (pixel & 3); }
    __device__ __forceinline__ static int pixel_x(int number, int pixel) { return first_column(number) + (pixel >> 2); }

    __device__ __forceinline__ void exchange(float* to) const {
        to += (threadIdx.x >> 3 & 3) * exchange_pitch + (threadIdx.x & 7);
#pragma unroll
        for (int pixel = 0; pixel < 8; ++pixel) {
#pragma unroll
            for (int j = 0; j < count; ++j) to[pixel * 4 * exchange_pitch + j * 8] = sums[pixel][j];
        }
    }
};

#else

// ---- Sums by matrix instructions: 16 pixels of a row are the rows of a matrix, 8 channels the columns of another

__device__ __forceinline__ void load_matrices(u32 to[4], u32 from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(from));
}

__device__ __forceinline__ void load_matrices(u32 to[2], u32 from, bool) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(to[0]), "=r"(to[1]) : "r"(from));
}

// Rounds what was loaded to what the instruction takes; weights are rounded when they are packed.
__device__ __forceinline__ void round_factors(u32 factors[4]) {
#if defined(MATH_TF32)
#pragma unroll
    for (int i = 0; i < 4; ++i) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(factors[i]) : "f"(__uint_as_float(factors[i])));
#endif
}

__device__ __forceinline__ void multiply_add(float sums[4], const u32 a[4], const u32 b[2]) {
#if defined(MATH_TF32)
#define INSTRUCTION "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"
#elif defined(MATH_F16)
#define INSTRUCTION "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"
#else
#define INSTRUCTION "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"
#endif
    asm(INSTRUCTION " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <int N, int K>
struct Sums {
    typedef Shape<N, K> S;
    static constexpr int tiles = S::channels / 8;

    float sums[S::rows][tiles][4];

    __device__ __forceinline__ static int first_row(int number) { return (number >> 5) / S::splits * S::rows; }
    __device__ __forceinline__ static int first_channel(int number) { return (number >> 5) % S::splits * S::channels; }

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int row = 0; row < S::rows; ++row) {
#pragma unroll
            for (int tile = 0; tile < tiles; ++tile) {
#pragma unroll
                for (int i = 0; i < 4; ++i) sums[row][tile][i] = 0.f;
            }
        }
    }

    __device__ __forceinline__ void add(const u8* stage) {
        const int number = thread(), lane = number & 31;
        const u32 at = (u32)__cvta_generic_to_shared(stage);
        const u32 pixels = at + first_row(number) * ROW_BYTES + (lane & 15) * PIXEL_BYTES;
        const int channel = (lane & 7) + (lane >> 4) * 8;
        const u32 weights = at + S::weights_at + (first_channel(number) + channel) * PIXEL_BYTES + swizzled(lane >> 3 & 1, channel);
        // The same channels in the first 8 of a tile that has no neighbour.
        const u32 weights_alone = weights - (lane >> 4) * 8 * PIXEL_BYTES;
#pragma unroll
        for (int dx = 0; dx < K; ++dx) {
            const u32 column = pixels + dx * PIXEL_BYTES + swizzled(lane >> 4, (lane & 15) + dx);
            // A row of pixels is loaded once and meets all rows of the kernel.
            u32 a[S::rows + K - 1][4];
#pragma unroll
            for (int dy = 0; dy < K; ++dy) {
#pragma unroll
                for (int row = dy ? dy + S::rows - 1 : 0; row < dy + S::rows; ++row) {
                    load_matrices(a[row], column + row * ROW_BYTES);
                    round_factors(a[row]);
                }
                u32 b[tiles][2];
                const int tap = (dy * K + dx) * N * PIXEL_BYTES;
#pragma unroll
                for (int tile = 0; tile + 1 < tiles; tile += 2) {
                    u32 two[4];
                    load_matrices(two, weights + tap + tile * 8 * PIXEL_BYTES);
                    b[tile][0] = two[0], b[tile][1] = two[1], b[tile + 1][0] = two[2], b[tile + 1][1] = two[3];
                }
                if (tiles & 1) load_matrices(b[tiles - 1], weights_alone + tap + (tiles - 1) * 8 * PIXEL_BYTES, true);
#pragma unroll
                for (int row = 0; row < S::rows; ++row) {
#pragma unroll
                    for (int tile = 0; tile < tiles; ++tile) multiply_add(sums[row][tile], a[row + dy], b[tile]);
                }
            }
        }
    }

    static constexpr int pixels = S::rows * TILE;
    static constexpr int channels = S::channels;
    // 8 or 24 more than a multiple of 32.
    static constexpr int exchange_pitch = channels == 24 ? 24 : channels + 8;

    __device__ __forceinline__ static int pixel_y(int number, int pixel) { return first_row(number) + pixel / TILE; }
    __device__ __forceinline__ static int pixel_x(int, int pixel) { return pixel % TILE; }

    __device__ __forceinline__ void exchange(float* to) const {
        const int lane = threadIdx.x & 31;
        to += (lane >> 2) * exchange_pitch + (lane & 3) * 2;
#pragma unroll
        for (int row = 0; row < S::rows; ++row) {
#pragma unroll
            for (int tile = 0; tile < tiles; ++tile) {
                float* at = to + row * TILE * exchange_pitch + tile * 8;
                *(float2*)at = make_float2(sums[row][tile][0], sums[row][tile][1]);
                *(float2*)(at + 8 * exchange_pitch) = make_float2(sums[row][tile][2], sums[row][tile][3]);
            }
        }
    }
};

#endif

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
        // Everybody's copies of this chunk have arrived, and nobody reads the stage before any more: a later chunk goes there.
        __syncthreads();
        const int later = chunk + STAGES - 1, before = stage ? stage - 1 : STAGES - 1;
        if (later < chunks) loader.load(stages + before * S::stage_bytes, blockIdx.y * chunks + later);
        copies_end_group();
        sums.add(shared + stage * S::stage_bytes);
        stage = stage + 1 == STAGES ? 0 : stage + 1;
    }
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

extern "C" __global__ void __launch_bounds__(THREADS, 2) convolution_n16(const __grid_constant__ Convolution p) { convolve_either<16>(p); }
extern "C" __global__ void __launch_bounds__(THREADS, 2) convolution_n32(const __grid_constant__ Convolution p) { convolve_either<32>(p); }
extern "C" __global__ void __launch_bounds__(THREADS, 2) convolution_n48(const __grid_constant__ Convolution p) { convolve_either<48>(p); }
extern "C" __global__ void __launch_bounds__(THREADS, 2) convolution_n64(const __grid_constant__ Convolution p) { convolve_either<64>(p); }

// ---- Weights, in the order in which stages want them: [block][chunk][tap][output channel][32 bytes]. One thread for each value.

extern "C" __global__ void __launch_bounds__(THREADS) pack_weights(const __grid_constant__ Pack p) {
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
    Value* to = (Value*)(p.packed + row + swizzled(half, column)) + within % (CHUNK / 2);
    from_float(to, value);
}

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
