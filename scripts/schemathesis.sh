#!/usr/bin/env bash
# Throws made-up requests at every operation of /openapi.json, in each auth mode: no 500, and no answer that is not described.
#   scripts/schemathesis.sh [SECONDS]     so long for each mode (default 60)
# Needs Python with pip, and the program ($FASTAGENCY_BIN, or target/debug/fastagency).
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
version=4.32.5
port=${PORT:-18981}
tool=target/tools/schemathesis-$version
program=${FASTAGENCY_BIN:-$PWD/target/debug/fastagency}

if [ ! -x "$tool/bin/schemathesis" ]; then
  echo "schemathesis.sh: installing schemathesis $version into $tool" >&2
  python3 -m venv "$tool"
  "$tool/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
fi

folder=$(mktemp -d)
child=
cleanup() {
  if [ -n "$child" ]; then kill "$child" 2>/dev/null || true; wait "$child" 2>/dev/null || true; fi
  rm -rf "$folder"
}
trap cleanup EXIT
mkdir "$folder/workflows"
cat >"$folder/workflows/echo.yaml" <<'YAML'
version: 1
name: echo
params: { type: object, properties: { text: { type: string } } }
steps:
  - return: "{{ params.text }}"
YAML
cat >"$folder/workflows/ask.yaml" <<'YAML'
version: 1
name: ask
steps:
  - id: said
    text_input: { prompt: "What shall I say?" }
  - return: "{{ steps.said }}"
YAML
printf 'version: 1\n' >"$folder/fastagency.yaml"
(cd "$folder" && echo 'correct horse' | "$program" user add alice --file access.yaml >/dev/null)
key=$(cd "$folder" && "$program" key add tester --user tester --file access.yaml 2>/dev/null)
# A token of the test's own issuer (HS256).
secret='a secret of this script, long enough'
b64() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
head=$(printf '{"alg":"HS256","typ":"JWT"}' | b64)
body=$(printf '{"sub":"alice","exp":%s}' "$(($(date +%s) + 86400))" | b64)
token="$head.$body.$(printf '%s.%s' "$head" "$body" | openssl dgst -sha256 -hmac "$secret" -binary | b64)"

failed=()
try() {
  local mode=$1 auth=$2
  shift 2
  printf 'version: 1\nauth: %s\n' "$auth" >"$folder/fastagency.yaml"
  (cd "$folder" && exec "$program" all --port "$port" --ui-port "$((port + 1))" --data-dir "$folder/data-$mode" --mock-llm) \
    >"$folder/$mode.log" 2>&1 &
  child=$!
  for _ in $(seq 100); do grep -q 'worker ready' "$folder/$mode.log" && break; sleep 0.1; done
  echo "== schemathesis: auth.mode $mode" >&2
  "$tool/bin/schemathesis" run "http://127.0.0.1:$port/openapi.json" --max-time "$seconds" --continue-on-failure \
    --phases examples,coverage,fuzzing --request-timeout 70 --no-color --warnings off "$@" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    || failed+=("$mode")
  kill "$child"; wait "$child" || true; child=
}

try none '{ mode: none }'
try basic "{ mode: basic, file: access.yaml, token: { secret: \"$secret\" } }" --auth 'alice:correct horse'
try api_key '{ mode: api_key, file: access.yaml }' --header "Authorization: Bearer $key"
try jwt "{ mode: jwt, jwt: { algorithms: [HS256], secret: \"$secret\" } }" --header "Authorization: Bearer $token"
try trusted_header '{ mode: trusted_header, trusted_header: { user: X-User, from: [127.0.0.0/8] } }' --header 'X-User: alice'
# Nobody says who he is.
try basic-unknown '{ mode: basic, file: access.yaml }'

if [ ${#failed[@]} -gt 0 ]; then
  echo "schemathesis.sh: failed in ${failed[*]}" >&2
  exit 1
fi
echo "schemathesis.sh: nothing found" >&2
