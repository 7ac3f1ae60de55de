#!/usr/bin/env bash
# Builds the image of which the tests of `sandbox: podman` and `sandbox: docker` start their containers, from nothing but a static
# busybox, and prints its name:
#   export FASTAGENCY_PODMAN_IMAGE=$(scripts/container-image.sh podman)
#   export FASTAGENCY_DOCKER_IMAGE=$(scripts/container-image.sh docker)
# Needs podman, or docker with a running daemon, and busybox-static (all from apt), and no network.
set -euo pipefail
case ${1:-} in
  podman) name=localhost/fastagency-sandbox ;;
  docker) name=fastagency-sandbox ;;
  *) echo "container-image.sh: say for whom: podman or docker" >&2; exit 2 ;;
esac
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$(command -v busybox)" "$folder/busybox"
mkdir "$folder/bin"
"$folder/busybox" --install -s "$folder/bin"
# The links are to the program's place in the image.
for link in "$folder"/bin/*; do ln -sf busybox "$link"; done
mv "$folder/busybox" "$folder/bin/busybox"
printf 'FROM scratch\nCOPY bin /bin\nENV PATH=/bin\n' > "$folder/Containerfile"
"$1" build --quiet --network none --tag "$name" --file "$folder/Containerfile" "$folder" >&2
echo "$name"
