#!/usr/bin/env bash
# Fuzzes the reader of OpenAPI specifications as scripts/fuzz.sh does, where cargo-fuzz is not installed: the fuzz target itself, with
# libFuzzer and its coverage, built by the pinned compiler.
#   scripts/openapi-fuzz.sh [SECONDS]     (default 600)
# Needs a C++ compiler. What crashes is kept in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

seconds=${1:-600}
corpus=$PWD/fuzz/corpus/openapi
artifacts=$PWD/fuzz/artifacts/openapi
mkdir -p "$corpus" "$artifacts"
cp fuzz/seeds/openapi/* "$corpus/"
host=$(rustc -vV | sed -n 's/^host: //p')

# What `cargo fuzz build --sanitizer none` passes: the flags are not stable, and this makes the pinned compiler take them.
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1"
cargo build --manifest-path fuzz/Cargo.toml --release --target "$host" --bin openapi
program=${CARGO_TARGET_DIR:-fuzz/target}/$host/release/openapi
cd fuzz
exec "$OLDPWD/${program#"$OLDPWD"/}" "$corpus" -artifact_prefix="$artifacts/" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384
