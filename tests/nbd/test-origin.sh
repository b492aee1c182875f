#!/usr/bin/env bash
# test-origin.sh: volumes over an external origin, shorter and longer than it.
. "$(dirname "$0")/functions.sh"

# An origin that ends in the middle of a block, at no sector's border.
size=$((1024 * 1024 + 8192 + 77))
head -c $size /dev/urandom >"$work/base"
sum=$(sum_of "$work/base")

make_pool
t create same --origin "$work/base"
t create longer --origin "$work/base" --size 2M
t create shorter --origin "$work/base" --size 500001
start_server "$pool"

proves "the volumes read as the origin, and zeros past its end"
expect size $size "$(nbdinfo --size "$(uri same)")"
quietly nbdcopy "$(uri same)" "$work/out"
same "$work/base" "$work/out" "the origin's size"
cp "$work/base" "$work/padded"
truncate -s 2M "$work/padded"
quietly nbdcopy "$(uri longer)" "$work/out"
same "$work/padded" "$work/out" "longer than the origin"
head -c 500001 "$work/base" >"$work/cut"
quietly nbdcopy "$(uri shorter)" "$work/out"
same "$work/cut" "$work/out" "shorter than the origin"

proves "a write takes its block along; across the origin's end zeros follow"
nbd_python longer "$work/padded" <<'END'
model = bytearray(open(args[0], "rb").read())
def write(at, data):
    h.pwrite(data, at)
    model[at:at+len(data)] = data
write(5, b"five")
write(65536 * 3 - 2, b"over a border")
write(1024 * 1024 + 8192 + 70, b"across the end of the origin")
write(1900000, b"past it")
assert h.pread(len(model), 0) == model
h.trim(65536 * 4, 65536 * 2)        # the written blocks 2 and 3 as a whole
base = open(args[0], "rb").read()
model[65536*2:65536*6] = base[65536*2:65536*6]
assert h.pread(len(model), 0) == model
h.zero(65536 * 4, 0)                # the origin must not show
model[0:65536*4] = bytes(65536*4)
assert h.pread(len(model), 0) == model
h.zero(1000, 700000, nbd.CMD_FLAG_NO_HOLE)
model[700000:701000] = bytes(1000)
assert h.pread(len(model), 0) == model
END
expect origin "$sum" "$(sum_of "$work/base")"

proves "a snapshot has the same origin"
t snapshot same same@1
quietly nbdcopy "$(uri same@1)" "$work/out"
same "$work/base" "$work/out" "the snapshot"
stop_server

proves "a changed origin is refused, with what was and what is; others are served"
mkdir "$work/here"
head -c 100000 /dev/urandom >"$work/here/base"
t create second --origin "$work/here/base"
printf x >>"$work/base"
start_server "$pool" 2>"$work/log"
must_fail nbdinfo --size "$(uri same)"
grep -q "same: .*origin" "$work/log" || fail "no reason: $(cat "$work/log")"
grep -q "$size" "$work/log" || fail "not what was recorded: $(cat "$work/log")"
expect second 100000 "$(nbdinfo --size "$(uri second)")"

proves "--force takes it as it is now"
t_fails "$size" set same origin="$work/base"
t set same origin="$work/base" --force
expect size $size "$(nbdinfo --size "$(uri same)")"

proves "an origin that is gone"
stop_server
mv "$work/here" "$work/there"
start_server "$pool"
must_fail nbdinfo --size "$(uri second)"
mv "$work/there" "$work/here"
expect second 100000 "$(nbdinfo --size "$(uri second)")"
