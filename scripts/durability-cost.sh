#!/usr/bin/env bash
# What it costs that no run can be lost: `fastagency bench` with the workflow `echo` against the tiers of two programs, in turn,
# each on a NATS server of its own (the shipped nats-server.conf), the other one idle meanwhile. The bench itself is AFTER's in all rounds. Prints the conversations per second
# and the p50 and p99 from an answer to the next message of each round, and the ratio of the medians.
#
#   scripts/durability-cost.sh BEFORE AFTER [ROUNDS] [CONVERSATIONS] [CLIENTS]
#
# BEFORE and AFTER are release builds; NATS_SERVER names the server. Ends by itself.
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2,9p "$0" >&2; exit 2; }
before=$(realpath "$1") after=$(realpath "$2")
cd "$(dirname "$0")/.."
rounds=${3:-5} conversations=${4:-3000} clients=${5:-200}
nats=${NATS_SERVER:-$(scripts/nats.sh --print-path)}
folder=$(mktemp -d)
pids=()
finish() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$folder"; }
trap finish EXIT

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# A store for each: what one program makes of its streams and consumers is not always what the other expects.
declare -A nats_port
serve() { # NAME
  nats_port[$1]=$(port)
  local client=${nats_port[$1]} websocket monitor
  websocket=$(port) monitor=$(port)
  sed -e "s/127.0.0.1:4222/127.0.0.1:$client/; s/127.0.0.1:9222/127.0.0.1:$websocket/; s/127.0.0.1:8222/127.0.0.1:$monitor/" \
    -e "s#store_dir:.*#store_dir: \"$folder/$1-nats\"#" nats-server.conf >"$folder/$1-nats.conf"
  FASTAGENCY_NATS_PASSWORD=measured "$nats" -c "$folder/$1-nats.conf" >"$folder/$1-nats.log" 2>&1 & pids+=($!)
  until curl -fs "http://127.0.0.1:$monitor/healthz" >/dev/null; do sleep 0.1; done
}

measure() { # NAME PROGRAM
  local gateway_port
  gateway_port=$(port)
  mkdir -p "$folder/$1/workflows"
  cp workflows/echo.yaml "$folder/$1/workflows/"
  printf 'version: 1\nnats: { url: "nats://127.0.0.1:%s", user: fastagency, password: measured }\ngateway: { port: %s }\n' \
    "${nats_port[$1]}" "$gateway_port" >"$folder/$1/fastagency.yaml"
  # What the worker before said must not be taken for this one's.
  rm -f "$folder/$1/worker.log"
  (cd "$folder/$1"; exec "$2" worker >worker.log 2>&1) & local worker=$!
  (cd "$folder/$1"; exec "$2" gateway >gateway.log 2>&1) & local gateway=$!
  pids+=("$worker" "$gateway")
  for _ in $(seq 300); do
    if curl -fs "http://127.0.0.1:$gateway_port/readyz" >/dev/null && grep -q 'worker ready' "$folder/$1/worker.log"; then break; fi
    kill -0 "$worker" && kill -0 "$gateway" || { cat "$folder/$1"/*.log >&2; exit 1; }
    sleep 0.1
  done
  "$after" bench --gateway-url "http://127.0.0.1:$gateway_port" --workflow echo --conversations "$conversations" \
    --concurrency "$clients" --json >"$folder/$1.json"
  kill "$worker" "$gateway"
  wait "$worker" "$gateway" 2>/dev/null || true
}

figures() { python3 - "$folder/$1.json" <<'PYTHON'
import json, sys
bench = json.load(open(sys.argv[1]))["conversations"]
print(round(bench["per_second"], 1), bench["answer_to_next"]["p50_ms"], bench["answer_to_next"]["p99_ms"])
PYTHON
}

serve before
serve after
# The first of each warms disk and server up, and does not count.
measure before "$before"
measure after "$after"
rates_before=() rates_after=()
for round in $(seq "$rounds"); do
  # Who comes first changes: what the machine does meanwhile is nobody's alone.
  order=(before after)
  [ $((round % 2)) = 1 ] || order=(after before)
  for name in "${order[@]}"; do measure "$name" "${!name}"; done
  read -r rate_before p50_before p99_before < <(figures before)
  read -r rate_after p50_after p99_after < <(figures after)
  rates_before+=("$rate_before") rates_after+=("$rate_after")
  echo "round $round: before $rate_before/s (answer to next p50 $p50_before ms, p99 $p99_before ms), after $rate_after/s ($p50_after, $p99_after)"
done
python3 - "${rates_before[*]}" "${rates_after[*]}" <<'PYTHON'
import statistics, sys
before, after = (statistics.median(map(float, numbers.split())) for numbers in sys.argv[1:])
print(f"medians: {before:.1f} conversations/s before, {after:.1f} after: {100 * after / before:.0f} %")
PYTHON
