#!/usr/bin/env bash
# test-list.sh: the list of exports, and what the name "" stands for.
. "$(dirname "$0")/functions.sh"

names() { nbdinfo --list --json "nbd+unix:///?socket=$socket" | jq -r '.exports[]."export-name"' | sort | xargs; }
size_of() { nbdinfo --size "$(uri "$1")"; }

make_pool
t create vm1 --size 1M --description "the first one"
start_server "$pool"

proves "one volume is listed, with its description, and is the default"
expect list vm1 "$(names)"
nbdinfo "$(uri vm1)" | grep -q 'the first one' || fail "no description"
expect default 1048576 "$(size_of "")"

proves "volumes that are made while it serves are listed, and others gone"
t create vm2 --size 2M
t snapshot vm1 vm1@mon
expect list "vm1 vm1@mon vm2" "$(names)"
expect size 2097152 "$(size_of vm2)"

proves "of several none is the default, and the server says how to list them"
must_fail nbdinfo "$(uri "")"
t delete vm1
t rename vm2 other
expect list "other vm1@mon" "$(names)"

proves "names that are none, or nobody's"
for name in vm1 nobody ../metadata /etc/passwd 'a b' "$(printf 'x%.0s' {1..300})"; do
    must_fail nbdinfo --size "$(uri "$name")"
done
server_is_well
stop_server

proves "volume= is the default"
start_server "$pool" volume=other
expect default 2097152 "$(size_of "")"
stop_server

proves "a default that is deleted refuses those who ask for it only"
t create gone --size 1M
start_server "$pool" volume=gone
expect default 1048576 "$(size_of "")"
t delete gone
must_fail nbdinfo --size "$(uri "")"
expect other 2097152 "$(size_of other)"
