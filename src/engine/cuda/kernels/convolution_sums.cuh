// The sums of a block of threads: what each thread has, how a stage is added to it, and how it is laid out for those who store it. All kinds have the same functions.
#pragma once
#include "convolution_stages.cuh"

#if defined(HOPPER)

#include "convolution_sums_hopper.cuh"

#elif defined(MATH_F32)

// ---- Sums by plain multiplication: a thread has 8 neighbouring pixels of a row and every eighth channel

template <int N, int K>
struct Sums {
    typedef Shape<N, K> S;
    static constexpr bool asynchronous = false;
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

    // A stage is added when `add` returns.
    __device__ __forceinline__ void wait() const {}
    __device__ __forceinline__ void wait_for_sums() const {}

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
    static constexpr bool asynchronous = false;
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

    // A stage is added when `add` returns.
    __device__ __forceinline__ void wait() const {}
    __device__ __forceinline__ void wait_for_sums() const {}

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
