#!/usr/bin/env bash
# The tour in README.md, as it stands there; but what needs a kernel with nbd and
# dm-thin, or is a virtual machine, which tests/kernel has.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"
requires mkfs.ext4 nbdinfo

elsewhere='^(modprobe|nbd-client|mount|qemu-system|dmsetup|\./|cmake|PATH=)'

awk '/^## Five minutes/ { on = 1 }
     /^## How it compares/ { on = 0 }
     /^```/ { block = !block; next }
     on && block' "$project/README.md" |
    grep -Ev "$elsewhere" | sed "s|/tmp/|$work/|g" >"$work/tour"
[ "$(grep -c . "$work/tour")" -ge 15 ] || fail "where is the tour?"

# The server takes a moment to answer, as it would for somebody who types.
sed -i "/serve -U/a server=\$!; for i in {1..100}; do [ ! -e $work/pool/control ] || break; sleep 0.1; done" \
    "$work/tour"
# It is stopped before the pool is left.
sed -i '/^thin_check/i kill $server; wait $server' "$work/tour"

proves "each line of it works"
PATH=$(dirname "$thinbd"):$PATH
bash -euo pipefail -x "$work/tour" >"$work/out" 2>&1 || fail "$(tail -n 5 "$work/out")"
