#!/usr/bin/env bash
# test-info.sh: what a client is told about an export.
. "$(dirname "$0")/functions.sh"

make_pool
t create vm1 --size 12345678
t snapshot vm1 vm1@s
start_server "$pool"

info() { nbdinfo --json "$(uri "$1")" | jq -r ".exports[0].$2"; }

proves "size, block sizes, and every command with its flags"
expect size 12345678 "$(info vm1 '"export-size"')"
expect minimum 1 "$(info vm1 block_size_minimum)"
expect preferred 65536 "$(info vm1 block_size_preferred)"
expect maximum 33554432 "$(info vm1 block_size_maximum)"
for flag in can_flush can_fua can_multi_conn can_trim can_zero can_fast_zero can_cache; do
    expect $flag true "$(info vm1 "$flag")"
done
expect read-only false "$(info vm1 is_read_only)"
expect rotational false "$(info vm1 is_rotational)"
info vm1 'contexts[]' | grep -qx 'base:allocation' || fail "no base:allocation"

proves "a snapshot is read-only"
expect read-only true "$(info vm1@s is_read_only)"
must_fail qemu-io -f raw "$(uri vm1@s)" -c 'write 0 4k'
stop_server

proves "and so is everything under nbdkit -r"
start_server -r "$pool"
expect read-only true "$(info vm1 is_read_only)"
stop_server

proves "blocks of an odd size: preferred is the largest power of two in them"
rm -rf "$pool"
make_pool --block-size 192K
t create vm1 --size 1M
start_server "$pool"
expect preferred 65536 "$(info vm1 block_size_preferred)"
stop_server
rm -rf "$pool"
make_pool --block-size 4K
t create vm1 --size 1M
start_server "$pool"
expect preferred 4096 "$(info vm1 block_size_preferred)"
