#!/bin/sh
# Conversations of four kinds on three NATS servers, each of which is killed in turn, then the leader of each stream: how long they
# took, and what went wrong.
#   scripts/cluster.sh [CONVERSATIONS_OF_EACH_KIND_AT_ONCE]
set -eu
cd "$(dirname "$0")/.."
NATS_SERVER=${NATS_SERVER:-$(scripts/nats.sh --print-path)}
export NATS_SERVER CLUSTER_CONVERSATIONS="${1:-100}"
exec cargo test --test it cluster::conversations -- --ignored --nocapture
