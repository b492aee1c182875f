#!/usr/bin/env bash
# test-kill-calls.sh: calls are killed at any moment; names and blocks agree
# afterwards, and nothing is left half done.
. "$(dirname "$0")/functions.sh"

make_pool
head -c 300000 /dev/urandom >"$work/base"
t create base --origin "$work/base" --size 4M
start_server "$pool"
quietly qemu-io -f raw "$(uri base)" -c 'write -P 5 1M 1M' -c flush
sum=$(sum_of "$(uri base)")
stop_server

RANDOM=${THINBD_SEED:-$$}
echo "THINBD_SEED=${THINBD_SEED:-$$}"

# The n-th call, of all kinds, in `words`.
words_of_call() {
    case $(($1 % 7)) in
        0) words=(create "vm$1" --size 4M --origin "$work/base") ;;
        1) words=(snapshot base "base@$1" base "copy$1") ;;
        2) words=(rename "copy$(($1 - 1))" "renamed$(($1 - 1))") ;;
        3) words=(rollback "renamed$(($1 - 2))" "base@$(($1 - 2))") ;;
        4) words=(resize "renamed$(($1 - 3))" 1M --force) ;;
        5) words=(delete "base@$(($1 - 4))" "renamed$(($1 - 4))") ;;
        6) words=(set base "description=after $1") ;;
    esac
}

for n in {1..42}; do
    words_of_call $n
    "$thinbd" --pool "$pool" "${words[@]}" >/dev/null 2>&1 &
    sleep "0.0$((RANDOM % 40 + 10))"
    kill -KILL $! 2>/dev/null || :
    wait $! 2>/dev/null || :
done

proves "the next call finds a sound pool"
quietly t check
check_pool_metadata "$pool/metadata"

proves "every volume can be read, and the base is what it was"
start_server "$pool"
for name in $(json '.[].name' list); do
    nbdcopy "$(uri "$name")" - >/dev/null || fail "$name"
done
expect base "$sum" "$(sum_of "$(uri base)")"

proves "no device is without a name, no name without a device"
json '.[].name' list >"$work/names"
! grep -q '#' "$work/names" || fail "$(cat "$work/names")"
xargs "$thinbd" --pool "$pool" delete <"$work/names"
expect used 0 "$(json .data.used_bytes status)"
stop_server
pool_is_well
