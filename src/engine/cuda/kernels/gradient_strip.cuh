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
    // From one row of x to the next, in pixels. A multiple of 8 where halves change places: then they do so in every row alike.
    static constexpr int x_pitch = SLAB_OCTETS == 2 ? (x_width + 7) / 8 * 8 : x_width;
    static constexpr u32 dy_slab = rows * STRIP * SLAB_BYTES + SLAB_GAP_BYTES;
    static constexpr u32 x_slab = (rows + more_rows) * x_pitch * SLAB_BYTES + SLAB_GAP_BYTES;
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

// Where a part of the rows is read. It lies in shared memory, where one thread takes it on, because registers are scarce.
struct Walk {
    int next;   // the first row after the run
    int end;    // of the part
    int image;
    int column;
    int y;      // of the run's first row
    int length; // rows of dy in the run; 0 behind the last run
    int row;    // of the run, at which the step begins

    __device__ __forceinline__ void begin_run(const WeightGradient& p) {
        row = length = 0;
        if (next >= end) return;
        const int strips = (p.width + STRIP - 1) / STRIP, strip = next / p.height;
        image = strip / strips;
        column = (strip - image * strips) * STRIP;
        y = next - strip * p.height;
        length = min(p.height - y, end - next);
        next += length;
    }

    __device__ __forceinline__ void begin(const WeightGradient& p, int part) {
        const u64 rows = (u64)p.images * ((p.width + STRIP - 1) / STRIP) * p.height;
        next = (int)(rows * part / p.splits);
        end = (int)(rows * (part + 1) / p.splits);
        begin_run(p);
    }

    template <int KERNEL> __device__ __forceinline__ void advance(const WeightGradient& p) {
        row += Tile<KERNEL>::rows;
        if (row >= length + Tile<KERNEL>::tail) begin_run(p);
    }

    // Rows of the step; 0 behind the last.
    template <int KERNEL> __device__ __forceinline__ int rows() const { return length ? min(Tile<KERNEL>::rows, length + Tile<KERNEL>::tail - row) : 0; }
};

// What one thread copies: 16 bytes of every `stride`th pixel of a step.
struct Copier {
    const Value* from; // at pixel (0, 0) of the first image; 0 where there are no such channels
    int pixel;
    u32 to;            // place of the step's pixel 0
    int first;

    __device__ __forceinline__ Copier(const Source (&sources)[MAX_SOURCES], int count, int first_slab, int slabs, u32 slab_bytes, int thread) {
        const int pieces = slabs * (SLAB_BYTES / PIECE_BYTES), piece = thread % pieces, half = piece % 2;
        first = thread / pieces;
        to = piece / 2 * slab_bytes + half * PIECE_BYTES;
        const Octet octet = octet_of(sources, count, SLAB_OCTETS == 2 ? 2 * first_slab + piece : first_slab + piece / 2);
        pixel = octet.pixel;
        from = octet.from ? octet.from + (SLAB_OCTETS == 1 ? half * 4 : 0) : 0;
    }

    // Copies `rows` rows of `WIDTH` pixels, which lie `PITCH` pixels apart in shared memory. The first pixel is (y, x) of the image; what is outside of the
    // image's columns, above its first row or from row `bottom` on becomes zero.
    template <int WIDTH, int PITCH>
    __device__ __forceinline__ void copy(u32 stage, int stride, int rows, u64 image_row, int y, int x, int bottom, int width) const {
        const Value* const corner = from + ((long long)(image_row + y) * width + x) * pixel;
        const u32 height = from ? bottom : 0;
        // Registers are scarce while products are added: what follows from the thread's first pixel is to be computed here, again for every step.
        int start = first;
        asm volatile("" : "+r"(start));
        int row = start / WIDTH, column = start % WIDTH;
        while (row < rows) {
            const bool inside = (u32)(y + row) < height && (u32)(x + column) < (u32)width;
            const int at = row * PITCH + column;
            // The turn of the halves.
            const u32 target = stage + to + at * SLAB_BYTES ^ (SLAB_OCTETS == 2 ? at * (PIECE_BYTES / 4) & PIECE_BYTES : 0);
            // An address outside is not read.
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(corner + (row * width + column) * pixel), "r"(inside ? 16 : 0) : "memory");
            row += stride / WIDTH;
            column += stride % WIDTH;
            if (column >= WIDTH) {
                column -= WIDTH;
                ++row;
            }
        }
    }
};

// Begins to copy a step.
template <int KERNEL>
__device__ __forceinline__ void stage_step(const WeightGradient& p, const Walk& walk, int rows, const Copier& dy, u32 dy_stage, const Copier& x, u32 x_stage) {
    using T = Tile<KERNEL>;
    constexpr int reach = KERNEL / 2;
    const int y = walk.y + walk.row;
    const u64 image_row = (u64)walk.image * p.height;
    // As many threads as there are pieces of a pixel take one pixel each.
    const int dy_stride = blockDim.y * (32 / 2) / OUT_SLABS, x_stride = blockDim.x / (2 * T::in_slabs);
    dy.copy<STRIP, STRIP>(dy_stage, dy_stride, rows, image_row, y, walk.column, walk.y + walk.length, p.width);
    x.copy<T::x_width, T::x_pitch>(x_stage, x_stride, rows + T::more_rows, image_row, y - reach, walk.column - reach, p.height, p.width);
}
