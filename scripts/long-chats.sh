#!/usr/bin/env bash
# Time and memory of a group of 30 agents over 200 rounds, and of a chat of 5 MB.
# The model's server answers at once. Takes FASTAGENCY_BIN (a release binary) and NATS_SERVER from the environment where they are set.
#   scripts/long-chats.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/speed-tools.sh
instant_model
exec python3 tests/speed/long_chats.py "$@"
