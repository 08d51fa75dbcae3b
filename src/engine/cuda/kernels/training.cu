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

// The value of a folded tensor that a thread works on.
struct FoldedValue {
    Folded tensor;
    u64 index;   // in the tensor; behind its end in some threads of its last block
    int channel; // of all pairs of output and input
    int row;     // of the kernel
    int column;
    __device__ __forceinline__ explicit FoldedValue(const Fold& p) {
        tensor = ((const Folded*)p.tensors)[((const u32*)p.blocks)[blockIdx.x]];
        index = (u64)(blockIdx.x - tensor.first_block) * blockDim.x + threadIdx.x;
        const int taps = tensor.kernel * tensor.kernel;
        channel = (int)(index / taps);
        const int tap = (int)(index - (u64)channel * taps);
        row = tap / tensor.kernel;
        column = tap - row * tensor.kernel;
    }
    __device__ __forceinline__ bool exists() const { return channel < tensor.channels; }
    // Whether a branch has a value here, which the identity has nowhere, and which of all it is.
    __device__ __forceinline__ bool within(const Branch& branch, u64& value) const {
        const int offset = (tensor.kernel - branch.kernel) / 2, y = row - offset, x = column - offset;
        value = branch.first + ((u64)channel * branch.kernel + y) * branch.kernel + x;
        return y >= 0 && y < branch.kernel && x >= 0 && x < branch.kernel;
    }
    // What a branch adds here.
    __device__ __forceinline__ float term(const Branch& branch, const float* expanded) const {
        if (branch.kernel == 0) {
            const bool middle = row == tensor.kernel / 2 && column == row;
            return middle && channel / tensor.in_channels == channel % tensor.in_channels ? 1.f : 0.f;
        }
        u64 value;
        return within(branch, value) ? expanded[value] : 0.f;
    }
};

// Branches whose values are on their way at the same time, before they are added in order.
#define AT_ONCE 4

// A thread for each folded value. As on the CPU the sum begins with zero and not with the first branch: so it is never a negative zero, and a branch without a value here may add another zero.
extern "C" __global__ void fold(const __grid_constant__ Fold p) {
    const FoldedValue at(p);
    if (!at.exists()) return;
    const Branch* const branches = (const Branch*)p.branches + at.tensor.first_branch;
    float sum = 0.f;
    for (int first = 0; first < at.tensor.branch_count; first += AT_ONCE) {
        float terms[AT_ONCE];
#pragma unroll
        for (int number = 0; number < AT_ONCE; ++number) {
            const bool is_one = first + number < at.tensor.branch_count;
            terms[number] = is_one ? at.term(branches[first + number], (const float*)p.expanded) : 0.f;
        }
#pragma unroll
        for (int number = 0; number < AT_ONCE; ++number) sum = __fadd_rn(sum, terms[number]);
    }
    ((float*)p.folded)[at.tensor.first + at.index] = sum;
}

// A thread for each folded gradient, which it reads once and hands to every branch that has a value there: each value of a branch lies under exactly one folded one.
extern "C" __global__ void unfold(const __grid_constant__ Fold p) {
    const FoldedValue at(p);
    if (!at.exists()) return;
    const Branch* const branches = (const Branch*)p.branches + at.tensor.first_branch;
    const float gradient = ((const float*)p.folded)[at.tensor.first + at.index];
    for (int number = 0; number < at.tensor.branch_count; ++number) {
        const Branch branch = branches[number];
        u64 value;
        if (at.within(branch, value)) ((float*)p.expanded)[value] = gradient;
    }
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
