// Sums of products on tensor cores: bf16 (m16n8k16) and TF32 (m16n8k8), both with sums in f32. Rows of the matrices are outputs, columns are inputs, and what is summed over
// are the 16 pixels of a strip's row.
#pragma once
#include "gradient_strip.cuh"

#if defined(MATH_BF16)
#define K_STEPS 1 // that 16 pixels take
#define N_TILES 2 // of 8 inputs in a slab
#else
#define K_STEPS 2
#define N_TILES 1
#endif

struct Left { u32 at[K_STEPS][4]; };
struct Right { u32 at[K_STEPS][N_TILES][2]; };

#if defined(MATH_BF16)
// The place of 16 bytes of a pixel, as `Copier` puts them there.
__device__ __forceinline__ u32 half_of(u32 slab, int pixel, int half) { return slab + pixel * SLAB_BYTES + (half ^ (pixel >> 2 & 1)) * PIECE_BYTES; }

// Four matrices of 8 pixels by 8 channels, transposed on the way: each lane names a row of one.
__device__ __forceinline__ void load_transposed(u32& a, u32& b, u32& c, u32& d, u32 from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(a), "=r"(b), "=r"(c), "=r"(d) : "r"(from) : "memory");
}

__device__ __forceinline__ void load(Left& to, u32 slab, u32, int row, int lane) {
    u32(&a)[4] = to.at[0];
    load_transposed(a[0], a[1], a[2], a[3], half_of(slab + row * STRIP * SLAB_BYTES, lane % 8 + lane / 16 * 8, lane / 8 % 2));
}

template <int PITCH> __device__ __forceinline__ void load(Right& to, u32 slab, int row, int column, int lane) {
    u32(&b)[N_TILES][2] = to.at[0];
    load_transposed(b[0][0], b[0][1], b[1][0], b[1][1], half_of(slab + row * PITCH * SLAB_BYTES, column + lane % 16, lane / 16));
}

__device__ __forceinline__ float sum_of_pair(u32 pair) { return __uint_as_float(pair << 16) + __uint_as_float(pair & 0xffff0000u); }

// Adds a lane's values of output `lane / 4` and of the one 8 further on.
__device__ __forceinline__ void add_values(float (&sums)[2], const Left& a) {
    sums[0] += sum_of_pair(a.at[0][0]) + sum_of_pair(a.at[0][2]);
    sums[1] += sum_of_pair(a.at[0][1]) + sum_of_pair(a.at[0][3]);
}

__device__ __forceinline__ void round_factors(Left&) {}

__device__ __forceinline__ void multiply(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#else
__device__ __forceinline__ u32 load_word(u32 from) {
    u32 word;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(word) : "r"(from) : "memory");
    return word;
}

// To the nearest, ties away from zero.
__device__ __forceinline__ u32 rounded(u32 value) {
    u32 narrow;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(narrow) : "f"(__uint_as_float(value)));
    return narrow;
}

__device__ __forceinline__ void load(Left& to, u32 slab, u32 slab_bytes, int row, int lane) {
#pragma unroll
    for (int step = 0; step < K_STEPS; ++step)
#pragma unroll
        for (int i = 0; i < 4; ++i)
            to.at[step][i] = load_word(slab + i % 2 * slab_bytes + (row * STRIP + step * 8 + lane % 4 + i / 2 * 4) * SLAB_BYTES + lane / 4 * 4);
}

template <int PITCH> __device__ __forceinline__ void load(Right& to, u32 slab, int row, int column, int lane) {
#pragma unroll
    for (int step = 0; step < K_STEPS; ++step)
#pragma unroll
        for (int i = 0; i < 2; ++i) to.at[step][0][i] = rounded(load_word(slab + (row * PITCH + column + step * 8 + lane % 4 + i * 4) * SLAB_BYTES + lane / 4 * 4));
}

__device__ __forceinline__ void add_values(float (&sums)[2], const Left& a) {
#pragma unroll
    for (int step = 0; step < K_STEPS; ++step)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[i % 2] += __uint_as_float(a.at[step][i]);
}

__device__ __forceinline__ void round_factors(Left& a) {
#pragma unroll
    for (int step = 0; step < K_STEPS; ++step)
#pragma unroll
        for (int i = 0; i < 4; ++i) a.at[step][i] = rounded(a.at[step][i]);
}

__device__ __forceinline__ void multiply(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// The sums of one warp: 16 outputs by `in_octets * 8` inputs by all taps.
template <int KERNEL> struct Sums {
    static constexpr int out_pairs = 1; // of octets of outputs
    static constexpr int in_octets = Tile<KERNEL>::in_slabs * SLAB_OCTETS;
    static constexpr int taps = KERNEL * KERNEL;

    float at[Tile<KERNEL>::in_slabs * taps * N_TILES][4];
    float bias[2];
    // Of the last rows, the newest first.
    Left rows[KERNEL];

    __device__ __forceinline__ Sums() {
#pragma unroll
        for (auto& tile : at)
#pragma unroll
            for (float& sum : tile) sum = 0.f;
        bias[0] = bias[1] = 0.f;
        forget();
    }

    // There is nothing above the first row of a run.
    __device__ __forceinline__ void forget() {
#pragma unroll
        for (Left& row : rows)
#pragma unroll
            for (auto& step : row.at)
#pragma unroll
                for (u32& word : step) word = 0;
    }

    // Row i of x, from y - 1 on, and row i of dy, from y on, come together. So row i of x belongs to the upper taps of row i of dy, to the middle ones of row i - 1 and to the
    // lower ones of row i - 2: each is read once, and rows of dy stay in registers.
    __device__ __forceinline__ void add(u32 dy, u32 x, int count, bool with_bias, int lane) {
        for (int row = 0; row < count; ++row) {
#pragma unroll
            for (int age = KERNEL - 1; age > 0; --age) rows[age] = rows[age - 1];
            load(rows[0], dy, Tile<KERNEL>::dy_slab, row, lane);
            if (with_bias) add_values(bias, rows[0]);
            round_factors(rows[0]);
#pragma unroll
            for (int slab = 0; slab < Tile<KERNEL>::in_slabs; ++slab) {
#pragma unroll
                for (int kx = 0; kx < KERNEL; ++kx) {
                    Right b;
                    load<Tile<KERNEL>::x_pitch>(b, x + slab * Tile<KERNEL>::x_slab, row, kx, lane);
#pragma unroll
                    for (int ky = 0; ky < KERNEL; ++ky)
#pragma unroll
                        for (int n = 0; n < N_TILES; ++n)
#pragma unroll
                            for (int step = 0; step < K_STEPS; ++step)
                                multiply(at[(slab * N_TILES + n) * taps + ky * KERNEL + kx], rows[ky].at[step], b.at[step][n]);
                }
            }
        }
    }

    // Puts 16 outputs by 8 inputs by all taps into rows of `pitch` values.
    __device__ __forceinline__ void put(float* to, int pitch, int, int octet, int lane) const {
#pragma unroll
        for (int tap = 0; tap < taps; ++tap)
#pragma unroll
            for (int i = 0; i < 4; ++i) to[(lane / 4 + i / 2 * 8) * pitch + (lane % 4 * 2 + i % 2) * taps + tap] = at[octet * taps + tap][i];
    }

    // Puts the 16 sums of dy.
    __device__ __forceinline__ void put_bias(float* to, int lane) const {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            float sum = bias[i];
            sum += __shfl_xor_sync(0xffffffffu, sum, 1);
            sum += __shfl_xor_sync(0xffffffffu, sum, 2);
            if (lane % 4 == 0) to[lane / 4 + 8 * i] = sum;
        }
    }
};
