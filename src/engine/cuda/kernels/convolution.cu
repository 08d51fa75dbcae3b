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

// Goes through the chunks of all sources.
template <int N, int K>
struct Loader {
    typedef Shape<N, K> S;

    const Convolution& p;
    const u8* weights;   // of the next chunk, for this thread
    u64 address;         // of the next chunk
    int pixel_bytes;
    int left;            // channels of the source that are not copied yet
    int source;
    int half;
    u32 to;              // where this thread's half begins in a stage
    int pixel;           // number of this thread's first pixel; may lie outside of the image
    int row_step;        // pixels between its rows
    u32 valid;           // one bit for each of its rows

    __device__ __forceinline__ Loader(const Convolution& p, int image, int top, int left_edge) : p(p), source(-1) {
        const int column = threadIdx.x % (2 * S::side) >> 1, row = threadIdx.x / (2 * S::side);
        half = threadIdx.x & 1;
        to = row * ROW_BYTES + column * PIXEL_BYTES + swizzled(half, column);
        const int x = left_edge + column - K / 2, y = top + row - K / 2;
        pixel = (image * p.height + y) * p.width + x;
        row_step = S::copied_rows * p.width;
        valid = 0;
#pragma unroll
        for (int i = 0; i * S::copied_rows < S::side; ++i) {
            const int at = y + i * S::copied_rows;
            valid |= (u32)(x >= 0 && x < p.width && at >= 0 && at < p.height) << i;
        }
        weights = (const u8*)p.weights + threadIdx.x * 16;
        next_source();
    }

    __device__ __forceinline__ void next_source() {
        ++source;
        const Source& from = p.sources[min(source, MAX_SOURCES - 1)];
        address = from.address;
        pixel_bytes = from.pixel * (int)sizeof(Value);
        left = from.channels;
    }

