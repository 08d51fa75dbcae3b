// Which pixels a block of a weight gradient takes, and how they come into shared memory.
//
// Images are cut into strips, 16 pixels wide and as high as the image. The rows of all strips, from top to bottom, strip by strip, image by image, are what the parts divide:
// part s of S has rows [rows * s / S, rows * (s + 1) / S). A run is what a part has of one strip, a step is what is staged of a run at once.
//
// In shared memory, channels lie in slabs: 32 bytes of each pixel. A slab's pixels follow each other, so that any 8 neighbours (2-byte values, by matrices of 8 x 8) or any
// 4 (f32, a value for each lane) are in different banks. For 2-byte values that takes one more turn: the halves of every other group of 4 pixels change places.
#pragma once
#include "values.cuh"

#define STRIP 16
#define SLAB_BYTES 32
#define PIECE_BYTES 16
// Behind a slab, so that the pieces of one pixel in neighbouring slabs are in different banks.
#define SLAB_GAP_BYTES 32

#if defined(MATH_BF16)
#define SLAB_OCTETS 2
#define OUT_SLABS 1    // of a warp: 16 outputs
#elif defined(MATH_TF32)
#define SLAB_OCTETS 1
#define OUT_SLABS 2    // of a warp: 16 outputs
#else
#define SLAB_OCTETS 1
#define OUT_SLABS 4    // of a warp: 32 outputs
#endif

// What depends on the size of the kernel. The tensor cores keep three rows of dy in registers and take each row of x once; they need the rows above and below a run. The plain
// mathematics has three rows of x in shared memory instead.
template <int KERNEL> struct Tile {
    static constexpr int in_slabs = KERNEL == 3 ? 1 : 4; // of a warp
#if defined(MATH_BF16)
    static constexpr int rows = KERNEL == 3 ? 6 : 3; // of a step
    static constexpr int tail = KERNEL == 3 ? 2 : 0; // rows of x beside those of dy in a run
    static constexpr int more_rows = 0;              // rows of x beside those of dy in a step
#elif defined(MATH_TF32)
    static constexpr int rows = KERNEL == 3 ? 4 : 2;
    static constexpr int tail = KERNEL == 3 ? 2 : 0;
    static constexpr int more_rows = 0;
#else
    static constexpr int rows = 2;
    static constexpr int tail = 0;
    static constexpr int more_rows = KERNEL == 3 ? 2 : 0;
#endif
    static constexpr int x_width = STRIP + KERNEL - 1;
    static constexpr u32 dy_slab = rows * STRIP * SLAB_BYTES + SLAB_GAP_BYTES;
    static constexpr u32 x_slab = (rows + more_rows) * x_width * SLAB_BYTES + SLAB_GAP_BYTES;
};

// 8 channels of a concatenation in which each source begins at a multiple of 8.
struct Octet {
    const Value* from; // at pixel (0, 0) of the first image; 0 where there is none
    int pixel;
    int channel;       // as weights count them
    int valid;
};

__device__ __forceinline__ Octet octet_of(const Source (&sources)[MAX_SOURCES], int count, int index) {
    Octet found = {0, 0, 0, 0};
    int channel = 0;
    // Unrolled, so that parameters are read at fixed places.
#pragma unroll
    for (int i = 0; i < MAX_SOURCES; ++i) {
        if (i < count) {
            const int octets = (sources[i].channels + 7) / 8;
            if (index >= 0 && index < octets) {
                const int left = sources[i].channels - 8 * index;
                found = {(const Value*)sources[i].address + 8 * index, sources[i].pixel, channel + 8 * index, left < 8 ? left : 8};
            }
            index -= octets;
            channel += sources[i].channels;
        }
    }
    return found;
}

// Where a part of the rows is read.
struct Walk {
    int next;   // the first row after the run
    int end;    // of the part
    int image;
    int column;
    int y;      // of the run's first row
    int length; // rows of dy in the run; 0 behind the last run
    int row;    // of the run, at which the step begins

