#!/usr/bin/env bash
# test-kernel-pools.sh AUDIT_FILE [OPERATIONS]: what the kernel writes is sound.
#
# Linux's own dm-thin leads a pool through a random life: snapshots, writes in
# runs and here and there, discards, deletions, the metadata snapshot taken
# and released. lib/audit and the oracle find nothing but notes in any of the
# states in between, sharing that a device would write in place least of all.
# shellcheck source-path=SCRIPTDIR
here=$(dirname "$(realpath "$0")")
. "$here/../interop/functions.sh"

audit_file=$1 operations=${2:-60}
vm=$here/../kernel/vm
requires "$vm"
"$vm" --kernel >/dev/null || skip "no kernel to boot"

seed=${THINBD_SEED:-$RANDOM}
echo "THINBD_SEED=$seed"
mkdir "$work/out"
truncate -s 8M "$work/metadata"
truncate -s 2G "$work/data"
"$vm" --timeout 800 --out "$work/out" --disk "$work/metadata" --disk "$work/data" \
      -- "$here/in-vm-pools.py" "$work/out" "$seed" "$operations"

proves "lib/audit finds no damage in them"
"$audit_file" "$work"/out/*.metadata || fail "damage, if lib/audit is right"
proves "nor does the oracle"
"$oracle" --batch "$work/out" || fail "damage, if the oracle is right"
