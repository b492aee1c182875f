#!/usr/bin/env bash
# What shellcheck has to say about our scripts: nothing.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/../.."
command -v shellcheck >/dev/null || { echo "SKIP: no shellcheck" && exit 77; }

mapfile -t files < <(
    grep -IlE '^#!.*\b(ba)?sh\b|^# shellcheck shell=' -r quickstart check .ci tests cli | sort)
shellcheck --external-sources --source-path=SCRIPTDIR --severity=warning "${files[@]}"
echo "${#files[@]} files"
