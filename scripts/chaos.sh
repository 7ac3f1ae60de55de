#!/usr/bin/env bash
# Holds conversations while workers, gateways and the NATS server are killed and stopped at random, and counts what came of it.
# Ends by itself; exit code 0 only if nothing was lost, crossed, missed, repeated or asked twice.
#   scripts/chaos.sh                                   500 runs, three minutes
#   CHAOS_RUNS=40 CHAOS_SECONDS=30 scripts/chaos.sh    what the tests do
#   FASTAGENCY_BIN=… scripts/chaos.sh                  another program than the one just built
#   CHAOS_SEED=7 scripts/chaos.sh                      the same blows again (what they hit depends on the machine, too)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

NATS_SERVER=$(scripts/nats.sh --print-path)
export NATS_SERVER CHAOS_RUNS="${CHAOS_RUNS:-500}" CHAOS_SECONDS="${CHAOS_SECONDS:-180}"
exec cargo test --locked --test it -- --exact chaos::chaos_loses_nothing --nocapture
