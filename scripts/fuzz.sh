#!/usr/bin/env bash
# Fuzzes what comes from outside: frames, messages, logs of runs, YAML that people write, answers of models' servers,
# OpenAPI specifications.
#   scripts/fuzz.sh [SECONDS [TARGET...]]     so long for each target (default 600, all of them)
# Needs cargo-fuzz (cargo install --locked cargo-fuzz) and a C++ compiler. What crashes is kept in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/toolchain.sh

seconds=${1:-600}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(frames messages openapi records sse yaml)

# The sanitizers' flags are not stable; this makes the pinned compiler take them.
export RUSTC_BOOTSTRAP=1
for target in "${targets[@]}"; do
  corpus=fuzz/corpus/$target
  mkdir -p "$corpus"
  case $target in
    yaml) cp workflows/*.yaml tests/samples/*.yaml tests/broken/*.yaml "$corpus/" ;;
    frames | messages) awk -v to="$corpus/" '{ print > (to NR ".json") }' tests/wire/*.jsonl ;;
    openapi | sse) cp "fuzz/seeds/$target/"* "$corpus/" ;;
    # Whole histories, and each record of them alone.
    records)
      cp tests/histories/*.jsonl fuzz/seeds/records/*.jsonl "$corpus/"
      awk -v to="$corpus/" '{ print > (to NR ".json") }' tests/histories/*.jsonl
      ;;
  esac
  echo "== fuzz $target for $seconds s" >&2
  # Without a sanitizer of memory: there is no unsafe code here, and panics are found all the same.
  cargo fuzz run --sanitizer none "$target" -- -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=16384
done
