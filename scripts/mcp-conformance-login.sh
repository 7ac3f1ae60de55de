#!/usr/bin/env bash
# The client of the scenarios auth/* of scripts/mcp-conformance.sh: signs in with `fastagency login`, in a browser that agrees to all
# that it is asked (curl), and calls the tool of the server. If the server then wants another scope, it signs in once more.
#   FASTAGENCY=target/debug/fastagency scripts/mcp-conformance-login.sh URL
set -euo pipefail
url=$1
program=$(realpath "${FASTAGENCY:?the program}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# What the scenario says of the client, beside its name.
context() {
  python3 -c 'import json, os, sys; print(json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}").get(sys.argv[1], ""))' "$1"
}
id=$(context client_id) secret=$(context client_secret)
oauth=${id:+client_id: "'$id'"}${secret:+, client_secret: "'$secret'"}
login=yes
case $MCP_CONFORMANCE_SCENARIO in
  auth/client-credentials-basic) login='' oauth="flow: client_credentials, $oauth" ;;
  auth/basic-cimd) oauth="client_id: 'https://conformance-test.local/client-metadata.json'" ;;
esac

# Writes the project; the scopes are those of the server if none are named.
project() {
  local scopes=$1 all=$oauth
  [ -z "$scopes" ] || all="${all:+$all, }scopes: [${scopes// /, }]"
  printf '%s\n' 'version: 1' 'outgoing: { allow_private: [localhost, 127.0.0.1] }' \
    "mcp: { server: { url: '$url', oauth: { $all } } }" > fastagency.yaml
}

sign_in() {
  [ -n "$login" ] || return 0
  "$program" login server --no-browser 2> said &
  local process=$! address=
  while [ -z "$address" ]; do
    kill -0 "$process" 2>/dev/null || { cat said >&2; return 1; }
    address=$(sed -n 's/^  \(http\)/\1/p' said | head -1)
    [ -n "$address" ] || sleep 0.1
  done
  curl --silent --show-error --fail --location --output /dev/null "$address" || { cat said >&2; kill "$process"; return 1; }
  wait "$process" || { cat said >&2; return 1; }
}

call() { "$program" tools call server test-tool --json 2>&1; }

mkdir workflows
printf '%s\n' 'version: 1' 'name: server' 'tools: { server: { mcp: server } }' 'steps: [ { return: 1 } ]' > workflows/server.yaml
project ''
sign_in
said=$(call) && { echo "$said"; exit; }
scope=$(sed -n 's/.*the server wants the scope \\*"\([^"\\]*\).*/\1/p' <<< "$said" | head -1)
echo "$said" >&2
[ -n "$scope" ] || exit 1
project "$scope"
sign_in
call
