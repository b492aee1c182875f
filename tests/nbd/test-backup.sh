#!/usr/bin/env bash
# test-backup.sh: backups of the metadata, and restore-metadata.
. "$(dirname "$0")/functions.sh"

make_pool --metadata-size 1M --set keep_metadata_backups=2 --set metadata_backup_interval=1 \
    --set auto_extend_step=0
backups=$pool/backups

# backups_after FILE: wait for one that is newer; its name is in $newest.
backups_after() {
    local try
    for try in $(seq 600); do
        newest=$(find "$backups" -name 'metadata-*.zst' -newer "$1" 2>/dev/null | sort | tail -n 1)
        [ -z "$newest" ] || return 0
        sleep 0.1
    done
    fail "no backup in a minute: $try, $(json .metadata_backup status)"
}

write() { quietly qemu-io -f raw "$(uri "$1")" -c "write -P $2 $3 $4" -c flush; }

# A second apart from whatever comes next: names of backups and volumes have seconds.
next_second() { sleep 1.1; }

proves "one is made after a commit, and it is metadata that others can read"
t create vm1 --size 4M
t create vm2 --size 4M
start_server "$pool"
write vm1 1 0 1M
write vm2 2 0 1M
write vm1 3 2M 128k
sum1=$(sum_of "$(uri vm1)")
next_second
touch "$work/written"
next_second
write vm2 3 2176k 64k
backups_after "$work/written"
cp "$newest" "$work/good.zst"
/usr/bin/python3 - "$newest" "$work/image" <<'END' || fail "it does not unpack"
import subprocess, sys
subprocess.run(["zstd", "-qdf", sys.argv[1], "-o", sys.argv[2]], check=True)
END
check_pool_metadata "$work/image"
expect "last" string "$(json '.metadata_backup.last | type' status)"
expect "problem" null "$(json .metadata_backup.problem status)"

proves "as many are kept as was said, and not while one is served restored"
for i in 1 2 3; do
    touch "$work/round"
    next_second
    write vm2 "$i" 3M 64k
    t create "more$i" --size 1M
    backups_after "$work/round"
done
nr=$(find "$backups" -name 'metadata-*' | wc -l)
[ "$nr" -le 3 ] || fail "$nr backups"
t_fails 'stop the server' restore-metadata

proves "a block that was given to another volume does not come back"
quietly t delete vm2
next_second
# It has vm2's number for a while, so that vm3 has another, and vm2's comes back.
t create hold --size 1M
# Nearly all the data there is, so that it has vm2's blocks, too.
t create vm3 --size 62M
write vm3 9 0 31M
write vm3 9 31M 31M
quietly t delete hold
stop_server
before=$(sum_of "$pool/metadata")
status=0
t restore-metadata "$work/good.zst" >"$work/out" 2>"$work/err" || status=$?
expect status 1 $status
expect untouched "$before" "$(sum_of "$pool/metadata")"
grep -q 'vm3' "$work/out" || fail "nothing about vm3: $(cat "$work/out")"
quietly t restore-metadata "$work/good.zst" --force
find "$pool" -name 'metadata.replaced-*' | grep -q . || fail "the old metadata is gone"
check_pool_metadata "$pool/metadata"
# vm2's device is back without a volume, and without the blocks that are vm3's now.
start_server "$pool"
sum=$(sum_of "$(uri vm1)")
expect "vm1" "$sum1" "$sum"
stop_server
/usr/bin/python3 - "$pool" <<'END' || fail "another volume's bytes"
import subprocess, sys
dump = subprocess.run(["thin_dump", sys.argv[1] + "/metadata"], check=True, capture_output=True, text=True,
                      env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}).stdout
import re
data = open(sys.argv[1] + "/data", "rb")
for first, length in re.findall(r'data_begin="(\d+)" length="(\d+)"', dump) + [
        (block, "1") for block in re.findall(r'data_block="(\d+)"', dump)]:
    for block in range(int(first), int(first) + int(length)):
        data.seek(block << 16)
        assert 9 not in data.read(1 << 16), block
END

proves "a broken backup is refused, and nothing changes"
before=$(sum_of "$pool/metadata")
head -c 100 "$work/good.zst" >"$work/bad.zst"
t_fails 'no backup that can be used' restore-metadata "$work/bad.zst" --force
t_fails 'No such file' restore-metadata nothing --force
expect untouched "$before" "$(sum_of "$pool/metadata")"

proves "they are listed"
[ "$(json '.backups | length' restore-metadata --list)" -ge 2 ] || fail "not listed"
