# Sourced by the scripts that call cargo, from the root of the repository.
# rust-toolchain.toml asks rustup for a version by its number. A machine may have that version under another name only, such as
# `stable`, and no way to download it again: then RUSTUP_TOOLCHAIN names it. Without rustup nothing happens.
use_pinned_toolchain() {
  command -v rustup >/dev/null && [ -z "${RUSTUP_TOOLCHAIN:-}" ] || return 0
  local pinned installed name
  pinned=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
  installed=$(rustup toolchain list | awk '{ print $1 }')
  for name in $installed; do
    case $name in "$pinned" | "$pinned"-*) return 0 ;; esac
  done
  for name in $installed; do
    case $(RUSTUP_TOOLCHAIN=$name rustc --version 2>/dev/null) in
      "rustc $pinned "*) export RUSTUP_TOOLCHAIN=$name; return 0 ;;
    esac
  done
}
use_pinned_toolchain
unset -f use_pinned_toolchain
