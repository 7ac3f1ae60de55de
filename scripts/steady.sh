#!/usr/bin/env bash
# Load that goes on while what has ended is removed: `fastagency bench` with the workflow `echo` over NATS, first with `keep_ended`
# as it is by default (nothing is removed meanwhile), then with a short one. Prints for each window the conversations per
# second, and the size of the store at its end; and at last the ratio of the medians, and how many runs were removed.
#   scripts/steady.sh [SECONDS] [CLIENTS] [CONVERSATIONS IN A WINDOW]     180 s of each, 200 clients, windows of 5000
# KEEP_ENDED (default 10s). A steady state needs some tours of the worker, which come every 30 s: at least two minutes. Ends by itself.
# Takes FASTAGENCY_BIN (a release binary) and NATS_SERVER from the environment where they are set.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/speed-tools.sh
exec python3 tests/speed/steady.py "$@"
