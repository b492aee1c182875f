#!/usr/bin/env bash
# test-config.sh: what the plugin says of itself, and of what it is not given.
. "$(dirname "$0")/functions.sh"

proves "--dump-plugin and --help"
nbdkit --dump-plugin "$plugin" >"$work/dump"
grep -qx 'thin_format=dm-thin-2' "$work/dump" || fail "no format"
grep -qxE 'thin_io_uring=(yes|no)' "$work/dump" || fail "no io_uring"
grep -qxE 'thin_libnbd=[0-9.]+' "$work/dump" || fail "no libnbd"
grep -qx 'thread_model=parallel' "$work/dump" || fail "not parallel"
nbdkit "$plugin" --help >"$work/help"
for key in pool volume metadata data device size origin block-size; do
    grep -qE "^$key=" "$work/help" || fail "no $key= in the help"
done

proves "only what nbdkit needs is exported"
if command -v nm >/dev/null; then
    nm -D --defined-only "$plugin" | awk '{ print $3 }' | sort >"$work/symbols"
    printf '%s\n' plugin_init thin_debug_alloc thin_debug_commit thin_debug_io >"$work/expected"
    same "$work/expected" "$work/symbols" "symbols"
fi

proves "what is no pool is refused in one line that says why"
refused() {
    local pattern=$1
    shift
    must_fail nbdkit -U - "$plugin" "$@" --run 'nbdinfo --size "$uri"'
    grep -q -e "$pattern" "$work/output" || fail "no '$pattern': $(cat "$work/output")"
}
refused 'no pool'
refused 'nowhere' "$work/nowhere"
mkdir "$work/empty"
refused 'pool.conf' "$work/empty"
make_pool
t create vm1 --size 1M
refused 'vm2: no such volume' "$pool" volume=vm2
echo 'colour = "blue";' >>"$pool/pool.conf"
refused 'colour' "$pool"
sed -i '/colour/d' "$pool/pool.conf"

proves "damaged metadata is refused, with what to do, and not written to"
cp "$pool/metadata" "$work/good"
printf 'damage' | dd of="$pool/metadata" bs=1 seek=100 conv=notrunc status=none
before=$(sum_of "$pool/metadata")
refused 'thinbd check' "$pool"
expect untouched "$before" "$(sum_of "$pool/metadata")"
t_fails 'thinbd check' create vm2 --size 1M
expect untouched "$before" "$(sum_of "$pool/metadata")"
cp "$work/good" "$pool/metadata"

proves "a second server is refused at once, and told who has the pool"
start_server "$pool"
refused "$(cat "$work/pid")" "$pool"
grep -q "$(hostname)" "$work/output" || fail "no host: $(cat "$work/output")"
grep -q nbdkit "$work/output" || fail "no command: $(cat "$work/output")"
server_is_well
stop_server

proves "debug flags"
rm -f "$socket"
nbdkit -v -f -U "$socket" -P "$work/pid2" -D thin.io=1 -D thin.alloc=1 -D thin.commit=1 \
       "$plugin" "$pool" 2>"$work/log" &
server=$!
until [ -s "$work/pid2" ]; do sleep 0.05; done
quietly qemu-io -f raw "$(uri vm1)" -c 'write -f 0 4k'
stop_server
grep -q 'thin.io: vm1: write 0+4096 fua' "$work/log" || fail "no io"
grep -q 'thin.alloc: 1 of 1024' "$work/log" || fail "no alloc"
grep -q 'thin.commit:' "$work/log" || fail "no commit"
