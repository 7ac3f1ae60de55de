#!/usr/bin/env bash
# Parks many runs that wait for a person, and answers many of them at once: the worker's memory, and how long waking takes.
#   scripts/parked.sh                                     10 000 runs, 1 000 woken
#   PARKED_RUNS=300 PARKED_WOKEN=60 scripts/parked.sh     what the tests do
#   FASTAGENCY_BIN=… scripts/parked.sh                    another program than the one just built, a release build for instance
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

NATS_SERVER=$(scripts/nats.sh --print-path)
export NATS_SERVER PARKED_RUNS="${PARKED_RUNS:-10000}" PARKED_WOKEN="${PARKED_WOKEN:-1000}"
exec cargo test --locked --test it -- --exact parked::many_parked_runs_cost_nothing_and_wake_when_they_are_answered --nocapture
