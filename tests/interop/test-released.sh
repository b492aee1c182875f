#!/usr/bin/env bash
# test-released.sh [--make VERSION]: pools that released versions left are opened, read
# as they did, and can be used.
#
# tests/corpus/pools has one of each: VERSION.tar.xz, and what its volumes read as in
# VERSION.sums. --make adds one, by the programs in build/; a release does that once.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/../nbd/functions.sh"
requires xz tar
pools=$tests/corpus/pools

sums() {
    local name
    for name in $(t --json list | jq -r '.[].name'); do
        echo "$(sum_of "$(uri "$name")") $name"
    done
}

# Each thing that a pool can have: see the names.
make_one() {
    make_pool --metadata-size 512K --data-size 16M
    t create base --size 1000001
    t create empty --size 5M --description 'a "quoted" text'
    start_server "$pool"
    quietly qemu-io -f raw "$(uri base)" -c 'write -P 7 100k 200k' -c 'write -P 8 900k 3k'
    t snapshot base base@1
    t create over --origin thin:base@1 --size 2M
    quietly qemu-io -f raw "$(uri over)" -c 'write -P 9 150k 1k' -c 'write -z 0 64k'
    t snapshot over over@a base base@2
    t snapshot over@a deep --writable
    quietly qemu-io -f raw "$(uri deep)" -c 'write -P 10 1M 100k' -c 'discard 128k 64k'
    t resize deep 1500000 --force
    t message reserve_metadata_snap
    quietly qemu-io -f raw "$(uri base)" -c 'write -P 11 0 70k'
    t set base reserve=256K
    sums >"$pools/$1.sums"
    stop_server
    rm -f "$pool/lock" "$pool/control"
    tar -C "$work" -cJSf "$pools/$1.tar.xz" --owner=0 --group=0 pool
}

if [ "${1-}" = --make ]; then
    make_one "${2:?a version}"
    exit
fi

for archive in "$pools"/*.tar.xz; do
    version=$(basename "$archive" .tar.xz)
    proves "$version: it is sound, and reads as it did"
    rm -rf "$pool"
    tar -C "$work" -xJf "$archive" --no-same-owner
    quietly t check
    start_server "$pool"
    sums >"$work/sums"
    same "$pools/$version.sums" "$work/sums" "what its volumes read as"

    proves "$version: it goes on"
    quietly qemu-io -f raw "$(uri base)" -c 'write -P 12 10k 300k' -c flush
    t snapshot base base@3
    t delete base@1 over over@a deep --force 2>"$work/err" || t delete over over@a deep base@1
    t message release_metadata_snap
    t rollback base base@2
    expect base "$(sed -n 's/ base@2$//p' "$pools/$version.sums")" "$(sum_of "$(uri base)")"
    stop_server
    pool_is_well
done
