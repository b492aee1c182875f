#!/usr/bin/env bash
# test-table-style.sh: a pool that has no registry, piece by piece.
. "$(dirname "$0")/functions.sh"
requires thin_restore

# What another manager would have made.
cat >"$work/pool.xml" <<'END'
<superblock uuid="" time="1" transaction="3" version="2" data_block_size="128" nr_data_blocks="160">
  <device dev_id="5" mapped_blocks="2" transaction="0" creation_time="0" snap_time="1">
    <range_mapping origin_begin="1" data_begin="10" length="2" time="0"/>
  </device>
</superblock>
END
truncate -s 4M "$work/meta"
quietly thin_restore -i "$work/pool.xml" -o "$work/meta"
truncate -s 10M "$work/data"
printf 'block ten' | dd of="$work/data" bs=64K seek=10 conv=notrunc status=none
head -c 200000 /dev/urandom >"$work/base"

pieces=(metadata="$work/meta" data="$work/data" device=5 size=1M)
start_server "${pieces[@]}" origin="$work/base"

proves "it reads what is mapped, and the origin elsewhere"
nbd_python "" "$work/base" <<'END'
base = open(args[0], "rb").read()
assert h.get_size() == 1 << 20
assert h.pread(9, 65536) == b"block ten"
assert h.pread(65536, 0) == base[:65536]
assert h.pread(1000, 196608 - 500) == bytes(500) + base[196608:196608+500]
assert h.pread(1000, 200000 - 500) == base[-500:] + bytes(500)
h.pwrite(b"written", 300000)
h.flush()
END
stop_server
check_pool_metadata "$work/meta"
thin_dump "$work/meta" >"$work/dump.xml"
grep -q 'dev_id="5" mapped_blocks="3"' "$work/dump.xml" || fail "not written to the pool"

proves "pieces that do not fit are refused"
refused() {
    local pattern=$1
    shift
    must_fail nbdkit -U - "$plugin" "$@" --run 'nbdinfo --size "$uri"'
    grep -q -e "$pattern" "$work/output" || fail "no '$pattern': $(cat "$work/output")"
}
refused 'no device 6' "${pieces[@]/device=5/device=6}"
refused 'block size' "${pieces[@]}" block-size=128K
refused 'size' metadata="$work/meta" data="$work/data" device=5
refused 'go together' "${pieces[@]}" pool="$pool"
refused 'no pool' volume=vm1
refused 'twice' "${pieces[@]}" data=other
refused 'unknown' "${pieces[@]}" colour=blue
refused 'thin' "${pieces[@]}" origin=thin:vm1
truncate -s 5M "$work/data"
refused 'data' "${pieces[@]}"
truncate -s 10M "$work/data"
head -c 8192 /dev/zero | dd of="$work/meta" conv=notrunc status=none
refused 'metadata' "${pieces[@]}"
