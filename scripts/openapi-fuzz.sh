#!/usr/bin/env bash
# Changes OpenAPI specifications at random and reads them: what scripts/fuzz.sh wants of the reader, where cargo-fuzz is not
# installed. It knows no coverage, but the shape of a specification.
#   scripts/openapi-fuzz.sh [SECONDS]     (default 600)
# What fails is kept in fuzz/artifacts/openapi.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

seconds=${1:-600}
mkdir -p fuzz/artifacts/openapi
cargo build --locked --example openapi_fuzz
exec "${CARGO_TARGET_DIR:-target}/debug/examples/openapi_fuzz" "$seconds" fuzz/artifacts/openapi fuzz/seeds/openapi/* tests/openapi/*
