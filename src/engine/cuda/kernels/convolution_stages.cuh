// What a block of threads has in shared memory at a time, and the copies that bring it there.
//
// A chunk of a pixel, and of an output channel's weights for a tap, has 32 bytes: two halves of 16. Where they lie depends on who reads them. Kernels for every GPU read both
// halves of a pixel at once and have them side by side, swizzled. Those for Hopper alone (HOPPER) want the same half of all pixels together, and of all output channels of a tap.
#pragma once
#include "values.cuh"

#define TILE 16          // pixels of a block, in each direction
#define WARPS 8
#define THREADS (WARPS * 32)
#define PITCH 18         // pixels from one row of a stage to the next: not a multiple of 4, so that rows begin in different banks
#define PIXEL_BYTES 32   // bytes of a pixel, or of an output channel's weights for a tap, in a stage
#define CHUNK ((int)(PIXEL_BYTES / sizeof(Value)))
#define STAGES 3
#define ROW_BYTES (PITCH * PIXEL_BYTES)

#if defined(HOPPER)
// Where a half of the weights of output channel `column` of a tap lies; `row` is where both would lie side by side, `block` the number of output channels.
__device__ __forceinline__ u64 weight_at(u64 row, int half, int column, int block) { return row - column * PIXEL_BYTES + (half * block + column) * 16; }
#else
// A pixel's two halves of 16 bytes change places in every other group of four: then 8 neighbours' halves lie in different banks, wherever the first one is.
__device__ __forceinline__ int swizzled(int half, int index) { return (half ^ (index >> 2 & 1)) << 4; }

__device__ __forceinline__ u64 weight_at(u64 row, int half, int column, int) { return row + swizzled(half, column); }
#endif

// ---- Copies into shared memory

// Copies 16 bytes, of which those from `bytes` on become zero without being read.
__device__ __forceinline__ void copy16(u32 to, const void* from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)), "r"(bytes) : "memory");
}

__device__ __forceinline__ void copies_end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most one group of copies is under way.
__device__ __forceinline__ void copies_wait() {
    asm volatile("cp.async.wait_group 1;" ::: "memory");
#if defined(HOPPER)
    // These copies belong to the generic proxy and `wgmma` reads through the asynchronous one: who has written has to fence before the barrier after which others read.
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// What a block computes and how its shared memory is laid out.
template <int N, int K>
struct Shape {
    static constexpr int side = TILE + K - 1;
#if defined(HOPPER)
    static constexpr int row_bytes = PITCH * 16;
    // 64 more than a multiple of 128: then what 8 threads copy, which are both halves of four pixels, lies in different banks.
    static constexpr int half_bytes = side * row_bytes | 64;
    static constexpr int weights_at = 2 * half_bytes;
    __device__ __forceinline__ static u32 pixel_at(u32 stage, int half, int row, int column) { return stage + half * half_bytes + row * row_bytes + column * 16; }
#else
    static constexpr int row_bytes = ROW_BYTES;
    static constexpr int weights_at = side * ROW_BYTES;
    __device__ __forceinline__ static u32 pixel_at(u32 stage, int half, int row, int column) { return stage + row * ROW_BYTES + column * PIXEL_BYTES + swizzled(half, column); }
#endif
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
        const u32 to = S::pixel_at(stage, half, row(number), column(number));
#pragma unroll
        for (int i = 0; i * S::copied_rows < S::side; ++i) {
            const bool in_stage = row(number) < S::copied_rows && row(number) + i * S::copied_rows < S::side;
            // The source may end within these 16 bytes; what lies behind is not its own.
            const int bytes = valid >> i & 1 ? min(max(bytes_left, 0), 16) : 0;
            const u8* at = bytes ? values + (u64)(u32)(pixel + i * S::copied_rows * p.width) * pixel_bytes + half * 16 : values;
            if (in_stage) copy16(to + i * (S::copied_rows * S::row_bytes), at, bytes);
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
