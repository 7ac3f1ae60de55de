#!/usr/bin/env bash
# Whether a change made something slower: two programs in turn, round after round, on one machine. First `echo` over NATS, which
# `fastagency bench --against` compares by itself; then agent turns in one process with its own broker (turns per second, processor
# time per turn). Prints the medians and the ratios of NEW to OLD.
#   scripts/compare.sh [--rounds N] [--conversations N] [--clients N] [--talks N] OLD NEW     21 rounds of 2 000 with 200 clients
# Takes NATS_SERVER from the environment where it is set. --talks 0: `echo` alone.
set -euo pipefail
cd "$(dirname "$0")/.."
FASTAGENCY_BIN=${FASTAGENCY_BIN:-$(for argument; do [ -x "$argument" ] && [ -f "$argument" ] && echo "$argument" && break; done)}
. scripts/speed-tools.sh
instant_model
exec python3 tests/speed/compare.py "$@"
