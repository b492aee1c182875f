#!/usr/bin/env bash
# serve: nbdkit with the plugin, and its own options; and verbs beside it.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"

server=
# serves ARGUMENT...: in the background, until it answers
serves() {
    rm -f "$socket"
    "$thinbd" --pool "$pool" serve "$@" </dev/null 2>"$work/log" &
    server=$!
    for _ in {1..100}; do
        ! nbdinfo --size "$(uri vm1)" >/dev/null 2>&1 || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    fail "no server: $(cat "$work/log")"
}

make_pool
t create vm1 --size 1M >"$work/output"
t create vm2 --size 2M >"$work/output"

proves "options are nbdkit's, parameters the plugin's, in any order"
serves volume=vm2 -U "$socket" --filter=limit limit=5 -t 4
expect "default export" 2097152 "$(nbdinfo --size "nbd+unix:///?socket=$socket")"
expect "served" true "$(json .served status)"
nbdinfo --list --json "nbd+unix:///?socket=$socket" |
    python 'assert [e["export-name"] for e in doc["exports"]] == ["vm1", "vm2"], doc'

proves "what is made while it is served is served"
t create vm3 --size 3M >"$work/output"
expect "new export" 3145728 "$(nbdinfo --size "$(uri vm3)")"
t delete vm3 >"$work/output"

proves "a second server is told who holds the pool"
exits 1 "$thinbd" --pool "$pool" serve -U "$work/other"
grep -q "$server" "$work/err" || fail "$(cat "$work/err")"

proves "it ends on SIGTERM, and leaves the pool to others"
kill "$server"
wait "$server" || fail "status $?"
server=
expect "served" false "$(json .served status)"
[ ! -e "$pool/control" ] || t list >"$work/output"
t create vm3 --size 3M >"$work/output"

proves "read-only for all, if nbdkit is told so"
serves -r -U "$socket"
expect "read-only" true "$(nbdinfo --json "$(uri vm1)" | jq '.exports[0]."is_read_only"')"
kill "$server"
wait "$server" || fail "status $?"
server=

proves "no nbdkit, no pool: said in one line"
exits 1 env PATH=/nonexistent "$thinbd" --pool "$pool" serve
grep -q '^thinbd: nbdkit: .*apt-get install' "$work/err" || fail "$(cat "$work/err")"
exits 1 "$thinbd" --pool "$work/nowhere" serve -U "$work/other"
exits 0 "$thinbd" --pool "$pool" serve --help
exits 0 "$thinbd" --pool "$pool" serve -- --version
grep -q '^nbdkit ' "$work/out" || fail "$(cat "$work/out")"
