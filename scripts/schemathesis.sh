#!/usr/bin/env bash
# Throws made-up requests at every operation of /openapi.json, in each auth mode: no 500, and no answer that is not described.
#   scripts/schemathesis.sh [SECONDS [MODE...]]     so long for each mode (default 60, all of them)
# Needs Python with pip, openssl, and the program ($FASTAGENCY_BIN, or target/debug/fastagency).
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
shift || true
only=" $* "
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
provider=
cleanup() {
  for one in $child $provider; do kill "$one" 2>/dev/null || true; wait "$one" 2>/dev/null || true; done
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

# An OpenID provider, as far as a gateway asks one: files that say who it is and which key it signs with (RS256).
issuer="http://127.0.0.1:$((port + 2))"
mkdir -p "$folder/provider/.well-known"
openssl genrsa -out "$folder/provider.pem" 2048 2>/dev/null
modulus=$(openssl rsa -in "$folder/provider.pem" -noout -modulus | sed 's/^Modulus=//' | python3 -c 'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read().strip()))' | b64)
printf '{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":"k","n":"%s","e":"AQAB"}]}' "$modulus" >"$folder/provider/keys"
printf '{"issuer":"%s","authorization_endpoint":"%s/authorize","token_endpoint":"%s/token","jwks_uri":"%s/keys"}' \
  "$issuer" "$issuer" "$issuer" "$issuer" >"$folder/provider/.well-known/openid-configuration"
head=$(printf '{"alg":"RS256","typ":"JWT","kid":"k"}' | b64)
body=$(printf '{"iss":"%s","aud":"fastagency","sub":"alice","exp":%s}' "$issuer" "$(($(date +%s) + 86400))" | b64)
id_token="$head.$body.$(printf '%s.%s' "$head" "$body" | openssl dgst -sha256 -sign "$folder/provider.pem" -binary | b64)"
python3 -m http.server "$((port + 2))" --bind 127.0.0.1 --directory "$folder/provider" >/dev/null 2>&1 &
provider=$!

# Whoever may do everything gets an answer everywhere.
admins='admins: { users: [alice, tester] }'

failed=()
# The live tail of the audit never ends, and is left aside: one request there would take all the time.
try() {
  local mode=$1 auth=$2
  shift 2
  case $only in "  " | *" $mode "*) ;; *) return 0 ;; esac
  printf 'version: 1\nauth: %s\n' "$auth" >"$folder/fastagency.yaml"
  (cd "$folder" && exec "$program" all --port "$port" --ui-port "$((port + 1))" --data-dir "$folder/data-$mode" --mock-llm) \
    >"$folder/$mode.log" 2>&1 &
  child=$!
  for _ in $(seq 100); do grep -q 'worker ready' "$folder/$mode.log" && break; sleep 0.1; done
  if ! grep -q 'worker ready' "$folder/$mode.log"; then
    echo "schemathesis.sh: the program does not start with auth.mode $mode:" >&2
    cat "$folder/$mode.log" >&2
    failed+=("$mode")
    return 0
  fi
  # Where nobody is asked who calls, the token of the admin link is what opens everything.
  if [ "$mode" = none ]; then set -- "$@" --header "Authorization: Bearer $(cat "$folder/data-none/admin-token")"; fi
  echo "== schemathesis: auth.mode $mode" >&2
  "$tool/bin/schemathesis" run "http://127.0.0.1:$port/openapi.json" --max-time "$seconds" --continue-on-failure \
    --phases examples,coverage,fuzzing --request-timeout 70 --no-color --warnings off "$@" \
    --exclude-path /api/audit/events \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
    || failed+=("$mode")
  kill "$child"; wait "$child" || true; child=
}

try none '{ mode: none }'
try basic "{ mode: basic, file: access.yaml, $admins, token: { secret: \"$secret\" } }" --auth 'alice:correct horse'
try api_key "{ mode: api_key, file: access.yaml, $admins }" --header "Authorization: Bearer $key"
try jwt "{ mode: jwt, $admins, jwt: { algorithms: [HS256], secret: \"$secret\" } }" --header "Authorization: Bearer $token"
try oidc "{ mode: oidc, $admins, oidc: { issuer: \"$issuer\", client_id: fastagency } }" --header "Authorization: Bearer $id_token"
# The proxy that says who calls is 127.0.0.2; what comes from this machine is believed about that.
try trusted_header "{ mode: trusted_header, $admins, proxies: [127.0.0.1], trusted_header: { user: X-User, from: [127.0.0.2] } }" \
  --header 'X-User: alice' --header 'X-Forwarded-For: 127.0.0.2'
# Nobody says who he is.
try basic-unknown '{ mode: basic, file: access.yaml }'

if [ ${#failed[@]} -gt 0 ]; then
  echo "schemathesis.sh: failed in ${failed[*]}" >&2
  exit 1
fi
echo "schemathesis.sh: nothing found" >&2
