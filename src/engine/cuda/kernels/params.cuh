// What kernels are told. Every kernel takes one of these structures by value. Their twins in Rust are in `params.rs`; a test compares the sizes with those in
// the generated PTX.
//
// Values are batches of images with channels innermost (NHWC), without gaps between rows or images. `address` is that of the first channel of a range at pixel (0, 0) of
// the first image; `pixel` is the number of elements from one pixel to the next, a multiple of 8. Address 0 stands for "none".
//
// One rule holds for every kernel: buffers hold channels in multiples of 8, and whoever writes the last channels of a buffer writes zeros behind them, up to the next multiple
// of 8. So vectors of 8 channels can be read from any range that begins at a multiple of 8 and ends at one or at the end of its buffer. Such ranges are called aligned.
#pragma once

typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;

#define MAX_SOURCES 8
#define MAX_PARTS 8
#define MAX_INPUTS 4

// Where the clocks of the multiprocessors go: kernel `clock_stamp`.
struct Stamp {
    u64 to;           // for each: whether it was here (0 before), cycles, nanoseconds
    int multiprocessors;
    int unused;
};

// A range of channels that is read.
struct Source {
    u64 address;
    int pixel;
    int channels;
};

// What a value is combined with, channel by channel; laid out as the range that is written.
struct Operand {
    u64 address;
    int pixel;
    int unused;
};

// What is done to a range of output channels before it is stored, in this order: bias, before, activation, after, mask.
struct Part {
    int start;        // first output channel
    int channels;
    int written;      // channels to be written: `channels`, and zeros up to this many
    int activation;   // 1: LeakyReLU with `slope`
    float slope;
    float mask_slope; // the value is multiplied by this where the mask's value is not positive
    Operand before;
    Operand after;
    Operand mask;
};

// A convolution, or the gradient with respect to its input: kernels `convolution_*` and `convolution_direct`.
struct Convolution {
    Source sources[MAX_SOURCES];
    Part parts[MAX_PARTS];
    u64 weights;      // `convolution_direct`: OIHW in f32; the others: packed
    u64 bias;         // f32, one for each output channel (packed: for each padded one), or 0
    u64 target;
    int target_pixel;
    int target_f32;   // 1: the target is f32, whatever else the values are
    int source_count;
    int part_count;
    int images;
    int height;       // of what is written
    int width;
    int input_height; // of what is read
    int input_width;
    int in_channels;  // of what is read
    int out_channels; // of what is written
    int kernel;
    int stride;
    int padding;
    int groups;
    int input_gradient; // `convolution_direct`: 1 for the gradient
};

// Weights in the order in which `convolution_*` reads them: kernel `pack_weights`.
struct Pack {
    u64 weight;       // OIHW in f32, as the convolution has it forwards
    u64 bias;         // f32, or 0
    u64 packed;
    u64 packed_bias;  // f32, `blocks * block` values, zeros where there is no bias
    int in_channels;  // of what is read in this direction
    int out_channels; // of what is written in this direction
    int kernel;
    int input_gradient;
    int block;        // output channels that a block of threads computes
    int blocks;
    int source_count;
    int source_channels[MAX_SOURCES];
    int unused;
};

// The sums of a weight's and a bias' gradient over a part of the pixels: kernels `weight_gradient_*` and `weight_gradient_direct`.
struct WeightGradient {
    Source inputs[MAX_SOURCES];    // x
    Source gradients[MAX_SOURCES]; // dy
    u64 sums;         // f32 [splits][OIHW]
    u64 bias_sums;    // f32 [splits][out_channels], or 0
    int input_count;
    int gradient_count;
    int images;
    int height;       // of dy
    int width;
    int input_height;
    int input_width;
    int in_channels;
    int out_channels;
    int kernel;
    int stride;
    int padding;
    int groups;
    int splits;
};

// Sums of `splits` rows of `count` values, added in order: kernel `finish_gradient`.
struct Finish {
    u64 sums;
    u64 target;
    int count;
    int splits;
};

// Weights as a library's convolutions want them, channels innermost, with zeros for channels that only fill a vector: kernels `pack_filter`, and `unpack_filter` for their
// gradient.
struct Filter {
    u64 weight;         // OIHW in f32
    u64 filter;         // OHWI in the format of the values
    u64 bias;           // f32, or 0; `pack_filter` only
    u64 padded_bias;    // f32, zeros where there is none
    int outputs;
    int inputs;         // of a group
    int kernel;
    int padded_outputs;
    int padded_inputs;
    int unused;
};

