#!/usr/bin/env bash
# Takes the binaries and bills of materials out of an image that `cargo xtask image` made, so that a release's files are
# those of its image: unpack-image.sh ARCHIVE VERSION DIRECTORY
set -euo pipefail
archive=$1 version=$2 directory=$3

layout=$(mktemp -d)
trap 'rm -rf "$layout"' EXIT
tar -xf "$archive" -C "$layout"

# The file of a blob, by its digest.
blob() {
  echo "$layout/blobs/${1/://}"
}

mkdir -p "$directory"
index=$(jq -er '.manifests[0].digest' "$layout/index.json")
platforms=$(jq -er '.manifests[] | .platform.architecture + " " + .digest' "$(blob "$index")")
while read -r architecture manifest; do
  layer=$(jq -er '.layers[0].digest' "$(blob "$manifest")")
  name=$directory/podgate-$version-linux-$architecture
  tar -xzf "$(blob "$layer")" -O usr/bin/podgate > "$name"
  tar -xzf "$(blob "$layer")" -O usr/share/podgate/podgate.cdx.json > "$name.cdx.json"
  chmod +x "$name"
done <<< "$platforms"
