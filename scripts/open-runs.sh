#!/usr/bin/env bash
# What open conversations weigh: opens many over FastAgency's sockets, keeps them all waiting for an answer, answers them, and
# prints what worker and gateway hold of memory meanwhile. Usage: scripts/open-runs.sh PROGRAM [CONVERSATIONS]
# Each needs a file in the gateway and one in the client: see `ulimit -n`.
set -euo pipefail
program=$(realpath "$1")
conversations=${2:-10000}
cd "$(dirname "$0")/.."
nats=${NATS_SERVER:-$(scripts/nats.sh --print-path)}
folder=$(mktemp -d)
pids=()
finish() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$folder"; }
trap finish EXIT
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
nats_port=$(port) gateway_port=$(port) worker_figures=$(port) gateway_figures=$(port)
ulimit -n "$(ulimit -Hn)"
"$nats" -js -a 127.0.0.1 -p "$nats_port" -sd "$folder/nats" >"$folder/nats.log" 2>&1 & pids+=($!)
mkdir "$folder/workflows"
cp workflows/echo.yaml "$folder/workflows/"
# As in production: figures on, and runs stay in memory all the while.
printf 'version: 1\nnats: { url: "nats://127.0.0.1:%s" }\nworker: { park_after: 1h, max_runs: %s }\n' "$nats_port" "$conversations" >"$folder/fastagency.yaml"
(cd "$folder"; exec "$program" worker --metrics-listen "127.0.0.1:$worker_figures" >worker.log 2>&1) & worker=$!; pids+=("$worker")
(cd "$folder"; exec "$program" gateway --port "$gateway_port" --metrics-listen "127.0.0.1:$gateway_figures" >gateway.log 2>&1) & gateway=$!; pids+=("$gateway")
until curl -fs "http://127.0.0.1:$gateway_port/readyz" >/dev/null && grep -q 'worker ready' "$folder/worker.log"; do sleep 0.1; done

mb() { awk -v what="$2:" '$1 == what { printf "%.1f", $2 / 1024 }' "/proc/$1/status"; }
waiting() { curl -fs "http://127.0.0.1:$worker_figures/metrics" | awk '/^fastagency_worker_runs{.*state="waiting"}/ { print $2 }'; }
echo "idle: worker $(mb "$worker" VmRSS) MB, gateway $(mb "$gateway" VmRSS) MB"
"$program" bench --gateway-url "http://127.0.0.1:$gateway_port" --workflow echo -n "$conversations" -j 200 --hold --hold-for 15s --timeout 180s >"$folder/bench.log" 2>&1 & bench=$!
until [ "$(waiting)" = "$conversations" ]; do kill -0 "$bench" || { cat "$folder/bench.log"; exit 1; }; sleep 0.5; done
sleep 5
worker_mb=$(mb "$worker" VmRSS) gateway_mb=$(mb "$gateway" VmRSS)
echo "all $conversations wait: worker $worker_mb MB + gateway $gateway_mb MB = $(python3 -c "print(round($worker_mb + $gateway_mb, 1))") MB"
wait "$bench" && ended=0 || ended=$?
cat "$folder/bench.log"
echo "at most: worker $(mb "$worker" VmHWM) MB, gateway $(mb "$gateway" VmHWM) MB"
exit "$ended"
