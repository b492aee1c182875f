#!/usr/bin/env bash
# test-fio.sh: several connections to one volume, each byte verified.
. "$(dirname "$0")/functions.sh"
requires fio

make_pool
head -c 16M /dev/urandom >"$work/base"
t create vm1 --origin "$work/base" --size 32M
t create vm2 --size 32M
start_server "$pool"

# run_fio VOLUME [OPTION...]
run_fio() {
    local volume=$1
    shift
    quietly fio --name=test --ioengine=nbd --uri="$(uri "$volume")" --size=8M \
            --rw=randrw --bsrange=512-128k --iodepth=8 --numjobs=4 --offset_increment=8M \
            --verify=crc32c --verify_state_save=0 --verify_fatal=1 --serialize_overlap=1 --group_reporting \
            --randrepeat=0 --output-format=terse "$@"
}

proves "random writes, flushes and trims, read back"
run_fio vm1 --fsync=32 --io_size=6M &
first=$!
run_fio vm2 --io_size=6M --fsync=8
wait $first || fail "fio on vm1"

proves "snapshots of it all meanwhile do not disturb"
run_fio vm1 --io_size=3M &
first=$!
for i in 1 2 3 4 5 6; do
    t snapshot vm1 "vm1@$i" vm2 "vm2@$i"
    [ $i -lt 3 ] || t delete "vm1@$((i - 2))"
    sleep 0.1
done
wait $first || fail "fio under snapshots"
stop_server
pool_is_well
