#!/usr/bin/env bash
# Prints what the changelog says of a version, whose heading is `## VERSION` and more; fails if it says nothing:
# changelog-section.sh VERSION < CHANGELOG.md
set -euo pipefail
section=$(awk -v version="$1" '/^## / { found = ($2 == version); next } found')
if [[ $section != *[![:space:]]* ]]; then
  echo "the changelog has no section for $1" >&2
  exit 1
fi
printf '%s\n' "$section"