    __device__ __forceinline__ void begin_run(const WeightGradient& p) {
        const int strips = (p.width + STRIP - 1) / STRIP, strip = next / p.height;
        image = strip / strips;
        column = (strip - image * strips) * STRIP;
        y = next - strip * p.height;
        length = min(p.height - y, end - next);
        next += length;
        row = 0;
    }

    __device__ __forceinline__ Walk(const WeightGradient& p, int part) {
        const u64 rows = (u64)p.images * ((p.width + STRIP - 1) / STRIP) * p.height;
        next = (int)(rows * part / p.splits);
        end = (int)(rows * (part + 1) / p.splits);
        length = 0;
        if (next < end) begin_run(p);
    }

    template <int KERNEL> __device__ __forceinline__ void advance(const WeightGradient& p) {
        row += Tile<KERNEL>::rows;
        if (row < length + Tile<KERNEL>::tail) return;
        length = 0;
        if (next < end) begin_run(p);
    }

    // Rows of the step.
    template <int KERNEL> __device__ __forceinline__ int rows() const { return min(Tile<KERNEL>::rows, length + Tile<KERNEL>::tail - row); }
};

// What one thread copies: 16 bytes of every `stride`th pixel.
struct Copier {
    const Value* from;
    int pixel;
    u32 to;    // place of pixel 0 in a stage
    int half;  // of the slab
    int first;
    int stride;

    __device__ __forceinline__ Copier(const Source (&sources)[MAX_SOURCES], int count, int first_slab, int slabs, u32 slab_bytes, int thread, int threads) {
        const int pieces = slabs * (SLAB_BYTES / PIECE_BYTES), piece = thread % pieces;
        first = thread / pieces;
        stride = threads / pieces;
        half = piece % 2;
        to = piece / 2 * slab_bytes;
        const int octets = 16 / sizeof(Value) == 8 ? 2 * first_slab + piece : first_slab + piece / 2;
        const Octet octet = octet_of(sources, count, octets);
        pixel = octet.pixel;
        from = octet.from ? octet.from + (SLAB_OCTETS == 1 ? half * 4 : 0) : 0;
    }

    // Copies the pixel at (y, x) of an image of the given size to place `at`; zeros where it is outside, or where there are no channels.
    __device__ __forceinline__ void copy(u32 stage, int at, bool inside, u64 image, int height, int width, int y, int x, const void* somewhere) const {
        inside = inside && from;
        const void* source = inside ? (const void*)(from + ((image * height + y) * width + x) * pixel) : somewhere;
        const int turned = SLAB_OCTETS == 2 ? half ^ (at >> 2 & 1) : half;
        const u32 target = stage + to + at * SLAB_BYTES + turned * PIECE_BYTES;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(source), "r"(inside ? 16 : 0) : "memory");
    }
};

// Begins to copy a step.
template <int KERNEL>
__device__ __forceinline__ void stage_step(const WeightGradient& p, const Walk& walk, const Copier& dy, u32 dy_stage, const Copier& x, u32 x_stage) {
    const int rows = walk.rows<KERNEL>();
    // An address that may be read, for copies of nothing.
    const void* somewhere = (const void*)p.gradients[0].address;
    for (int at = dy.first; at < rows * STRIP; at += dy.stride) {
        const int row = walk.row + at / STRIP, column = walk.column + at % STRIP;
        dy.copy(dy_stage, at, row < walk.length && column < p.width, walk.image, p.height, p.width, walk.y + row, column, somewhere);
    }
    constexpr int width = Tile<KERNEL>::x_width, reach = KERNEL / 2;
    for (int at = x.first; at < (rows + Tile<KERNEL>::more_rows) * width; at += x.stride) {
        const int y = walk.y + walk.row + at / width - reach, column = walk.column + at % width - reach;
        const bool inside = (u32)y < (u32)p.height && (u32)column < (u32)p.width;
        x.copy(x_stage, at, inside, walk.image, p.height, p.width, y, column, somewhere);
    }
}
