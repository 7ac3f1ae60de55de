#!/usr/bin/env bash
# From a person's answer to the first token of the reply, through gateway, NATS, worker and SSE, beside asking the model's server directly.
# The model's server answers at once. Takes FASTAGENCY_BIN (a release binary) and NATS_SERVER from the environment where they are set.
#   scripts/first-token.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/speed-tools.sh
instant_model
exec python3 tests/speed/first_token.py "$@"
