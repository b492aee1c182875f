#!/usr/bin/env bash
# All C is formatted as .clang-format says.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/../.."
command -v clang-format >/dev/null || { echo "SKIP: no clang-format" && exit 77; }

mapfile -t files < <(find cli lib plugin tests -name '*.[ch]' | sort)
clang-format --dry-run -Werror --ferror-limit=3 "${files[@]}"
echo "${#files[@]} files"
