#!/usr/bin/env bash
# Installs AG2's classic package, as the comparison of Python tools needs it, and prints the path of its Python (the tests take it as
# AG2_PYTHON). With --record it writes tests/python/expected.json anew: what AG2 makes of the functions in tests/python/project.
#   export AG2_PYTHON=$(scripts/ag2-tools.sh)
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(autogen==0.14.1 pydantic==2.12.5)
venv=target/tools/ag2-tools-0.14.1
if [ "$(cat "$venv/installed" 2>/dev/null)" != "${packages[*]}" ]; then
  echo "ag2-tools.sh: installing ${packages[*]} into $venv" >&2
  rm -rf "$venv"
  mkdir -p target/tools
  python3 -m venv "$venv" >&2
  "$venv/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" >&2
  echo "${packages[*]}" >"$venv/installed"
fi
if [ "${1:-}" = --record ]; then
  "$venv/bin/python" tests/python/record.py >tests/python/expected.json
fi
echo "$PWD/$venv/bin/python"
