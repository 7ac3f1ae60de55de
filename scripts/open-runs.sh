#!/usr/bin/env bash
# What open conversations weigh: opens many over FastAgency's sockets, keeps them all waiting for an answer, answers them, and
# prints what worker and gateway hold of memory meanwhile.
#   scripts/open-runs.sh [CONVERSATIONS]     10 000 of them
# Each needs a file in the gateway and one in the client: see `ulimit -Hn`.
# Takes FASTAGENCY_BIN (a release binary) and NATS_SERVER from the environment where they are set.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/speed-tools.sh
exec python3 tests/speed/open_runs.py "$@"
