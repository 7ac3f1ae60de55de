# What the measurements need: a release binary and a NATS server. To be sourced. What they start and end is in tests/speed/tiers.py.
. scripts/toolchain.sh
NATS_SERVER=${NATS_SERVER:-$(scripts/nats.sh --print-path)}
export NATS_SERVER
if [ -z "${FASTAGENCY_BIN:-}" ]; then
  cargo build --locked --release
  FASTAGENCY_BIN="${CARGO_TARGET_DIR:-$PWD/target}/release/fastagency"
fi
FASTAGENCY_BIN=$(realpath "$FASTAGENCY_BIN")
export FASTAGENCY_BIN

# The model's server that answers at once.
instant_model() {
  mkdir -p target
  if [ ! target/instant_model -nt examples/instant_model.rs ]; then
    rustc --edition 2024 -O examples/instant_model.rs -o target/instant_model
  fi
}
