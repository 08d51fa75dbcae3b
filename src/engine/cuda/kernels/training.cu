// What training does besides running a network: patches are cut, branches folded, weights updated. All values are f32.
#include "params.cuh"

__device__ __forceinline__ bool is_finite(float value) { return (__float_as_uint(value) & 0x7f800000) != 0x7f800000; }
__device__ __forceinline__ bool is_finite(double value) { return (__double2hiint(value) & 0x7ff00000) != 0x7ff00000; }

// Clears the flag if a gradient or the loss is not finite. Whoever finds one writes the same, so that the order does not matter.
extern "C" __global__ void all_finite(const __grid_constant__ Adam p) {
    const u32 first = blockIdx.x * blockDim.x + threadIdx.x, threads = gridDim.x * blockDim.x, count = p.count;
    bool finite = first > 0 || is_finite(*(const double*)p.loss);
    for (u64 i = first; i < count; i += threads) finite = finite && is_finite(((const float*)p.gradients)[i]);
    if (!finite) *(u32*)p.finite = 0;
}

// One update, with exactly the roundings of the CPU's: nothing is fused.
extern "C" __global__ void adam(const __grid_constant__ Adam p) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (u32)p.count || *(const u32*)p.finite == 0) return;
    const AdamStep step = *(const AdamStep*)p.step;
    const float g = ((const float*)p.gradients)[i];
    float m = ((const float*)p.first)[i], v = ((const float*)p.second)[i], weight = ((const float*)p.weights)[i];
    m = __fadd_rn(m, __fmul_rn(__fsub_rn(g, m), step.lerp));
    v = __fadd_rn(__fmul_rn(v, step.decay), __fmul_rn(__fmul_rn(g, g), step.gain));
    const float denominator = __fadd_rn(__fdiv_rn(__fsqrt_rn(v), step.root_correction), step.epsilon);
    weight = __fsub_rn(weight, __fmul_rn(step.step_size, __fdiv_rn(m, denominator)));
    ((float*)p.first)[i] = m;
    ((float*)p.second)[i] = v;
    ((float*)p.weights)[i] = weight;
}

// A thread for each value of the folded weight. The first branch is added to zeros, as on the CPU: so a negative zero becomes a positive one.
extern "C" __global__ void fold(const __grid_constant__ Fold p) {
    const int taps = p.kernel * p.kernel, offset = (p.kernel - p.branch_kernel) / 2;
    const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (u64)p.channels * taps) return;
    const int channel = (int)(i / taps), tap = (int)(i - (u64)channel * taps);
    const int row = tap / p.kernel - offset, column = tap % p.kernel - offset;
    float* const folded = (float*)p.folded + i;
    float value = 0.f;
    bool added;
    if (p.branch) {
        added = row >= 0 && row < p.branch_kernel && column >= 0 && column < p.branch_kernel;
        if (added) value = ((const float*)p.branch)[((u64)channel * p.branch_kernel + row) * p.branch_kernel + column];
    } else {
        added = tap == taps / 2 && channel / p.in_channels == channel % p.in_channels;
        if (added) value = 1.f;
    }
    if (!p.accumulate) {
        *folded = __fadd_rn(0.f, value);
    } else if (added) {
        *folded = __fadd_rn(*folded, value);
    }
}

// A thread for each value of the branch's gradient.
extern "C" __global__ void unfold(const __grid_constant__ Fold p) {
    const int taps = p.branch_kernel * p.branch_kernel, offset = (p.kernel - p.branch_kernel) / 2;
    const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (u64)p.channels * taps) return;
    const u64 channel = i / taps;
    const int tap = (int)(i - channel * taps), row = tap / p.branch_kernel + offset, column = tap % p.branch_kernel + offset;
    ((float*)p.branch)[i] = ((const float*)p.folded)[(channel * p.kernel + row) * p.kernel + column];
}

// Side of the square of pixels that a block of `crop` writes: where rows become columns, its bytes are read from as many rows, in whole sectors of the cache. `launch/training.rs`
// has the same numbers.
#define TILE 32
#define TILE_ROWS 8

// Flips and quarter turns, numbered as the challenge kit does.
__device__ __forceinline__ bool swaps_sides(int augmentation) { return augmentation & 1; }
__device__ __forceinline__ bool reverses_rows(int augmentation) { return augmentation & 2; }
__device__ __forceinline__ bool reverses_columns(int augmentation) { return augmentation & 4; }

// One square of the patch of one image of the batch. The first blocks write LR patches, the others HR patches, which the same launch cuts.
extern "C" __global__ void __launch_bounds__(TILE * TILE_ROWS) crop(const __grid_constant__ Crop p) {
    const int lr_tiles = (p.side + TILE - 1) / TILE;
    const bool is_lr = blockIdx.x < lr_tiles * lr_tiles;
    const int scale = is_lr ? 1 : p.scale, side = p.side * scale, tiles = (side + TILE - 1) / TILE;
    const int tile = is_lr ? blockIdx.x : blockIdx.x - lr_tiles * lr_tiles;
    const Patch patch = ((const Patch*)p.patches)[blockIdx.y];
    const int column = tile % tiles * TILE + threadIdx.x, top = tile / tiles * TILE + threadIdx.y;
    if (column >= side) return;
    const u8* const from = (const u8*)(is_lr ? patch.lr : patch.hr);
    const long long width = (long long)patch.lr_width * scale, height = (long long)patch.lr_height * scale;
    const u64 plane = (u64)side * side;
    float* const to = (float*)(is_lr ? p.lr : p.hr) + blockIdx.y * 3 * plane;
    const float* const values = (const float*)p.values;
    for (int row = top; row < min(side, tile / tiles * TILE + TILE); row += TILE_ROWS) {
        int y = swaps_sides(patch.augmentation) ? column : row, x = swaps_sides(patch.augmentation) ? row : column;
        y = reverses_rows(patch.augmentation) ? side - 1 - y : y;
        x = reverses_columns(patch.augmentation) ? side - 1 - x : x;
        const long long image_y = (long long)patch.y * scale + y, image_x = (long long)patch.x * scale + x;
        const bool inside = image_y < height && image_x < width;
        const u8* const pixel = from + (image_y * width + image_x) * 3;
#pragma unroll
        for (int channel = 0; channel < 3; ++channel) {
            // Outside of the image is black.
            const int byte = inside ? __ldg(pixel + channel) : 0;
            to[channel * plane + (u64)row * side + column] = __ldg(values + byte);
        }
    }
}
