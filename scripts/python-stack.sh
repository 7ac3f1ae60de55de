#!/usr/bin/env bash
# Installs FastAgency's own Python stack into target/dropin-venv, and prints the path of the Python that has it.
set -euo pipefail
cd "$(dirname "$0")/.."

# sniffio: FastAgency 0.10.2 needs it and does not name it. requests: from 2.33 on it keeps the two slashes in
# FastAPIProvider's //fastagency/discovery, which FastAgency's own gateway does not know.
packages=("fastagency[fastapi,server,nats]==0.10.2" sniffio "requests<2.33")
venv=target/dropin-venv
if [ "$(cat "$venv/installed" 2>/dev/null)" != "${packages[*]}" ]; then
  echo "python-stack.sh: installing ${packages[*]} into $venv" >&2
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" >&2
  echo "${packages[*]}" >"$venv/installed"
fi
echo "$PWD/$venv/bin/python"
