#!/usr/bin/env bash
# Everything that can be said of the sources without running them. The rules about modules, citations and dependencies are tests
# (tests/it/floors.rs, citations.rs, dependencies.rs).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

step() { echo "== $*" >&2; "$@"; }
skip() { echo "SKIP $*" >&2; }

step cargo fmt --all --check
step cargo clippy --locked --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --locked --no-deps

if [ -x tests/page/node_modules/.bin/tsc ]; then
  step tests/page/node_modules/.bin/tsc -p tests/page/jsconfig.json
else
  skip "types of the page's modules: TypeScript is not installed (npm ci in tests/page)"
fi

if cargo deny --version >/dev/null 2>&1; then
  step cargo deny --locked check licenses bans sources
  # The advisories are a repository of their own, which not every machine reaches.
  if cargo deny fetch db >/dev/null 2>&1; then
    step cargo deny --locked check advisories
  else
    skip "cargo deny check advisories: their database cannot be reached from here"
  fi
else
  skip "cargo deny: not installed (cargo install --locked cargo-deny)"
fi
