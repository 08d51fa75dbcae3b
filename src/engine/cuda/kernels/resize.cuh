// Bilinear resize with align_corners = False, and its gradient. Positions and factors in f64, weights rounded to f32, terms multiplied and added one by one in the reference
// engine's order: f32 gives the CPU's bits.
#pragma once
#include "spatial.cuh"

// One output position along one axis: two neighbours in the input and their weights.
struct Neighbours {
    int at[2];
    double weight[2];
};

// An axis that is resized from `from` to `to` positions.
struct Axis {
    int from;
    int to;
    double scale;

    __device__ __forceinline__ Axis(int from, int to) : from(from), to(to), scale(__ddiv_rn((double)from, (double)to)) {}

    __device__ __forceinline__ Neighbours neighbours(int out) const {
        // Pixel centres map to pixel centres; positions before the first centre are clamped to it.
        const double centre = __dsub_rn(__dmul_rn((double)out + 0.5, scale), 0.5);
        const double position = centre > 0.0 ? centre : 0.0;
        const int near = min((int)position, from - 1);
        const double far_weight = __dsub_rn(position, (double)near);
        return {{near, min(near + 1, from - 1)}, {__dsub_rn(1.0, far_weight), far_weight}};
    }

    // The first output position that reads the input position `at`, or one past the last.
    __device__ __forceinline__ int first_reader(int at) const {
        // Without rounding, it is the first at or above (at - 1/2) / scale - 1/2. Neighbours never step back, so it is found from there by steps in one direction.
        const double near = ((double)at - 0.5) / scale - 0.5;
        int out = near > 0.0 ? min((int)near, to) : 0;
        while (out > 0 && neighbours(out - 1).at[1] >= at) --out;
        while (out < to && neighbours(out).at[1] < at) ++out;
        return out;
    }
};

__device__ __forceinline__ float weight(double vertical, double horizontal) { return __double2float_rn(__dmul_rn(vertical, horizontal)); }

template <int N>
__device__ __forceinline__ void resize_bilinear_by(const Spatial& p) {
    const Place at(p);
    if (!at.inside) return;
    const Neighbours rows = Axis(p.input_height, p.height).neighbours(at.y), columns = Axis(p.input_width, p.width).neighbours(at.x);
    const Value* from[4];
    float weights[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        from[i] = input_pixel(p, at.image, rows.at[i / 2], columns.at[i % 2]);
        weights[i] = weight(rows.weight[i / 2], columns.weight[i % 2]);
    }
    each_run<N>(p, at, [&](int channel) {
        Lanes<N> sum = filled<N>(0.f);
#pragma unroll
        for (int term = 0; term < 4; ++term) {
            const Lanes<N> value = read<N>(from[term], channel);
#pragma unroll
            for (int i = 0; i < N; ++i) sum.at[i] = __fadd_rn(sum.at[i], __fmul_rn(weights[term], value.at[i]));
        }
        return sum;
    });
}

// Each input pixel sums over the output pixels that read it: `input` is dy, what is written is dx.
template <int N>
__device__ __forceinline__ void resize_bilinear_gradient_by(const Spatial& p) {
    const Place at(p);
    if (!at.inside) return;
    const Axis vertical(p.height, p.input_height), horizontal(p.width, p.input_width);
    const int top = vertical.first_reader(at.y), left = horizontal.first_reader(at.x);
    each_run<N>(p, at, [&](int channel) {
        Lanes<N> sum = filled<N>(0.f);
        for (int y = top; y < vertical.to; ++y) {
            const Neighbours rows = vertical.neighbours(y);
            if (rows.at[0] > at.y) break;
            for (int x = left; x < horizontal.to; ++x) {
                const Neighbours columns = horizontal.neighbours(x);
                if (columns.at[0] > at.x) break;
                const Lanes<N> dy = read<N>(input_pixel(p, at.image, y, x), channel);
                // At the last position both neighbours are the same, and both count.
#pragma unroll
                for (int term = 0; term < 4; ++term) {
                    if (rows.at[term / 2] != at.y || columns.at[term % 2] != at.x) continue;
                    const float factor = weight(rows.weight[term / 2], columns.weight[term % 2]);
#pragma unroll
                    for (int i = 0; i < N; ++i) sum.at[i] = __fadd_rn(sum.at[i], __fmul_rn(factor, dy.at[i]));
                }
            }
        }
        return sum;
    });
}

SPATIAL(resize_bilinear)
SPATIAL(resize_bilinear_gradient)
