#!/usr/bin/env bash
# @stoplight/prism-cli 5.16.0: a property that is required and `readOnly` is not wanted of a request (OpenAPI 3.0.3, Schema Object: "If the
# property is marked as readOnly being true and is in the required list, the required will take effect on the response only"), and
# Prism keeps to that for the schema of the body. Where the schema refers to itself, the property is wanted: 422. One would guess that a
# schema means the same at each level.
# Runs Prism alone on valid requests. Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
npm install --silent --no-audit --no-fund --prefix "$folder" @stoplight/prism-cli@5.16.0
cat >"$folder/pets.yaml" <<'END'
openapi: 3.0.3
info: { title: Pets, version: "1" }
components:
  schemas:
    Pet:
      type: object
      required: [id, name]
      properties:
        id: { type: integer, readOnly: true }
        name: { type: string }
        parents: { type: array, items: { $ref: "#/components/schemas/Pet" } }
paths:
  /pets:
    post:
      requestBody: { content: { application/json: { schema: { $ref: "#/components/schemas/Pet" } } } }
      responses: { "204": { description: Good } }
END
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$folder/node_modules/.bin/prism" mock --host 127.0.0.1 --port "$port" --errors "$folder/pets.yaml" >"$folder/log" 2>&1 &
server=$!
for _ in $(seq 100); do grep -q "Prism is listening" "$folder/log" && break; sleep 0.2; done
status() {
  curl -s -o "$folder/answer" -w '%{http_code}' -H 'content-type: application/json' -d "$1" "http://127.0.0.1:$port/pets"
}
flat=$(status '{"name": "Rex"}')
deep=$(status '{"name": "Rex", "parents": [{"name": "Max"}]}'); cat "$folder/answer"; echo
echo "without parents $flat, with a parent $deep"
[ "$flat $deep" = "204 422" ]
