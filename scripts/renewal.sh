#!/bin/sh
# Conversations over NATS with logins that end: how many failed. Ten minutes unless told otherwise.
#   scripts/renewal.sh [SECONDS [LOGIN_SECONDS [CONVERSATIONS_AT_ONCE]]]
set -eu
cd "$(dirname "$0")/.."
NATS_SERVER=${NATS_SERVER:-$(scripts/nats.sh --print-path)}
export NATS_SERVER
export RENEWAL_SECONDS="${1:-600}" RENEWAL_LOGIN_SECONDS="${2:-20}" RENEWAL_CONVERSATIONS="${3:-200}"
exec cargo test --test it renewal::a_login_that_ends -- --nocapture