    __device__ __forceinline__ void load(u32 stage) {
        const int row = threadIdx.x / (2 * S::side);
        // The source may end within these 16 bytes; what lies behind is not its own.
        const int bytes = min(max((left - half * (CHUNK / 2)) * (int)sizeof(Value), 0), 16);
#pragma unroll
        for (int i = 0; i * S::copied_rows < S::side; ++i) {
            const bool in_stage = row < S::copied_rows && row + i * S::copied_rows < S::side;
            const int count = valid >> i & 1 ? bytes : 0;
            const u8* from = (const u8*)address;
            if (count) from += (u64)(u32)(pixel + i * row_step) * pixel_bytes + half * 16;
            if (in_stage) copy16(stage + to + i * (S::copied_rows * ROW_BYTES), from, count);
        }
#pragma unroll
        for (int at = 0; at < S::weight_bytes; at += THREADS * 16) {
            if (at + (int)threadIdx.x * 16 < S::weight_bytes) copy16(stage + S::weights_at + at + threadIdx.x * 16, weights + at, 16);
        }
        weights += S::weight_bytes;
        address += PIXEL_BYTES;
        left -= CHUNK;
        if (left <= 0) next_source();
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

    __device__ __forceinline__ static int group() { return threadIdx.x & 7; }
    __device__ __forceinline__ static int row() { return (threadIdx.x >> 6) * 4 + (threadIdx.x >> 3 & 3); }
    __device__ __forceinline__ static int column() { return (threadIdx.x >> 5 & 1) * 8; }

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int pixel = 0; pixel < 8; ++pixel) {
#pragma unroll
            for (int j = 0; j < count; ++j) sums[pixel][j] = 0.f;
        }
    }

    __device__ __forceinline__ void add(const u8* stage) {
        const u8* pixels = stage + row() * ROW_BYTES + column() * PIXEL_BYTES;
        const u8* weights = stage + S::weights_at + group() * PIXEL_BYTES;
        const int flip = swizzled(0, group());
        // A loop over the rows of the kernel keeps the code small enough for the instruction cache.
#pragma unroll 1
        for (int dy = 0; dy < K; ++dy) {
#pragma unroll
            for (int pair = 0; pair < CHUNK / 2; ++pair) {
                float2 values[8 + K - 1];
#pragma unroll
                for (int i = 0; i < 8 + K - 1; ++i) values[i] = *(const float2*)(pixels + i * PIXEL_BYTES + swizzled(pair >> 1, i) + (pair & 1) * 8);
#pragma unroll
                for (int dx = 0; dx < K; ++dx) {
#pragma unroll
                    for (int j = 0; j < count; ++j) {
                        const float2 weight = *(const float2*)(weights + (dx * N + j * 8) * PIXEL_BYTES + (flip ^ (pair >> 1) << 4) + (pair & 1) * 8);
#pragma unroll
                        for (int pixel = 0; pixel < 8; ++pixel) {
                            sums[pixel][j] = fmaf(values[pixel + dx].x, weight.x, sums[pixel][j]);
                            sums[pixel][j] = fmaf(values[pixel + dx].y, weight.y, sums[pixel][j]);
                        }
                    }
                }
            }
            pixels += ROW_BYTES;
            weights += K * N * PIXEL_BYTES;
        }
    }

    // A warp's 8 lanes with the same pixels exchange what they have, so that each lane gets 8 neighbouring channels of one pixel.
    __device__ __forceinline__ void store(const Convolution& p, u8* shared, int image, int top, int left, int channel) {
        const int lane = threadIdx.x & 31;
        float* exchange = (float*)shared + (threadIdx.x >> 5) * (32 * 8);
        const int y = top + (threadIdx.x >> 6) * 4 + (lane & 3), x = left + column() + (lane >> 2);
        const bool inside = y < p.height && x < p.width;
        const u64 pixel = (u64)(image * p.height + y) * p.width + x;
#pragma unroll
        for (int j = 0; j < count; ++j) {
            __syncwarp();
#pragma unroll
            for (int i = 0; i < 8; ++i) exchange[(i * 4 + (lane >> 3)) * 8 + group()] = sums[i][j];
            __syncwarp();
            if (inside) finish(p, load8(exchange + lane * 8), channel + j * 8, pixel);
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
    // Floats from one pixel to the next while sums are exchanged: 8 or 24 more than a multiple of 32, so that four pixels of 8 channels lie in different banks.
    static constexpr int exchange_pitch = S::channels == 24 ? 24 : S::channels + 8;

    float sums[S::rows][tiles][4];

    __device__ __forceinline__ static int first_row() { return (threadIdx.x >> 5) / S::splits * S::rows; }
    __device__ __forceinline__ static int first_channel() { return (threadIdx.x >> 5) % S::splits * S::channels; }

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
        const int lane = threadIdx.x & 31;
        const u32 at = (u32)__cvta_generic_to_shared(stage);
        const u32 pixels = at + first_row() * ROW_BYTES + (lane & 15) * PIXEL_BYTES;
        const int channel = (lane & 7) + (lane >> 4) * 8;
        const u32 weights = at + S::weights_at + (first_channel() + channel) * PIXEL_BYTES + swizzled(lane >> 3 & 1, channel);
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

    // A lane has pairs of channels of two pixels. Through shared memory, two rows at a time, it gets 8 neighbouring channels of one pixel.
    __device__ __forceinline__ void store(const Convolution& p, u8* shared, int image, int top, int left, int channel) {
        const int lane = threadIdx.x & 31;
        float* exchange = (float*)shared + (threadIdx.x >> 5) * (2 * TILE * exchange_pitch);
        top += first_row();
        channel += first_channel();
#pragma unroll
        for (int first = 0; first < S::rows; first += 2) {
            __syncwarp();
#pragma unroll
            for (int row = 0; row < 2; ++row) {
#pragma unroll
                for (int tile = 0; tile < tiles; ++tile) {
                    const float* sum = sums[first + row][tile];
                    float* to = exchange + (row * TILE + (lane >> 2)) * exchange_pitch + tile * 8 + (lane & 3) * 2;
                    *(float2*)to = make_float2(sum[0], sum[1]);
                    *(float2*)(to + 8 * exchange_pitch) = make_float2(sum[2], sum[3]);
                }
            }
            __syncwarp();
#pragma unroll
            for (int i = 0; i < tiles; ++i) {
                const int vector = i * 32 + lane, pixel = vector / tiles, tile = vector % tiles;
                const int y = top + first + pixel / TILE, x = left + pixel % TILE;
                if (y >= p.height || x >= p.width) continue;
                const Eight value = load8(exchange + pixel * exchange_pitch + tile * 8);
                finish(p, value, channel + tile * 8, (u64)(image * p.height + y) * p.width + x);
            }
        }
    }
};

#endif

// ---- A block

template <int N, int K>
__device__ __forceinline__ void convolve(const Convolution& p) {
    typedef Shape<N, K> S;
    extern __shared__ __align__(128) u8 shared[];

    const int columns = (p.width + TILE - 1) / TILE, rows = (p.height + TILE - 1) / TILE;
    const int image = blockIdx.x / (columns * rows), tile = blockIdx.x % (columns * rows);
    const int top = tile / columns * TILE, left = tile % columns * TILE;

    int chunks = 0;
    for (int source = 0; source < p.source_count; ++source) chunks += (p.sources[source].channels + CHUNK - 1) / CHUNK;

    Loader<N, K> loader(p, image, top, left);
    loader.weights += (u64)blockIdx.y * chunks * S::weight_bytes;
    const u32 stages = (u32)__cvta_generic_to_shared(shared);
#pragma unroll
    for (int ahead = 0; ahead < STAGES - 1; ++ahead) {
        if (ahead < chunks) loader.load(stages + ahead * S::stage_bytes);
        copies_end_group();
    }

    Sums<N, K> sums;
    sums.clear();
    int stage = 0, loaded = STAGES - 1;
    for (int chunk = 0; chunk < chunks; ++chunk) {
        copies_wait();
        // Everybody's copies of this chunk have arrived, and nobody reads the stage before any more: the next chunk goes there.
        __syncthreads();
        if (chunk + STAGES - 1 < chunks) loader.load(stages + loaded * S::stage_bytes);
        copies_end_group();
        sums.add(shared + stage * S::stage_bytes);
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        loaded = loaded + 1 == STAGES ? 0 : loaded + 1;
    }
    __syncthreads();
    sums.store(p, shared, image, top, left, blockIdx.y * N);
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
    const u64 index = (u64)blockIdx.x * THREADS + threadIdx.x;
    const int taps = p.kernel * p.kernel, padded = p.blocks * p.block;
    if (index < padded) ((float*)p.packed_bias)[index] = p.bias && index < p.out_channels ? ((const float*)p.bias)[index] : 0.f;

    int chunks = 0;
    for (int source = 0; source < p.source_count; ++source) chunks += (p.source_channels[source] + CHUNK - 1) / CHUNK;
    if (index >= (u64)chunks * taps * padded * CHUNK) return;
    u64 rest = index;
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
    const u64 row = (index - within) * sizeof(Value);
    Value* to = (Value*)(p.packed + row + swizzled(half, column)) + within % (CHUNK / 2);
    from_float(to, value);
}

// ---- Any convolution. One thread for each value that is written, channels innermost.

extern "C" __global__ void __launch_bounds__(THREADS) convolution_direct(const __grid_constant__ Convolution p) {
    u64 index = (u64)blockIdx.x * THREADS + threadIdx.x;
    int written = 0;
    for (int i = 0; i < p.part_count; ++i) written += p.parts[i].written;
    const u64 pixel = index / written;
    if (pixel >= (u64)p.images * p.height * p.width) return;
    int channel = index % written, number = 0;
    while (channel >= p.parts[number].written) channel -= p.parts[number++].written;
    const Part& part = p.parts[number];
    const int output = part.start + channel;

    float sum = 0.f;
    if (channel < part.channels) {
        const int x = pixel % p.width, y = pixel / p.width % p.height;
        const u64 image = pixel / p.width / p.height;
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
    const u64 at = pixel * p.target_pixel + output;
    if (p.target_f32) {
        ((float*)p.target)[at] = value;
    } else {
        from_float((Value*)p.target + at, value);
    }
}
