#!/usr/bin/env bash
# What goes wrong, and what the user then gets: the table of the interface.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"

# no_pool PATTERN: every verb refuses it, with such a line.
no_pool() {
    local verb
    for verb in status list 'show vm1' 'create vm9 --size 1M' 'delete vm1' dump check; do
        # shellcheck disable=SC2086 # words
        t_fails "$1" $verb
    done
    ! quietly_served || fail "served"
}

# Does nbdkit start with it?
quietly_served() {
    timeout 20 nbdkit -U - "$plugin" "$pool" --run true >"$work/log" 2>&1 </dev/null
}

proves "a folder that is no pool"
pool=$work/nowhere no_pool 'nowhere: '
mkdir "$work/empty"
pool=$work/empty no_pool 'empty: '
ls -A "$work/empty" >"$work/left"
[ ! -s "$work/left" ] || fail "made something: $(cat "$work/left")"

proves "pool.conf: damaged, an unknown key, a wrong value: file and line"
make_pool
t create vm1 --size 1M >"$work/output"
cp "$pool/pool.conf" "$work/good"
{ cat "$work/good"; echo 'colour = "red";'; } >"$pool/pool.conf"
line=$(wc -l <"$pool/pool.conf")
no_pool "pool.conf:$line: .*colour"
{ echo 'when_full = "maybe";'; grep -v when_full "$work/good"; } >"$pool/pool.conf"
no_pool 'pool.conf:1: .*when_full'
{ cat "$work/good"; echo '}'; } >"$pool/pool.conf"
no_pool "pool.conf:$line: "
: >"$pool/pool.conf"
no_pool 'pool.conf'
cp "$work/good" "$pool/pool.conf"
t list >"$work/output"

proves "a damaged volume file: that volume is refused, the others are served"
t create vm2 --size 1M >"$work/output"
cp "$pool/volumes/vm2.conf" "$work/vm2"
echo 'colour = "red";' >>"$pool/volumes/vm2.conf"
t_fails 'vm2.conf:[0-9]*: .*colour' map vm2
start_server "$pool"
expect "vm1" 1048576 "$(nbdinfo --size "$(uri vm1)")"
must_fail nbdinfo --size "$(uri vm2)"
stop_server
cp "$work/vm2" "$pool/volumes/vm2.conf"

proves "files of a size that is not ours: pool.conf, the journal of changes"
truncate -s 2M "$pool/pool.conf"
no_pool 'pool.conf: it is larger than any that thinbd writes'
cp "$work/good" "$pool/pool.conf"
[ ! -e "$pool/volumes/.journal" ] || cp "$pool/volumes/.journal" "$work/journal"
truncate -s 129M "$pool/volumes/.journal"
for verb in status list 'create vm9 --size 1M' 'delete vm1'; do
    # shellcheck disable=SC2086 # words
    t_fails 'volumes/.journal: it is larger than any that thinbd writes' $verb
done
must_fail t check >"$work/output"
grep -q 'volumes/.journal: it is larger' "$work/output" || fail "$(cat "$work/output")"
! quietly_served || fail "served"
expect "its size" $((129 << 20)) "$(stat -c %s "$pool/volumes/.journal")"
rm "$pool/volumes/.journal"
[ ! -e "$work/journal" ] || cp "$work/journal" "$pool/volumes/.journal"
t list >"$work/output"

proves "damaged metadata: not written, and the message says thinbd check"
cp "$pool/metadata" "$work/metadata"
printf 'x' | dd of="$pool/metadata" bs=1 seek=100 conv=notrunc status=none
cp "$pool/metadata" "$work/damaged"
for verb in 'create vm9 --size 1M' 'delete vm1' 'grow --data-size 128M'; do
    # shellcheck disable=SC2086 # words
    t_fails 'thinbd check' $verb
done
! quietly_served || fail "served"
exits 1 "$thinbd" --pool "$pool" check
grep -q . "$work/err" || fail "check said nothing"
same "$pool/metadata" "$work/damaged" "damaged metadata were written"
cp "$work/metadata" "$pool/metadata"
exits 0 "$thinbd" --pool "$pool" check

proves "origin changed: that volume is refused, with both states; the others are served"
an_image "$work/base" 1048576
an_image "$work/base2" 1048576
t create over --origin "$work/base" >"$work/output"
t create over2 --origin "$work/base2" >"$work/output"
truncate -s 2M "$work/base"
t_fails 'over: .*1048576.*2097152\|1 MiB.*2 MiB' map over
start_server "$pool"
must_fail nbdinfo --size "$(uri over)"
expect "over2" 1048576 "$(nbdinfo --size "$(uri over2)")"
stop_server

proves "origin gone"
mv "$work/base2" "$work/moved"
t_fails 'over2: .*base2' map over2
t list >"$work/output"

proves "origin unreachable"
t_fails 'vm3: ' create vm3 --origin nbd+unix:///x?socket="$work/nobody"
t_fails 'vm3: ' create vm3 --origin "$work/none"
t_fails 'vm3: ' create vm3 --origin thin:nobody
t_fails 'vm3: ' create vm3 --origin "$work"
t_fails . show vm3

proves "delete: refused while a client is connected, unless forced"
start_server "$pool"
nbd_python vm1 "$thinbd" "$pool" <<'END'
import json, subprocess
def thinbd(*a):
    return subprocess.run([args[0], "--pool", args[1], *a], capture_output=True, text=True)
r = thinbd("delete", "vm1")
assert r.returncode == 1 and r.stderr.startswith("thinbd: vm1: "), r
assert "client" in r.stderr, r
assert json.loads(thinbd("--json", "list", "vm1").stdout)[0]["clients"] == 1
r = thinbd("delete", "vm1", "--force")
assert r.returncode == 0, r
END
t_fails 'vm1: ' show vm1
stop_server

proves "the pool is open elsewhere: who holds it"
start_server metadata="$pool/metadata" data="$pool/data" device=1 size=1M
exits 1 "$thinbd" --pool "$pool" list
grep -q . "$work/err" || fail "no message"
stop_server
t list >"$work/output"
