#!/usr/bin/env bash
# @stoplight/prism-cli 5.16.0: an array in the query with `style: spaceDelimited` and `explode: false`, written as the specification
# has it (`ids=1%202`, OpenAPI 3.0.3, Style Examples), is refused with 422: Prism takes it for one text, and it is no integer. The same array with
# `pipeDelimited` (`ids=1%7C2`) is taken. One would guess that a server that splits the one splits the other.
# Runs Prism alone on valid requests. Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" @stoplight/prism-cli@5.16.0
parameter() {
  printf '      parameters:\n        - { name: ids, in: query, required: true, style: %s, explode: false, schema: { type: array, items: { type: integer } } }\n' "$1"
}
{
  printf 'openapi: 3.0.3\ninfo: { title: Lists, version: "1" }\npaths:\n'
  for style in spaceDelimited pipeDelimited form; do
    printf '  /%s:\n    get:\n' "$style"
    parameter "$style"
    printf '      responses: { "200": { description: Good, content: { application/json: { schema: { type: object } } } } }\n'
  done
} > "$folder/lists.yaml"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$folder/node_modules/.bin/prism" mock --host 127.0.0.1 --port "$port" --errors "$folder/lists.yaml" > "$folder/log" 2>&1 &
server=$!
for _ in $(seq 100); do grep -q "Prism is listening" "$folder/log" && break; sleep 0.2; done
status() { curl -s -o "$folder/answer" -w '%{http_code}' "http://127.0.0.1:$port/$1"; }
space=$(status 'spaceDelimited?ids=1%202'); cat "$folder/answer"; echo
pipe=$(status 'pipeDelimited?ids=1%7C2')
form=$(status 'form?ids=1,2')
echo "spaceDelimited $space, pipeDelimited $pipe, form $form"
[ "$space $pipe $form" = "422 200 200" ]
