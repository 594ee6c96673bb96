#!/usr/bin/env bash
# Build all images, or the named ones, and print their sizes.
# Usage: [REGISTRY=local] [BASE=python:3.13-slim-trixie] [TAG=0.1.0] [HEIF=true] scripts/build_images.sh [coordinator | all-in-one | resize | …]
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' services/penstock/__init__.py)
registry=${REGISTRY:-local}
tag=${TAG:-$version}
revision=$(git describe --always --dirty --abbrev=40 --match '' 2>/dev/null || echo unknown)
targets=("$@")
[[ $# -gt 0 ]] || targets=(coordinator all-in-one step resize crop rotate tile split adjust blur contact-sheet encode)

# The Dockerfile's default is the public base image; a local one is preferred.
base=${BASE:-}
if [[ -z $base ]] && docker image inspect local/python:3.13 >/dev/null 2>&1; then
    base=local/python:3.13
fi

build() {
    docker build --quiet --network=host --file services/Dockerfile --target "$1" --tag "$registry/penstock-$1:$tag" \
        ${base:+--build-arg "BASE=$base"} --build-arg "HEIF=${HEIF:-false}" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" . >/dev/null
}

# Print the size of an image in MB, and the sizes of its own layers.
measure() {
    local image=$registry/penstock-$1:$tag
    local bytes layers
    bytes=$(docker image inspect --format '{{.Size}}' "$image")
    layers=$(docker history --human=false --format '{{.Size}} {{.CreatedBy}}' "$image" |
        awk '/\/opt\/penstock/ && $1 > 0 { printf "%s%.1f %s", (n++ ? " + " : ""), $1 / 1e6, /venv/ ? "packages" : "Penstock" }')
    printf '%-40s %6.0f MB   %s\n' "$image" "$(awk "BEGIN { print $bytes / 1e6 }")" "$layers"
}

for target in "${targets[@]}"; do
    build "$target"
done
printf '%-40s %9s   %s\n' image size 'own layers, MB'
for target in "${targets[@]}"; do
    measure "$target"
done
