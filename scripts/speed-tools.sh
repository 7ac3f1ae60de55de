# What the measurements need: a release binary, a NATS server, and the model's server that answers at once. To be sourced.
NATS_SERVER=${NATS_SERVER:-$(scripts/nats.sh --print-path)}
export NATS_SERVER
if [ -z "${FASTAGENCY_BIN:-}" ]; then
  cargo build --locked --release
  FASTAGENCY_BIN="${CARGO_TARGET_DIR:-$PWD/target}/release/fastagency"
fi
FASTAGENCY_BIN=$(realpath "$FASTAGENCY_BIN")
export FASTAGENCY_BIN
mkdir -p target
if [ ! target/instant_model -nt examples/instant_model.rs ]; then
  rustc --edition 2024 -O examples/instant_model.rs -o target/instant_model
fi