// Value by value, for a range of channels: kernels `sum` (of no inputs: zero), `product`, `sigmoid` and `sigmoid_gradient` (dy, y).
struct Elementwise {
    Operand inputs[MAX_INPUTS];
    Part part;        // `start` is not used: `target` is that of the first channel
    u64 bias;         // `sum`: f32, one for each channel and as many as a vector needs, or 0
    u64 target;
    int target_pixel;
    int input_count;
    u64 pixels;       // of all images
};

// One buffer from one or two others of another height or width: kernels `pixel_shuffle`, `pixel_unshuffle`, `max_pool`, `max_pool_gradient` (dy, x), `resize_bilinear` and
// `resize_bilinear_gradient`.
struct Spatial {
    Operand input;
    Operand other;
    u64 target;
    int target_pixel;
    int images;
    int input_height;
    int input_width;
    int height;       // of what is written
    int width;
    int channels;     // of what is written
    int factor;       // of a pixel shuffle
    int kernel;       // of a pool
    int stride;
};

// Between the host's planes (NCHW in f32) and NHWC: kernels `load` (LR), `store` (SR, through a pixel shuffle) and `store_image` (8-bit RGB, interleaved).
struct Ends {
    u64 planes;       // `store_image`: the pixels of the first image
    u64 values;       // `store` and `store_image` read f32
    u64 finite;       // `store_image`: u32, set to 0 where a value is not a number; 1 before
    int pixel;
    int images;
    int channels;     // of the planes
    int height;       // of the values
    int width;
    int factor;
    float data_range; // `store_image`
    int unused;
};

// L1 loss and its gradient, both before a pixel shuffle by `factor`: kernel `loss`; and the sum of all rows' sums: kernel `loss_total`.
struct Loss {
    u64 sr;           // f32, NHWC
    u64 hr;           // f32, NCHW
    u64 gradient;     // NHWC
    u64 row_sums;     // f64, one for each row of LR pixels
    u64 total;        // f64: the mean over all values
    int sr_pixel;
    int gradient_pixel;
    int images;
    int channels;     // of the HR images
    int height;       // of LR
    int width;
    int factor;
    float unit;       // one over the number of values
};

// One Adam update of all weights: kernel `adam`. Before it, `all_finite` clears a flag where a gradient or the loss is not finite; `adam` then changes nothing.
struct Adam {
    u64 weights;      // f32
    u64 gradients;
    u64 first;
    u64 second;
    u64 step;         // AdamStep, in device memory: a captured graph finds new numbers there in every run
    u64 loss;         // f64
    u64 finite;       // u32: 1 before
    int count;
    int unused;
};

// The numbers of one update.
struct AdamStep {
    float step_size;
    float root_correction;
    float lerp;
    float decay;
    float gain;
    float epsilon;
};

// All branches and what they are folded into: kernels `fold` (each folded value is the sum of its branches') and `unfold` (each branch's gradient is a piece of the folded one's).
// Values are counted from the first one of all tensors of their kind, so that the same lists serve for weights and for gradients.
struct Fold {
    u64 tensors;      // Folded
    u64 branches;     // Branch
    u64 blocks;       // u32, for each block of threads: the tensor that it works on
    u64 expanded;     // f32: all weights, or gradients, of the branches' model
    u64 folded;       // f32: all weights, or gradients, that are folded
    int tensor_count;
    int block_count;
};

// A folded weight or bias. A bias is a weight with one input channel and kernels of one tap.
struct Folded {
    u64 first;        // its first value, OIHW
    int channels;     // out_channels * in_channels
    int in_channels;
    int kernel;
    int first_branch; // of the list
    int branch_count; // they are added in the order of the list
    int first_block;  // of threads; the following ones up to the next tensor's belong to it, too
};

// A branch. Its square kernel lies in the middle of the folded one.
struct Branch {
    u64 first;        // its first value, OIHW
    int kernel;       // 0: the identity, which has no values: a one in the middle of each channel's own kernel
    int unused;
};

// One patch of a batch: where its pair lies in device memory (8-bit RGB, interleaved) and what is cut out of it.
struct Patch {
    u64 lr;
    u64 hr;
    int lr_width;
    int lr_height;
    int x;            // in LR pixels
    int y;
    int augmentation; // 0 to 7, as the challenge kit numbers them
    int unused;
};

// Patches of LR and HR images as planes: kernel `crop`. Where a patch is larger than its image there are zeros.
struct Crop {
    u64 patches;      // Patch, one for each image of the batch
    u64 values;       // f32: what each of the 256 bytes becomes
    u64 lr;           // f32, NCHW
    u64 hr;           // f32, NCHW
    int images;
    int side;         // of the LR patch in pixels
    int scale;
    int unused;
};
