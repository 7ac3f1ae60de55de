#!/usr/bin/env bash
# What a call of a tool costs, without what the tool itself does: a worker, a gateway and a NATS server as shipped, each a process of
# its own; tools that do nothing (steps, HTTP, Python, an MCP server over standard input), called one after the other by a run.
# Beside it, in the same rounds, AG2 calls the same Python function in its own process. Then 200 runs that call tools of all kinds at
# once: how long all take, and whether one of them starves. Takes about two minutes of a quiet machine.
#   scripts/tool-cost.sh [--rounds N] [--calls N] [--runs N] [--calls-at-once N]
# Takes FASTAGENCY_BIN (a release binary) and NATS_SERVER from the environment where they are set.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/speed-tools.sh
instant_model
AG2_PYTHON=$(scripts/ag2-tools.sh)
export AG2_PYTHON
exec python3 tests/speed/tool_cost.py "$@"
