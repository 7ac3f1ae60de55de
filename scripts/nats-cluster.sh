#!/usr/bin/env bash
# Starts three NATS servers on this machine with ../nats-server.cluster.conf, sets their streams up, and tries what each login can do.
#   scripts/nats-cluster.sh          until Ctrl-C; every login's password is "try it"; data go to a new folder in /tmp
#   scripts/nats-cluster.sh --test   the tests of the table in docs/explanation/security.md, which start three servers of their own
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

NATS_SERVER=${NATS_SERVER:-$(scripts/nats.sh --print-path)}
export NATS_SERVER
if [ "${1:-}" = --test ]; then
  exec cargo nextest run --locked -E 'test(logins::)'
fi

for login in OPERATOR CLEANER WORKER GATEWAY PYTHON WORKER_PYTHON GATEWAY_PYTHON; do
  export "FASTAGENCY_NATS_$login=\"try it\""
done
export FASTAGENCY_NATS_ROUTE_PASSWORD=route
export FASTAGENCY_NATS_ROUTES='[ "nats-route://route:route@127.0.0.1:6231", "nats-route://route:route@127.0.0.1:6232", "nats-route://route:route@127.0.0.1:6233" ]'
data=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null || true; wait; rm -rf "$data"' EXIT
for number in 1 2 3; do
  FASTAGENCY_NATS_NAME=n$number "$NATS_SERVER" -c nats-server.cluster.conf -a 127.0.0.1 -p "423$number" \
    --cluster "nats://127.0.0.1:623$number" -sd "$data/n$number" >"$data/n$number.log" 2>&1 &
  started+=($!)
done
url=nats://127.0.0.1:4231,nats://127.0.0.1:4232,nats://127.0.0.1:4233
echo "three servers: $url"
echo "set their streams up: fastagency nats setup with"
echo "  nats: { url: \"$url\", replicas: 3, user: operator, password: try it, python: { user: python, password: try it } }"
wait
