#!/usr/bin/env bash
# Agent turns per second beside AG2's: the same conversations of two agents, with the same model's server, which answers at once.
# Theirs: AG2 alone in one Python process. Ours: one worker, one gateway and NATS as shipped, from the start of a run to its end,
# durable, followed over SSE. Takes about four minutes of a quiet machine.
#   scripts/ag2-speed.sh [--one-process] [--unwatched] [--stream] [--rounds N] [--turns N]
# With --one-process ours is `fastagency all` with its own broker, as durable: what AG2 in one process is beside. With --unwatched
# nobody follows our runs over SSE, as nobody follows AG2's.
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
