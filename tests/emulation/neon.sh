#!/bin/sh
# Runs the tests of the CPU kernels on an emulated 64-bit ARM processor, and compares the bits of their results with those of this machine, which must be
# x86-64 with AVX2: fused multiply-adds must round alike with vectors of 4, 8 and 16 lanes. Takes a few minutes.
#
# Needs: rustup target add aarch64-unknown-linux-gnu
#        apt install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static   (Debian)
# RUSTC, LINKER and RUNNER name others than those.
set -eu
cd "$(dirname "$0")"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$(cd ../.. && pwd)/target/emulation}"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="${LINKER:-aarch64-linux-gnu-gcc}"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="${RUNNER:-qemu-aarch64-static}"
# Linked statically, the tests need no ARM libraries where they run.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static"

here="$CARGO_TARGET_DIR/here.txt"
there="$CARGO_TARGET_DIR/neon.txt"
mkdir -p "$CARGO_TARGET_DIR"
# One thread, so that lines do not mix.
cargo test --locked -- bits:: --nocapture --test-threads 1 >"$here" || { cat "$here"; exit 1; }
cargo test --locked --target aarch64-unknown-linux-gnu -- --nocapture --test-threads 1 >"$there" || { cat "$there"; exit 1; }
for run in "$here" "$there"; do
  grep '^bits: ' "$run" | sort -u >"$run.bits"
  grep -q '^bits: fused' "$run.bits" || { echo "$run has no results of fused arithmetic" >&2; exit 1; }
done
grep '^test result' "$there"
diff "$here.bits" "$there.bits"
echo "the same bits: $(grep -c . "$there.bits") results"
