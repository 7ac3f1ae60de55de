#!/usr/bin/env bash
# What it costs to be asked who calls and to be counted: `fastagency bench` against tiers with auth.mode none that show no
# metrics, and against tiers with auth.mode jwt whose metrics are scraped, in turn, on one NATS server. (The audit is the log
# itself: it is there in both.) Prints the conversations per second of each round and the ratio of the medians.
#   scripts/cost.sh [ROUNDS] [CONVERSATIONS] [CLIENTS]     5 rounds of 3 000 with 200 clients
#   COST_OF=signing scripts/cost.sh …      what it costs that a gateway signs and the worker trusts signatures alone, instead
# Takes FASTAGENCY_BIN (a release binary) and NATS_SERVER from the environment where they are set.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/speed-tools.sh
exec python3 tests/speed/cost.py "$@"
