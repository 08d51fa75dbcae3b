// Gradients of weights and biases. Every part of the pixels has its own sums, written by one block each, and one more kernel adds the parts in order: results are the same
// bits whenever the shape and the number of parts are.
#include "values.cuh"
#if defined(MATH_F32)
#include "gradient_plain.cuh"
#else
#include "gradient_tensor.cuh"
#endif

#define WARP 32
// 8 warps, two such blocks on a multiprocessor: 128 registers for each thread.
#define MAX_THREADS 256
#define MIN_BLOCKS 2

// Writes 16 rows of `count` vectors each, of the outputs of two octets.
template <typename Vector>
__device__ __forceinline__ void write_rows(float* to, u64 to_pitch, const Octet& low, const Octet& high, int count, const float* from, int pitch, int lane) {
    for (int i = lane; i < 16 * count; i += WARP) {
        const int row = i / count, column = i - row * count, valid = row < 8 ? low.valid : high.valid, channel = row < 8 ? low.channel : high.channel;
        if (row % 8 < valid) ((Vector*)(to + (channel + row % 8) * to_pitch))[column] = ((const Vector*)(from + row * pitch))[column];
    }
}

// Blocks are (32 * warps along outputs) x (warps along inputs) threads, the grid is blocks of inputs x blocks of outputs x parts.
template <int KERNEL> __device__ __forceinline__ void sum_part(const WeightGradient& p) {
    extern __shared__ __align__(16) char memory[];
    using T = Tile<KERNEL>;
    using S = Sums<KERNEL>;
    constexpr int taps = KERNEL * KERNEL;
    const int out_warps = blockDim.x / WARP, in_warps = blockDim.y, out_warp = threadIdx.x / WARP, in_warp = threadIdx.y, lane = threadIdx.x % WARP;
    const int thread = threadIdx.y * blockDim.x + threadIdx.x;
    const int out_slabs = out_warps * OUT_SLABS, in_slabs = in_warps * T::in_slabs;
    const u32 dy_bytes = out_slabs * T::dy_slab, stage_bytes = dy_bytes + in_slabs * T::x_slab;
    const u32 base = (u32)__cvta_generic_to_shared(memory);

    const Copier dy(p.gradients, p.gradient_count, blockIdx.y * out_slabs, out_slabs, T::dy_slab, thread);
    const Copier x(p.inputs, p.input_count, blockIdx.x * in_slabs, in_slabs, T::x_slab, thread);
    const bool with_bias = p.bias_sums && blockIdx.x == 0 && in_warp == 0;
    const u32 my_dy = out_warp * OUT_SLABS * T::dy_slab, my_x = dy_bytes + in_warp * T::in_slabs * T::x_slab;

    // One step is copied while the one before is multiplied.
    S sums;
    __shared__ Walk walk;
    if (thread == 0) walk.begin(p, blockIdx.z);
    __syncthreads();
    u32 copied = base, multiplied = base + stage_bytes;
    int rows = 0; // of the step that is multiplied; there is none in the first round
    bool first = false;
    for (;;) {
        const int next_rows = walk.rows<KERNEL>();
        const bool next_first = walk.row == 0;
        if (next_rows) stage_step<KERNEL>(p, walk, next_rows, dy, copied, x, copied + dy_bytes);
        asm volatile("cp.async.commit_group;" ::: "memory");
        asm volatile("cp.async.wait_group 1;" ::: "memory");
        __syncthreads();
        if (thread == 0) walk.advance<KERNEL>(p);
        if (first) sums.forget();
        sums.add(multiplied + my_dy, multiplied + my_x, rows, with_bias, lane);
        __syncthreads();
        if (!next_rows) break;
        rows = next_rows;
        first = next_first;
        const u32 swap = copied;
        copied = multiplied;
        multiplied = swap;
    }

    // Through shared memory, because the taps of neighbouring inputs follow each other in a weight, but not in the lanes.
    constexpr int pitch = 8 * taps + 4;
    float* scratch = (float*)memory + (in_warp * out_warps + out_warp) * 16 * pitch;
    const u64 out_channels = p.out_channels, in_channels = p.in_channels;
    float* target = (float*)p.sums + blockIdx.z * out_channels * in_channels * taps;
    const int first_out = (blockIdx.y * out_warps + out_warp) * OUT_SLABS * SLAB_OCTETS, first_in = (blockIdx.x * in_warps + in_warp) * S::in_octets;
#pragma unroll
    for (int pair = 0; pair < S::out_pairs; ++pair) {
        const Octet low = octet_of(p.gradients, p.gradient_count, first_out + 2 * pair), high = octet_of(p.gradients, p.gradient_count, first_out + 2 * pair + 1);
#pragma unroll
        for (int octet = 0; octet < S::in_octets; ++octet) {
            sums.put(scratch, pitch, pair, octet, lane);
            __syncwarp();
            const Octet in = octet_of(p.inputs, p.input_count, first_in + octet);
            // Where rows of the weight begin at multiples of 4, in vectors.
            float* const to = target + in.channel * taps;
            if (in.valid == 8 && p.in_channels % 4 == 0)
                write_rows<float4>(to, in_channels * taps, low, high, 2 * taps, scratch, pitch, lane);
            else
                write_rows<float>(to, in_channels * taps, low, high, in.valid * taps, scratch, pitch, lane);
            __syncwarp();
        }
    }
    if (with_bias) {
        sums.put_bias(scratch, lane);
        __syncwarp();
        if (lane < 16 * S::out_pairs) {
            const Octet octet = octet_of(p.gradients, p.gradient_count, first_out + lane / 8);
            if (lane % 8 < octet.valid) ((float*)p.bias_sums)[blockIdx.z * out_channels + octet.channel + lane % 8] = scratch[lane];
        }
    }
}

