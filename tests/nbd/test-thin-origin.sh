#!/usr/bin/env bash
# test-thin-origin.sh: thin:NAME, another volume of the pool as the origin.
. "$(dirname "$0")/functions.sh"

make_pool
t create base --size 1M
start_server "$pool"
quietly qemu-io -f raw "$(uri base)" -c 'write -P 7 100k 200k' -c flush

proves "only a volume that can not change may be one"
t_fails readonly create vm1 --origin thin:base
t snapshot base base@1
t create vm1 --origin thin:base@1 --size 2M
t create vm2 --origin thin:base@1

proves "it is read through, copied on write, and does not change"
sum=$(sum_of "$(uri base@1)")
expect copy "$sum" "$(sum_of "$(uri vm2)")"
quietly qemu-io -f raw "$(uri vm1)" -c 'write -P 9 150k 1k' -c flush \
    -c 'read -P 7 100k 50k' -c 'read -P 9 150k 1k' -c 'read -P 7 151k 149k' \
    -c 'read -P 0 300k 700k'
expect base "$sum" "$(sum_of "$(uri base@1)")"
expect vm2 "$sum" "$(sum_of "$(uri vm2)")"

proves "it stays as long as it is needed"
t_fails vm delete base@1
t_fails vm resize base@1 2M
t_fails vm set base@1 readonly=false
t_fails vm rollback base@1 base

proves "no cycles, no unknown names"
t_fails 'nobody' create vm3 --size 1M --origin thin:nobody
t_fails 'origin' set base@1 origin=thin:base@1
t delete vm1 vm2
t delete base@1
stop_server
pool_is_well
