#!/usr/bin/env bash
# Whether a change made something slower: two or more programs in turn, round after round, on one machine. For each: `echo` over
# NATS (conversations per second; per conversation the processor time of NATS, worker and gateway, together and each, and the messages to
# NATS, from it, and stored) and agent turns in one process
# with its own broker (turns per second, processor time per turn). Prints the medians and their ratios to the first program.
#   scripts/compare.sh [--rounds N] [--conversations N] [--clients N] OLD NEW [MORE...]  21 rounds of 2 000 with 200 clients
# Takes NATS_SERVER from the environment where it is set.
set -euo pipefail
cd "$(dirname "$0")/.."
FASTAGENCY_BIN=${FASTAGENCY_BIN:-$(for argument; do [ -x "$argument" ] && [ -f "$argument" ] && echo "$argument" && break; done)}
. scripts/speed-tools.sh
instant_model
exec python3 tests/speed/compare.py "$@"
