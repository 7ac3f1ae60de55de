#!/usr/bin/env bash
# Load that goes on while what has ended is removed: `fastagency bench` with the workflow `echo` over NATS, first with `keep_ended`
# as it is by default (nothing is removed meanwhile), then with a short one. Prints for each window the conversations per
# second, and the size of the store at its end; and at last the ratio of the medians, and how many runs were removed.
#
#   scripts/steady.sh [SECONDS] [CLIENTS] [CONVERSATIONS IN A WINDOW]     180 s of each, 200 clients, windows of 5000
#
# KEEP_ENDED (default 10s); FASTAGENCY_BIN names the program (default target/release/fastagency), NATS_SERVER the server. A steady
# state needs some tours of the worker, which come every 30 s: at least two minutes. Ends by itself.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-180} clients=${2:-200} window=${3:-5000}
bin=$(realpath "${FASTAGENCY_BIN:-target/release/fastagency}")
nats=${NATS_SERVER:-$(scripts/nats.sh --print-path)}
folder=$(mktemp -d)
pids=()
finish() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$folder"; }
trap finish EXIT

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

phase() { # NAME KEEP_ENDED
  local here="$folder/$1" client monitor websocket gateway_port
  client=$(port) monitor=$(port) websocket=$(port) gateway_port=$(port)
  mkdir -p "$here/workflows"
  cp workflows/echo.yaml "$here/workflows/"
  sed -e "s/127.0.0.1:4222/127.0.0.1:$client/; s/127.0.0.1:9222/127.0.0.1:$websocket/; s/127.0.0.1:8222/127.0.0.1:$monitor/" \
    -e "s#store_dir:.*#store_dir: \"$here/nats\"#" nats-server.conf >"$here/nats.conf"
  FASTAGENCY_NATS_PASSWORD=measured "$nats" -c "$here/nats.conf" >"$here/nats.log" 2>&1 & local server=$!
  pids+=("$server")
  until curl -fs "http://127.0.0.1:$monitor/healthz" >/dev/null; do sleep 0.1; done
  printf 'version: 1\nnats: { url: "nats://127.0.0.1:%s", user: fastagency, password: measured }\ngateway: { port: %s }\nkeep_ended: %s\n' \
    "$client" "$gateway_port" "$2" >"$here/fastagency.yaml"
  (cd "$here"; exec "$bin" worker >worker.log 2>&1) & local worker=$!
  (cd "$here"; exec "$bin" gateway >gateway.log 2>&1) & local gateway=$!
  pids+=("$worker" "$gateway")
  until curl -fs "http://127.0.0.1:$gateway_port/readyz" >/dev/null && grep -q 'worker ready' "$here/worker.log"; do
    kill -0 "$worker" && kill -0 "$gateway" || { cat "$here"/*.log >&2; exit 1; }
    sleep 0.1
  done
  python3 - "$1" "$bin" "$gateway_port" "$monitor" "$seconds" "$clients" "$window" "$here" <<'PYTHON'
import json, re, subprocess, sys, time, urllib.request

name, bin, gateway, monitor, seconds, clients, window, here = sys.argv[1:]
bench = [bin, "bench", "--gateway-url", f"http://127.0.0.1:{gateway}", "--workflow", "echo",
         "--conversations", window, "--concurrency", clients, "--json"]
begun, rates = time.monotonic(), []
while time.monotonic() - begun < float(seconds):
    done = subprocess.run(bench, capture_output=True, text=True)
    figures = json.loads(done.stdout)["conversations"]
    if figures["errors"] or figures["crossed"]:
        sys.exit(f"{name}: {figures}")
    rates.append(figures["per_second"])
    with urllib.request.urlopen(f"http://127.0.0.1:{monitor}/jsz?streams=true") as answer:
        jsz = json.load(answer)
    streams = [stream for account in jsz["account_details"] for stream in account["stream_detail"]]
    runs = next(stream["state"] for stream in streams if stream["name"] == "FA_RUNS")
    removed = sum(int(count) for count in re.findall(r", (\d+) removed", open(f"{here}/worker.log").read()))
    print(f"{name:12} {time.monotonic() - begun:4.0f} s: {figures['per_second']:7.1f}/s, answer to next p99 {figures['answer_to_next']['p99_ms']:.0f} ms;"
          f" FA_RUNS {runs['messages']} messages, {runs['bytes'] / 1e6:.0f} MB; all streams {jsz['bytes'] / 1e6:.0f} MB; {removed} removed", flush=True)
with open(f"{here}/rates", "w") as out:
    print(*rates, file=out)
PYTHON
  grep -o 'went round .*' "$here/worker.log" | sed "s/^/$1: /" || true
  kill "$worker" "$gateway"
  wait "$worker" "$gateway" 2>/dev/null || true
  kill "$server"
  wait "$server" 2>/dev/null || true
}

phase "kept" 30d
phase "removed" "${KEEP_ENDED:-10s}"
python3 - "$folder/kept/rates" "$folder/removed/rates" <<'PYTHON'
import statistics, sys
# The first window of each warms everything up.
kept, removed = ([float(rate) for rate in open(path).read().split()] for path in sys.argv[1:])
kept, removed = (statistics.median(rates[1:] or rates) for rates in (kept, removed))
print(f"medians: {kept:.1f} conversations/s while all is kept, {removed:.1f} while what has ended is removed: {100 * removed / kept:.0f} %")
PYTHON
