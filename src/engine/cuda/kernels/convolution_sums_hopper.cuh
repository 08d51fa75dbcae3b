// Sums by the matrix instructions of Hopper (`wgmma`), for f16 and bf16: a group of four warps has 8 rows of 16 pixels, as two squares of 8 x 8, and all channels of the block.
//
// The instruction takes both of its factors from shared memory, where a descriptor of 64 bits says they are (PTX ISA, "Matrix Descriptor" of the asynchronous warpgroup level
// instructions). What it reads there are core matrices: 8 rows of 16 bytes, one after the other. A factor has 32 bytes in a row, hence two core matrices side by side, and as many
// below each other as it has groups of 8 rows. The halves of a stage (convolution_stages.cuh) are made for that:
//
// - 8 neighbouring pixels of a row, wherever they begin, are a core matrix, so that a tap is another beginning and needs no other copy;
// - the next 8 rows of the factor are the next row of pixels: the descriptor's stride;
// - the other core matrix side by side is in the other half: the descriptor's leading dimension.
//
// TF32 has no such kernels: the instruction would cut factors off where the others round them.
#pragma once
#include "convolution_stages.cuh"

// A descriptor. All in bytes and multiples of 16, which is what its fields count; the bits above are 0: factors that are not swizzled.
__device__ __forceinline__ u64 described(u32 address, u32 leading, u32 stride) {
    return (u64)(address >> 4) | (u64)(leading >> 4) << 16 | (u64)(stride >> 4) << 32;
}

// Between any other use of the sums' registers and the instruction.
__device__ __forceinline__ void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void products_end_group() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits for all products that were begun.
__device__ __forceinline__ void products_wait() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }

#if defined(MATH_F16)
#define PRODUCT(N) "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.f16.f16 "
#else
#define PRODUCT(N) "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 "
#endif
// Sums are added to; no factor is negated; both have the channels, over which is summed, side by side.
#define PLAIN ", 1, 1, 1, 0, 0;"
#define LIST_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define LIST_16 LIST_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define LIST_24 LIST_16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define LIST_32 LIST_24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define EIGHT(at) \
    "+f"(sums[at]), "+f"(sums[at + 1]), "+f"(sums[at + 2]), "+f"(sums[at + 3]), "+f"(sums[at + 4]), "+f"(sums[at + 5]), "+f"(sums[at + 6]), "+f"(sums[at + 7])

// Begins to add the product of 64 pixels and the block's channels to sums, which must be left alone until it was waited for.
__device__ __forceinline__ void multiply_add(float (&sums)[8], u64 a, u64 b) { asm volatile(PRODUCT(16) "{" LIST_8 "}, %8, %9" PLAIN : EIGHT(0) : "l"(a), "l"(b)); }

__device__ __forceinline__ void multiply_add(float (&sums)[16], u64 a, u64 b) {
    asm volatile(PRODUCT(32) "{" LIST_16 "}, %16, %17" PLAIN : EIGHT(0), EIGHT(8) : "l"(a), "l"(b));
}

__device__ __forceinline__ void multiply_add(float (&sums)[24], u64 a, u64 b) {
    asm volatile(PRODUCT(48) "{" LIST_24 "}, %24, %25" PLAIN : EIGHT(0), EIGHT(8), EIGHT(16) : "l"(a), "l"(b));
}

__device__ __forceinline__ void multiply_add(float (&sums)[32], u64 a, u64 b) {
    asm volatile(PRODUCT(64) "{" LIST_32 "}, %32, %33" PLAIN : EIGHT(0), EIGHT(8), EIGHT(16), EIGHT(24) : "l"(a), "l"(b));
}

template <int N, int K>
struct Sums {
    typedef Shape<N, K> S;
    // Products of a stage go on while the next copies are begun.
    static constexpr bool asynchronous = true;
    static constexpr int squares = TILE / 8;

    float sums[squares][N / 2];

    __device__ __forceinline__ static int first_channel(int) { return 0; }

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int square = 0; square < squares; ++square) {
#pragma unroll
            for (int i = 0; i < N / 2; ++i) sums[square][i] = 0.f;
        }
    }

    // Begins to add a stage. Its bytes must have been fenced by those who copied them.
    __device__ __forceinline__ void add(const u8* stage) {
        const u32 at = (u32)__cvta_generic_to_shared(stage);
        // All warps of a group have to give the same descriptors, and a warp's must come from one lane to be in registers of its own.
        const int group = __shfl_sync(0xffffffff, thread() >> 7, 0);
        const u64 pixels = described(S::pixel_at(at, 0, group * 8, 0), S::half_bytes, S::row_bytes);
        const u64 weights = described(at + S::weights_at, N * 16, 8 * 16);
        products_begin();
#pragma unroll
        for (int tap = 0; tap < K * K; ++tap) {
#pragma unroll
            for (int square = 0; square < squares; ++square) {
                const u32 pixel = S::pixel_at(0, 0, tap / K, tap % K + square * 8), weight = tap * N * PIXEL_BYTES;
                // The address is in the lowest bits, and no shared memory is large enough for a carry out of them.
                multiply_add(sums[square], pixels + pixel / 16, weights + weight / 16);
            }
        }
        products_end_group();
    }

    // Before a stage may be overwritten.
    __device__ __forceinline__ void wait() const { products_wait(); }

    // Before sums are read; the compiler must not read them earlier.
    __device__ __forceinline__ void wait_for_sums() {
        products_wait();
#pragma unroll
        for (int square = 0; square < squares; ++square) {
#pragma unroll
            for (int i = 0; i < N / 2; ++i) asm volatile("" : "+f"(sums[square][i])::"memory");
        }
    }

    // A warp has two rows of each square.
    static constexpr int pixels = squares * 16;
    static constexpr int channels = N;
    // 8 or 24 more than a multiple of 32.
    static constexpr int exchange_pitch = N + 8;

    __device__ __forceinline__ static int pixel_y(int number, int pixel) { return (number >> 5) * 2 + (pixel >> 3 & 1); }
    __device__ __forceinline__ static int pixel_x(int, int pixel) { return (pixel >> 4) * 8 + (pixel & 7); }

    // Of each 8 channels a lane has two of a pixel of the first row and two of the pixel below.
    __device__ __forceinline__ void exchange(float* to) const {
        const int lane = threadIdx.x & 31;
        to += (lane >> 2) * exchange_pitch + (lane & 3) * 2;
#pragma unroll
        for (int square = 0; square < squares; ++square) {
#pragma unroll
            for (int tile = 0; tile < N / 8; ++tile) {
                float* at = to + square * 16 * exchange_pitch + tile * 8;
                const float* from = sums[square] + tile * 4;
                *(float2*)at = make_float2(from[0], from[1]);
                *(float2*)(at + 8 * exchange_pitch) = make_float2(from[2], from[3]);
            }
        }
    }
};