extern "C" __global__ void __launch_bounds__(MAX_THREADS, MIN_BLOCKS) weight_gradient_3(const __grid_constant__ WeightGradient p) { sum_part<3>(p); }

extern "C" __global__ void __launch_bounds__(MAX_THREADS, MIN_BLOCKS) weight_gradient_1(const __grid_constant__ WeightGradient p) { sum_part<1>(p); }

// A channel of a concatenation: where it is at pixel (0, 0) of the first image.
struct Channel {
    const Value* from;
    int pixel;
};

__device__ __forceinline__ Channel channel_of(const Source (&sources)[MAX_SOURCES], int count, int channel) {
    Channel found = {0, 0};
#pragma unroll
    for (int i = 0; i < MAX_SOURCES; ++i) {
        if (i < count) {
            if (channel >= 0 && channel < sources[i].channels) found = {(const Value*)sources[i].address + channel, sources[i].pixel};
            channel -= sources[i].channels;
        }
    }
    return found;
}

// Any convolution, with products in f32: one thread for each weight and each bias, one row of the grid for each part of the pixels of dy. Neighbouring threads have
// neighbouring inputs, or, where groups leave each output one input, neighbouring outputs: they read side by side.
extern "C" __global__ void __launch_bounds__(MAX_THREADS) weight_gradient_direct(const __grid_constant__ WeightGradient p) {
    const int ins = p.in_channels / p.groups, taps = p.kernel * p.kernel;
    const u64 weights = (u64)p.out_channels * ins * taps, index = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    const bool is_bias = index >= weights;
    if (index >= weights + (p.bias_sums ? p.out_channels : 0)) return;

    const int in = is_bias ? 0 : (int)(index % ins);
    const int out = (int)(is_bias ? index - weights : index / ins % p.out_channels);
    const int tap = is_bias ? 0 : (int)(index / ins / p.out_channels), ky = tap / p.kernel, kx = tap % p.kernel;
    const int group = out / (p.out_channels / p.groups);
    const Channel dy = channel_of(p.gradients, p.gradient_count, out), x = channel_of(p.inputs, p.input_count, group * ins + in);

    const u64 rows = (u64)p.images * p.height, pixels = rows * p.width;
    u64 at = pixels * blockIdx.y / p.splits;
    const u64 end = pixels * (blockIdx.y + 1) / p.splits;
    float sum = 0.f;
    while (at < end) {
        // To the end of the row or of the part.
        const u64 line = at / p.width, image = line / p.height;
        const int column = (int)(at - line * p.width), row = (int)(line - image * p.height), length = (int)min((u64)(p.width - column), end - at);
        const int y = row * p.stride + ky - p.padding;
        if (is_bias) {
            for (int i = 0; i < length; ++i) sum += to_float(dy.from[(at + i) * dy.pixel]);
        } else if ((u32)y < (u32)p.input_height) {
            const u64 input_line = (image * p.input_height + y) * p.input_width;
            for (int i = 0; i < length; ++i) {
                const int from = (column + i) * p.stride + kx - p.padding;
                if ((u32)from < (u32)p.input_width) sum = fmaf(to_float(dy.from[(at + i) * dy.pixel]), to_float(x.from[(input_line + from) * x.pixel]), sum);
            }
        }
        at += length;
    }
    if (is_bias)
        ((float*)p.bias_sums)[blockIdx.y * (u64)p.out_channels + out] = sum;
    else
        ((float*)p.sums)[blockIdx.y * weights + ((u64)out * ins + in) * taps + tap] = sum;
}

// Adds the parts. A block has 32 neighbouring values; each of its warps adds a stretch of parts in order, and the first adds the stretches in order.
#define STRETCHES 8
extern "C" __global__ void __launch_bounds__(WARP * STRETCHES) finish_gradient(const __grid_constant__ Finish p) {
    __shared__ float stretches[STRETCHES][WARP];
    const int lane = threadIdx.x % WARP, stretch = threadIdx.x / WARP, index = blockIdx.x * WARP + lane;
    const int first = (int)((u64)p.splits * stretch / STRETCHES), end = (int)((u64)p.splits * (stretch + 1) / STRETCHES);
    float sum = 0.f;
    if (index < p.count) {
        const float* from = (const float*)p.sums + index;
#pragma unroll 4
        for (int part = first; part < end; ++part) sum += from[(u64)part * p.count];
    }
    stretches[stretch][lane] = sum;
    __syncthreads();
    if (stretch || index >= p.count) return;
#pragma unroll
    for (int i = 1; i < STRETCHES; ++i) sum += stretches[i][lane];
    ((float*)p.target)[index] = sum;
}
