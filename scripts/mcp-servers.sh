#!/usr/bin/env bash
# Installs the MCP servers that tests/it/mcp.rs talks to, and the authorization server of tests/it/mcp/logins.rs, each into a folder of its own below target/tools.
#   scripts/mcp-servers.sh     what is there already stays; what cannot be installed is said, and its tests are skipped by name
set -uo pipefail
cd "$(dirname "$0")/.."

say() { echo "mcp-servers.sh: $*" >&2; }
missing=0

# An environment of Python with one package of one version.
python_package() {
  local name=$1 version=$2 home="target/tools/$1-$2" fresh
  [ -x "$home/bin/python" ] && [ -e "$home/.complete" ] && return
  say "installing $name $version into $home"
  rm -rf "$home"
  mkdir -p target/tools
  if python3 -m venv "$home" && "$home/bin/pip" install --quiet --disable-pip-version-check "$name==$version" >&2; then
    touch "$home/.complete"
  else
    say "$name $version cannot be installed (it needs Python 3.10 or later, with venv and pip)"
    missing=1
  fi
}

# A folder with one package of one version.
node_package() {
  local name=$1 version=$2 home="target/tools/$3-$2"
  [ -e "$home/.complete" ] && return
  command -v npm >/dev/null || { say "$name $version needs Node and npm"; missing=1; return; }
  say "installing $name $version into $home"
  mkdir -p "$home"
  if npm install --prefix "$home" --no-audit --no-fund --loglevel=error "$name@$version" >&2; then
    touch "$home/.complete"
  else
    say "$name $version cannot be installed"
    missing=1
  fi
}

python_package mcp 2.3.0
python_package mcp 1.28.1
python_package fastmcp 4.2.3
node_package @modelcontextprotocol/server-everything 2026.8.31 mcp-everything
node_package oidc-provider 8.8.1 oidc-provider
exit "$missing"
