#!/usr/bin/env bash
# test-backup-full.sh: no room for a backup of the metadata: the one before it stays, no
# part of a file is left, one line says so, and the pool does not care.
. "$(dirname "$0")/functions.sh"

# In a mount namespace of its own, which takes the file system with it.
if [ "${1:-}" != inside ]; then
    unshare -m true 2>/dev/null || skip "may not mount"
    exec unshare -m "$0" inside
fi
make_pool --metadata-size 1M --set keep_metadata_backups=3 --set metadata_backup_interval=1 \
    --set auto_extend_step=0
backups=$pool/backups
mkdir -p "$backups"
mount -t tmpfs -o size=2M none "$backups" 2>/dev/null || skip "may not mount"
cleanup_fn umount -l "$backups"

# until_backup FILTER: wait until the status says so.
until_backup() {
    local try
    for try in $(seq 600); do
        [ "$(json ".metadata_backup | $1" status)" != true ] || return 0
        sleep 0.1
    done
    fail "not in a minute, $try: $1: $(json .metadata_backup status)"
}

write() { quietly qemu-io -f raw "$(uri vm1)" -c "write -P $1 $2 64k" -c flush; }

# all_files: their names and sums.
all_files() { find "$backups" -type f ! -name filler -exec sha256sum {} + | sort -k 2; }

t create vm1 --size 16M
start_server "$pool"
for i in $(seq 0 2 60); do write 1 $((i << 17)); done
until_backup '.last != null and .problem == null'

# From no room at all to some for the copy, and none for what it is packed into.
round=1
for room in 0 4 16 36 44 52; do
    proves "$room KiB left"
    # A backup of what was written last is not under way, nor to come.
    sleep 1.5
    rm -f "$backups/filler"
    until_backup '.problem == null'
    sleep 1.5
    before=$(all_files) last=$(json .metadata_backup.last status)
    free=$(($(stat -f -c '%a * %S' "$backups") / 1024))
    head -c $(((free - room) << 10)) /dev/zero >"$backups/filler"
    round=$((round + 1))
    write $round $(((round + 7) << 20))
    until_backup ".problem != null or .last != \"$last\""
    problem=$(json .metadata_backup.problem status)
    echo "   $problem"
    [ "$problem" != null ] || break
    expect "one line" "no room for it in $backups" "$problem"
    t status | grep -q "no backup.*no room for it in" || fail "the status does not tell"
    expect "the files" "$before" "$(all_files)"
    expect "mode" rw "$(json .mode status)"
    expect "last" "$last" "$(json .metadata_backup.last status)"
done
[ $round -ge 4 ] || fail "there was room for a backup at once"

proves "room again: the next one is made"
rm -f "$backups/filler"
round=$((round + 1))
write $round $(((round + 7) << 20))
until_backup ".problem == null and .last != \"$last\""
nbd_python vm1 "$round" <<'END'
for i in range(2, int(args[0]) + 1):
    assert h.pread(65536, (i + 7) << 20) == bytes([i]) * 65536, i
END
stop_server
for file in "$backups"/metadata-*.zst; do
    quietly zstd -qdf "$file" -o "$work/image"
    check_pool_metadata "$work/image"
done
quietly t restore-metadata --force
pool_is_well
