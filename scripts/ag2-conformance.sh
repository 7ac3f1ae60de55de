#!/usr/bin/env bash
# Plays recorded AG2 conversations (tests/ag2, or a folder of recordings) and reports every difference.
# scripts/ag2-conformance.sh [FOLDER]: exits with 1 if one failed; the last line is `passed N of M`.
set -euo pipefail

[[ -z "${1:-}" ]] || AG2_TRACES=$(realpath "$1")
[[ -z "${AG2_TRACES:-}" ]] || export AG2_TRACES
AG2_REPORT=$(mktemp)
log=$(mktemp)
export AG2_REPORT
trap 'rm -f "$AG2_REPORT" "$log"' EXIT

cd "$(dirname "$0")/.."
. scripts/toolchain.sh
outcome=0
cargo test --quiet --test it -- --exact ag2::agents_talk_as_they_do_in_ag2 >"$log" 2>&1 || outcome=1
if [[ ! -s "$AG2_REPORT" ]]; then
  # It was not even begun.
  cat "$log" >&2
  exit 1
fi
cat "$AG2_REPORT"
exit "$outcome"
