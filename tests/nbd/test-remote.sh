#!/usr/bin/env bash
# test-remote.sh: the data, and origins, on other NBD servers.
. "$(dirname "$0")/functions.sh"

# serve_remote NAME ARGUMENT...: another nbdkit on $work/NAME.
serve_remote() {
    local name=$1 pid
    shift
    nbdkit -f -U "$work/$name" -P "$work/$name.pid" "$@" </dev/null &
    pid=$!
    cleanup_fn kill $pid
    until [ -s "$work/$name.pid" ]; do sleep 0.05; done
}

head -c 3M /dev/urandom >"$work/base"
serve_remote remote-origin file "$work/base"
serve_remote remote-data memory 64M
origin="nbd+unix:///?socket=$work/remote-origin"
data="nbd+unix:///?socket=$work/remote-data"

proves "a pool whose data is on another server"
quietly t init --data-size 64M --data "$data"
t create vm1 --origin "$origin"
t create vm2 --origin "$origin" --size 4M
start_server "$pool"
quietly nbdcopy "$(uri vm1)" "$work/out"
same "$work/base" "$work/out" "the origin"
nbd_python vm2 "$work/base" <<'END'
model = bytearray(open(args[0], "rb").read()) + bytes(1 << 20)
for at, data in (0, b"x" * 100), (3 * 1000 * 1000, b"y" * 200000), (65536, b"z" * 65536):
    h.pwrite(data, at)
    model[at:at+len(data)] = data
h.flush()
assert h.pread(len(model), 0) == model
open(args[0] + ".model", "wb").write(model)
END
stop_server
start_server "$pool"
quietly nbdcopy "$(uri vm2)" "$work/out"
same "$work/base.model" "$work/out" "after a restart"
stop_server
pool_is_well

proves "an origin that is not there is not waited for by others"
t create vm3 --size 1M
t create vm4 --origin "$origin"
sed -i "s|remote-origin|gone|g" "$pool/volumes/vm4.conf"
start_server "$pool" 2>/dev/null
must_fail nbdinfo --size "$(uri vm4)"
expect vm3 1048576 "$(nbdinfo --size "$(uri vm3)")"
stop_server
