#!/usr/bin/env bash
# How long the first page of a list takes in the embedded store, by how many runs are kept: fills stores with the lines of ended
# runs, of one user and of many, and prints for each list the median and the 99th percentile.
#   scripts/lists.sh [RUNS...]     1000, 10000 and 100000 runs; 1000000 takes some minutes and 2 GB of disk
set -euo pipefail
cd "$(dirname "$0")/.."
sizes=()
for runs in "${@:-1000}"; do sizes+=("$runs" 1 "$runs" 1000); done
[ $# -gt 0 ] || sizes+=(10000 1 10000 1000 100000 1 100000 1000)
exec cargo run --release --quiet --example list_speed -- "${sizes[@]}"
