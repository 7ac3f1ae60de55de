#!/usr/bin/env bash
# What one caller can take of memory and disk: tries each attack on `fastagency all` (embedded broker, users with keys) for a while,
# and prints the memory and disk that it took, and the 99th percentile of another user's requests without and with it.
#   scripts/limits.sh [SECONDS] [ATTACK..]     60 s of each: frames, early, headers, halves, silent_ui, headers_ui, halves_ui, bodies,
#                                              chunked, starts, streams, replies
# Talks to 127.0.0.1 only, opens 400 connections at most, and ends by itself. Each attack has a limit of memory and of disk, from
# docs/reference/limits.md (tests/speed/limits.py has them). Exits with 1 if one is exceeded, or if another user's requests take more than twice as
# long (and more than 10 ms).
# Takes FASTAGENCY_BIN (a release binary) from the environment where it is set.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/speed-tools.sh
exec python3 tests/speed/limits.py "$@"
