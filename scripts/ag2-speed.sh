#!/usr/bin/env bash
# Agent turns per second beside AG2's: the same conversations of two agents, with the same model's server, which answers at once.
# Theirs: AG2 in one Python process. Ours: one worker in one process (`fastagency all`), from the start of each run to its end, every
# message stored before the next request. Nobody watches either. Takes about two minutes of a quiet machine.
#   scripts/ag2-speed.sh [--over-nats] [--followed] [--stream] [--rounds N] [--turns N]
# With --over-nats ours is a worker, a gateway and a NATS server as shipped, each a process of its own. With --followed a client
# follows each of our runs over SSE.
# Takes FASTAGENCY_BIN (a release binary) and NATS_SERVER from the environment where they are set.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/speed-tools.sh
instant_model

packages=("ag2[openai]==0.10.2")
venv=target/ag2-venv
if [ "$(cat "$venv/installed" 2>/dev/null)" != "${packages[*]}" ]; then
  echo "ag2-speed.sh: installing ${packages[*]} into $venv" >&2
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}"
  echo "${packages[*]}" >"$venv/installed"
fi
AG2_PYTHON=$PWD/$venv/bin/python
export AG2_PYTHON

exec python3 tests/speed/turns.py "$@"
