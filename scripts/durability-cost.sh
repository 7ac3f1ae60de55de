#!/usr/bin/env bash
# What it costs that no run can be lost: `fastagency bench` with the workflow `echo` against the tiers of two programs, in turn,
# each on a NATS server of its own, the other one idle meanwhile. Prints the conversations per second and the p50 and p99 from
# an answer to the next message of each round, and the ratio of the medians.
#   scripts/durability-cost.sh BEFORE AFTER [ROUNDS] [CONVERSATIONS] [CLIENTS]     5 rounds of 3 000 with 200 clients
# BEFORE and AFTER are release builds; the bench itself is AFTER's in all rounds. NATS_SERVER names the server.
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2,6p "$0" >&2; exit 2; }
before=$(realpath "$1") FASTAGENCY_BIN=$(realpath "$2")
shift 2
cd "$(dirname "$0")/.."
. scripts/speed-tools.sh
exec python3 tests/speed/durability_cost.py "$before" "$FASTAGENCY_BIN" "$@"
