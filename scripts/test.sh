#!/usr/bin/env bash
# Sets up what the tests need and passes them. Needs Rust; Python with pip for nats-server, Node and Chromium for the page.
# What cannot be had here is skipped by name, at the place and once more at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

skipped=()
step() { echo "== $*" >&2; "$@"; }
skip() { echo "SKIP $*" >&2; skipped+=("$*"); }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

find_chromium() {
  local name
  for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
    if [ -n "$name" ] && command -v "$name"; then return; fi
  done
  return 1
}

install_chromium() {
  command -v apt-get >/dev/null || return 1
  { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; } || return 1
  echo "== installing chromium" >&2
  { as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-liberation; } >&2
}

# A real NATS server for the broker's tests.
if NATS_SERVER=$(scripts/nats.sh --print-path); then
  export NATS_SERVER
else
  unset NATS_SERVER
  skip "tests over NATS: no nats-server here, see above"
fi

# The page's tests: Node, the packages that tests/page names, and a browser.
page=no
if [ ! -f tests/page/package.json ]; then
  skip "tests of the page: tests/page has no package.json"
elif ! command -v npm >/dev/null; then
  skip "tests of the page: no Node here"
elif ! CHROMIUM=$(find_chromium) && ! { install_chromium && CHROMIUM=$(find_chromium); }; then
  skip "tests of the page: no Chromium here, and no right to install it (apt-get install chromium)"
else
  export CHROMIUM
  page=yes
  # The browser is the one found above: none is downloaded.
  PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 step npm ci --prefix tests/page --no-audit --no-fund
fi

step scripts/check.sh

if cargo nextest --version >/dev/null 2>&1; then
  step cargo nextest run --locked
else
  step cargo test --locked --lib --bins --tests
fi

if [ "$page" = yes ]; then
  step cargo build --locked
  export FASTAGENCY_BIN="${CARGO_TARGET_DIR:-$PWD/target}/debug/fastagency"
  step node tests/page/run.mjs
fi

for what in "${skipped[@]}"; do echo "SKIPPED $what" >&2; done
