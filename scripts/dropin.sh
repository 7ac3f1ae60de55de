#!/usr/bin/env bash
# The drop-in proof with the real Python package: our worker and our gateway, each beside FastAgency's own tiers,
# and what holds when one of them is away.
#   scripts/dropin.sh                                        all directions with the release binary
#   scripts/dropin.sh --gateway python --worker python       FastAgency's tiers on both sides: tries the harness itself
#   scripts/dropin.sh --only bc --page FILE                  some directions; another custom client (see --help)
# DROPIN_LOGINS=each scripts/dropin.sh --only abcde: with nats-server.tiers.conf, a login for each tier, an account for FastAgency's.
# Takes FASTAGENCY_BIN, NATS_SERVER and CHROMIUM from the environment where they are set. Needs Python 3.10 to 3.13.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

python=$(scripts/python-stack.sh)

NATS_SERVER=$(scripts/nats.sh --print-path)
export NATS_SERVER

# FastAgency's tiers alone need nothing of ours.
if [[ "$*" != *--help* && ("$*" != *"--gateway python"* || "$*" != *"--worker python"*) ]]; then
  if [ -z "${FASTAGENCY_BIN:-}" ]; then
    cargo build --locked --release
    FASTAGENCY_BIN="${CARGO_TARGET_DIR:-$PWD/target}/release/fastagency"
  fi
  # The tiers start in folders of their own.
  FASTAGENCY_BIN=$(realpath "$FASTAGENCY_BIN")
  export FASTAGENCY_BIN
fi

exec "$python" tests/dropin/run.py "$@"
