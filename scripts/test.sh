#!/usr/bin/env bash
# Sets up what the tests need and passes them. Needs Rust; Python with pip for nats-server and AG2; Node, Chromium,
# Firefox ESR, WebKitGTK and nginx for the page.
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

# What the page's tests need of the system. They were written with these series; apt has one version at a time, so another one is
# taken where these are gone, and said.
FIREFOX="${FIREFOX:-/usr/bin/firefox-esr}"
NGINX="${NGINX:-/usr/sbin/nginx}"
export FIREFOX NGINX
page_packages() {
  find_chromium >/dev/null || echo chromium fonts-liberation
  [ -x "$FIREFOX" ] || echo firefox-esr=153.*
  [ -x /usr/bin/WebKitWebDriver ] || echo webkit2gtk-driver=2.50.*
  # WebKitGTK has no headless mode.
  [ -x /usr/bin/Xvfb ] || echo xvfb
  # A proxy before the page.
  [ -x "$NGINX" ] || echo nginx-light=1.22.*
}

install_page_packages() {
  local packages package
  packages=$(page_packages)
  [ -n "$packages" ] || return 0
  command -v apt-get >/dev/null || return 1
  { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; } || return 1
  echo "== installing" $packages >&2
  as_root apt-get update -qq >&2 || return 1
  apt_install $packages && return
  for package in $packages; do
    apt_install "$package" || { [ "${package%%=*}" != "$package" ] && echo "NOTE there is no $package: another version is taken" >&2 && apt_install "${package%%=*}"; } || true
  done
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# A real NATS server for the broker's tests.
if NATS_SERVER=$(scripts/nats.sh --print-path); then
  export NATS_SERVER
else
  unset NATS_SERVER
  skip "tests over NATS: no nats-server here, see above"
fi

# AG2 itself, with pydantic: what it makes of Python functions is compared with what we make of them.
if [ -n "${AG2_PYTHON:-}" ] || AG2_PYTHON=$(scripts/ag2-tools.sh); then
  export AG2_PYTHON
else
  unset AG2_PYTHON
  skip "the comparison of Python tools with AG2 itself: it cannot be installed, see above"
fi
# The servers whose tools are called.
scripts/mcp-servers.sh || skip "tests of some MCP servers: not here, see above"

# The page's tests: Node, the packages that tests/page names, and a browser.
page=no
if [ ! -f tests/page/package.json ]; then
  skip "tests of the page: tests/page has no package.json"
elif ! command -v npm >/dev/null; then
  skip "tests of the page: no Node here"
elif ! { install_page_packages || true; CHROMIUM=$(find_chromium); }; then
  skip "tests of the page: no Chromium here, and no right to install it (apt-get install chromium)"
else
  export CHROMIUM
  page=yes
  [ -x "$FIREFOX" ] || skip "tests of the page in Firefox: not here, and no right to install it (apt-get install firefox-esr)"
  { [ -x /usr/bin/WebKitWebDriver ] && [ -x /usr/bin/Xvfb ]; } || skip "tests of the page in WebKitGTK: not here, and no right to install it (apt-get install webkit2gtk-driver xvfb)"
  [ -x "$NGINX" ] || skip "tests of the page below a path: no nginx here, and no right to install it (apt-get install nginx-light)"
  # The browser is the one found above: none is downloaded.
  PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 step npm ci --prefix tests/page --no-audit --no-fund
fi

step scripts/check.sh

# Most of a test is waiting for a program: one more than there are cores at a time keeps them busy.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$(($(nproc) + 1))}"
if cargo nextest --version >/dev/null 2>&1; then
  step cargo nextest run --locked
else
  step cargo test --locked --lib --bins --tests
fi

# It needs the machine for itself: hundreds of conversations while servers are killed.
step cargo test --locked --test it -- --ignored --nocapture cluster::

if [ "$page" = yes ]; then
  step cargo build --locked
  export FASTAGENCY_BIN="${CARGO_TARGET_DIR:-$PWD/target}/debug/fastagency"
  step node tests/page/run.mjs
fi

for what in "${skipped[@]}"; do echo "SKIPPED $what" >&2; done
