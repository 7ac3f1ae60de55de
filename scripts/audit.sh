#!/usr/bin/env bash
# How fast and how heavy the audit is: exports and verifies a history of some 100 000 events, made by the echo
# workflow. Usage: scripts/audit.sh PROGRAM [CONVERSATIONS]
set -euo pipefail
program=$(realpath "$1")
conversations=${2:-20000}
folder=$(mktemp -d)
trap 'kill "${tier:-0}" 2>/dev/null || true; rm -rf "$folder"' EXIT
mkdir "$folder/workflows"
cp "$(dirname "$0")/../workflows/echo.yaml" "$folder/workflows/"
cd "$folder"
printf 'version: 1\n' > fastagency.yaml
"$program" all --port 18471 --ui-port 18472 > all.log 2>&1 & tier=$!
until curl -sf http://127.0.0.1:18471/readyz > /dev/null; do kill -0 "$tier" || { cat all.log; exit 1; }; sleep 0.2; done
"$program" bench --gateway-url http://127.0.0.1:18471 --workflow echo --conversations "$conversations" --concurrency 100 --via sse --no-echo
kill -TERM "$tier"; wait "$tier" || true
timed() { /usr/bin/time -f '%e s, %M kB' "$@"; }
timed "$program" audit export -o events.jsonl
wc -l -c events.jsonl
timed "$program" audit export --format csv -o events.csv
timed "$program" audit verify
