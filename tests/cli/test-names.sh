#!/usr/bin/env bash
# Names: unknown, taken, malformed; sizes: zero, too big. Refused by every verb
# that takes one, and nothing is changed.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/functions.sh"

begin
t create vm1 --size 1M >"$work/output"
t snapshot vm1 vm1@s >"$work/output"

long=$(printf 'n%.0s' {1..63})
before=$(t --json list)

proves "malformed names"
for name in '' . .. .hidden -x a/b ../vm1 /etc a@ @b a@b@c a@-b 'a b' 'a:b' ä \
        "${long}n" "a@${long}n" $'a\nb' $'a\e[31mb' 'a%s' '#0'; do
    for verb in create snapshot rename; do
        case $verb in
            create) command=(create --size 1M -- "$name") ;;
            snapshot) command=(snapshot -- vm1 "$name") ;;
            rename) command=(rename -- vm1 "$name") ;;
        esac
        t_fails . "${command[@]}"
        ! LC_ALL=C grep -q '[[:cntrl:]]' "$work/err" || fail "control characters in the message"
    done
done
expect "list" "$before" "$(t --json list)"

proves "unknown names"
for command in 'snapshot no new' 'delete no' 'rename no new' 'set no readonly=true' \
        'resize no 2M' 'rollback no vm1@s' 'rollback vm1 no' 'flatten no' 'list no' \
        'show no' 'map no' 'diff no vm1' 'diff vm1 no'; do
    # shellcheck disable=SC2086 # words
    t_fails '^thinbd: no: ' $command
done
expect "list" "$before" "$(t --json list)"

proves "taken names"
t_fails '^thinbd: vm1: ' create vm1 --size 1M
t_fails '^thinbd: vm1@s: ' snapshot vm1 vm1@s
t_fails '^thinbd: vm1@s: ' rename vm1 vm1@s

proves "sizes"
for size in 0 7E 128P; do
    t_fails '^thinbd: vm2: ' create vm2 --size $size
    t_fails '^thinbd: vm1: ' resize vm1 $size
done
expect "list" "$before" "$(t --json list)"

proves "the longest names are fine"
t create "$long" --size 1M >"$work/output"
t snapshot "$long" "$long@$long" >"$work/output"
expect "long name" "$long@$long" "$(json .name show "$long@$long")"
