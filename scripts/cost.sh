#!/usr/bin/env bash
# What it costs to be asked who calls and to be counted: `fastagency bench` against tiers with auth.mode none that show no
# figures, and against tiers with auth.mode jwt whose figures are scraped, in turn, on one NATS server. (The audit is the log
# itself: it is there in both.) Prints the conversations per second of each round and the ratio
# of the medians.
#
#   scripts/cost.sh [ROUNDS] [CONVERSATIONS] [CLIENTS]
#   COST_OF=vouching scripts/cost.sh …     what it costs that a gateway vouches and the worker insists, instead
#
# FASTAGENCY_BIN names the program (default target/release/fastagency), NATS_SERVER the server.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5} conversations=${2:-3000} clients=${3:-200}
bin=$(realpath "${FASTAGENCY_BIN:-target/release/fastagency}")
nats=${NATS_SERVER:-$(scripts/nats.sh --print-path)}
folder=$(mktemp -d)
pids=()
finish() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$folder"; }
trap finish EXIT

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
nats_port=$(port)
"$nats" -js -a 127.0.0.1 -p "$nats_port" -sd "$folder/nats" >"$folder/nats.log" 2>&1 & pids+=($!)

mkdir "$folder/workflows"
cp workflows/echo.yaml "$folder/workflows/"
secret=the-secret-of-a-measurement-and-of-nothing-else
b64() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
claims="$(printf '{"alg":"HS256","typ":"JWT"}' | b64).$(printf '{"sub":"bench","exp":%d}' $(($(date +%s) + 7200)) | b64)"
token="$claims.$(printf %s "$claims" | openssl dgst -sha256 -hmac "$secret" -binary | b64)"

what=${COST_OF:-jwt and metrics}
vouching=
if [ "$what" = vouching ]; then
  # A gateway says its public key when it starts.
  vouch_key=the-vouch-key-of-a-measurement-and-of-nothing-else
  printf 'version: 1\nnats: { url: "nats://127.0.0.1:%s" }\ngateway: { port: %s, vouch_key: %s }\n' "$nats_port" "$(port)" "$vouch_key" >"$folder/fastagency.yaml"
  (cd "$folder"; exec "$bin" gateway 2>"$folder/key.log" >/dev/null) & key_pid=$!
  until public=$(sed -n 's/.*worker.believes: \[\([^]]*\)\].*/\1/p' "$folder/key.log") && [ -n "$public" ]; do kill -0 "$key_pid"; sleep 0.1; done
  kill "$key_pid"; wait "$key_pid" 2>/dev/null || true
  vouching=$(printf 'worker: { believes: [%s] }' "$public")
fi

# Two sets of tiers would share the queue: each pair lives only while it is measured.
measure() { # off|on
  local gateway_port key="" more="" vouch=""
  gateway_port=$(port)
  if [ "$1" = on ] && [ "$what" = vouching ]; then
    more="$vouching" vouch=$vouch_key
  elif [ "$1" = on ]; then
    more="auth: { mode: jwt, jwt: { algorithms: [HS256], secret: $secret } }"
    key=$token
  fi
  printf 'version: 1\nnats: { url: "nats://127.0.0.1:%s" }\ngateway: { port: %s%s }\n%s\n' "$nats_port" "$gateway_port" "${vouch:+, vouch_key: $vouch}" "$more" >"$folder/fastagency.yaml"
  local worker_metrics="" gateway_metrics=""
  if [ "$1" = on ] && [ "$what" != vouching ]; then worker_metrics="127.0.0.1:$(port)"; gateway_metrics="127.0.0.1:$(port)"; fi
  # What the worker before said must not be taken for this one's.
  rm -f "$folder/worker.log"
  (cd "$folder"; exec "$bin" worker ${worker_metrics:+--metrics-listen "$worker_metrics"} 2>"$folder/worker.log" >/dev/null) & local worker=$!
  (cd "$folder"; exec "$bin" gateway ${gateway_metrics:+--metrics-listen "$gateway_metrics"} 2>"$folder/gateway.log" >/dev/null) & local gateway=$!
  pids+=("$worker" "$gateway")
  until curl -fs "http://127.0.0.1:$gateway_port/readyz" >/dev/null && grep -q 'worker ready' "$folder/worker.log"; do sleep 0.1; done
  # Scraped as Prometheus does it by default, and oftener.
  local scraper=""
  if [ -n "$worker_metrics" ]; then
    (while sleep 5; do curl -fs "http://$worker_metrics/metrics" "http://$gateway_metrics/metrics" >/dev/null || true; done) & scraper=$!
    pids+=("$scraper")
  fi
  FASTAGENCY_KEY=$key "$bin" bench --gateway-url "http://127.0.0.1:$gateway_port" --workflow echo --conversations "$conversations" --concurrency "$clients" --json >"$folder/bench.json"
  [ -z "$scraper" ] || kill "$scraper"
  kill "$worker" "$gateway"
  wait "$worker" "$gateway" 2>/dev/null || true
}

rate() { python3 -c 'import json, sys; print(round(json.load(open(sys.argv[1]))["conversations"]["per_second"], 1))' "$folder/bench.json"; }
off=() on=()
measure off # the first warms the disk and the server up, and does not count
for round in $(seq "$rounds"); do
  measure off; off+=("$(rate)")
  measure on; on+=("$(rate)")
  echo "round $round: ${off[-1]} conversations/s with nothing, ${on[-1]} with $what"
done
python3 - "${off[*]}" "${on[*]}" "$what" <<'PYTHON'
import statistics, sys
off, on = (statistics.median(map(float, numbers.split())) for numbers in sys.argv[1:3])
print(f"medians: {off:.1f} with nothing, {on:.1f} with {sys.argv[3]}: {100 * on / off:.0f} %")
PYTHON
