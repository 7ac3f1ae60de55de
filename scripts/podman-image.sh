#!/usr/bin/env bash
# Builds the image of which the tests of `sandbox: podman` start their containers, from nothing but a static busybox, and prints its name:
#   export FASTAGENCY_PODMAN_IMAGE=$(scripts/podman-image.sh)
# Needs podman and busybox-static (both from apt), and no network.
set -euo pipefail
name=localhost/fastagency-sandbox
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$(command -v busybox)" "$folder/busybox"
mkdir "$folder/bin"
"$folder/busybox" --install -s "$folder/bin"
# The links are to the program's place in the image.
for link in "$folder"/bin/*; do ln -sf busybox "$link"; done
mv "$folder/busybox" "$folder/bin/busybox"
printf 'FROM scratch\nCOPY bin /bin\nENV PATH=/bin\n' > "$folder/Containerfile"
podman build --quiet --network none --tag "$name" "$folder" >&2
echo "$name"
